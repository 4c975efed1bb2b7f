"""A light curve as a picture: flux or magnitude over time, a colour and a marker for each band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly.figures.axes import MARKERS, dress_axes, line_style
from astroanomaly.figures.canvas import checked_path, new_figure, save

__all__ = ["brightness_range", "light_curve_figure"]

_MARKER_WORDS = ("circles", "squares", "triangles", "diamonds", "triangles down", "plus signs", "crosses")  # of MARKERS
_MARGIN = 0.08  # above and below
_SHARE = 0.005  # of the measurements at each end that may lie outside


def light_curve_figure(
    time: np.ndarray,
    value: np.ndarray,
    error: np.ndarray,
    band: Sequence[str],
    path: str | Path,
    *,
    is_magnitude: bool,
    x: str = "time (days)",
    title: str = "",
) -> None:
    """Draw a light curve, brighter upwards.

    Parameters
    ----------
    time
        ``(n,)`` days.
    value, error
        ``(n,)`` flux or magnitude, and its error, NaN where unknown.
    band
        ``(n,)`` names.
    path
        ``.png``, ``.svg`` or ``.pdf``.
    is_magnitude
        What values are.
    x
        What times are.
    title
        What stands above, taken literally.

    Raises
    ------
    ConfigError
        For another suffix.
    StorageError
        If it cannot be written.
    """
    path = checked_path(path)
    figure = new_figure(8.0, 2.6, constrained=True)
    axes = figure.add_subplot()
    names = sorted(set(band))
    for number, name in enumerate(names):
        here = np.array([one == name for one in band], bool)
        half = np.where(np.isfinite(error[here]), error[here], 0)
        axes.errorbar(
            time[here], value[here], half, fmt=MARKERS[number % len(MARKERS)], markersize=3, elinewidth=0.7,
            color=line_style(number)["color"],
        )  # fmt: skip
    low, high = brightness_range(value, error)
    axes.set_ylim(*((high, low) if is_magnitude else (low, high)))
    shown = ", ".join(f"{name} {_MARKER_WORDS[k % len(MARKERS)]}" for k, name in enumerate(names) if name)
    dress_axes(axes, x, "magnitude" if is_magnitude else "flux", "; ".join(text for text in (title, shown) if text))
    save(figure, path)


def brightness_range(value: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Return between which values a light curve is drawn: all of it, but for a few that are far out.

    Parameters
    ----------
    value, error
        ``(n,)``, the error NaN where unknown.
    """
    known = np.isfinite(value)
    if not known.any():
        return (0.0, 1.0)
    half = np.minimum(np.where(np.isfinite(error[known]), error[known], 0), np.ptp(value[known]) or np.inf)
    low = float(np.quantile(value[known] - half, _SHARE, method="higher"))
    high = float(np.quantile(value[known] + half, 1 - _SHARE, method="lower"))
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin
