"""The colour bar of one band: which colour is which flux."""

from __future__ import annotations

import numpy as np
from bokeh.models import ColumnDataSource, FixedTicker, PlainText

from astroanomaly.app.view.theme import INK, PALE, palette, plain_figure
from astroanomaly.imaging.colour_bar import bar_ticks
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.painting import Painter

__all__ = ["ColourBar"]

_HEIGHT_PX = 52  # pixels
_COLOURS = 256


class ColourBar:
    """A bar that runs evenly through the colours, ticks at round flux values; hidden unless a band is shown alone."""

    def __init__(self) -> None:
        self.source = ColumnDataSource({"image": []})
        self.root = plain_figure(
            x_range=(0, 1), y_range=(0, 1), width=480, height=_HEIGHT_PX, min_border_left=24, min_border_right=24,
            visible=False, name="colour_bar",
        )  # fmt: skip
        self.root.image_rgba(source=self.source, image="image", x=0, y=0, dw=1, dh=1)
        axis = self.root.xaxis[0]
        axis.update(
            visible=True, ticker=FixedTicker(ticks=[]), axis_label_text_color=INK, major_label_text_color=INK,
            axis_line_color=PALE, major_tick_line_color=PALE, axis_label_text_font_size="11px",
            axis_label_text_font_style="normal", axis_label_standoff=0,
        )  # fmt: skip

    @property
    def height(self) -> int:
        """Pixels that it takes."""
        return _HEIGHT_PX if self.root.visible else 0

    def update(self, painter: Painter | None, display: Display, units: tuple[str, ...]) -> None:
        """Show the colours of the band that the first image is painted in."""
        ticks = []
        if painter is not None and display.colours == "single":
            band = display.shown_band(painter.bands)
            number = painter.bands.index(band)
            black, white = (
                float(np.broadcast_to(level, (len(level), len(painter.bands)))[0, number])
                for level in painter.levels(display)
            )
            ticks = bar_ticks(display, black, white)
        self.root.visible = bool(ticks)
        if not ticks:
            return
        colours = np.full((1, _COLOURS, 4), 255, np.uint8)
        colours[0, :, :3] = palette(display.colour_map)[:: -1 if display.invert else 1]
        self.source.data = {"image": [colours.view(np.uint32)[..., 0]]}
        unit = units[number] if units else ""
        axis = self.root.xaxis[0]
        axis.update(
            ticker=FixedTicker(ticks=[place for place, _ in ticks]),
            major_label_overrides={place: f"{flux:.10g}" for place, flux in ticks},
            axis_label=PlainText(text=f"{band} [{unit}]" if unit else band),  # no TeX in names
        )
