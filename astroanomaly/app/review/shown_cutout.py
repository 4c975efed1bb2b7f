"""One cutout as it is drawn: turned for the eye, and what lies under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroanomaly.cache.pictures import Pictures
from astroanomaly.imaging.compass import sky_at
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.orientation import Orientation, OrientationChoice
from astroanomaly.records import Cutout

__all__ = ["Pixel", "ShownCutout"]


@dataclass(frozen=True)
class Pixel:
    """A pixel of a cutout, and the place on the sky under the pointer.

    Attributes
    ----------
    x, y
        Column and row of the stored array, counted from 0.
    sky
        ICRS degrees of the pointer, not of the pixel's middle; None without a WCS.
    """

    x: int
    y: int
    sky: tuple[float, float] | None


class ShownCutout:
    """A cutout with its painter and its orientation. Positions on it are x to the right and y up, as seen."""

    def __init__(self, cutout: Cutout, pictures: Pictures, display: Display) -> None:
        self.cutout = cutout
        self._pictures = pictures
        self.shape: tuple[int, int] = (cutout.data.shape[-2], cutout.data.shape[-1])
        self.painter = pictures.painter_of(cutout.data[None], [cutout.object_id])
        self.orientation = self._orient(display.orientation)[0]
        self.compass = pictures.compasses([cutout.object_id], display)[0]

    def _orient(self, wanted: OrientationChoice) -> Sequence[Orientation]:
        return self._pictures.orientations([self.cutout.object_id], wanted)

    def turn(self, display: Display, place: tuple[float, float]) -> tuple[float, float]:
        """Follow a display; return where a place on the picture has gone."""
        x, y = self.orientation.to_stored(*place, self.shape)
        self.orientation = self._orient(display.orientation)[0]
        self.compass = self._pictures.compasses([self.cutout.object_id], display)[0]
        x, y = self.orientation.to_shown(x, y, self.shape)
        return float(x), float(y)

    def pixel_at(self, x: float, y: float) -> Pixel | None:
        """Find the stored pixel at a place on the picture; None outside of the cutout."""
        exact_x, exact_y = self.orientation.to_stored(x, y, self.shape)
        column, row = round(float(exact_x)), round(float(exact_y))
        if not (0 <= column < self.shape[1] and 0 <= row < self.shape[0]):
            return None
        dx, dy = self.cutout.offset
        return Pixel(column, row, sky_at(self.cutout.grid, exact_x + dx, exact_y + dy))
