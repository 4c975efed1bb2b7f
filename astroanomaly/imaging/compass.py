"""Position of a pixel on the sky, length of an arcsecond, directions of north and east, from a cutout's WCS."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Compass", "compass_of", "sexagesimal", "sky_at"]

_BARS_ARCSEC = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18000)


@dataclass(frozen=True)
class Compass:
    """Scale and directions at the centre of a cutout.

    Attributes
    ----------
    scale_arcsec
        Length of a pixel's side.
    north, east
        Unit vectors ``(x, y)`` in pixels.
    """

    scale_arcsec: float
    north: tuple[float, float]
    east: tuple[float, float]

    def bar(self, width: float) -> tuple[float, str]:
        """Return length in pixels and text of a scale bar, at most a third as long as so many pixels."""
        longest = self.scale_arcsec * width / 3
        bar = max((b for b in _BARS_ARCSEC if b <= longest), default=_BARS_ARCSEC[0])
        text = f"{bar / 3600:g}°" if bar >= 3600 else f"{bar / 60:g}′" if bar >= 60 else f"{bar:g}″"
        return bar / self.scale_arcsec, text


def compass_of(wcs: Any, width: int, height: int) -> Compass | None:
    """Measure a cutout's WCS; None where it has none, or one that gives no position here."""
    if wcs is None:
        return None
    from astropy import units

    x, y = (width - 1) / 2, (height - 1) / 2
    centre = sky_at(wcs, x, y)
    if centre is None:
        return None
    aside = [sky_at(wcs, x + dx, y + dy) for dx, dy in ((1, 0), (0, 1))]
    if None in aside:
        return None
    area = [centre.separation(other).arcsec for other in aside]
    scale = math.sqrt(area[0] * area[1])
    if not scale > 0:
        return None
    step = max(scale, 1e-3) * units.arcsec
    moved = [centre.directional_offset_by(angle * units.deg, step) for angle in (0, 90)]
    arrows = []
    for place in moved:
        px, py = wcs.world_to_pixel(place)
        dx, dy = float(px) - x, float(py) - y
        length = math.hypot(dx, dy)
        if not (math.isfinite(length) and length > 0):
            return None
        arrows.append((dx / length, dy / length))
    return Compass(scale, arrows[0], arrows[1])


def sky_at(wcs: Any, x: float, y: float) -> Any:
    """ICRS `astropy.coordinates.SkyCoord` of a pixel, (0, 0) the centre of the first; None where there is no sky."""
    if wcs is None:
        return None
    place = wcs.pixel_to_world(x, y)
    place = place[0] if isinstance(place, list | tuple) else place
    try:
        place = place.icrs
    except (AttributeError, ValueError):  # not a celestial axis, or no way from its frame to ICRS
        return None
    return place if np.isfinite(place.ra.deg) and np.isfinite(place.dec.deg) else None


def sexagesimal(ra: float, dec: float) -> str:
    """Write ICRS degrees as ``hh:mm:ss.ss ±dd:mm:ss.s``."""
    from astropy.coordinates import Angle

    hours = Angle(ra, "deg").to_string("hourangle", sep=":", precision=2, pad=True)
    return f"{hours} {Angle(dec, 'deg').to_string('deg', sep=':', precision=1, pad=True, alwayssign=True)}"
