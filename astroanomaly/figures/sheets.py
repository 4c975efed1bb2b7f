"""Contact sheets: many small pictures as one, framed in the colours of their labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.figures.canvas import (
    DPI,
    INK,
    checked_path,
    clean,
    new_figure,
    put_text,
    save,
    shorten,
    shorten_to_width,
    text_width,
    wrap_to_width,
)
from astroanomaly.figures.compass import draw_compass
from astroanomaly.imaging.class_marks import MarkStyle, mark_style
from astroanomaly.imaging.compass import Compass
from astroanomaly.records import ANOMALY, NOMINAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["contact_sheet"]

_MAX_SIDE_PX = 40_000  # pixels, longest side of a contact sheet
_MARKERS: dict[str, Any] = {  # of a style -> as matplotlib names it
    "circle": "o", "star": "*", "x": "X", "dash": "s", "inverted_triangle": "v", "diamond": "D", "triangle": "^",
    "square": "s", "hex": "h", "square_pin": (4, 1, 45), "cross": "P",
}  # fmt: skip
_POINTED_MARKERS = ("*", (4, 1, 45))  # drawn larger: most of their square is empty


def contact_sheet(
    images: np.ndarray,
    captions: Sequence[str],
    path: str | Path,
    title: str = "",
    columns: int = 10,
    *,
    labels: Sequence[str | None] | None = None,
    classes: Sequence[str] = (),
    cell: int = 128,
    compasses: Sequence[Compass | None] | None = None,
    positions: Sequence[str] | None = None,
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
    classes
        All label classes of the session, in their order, which decides the colours of its own ones; those that are
        not among them follow by name.
    cell
        Wanted side of a picture in pixels.
    compasses
        Compass of each image or None: drawn into it, with a scale bar.
    positions
        A text under the caption of each image that is never shortened: columns are as wide as the longest.

    Raises
    ------
    ConfigError
        If there is nothing to draw, the arrays do not match, or the suffix is unknown.
    StorageError
        If the file cannot be written.
    """
    path = checked_path(path)
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ConfigError(f"a contact sheet takes (n, H, W, 3) uint8 images, not {images.shape} {images.dtype}")
    n = len(images)
    marks = [None] * n if labels is None else list(labels)
    directions = [None] * n if compasses is None else list(compasses)
    places = [""] * n if positions is None else [clean(place) for place in positions]
    if not n or columns < 1 or {len(captions), len(marks), len(directions), len(places)} != {n}:
        raise ConfigError(
            "a contact sheet needs images, at least one column, and one caption, label and position per image; it got "
            f"{n} images, {columns} columns, {len(captions)} captions, {len(marks)} labels and {len(places)} positions"
        )
    before = images.shape[2]
    images = _resized(images, cell)
    height, width = images.shape[1:3]
    columns = min(columns, n)
    rows = -(-n // columns)
    column = max(width, *(math.ceil(text_width(place, 8)) + 4 for place in set(places)))
    lines = [
        _lines(caption, column + 2) + [place] * bool(place) for caption, place in zip(captions, places, strict=True)
    ]
    under = 6 + 13 * max(map(len, lines))  # pixels below each picture
    frame, gap, side = 4, 8, 24
    step_x = column + 2 * frame + gap
    styles = _frame_styles(marks, classes)
    across = max(2 * side + columns * step_x - gap, 360)
    heading = wrap_to_width(clean(title), across - 2 * side, 13, bold=True)
    top, foot = 20 + (12 + 20 * len(heading)) * bool(heading), (40 if styles else 14)
    step_y = height + 2 * frame + under + gap
    total = (across, top + rows * step_y + foot)
    if max(total) > _MAX_SIDE_PX:
        raise ConfigError(
            f"a contact sheet of {n} images in {columns} columns would measure {total[0]} x {total[1]} pixels, more "
            f"than {_MAX_SIDE_PX}: draw fewer at a time"
        )
    canvas = np.full((total[1], total[0], 3), 255, np.uint8)
    figure = new_figure(total[0] / DPI, total[1] / DPI)
    texts: list[tuple[float, float, str, dict[str, Any]]] = []
    for number in range(n):
        x = side + (number % columns) * step_x
        y = top + (number // columns) * step_y
        style = styles.get(marks[number] or "")
        if style:
            canvas[y : y + height + 2 * frame, x : x + width + 2 * frame] = _rgb(_colour(style))
        canvas[y + frame : y + frame + height, x + frame : x + frame + width] = images[number]
        compass = directions[number]
        if compass is not None:
            draw_compass(figure, total, (x + frame, y + frame, width, height), compass, width / before)
        if style:
            _marker(figure, total, x + width + frame - 11, y + frame + 11, style)
        for line, text in enumerate(lines[number]):
            look = {"size": 8, "color": INK if line == 0 else "#666666"}
            texts.append((x + frame, y + height + 2 * frame + 13 + 13 * line, text, look))
    for number, text in enumerate(heading):
        texts.append((side + frame, 33 + 20 * number, text, {"size": 13, "weight": "bold", "color": INK}))
    x = side + frame
    for name, style in styles.items():
        y = total[1] - foot // 2 - 2
        _marker(figure, total, x + 6, y - 4, style)
        word = shorten(clean(name), 24)
        texts.append((x + 18, y, word, {"size": 9, "color": INK}))
        x += round(40 + text_width(word, 9))
    figure.figimage(canvas, 0, 0, origin="upper", zorder=0)
    for x_text, y_text, text, look in texts:
        put_text(figure.text, x_text / total[0], 1 - y_text / total[1], text, va="baseline", zorder=5, **look)
    save(figure, path, DPI)


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
    return [shorten_to_width(clean(line), width, 8) for line in caption.splitlines()[:3]] or [""]


def _frame_styles(labels: Iterable[str | None], classes: Sequence[str]) -> dict[str, MarkStyle]:
    """Return the style of each label class that occurs, in the order of the classes."""
    found = sorted({label for label in labels if label})
    names = list(dict.fromkeys([NOMINAL, ANOMALY, *classes, *found]))
    return {name: mark_style(name, names) for name in names if name in found}


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _colour(style: MarkStyle) -> str:
    return style.on_white or style.colour


def _marker(figure: Figure, total: tuple[int, int], x: float, y: float, style: MarkStyle) -> None:
    """Put a marker at pixel ``x, y`` counted from the upper left corner."""
    from matplotlib.lines import Line2D

    marker = _MARKERS[style.marker]
    size = 11 if marker in _POINTED_MARKERS else 7
    line = Line2D([x / total[0]], [1 - y / total[1]], marker=marker, markersize=size, color=_colour(style), zorder=6)
    line.set(markeredgecolor="white", markeredgewidth=0.8, transform=figure.transFigure, linestyle="none")
    figure.add_artist(line)
