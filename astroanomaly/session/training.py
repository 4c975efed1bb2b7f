"""A round of a session: fit a ranker, then score all objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.scores import has_scores, write_scores
from astroanomaly.config import to_plain
from astroanomaly.figures import training_curves
from astroanomaly.hookspecs import Ranker, rests_on_labels
from astroanomaly.learn.rankers.label_check import check_labels
from astroanomaly.parallel.dask import Cluster
from astroanomaly.records import NOMINAL, Progress, ShardScores
from astroanomaly.session.cluster_tasks import compute_features, score_shards
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.outputs.provenance import software_versions
from astroanomaly.session.rounds import ROUNDS, Round, new_round
from astroanomaly.session.score_parts import block_remarks

__all__ = ["TrainReport", "choose_ranker", "score", "train"]

_TUNED_FROM = 40  # anomalies, and nominal objects, from which tuning a network has found more on the sky
_TUNED_UP_TO = 200_000  # objects, whose scores take a pass through the network


@dataclass(frozen=True)
class TrainReport:
    """Result of a training.

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


def choose_ranker(session: SessionFolder, options: Mapping[str, object]) -> tuple[str, str]:
    """Choose a ranker by the labels there are, by what the images show and by how many there are.

    Parameters
    ----------
    session
        The session.
    options
        What was asked for by name beside the ranker.

    Returns
    -------
    tuple
        Its name, and the reason in words.
    """
    counts = Counter(session.labels.labelled().classes)  # without the audit set, as they are learnt from
    nominal, odd = counts[NOMINAL], counts.total() - counts[NOMINAL]
    objects = len(session.cache)
    labels = f"{odd} anomalies and {nominal} nominal objects are labelled"
    if options:
        return "tuned", f"{', '.join(options)} is given, which it has"
    if session.context.blocks:
        return "active-search", "it looks at the numbers beside the image too, which a tuned network does not"
    if session.model_input.views != "sky":
        return "active-search", "tuning a network has found no more on pictures with an up"
    if min(nominal, odd) < _TUNED_FROM:
        return "active-search", f"{labels}; from {_TUNED_FROM} of each on a network is tuned"
    if objects > _TUNED_UP_TO:
        return (
            "active-search",
            f"{objects:,} objects would have to pass through a tuned network: --ranker tuned does it",
        )
    return "tuned", f"{labels}, and the sky has no up"


def train(
    session: SessionFolder, ranker: Ranker, cluster: Cluster | None = None
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
    SessionError
        If grades were declared meanwhile.
    """
    last_event, audit = session.labels.last_event, session.labels.audit_set()
    labelled = session.labels.labelled()
    counts: Counter[str] = Counter()
    if rests_on_labels(ranker):
        counts.update(labelled.classes)
    if ranker.needs_labels:
        check_labels(labelled.classes, session.classes, ranker.name, session.path)
    earlier = [item for item in session.rounds if item.ranker == ranker.name]
    if ranker.has_weights and earlier:
        ranker.load(earlier[-1].weights)
    history: list[dict[str, float]] = []
    messages: list[str] = []
    if cluster is not None:
        yield from compute_features(session, ranker, session.cache, cluster)
    with new_round(session.path / ROUNDS, ranker.name, last_event) as draft:
        session.check_grades_stand()
        for step in ranker.fit(session.cache, labelled, audit.ids):
            if step.stage == "training":
                history.append({"step": float(step.done), **step.values})
            if step.message:
                messages.append(step.message)
            yield step
        for text, shares in block_remarks(session, ranker, labelled):
            messages.append(text)
            draft.recipe |= {"shares": shares} if shares else {}
            yield Progress(ranker.name, 1, 1, message=text)
        draft.recipe |= {
            "options": to_plain(ranker.options),
            "history": history,
            "messages": messages,
            "labels": dict(counts),
            "audit_draws": audit.draws,
            "versions": software_versions(),
            "caches": dict(zip(map(str, session.cache.folders), session.cache.counts, strict=True)),
        }
        if ranker.has_weights:
            ranker.save(draft.round.weights)
        if history:
            curves = [{name: value for name, value in step.items() if name != "seconds"} for step in history]
            training_curves(curves, draft.round.path / "training.png")
    return TrainReport(draft.round, dict(counts), history, messages)


def score(
    session: SessionFolder, fitted: Ranker, target: Round, cache: Cache, cluster: Cluster | None = None
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
    with target.in_use():
        yield from _score(session, fitted, target, cache, cluster)


def _score(
    session: SessionFolder, fitted: Ranker, target: Round, cache: Cache, cluster: Cluster | None
) -> Generator[Progress, None, None]:
    missing = [shard for shard in cache.shards if not has_scores(target.scores, shard.uuid)]
    for shard in missing:
        if not len(shard):  # all of its objects have failed
            none = ShardScores(shard.uuid, [], np.empty((0, len(session.classes)), np.float32))
            write_scores(target.scores, none, session.classes, fitted.name)
    left = {shard.uuid: len(shard) for shard in missing if len(shard)}
    done = len(cache) - sum(left.values())
    if cluster is not None and fitted.has_weights:
        yield from score_shards(session, target, cache, left, cluster)
        return
    engine, shards = "", {shard.uuid: shard for shard in cache.shards}
    yield Progress("scoring", done, len(cache))
    for scores in fitted.score(cache, left) if left else ():
        write_scores(target.scores, scores, session.classes, fitted.name, shards[scores.shard].positions)
        done += len(scores.ids)
        message = "" if scores.engine in ("", engine) else f"scored with {scores.engine}"
        engine = scores.engine
        yield Progress("scoring", done, len(cache), message=message)
