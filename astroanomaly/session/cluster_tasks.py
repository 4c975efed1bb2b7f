"""Tasks of a session for the workers of a cluster, shard by shard: frozen features, scores of a trained network."""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from astroanomaly.cache import Cache
from astroanomaly.cache.scores import has_scores, read_scores, write_scores
from astroanomaly.errors import ClusterError
from astroanomaly.hookspecs import InstantRanker, Ranker
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.parallel.dask import Cluster, need
from astroanomaly.parallel.processes import run
from astroanomaly.records import Progress, drain
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import Round

__all__ = ["SessionRef", "compute_features", "fitted_ranker", "score_shards"]

_SHARDS_PER_GROUP = 16  # that a worker scores in one go, where there are many: the network is built once for them


@dataclass(frozen=True)
class SessionRef:
    """Reference to a session for a worker, which opens the session and the caches itself.

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

    @classmethod
    def of(cls, session: SessionFolder, cache: Cache) -> Self:
        """Refer to a session and the caches that are worked on."""
        return cls(session.path.absolute(), tuple(path.absolute() for path in cache.folders), uuid.uuid4().hex)


def compute_features(
    session: SessionFolder, ranker: Ranker, cache: Cache, cluster: Cluster
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
    for shard in run(functools.partial(_compute, SessionRef.of(session, cache)), left, cluster):
        done += left[shard]
        yield Progress("features", done, len(cache))
    lost = len(_without_features(session, cache))
    if lost:
        raise ClusterError(
            f"workers have computed the features of {lost} shards that are not to be seen here: {session.path} or the "
            "folders of the caches must be the same for all, and writable"
        )


def score_shards(
    session: SessionFolder, target: Round, cache: Cache, left: Mapping[str, int], cluster: Cluster
) -> Generator[Progress, None, None]:
    """Score shards with the checkpoint of a round on a cluster.

    Parameters
    ----------
    session, target
        The session and the round.
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
    size = min(_SHARDS_PER_GROUP, max(1, len(shards) // (4 * max(1, cluster.threads))))
    announced = False
    groups = (shards[start : start + size] for start in range(0, len(shards), size))
    for group in run(functools.partial(_score, SessionRef.of(session, cache), target.absolute()), groups, cluster):
        done += sum(left[shard] for shard in group)
        _look_again(target.scores)
        message, first = "", next(iter(group))
        if not announced and has_scores(target.scores, first):
            message, announced = f"scored with {read_scores(target.scores, first).engine}", True
        yield Progress("scoring", done, len(cache), message=message)
    lost = sum(not has_scores(target.scores, shard) for shard in left)
    if lost:
        raise ClusterError(
            f"workers have scored {lost} shards whose scores are not in {target.scores}: all workers must see the same "
            "folder under the same path"
        )


def _without_features(session: SessionFolder, cache: Cache) -> dict[str, int]:
    """Uuids of the shards that lack features, and their numbers of objects."""
    store = FeatureStore.of(cache, session.context)
    for folder in dict.fromkeys(folder for shard in cache.shards for folder in store.folders(shard.uuid)):
        _look_again(folder)
    return {shard.uuid: len(shard) for shard in cache.shards if not store.computed(shard.uuid).all()}


def _look_again(folder: Path) -> None:
    """List a folder: a network file system may remember for a while that a file was not there."""
    with contextlib.suppress(OSError):
        os.listdir(folder)


# -------------------------------------------------------------------------------------------------- in the workers


def _compute(ref: SessionRef, shard: str) -> str:
    """Compute the features of a shard."""
    store = _store(ref)
    store.compute_shard(shard)
    store.close()
    return shard


def _score(ref: SessionRef, target: Round, shards: Collection[str]) -> Collection[str]:
    """Score some shards; those that another worker has written meanwhile are not scored again."""
    session, cache = _opened(ref)
    ranker = fitted_ranker(ref, target)
    left = [shard for shard in shards if not has_scores(target.scores, shard)]
    places = {shard.uuid: shard for shard in cache.shards if shard.uuid in left}
    for scores in ranker.score(cache, left) if left else ():
        write_scores(target.scores, scores, session.classes, ranker.name, places[scores.shard].positions)
    return shards


@functools.lru_cache(maxsize=1)
def _opened(ref: SessionRef) -> tuple[SessionFolder, Cache]:
    for folder in (ref.session, *ref.caches):
        need(folder)
    tune_allocator()
    return SessionFolder.open(ref.session), Cache.open(*ref.caches)


@functools.lru_cache(maxsize=1)
def _store(ref: SessionRef) -> FeatureStore:
    session, cache = _opened(ref)
    return FeatureStore.of(cache, session.context)


@functools.lru_cache(maxsize=1)
def fitted_ranker(ref: SessionRef, target: Round) -> Ranker:
    """Bring the ranker of a round back, once in a process."""
    return drain(fitted_steps(_opened(ref)[0], target))
