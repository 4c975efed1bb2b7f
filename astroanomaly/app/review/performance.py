"""Performance of a ranking: curves with intervals, and anomalies found against verdicts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from astroanomaly.app.review.held_out import MIN_OF_A_KIND, has_learnt, held_out_scores
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.labels.consensus import DISPUTED, IMPORTED_DECISION, Consensus, audit_labels
from astroanomaly.labels.log import IMPORTED
from astroanomaly.metrics import CURVE_GRID, bootstrap_curves, ranking_curves
from astroanomaly.records import NOMINAL
from astroanomaly.session.audit import describe_sample
from astroanomaly.session.calibration import MIN_AUDIT_LABELS

__all__ = ["Curves", "EvaluationSet", "Pace", "curves", "evaluation_set", "histogram", "measure", "pace"]

_PAUSE_S = 60.0  # longer than this between two verdicts was a pause, not thinking
_MIN_MOMENTS = 5  # verdicts, or groups of them given at once, that tell a rate
_NOT_BY_HAND = (
    "",
    IMPORTED,
    IMPORTED_DECISION,
)  # orderings of verdicts from Python or a table: in the app every object was shown


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Labelled objects to measure a ranking on, with scores that do not know their labels.

    Those without a score are left out.

    Attributes
    ----------
    ids, truth, scores
        ``(n,)`` each; ``truth`` is True for anomalies.
    biased
        False for the audit set.
    audit_labelled, audit_size
        How many objects of the audit set have a label that counts, and how many there are.
    cross_validated
        Whether the scores are no scores of the ranking, which has learnt from these labels, but of models that each
        object's label was held out of.
    sample_of
        What the audit set is a random sample of; empty: of all objects.
    anomalies, nominal
        How many of each have labels that could be measured on; with too few of either there are no objects here.
    """

    ids: list[str]
    truth: np.ndarray
    scores: np.ndarray
    biased: bool
    audit_labelled: int
    audit_size: int
    cross_validated: bool = False
    sample_of: str = ""
    anomalies: int = 0
    nominal: int = 0


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of one ranking on one set of labelled objects.

    Attributes
    ----------
    biased
        False on the audit set; True on objects that were chosen to be labelled.
    anomalies, nominal
        How many of each there are.
    x
        Grid of the three curves, 0 to 1: false positive rate, recall, share of the objects inspected.
    roc, precision, efficiency
        ``(3, 51)`` each: value, lower and upper end of the 90 % interval.
    auroc, auprc
        Value, lower and upper end.
    audit_labelled, audit_size, cross_validated, sample_of
        As in `EvaluationSet`.
    """

    biased: bool
    anomalies: int
    nominal: int
    x: np.ndarray
    roc: np.ndarray
    precision: np.ndarray
    efficiency: np.ndarray
    auroc: tuple[float, float, float]
    auprc: tuple[float, float, float]
    audit_labelled: int
    audit_size: int
    cross_validated: bool = False
    sample_of: str = ""


def evaluation_set(shared: SharedState, by: str, consensus: Consensus | None = None) -> EvaluationSet:
    """Return the labelled objects to measure a ranking on: the audit set if enough of it is labelled, else all others.

    Enough are 20 objects, or all of a smaller set, with five nominal ones and five anomalies. For which verdicts count,
    see `astroanomaly.labels.consensus.audit_labels`. Where the ranking has learnt from the labels of the others, their
    scores are cross-validated.

    Parameters
    ----------
    shared
        What all pages share.
    by
        Name of the scores.
    consensus
        The consensus of annotators; None: that of the pages, which another thread must not read.
    """
    told = shared.consensus if consensus is None else consensus
    members = shared.audit
    audit = {i for i, row in zip(members, shared.cache.find(list(members)), strict=True) if row >= 0}
    known = audit_labels(told, audit)
    clear = {i: label for i, label in known.items() if label != DISPUTED}
    counts = _count(clear)
    if min(counts) >= MIN_OF_A_KIND and len(known) >= min(MIN_AUDIT_LABELS, len(audit)):
        sample = describe_sample(shared.labels.audit_set())
        return EvaluationSet(*_scored(shared, clear, by), False, len(known), len(audit), False, sample, *counts)
    others = {i: o.label for i, o in told.current().items() if o.label not in ("", DISPUTED) and i not in members}
    others = {i: others[i] for i in shared.known(list(others))}
    learnt = by in shared.scores and has_learnt(shared, by)
    found = held_out_scores(shared, others) if learnt else _scored(shared, others, by)
    return EvaluationSet(*found, True, len(known), len(audit), learnt, "", *_count(others))


def _count(labels: Mapping[str, str]) -> tuple[int, int]:
    """Count anomalies and nominal objects."""
    nominal = sum(label == NOMINAL for label in labels.values())
    return len(labels) - nominal, nominal


def _scored(shared: SharedState, labels: dict[str, str], by: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, ``(n,)`` whether they are anomalies, ``(n,)`` scores; those without a score are left out."""
    ids = sorted(labels)
    rows = shared.cache.find(ids)
    scores = np.full(len(ids), np.nan)
    if by in shared.scores and len(ids):
        scores = np.where(rows >= 0, shared.scores[by][rows].astype(float), np.nan)
    there = np.isfinite(scores)
    truth = np.array([labels[i] != NOMINAL for i in ids], bool)
    return [i for i, yes in zip(ids, there, strict=True) if yes], truth[there], scores[there]


