"""Curves and contact sheets as pictures: the only place of matplotlib.

Every figure is an object of its own on the Agg canvas; pyplot and its global state are never touched. Text that comes
from data (ids, names) is drawn as it is: no mathtext, no markup, glyphs that the font lacks replaced by a mark.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import metrics
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.files import atomic_path
from astroanomaly.records import ANOMALY, NOMINAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["contact_sheet", "costs", "learning_curves", "performance_curves", "shorten", "training_curves"]

# Okabe & Ito (2008), distinguishable with every kind of colour vision; yellow is too light for a line on white
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_FRAMES = {NOMINAL: ("#56B4E9", "o"), ANOMALY: ("#E69F00", "*")}
_INK, _PALE, _GRID = "#222222", "#888888", "#E4E4E4"
_SUFFIXES = (".png", ".svg", ".pdf")
_FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
_DPI = 100  # of contact sheets: one pixel of layout is one pixel of the file
_QUICK = 0.01  # seconds; what takes less stands there on an axis of logarithms
_MINUTE = 60.0  # seconds
_FEW = 5  # times the shortest time: within them an axis may have no power of ten, and names the ticks between
_LARGEST = 40_000  # pixels, longest side of a contact sheet


# ------------------------------------------------------------------------------------------------------- contact sheet


def contact_sheet(
    images: np.ndarray,
    captions: Sequence[str],
    path: str | Path,
    title: str = "",
    columns: int = 10,
    *,
    labels: Sequence[str | None] | None = None,
    cell: int = 128,
) -> None:
    """Draw many small pictures as one, each with its caption.

    Parameters
    ----------
    images
        ``(n, H, W, 3)`` uint8 RGB, first row on top. Small ones are enlarged by a whole factor without interpolation,
        ones larger than two cells are reduced.
    captions
        One per image; up to three lines each. Lines that are too long lose their middle.
    path
        ``.png``, ``.svg`` or ``.pdf``; written in one step.
    title
        Heading.
    columns
        Pictures per row, at least 1.
    labels
        Label class of each image or None: drawn as a frame in a colour and with a marker, explained at the foot.
    cell
        Wanted side of a picture in pixels.

    Raises
    ------
    ConfigError
        If there is nothing to draw, the arrays do not match, or the suffix is unknown.
    StorageError
        If the file cannot be written.
    """
    path = _checked(path)
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ConfigError(f"a contact sheet takes (n, H, W, 3) uint8 images, not {images.shape} {images.dtype}")
    n = len(images)
    marks = [None] * n if labels is None else list(labels)
    if not n or columns < 1 or len(captions) != n or len(marks) != n:
        raise ConfigError(
            f"a contact sheet needs images, at least one column, and one caption and label per image; it got {n} "
            f"images, {columns} columns, {len(captions)} captions and {len(marks)} labels"
        )
    images = _resized(images, cell)
    height, width = images.shape[1:3]
    columns = min(columns, n)
    rows = -(-n // columns)
    lines = [_lines(caption, width + 2) for caption in captions]
    under = 6 + 13 * max(map(len, lines))  # pixels below each picture
    frame, gap, side = 4, 8, 24
    step_x, step_y = width + 2 * frame + gap, height + 2 * frame + under + gap
    styles = _frame_styles(marks)
    top, foot = (52 if title else 20), (40 if styles else 14)
    total = (max(2 * side + columns * step_x - gap, 360), top + rows * step_y + foot)
    if max(total) > _LARGEST:
        raise ConfigError(
            f"a contact sheet of {n} images in {columns} columns would measure {total[0]} x {total[1]} pixels, more "
            f"than {_LARGEST}: draw fewer at a time"
        )
    canvas = np.full((total[1], total[0], 3), 255, np.uint8)
    figure = _figure(total[0] / _DPI, total[1] / _DPI)
    texts: list[tuple[float, float, str, dict[str, Any]]] = []
    for number in range(n):
        x = side + (number % columns) * step_x
        y = top + (number // columns) * step_y
        style = styles.get(marks[number] or "")
        if style:
            canvas[y : y + height + 2 * frame, x : x + width + 2 * frame] = _rgb(style[0])
        canvas[y + frame : y + frame + height, x + frame : x + frame + width] = images[number]
        if style:
            _marker(figure, total, x + width + frame - 11, y + frame + 11, *style)
        for line, text in enumerate(lines[number]):
            look = {"size": 8, "color": _INK if line == 0 else "#666666"}
            texts.append((x + frame, y + height + 2 * frame + 13 + 13 * line, text, look))
    if title:
        heading = _fitted(_clean(title), total[0] - 2 * side, 13, bold=True)
        texts.append((side + frame, 33, heading, {"size": 13, "weight": "bold", "color": _INK}))
    x = side + frame
    for name, style in styles.items():
        y = total[1] - foot // 2 - 2
        _marker(figure, total, x + 6, y - 4, *style)
        word = shorten(_clean(name), 24)
        texts.append((x + 18, y, word, {"size": 9, "color": _INK}))
        x += round(40 + _text_width(word, 9))
    figure.figimage(canvas, 0, 0, origin="upper", zorder=0)
    for x_text, y_text, text, look in texts:
        _text(figure.text, x_text / total[0], 1 - y_text / total[1], text, va="baseline", zorder=5, **look)
    _save(figure, path, _DPI)


def shorten(text: str, longest: int) -> str:
    """Take characters out of the middle until at most ``longest`` are left, one of them the ellipsis."""
    if len(text) <= longest:
        return text
    keep = max(longest - 1, 1)
    tail = keep // 2
    return text[: keep - tail] + "…" + (text[-tail:] if tail else "")


def _resized(images: np.ndarray, cell: int) -> np.ndarray:
    """Enlarge by a whole factor, or reduce by averaging, to about ``cell`` pixels."""
    largest = max(images.shape[1:3])
    if largest > 2 * cell:
        from PIL import Image

        size = tuple(max(1, round(side * cell / largest)) for side in (images.shape[2], images.shape[1]))
        return np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX)) for image in images])
    factor = max(1, round(cell / largest))
    return images.repeat(factor, 1).repeat(factor, 2)


def _lines(caption: str, width: float) -> list[str]:
    return [_fitted(_clean(line), width, 8) for line in caption.splitlines()[:3]] or [""]


def _frame_styles(labels: Iterable[str | None]) -> dict[str, tuple[str, str]]:
    """Return colour and marker per label class that occurs: fixed ones for nominal and anomaly, others by name."""
    found = sorted({label for label in labels if label})
    others = [name for name in found if name not in _FRAMES]
    spare = [("#009E73", "s"), ("#CC79A7", "^"), ("#D55E00", "D"), ("#0072B2", "v"), ("#F0E442", "P")]
    styles = {name: style for name, style in _FRAMES.items() if name in found}
    return {**styles, **{name: spare[number % len(spare)] for number, name in enumerate(others)}}


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _marker(figure: Figure, total: tuple[int, int], x: float, y: float, colour: str, marker: str) -> None:
    """Put a marker at pixel ``x, y`` counted from the upper left corner."""
    from matplotlib.lines import Line2D

    size = 11 if marker == "*" else 7
    line = Line2D([x / total[0]], [1 - y / total[1]], marker=marker, markersize=size, color=colour, zorder=6)
    line.set(markeredgecolor="white", markeredgewidth=0.8, transform=figure.transFigure, linestyle="none")
    figure.add_artist(line)


# -------------------------------------------------------------------------------------------------------------- curves


def performance_curves(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], path: str | Path, *, title: str = ""
) -> None:
    """Draw ROC, precision-recall and efficiency curves side by side, one line per ranker.

    Parameters
    ----------
    curves
        Name -> (truth ``(n,)`` bool, True for an anomaly; scores ``(n,)``, higher is more anomalous). One without both
        anomalies and nominal objects has no curve: it is named in the legends as such.
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
    path = _checked(path)
    data = {name: _pair(name, *pair) for name, pair in curves.items()}
    if not data:
        raise ConfigError("there are no curves to draw: give at least one ranker's truth and scores")
    figure = _figure(13.2, 4.55 + 0.2 * len(data) + 0.3 * bool(title), constrained=True)
    roc, precision, efficiency = figure.subplots(1, 3)
    _dress(roc, "false positive rate", "true positive rate", "ROC")
    _dress(precision, "recall", "precision", "precision and recall")
    _dress(efficiency, "objects inspected, best first", "share of anomalies found", "efficiency")
    keys: dict[Axes, list[str]] = {roc: [], precision: [], efficiency: []}
    for number, (name, (truth, score)) in enumerate(data.items()):
        style = _style(number)
        word = shorten(_clean(name), 30)
        if truth.all() or not truth.any():
            for axes, words in keys.items():
                axes.plot([], [], **style)
                words.append(f"{word}: no {'anomalies' if not truth.any() else 'nominal objects'}, no curve")
            continue
        fpr, tpr = metrics.roc_curve(truth, score)
        found_precision, recall = metrics.precision_recall_curve(truth, score)
        depth, found = metrics.efficiency_curve(truth, score)
        roc.plot(fpr, tpr, **style)
        precision.plot(recall, found_precision, **style)
        efficiency.plot(depth, found, drawstyle="steps-post", **style)
        keys[roc].append(f"{word}: AUROC {metrics.auroc(truth, score):.3f}")
        keys[precision].append(f"{word}: AUPRC {metrics.auprc(truth, score):.3f}")
        keys[efficiency].append(f"{word}: {metrics.efficiency_at_fraction(truth, score, 0.01):.0%} in the best 1 %")
    usable = [truth for truth, _ in data.values() if truth.any() and not truth.all()]
    chance = {"color": _PALE, "linewidth": 1, "linestyle": (0, (2, 2)), "zorder": 1}
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
        _legend(axes, [*words, "chance"])
    for axes in (roc, precision):
        axes.set_xlim(-0.02, 1.02)
    _heading(figure, title)
    _save(figure, path)


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
    path = _checked(path)
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
    figure = _figure(13.2, 4.2 + 0.22 * len(series) + 0.3 * bool(title), constrained=True)
    panels = figure.subplots(1, 3)
    told = {"auroc": "AUROC", "auprc": "AUPRC", "found": "anomalies found"}
    if chance:
        most = max(row["given"] for row in results)
        panels[2].plot([0, most], [0, most * chance], color=_PALE, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    for axes, (key, word) in zip(panels, told.items(), strict=True):
        _dress(axes, "labels given after the start" if key == "found" else "labels", word, f"{word} against labels")
        for (ranker, name), rows in series.items():
            style = _style(rankers.index(ranker), classes.index(name))
            labels, middle, scatter = _by_round(rows, key)
            axes.plot(labels, middle, marker=_MARKERS[rankers.index(ranker) % len(_MARKERS)], markersize=5, **style)
            axes.fill_between(labels, middle - scatter, middle + scatter, color=style["color"], alpha=0.16, linewidth=0)
        axes.margins(x=0.04)
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in panels[:2]:
        low, high = axes.get_ylim()
        spare = max(0.0, 0.1 - (high - low)) / 2  # a range so narrow would make much of nothing
        axes.set_ylim(max(low - spare, -0.02), min(high + spare, 1.02))
    panels[2].yaxis.get_major_locator().set_params(integer=True)
    words = [shorten(_clean(f"{ranker}, {name}" if name else ranker), 40) for ranker, name in series]
    seeds = {key: len({row["seed"] for row in rows}) for key, rows in series.items()}
    lines = [f"{word} ({n} seed{'s' * (n != 1)})" for word, n in zip(words, seeds.values(), strict=True)]
    _legend(panels[0], lines)
    if chance:
        _legend(panels[2], ["chance"])
    _heading(figure, title)
    _save(figure, path)


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
    path = _checked(path)
    last = max((row["round"] for row in results), default=0)
    rankers = list(dict.fromkeys(str(row["ranker"]) for row in results))
    if not rankers:
        raise ConfigError("there are no results to draw: run at least one round")
    figure = _figure(7.2, 4.2 + 0.22 * len(rankers) + 0.3 * bool(title), constrained=True)
    axes = figure.subplots()
    rows_of = {ranker: [row for row in results if row["ranker"] == ranker] for ranker in rankers}
    times = [max(float(np.median([row["seconds"] for row in rows])), _QUICK) for rows in rows_of.values()]
    unit, length = ("seconds", 1) if max(times) < _MINUTE else ("minutes", _MINUTE)
    _dress(axes, f"{unit} of a round", "AUPRC", "AUPRC against time")
    for number, (rows, seconds) in enumerate(zip(rows_of.values(), times, strict=True)):
        values = np.array([row["auprc"] for row in rows if row["round"] == last], float)
        values = values[np.isfinite(values)]
        middle = values.mean() if len(values) else np.nan
        scatter = values.std(ddof=1) if len(values) > 1 else 0.0
        colour, marker = _style(number)["color"], _MARKERS[number % len(_MARKERS)]
        axes.plot([seconds / length], [middle], marker=marker, markersize=8, color=colour, linestyle="none")
        axes.plot([seconds / length] * 2, [middle - scatter, middle + scatter], color=colour, linewidth=1.6, label="_")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}" if 1 < max(times) / min(times) < _FEW else "")
    axes.margins(x=0.12, y=0.12)
    _legend(axes, [shorten(_clean(ranker), 40) for ranker in rankers])
    _heading(figure, title)
    _save(figure, path)


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
    path = _checked(path)
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
    figure = _figure(4.6 * len(panels) + 0.2, 3.6 + 0.22 * most + 0.3 * bool(title), constrained=True)
    for axes, panel in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        heading = "loss" if panel is losses else "shares" if panel is shares else panel[0]
        _dress(axes, "step", "share" if panel is shares else heading, heading)
        for number, name in enumerate(panel):
            steps, points = values[name].T
            style = _style(number)
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
            _legend(axes, [shorten(_clean(name), 40) for name in panel])
    _heading(figure, title)
    _save(figure, path)


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


