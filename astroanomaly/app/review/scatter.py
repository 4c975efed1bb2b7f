"""Scatter plots of all objects: the values on two axes, what of them is drawn, and which lie in a polygon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.app.review.shared_state import SharedState

__all__ = ["OWN_AXES", "Drawing", "ScatterAxes", "axis_label", "draw", "find_inside", "plotted"]

OWN_AXES = {"*score": "score", "*rank": "rank", "*ra": "right ascension", "*dec": "declination"}  # beside the columns
_MAX_SINGLE = 4000  # objects in sight that are drawn one by one
_BINS = (220, 150)  # across and up, of the density of more than those
_TAIL = 0.5  # percent of the objects beyond either end, which a first look may leave out
_TAIL_FACTOR = 3.0  # where they make it so much wider
_MARGIN = 0.05  # of the range, on either side
_MAX_VERTICES = 1000


@dataclass(frozen=True)
class ScatterAxes:
    """What is plotted against what.

    Attributes
    ----------
    x, y
        A column of numbers of the catalogue, or one of `OWN_AXES`.
    log_x, log_y
        Whether an axis has the decadic logarithm of it.
    """

    x: str = "*rank"
    y: str = "*score"
    log_x: bool = False
    log_y: bool = False

    @classmethod
    def usual(cls, shared: SharedState) -> ScatterAxes:
        """Return the axes of a first look: the first two columns but for positions, else the score."""
        others = [name for name in shared.number_columns.names if name.casefold() not in ("ra", "dec")]
        if len(others) > 1:
            return cls(others[0], others[1])
        return cls(others[0]) if others else cls()


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a scatter plot shows of a window.

    Attributes
    ----------
    window
        x from, x to, y from, y to.
    rows
        ``(k,)`` objects that are drawn one by one.
    x, y
        ``(k,)`` where.
    counts
        ``(up, across)`` float32, objects in each cell of the window, NaN where there is none; None where all objects
        in it are drawn one by one.
    shown, absent
        Objects in the window, and objects without a place on the plot.
    """

    window: tuple[float, float, float, float]
    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    counts: np.ndarray | None
    shown: int
    absent: int


def axis_label(shared: SharedState, name: str, log: bool) -> str:
    """Return what stands on an axis."""
    unit = {"*ra": "deg", "*dec": "deg"}.get(name, "") if name in OWN_AXES else shared.number_columns.unit(name)
    text = OWN_AXES.get(name, name)
    return f"{f'log10 {text}' if log else text}{f' [{unit}]' if unit else ''}"


def plotted(shared: SharedState, axes: ScatterAxes, by: str) -> tuple[np.ndarray, np.ndarray]:
    """``(N,)`` x and y of all objects, NaN where there is none; those of the audit set have none.

    Parameters
    ----------
    by
        Name of the scores.

    Raises
    ------
    CatalogError, ConfigError
        If an axis is no column of numbers.
    """
    x, y = (
        _scaled(_values(shared, name, by), log)
        for name, log in ((axes.x, axes.log_x), (axes.y, axes.log_y))
    )  # fmt: skip
    nowhere = np.isnan(x) | np.isnan(y)
    if shared.audit:
        nowhere[shared.audit_rows] = True
    x[nowhere] = y[nowhere] = np.nan
    return x, y


def draw(
    shared: SharedState,
    axes: ScatterAxes,
    by: str,
    window: tuple[float, float, float, float] | None,
    first: Sequence[str],
) -> Drawing:
    """Prepare a scatter plot; may be called beside the event loop.

    Parameters
    ----------
    by
        Name of the scores.
    window
        What is in sight; None: all objects, but for a few far away.
    first
        Objects that are drawn one by one, however many there are.

    Raises
    ------
    CatalogError, ConfigError
        If an axis is no column of numbers.
    """
    x, y = plotted(shared, axes, by)
    absent = int(np.isnan(x).sum()) - len(shared.audit_rows)
    if window is None:
        window = (*_first_range(x), *_first_range(y))
    x1, x2, y1, y2 = window
    rows = np.flatnonzero((x >= x1) & (x <= x2) & (y >= y1) & (y <= y2))
    shown = len(rows)
    counts = None
    if shown > _MAX_SINGLE:
        counts, _, _ = np.histogram2d(x[rows], y[rows], bins=_BINS, range=[(x1, x2), (y1, y2)])
        counts = np.where(counts > 0, counts, np.nan).T.astype(np.float32)
        rows = np.intersect1d(rows, shared.cache.rows(list(first)))
    return Drawing(window, rows, x[rows].astype(float), y[rows].astype(float), counts, shown, absent)


def find_inside(
    shared: SharedState, axes: ScatterAxes, by: str, polygon: tuple[Sequence[float], Sequence[float]]
) -> np.ndarray:
    """Rows of the objects in a polygon, drawn or not, the highest score first; beside the event loop, too.

    Parameters
    ----------
    polygon
        x and y of its vertices; every k-th where there are more than 1,000.
    """
    px, py = (np.asarray(values, float)[:: max(1, len(values) // _MAX_VERTICES)] for values in polygon)
    if len(px) < 3 or len(px) != len(py) or not np.isfinite(px + py).all():
        return np.zeros(0, np.int64)
    x, y = plotted(shared, axes, by)
    rows = np.flatnonzero((x >= px.min()) & (x <= px.max()) & (y >= py.min()) & (y <= py.max()))
    x, y = x[rows].astype(float), y[rows].astype(float)
    odd = np.zeros(len(rows), bool)  # crossings of the polygon to the right of a point (Shimrat 1962)
    for x1, y1, x2, y2 in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
        if y1 != y2:
            odd ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    found = rows[odd]
    scores = shared.scores.get(by)
    return found if scores is None else found[np.argsort(-np.nan_to_num(scores[found], nan=-np.inf), kind="stable")]


def _values(shared: SharedState, name: str, by: str) -> np.ndarray:
    if name not in OWN_AXES:
        return shared.number_columns.values(name)
    if name in ("*ra", "*dec"):
        return shared.cache.positions[name == "*dec"]
    scores = shared.scores.get(by)
    if scores is None:
        return np.full(len(shared.cache), np.nan, np.float32)
    if name == "*score":
        return scores
    ranked = np.full(len(scores), np.nan)
    there = np.isfinite(scores)
    there[shared.audit_rows] = False
    rows = np.flatnonzero(there)
    ranked[rows[np.argsort(-scores[rows], kind="stable")]] = np.arange(1, len(rows) + 1)
    return ranked


def _scaled(values: np.ndarray, log: bool) -> np.ndarray:
    """Return a copy, in which what is not finite is NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        made = np.log10(values) if log else np.array(values)
    made[~np.isfinite(made)] = np.nan
    return made


def _first_range(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)].astype(float)
    if not len(known):
        return 0.0, 1.0
    low, high = known.min(), known.max()
    inner = np.percentile(known, [_TAIL, 100 - _TAIL])
    if high - low > _TAIL_FACTOR * (inner[1] - inner[0]) > 0:
        low, high = inner
    margin = _MARGIN * (high - low) or 0.5
    return float(low - margin), float(high + margin)
