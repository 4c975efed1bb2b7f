"""Performance of a ranking: curves with intervals, and anomalies found against verdicts."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

import numpy as np

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.labels.consensus import DISPUTED, audit_labels
from astroanomaly.metrics import CURVE_GRID, bootstrap_curves, ranking_curves
from astroanomaly.records import NOMINAL
from astroanomaly.session.calibration import MIN_AUDIT_LABELS

__all__ = ["Curves", "EvaluationSet", "Pace", "curves", "evaluation_set", "histogram", "pace"]

_PAUSE_S = 120.0  # longer than this between two verdicts was a pause, not thinking


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Labelled objects to measure a ranking on; those without a score are left out.

    Attributes
    ----------
    ids, truth, scores
        ``(n,)`` each; ``truth`` is True for anomalies.
    biased
        False for the audit set.
    audit_labelled, audit_size
        How many objects of the audit set have a label that counts, and how many there are.
    """

    ids: list[str]
    truth: np.ndarray
    scores: np.ndarray
    biased: bool
    audit_labelled: int
    audit_size: int


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of one ranking on one set of labelled objects.

    Attributes
    ----------
    biased
        False on the audit set; True on objects that were shown because their scores were high.
    anomalies, nominal
        How many of each there are.
    x
        Grid of the three curves, 0 to 1: false positive rate, recall, share of the objects inspected.
    roc, precision, efficiency
        ``(3, 51)`` each: value, lower and upper end of the 90 % interval.
    auroc, auprc
        Value, lower and upper end.
    audit_labelled, audit_size
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


def evaluation_set(shared: SharedState, by: str) -> EvaluationSet:
    """Return the labelled objects to measure a ranking on: the audit set if enough of it is labelled, else all others.

    Enough are 20 objects, or all of a smaller set, with both nominal ones and anomalies. For which verdicts count, see
    `astroanomaly.labels.consensus.audit_labels`.
    """
    audit = {i for i, row in zip(shared.audit, shared.cache.find(list(shared.audit)), strict=True) if row >= 0}
    labels = {i: o.label for i, o in shared.consensus.current().items() if o.label}
    known = audit_labels(shared.consensus, audit)
    sides = {label == NOMINAL for label in known.values() if label != DISPUTED}
    unbiased = len(sides) == 2 and len(known) >= min(MIN_AUDIT_LABELS, len(audit))
    chosen = known if unbiased else {i: label for i, label in labels.items() if i not in shared.audit}
    ids, truth, scores = _scored(shared, {i: label for i, label in chosen.items() if label != DISPUTED}, by)
    return EvaluationSet(ids, truth, scores, not unbiased, len(known), len(audit))


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


def curves(shared: SharedState, by: str) -> Curves | None:
    """Measure a ranking; None while there are not verdicts on both sides."""
    known = evaluation_set(shared, by)
    truth, scores = known.truth, known.scores
    if not truth.any() or truth.all():
        return None
    low, high = bootstrap_curves(truth, scores, np.random.default_rng(0))
    values = np.stack([ranking_curves(truth, scores), low, high])
    roc, precision, efficiency = (values[:, k * len(CURVE_GRID) : (k + 1) * len(CURVE_GRID)] for k in range(3))
    return Curves(
        known.biased, int(truth.sum()), int((~truth).sum()), CURVE_GRID, roc, precision, efficiency,
        tuple(values[:, -2].tolist()), tuple(values[:, -1].tolist()), known.audit_labelled, known.audit_size,
    )  # fmt: skip


def histogram(shared: SharedState, by: str, bins: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count the scores: edges ``(bins + 1,)``, and ``(bins,)`` of all objects, of nominal and of anomalous ones."""
    scores = shared.scores.get(by)
    known = np.zeros(0) if scores is None else scores[np.isfinite(scores)]
    if not len(known):
        empty = np.zeros(bins)
        return np.linspace(0, 1, bins + 1), empty, empty, empty
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
        Verdicts per minute of work, pauses of more than two minutes left out; NaN with fewer than two.
    """

    verdicts: np.ndarray
    found: np.ndarray
    per_minute: float


def pace(shared: SharedState, annotator: str = "") -> Pace:
    """Follow the verdicts of everybody, or of one person. Those of the audit set are left out of what was found."""
    valid = (event for object_id in shared.consensus.current() for event in shared.consensus.valid_events(object_id))
    events = sorted((event for event in valid if event.kind == "verdict"), key=lambda event: event.number)
    own = [event for event in events if annotator in ("", event.annotator)]
    seen: dict[str, bool] = {}
    found, anomalies = [], 0
    for event in own:
        if event.object_id not in shared.audit:
            anomalous = event.value != NOMINAL
            anomalies += anomalous - seen.get(event.object_id, False)
            seen[event.object_id] = anomalous
            found.append(anomalies)
    busy, count = 0.0, 0
    moments_of: dict[str, set[tuple[int, str]]] = {}
    for event in own:
        moments_of.setdefault(event.annotator, set()).add((event.batch, event.time))
    for times in map(sorted, moments_of.values()):
        moments = [datetime.datetime.fromisoformat(time).timestamp() for _, time in times]
        gaps = np.diff(moments)
        busy += float(gaps[gaps <= _PAUSE_S].sum())
        count += int((gaps <= _PAUSE_S).sum())
    return Pace(np.arange(1, len(found) + 1), np.array(found, int), 60 * count / busy if busy > 0 else float("nan"))
