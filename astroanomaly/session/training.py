"""What a round of a session is made of: a ranker learns, is brought back later, and scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.scores import has_scores, write_scores
from astroanomaly.config import to_plain
from astroanomaly.hookspecs import Ranker
from astroanomaly.learn.rankers.label_check import check_labels
from astroanomaly.parallel import dask as clusters
from astroanomaly.records import Progress, ShardScores
from astroanomaly.session import cluster_tasks as shard_work
from astroanomaly.session.rounds import ROUNDS, Round, new_round

if TYPE_CHECKING:
    from astroanomaly.session.session import Session

__all__ = ["TrainReport", "bring_back", "score", "train"]


@dataclass(frozen=True)
class TrainReport:
    """What a training gave.

    Attributes
    ----------
    round
        The round that was added.
    labels
        Number of labels of each class it learnt from; empty for a ranker that needs none.
    history
        Figures of every step (loss, share of confident pseudo-labels ...).
    messages
        Warnings and notes of the ranker.
    """

    round: Round
    labels: Mapping[str, int]
    history: Sequence[Mapping[str, float]] = ()
    messages: Sequence[str] = ()


def train(
    session: Session, ranker: Ranker, cluster: clusters.Cluster | None = None
) -> Generator[Progress, None, TrainReport]:
    """Let a ranker learn from the labels of a session, and add the round.

    Parameters
    ----------
    session
        The session.
    ranker
        Not fitted yet; it goes on from the weights of its latest round, if it has any.
    cluster
        Whose workers compute features.

    Raises
    ------
    TrainingError
        If labels are missing.
    """
    last_event = session.labels.last_event
    labelled = session.labels.labelled()
    counts: Counter[str] = Counter()
    if ranker.needs_labels:
        counts.update(labelled.classes)
        check_labels(labelled.classes, session.classes, ranker.name, session.path)
    earlier = [item for item in session.rounds if item.ranker == ranker.name]
    if ranker.has_weights and earlier:
        ranker.load(earlier[-1].weights)
    history: list[dict[str, float]] = []
    messages: list[str] = []
    if cluster is not None:
        yield from shard_work.compute_features(session, ranker, session.cache, cluster)
    with new_round(session.path / ROUNDS, ranker.name, last_event) as draft:
        for step in ranker.fit(session.cache, labelled, frozenset(session.labels.audit)):
            if step.stage == "training":
                history.append({"step": float(step.done), **step.values})
            if step.message:
                messages.append(step.message)
            yield step
        draft.recipe |= {
            "options": to_plain(ranker.options),
            "history": history,
            "messages": messages,
            "labels": dict(counts),
            "caches": dict(zip(map(str, session.cache.folders), session.cache.counts, strict=True)),
        }
        if ranker.has_weights:
            ranker.save(draft.round.weights)
        if history:
            from astroanomaly.figures import training_curves

            curves = [{name: value for name, value in step.items() if name != "seconds"} for step in history]
            training_curves(curves, draft.round.path / "training.png")
    return TrainReport(draft.round, dict(counts), history, messages)


def bring_back(session: Session, last: Round) -> Generator[Progress, None, Ranker]:
    """Return the ranker of a round: from its checkpoint, or fitted again from its recipe.

    Parameters
    ----------
    session, last
        The session, and the round.

    Raises
    ------
    CheckpointError
        If its checkpoint is damaged or belongs to something else.
    """
    recipe = last.recipe
    ranker = session.ranker(last.ranker, **recipe["options"])
    if ranker.has_weights:
        ranker.load(last.weights)
    else:
        labelled = session.labels.labelled(until=last.last_event)
        cache = yield from _cache_of(session, recipe.get("caches", {}), last.number)
        yield from ranker.fit(cache, labelled, frozenset(session.labels.audit))
    return ranker


def score(
    session: Session, fitted: Ranker, target: Round, cache: Cache, cluster: clusters.Cluster | None = None
) -> Generator[Progress, None, None]:
    """Score the shards that have no scores yet; what is done is kept, whenever this ends.

    Parameters
    ----------
    session
        The session.
    fitted
        The ranker of the round.
    target
        The round, which gets the scores.
    cache
        The cutouts.
    cluster
        Whose workers score, if the ranker has weights.
    """
    missing = [shard for shard in cache.shards if not has_scores(target.scores, shard.uuid)]
    for shard in missing:
        if not len(shard):  # all of its objects have failed
            none = ShardScores(shard.uuid, [], np.empty((0, len(session.classes)), np.float32))
            write_scores(target.scores, none, session.classes, fitted.name)
    left = {shard.uuid: len(shard) for shard in missing if len(shard)}
    done = len(cache) - sum(left.values())
    if cluster is not None and fitted.has_weights:
        yield from shard_work.score_shards(session, target, cache, left, cluster)
        return
    engine = ""
    yield Progress("scoring", done, len(cache))
    for scores in fitted.score(cache, left) if left else ():
        write_scores(target.scores, scores, session.classes, fitted.name)
        done += len(scores.ids)
        said = "" if scores.engine in ("", engine) else f"scored with {scores.engine}"
        engine = scores.engine
        yield Progress("scoring", done, len(cache), message=said)


def _cache_of(session: Session, counts: Mapping[str, int], number: int) -> Generator[Progress, None, Cache]:
    """Open the caches that a round was fitted on, of which others may have joined since; say what has grown."""
    folders = [folder for folder in session.cache.folders if str(folder) in counts] or list(session.cache.folders)
    cache = session.cache if folders == list(session.cache.folders) else Cache.open(*folders)
    before = sum(counts.get(str(folder), 0) for folder in folders)
    if before and len(cache) != before:
        yield Progress(
            "fitting",
            0,
            message=f"round {number} was fitted when its caches held {before} objects; now they hold "
            f"{len(cache)}, and it is fitted again on these: scores may differ a little from those it gave "
            "before. Train again to have one scale for all",
        )
    return cache
