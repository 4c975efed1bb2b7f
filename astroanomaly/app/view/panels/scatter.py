"""The scatter plot of the maps: all objects by any two columns, one by one or as their density."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from bokeh.events import RangesUpdate, SelectionGeometry
from bokeh.models import (
    Column,
    ColumnDataSource,
    Div,
    HoverTool,
    LassoSelectTool,
    LogColorMapper,
    Range1d,
    Row,
    Select,
    TapTool,
    Toggle,
)

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.scatter import OWN_AXES, Drawing, axis_label, draw, find_inside
from astroanomaly.app.view.theme import ACCENT

__all__ = ["Scatter"]

_MAX_CHOSEN = 10_000  # objects that a lasso selects at most
_SHADES = [f"{ACCENT}{alpha:02x}" for alpha in range(70, 256, 5)]  # of few objects, of many; on dark and on light


class Scatter:
    """``points`` holds the objects that are drawn one by one, ``density`` one image of the others.

    Parameters
    ----------
    state, act, later
        As for other panels.
    figure
        An empty figure with a lasso.
    points
        Source of what is drawn one by one, with its glyph on the figure already.
    describe
        Returns the columns of the source for some objects, but for x and y.
    choose
        Called with the objects in a lasso, and whether they are added to those selected before.
    mark
        Called when others were drawn, to mark those that are selected.
    """

    def __init__(
        self,
        state: ViewState,
        act: Any,
        later: Any,
        figure: Any,
        points: ColumnDataSource,
        describe: Callable[[list[str]], dict[str, list[Any]]],
        choose: Callable[[list[str], bool], None],
        mark: Callable[[], None],
    ) -> None:
        self.state = state
        self._later = later
        self._describe = describe
        self._choose = choose
        self._mark = mark
        self.figure = figure
        self.points = points
        self.drawing: Drawing | None = None
        self._window: tuple[float, float, float, float] | None = None
        self._first: Sequence[str] = ()
        self._asked: Any = None
        self._syncing = False
        figure.update(x_range=Range1d(0, 1), y_range=Range1d(0, 1))
        self.density = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self.shades = LogColorMapper(palette=_SHADES, low=1, high=10, nan_color="rgba(0,0,0,0)")
        for tool in figure.tools:
            if isinstance(tool, LassoSelectTool | TapTool | HoverTool):  # an image cannot be selected
                tool.renderers = list(figure.renderers)
        figure.image("image", "x", "y", "dw", "dh", source=self.density, color_mapper=self.shades, level="underlay")
        columns = [*OWN_AXES.items(), *((name, name) for name in state.shared.number_columns.names)]
        self.x, self.y = (
            Select(title=title, options=columns, width=150, name=f"scatter_{title}") for title in ("x", "y")
        )
        self.log_x, self.log_y = (Toggle(label="log", width=44, name=f"scatter_log_{axis}") for axis in "xy")
        self.words = Div(disable_math=True, name="scatter_words", sizing_mode="stretch_width")
        for widget, name in ((self.x, "value"), (self.y, "value"), (self.log_x, "active"), (self.log_y, "active")):
            widget.on_change(name, lambda attr, old, new: act(self._set)())
        figure.on_event(RangesUpdate, act(self._look))
        figure.on_event(SelectionGeometry, act(self._enclose))
        end = {"align-items": "end"}
        self.root = Column(
            Row(
                self.x, self.log_x, self.y, self.log_y, self.words, spacing=4, styles=end, sizing_mode="stretch_width"
            ),
            figure, sizing_mode="stretch_both", spacing=2, name="scatter",
        )  # fmt: skip
        self._show_axes()

    def _set(self) -> None:
        if self._syncing:
            return
        self._window = None
        self.state.set_scatter(
            x=str(self.x.value), y=str(self.y.value), log_x=bool(self.log_x.active), log_y=bool(self.log_y.active)
        )

    def _show_axes(self) -> None:
        axes = self.state.scatter
        self._syncing = True
        try:
            self.x.value, self.y.value, self.log_x.active, self.log_y.active = axes.x, axes.y, axes.log_x, axes.log_y
        finally:
            self._syncing = False

    def _look(self, event: RangesUpdate) -> None:
        """Take what is in sight; it is drawn with the next update."""
        ends = (event.x0, event.x1, event.y0, event.y1)
        if self._window is None or None in ends or not np.isfinite(ends).all():
            return
        x0, x1, y0, y1 = map(float, ends)
        if not np.allclose((x0, x1, y0, y1), self._window, rtol=1e-9, atol=0):
            self._window = (min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1))

    def _enclose(self, event: SelectionGeometry) -> None:
        """Select all objects in a lasso, also those that are not drawn one by one."""
        geometry: Any = event.geometry or {}
        state, kind = self.state, geometry.get("type")
        picked = [str(self.points.data["object_id"][k]) for k in self.points.selected.indices]
        if kind == "point":
            self._choose(picked, False)
        if kind != "poly" or not event.final:
            return
        polygon = (list(geometry["x"]), list(geometry["y"]))

        def found(rows: np.ndarray) -> None:
            inside = set(rows.tolist())
            adds = any(row not in inside for row in state.shared.cache.rows(picked).tolist())  # shift was held
            self._choose(state.shared.cache.ids_at(rows[:_MAX_CHOSEN]), adds)
            if len(rows) > _MAX_CHOSEN:
                state.say(f"selected: the {_MAX_CHOSEN:,} highest scores of {len(rows):,} objects in the lasso")

        self._later(found, find_inside, state.shared, state.scatter, state.by_name, polygon)

    def update(self, first: Sequence[str]) -> None:
        """Have it drawn again if there is something new.

        Parameters
        ----------
        first
            Objects that are drawn one by one, however many there are; another list when it changes.
        """
        state = self.state
        self._show_axes()
        by, axes = state.by_name, state.scatter
        if self._asked is not None and axes != self._asked[0]:
            self._window = None
        asked = (axes, self._window, by, state.shared.described.get(by))
        if asked == self._asked and first is self._first:
            return
        self._asked, self._first, window = asked, first, self._window

        def drawn(drawing: Drawing) -> None:
            if (axes, window) == (state.scatter, self._window):  # nobody has gone on meanwhile
                self._show(drawing)

        self._later(drawn, draw, state.shared, axes, by, window, first)

    def _show(self, drawing: Drawing) -> None:
        state, shared = self.state, self.state.shared
        axes, self.drawing = state.scatter, drawing
        x1, x2, y1, y2 = drawing.window
        if self._window is None and drawing.shown:
            self._window = drawing.window
            self._asked = (axes, self._window, *self._asked[2:])
            self.figure.x_range.update(start=x1, end=x2, reset_start=x1, reset_end=x2)
            self.figure.y_range.update(start=y1, end=y2, reset_start=y1, reset_end=y2)
        self.figure.xaxis.axis_label = axis_label(shared, axes.x, axes.log_x)
        self.figure.yaxis.axis_label = axis_label(shared, axes.y, axes.log_y)
        counts = drawing.counts
        if counts is None:
            self.density.data = {"image": [], "x": [], "y": [], "dw": [], "dh": []}
        else:
            self.shades.high = max(10.0, float(np.nanmax(counts)))
            self.density.data = {"image": [counts], "x": [x1], "y": [y1], "dw": [x2 - x1], "dh": [y2 - y1]}
        self.points.data = self._describe(shared.cache.ids_at(drawing.rows)) | {
            "x": drawing.x.tolist(), "y": drawing.y.tolist()
        }  # fmt: skip
        self._mark()
        text = f"{drawing.shown:,} objects in sight"
        text += "; blue: their density" if counts is not None else ""
        text += f"; {drawing.absent:,} have no place here" if drawing.absent else ""
        self.words.text = f"<span class=muted>{escape(text)}</span>"