def _labels(shared: SharedState) -> dict[str, str]:
    return {i: o.label for i, o in shared.consensus.current().items() if o.label not in ("", DISPUTED)}


def curves(shared: SharedState, by: str, consensus: Consensus | None = None) -> Curves | None:
    """Measure a ranking on what `evaluation_set` returns; None with fewer than five objects of either kind."""
    return _curves(evaluation_set(shared, by, consensus))


def measure(shared: SharedState, by: str) -> tuple[Curves | None, str]:
    """Measure a ranking, or say why not; takes a second or more, and may be called from any thread."""
    known = evaluation_set(shared, by, shared.labels.consensus())
    return _curves(known), _why_none(shared, by, known)


def _why_none(shared: SharedState, by: str, known: EvaluationSet) -> str:
    """Say why a ranking cannot be measured; empty where it can."""
    if by not in shared.scores:
        return "Curves appear as soon as there is a ranking."
    if min(known.anomalies, known.nominal) < MIN_OF_A_KIND:
        return (
            f"{known.anomalies} anomalies and {known.nominal} nominal objects are labelled: curves are drawn from "
            f"{MIN_OF_A_KIND} of each on. With fewer they would say next to nothing."
        )
    if min(int(known.truth.sum()), int((~known.truth).sum())) < MIN_OF_A_KIND:
        return "The features or scores of the labelled objects are not all there yet: curves appear in a moment."
    return ""


def _curves(known: EvaluationSet) -> Curves | None:
    truth, scores = known.truth, known.scores
    if min(int(truth.sum()), int((~truth).sum())) < MIN_OF_A_KIND:
        return None
    low, high = bootstrap_curves(truth, scores, np.random.default_rng(0))
    values = np.stack([ranking_curves(truth, scores), low, high])
    roc, precision, efficiency = (values[:, k * len(CURVE_GRID) : (k + 1) * len(CURVE_GRID)] for k in range(3))
    return Curves(
        known.biased, int(truth.sum()), int((~truth).sum()), CURVE_GRID, roc, precision, efficiency,
        tuple(values[:, -2].tolist()), tuple(values[:, -1].tolist()), known.audit_labelled, known.audit_size,
        known.cross_validated, known.sample_of,
    )  # fmt: skip


def histogram(shared: SharedState, by: str, bins: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count the scores: edges ``(bins + 1,)``, and ``(bins,)`` of all objects, of nominal and of anomalous ones.

    Without any score there is no bin.
    """
    scores = shared.scores.get(by)
    known = np.zeros(0) if scores is None else scores[np.isfinite(scores)]
    if not len(known):
        none = np.zeros(0, int)
        return np.zeros(1), none, none, none
    low, high = np.percentile(known, [0.05, 99.95])
    edges = np.linspace(min(low, high - 1e-6), high, bins + 1)
    _, anomalous, own = _scored(shared, _labels(shared), by)
    clipped = np.clip(own, edges[0], edges[-1])
    return (
        edges,
        np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0],
        np.histogram(clipped[~anomalous], edges)[0],
        np.histogram(clipped[anomalous], edges)[0],
    )


@dataclass(frozen=True, eq=False)
class Pace:
    """Anomalies found against verdicts given, and verdicts a minute.

    Attributes
    ----------
    verdicts, found
        ``(n,)``: verdicts given so far, and anomalies among them, after each verdict that was not taken back.
    per_minute
        Verdicts per minute of work, pauses of more than a minute left out; those given at once count once. NaN with
        fewer than five.
    """

    verdicts: np.ndarray
    found: np.ndarray
    per_minute: float


def pace(shared: SharedState, annotator: str = "") -> Pace:
    """Follow the verdicts that everybody, or one person, gave in the app.

    Labels from Python or a table are not among them. Those of the audit set are left out of what was found.
    """
    valid = (event for object_id in shared.consensus.current() for event in shared.consensus.valid_events(object_id))
    by_hand = (event for event in valid if event.kind == "verdict" and event.ordering not in _NOT_BY_HAND)
    events = sorted(by_hand, key=lambda event: event.number)
    own = [event for event in events if annotator in ("", event.annotator)]
    seen: dict[str, bool] = {}
    found, anomalies = [], 0
    for event in own:
        if event.object_id not in shared.audit:
            anomalous = event.value != NOMINAL
            anomalies += anomalous - seen.get(event.object_id, False)
            seen[event.object_id] = anomalous
            found.append(anomalies)
    busy, count, most = 0.0, 0, 0
    moments_of: dict[str, set[tuple[int, str]]] = {}
    for event in own:
        moments_of.setdefault(event.annotator, set()).add((event.batch, event.time))
    for times in map(sorted, moments_of.values()):
        moments = [datetime.datetime.fromisoformat(time).timestamp() for _, time in times]
        gaps, most = np.diff(moments), max(most, len(moments))
        busy += float(gaps[gaps <= _PAUSE_S].sum())
        count += int((gaps <= _PAUSE_S).sum())
    rate = 60 * count / busy if busy > 0 and most >= _MIN_MOMENTS else float("nan")
    return Pace(np.arange(1, len(found) + 1), np.array(found, int), rate)
