"""The share of injections that would be found, against brightness, against size, and against both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.figures.axes import MARKERS, dress_axes, legend_below, line_style, put_heading
from astroanomaly.figures.canvas import INK, PALE, checked_path, new_figure, put_text, save
from astroanomaly.metrics import binomial_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Binned", "efficiency"]

Binned = tuple[str, np.ndarray, bool]
"""What a direction is, with its unit; the ``(bins + 1,)`` edges; whether they are even in the logarithm."""

_DARK = 0.55  # a share above it has a dark cell, and white letters


def efficiency(
    n: np.ndarray,
    found: np.ndarray,
    path: str | Path,
    *,
    brightness: Binned,
    size: Binned,
    hosts: float,
    title: str = "",
) -> None:
    """Draw the share found against brightness, against size, and as a map of both; bars are 90 % intervals.

    Parameters
    ----------
    n, found
        ``(brightness bins, size bins)`` injections, and those that are found.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
    brightness, size
        The two directions.
    hosts
        The share of the hosts that are found without the light: a line of its own.
    title
        Heading.

    Raises
    ------
    ConfigError
        If there is nothing to draw, or the suffix is unknown.
    StorageError
        If the file cannot be written.
    """
    path = checked_path(path)
    n, found = np.asarray(n), np.asarray(found)
    if n.ndim != 2 or n.shape != found.shape or not n.sum():
        raise ConfigError("there is no efficiency to draw: expected counts of injections by brightness and size")
    figure = new_figure(13.2, 4.7 + 0.3 * bool(title), constrained=True)
    by_brightness, by_size, both = figure.subplots(1, 3)
    for number, (axes, one, along) in enumerate(((by_brightness, brightness, 1), (by_size, size, 0))):
        dress_axes(axes, one[0], "share found", f"against {('brightness', 'size')[number]}")
        _points(axes, one, found.sum(axis=along), n.sum(axis=along), number)
        axes.axhline(hosts, color=PALE, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        words = [f"all {('sizes', 'brightnesses')[number]}; bars are 90 % intervals"]
        legend_below(axes, [*words, f"the hosts without the light: {hosts:.0%}"])
    _map(both, n, found, brightness, size)
    put_heading(figure, title)
    save(figure, path)


def _points(axes: Axes, one: Binned, found: np.ndarray, n: np.ndarray, number: int) -> None:
    _, edges, logarithmic = one
    there = n > 0
    middle = np.sqrt(edges[1:] * edges[:-1]) if logarithmic else (edges[1:] + edges[:-1]) / 2
    share = np.where(there, found / np.maximum(n, 1), np.nan)
    low, high = binomial_interval(found, n)
    style = line_style(number)
    axes.plot(middle[there], share[there], marker=MARKERS[number], markersize=6, **style)
    for place, bottom, top in zip(middle[there], low[there], high[there], strict=True):
        axes.plot([place, place], [bottom, top], color=style["color"], linewidth=1.3, label="_")
    _scale(axes, one, "x")
    axes.set_ylim(-0.02, 1.02)


def _scale(axes: Axes, one: Binned, direction: str) -> None:
    """Give a direction its limits, and plain numbers."""
    _, edges, logarithmic = one
    axis = axes.xaxis if direction == "x" else axes.yaxis
    if logarithmic:
        (axes.set_xscale if direction == "x" else axes.set_yscale)("log")
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}" if edges[-1] < 10 * edges[0] else "")
        axis.set_tick_params(which="minor", labelsize=8)
    if edges[-1] > edges[0]:
        (axes.set_xlim if direction == "x" else axes.set_ylim)(edges[0], edges[-1])


def _map(axes: Axes, n: np.ndarray, found: np.ndarray, brightness: Binned, size: Binned) -> None:
    dress_axes(axes, brightness[0], size[0], "against both: share found, of how many")
    axes.grid(visible=False)
    edges = [one[1] if one[1][-1] > one[1][0] else one[1] * np.array([0.9, 1.1]) for one in (brightness, size)]
    share = np.where(n > 0, found / np.maximum(n, 1), np.nan)
    axes.pcolormesh(*edges, share.T, cmap="Blues", vmin=0, vmax=1)
    for k, m in np.ndindex(n.shape):
        places = []
        for pair, one in zip((edges[0][k : k + 2], edges[1][m : m + 2]), (brightness, size), strict=True):
            places.append(np.sqrt(pair[0] * pair[1]) if one[2] else pair.mean())
        text = f"{share[k, m]:.0%}\nof {n[k, m]}" if n[k, m] else "none"
        colour = "white" if n[k, m] and share[k, m] > _DARK else INK
        put_text(axes.text, *places, text, ha="center", va="center", size=8, color=colour)
    for direction, one, ends in zip("xy", (brightness, size), edges, strict=True):
        _scale(axes, (one[0], ends, one[2]), direction)
