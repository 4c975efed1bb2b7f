"""Metrics of a ranking where the truth is known: AUROC, AUPRC, precision and efficiency at a depth.

Ties are broken at random in the mean: a figure at a depth is its expectation over all orders of objects with equal
scores, so that no result depends on the order of the input. ``truth`` is boolean, True for an anomaly; ``scores`` are
finite, higher is more anomalous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astroanomaly.errors import ConfigError, LabelError

__all__ = [
    "CURVE_GRID",
    "FIGURES",
    "auprc",
    "auroc",
    "average_precision",
    "binomial_interval",
    "bootstrap_curves",
    "cohen_kappa",
    "efficiency_at_fraction",
    "efficiency_curve",
    "evaluate",
    "fleiss_kappas",
    "found_at",
    "precision_at",
    "precision_at_fraction",
    "precision_recall_curve",
    "ranking_curves",
    "roc_curve",
]

FIGURES = (  # what `evaluate` returns
    "auroc",
    "auprc",
    "average_precision",
    "precision_10",
    "precision_20",
    "precision_50",
    "precision_100",
    "precision_0.1pct",
    "efficiency_0.1pct",
    "precision_1pct",
    "efficiency_1pct",
)
CURVE_GRID = np.linspace(0, 1, 51)  # of `ranking_curves`
_NUMBERS_PER_CHUNK = 2_000_000  # that are held at a time


def auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that an anomaly scores higher than a nominal object."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_checked(truth, scores)))


def auprc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under the precision-recall curve by the trapezoidal rule, as published with the method.

    It is slightly optimistic (Davis & Goadrich 2006, ICML); see `average_precision` for the step-wise sum.
    """
    from sklearn.metrics import auc, precision_recall_curve

    precision, recall, _ = precision_recall_curve(*_checked(truth, scores))
    return float(auc(recall, precision))


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean precision over the anomalies: the area under the precision-recall curve by steps."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_checked(truth, scores)))


def found_at(truth: np.ndarray, scores: np.ndarray, depth: int | np.ndarray) -> np.ndarray:
    """Count the anomalies among the highest-scored objects, in the mean over ties.

    Parameters
    ----------
    truth
        ``(n,)`` bool.
    scores
        ``(n,)`` float.
    depth
        Number of objects inspected, one or several; more than ``n`` means all.

    Returns
    -------
    numpy.ndarray
        Float, of the shape of ``depth``.

    Raises
    ------
    ConfigError
        For a depth below 1.
    """
    truth, scores = _checked(truth, scores)
    if np.any(np.less(depth, 1)):
        raise ConfigError(f"a depth of {np.min(depth)} objects: expected 1 or more")
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan) != 0) + 1  # where a run of equal scores ends
    found = np.cumsum(truth[order])[ends - 1]
    return np.interp(np.minimum(depth, len(truth)), np.r_[0, ends], np.r_[0, found])


def precision_at(truth: np.ndarray, scores: np.ndarray, depth: int) -> float:
    """Share of anomalies among the ``depth`` highest-scored objects (of all, where there are fewer)."""
    return float(found_at(truth, scores, depth) / min(depth, len(truth)))


def precision_at_fraction(truth: np.ndarray, scores: np.ndarray, fraction: float) -> float:
    """Share of anomalies among the highest-scored fraction of all objects, rounded up to whole objects."""
    return precision_at(truth, scores, _depth(len(truth), fraction))


def efficiency_at_fraction(truth: np.ndarray, scores: np.ndarray, fraction: float) -> float:
    """Share of all anomalies that lie in the highest-scored fraction of all objects, rounded up to whole objects."""
    return float(found_at(truth, scores, _depth(len(truth), fraction)) / np.sum(truth))


