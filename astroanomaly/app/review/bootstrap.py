"""Curves of a ranking and of many samples drawn from it with replacement, from one sorting."""

from __future__ import annotations

import numpy as np

__all__ = ["GRID", "ranking_curves", "resampled_curves"]

GRID = np.linspace(0, 1, 51)
_AT_ONCE = 2_000_000  # numbers that are held at a time


def ranking_curves(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Measure a ranking.

    Parameters
    ----------
    truth
        ``(n,)`` bool, with both.
    scores
        ``(n,)`` finite, higher is more anomalous; equal ones count as one step, as in `astroanomaly.metrics`.

    Returns
    -------
    numpy.ndarray
        ``(3 * 51 + 2,)``: on `GRID` the true positive rate against the false positive rate, the precision against the
        recall, the share of anomalies found against the share inspected; then AUROC and AUPRC.
    """
    order, ends = _sorted(scores)
    return _measure(truth[order], np.ones((1, len(truth)), np.int32), ends)[0]


def resampled_curves(
    truth: np.ndarray, scores: np.ndarray, rng: np.random.Generator, *, resamples: int = 200, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the interval of each figure of `ranking_curves`: percentiles over samples (Efron 1979).

    The same as `astroanomaly.metrics.bootstrap`, but that a sample is a number of times for each object, so that
    nothing is sorted again: 20,000 objects take .3 s instead of 5 s.
    """
    order, ends = _sorted(scores)
    truth, n = truth[order], len(truth)
    found, step = [], max(1, _AT_ONCE // n)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)]).astype(np.int32)
        anomalies = times @ truth.astype(np.int32)
        found.append(_measure(truth, times[(anomalies > 0) & (anomalies < n)], ends))
    low, high = np.percentile(np.concatenate(found), [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high


def _sorted(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order from the highest score, and the last places of runs of equal scores in it."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)


def _measure(truth: np.ndarray, times: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """``(b, 155)`` figures of b samples: ``truth (n,)`` in the order of scores, ``times (b, n)`` each object counts."""
    zero = np.zeros((len(times), 1))
    true = np.hstack([zero, np.cumsum(times * truth, axis=1)[:, ends]])  # (b, m + 1)
    seen = np.hstack([zero, np.cumsum(times, axis=1)[:, ends]])
    false = seen - true
    recall, wrong = true / true[:, -1:], false / false[:, -1:]
    with np.errstate(invalid="ignore"):
        precision = np.where(seen > 0, true / seen, 1.0)
    depth = np.maximum(GRID * len(truth), 1)
    figures = np.empty((len(times), 3 * len(GRID) + 2))
    for row, out in enumerate(figures):
        out[: len(GRID)] = np.interp(GRID, wrong[row], recall[row])
        out[len(GRID) : 2 * len(GRID)] = np.interp(GRID, recall[row], precision[row])
        out[2 * len(GRID) : -2] = np.interp(depth, seen[row], recall[row])
    figures[:, -2] = (np.diff(wrong, axis=1) * (recall[:, 1:] + recall[:, :-1])).sum(1) / 2
    figures[:, -1] = (np.diff(recall, axis=1) * (precision[:, 1:] + precision[:, :-1])).sum(1) / 2
    return figures
