"""Region files of DS9 as tables: one row for each region, with its middle, its kind and its text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError, ConfigError

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["REGIONS_START", "read_regions"]

REGIONS_START = re.compile(
    rb"(?i)\s*(#\s*region file format:\s*ds9|(#[^\n]*\n\s*|global [^\n]*\n\s*)*"
    rb"((icrs|fk5|fk4|galactic|ecliptic|image|physical|j2000|b1950)\s*[;\n]\s*)?"
    rb"(circle|ellipse|box|point|annulus|polygon|cross point|x point|diamond point)\s*\()"
)
_SIZES = ("radius", "width", "height", "outer_radius")


def read_regions(content: str, where: str) -> Table:
    """Read the regions of a file.

    Returns
    -------
    astropy.table.Table
        ``coord`` (a SkyCoord), or ``x`` and ``y`` (pixels, counted from 0); ``region`` (circle, box ...), ``radius``,
        ``width``, ``height`` in arcsec or pixels where the regions have them, NaN elsewhere; ``name`` where each region
        has a text of its own.

    Raises
    ------
    ConfigError
        If the package regions is not installed.
    CatalogError
        If there is no region, or some are on the sky and some in pixels.
    """
    try:
        from regions import Regions, SkyRegion
    except ImportError as error:
        raise ConfigError(
            f"{where}: region files need the package regions: pip install 'astroanomaly[regions]'"
        ) from error
    from astropy import units as u
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    try:
        found = list(Regions.parse(content, format="ds9"))
    except Exception as error:  # its parser raises whatever it likes on damaged input
        raise CatalogError(f"{where} cannot be read as a region file of DS9: {error}") from error
    if not found:
        raise CatalogError(f"{where} holds no region")
    on_sky = [isinstance(region, SkyRegion) for region in found]
    if any(on_sky) and not all(on_sky):
        raise CatalogError(
            f"{where}: {sum(on_sky)} of {len(found)} regions are on the sky, the others in pixels: give one kind"
        )
    table = Table()
    middles = [_middle(region) for region in found]
    if all(on_sky):
        icrs = [middle.icrs for middle in middles]
        table["coord"] = SkyCoord([one.ra.deg for one in icrs], [one.dec.deg for one in icrs], unit="deg")
    else:
        table["x"], table["y"] = ([float(getattr(middle, axis)) for middle in middles] for axis in "xy")
    table["region"] = [re.sub("(Sky|Pixel)Region$", "", type(region).__name__).lower() for region in found]
    for size in _SIZES:
        values = [getattr(region, size, None) for region in found]
        if any(value is not None for value in values):
            plain = [
                np.nan if v is None else v.to_value(u.arcsec) if isinstance(v, u.Quantity) else float(v) for v in values
            ]
            table[size] = np.array(plain, float)
            table[size].unit = u.arcsec if all(on_sky) else u.pix
    names = [_text_of(region) for region in found]
    if all(names) and len(set(names)) == len(names):
        table["name"] = names
    elif any(names):
        table["text"] = names
    return table


def _middle(region: Any) -> Any:
    for name in ("center", "vertices", "start"):
        place = getattr(region, name, None)
        if place is not None and name == "vertices":
            return _mean(place)
        if place is not None:
            return place
    raise CatalogError(f"a region of the kind {type(region).__name__} has no middle")


def _mean(vertices: Any) -> Any:
    """Return the middle of the corners of a polygon: on the sky that of their directions."""
    if not hasattr(vertices, "icrs"):
        return type(vertices)(float(np.mean(vertices.x)), float(np.mean(vertices.y)))
    from astropy.coordinates import SkyCoord

    x, y, z = vertices.icrs.cartesian.xyz.value.mean(axis=1)
    return SkyCoord(np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y))), unit="deg")


def _text_of(region: Any) -> str:
    return str(region.meta.get("text", region.meta.get("label", "")) or "").strip()