def evaluate(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return all `FIGURES` of a ranking by name.

    Raises
    ------
    LabelError
        If the truth has one class only, or the arrays do not match.
    """
    figures = {
        "auroc": auroc(truth, scores),
        "auprc": auprc(truth, scores),
        "average_precision": average_precision(truth, scores),
    }
    figures.update({f"precision_{depth}": precision_at(truth, scores, depth) for depth in (10, 20, 50, 100)})
    for name, fraction in (("0.1pct", 0.001), ("1pct", 0.01)):
        figures[f"precision_{name}"] = precision_at_fraction(truth, scores, fraction)
        figures[f"efficiency_{name}"] = efficiency_at_fraction(truth, scores, fraction)
    return figures


def roc_curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return false positive rate and true positive rate, both rising from 0 to 1."""
    from sklearn import metrics

    false, true, _ = metrics.roc_curve(*_checked(truth, scores))
    return false, true


def precision_recall_curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return precision and recall, recall falling from 1 to 0, each recall once.

    A recall has the precision with which it is first reached; objects further down find nothing more and only lower the
    precision. Recall 0 has that of the first anomalies found: that of no objects is not defined, and the 1 that
    scikit-learn puts there would be an anomaly that nobody found. The area below it by steps is `average_precision`.
    """
    from sklearn import metrics

    precision, recall, _ = metrics.precision_recall_curve(*_checked(truth, scores))
    first = np.diff(recall, append=-1.0) != 0
    precision, recall = precision[first], recall[first]
    precision[-1] = precision[-2]
    return precision, recall


def efficiency_curve(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of objects inspected, from 1, and the share of all anomalies found among them."""
    truth, scores = _checked(truth, scores)
    inspected = np.unique(np.geomspace(1, len(truth), 400).astype(int))
    return inspected, found_at(truth, scores, inspected) / truth.sum()


def ranking_curves(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Measure the three curves of a ranking on one grid, and the areas.

    Returns
    -------
    numpy.ndarray
        ``(3 * 51 + 2,)``: on `CURVE_GRID` the true positive rate against the false positive rate, the precision against
        the recall (straight between the points of `precision_recall_curve`), the share of anomalies found against the
        share inspected; then AUROC and AUPRC.
    """
    truth, scores = _checked(truth, scores)
    order, ends = _sorted(scores)
    return _curves_of_samples(truth[order], np.ones((1, len(truth)), np.int32), ends)[0]


def bootstrap_curves(
    truth: np.ndarray, scores: np.ndarray, rng: np.random.Generator, *, resamples: int = 200, level: float = 0.9
) -> tuple[np.ndarray, np.ndarray]:
    """Return intervals of all that `ranking_curves` measures: percentiles over samples with replacement (Efron 1979).

    A sample is a number of times for each object, so that the objects are sorted once for all samples: 20,000 of them
    take .3 s instead of 5 s.

    Parameters
    ----------
    truth, scores
        As everywhere here.
    rng
        Draws the samples.
    resamples
        How many; those without both anomalies and nominal objects are left out.
    level
        Share of the samples within the interval.

    Returns
    -------
    tuple of two numpy.ndarray
        Lower and upper end, ``(3 * 51 + 2,)`` each.
    """
    truth, scores = _checked(truth, scores)
    order, ends = _sorted(scores)
    truth, n = truth[order], len(truth)
    found, step = [], max(1, _NUMBERS_PER_CHUNK // n)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        times = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)]).astype(np.int32)
        anomalies = times @ truth.astype(np.int32)
        found.append(_curves_of_samples(truth, times[(anomalies > 0) & (anomalies < n)], ends))
    low, high = np.percentile(np.concatenate(found), [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high


def binomial_interval(found: np.ndarray, n: np.ndarray, *, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of a fraction of which ``found`` of ``n`` were seen: Jeffreys' (Cameron 2011, PASA 28, 128).

    Parameters
    ----------
    found, n
        Whole numbers of one shape, ``0 <= found <= n``.
    level
        Probability that the interval holds.

    Returns
    -------
    tuple of two numpy.ndarray
        Lower and upper end; NaN where ``n`` is 0.
    """
    from astropy.stats import binom_conf_interval

    found, n = np.asarray(found), np.asarray(n)
    low, high = binom_conf_interval(found, np.maximum(n, 1), confidence_level=level, interval="jeffreys")
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def cohen_kappa(
    first: Sequence[str], second: Sequence[str], *, order: Sequence[str] = (), weights: str | None = None
) -> float:
    """Agreement of two people on the same objects beyond chance (Cohen 1960); NaN where neither made a difference.

    Parameters
    ----------
    first, second
        Labels by each of the two, in the same order.
    order
        All labels in their order, for weights.
    weights
        ``linear`` or ``quadratic``: a disagreement counts by how far the labels lie apart, or by the square of that
        (Cohen 1968); None: all count alike.
    """
    if len(first) != len(second):
        raise LabelError(f"{len(first)} and {len(second)} verdicts: expected two lists of equal length")
    if not first or len({*first, *second}) < 2:
        return float("nan")
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(list(first), list(second), labels=list(order) or None, weights=weights))


def fleiss_kappas(counts: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """Agreement of several people on the same objects beyond chance (Fleiss 1971, Psychological Bulletin 76, 378).

    Every object has as many verdicts as the others, ``n``, on which of ``k`` classes it is; who gave them may differ.
    With ``n_ij`` verdicts of class ``j`` on object ``i``, ``p_j`` the share of class ``j`` among all verdicts, and
    ``q_j = 1 - p_j``: kappa of a class is ``1 - sum_i n_ij (n - n_ij) / (N n (n - 1) p_j q_j)``, and kappa of all is
    the mean of these, weighted by ``p_j q_j``.

    Parameters
    ----------
    counts
        ``(N, k)`` verdicts by object and class, each row with the same sum ``n`` of at least 2.
    times
        ``(b, N)`` how often each object counts, in each of ``b`` samples; None: once, in one sample.

    Returns
    -------
    numpy.ndarray
        ``(b, 1 + k)`` float: kappa of all, then of each class; NaN where chance alone gives full agreement: a class
        that nobody chose, or everybody for every object.
    """
    counts = np.asarray(counts, float)
    people = counts.sum(1)
    if not len(counts) or people[0] < 2 or (people != people[0]).any():
        raise LabelError("kappa of several people: expected objects with the same number of verdicts, 2 or more")
    n = people[0]
    weights = np.ones((1, len(counts))) if times is None else np.asarray(times, float)
    total = weights.sum(1, keepdims=True)
    share = weights @ counts / (total * n)  # (b, k)
    differ = weights @ (counts * (n - counts)) / (total * n * (n - 1))
    chance = share * (1 - share)
    with np.errstate(invalid="ignore", divide="ignore"):
        every = 1 - differ.sum(1) / chance.sum(1)
        return np.column_stack(
            [np.where(chance.sum(1) > 0, every, np.nan), np.where(chance > 0, 1 - differ / chance, np.nan)]
        )


def _sorted(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order from the highest score, and the last index of each run of equal scores."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], append=np.nan) != 0)


def _curves_of_samples(truth: np.ndarray, times: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """``(b, 155)`` figures of b samples: ``truth (n,)`` in the order of scores, ``times (b, n)`` each object counts."""
    zero = np.zeros((len(times), 1))
    true = np.hstack([zero, np.cumsum(times * truth, axis=1)[:, ends]])  # (b, m + 1)
    seen = np.hstack([zero, np.cumsum(times, axis=1)[:, ends]])
    false = seen - true
    recall, wrong = true / true[:, -1:], false / false[:, -1:]
    with np.errstate(invalid="ignore"):
        precision = np.where(seen > 0, true / seen, 1.0)
    depth = np.maximum(CURVE_GRID * len(truth), 1)
    figures = np.empty((len(times), 3 * len(CURVE_GRID) + 2))
    for row, out in enumerate(figures):
        out[: len(CURVE_GRID)] = np.interp(CURVE_GRID, wrong[row], recall[row])
        first = np.diff(recall[row], prepend=-1.0) > 0  # where each recall is first reached: with its best precision
        reached = precision[row][first]
        reached[0] = reached[1]  # nothing is inspected there
        out[len(CURVE_GRID) : 2 * len(CURVE_GRID)] = np.interp(CURVE_GRID, recall[row][first], reached)
        out[2 * len(CURVE_GRID) : -2] = np.interp(depth, seen[row], recall[row])
    figures[:, -2] = (np.diff(wrong, axis=1) * (recall[:, 1:] + recall[:, :-1])).sum(1) / 2
    figures[:, -1] = (np.diff(recall, axis=1) * (precision[:, 1:] + precision[:, :-1])).sum(1) / 2
    return figures


def _depth(count: int, fraction: float) -> int:
    if not 0 < fraction <= 1:
        raise ConfigError(f"a fraction of {fraction}: expected more than 0 and at most 1")
    return max(1, int(np.ceil(count * fraction - 1e-9)))


def _checked(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, scores = np.asarray(truth, bool), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise LabelError(f"truth has shape {truth.shape} and scores {scores.shape}: expected two lists of equal length")
    if not np.isfinite(scores).all():
        raise LabelError(f"{np.sum(~np.isfinite(scores))} objects have no score: score all objects first")
    if truth.all() or not truth.any():
        raise LabelError(f"all {len(truth)} objects are {'anomalies' if truth.any() else 'nominal'}: no ranking")
    return truth, scores
