"""What the workers of a cluster do for a session, shard by shard: frozen features, and scores of a trained network."""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from astroanomaly.cache import Cache
from astroanomaly.cache.scores import has_scores, read_scores, write_scores
from astroanomaly.errors import ClusterError
from astroanomaly.hookspecs import InstantRanker, Ranker
from astroanomaly.parallel import dask as clusters
from astroanomaly.parallel import processes as parallel
from astroanomaly.records import Progress
from astroanomaly.session.rounds import Round

if TYPE_CHECKING:
    from astroanomaly.learn.features.store import FeatureStore
    from astroanomaly.session.session import Session

__all__ = ["Search", "compute_features", "fitted_ranker", "score_shards", "search_of"]

_TOGETHER = 16  # shards a worker scores in one go, where there are many: the network is built once for all of them


@dataclass(frozen=True)
class Search:
    """What a worker needs to know of a search; it opens the session and the caches itself.

    Attributes
    ----------
    session, caches
        Their folders.
    token
        Of this run: what a worker has opened for another one may be out of date.
    """

    session: Path
    caches: tuple[Path, ...]
    token: str


def compute_features(
    session: Session, ranker: Ranker, cache: Cache, cluster: clusters.Cluster
) -> Generator[Progress, None, None]:
    """Compute the features that are missing on a cluster, if the ranker is one on frozen features: it needs them all.

    Raises
    ------
    ClusterError
        If workers have computed features that are not to be seen here.
    """
    if not isinstance(ranker, InstantRanker):
        return
    left = _without_features(session, cache)
    if not left:
        return
    done = len(cache) - sum(left.values())
    yield Progress("features", done, len(cache), message=cluster.announce())
    for shard in parallel.run(functools.partial(_compute, search_of(session, cache)), left, cluster):
        done += left[shard]
        yield Progress("features", done, len(cache))
    lost = len(_without_features(session, cache))
    if lost:
        raise ClusterError(
            f"workers have computed the features of {lost} shards that are not to be seen here: {session.path} or the "
            "folders of the caches must be the same for all, and writable"
        )


def score_shards(
    session: Session, target: Round, cache: Cache, left: Mapping[str, int], cluster: clusters.Cluster
) -> Generator[Progress, None, None]:
    """Score shards with the checkpoint of a round on a cluster.

    Parameters
    ----------
    session, target
        The search and the round.
    cache
        The cutouts.
    left
        Uuids of the shards to score and their numbers of objects.
    cluster
        Its workers.

    Raises
    ------
    ClusterError
        If workers have written scores that are not to be seen here.
    """
    done = len(cache) - sum(left.values())
    yield Progress("scoring", done, len(cache), message=cluster.announce())
    shards = list(left)
    together = min(_TOGETHER, max(1, len(shards) // (4 * max(1, cluster.threads))))
    said = False
    groups = (shards[start : start + together] for start in range(0, len(shards), together))
    for group in parallel.run(functools.partial(_score, search_of(session, cache), target.absolute()), groups, cluster):
        done += sum(left[shard] for shard in group)
        _look_again(target.scores)
        message, first = "", next(iter(group))
        if not said and has_scores(target.scores, first):
            message, said = f"scored with {read_scores(target.scores, first).engine}", True
        yield Progress("scoring", done, len(cache), message=message)
    lost = sum(not has_scores(target.scores, shard) for shard in left)
    if lost:
        raise ClusterError(
            f"workers have scored {lost} shards whose scores are not in {target.scores}: all workers must see the same "
            "folder under the same path"
        )


def search_of(session: Session, cache: Cache) -> Search:
    """Say what workers have to open."""
    return Search(session.path.absolute(), tuple(path.absolute() for path in cache.folders), uuid.uuid4().hex)


def _without_features(session: Session, cache: Cache) -> dict[str, int]:
    """Uuids of the shards that lack features, and their numbers of objects."""
    from astroanomaly.learn.features.store import FeatureStore

    store = FeatureStore.of(cache, session.context)
    for folder in dict.fromkeys(folder for shard in cache.shards for folder in store.folders(shard.uuid)):
        _look_again(folder)
    return {shard.uuid: len(shard) for shard in cache.shards if not store.computed(shard.uuid).all()}


def _look_again(folder: Path) -> None:
    """List a folder: a network file system may remember for a while that a file was not there."""
    with contextlib.suppress(OSError):
        os.listdir(folder)


# -------------------------------------------------------------------------------------------------- in the workers


def _compute(search: Search, shard: str) -> str:
    """Compute the features of a shard."""
    store = _store(search)
    store.compute_shard(shard)
    store.close()
    return shard


def _score(search: Search, target: Round, shards: Collection[str]) -> Collection[str]:
    """Score some shards; those that another worker has written meanwhile are not scored again."""
    session, cache = _opened(search)
    ranker = fitted_ranker(search, target)
    left = [shard for shard in shards if not has_scores(target.scores, shard)]
    for scores in ranker.score(cache, left) if left else ():
        write_scores(target.scores, scores, session.classes, ranker.name)
    return shards


@functools.lru_cache(maxsize=1)
def _opened(search: Search) -> tuple[Session, Cache]:
    from astroanomaly.learn.engine.device import tune_allocator
    from astroanomaly.session.session import Session

    for folder in (search.session, *search.caches):
        clusters.need(folder)
    tune_allocator()
    return Session.open(search.session), Cache.open(*search.caches)


@functools.lru_cache(maxsize=1)
def _store(search: Search) -> FeatureStore:
    from astroanomaly.learn.features.store import FeatureStore

    session, cache = _opened(search)
    return FeatureStore.of(cache, session.context)


@functools.lru_cache(maxsize=1)
def fitted_ranker(search: Search, target: Round) -> Ranker:
    """Bring the ranker of a round back, once in a process."""
    return _opened(search)[0].fitted(target)
