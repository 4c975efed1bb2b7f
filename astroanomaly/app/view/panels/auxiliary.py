"""Pictures of the planes about an object's bands: weight, rms, mask, in grey between their own levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.models import ColumnDataSource, LinearColorMapper

from astroanomaly.app.view.theme import DARK, palette, pan_tools, plain_figure

__all__ = ["AuxiliaryPictures"]

_PERCENTILES = (1, 99)


class AuxiliaryPictures:
    """One small figure for each plane, which pans and zooms with the images of the bands.

    Parameters
    ----------
    names
        Names of the planes.
    ranges
        The ranges of x and y of the inspector's figures.
    corner
        Where the title stands.
    size
        Width and height of a cutout in pixels.
    """

    def __init__(
        self, names: Sequence[str], ranges: tuple[Any, Any], corner: ColumnDataSource, size: tuple[int, int]
    ) -> None:
        self.names = tuple(names)
        self.figures: list[Any] = []
        self._sources: list[ColumnDataSource] = []
        self._mappers: list[LinearColorMapper] = []
        width, height = size
        for name in self.names:
            source = ColumnDataSource({"image": []})
            colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in palette("grey")]
            mapper = LinearColorMapper(palette=colours, low=0, high=1, nan_color=DARK)
            figure = plain_figure(x_range=ranges[0], y_range=ranges[1], width=150, height=150, name=f"plane {name}")
            figure.toolbar.update(**pan_tools())
            figure.image(source=source, image="image", x=-0.5, y=-0.5, dw=width, dh=height, color_mapper=mapper)
            figure.text(
                source=corner, x="x", y="y", text=value(name), text_color="#ffffff", background_fill_color=DARK,
                background_fill_alpha=0.55, padding=2, text_font_size="11px", text_baseline="top",
            )  # fmt: skip
            self.figures.append(figure)
            self._sources.append(source)
            self._mappers.append(mapper)

    def show(self, planes: Mapping[str, np.ndarray]) -> None:
        """Show the planes of an object, ``(height, width)`` as they are seen with the first row on top."""
        for name, source, mapper in zip(self.names, self._sources, self._mappers, strict=True):
            plane = planes.get(name)
            known = np.zeros(0) if plane is None else plane[np.isfinite(plane)]
            if plane is None or not known.size:
                source.data = {"image": []}
                continue
            low, high = (float(level) for level in np.percentile(known, _PERCENTILES))
            mapper.update(low=low, high=high if high > low else low + 1)
            source.data = {"image": [np.ascontiguousarray(plane[::-1])]}