# -------------------------------------------------------------------------------------------------- canvas, text, file


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"cannot draw {path.name!r}: a figure's name ends in {', '.join(_SUFFIXES)}")
    return path


def _figure(width: float, height: float, constrained: bool = False) -> Figure:
    """Make a figure of a size in inches on a canvas of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03) if constrained else None
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout=engine)
    FigureCanvasAgg(figure)
    return figure


def _style(number: int, dash: int = -1) -> dict[str, Any]:
    """Return colour and dash of the ``number``-th line; beyond the colours, the dashes change."""
    dashes = number // len(_COLOURS) if dash < 0 else dash
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[dashes % len(_DASHES)],
        "linewidth": 1.9,
        "solid_capstyle": "round",
    }


def _dress(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_axisbelow(True)
    axes.grid(color=_GRID, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_PALE)
    axes.tick_params(which="both", colors=_PALE, labelcolor=_INK, labelsize=9)
    for setter, text, size in ((axes.set_xlabel, x, 10), (axes.set_ylabel, y, 10)):
        setter(_clean(text), size=size, color=_INK, family=_FONT, parse_math=False, usetex=False)
    _text(axes.set_title, _clean(title), size=11, weight="bold", color=_INK, loc="left")


def _legend(axes: Axes, words: Sequence[str]) -> None:
    """Explain the lines of axes below them, in the order drawn, with words taken as they are."""
    lines = [line for line in axes.get_lines() if line.get_label() != "_"][: len(words)]
    words = words[: len(lines)]
    legend = axes.legend(
        lines,
        [str(number) for number in range(len(words))],  # matplotlib would drop words that begin with an underscore
        loc="upper left",
        bbox_to_anchor=(0, -0.15),
        borderaxespad=0,
        frameon=False,
        handlelength=3,
        fontsize=9,
    )
    for text, word in zip(legend.get_texts(), words, strict=True):
        text.set(parse_math=False, usetex=False, text=word, color=_INK, family=_FONT)


def _heading(figure: Figure, title: str) -> None:
    if title:
        text = _fitted(_clean(title), 0.97 * _DPI * figure.get_figwidth(), 13, bold=True)
        _text(figure.suptitle, text, x=0.009, ha="left", size=13, weight="bold", color=_INK)


def _text(put: Callable[..., Any], *args: Any, **look: Any) -> None:
    """Put a text as it is: dollar signs and backslashes are characters, not mathematics."""
    put(*args, family=_FONT, parse_math=False, usetex=False, **look)


def _text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a text in pixels at the resolution of contact sheets."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=_FONT, weight="bold" if bold else "normal")))
    font.set_size(size, _DPI)
    font.set_text(text, 0.0)
    return font.get_width_height()[0] / 64  # FreeType counts in 64ths of a pixel


def _fitted(text: str, width: float, size: float, bold: bool = False) -> str:
    """Take characters out of the middle until the text is at most ``width`` pixels wide."""
    if _text_width(shorten(text, 400), size, bold) <= width and len(text) <= 400:
        return text
    fits, fails = 1, min(len(text), 400)
    while fails - fits > 1:  # how many characters fit, by bisection
        tried = (fits + fails) // 2
        if _text_width(shorten(text, tried), size, bold) <= width:
            fits = tried
        else:
            fails = tried
    return shorten(text, fits)


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_FONT)).get_charmap())


def _clean(text: str) -> str:
    """Replace what cannot be drawn: control characters by spaces, characters that the font lacks by a mark."""
    known = _glyphs()
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in str(text))
    return "".join(character if ord(character) in known else "\N{REPLACEMENT CHARACTER}" for character in plain)


def _save(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write the figure in one step; the same figure gives the same bytes."""
    from matplotlib import rc_context

    suffix = path.suffix.lower()[1:]
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "astroanomaly", "savefig.bbox": None}):
        figure.savefig(temporary, format=suffix, dpi=dpi, metadata=metadata)
