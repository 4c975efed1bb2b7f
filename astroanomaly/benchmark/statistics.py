"""Statistics over repeats: means, scatters, paired differences, anomalies found; with intervals by Student's t."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "DEPTHS",
    "SHOWN",
    "Interval",
    "Row",
    "chance_rate",
    "differences",
    "found_after",
    "last_rounds",
    "of_round",
    "per_seed",
    "scatter",
]

Row = Mapping[str, Any]
DEPTHS = (100, 200)  # verdicts after which the anomalies found are counted
SHOWN = (
    "auroc",
    "auprc",
    "average_precision",
    "precision_10",
    "precision_20",
    "precision_50",
    "precision_100",
    "precision_0.1pct",
    "precision_1pct",
    "efficiency_0.1pct",
    "efficiency_1pct",
    "seconds",
)


@dataclass(frozen=True)
class Interval:
    """A mean with the interval that holds the true one in 95 of 100 cases, by Student's t.

    Attributes
    ----------
    mean
        NaN where there is no value.
    half
        Half the width of the interval; NaN for fewer than two values.
    count
        Number of values.
    """

    mean: float
    half: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
        """Measure it; what is NaN does not count."""
        from scipy.stats import t

        known = np.asarray(values, float)
        known = known[np.isfinite(known)]
        n = len(known)
        if n < 2:
            return cls(float(known[0]) if n else math.nan, math.nan, n)
        return cls(float(known.mean()), float(t.ppf((1 + level) / 2, n - 1) * known.std(ddof=1) / math.sqrt(n)), n)


def last_rounds(results: Sequence[Row]) -> list[Row]:
    """Return the rows of the last round of every ranker."""
    last: dict[str, int] = {}
    for row in results:
        last[row["ranker"]] = max(row["round"], last.get(row["ranker"], 0))
    return [row for row in results if row["round"] == last[row["ranker"]]]


def of_round(results: Sequence[Row], key: str) -> dict[tuple[str, int], float]:
    """Return one figure by class and seed, for the rows of one ranker in one round; NaN where it is not known."""
    return {(row["class"], row["seed"]): float(row.get(key, math.nan)) for row in results}


def per_seed(values: Mapping[tuple[str, int], float]) -> list[float]:
    """Return the mean over the classes of every seed that has a figure for all of them."""
    classes = {name for name, _ in values}
    seeds = sorted({seed for _, seed in values})
    whole = [[values.get((name, seed), math.nan) for name in classes] for seed in seeds]
    return [float(np.mean(row)) for row in whole if np.isfinite(row).all()]


def scatter(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation; what is NaN does not count, and the deviation of one value is 0."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return math.nan, math.nan
    return float(np.mean(known)), float(np.std(known, ddof=len(known) > 1))


def differences(results: Sequence[Row], first: str, other: str, key: str) -> Interval:
    """Compare two rankers in the last round: mean of other minus first over the pairs of class and seed."""
    rows = last_rounds(results)
    one, two = (of_round([row for row in rows if row["ranker"] == name], key) for name in (first, other))
    return Interval.of([two[pair] - one[pair] for pair in sorted(two) if pair in one])


def chance_rate(results: Sequence[Row]) -> float:
    """Return the share of anomalies among the objects without a label at the start, in the mean over all trials."""
    starts = [row["unlabelled_anomaly"] / row["unlabelled"] for row in results if row["round"] == 1]
    return float(np.mean(starts))


def found_after(rows: Sequence[Row], verdicts: int) -> tuple[float, float]:
    """Return the anomalies found within so many verdicts, and what chance would have found.

    Parameters
    ----------
    rows
        All rounds of one trial. Between two of them the count is interpolated, unless it was taken then: see `DEPTHS`.
    verdicts
        Verdicts given after the start.

    Returns
    -------
    tuple
        NaN where fewer verdicts were given.
    """
    ordered = sorted(rows, key=lambda row: row["round"])
    given = [0, *(row["given"] for row in ordered)]
    if given[-1] < verdicts:
        return math.nan, math.nan
    rate = ordered[0]["unlabelled_anomaly"] / ordered[0]["unlabelled"]
    counted = float(ordered[-1].get(f"found_{verdicts}", math.nan))
    if math.isnan(counted):
        counted = float(np.interp(verdicts, given, [0, *(row["found"] for row in ordered)]))
    return counted, verdicts * rate
