"""Curves of rankers: how well they rank, how they learn, what they cost, how they train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import metrics
from astroanomaly.errors import ConfigError
from astroanomaly.figures.axes import MARKERS, dress_axes, legend_below, line_style, put_heading
from astroanomaly.figures.canvas import PALE, checked_path, clean, new_figure, save, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["costs", "learning_curves", "performance_curves", "training_curves"]

_MIN_OF_A_KIND = 5  # anomalies, and nominal objects, for a curve
_MIN_DRAWN_S = 0.01  # what takes less stands there on an axis of logarithms
_MINUTE_S = 60.0
_MAX_NARROW_RATIO = 5  # longest over shortest time: below it an axis may have no power of ten; ticks between are named


def performance_curves(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | Path, *, title: str = ""
) -> None:
    """Draw ROC, precision-recall and efficiency curves side by side, one line per ranker.

    Parameters
    ----------
    curves
        Name -> (truth ``(n,)`` bool, True for an anomaly; scores ``(n,)``, higher is more anomalous). One with fewer
        than five anomalies or nominal objects has no curve, which would be an accident: the legends say so.
        Precision is drawn by steps, and the area below it is the average precision beside it.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
    title
        Heading.

    Raises
    ------
    ConfigError
        If there is nothing to draw, a pair does not match, or the suffix is unknown.
    StorageError
        If the file cannot be written.
    """
    path = checked_path(path)
    data = {name: _pair(name, *pair) for name, pair in curves.items()}
    if not data:
        raise ConfigError("there are no curves to draw: give at least one ranker's truth and scores")
    figure = new_figure(13.2, 4.55 + 0.2 * len(data) + 0.3 * bool(title), constrained=True)
    roc, precision, efficiency = figure.subplots(1, 3)
    dress_axes(roc, "false positive rate", "true positive rate", "ROC")
    dress_axes(precision, "recall", "precision", "precision and recall")
    dress_axes(efficiency, "objects inspected, best first", "share of anomalies found", "efficiency")
    keys: dict[Axes, list[str]] = {roc: [], precision: [], efficiency: []}
    for number, (name, (truth, score)) in enumerate(data.items()):
        style = line_style(number)
        word = shorten(clean(name), 30)
        too_few = _too_few(truth)
        if too_few:
            for axes, words in keys.items():
                axes.plot([], [], **style)
                words.append(f"{word}: {too_few}, no curve")
            continue
        fpr, tpr = metrics.roc_curve(truth, score)
        found_precision, recall = metrics.precision_recall_curve(truth, score)
        depth, found = metrics.efficiency_curve(truth, score)
        roc.plot(fpr, tpr, **style)
        precision.plot(recall, found_precision, drawstyle="steps-post", **style)
        efficiency.plot(depth, found, drawstyle="steps-post", **style)
        keys[roc].append(f"{word}: AUROC {metrics.auroc(truth, score):.3f}")
        keys[precision].append(f"{word}: average precision {metrics.average_precision(truth, score):.3f}")
        keys[efficiency].append(f"{word}: {metrics.efficiency_at_fraction(truth, score, 0.01):.0%} in the best 1 %")
    usable = [truth for truth, _ in data.values() if not _too_few(truth)]
    chance = {"color": PALE, "linewidth": 1, "linestyle": (0, (2, 2)), "zorder": 1}
    roc.plot([0, 1], [0, 1], **chance)
    if usable:
        rates = [float(truth.mean()) for truth in usable]
        precision.plot([0, 1], [np.mean(rates)] * 2, **chance)
        longest = max(map(len, usable))
        share = np.geomspace(1 / longest, 1, 200)
        efficiency.plot(share * longest, share, **chance)
        efficiency.set_xlim(1, max(longest, 2))
    efficiency.set_xscale("log")
    efficiency.xaxis.set_major_formatter("{x:,.0f}")
    for axes, words in keys.items():
        axes.set_ylim(-0.02, 1.02)
        legend_below(axes, [*words, "chance"])
    for axes in (roc, precision):
        axes.set_xlim(-0.02, 1.02)
    put_heading(figure, title)
    save(figure, path)


def learning_curves(
    results: Sequence[Mapping[str, Any]], path: str | Path, *, title: str = "", chance: float = 0.0
) -> None:
    """Draw how rankers get better with labels: AUROC, AUPRC and anomalies found against labels given.

    Parameters
    ----------
    results
        One mapping per ranker, class, seed and round with ``ranker``, ``class`` (may be missing), ``seed``,
        ``round``, ``labelled_anomaly``, ``labelled_nominal``, ``auroc``, ``auprc``, and, after the labelling that
        follows the round, ``given`` (labels given since the start) and ``found`` (anomalies among them). Lines are
        means over seeds, bands one standard deviation to either side; what is NaN does not count.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
    title
        Heading.
    chance
        Share of anomalies among the objects without a label at the start: a line for what labels at random would find;
        0 draws none.

    Raises
    ------
    ConfigError
        If there is nothing to draw, a key is missing, or the suffix is unknown.
    StorageError
        If the file cannot be written.
    """
    path = checked_path(path)
    needed = ("ranker", "seed", "round", "labelled_anomaly", "labelled_nominal", "auroc", "auprc", "given", "found")
    if not results:
        raise ConfigError("there are no results to draw: run at least one round")
    for row in results:
        missing = [key for key in needed if key not in row]
        if missing:
            raise ConfigError(f"a result lacks {', '.join(missing)}; it has {', '.join(map(str, row))}")
    series: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in results:
        series.setdefault((str(row["ranker"]), str(row.get("class", ""))), []).append(row)
    rankers, classes = ([*dict.fromkeys(key[part] for key in series)] for part in (0, 1))
    figure = new_figure(13.2, 4.2 + 0.22 * len(series) + 0.3 * bool(title), constrained=True)
    panels = figure.subplots(1, 3)
    titles = {"auroc": "AUROC", "auprc": "AUPRC", "found": "anomalies found"}
    if chance:
        most = max(row["given"] for row in results)
        panels[2].plot([0, most], [0, most * chance], color=PALE, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    for axes, (key, word) in zip(panels, titles.items(), strict=True):
        dress_axes(axes, "labels given after the start" if key == "found" else "labels", word, f"{word} against labels")
        for (ranker, name), rows in series.items():
            style = line_style(rankers.index(ranker), classes.index(name))
            labels, middle, scatter = _by_round(rows, key)
            axes.plot(labels, middle, marker=MARKERS[rankers.index(ranker) % len(MARKERS)], markersize=5, **style)
            low, high = np.maximum(middle - scatter, 0), middle + scatter
            high = high if key == "found" else np.minimum(high, 1)  # no area is larger
            axes.fill_between(labels, low, high, color=style["color"], alpha=0.16, linewidth=0)
        axes.margins(x=0.04)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in panels[:2]:
        low, high = axes.get_ylim()
        spare = max(0.0, 0.1 - (high - low)) / 2  # a range so narrow would make much of nothing
        axes.set_ylim(max(low - spare, -0.02), min(high + spare, 1.02))
    panels[2].yaxis.get_major_locator().set_params(integer=True)
    words = [shorten(clean(f"{ranker}, {name}" if name else ranker), 40) for ranker, name in series]
    seeds = {key: len({row["seed"] for row in rows}) for key, rows in series.items()}
    lines = [f"{word} ({n} seed{'s' * (n != 1)})" for word, n in zip(words, seeds.values(), strict=True)]
    legend_below(panels[0], lines)
    if chance:
        legend_below(panels[2], ["chance"])
    put_heading(figure, title)
    save(figure, path)


def costs(results: Sequence[Mapping[str, Any]], path: str | Path, *, title: str = "") -> None:
    """Draw what rankers give for their time: AUPRC of the last round against the time of a round.

    Parameters
    ----------
    results
        One mapping per ranker, class, seed and round with ``ranker``, ``round``, ``seconds`` and ``auprc``. A point is
        the median time of all rounds and the mean AUPRC over classes and seeds, its bar one standard deviation to
        either side.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
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
    last = max((row["round"] for row in results), default=0)
    rankers = list(dict.fromkeys(str(row["ranker"]) for row in results))
    if not rankers:
        raise ConfigError("there are no results to draw: run at least one round")
    figure = new_figure(7.2, 4.2 + 0.22 * len(rankers) + 0.3 * bool(title), constrained=True)
    axes = figure.subplots()
    rows_of = {ranker: [row for row in results if row["ranker"] == ranker] for ranker in rankers}
    times = [max(float(np.median([row["seconds"] for row in rows])), _MIN_DRAWN_S) for rows in rows_of.values()]
    unit, length = ("seconds", 1) if max(times) < _MINUTE_S else ("minutes", _MINUTE_S)
    dress_axes(axes, f"{unit} of a round", "AUPRC", "AUPRC against time")
    for number, (rows, seconds) in enumerate(zip(rows_of.values(), times, strict=True)):
        values = np.array([row["auprc"] for row in rows if row["round"] == last], float)
        values = values[np.isfinite(values)]
        middle = values.mean() if len(values) else np.nan
        scatter = values.std(ddof=1) if len(values) > 1 else 0.0
        colour, marker = line_style(number)["color"], MARKERS[number % len(MARKERS)]
        axes.plot([seconds / length], [middle], marker=marker, markersize=8, color=colour, linestyle="none")
        axes.plot([seconds / length] * 2, [middle - scatter, middle + scatter], color=colour, linewidth=1.6, label="_")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}" if 1 < max(times) / min(times) < _MAX_NARROW_RATIO else "")
    axes.margins(x=0.12, y=0.12)
    legend_below(axes, [shorten(clean(ranker), 40) for ranker in rankers])
    put_heading(figure, title)
    save(figure, path)


