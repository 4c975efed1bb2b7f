"""Is it working? Curves with intervals, what was found for how many verdicts, and labels the model doubts. No Bokeh."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly import metrics
from astroanomaly.app.search import Search
from astroanomaly.opinions import DISPUTED
from astroanomaly.records import NOMINAL

__all__ = ["Curves", "Pace", "curves", "doubted", "histogram", "pace", "sample"]

_GRID = np.linspace(0, 1, 51)
_PAUSE_S = 120.0  # longer than this between two verdicts was a pause, not thinking


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


def sample(search: Search, by: str) -> tuple[list[str], np.ndarray, np.ndarray, bool]:
    """Return the labelled objects to judge a ranking on: the audit set if it has labels on both sides, else all others.

    Returns
    -------
    tuple
        Ids, ``(n,)`` truth, ``(n,)`` scores, and whether they are biased. Objects without a score are left out.
    """
    said = {i: o.label for i, o in search.tally.opinions().items() if o.label not in ("", DISPUTED)}
    audit = {i: label for i, label in said.items() if i in search.audit}
    unbiased = len({label == NOMINAL for label in audit.values()}) == 2
    chosen = audit if unbiased else {i: label for i, label in said.items() if i not in search.audit}
    ids = [i for i in sorted(chosen) if search.cache.find([i])[0] >= 0]
    truth = np.array([chosen[i] != NOMINAL for i in ids], bool)
    scores = search.score_of(ids, by).astype(float) if ids else np.zeros(0)
    there = np.isfinite(scores)
    return [i for i, yes in zip(ids, there, strict=True) if yes], truth[there], scores[there], not unbiased


def curves(search: Search, by: str) -> Curves | None:
    """Measure a ranking; None while there are not verdicts on both sides."""
    _, truth, scores, biased = sample(search, by)
    if not truth.any() or truth.all():
        return None
    rng = np.random.default_rng(0)

    def all_of(t: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [_roc(t, s), _precision(t, s), _efficiency(t, s), [metrics.auroc(t, s), metrics.auprc(t, s)]]
        )

    values = np.stack([all_of(truth, scores), *metrics.bootstrap(truth, scores, all_of, rng)])
    roc, precision, efficiency = (values[:, k * len(_GRID) : (k + 1) * len(_GRID)] for k in range(3))
    return Curves(
        biased, int(truth.sum()), int((~truth).sum()), _GRID, roc, precision, efficiency,
        tuple(values[:, -2].tolist()), tuple(values[:, -1].tolist()),
    )  # fmt: skip


def _roc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    false, true = metrics.roc_curve(truth, scores)
    return np.interp(_GRID, false, true)


def _precision(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    precision, recall = metrics.precision_recall_curve(truth, scores)
    return np.interp(_GRID, recall[::-1], precision[::-1])


def _efficiency(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    depth = np.maximum(_GRID * len(truth), 1)
    return metrics.found_at(truth, scores, depth) / truth.sum()


def histogram(search: Search, by: str, bins: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Count the scores: edges ``(bins + 1,)``, and ``(bins,)`` of all objects, of nominal and of anomalous ones."""
    scores = search.scores.get(by)
    known = np.zeros(0) if scores is None else scores[np.isfinite(scores)]
    if not len(known):
        empty = np.zeros(bins)
        return np.linspace(0, 1, bins + 1), empty, empty, empty
    low, high = np.percentile(known, [0.05, 99.95])
    edges = np.linspace(min(low, high - 1e-6), high, bins + 1)
    said = {i: o.label for i, o in search.tally.opinions().items() if o.label not in ("", DISPUTED)}
    ids = [i for i in said if search.cache.find([i])[0] >= 0]
    own = search.score_of(ids, by) if ids else np.zeros(0)
    nominal = np.array([said[i] == NOMINAL for i in ids], bool)
    clipped = np.clip(own, edges[0], edges[-1])
    return (
        edges,
        np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0],
        np.histogram(clipped[nominal & np.isfinite(own)], edges)[0],
        np.histogram(clipped[~nominal & np.isfinite(own)], edges)[0],
    )


@dataclass(frozen=True, eq=False)
class Pace:
    """How a search went.

    Attributes
    ----------
    verdicts, found
        ``(n,)``: verdicts given so far, and anomalies among them, after each verdict that still stands.
    per_minute
        Verdicts per minute of work, pauses of more than two minutes left out; NaN with fewer than two.
    """

    verdicts: np.ndarray
    found: np.ndarray
    per_minute: float


def pace(search: Search, annotator: str = "") -> Pace:
    """Follow the verdicts of everybody, or of one person. Those of the audit set are left out of what was found."""
    standing = (event for object_id in search.tally.opinions() for event in search.tally.standing(object_id))
    events = sorted((event for event in standing if event.kind == "verdict"), key=lambda event: event.number)
    own = [event for event in events if annotator in ("", event.annotator)]
    seen: dict[str, bool] = {}
    found = []
    for event in own:
        if event.object_id not in search.audit:
            seen[event.object_id] = event.value != NOMINAL
            found.append(sum(seen.values()))
    busy, count = 0.0, 0
    for who in {event.annotator for event in own}:
        times = sorted({(event.batch, event.time) for event in own if event.annotator == who})
        moments = [datetime.datetime.fromisoformat(time).timestamp() for _, time in times]
        gaps = np.diff(moments)
        busy += float(gaps[gaps <= _PAUSE_S].sum())
        count += int((gaps <= _PAUSE_S).sum())
    return Pace(np.arange(1, len(found) + 1), np.array(found, int), 60 * count / busy if busy > 0 else float("nan"))


def doubted(search: Search, by: str, n: int = 20) -> list[tuple[str, str, float]]:
    """Return labelled objects whose score contradicts their label most: id, label, score."""
    said = {
        i: o.label
        for i, o in search.tally.opinions().items()
        if o.label not in ("", DISPUTED) and i not in search.audit and search.cache.find([i])[0] >= 0
    }
    ids = list(said)
    scores: Sequence[float] = search.score_of(ids, by).tolist() if ids else []
    against = [
        (score if said[i] == NOMINAL else -score, i, score)
        for i, score in zip(ids, scores, strict=True)
        if np.isfinite(score)
    ]
    return [(i, said[i], score) for doubt, i, score in sorted(against, reverse=True)[:n] if doubt > 0]
