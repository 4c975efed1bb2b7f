"""The light curve of an object in the inspector: flux or magnitude over time or phase, with errors, by band."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    Div,
    HoverTool,
    NumericInput,
    PanTool,
    Row,
    Select,
    Toggle,
    WheelZoomTool,
)

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.theme import plot_figure
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.figures.light_curves import brightness_range
from astroanomaly.learn.features.block_files import open_block
from astroanomaly.learn.features.light_curve_files import LightCurveFile, has_light_curves, open_light_curves

__all__ = ["LightCurvePlot"]

_MOST_DRAWN = 20_000  # measurements: more would take long to send to a browser
_HEIGHT_PX = 230  # of the plot and what stands above it
# Okabe & Ito (2008), light enough for a dark ground
_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2", "#8A94A6")
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star", "plus")
_EMPTY: dict[str, list[Any]] = {
    "x": [], "time": [], "value": [], "low": [], "high": [], "band": [], "colour": [], "marker": [],
    "shown": [],
}  # fmt: skip


class LightCurvePlot:
    """A plot below the images, in sessions with light curves.

    Parameters
    ----------
    shared
        Its session has the light curves.
    """

    def __init__(self, shared: SharedState) -> None:
        blocks = {one.name: one for one in shared.session.context.blocks if has_light_curves(one.folder)}
        self._blocks = blocks
        self._open: dict[str, LightCurveFile] = {}
        self._object_id, self._axis = "", "time (days)"
        self._measurements: dict[str, Any] = {}  # of the object, but for where they are drawn
        self.source = ColumnDataSource(dict(_EMPTY))
        zoom = WheelZoomTool(dimensions="width")
        hover = HoverTool(tooltips=[("", "@band"), ("", "@time{0.00000}"), ("", "@shown")])
        self.figure = plot_figure(
            "", "time (days)", "", height=_HEIGHT_PX - 40, sizing_mode="stretch_width", tools=[PanTool(), zoom, hover],
            active_scroll=zoom, output_backend="canvas", name="light_curve", x_range=(0, 1), y_range=(0, 1),
        )  # fmt: skip
        self.figure.segment("x", "low", "x", "high", source=self.source, line_color="colour", line_alpha=0.5)
        drawn = self.figure.scatter(
            "x", "value", source=self.source, marker="marker", size=5, fill_color="colour", line_color="colour"
        )
        hover.renderers = [drawn]
        self.block = Select(options=list(blocks), value=next(iter(blocks), ""), width=130)
        self.block.visible = len(blocks) > 1
        self.block.on_change("value", lambda attr, old, new: self.show(self._object_id))
        self.fold = Toggle(label="folded", width=70, name="light_curve_fold")
        self.period = NumericInput(
            placeholder="period (days)", mode="float", low=1e-5, width=110, name="light_curve_period"
        )
        self.fold.on_change("active", lambda attr, old, new: self._place())
        self.period.on_change("value", lambda attr, old, new: self._place())
        self.words = Div(disable_math=True, name="light_curve_words", margin=(8, 5, 5, 5))
        self.tools = Row(self.block, self.fold, self.period, self.words, spacing=6)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    @property
    def height(self) -> int:
        """Pixels that it takes; 0 without light curves."""
        return _HEIGHT_PX if self else 0

    def show(self, object_id: str) -> str:
        """Draw the light curve of an object; return why it cannot be read, empty where it can or there is none."""
        self._object_id = object_id
        name = str(self.block.value)
        try:
            if name not in self._open:
                self._open[name] = open_light_curves(Path(self._blocks[name].folder))
            found = self._open[name]
            points = found.points(object_id)
            period = self._known_period(name, object_id)
        except AstroAnomalyError as problem:
            self._draw({})
            return str(problem)
        if points is None or not len(points):
            self._draw({})
            self.words.text = f"<span class=muted>{escape(name)}: no light curve of this object</span>"
            self.period.value = None
            return ""
        count = len(points)
        if count > _MOST_DRAWN:  # evenly spread over time
            points = points[np.linspace(0, count - 1, _MOST_DRAWN).round().astype(int)]
        value, error = points["value"].astype(np.float64), points["error"].astype(np.float64)
        half, band = np.where(np.isfinite(error), error, 0), points["band"]
        order = {name: k for k, name in enumerate(sorted(found.bands))}
        number = [order[found.bands[k]] for k in band.tolist()]
        drawn = {
            "time": points["time"], "value": value, "low": value - half, "high": value + half,
            "band": [found.bands[k] for k in band.tolist()], "colour": [_COLOURS[k % len(_COLOURS)] for k in number],
            "marker": [_MARKERS[k % len(_MARKERS)] for k in number],
            "shown": [f"{one:.6g}" for one in value.tolist()],
        }  # fmt: skip
        low, high = brightness_range(value, error)
        start, end = (high, low) if found.is_magnitude else (low, high)  # brighter upwards
        self.figure.y_range.update(start=start, end=end)
        self.figure.yaxis.axis_label = "magnitude" if found.is_magnitude else "flux"
        self._axis = "MJD (days)" if found.is_mjd else "time (days)"
        self.words.text = self._described(name, found, band, count)
        self._draw({})  # else the new period would place the measurements of the object before
        self.period.value = None if period is None else float(f"{period:.6g}")
        self._draw(drawn)
        return ""

    def _known_period(self, name: str, object_id: str) -> float | None:
        """Return the period in days that the block has of an object."""
        block = self._blocks[name]
        if "period" not in block.columns:
            return None
        file = open_block(Path(block.folder), len(block.columns))
        row = int(file.rows([object_id])[0])
        value = float(file.values[row, block.columns.index("period")]) if row >= 0 else np.nan
        return 10**value if np.isfinite(value) else None

    def _described(self, name: str, found: LightCurveFile, band: np.ndarray, count: int) -> str:
        there = [found.bands[k] for k in np.unique(band).tolist()]
        order = sorted(found.bands)
        shown = " ".join(
            f'<span style="color:{_COLOURS[order.index(one) % len(_COLOURS)]}">● {escape(one)}</span>'
            for one in sorted(there)
            if one
        )
        unit = f", in {escape(found.unit)}" if found.unit else ""
        some = f", {len(band):,} of them drawn" if len(band) < count else ""
        return f"<span class=muted>{escape(name)}{unit}, {count} measurements{some}</span> {shown}"

    def _draw(self, measurements: dict[str, Any]) -> None:
        self._measurements = measurements
        self._place()

    def _place(self) -> None:
        """Put the measurements where their time, or their phase, is."""
        if not self._measurements:
            if len(self.source.data["x"]):
                self.source.data = dict(_EMPTY)
            return
        time, period = self._measurements["time"], self.period.value
        folded = bool(self.fold.active) and period is not None and period > 0
        self.figure.xaxis.axis_label = f"phase, period {period:.6g} days" if folded else self._axis
        self.source.data = {"x": (time - time.min()) / float(period) % 1 if folded else time, **self._measurements}
        low, high = (0.0, 1.0) if folded else (float(time.min()), float(time.max()))
        room = 0.02 * (high - low) or 0.5
        self.figure.x_range.update(start=low - room, end=high + room)