def training_curves(records: Sequence[Mapping[str, float]], path: str | Path, *, title: str = "") -> None:
    """Draw what happened during training, against the step: losses, and shares such as confident pseudo-labels.

    Parameters
    ----------
    records
        One mapping per report with ``step`` and any figures. Names with ``loss`` in them share one panel; figures that
        stay within 0 to 1 (share of confident pseudo-labels, class balance) another; each other one has its own.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
    title
        Heading.

    Raises
    ------
    ConfigError
        If there is nothing to draw, ``step`` is missing, or the suffix is unknown.
    StorageError
        If the file cannot be written.
    """
    path = checked_path(path)
    if not records or any("step" not in record for record in records):
        raise ConfigError("training curves need at least one record, and the step in every record")
    names = [*dict.fromkeys(name for record in records for name in record if name != "step")]
    if not names:
        raise ConfigError("training curves need at least one figure beside the step")
    values = {
        name: np.array([(r["step"], r[name]) for r in records if name in r and np.isfinite(r[name])]).reshape(-1, 2)
        for name in names
    }
    losses = [name for name in names if "loss" in name.lower()]
    shares = [name for name in names if name not in losses and _is_share(name, values[name][:, 1])]
    rest = [name for name in names if name not in losses and name not in shares]
    panels = [panel for panel in (losses, shares, *([name] for name in rest)) if panel]
    most = max(map(len, panels))
    figure = new_figure(4.6 * len(panels) + 0.2, 3.6 + 0.22 * most + 0.3 * bool(title), constrained=True)
    for axes, panel in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        heading = "loss" if panel is losses else "shares" if panel is shares else panel[0]
        dress_axes(axes, "step", "share" if panel is shares else heading, heading)
        for number, name in enumerate(panel):
            steps, points = values[name].T
            style = line_style(number)
            if len(steps) > 20:  # every step pale, and the trend on top
                axes.plot(steps, points, **{**style, "alpha": 0.25, "linewidth": 1, "label": "_"})
                points = _smooth(points, max(3, len(steps) // 15))
            axes.plot(steps, points, marker="o" if len(steps) == 1 else None, **style)
        if panel is shares:
            axes.set_ylim(-0.03, 1.03)
        elif panel is losses:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.xaxis.get_major_locator().set_params(integer=True)
        if len(panel) > 1 or panel[0] != heading:
            legend_below(axes, [shorten(clean(name), 40) for name in panel])
    put_heading(figure, title)
    save(figure, path)


def _too_few(truth: np.ndarray) -> str:
    """Say what there is too little of for a curve; empty where there is enough."""
    for count, one, several in (
        (truth.sum(), "anomaly", "anomalies"),
        ((~truth).sum(), "nominal object", "nominal objects"),
    ):
        if count < _MIN_OF_A_KIND:
            return f"only {count} {one if count == 1 else several}" if count else f"no {several}"
    return ""


def _pair(name: str, truth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, score = np.asarray(truth, bool), np.asarray(score, float)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise ConfigError(f"the curve of {name!r} has {truth.shape} truths and {score.shape} scores: they must match")
    if not np.isfinite(score).all():
        raise ConfigError(f"{int((~np.isfinite(score)).sum())} scores of {name!r} are not finite: leave them out")
    return truth, score


def _by_round(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean number of labels, mean and scatter over seeds of one figure, per round.

    The anomalies found belong to the labels given until after the round, and begin at none; other figures to the labels
    before it.
    """
    points = [(0.0, 0.0, 0.0)] if key == "found" else []
    for number in sorted({row["round"] for row in rows}):
        chosen = [row for row in rows if row["round"] == number]
        before = [row["labelled_anomaly"] + row["labelled_nominal"] for row in chosen]
        labels = np.mean([row["given"] for row in chosen] if key == "found" else before)
        values = np.array([row[key] for row in chosen], float)
        known = values[np.isfinite(values)]
        middle = known.mean() if len(known) else np.nan
        points.append((labels, middle, known.std(ddof=1) if len(known) > 1 else 0.0))
    labels, middle, scatter = np.array(points).T
    return labels, middle, scatter


def _is_share(name: str, values: np.ndarray) -> bool:
    """Tell shares, which stay within 0 to 1, from the learning rate, which does so too."""
    return bool(len(values)) and "rate" not in name.lower() and values.min() >= 0 and values.max() <= 1


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    """Return the running mean, which uses fewer values at the ends."""
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")
