"""The spectrum of an object in the inspector: flux over wavelength, its error, and the usual lines."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    Div,
    HoverTool,
    LabelSet,
    NumericInput,
    PanTool,
    Row,
    Select,
    Toggle,
    WheelZoomTool,
)

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.theme import ACCENT, INK, PALE, plot_figure
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.figures.spectra import flux_range
from astroanomaly.learn.features.spectrum_files import SpectrumFile, has_spectra, open_spectra

__all__ = ["SpectrumPlot"]

_HEIGHT_PX = 230  # of the plot and what stands above it
_LINES = {  # vacuum, Angstrom; NIST Atomic Spectra Database
    "Lyα": 1215.67, "C IV": 1549.06, "C III]": 1908.73, "Mg II": 2799.12, "[O II]": 3728.48, "Ca K": 3934.78,
    "Ca H": 3969.59, "Hδ": 4102.89, "Hγ": 4341.68, "He II": 4687.02, "Hβ": 4862.68, "[O III]": 5008.24, "Mg b": 5176.63,
    "Na D": 5895.6, "[O I]": 6302.05, "Hα": 6564.61, "[S II]": 6725.48,
}  # fmt: skip
_TEXT_ROWS, _TEXT_SHARE = 3, 0.1  # names of lines stand in rows of this share of the height
_ROOM = 0.25  # above the spectrum, for the names of lines
_EMPTY: dict[str, list[float]] = {"wavelength": [], "flux": [], "low": [], "high": []}
_NO_LINES: dict[str, list[Any]] = {"x": [], "name": [], "y": [], "bottom": [], "top": []}


class SpectrumPlot:
    """A plot below the images, in sessions with spectra.

    Parameters
    ----------
    shared
        Its session has the spectra.
    """

    def __init__(self, shared: SharedState) -> None:
        self._folders = {one.name: one.folder for one in shared.session.context.blocks if has_spectra(one.folder)}
        self._open: dict[str, SpectrumFile] = {}
        self._object_id = ""
        self.source, self.lines = ColumnDataSource(dict(_EMPTY)), ColumnDataSource(dict(_NO_LINES))
        zoom = WheelZoomTool(dimensions="width")
        hover = HoverTool(
            tooltips=[("", "@wavelength{0.0} Å"), ("", "@flux{0.000a}")], mode="vline", line_policy="next"
        )
        self.figure = plot_figure(
            "", "wavelength as observed (Å)", "flux", height=_HEIGHT_PX - 40, sizing_mode="stretch_width",
            tools=[PanTool(), zoom, hover], active_scroll=zoom, output_backend="canvas", name="spectrum",
            x_range=(0, 1), y_range=(0, 1),
        )  # fmt: skip
        self.figure.varea("wavelength", "low", "high", source=self.source, fill_color=PALE, fill_alpha=0.4)
        drawn = self.figure.step(
            "wavelength", "flux", source=self.source, line_color=ACCENT, line_width=1, mode="center"
        )
        hover.renderers = [drawn]
        self.figure.segment("x", "bottom", "x", "top", source=self.lines, line_color=INK, line_dash="dotted")
        self.figure.add_layout(
            LabelSet(x="x", y="y", text="name", source=self.lines, text_color=INK, text_font_size="10px", angle=0,
                     text_align="center", text_baseline="top")
        )  # fmt: skip
        self.block = Select(options=list(self._folders), value=next(iter(self._folders), ""), width=130)
        self.block.visible = len(self._folders) > 1
        self.block.on_change("value", lambda attr, old, new: self.show(self._object_id))
        self.mark = Toggle(label="usual lines", width=95, name="spectrum_lines")
        self.redshift = NumericInput(
            placeholder="redshift", mode="float", low=-0.5, high=30, width=90, name="spectrum_z"
        )
        self.mark.on_change("active", lambda attr, old, new: self._draw_lines())
        self.redshift.on_change("value", lambda attr, old, new: self._draw_lines())
        self.words = Div(disable_math=True, name="spectrum_words", margin=(8, 5, 5, 5))
        self.tools = Row(self.block, self.mark, self.redshift, self.words, spacing=6)

    def __bool__(self) -> bool:
        return bool(self._folders)

    @property
    def height(self) -> int:
        """Pixels that it takes; 0 without spectra."""
        return _HEIGHT_PX if self else 0

    def show(self, object_id: str) -> str:
        """Draw the spectrum of an object; return why it cannot be read, empty where it can or there is none."""
        self._object_id = object_id
        name = str(self.block.value)
        try:
            if name not in self._open:
                self._open[name] = open_spectra(Path(self._folders[name]))
        except AstroAnomalyError as error:
            self.source.data = dict(_EMPTY)
            return str(error)
        found = self._open[name]
        row = found.row(object_id)
        if row < 0:
            self.source.data = dict(_EMPTY)
            self.words.text = f"<span class=muted>{escape(name)}: no spectrum of this object</span>"
            self.redshift.value = None
            self._draw_lines()
            return ""
        flux, deviation = np.asarray(found.spectra[row], np.float64)
        wavelength = found.grid.wavelengths
        self.source.data = {"wavelength": wavelength, "flux": flux, "low": flux - deviation, "high": flux + deviation}
        unit = f", flux in {escape(found.unit)}" if found.unit else ""
        self.words.text = f"<span class=muted>{escape(name)}{unit}</span>"
        self._frame(wavelength, flux)
        z = float(found.redshifts[row])
        self.redshift.value = round(z, 5) if np.isfinite(z) else None
        self._draw_lines()
        return ""

    def _frame(self, wavelength: np.ndarray, flux: np.ndarray) -> None:
        """Look at what is known of the spectrum; a pixel that is far out does not squeeze the rest."""
        known = np.isfinite(flux)
        if not known.any():
            return
        low, high = flux_range(flux)
        self.figure.y_range.update(start=low, end=high + _ROOM * (high - low))
        self.figure.x_range.update(start=float(wavelength[known][0]), end=float(wavelength[known][-1]))

    def _draw_lines(self) -> None:
        """Mark where usual lines lie at the redshift that is typed."""
        z, axis = self.redshift.value, self.figure.x_range
        if not self.mark.active or z is None or not len(self.source.data["flux"]):
            self.lines.data = dict(_NO_LINES)
            return
        places = {name: rest * (1 + float(z)) for name, rest in _LINES.items()}
        seen = {name: x for name, x in places.items() if axis.start < x < axis.end}
        bottom, top = self.figure.y_range.start, self.figure.y_range.end
        height = top - bottom
        texts = [top - _TEXT_SHARE * (k % _TEXT_ROWS) * height for k in range(len(seen))]
        self.lines.data = {
            "x": list(seen.values()), "name": list(seen), "y": texts,
            "bottom": [bottom] * len(seen), "top": [text - _TEXT_SHARE * height for text in texts],
        }  # fmt: skip
