"""Black and white levels: how each kind of interval is measured, for many images at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from astroanomaly.config import StretchConfig
from astroanomaly.imaging.arrays import (
    clip_low,
    full,
    is_finite,
    is_torch,
    joined,
    larger,
    like,
    smaller,
    to_float32,
    to_float64,
    where,
)

__all__ = ["measure_levels"]

_MAD_TO_SIGMA = 1.482602218505602
_PIXELS_PER_CHUNK = 500_000  # pixels whose running sums stay in the processor's cache
_ZSCALE_SAMPLES = 1000  # per image, as in astropy


def measure_levels(values: Any, config: StretchConfig) -> tuple[Any, Any]:
    """Black and white level of each row of ``values`` (m, P); equal where a row has no finite pixel."""
    if config.interval == "manual":
        return full(values, config.black), full(values, config.white)
    if config.interval == "zscale":
        return _zscale(values)
    if config.interval == "sigma":
        rows = max(1, _PIXELS_PER_CHUNK // max(1, values.shape[1]))
        parts = [_clipped_moments(values[start : start + rows]) for start in range(0, max(1, len(values)), rows)]
        centre, spread = (joined(pieces) for pieces in zip(*parts, strict=True))
        return centre - config.sigma_low * spread, centre + config.sigma_high * spread
    ordered, count = _sorted_rows(values)
    if config.interval == "minmax":
        return _quantile(ordered, count, 0.0), _quantile(ordered, count, 1.0)
    if config.interval == "percentile":
        return _quantile(ordered, count, config.low / 100), _quantile(ordered, count, config.high / 100)
    centre = _quantile(ordered, count, 0.5)
    distances, _ = _sorted_rows(abs(values - centre[:, None]))
    spread = _quantile(distances, count, 0.5) * _MAD_TO_SIGMA
    return centre - config.sigma_low * spread, centre + config.sigma_high * spread


def _sorted_rows(values: Any) -> tuple[Any, Any]:
    """Rows in ascending order with non-finite values as +inf at the end, and the number of finite ones."""
    finite = is_finite(values)
    hidden = where(finite, values, math.inf)
    ordered = hidden.sort(dim=1).values if is_torch(values) else np.sort(hidden, axis=1)
    return ordered, finite.sum(1)


def _quantile(ordered: Any, count: Any, share: float, first: Any = 0) -> Any:
    """Linear interpolation between order statistics, as `numpy.percentile`; 0 for an empty row.

    The ``count`` values of each row from position ``first`` on are meant.
    """
    last = clip_low(count - 1)
    if is_torch(ordered):
        import torch

        position = last.double() * share
        low = position.floor().long()
        high = torch.minimum(low + 1, last)
        below = ordered.gather(1, (low + first).clamp(max=ordered.shape[1] - 1)[:, None])[:, 0]
        above = ordered.gather(1, (high + first).clamp(max=ordered.shape[1] - 1)[:, None])[:, 0]
        weight = (position - low).to(ordered.dtype)
    else:
        position = last * share
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, last)
        rows, most = np.arange(len(ordered)), ordered.shape[1] - 1
        below, above = ordered[rows, np.minimum(low + first, most)], ordered[rows, np.minimum(high + first, most)]
        weight = (position - low).astype(ordered.dtype)
    there = count > 0
    below, above = where(there, below, 0.0), where(there, above, 0.0)
    return below + (above - below) * weight


def _clipped_moments(values: Any, clip: float = 3.0, rounds: int = 5) -> tuple[Any, Any]:
    """Median and standard deviation after clipping at 3 sigma around the median, at most 5 times.

    As `astropy.stats.sigma_clipped_stats` with ``maxiters=5``. What is left is a piece of the sorted row, whose sums
    are differences of running sums: the row is sorted once. In units of its largest magnitude, so that the squares of
    very large values stay finite.
    """
    keep = is_finite(values)
    magnitudes = where(keep, abs(values), 0.0)
    unit = magnitudes.amax(1) if is_torch(values) else magnitudes.max(1)
    unit = where(unit > 0, unit, 1.0)
    ordered, count = _sorted_rows(where(keep, values / unit[:, None], math.nan))
    middle = to_float64(_quantile(ordered, count, 0.5))
    shifted = where(is_finite(ordered), ordered - middle[:, None], 0.0)  # small numbers: sums lose no digits
    once, twice = shifted.cumsum(1), (shifted * shifted).cumsum(1)
    low, high = count * 0, count
    centre = spread = None
    for step in range(rounds + 1):
        centre = _quantile(ordered, high - low, 0.5, low)
        number = to_float64(clip_low(high - low, 1))
        mean = _between(once, low, high) / number
        spread = to_float32(clip_low(_between(twice, low, high) / number - mean * mean) ** 0.5)
        if step < rounds:
            low = larger(low, _insertion_index(ordered, centre - clip * spread, "left"))
            high = smaller(high, _insertion_index(ordered, centre + clip * spread, "right"))
    return centre * unit, spread * unit


def _insertion_index(ordered: Any, values: Any, side: str) -> Any:
    """Where in each sorted row a value belongs, to the left or right of its equals."""
    if is_torch(ordered):
        import torch

        return torch.searchsorted(ordered.contiguous(), values[:, None].contiguous(), side=side)[:, 0]
    pairs = zip(ordered, values, strict=True)
    return np.array([row.searchsorted(value, side) for row, value in pairs], np.int64).reshape(len(values))


def _between(running: Any, low: Any, high: Any) -> Any:
    """Sum of each row from position ``low`` to before ``high``, given its running sums."""
    last, before = clip_low(high - 1), clip_low(low - 1)
    if is_torch(running):
        upper, lower = running.gather(1, last[:, None])[:, 0], running.gather(1, before[:, None])[:, 0]
    else:
        rows = np.arange(len(running))
        upper, lower = running[rows, last], running[rows, before]
    return where(high > low, upper - where(low > 0, lower, 0.0), 0.0)


def _zscale(values: Any) -> tuple[Any, Any]:
    """IRAF's zscale as `astropy.visualization.ZScaleInterval` has it, many rows at once, on the CPU: for the eye."""
    rows = values.cpu().numpy() if is_torch(values) else values
    levels = np.zeros((len(rows), 2), np.float32)
    finite = np.isfinite(rows)
    counts = finite.sum(1)
    for count in np.unique(counts[counts > 0]):
        chosen = np.flatnonzero(counts == count)
        whole = rows[chosen][finite[chosen]].reshape(len(chosen), count)
        stride = int(max(1.0, count / _ZSCALE_SAMPLES))
        samples = np.sort(whole[:, ::stride][:, :_ZSCALE_SAMPLES].astype(np.float64), axis=1)
        levels[chosen] = _zscale_limits(samples)
    return like(levels[:, 0], values), like(levels[:, 1], values)


