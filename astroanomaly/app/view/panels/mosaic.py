"""The mosaic: one image for a whole page of cutouts, marks on top."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, Range1d

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.theme import ACCENT, DARK, palette, plain_figure
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.imaging.painting import Painter, arrange_in_grid

__all__ = ["Mosaic"]

_MAX_SIDE_PX = 1800  # pixels of the longer side of the whole image, at most about
_INSET_CELLS = 0.02  # of the frame of a label, within its picture
_WAITING_INSET_CELLS = 0.03
_MARGIN_PX = 5  # pixels around the whole image, for the frame of the cursor
_NO_MARK = "rgba(0,0,0,0)"
_WAITING_FILL, _WAITING_EDGE = "#141920", "#3a4556"  # of cells whose objects are still to be chosen
_LOUD, _QUIET = "#dbe2ec", "#7d8a9c"  # of texts between pictures


class Mosaic:
    """A page of cutouts: ``image`` is one picture, ``cells`` a row per cutout, ``cursor`` and ``chosen`` boxes.

    ``layout`` numbers the layouts: it grows whenever the mosaic has other objects, or has them elsewhere.
    """

    def __init__(self, state: ViewState) -> None:
        self.state = state
        self.layout = 0
        self._drawn: Any = None
        self.image = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []}, name="page_image")
        self.cells = ColumnDataSource(_cells([], [], [], [], [], 1, 1, 1.0), name="cells")
        self.cursor = ColumnDataSource({"left": [], "right": [], "bottom": [], "top": []}, name="cursor")
        self.chosen = ColumnDataSource({"left": [], "right": [], "bottom": [], "top": []})
        self.painter: Painter | None = None
        self._pending: set[str] = set()
        figure = plain_figure(
            background_fill_color=DARK,
            border_fill_color=DARK,
            x_range=Range1d(0, state.columns),
            y_range=Range1d(0, state.rows),
            sizing_mode="stretch_both",
            name="mosaic",
            css_classes=["aa-mosaic"],
        )
        figure.image_rgba(source=self.image)
        sides = {"left": "left", "right": "right", "bottom": "bottom", "top": "top"}
        self.lines = ColumnDataSource({"x0": [], "y0": [], "x1": [], "y1": []})  # between the cutouts
        figure.segment(source=self.lines, line_color=DARK, line_width=4)
        self.waiting = ColumnDataSource(_boxes([], 1, 1, 0.0), name="waiting_cells")
        figure.quad(
            source=self.waiting, **sides, fill_color=_WAITING_FILL, line_color=_WAITING_EDGE, line_dash="dotted"
        )
        self.words = ColumnDataSource(_words(0, 0, ""), name="mosaic_words")  # where there is no picture
        figure.text(
            source=self.words, text_color="colour", text_font_size="15px", text_align="center", text_baseline="middle"
        )  # fmt: skip
        figure.quad(source=self.chosen, **sides, fill_color=ACCENT, fill_alpha=0.28, line_color=None)
        figure.quad(
            source=self.cells, **sides, fill_color=None, line_color="edge", line_width="width", line_dash="dash"
        )
        figure.scatter(
            source=self.cells, x="mark_x", y="mark_y", marker="marker", size="size", fill_color="colour",
            line_color="rim", line_width="outline"
        )  # fmt: skip
        figure.scatter(
            source=self.cells, x="flag_x", y="mark_y", marker="inverted_triangle", size="flag", fill_color="#D55E00",
            line_color=DARK
        )  # fmt: skip
        figure.text(
            source=self.cells, x="text_x", y="text_y", text="caption", text_font_size="10px", text_color="#ffffff",
            background_fill_color=DARK, background_fill_alpha=0.55, padding=2, text_baseline="bottom"
        )  # fmt: skip
        figure.text(
            source=self.cells, x="mark_x", y="mark_y", text="grade", text_font_size="grade_size",
            text_color="grade_colour", text_font_style="bold", text_align="center", text_baseline="middle"
        )  # fmt: skip
        figure.quad(source=self.cursor, **sides, fill_color=None, line_color=DARK, line_width=9)
        figure.quad(source=self.cursor, **sides, fill_color=None, line_color="#ffffff", line_width=5)
        self.root = figure

    def has_to_move(self, dirty: set[str]) -> bool:
        """Whether an update will change where things are, so that what is on the screen meanwhile is wrong."""
        if self.state.inspecting:
            return False
        appears = "view" in dirty and "page" in self._pending
        return appears or self._drawn != (self.state.columns, self.state.rows, self.state.shape)

    def _square_pixels(self) -> None:
        """Keep pixels square: the ranges have the shape of the figure, in cells of one cutout each."""
        columns, rows = self.state.columns, self.state.rows
        width, height = self.state.shape
        layout = self.state.shared.cache.layout
        margin = 2 * min(_MARGIN_PX, 0.01 * width, 0.01 * height)
        pixel = min((width - margin) / (columns * layout.width), (height - margin) / (rows * layout.height))
        extra_x = width / (pixel * layout.width) - columns
        extra_y = height / (pixel * layout.height) - rows
        self.root.x_range.update(start=-extra_x / 2, end=columns + extra_x / 2)
        self.root.y_range.update(start=-extra_y / 2, end=rows + extra_y / 2)
        self._drawn = (columns, rows, self.state.shape)

    def update(self, dirty: set[str]) -> None:
        """Show what has changed in the state."""
        self._pending |= dirty
        if self.state.inspecting:  # painted when it is seen again
            return
        dirty, self._pending = self._pending, set()
        if dirty & {"page", "shape"}:
            self.layout += 1
            self._square_pixels()
        if "page" in dirty:
            self._load()
        if dirty & {"page", "display"}:
            self._paint()
        if dirty & {"page", "marks", "options"}:
            self._mark()
        if dirty & {"page", "cursor"}:
            self._point()

    def _load(self) -> None:
        state = self.state
        ids = list(state.page.ids)
        self.painter, state.unreadable, state.damaged = None, "", frozenset()
        lost: list[int] = []
        if ids:
            largest = max(32, _MAX_SIDE_PX // max(state.columns, state.rows))
            try:
                self.painter, lost = state.shared.cache.pictures.painter_of_undamaged(ids, largest)
                state.damaged = frozenset(ids[place] for place in lost)
            except AstroAnomalyError as error:
                state.unreadable = str(error)
        if self.painter is None and (ids or not state.page.waiting):
            text = state.unreadable if ids else f"Nothing to show. {state.why_empty()}"
            self.words.data = _words(state.columns / 2, state.rows / 2, "\n".join(textwrap.wrap(text, 70)))
        elif state.page.waiting:  # said in the middle of the rows that are empty
            empty_rows = state.rows - -(-len(ids) // state.columns)
            text = (
                "the next row comes when the one above has its verdicts" if ids else "ranking anew with your verdicts"
            )
            self.words.data = _words(state.columns / 2, empty_rows / 2, text if empty_rows else "", _QUIET)
        else:
            self.words.data = _words(0, 0, "")
        for place in lost:
            x, y = place % state.columns + 0.5, state.rows - place // state.columns - 0.5
            more = _words(x, y, "damaged:\ncannot be read")
            self.words.data = {name: [*self.words.data[name], *values] for name, values in more.items()}
        columns, rows = state.columns, state.rows
        waiting = list(range(len(ids), len(ids) + state.page.waiting))
        self.waiting.data = _boxes(waiting, columns, rows, _WAITING_INSET_CELLS)
        across, down = list(range(1, columns)), list(range(1, rows))
        self.lines.data = {
            "x0": [*across, *[0] * len(down)], "x1": [*across, *[columns] * len(down)],
            "y0": [*[0] * len(across), *down], "y1": [*[rows] * len(across), *down],
        }  # fmt: skip

    def _paint(self) -> None:
        if self.painter is None:
            self.image.data = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
            return
        columns, rows = self.state.columns, self.state.rows
        whole = arrange_in_grid(self.painter.paint(self.state.display, palette), columns, rows)[::-1]
        self.image.data = {"image": [np.ascontiguousarray(whole)], "x": [0], "y": [0], "dw": [columns], "dh": [rows]}

    def _mark(self) -> None:
        state = self.state
        ids = state.page.ids
        marks = [state.mark(object_id) for object_id in ids]
        styles = [state.style(mark.label) if mark.label else None for mark in marks]
        scores = [float("nan") if state.is_hidden(object_id) else state.page.score(object_id) for object_id in ids]
        captions = [
            state.tally(object_id) or (f"{score:+.2f}" if np.isfinite(score) else "")
            for object_id, score in zip(ids, scores, strict=True)
        ]
        known = state.shared.grades
        grades = ["" if known is None else known.name_of(mark.label) for mark in marks]
        self.cells.data = _cells(marks, styles, captions, grades, ids, state.columns, state.rows, state.zoom)

    def _point(self) -> None:
        state = self.state
        cells = [state.cursor] if state.page.ids or state.page.waiting else []
        self.cursor.data = _boxes(cells, state.columns, state.rows, 0.0)
        chosen = sorted(state.selection) if len(state.selection) > 1 else []  # one alone has the cursor, and no tint
        self.chosen.data = _boxes(chosen, state.columns, state.rows, 0.0)


def _words(x: float, y: float, text: str, colour: str = _LOUD) -> dict[str, list[Any]]:
    """Columns of the source of texts: one line of them, or none."""
    return {"x": [x], "y": [y], "text": [text], "colour": [colour]} if text else {
        "x": [], "y": [], "text": [], "colour": []
    }  # fmt: skip


def _boxes(cells: list[int], columns: int, rows: int, inset: float) -> dict[str, list[float]]:
    left = [cell % columns for cell in cells]
    bottom = [rows - 1 - cell // columns for cell in cells]
    return {
        "left": [x + inset for x in left],
        "right": [x + 1 - inset for x in left],
        "bottom": [y + inset for y in bottom],
        "top": [y + 1 - inset for y in bottom],
    }


def _cells(
    marks: Any, styles: Any, captions: Any, grades: Any, ids: Any, columns: int, rows: int, zoom: float
) -> dict[str, list[Any]]:
    """Columns of the source of cells: one row per cutout."""
    data: dict[str, list[Any]] = dict(_boxes(list(range(len(ids))), columns, rows, _INSET_CELLS))
    data["object_id"] = list(ids)
    data["word"] = [mark.label for mark in marks]
    data["edge"] = [style.colour if style else _NO_MARK for style in styles]
    data["width"] = [4 * zoom if style else 0 for style in styles]
    data["dash"] = ["solid" if mark.own or not mark.label else "dashed" for mark in marks]
    data["marker"] = [style.marker if style else "circle" for style in styles]
    data["colour"] = [
        (style.colour if mark.own else _NO_MARK) if style else _NO_MARK
        for mark, style in zip(marks, styles, strict=True)
    ]
    data["rim"] = [
        style.colour if style and (not mark.own or style.marker in ("dash", "x")) else DARK
        for mark, style in zip(marks, styles, strict=True)
    ]
    data["size"] = [20 * zoom if style else 0 for style in styles]
    data["outline"] = [
        1 if mark.own and not (style and style.marker in ("dash", "x")) else 3
        for mark, style in zip(marks, styles, strict=True)
    ]
    data["grade"] = list(grades)
    data["grade_size"] = [f"{13 * zoom:.0f}px"] * len(ids)
    data["grade_colour"] = [DARK if mark.own else "#ffffff" for mark in marks]
    data["flag"] = [14 * zoom if mark.flagged else 0 for mark in marks]
    data["mark_x"] = [x + 0.12 for x in data["left"]]
    data["flag_x"] = [x - 0.12 for x in data["right"]]
    data["mark_y"] = [y - 0.12 for y in data["top"]]
    data["text_x"] = [x + 0.04 if text else float("nan") for x, text in zip(data["left"], captions, strict=True)]
    data["text_y"] = [y + 0.02 for y in data["bottom"]]
    data["caption"] = list(captions)
    return data
