"""Curves of a ranker round by round: ROC, precision and recall, efficiency; means over repeats with their scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from astroanomaly import metrics
from astroanomaly.errors import ConfigError
from astroanomaly.figures.axes import dress_axes, legend_below, line_style, put_heading
from astroanomaly.figures.canvas import PALE, checked_path, clean, new_figure, save, shorten

__all__ = ["CURVES", "round_curves"]

CURVES = {  # name -> what is on both axes
    "roc": ("false positive rate", "true positive rate"),
    "precision-recall": ("recall", "precision"),
    "efficiency": ("share of objects inspected, best first", "share of anomalies found"),
}
_SHARES = np.geomspace(1e-3, 1, 61)  # of the objects inspected

Ranking = tuple[np.ndarray, np.ndarray]  # truth and scores


def round_curves(
    panels: Mapping[str, Mapping[str, Sequence[Ranking]]], path: str | Path, *, curve: str, title: str = ""
) -> None:
    """Draw one kind of curve: a panel each, a line each, a band of one standard deviation over its repeats.

    Parameters
    ----------
    panels
        Title of a panel -> name of a line -> the repeats: truth ``(n,)`` bool, True for an anomaly, and scores
        ``(n,)``, higher is more anomalous. A repeat without both kinds has no curve.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
    curve
        One of `CURVES`.
    title
        Heading.

    Raises
    ------
    ConfigError
        If there is nothing to draw, or no such curve.
    StorageError
        If the file cannot be written.
    """
    path = checked_path(path)
    if curve not in CURVES:
        raise ConfigError(f"there is no curve {curve!r}: expected one of {', '.join(CURVES)}")
    if not panels:
        raise ConfigError("there are no curves to draw: give at least one panel")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    most = max(len(lines) for lines in panels.values())
    height = rows * (3.9 + 0.2 * (most + 1)) + 0.3 * bool(title)
    figure = new_figure(4.4 * columns, height, constrained=True)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (heading, lines) in zip(grid, panels.items(), strict=False):
        dress_axes(axes, *CURVES[curve], shorten(clean(heading), 40))
        words, rates = [], []
        for number, (name, repeats) in enumerate(lines.items()):
            known = [pair for pair in repeats if pair[0].any() and not pair[0].all()]
            style = line_style(number)
            words.append(f"{shorten(clean(name), 30)} ({len(known)} seed{'s' * (len(known) != 1)})")
            if not known:
                axes.plot([], [], **style)
                continue
            rates += [float(truth.mean()) for truth, _ in known]
            x, values = _measure(curve, known)
            middle, spread = values.mean(axis=0), values.std(axis=0, ddof=int(len(known) > 1))
            axes.plot(x, middle, **style)
            low, high = np.clip([middle - spread, middle + spread], 0, 1)
            axes.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0)
        x = _SHARES if curve == "efficiency" else np.array([0.0, 1.0])
        chance = np.full(2, np.mean(rates) if rates else np.nan) if curve == "precision-recall" else x
        axes.plot(x, chance, color=PALE, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        if curve == "efficiency":
            axes.set_xscale("log")
        axes.set_ylim(-0.02, 1.02)
        legend_below(axes, [*words, "chance"])
    put_heading(figure, title)
    save(figure, path)


def _measure(curve: str, known: Sequence[Ranking]) -> tuple[np.ndarray, np.ndarray]:
    """Return one abscissa and ``(repeats, points)`` values."""
    if curve == "efficiency":
        depths = [np.maximum(np.ceil(_SHARES * len(truth)), 1).astype(int) for truth, _ in known]
        found = [metrics.found_at(*pair, depth) / pair[0].sum() for pair, depth in zip(known, depths, strict=True)]
        return _SHARES, np.stack(found)
    n = len(metrics.CURVE_GRID)
    start = {"roc": 0, "precision-recall": n}[curve]
    return metrics.CURVE_GRID, np.stack([metrics.ranking_curves(*pair)[start : start + n] for pair in known])