def _zscale_limits(samples: np.ndarray) -> np.ndarray:
    """``(m, 2)`` limits of sorted samples ``(m, P)``: a line through the middle of them, without the deviating ones."""
    m, size = samples.shape
    low, high = samples[:, 0].copy(), samples[:, -1].copy()
    least = max(5, size // 2)
    grow = max(1, size // 100)  # neighbours of a deviating pixel that go with it
    x = np.arange(size, dtype=np.float64)
    bad = np.zeros((m, size), bool)
    good, before = np.full(m, size), np.full(m, size + 1)
    slope = np.zeros(m)
    for _ in range(5):
        going = np.flatnonzero((good < before) & (good >= least))
        if not len(going):
            break
        part, weight = samples[going], (~bad[going]).astype(np.float64)
        number, sum_x, sum_y = weight.sum(1), weight @ x, (weight * part).sum(1)
        scatter = number * (weight @ (x * x)) - sum_x**2
        slope[going] = (number * ((weight * part) @ x) - sum_x * sum_y) / scatter
        offset = (sum_y - slope[going] * sum_x) / number
        flat = part - slope[going, None] * x - offset[:, None]
        mean = (weight * flat).sum(1) / number
        threshold = 2.5 * np.sqrt((weight * (flat - mean[:, None]) ** 2).sum(1) / number)
        worse = bad[going] | (np.abs(flat) > threshold[:, None])
        running = np.pad(worse.cumsum(1), ((0, 0), (1, 0)))
        ends = np.minimum(np.arange(size) + (grow - 1) // 2, size - 1) + 1
        starts = np.maximum(np.arange(size) + (grow - 1) // 2 - grow + 1, 0)
        bad[going] = running[:, ends] > running[:, starts]
        before[going] = good[going]
        good[going] = size - bad[going].sum(1)
    fitted = good >= least
    middle = (size - 1) // 2
    median = np.median(samples, axis=1)
    steep = slope / 0.25  # the contrast
    low[fitted] = np.maximum(low, median - (middle - 1) * steep)[fitted]
    high[fitted] = np.minimum(high, median + (size - middle) * steep)[fitted]
    return np.stack([low, high], axis=1)
