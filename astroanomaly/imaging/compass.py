"""Position of a pixel on the sky, length of an arcsecond, directions of north and east."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from astroanomaly.cutting.grids import Grid, pixel_to_sky

__all__ = ["Compass", "sexagesimal", "sky_at"]

_BARS_ARCSEC = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000)


@dataclass(frozen=True)
class Compass:
    """Scale and directions in the middle of a picture.

    Attributes
    ----------
    scale_arcsec
        Arcseconds a pixel, from left to right.
    north, east
        Unit vectors: to the right, and up.
    """

    scale_arcsec: float
    north: tuple[float, float]
    east: tuple[float, float]

    @classmethod
    def of(cls, scales: np.ndarray | None) -> Compass | None:
        """Make it from ``(2, 2)`` `astroanomaly.cutting.directions.sky_scales`; None where there is no direction."""
        if scales is None or not np.isfinite(scales).all():
            return None
        east, north = np.linalg.inv(scales).T  # steps in pixels that lead an arcsecond east, and north
        north_x, north_y = (north / math.hypot(*north)).tolist()
        east_x, east_y = (east / math.hypot(*east)).tolist()
        return cls(float(np.hypot(*scales[:, 0])), (north_x, north_y), (east_x, east_y))

    def bar(self, width: float) -> tuple[float, str]:
        """Return length in pixels and text of a scale bar, at most a third as long as so many pixels."""
        longest = self.scale_arcsec * width / 3
        bar = max((b for b in _BARS_ARCSEC if b <= longest), default=_BARS_ARCSEC[0])
        text = f"{bar / 3600:g}°" if bar >= 3600 else f"{bar / 60:g}′" if bar >= 60 else f"{bar:g}″"
        return bar / self.scale_arcsec, text

    def marks(
        self, left: float, low: float, width: float, height: float
    ) -> tuple[list[tuple[list[float], list[float]]], list[tuple[float, float, str]]]:
        """Lay out a scale bar at the lower left and arrows at the lower right of a part of the picture.

        Parameters
        ----------
        left, low, width, height
            The part, in pixels of the picture, x to the right and y up.

        Returns
        -------
        lines : list
            x and y of both ends of the bar, and of the arrows to north and to east.
        words : list
            x, y and text in their middle: the length of the bar, N, E. All of it lies within the part.
        """
        bar, text = self.bar(width)
        x, y = left + 0.05 * width, low + 0.05 * height
        arm = 0.1 * min(width, height)
        (nx, ny), (ex, ey) = self.north, self.east
        x0 = left + 0.95 * width - 1.3 * arm * max(0, nx, ex)  # wherever north is, both letters stay inside
        y0 = low + 0.05 * height - 1.3 * arm * min(0, ny, ey)
        lines = [([x, x + bar], [y, y]), ([x0, x0 + arm * nx], [y0, y0 + arm * ny])]
        lines.append(([x0, x0 + arm * ex], [y0, y0 + arm * ey]))
        words = [(x + bar / 2, y + 0.04 * height, text)]
        words += [
            (x0 + 1.3 * arm * dx, y0 + 1.3 * arm * dy, letter) for dx, dy, letter in ((nx, ny, "N"), (ex, ey, "E"))
        ]
        return lines, words


def sky_at(grid: Grid | None, x: float, y: float) -> tuple[float, float] | None:
    """ICRS degrees of a place on a grid, (0, 0) the centre of its first pixel; None where there is no sky."""
    if grid is None:
        return None
    try:
        ra, dec = pixel_to_sky(grid, x, y)
    except (ValueError, TypeError, RuntimeError):  # no celestial axes, or no way from their frame to ICRS
        return None
    return (float(ra[0]), float(dec[0])) if np.isfinite(ra[0]) and np.isfinite(dec[0]) else None


def sexagesimal(ra: float, dec: float) -> str:
    """Write ICRS degrees as ``hh:mm:ss.ss ±dd:mm:ss.s``."""
    from astropy.coordinates import Angle

    hours = Angle(ra, "deg").to_string("hourangle", sep=":", precision=2, pad=True)
    return f"{hours} {Angle(dec, 'deg').to_string('deg', sep=':', precision=1, pad=True, alwayssign=True)}"
