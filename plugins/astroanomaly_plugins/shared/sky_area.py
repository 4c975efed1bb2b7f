"""Areas of the sky that objects are taken from: a cone, regions of DS9, a coverage map (MOC)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import CatalogError, ConfigError, UnreadableError
from astroanomaly.cutting import quiet
from astroanomaly.sky import read_angle, read_position, unit_vectors

__all__ = ["Patch", "SkyArea", "read_area", "whole_sky"]

_MAX_FILE_BYTES = 2**28
_MAX_REGIONS = 10_000
_MOST_PATCHES = 64  # of a coverage map, where queries begin
_MAX_RADIUS_DEG = 90.0  # of a cone
_MAX_REGION_DEG = 60.0  # from the middle of a region to its farthest corner: what a tangent plane shows well
_PIXEL_DEG = 1 / 3600
_EDGE = 1e-9  # of a radius, relative: what lies on the edge is inside


Contains = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Patch:
    """A circle, in ICRS degrees, of which the rows in one HEALPix cell are wanted, or all (``order`` -1)."""

    ra: float
    dec: float
    radius: float
    order: int = -1
    cell: int = 0

    def holds(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """``(n,)`` bool: whether positions, finite, lie in the cell, or in the circle where there is none."""
        if self.order < 0:
            return _within(self.ra, self.dec, 0, self.radius)(ra, dec)
        from astropy import units as u
        from astropy_healpix import lonlat_to_healpix

        return np.asarray(lonlat_to_healpix(ra * u.deg, dec * u.deg, 2**self.order, order="nested")) == self.cell

    def touching(self, others: Sequence[Patch]) -> list[Patch]:
        """Return those of other patches whose circles overlap that of this one."""
        ra, dec, radius = np.array([(one.ra, one.dec, one.radius) for one in others]).reshape(-1, 3).T
        near = _within(self.ra, self.dec, 0, self.radius + radius)(ra, dec)
        return [others[k] for k in np.flatnonzero(near).tolist()]

    def halves(self) -> list[Patch]:
        """Return patches that cover this one, each of half the size or less."""
        if self.order >= 0:
            return [_cell_patch(self.order + 1, 4 * self.cell + number) for number in range(4)]
        from astropy import units as u
        from astropy_healpix import HEALPix

        order = int(np.clip(math.ceil(math.log2(60 / max(self.radius, 1e-6))), 0, 29))
        grid = HEALPix(nside=2**order, order="nested")
        cells = grid.cone_search_lonlat(self.ra * u.deg, self.dec * u.deg, self.radius * (1 + _EDGE) * u.deg)
        return [_cell_patch(order, int(cell)) for cell in np.sort(cells)]


@dataclass(frozen=True, eq=False)
class SkyArea:
    """A part of the sky.

    Attributes
    ----------
    words
        What it is, for people.
    patches
        Circles that cover it.
    contains
        Takes ``(n,)`` right ascensions and declinations, ICRS degrees, finite; says which lie in it.
    """

    words: str
    patches: tuple[Patch, ...]
    contains: Contains

    def inside(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """``(n,)`` bool: which positions lie in the area; those that are not finite do not."""
        found = np.isfinite(ra) & np.isfinite(dec)
        found[found] = self.contains(np.asarray(ra)[found], np.asarray(dec)[found])
        return found

    @property
    def circles(self) -> list[tuple[np.ndarray, float]]:
        """Circles that cover the area, each as the unit vector of its middle and a chord."""
        return [
            (unit_vectors(np.array([one.ra]), np.array([one.dec]))[0], 2 * math.sin(math.radians(one.radius) / 2))
            for one in self.patches
        ]


def whole_sky() -> SkyArea:
    """Return all of the sky."""
    patches = tuple(_cell_patch(0, number) for number in range(12))
    return SkyArea("the whole sky", patches, lambda ra, dec: np.ones(len(ra), bool))


def read_area(cone: str, radius: str, region: Path | None, moc: Path | None) -> SkyArea | None:
    """Read what somebody says of an area; of several, what they have in common; None where nothing is said.

    Parameters
    ----------
    cone, radius
        A position and an angle, as text.
    region
        A region file of DS9.
    moc
        A coverage map as FITS, JSON or text.

    Raises
    ------
    ConfigError
        If one of them cannot be, or a package is missing.
    UnreadableError, CatalogError
        If a file is missing, damaged, or has no area.
    """
    if radius and not cone:
        raise ConfigError("--radius belongs to --cone")
    found = [_cone(cone, radius)] if cone else []
    found += [_regions(region)] if region else []
    found += [_map(moc)] if moc else []
    if len(found) < 2:
        return found[0] if found else None
    least = min(found, key=lambda area: sum(1 - math.cos(math.radians(one.radius)) for one in area.patches))
    return SkyArea(
        " and ".join(area.words for area in found),
        least.patches,
        lambda ra, dec: np.logical_and.reduce([area.contains(ra, dec) for area in found]),
    )


def _cone(text: str, radius: str) -> SkyArea:
    if not radius:
        raise ConfigError(f"--cone {text!r} needs a radius: --radius 0.1deg")
    try:
        ra, dec = read_position(text)
        angle = read_angle(radius, "deg")
    except ConfigError as error:
        raise ConfigError(
            f"--cone {text!r} --radius {radius!r}: expected a position, as in '269.7 66.0' (degrees) or "
            f"'17h58m48s +66d00m00s', and an angle, as in 0.1deg: {error}"
        ) from None
    if not 0 < angle <= _MAX_RADIUS_DEG:
        raise ConfigError(f"--radius {radius!r} is {angle:g} degrees: expected more than 0 and at most 90")
    return SkyArea(f"a cone of {radius} at {text}", (Patch(ra, dec, angle),), _within(ra, dec, 0, angle))


def _within(ra: float, dec: float, inner: float, outer: float | np.ndarray) -> Contains:
    from astropy.coordinates import angular_separation

    def contains(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        here = [np.radians(value) for value in (ra, dec, lon, lat)]
        apart = np.degrees(angular_separation(*here))
        return (apart <= outer * (1 + _EDGE)) & (apart >= inner)

    return contains


def _cell_patch(order: int, cell: int) -> Patch:
    """Return the circle around a HEALPix cell."""
    from astropy.coordinates import angular_separation
    from astropy_healpix import HEALPix

    grid = HEALPix(nside=2**order, order="nested")
    lon, lat = grid.healpix_to_lonlat(cell)
    edge = grid.boundaries_lonlat(cell, step=4)
    reach = np.degrees(angular_separation(lon.rad, lat.rad, edge[0].rad, edge[1].rad).max())
    return Patch(round(float(lon.deg), 9), round(float(lat.deg), 9), round(1.05 * float(reach), 9), order, cell)


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise UnreadableError(f"{path} has more than {_MAX_FILE_BYTES / 1e6:.0f} MB: expected a smaller file")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error


# ------------------------------------------------------------------------------------------------------ coverage maps


def _map(path: Path) -> SkyArea:
    """Read a coverage map; the beginning of the file says which of its three forms it has."""
    try:
        from mocpy import MOC
    except ImportError as error:
        raise ConfigError(f"{path}: coverage maps need mocpy: pip install 'astroanomaly[moc]'") from error
    start = _content(path)[:80].lstrip()
    form = "fits" if start.startswith(b"SIMPLE") else "json" if start.startswith(b"{") else "ascii"
    try:
        found = MOC.load(path, form)
    except Exception as error:  # its reader raises whatever it likes on damaged input
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnreadableError(f"{path} cannot be read as a coverage map (MOC) in {form.upper()}: {line}") from error
    if not isinstance(found, MOC):
        raise UnreadableError(f"{path} is no map of space alone: expected a MOC of the sky")
    if found.empty():
        raise CatalogError(f"{path} covers nothing of the sky")
    if found.max_index > 12 * 4**29:
        raise UnreadableError(f"{path} is no coverage map: it has cells beyond the sky")
    from astropy import units as u

    coarse = found
    for order in range(found.max_order, -1, -1):
        coarse = found if order == found.max_order else found.degrade_to_order(order)
        if len(coarse.uniq_hpx) <= _MOST_PATCHES:
            break
    patches = [_cell_patch(*_of_uniq(int(number))) for number in coarse.uniq_hpx]
    area = found.sky_fraction * 4 * math.pi * math.degrees(1) ** 2
    return SkyArea(
        f"the coverage map {path.name} ({area:.4g} square degrees)",
        tuple(patches),
        lambda ra, dec: np.asarray(found.contains_lonlat(ra * u.deg, dec * u.deg), bool),
    )


def _of_uniq(number: int) -> tuple[int, int]:
    """Return order and cell of a NUNIQ number, ``4 * 4**order + cell``."""
    order = (number.bit_length() - 3) // 2
    return order, number - 4 * 4**order


# ------------------------------------------------------------------------------------------------------------ regions

_Shape = tuple[Patch, Contains]  # a circle around a region, and what says which positions near it lie in it


def _regions(path: Path) -> SkyArea:
    try:
        from regions import Regions, SkyRegion
    except ImportError as error:
        raise ConfigError(
            f"{path}: region files need the package regions: pip install 'astroanomaly[regions]'"
        ) from error
    content = _content(path).decode("utf-8", "replace")
    try:
        with quiet():
            found = list(Regions.parse(content, format="ds9"))
    except Exception as error:  # its parser raises whatever it likes on damaged input
        raise UnreadableError(f"{path} cannot be read as a region file of DS9: {error}") from error
    if not found or len(found) > _MAX_REGIONS:
        raise CatalogError(f"{path} holds {len(found)} regions: expected 1 to {_MAX_REGIONS}")
    if not all(isinstance(region, SkyRegion) for region in found):
        raise CatalogError(f"{path} has regions in pixels: expected regions on the sky (icrs, fk5, galactic ...)")
    taken: list[_Shape] = []
    left_out: list[_Shape] = []
    for region in found:
        (taken if _included(region) else left_out).append(_shape(region, path))
    patches = tuple(patch for patch, _ in taken) or whole_sky().patches

    def contains(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        inside = np.zeros(len(ra), bool) if taken else np.ones(len(ra), bool)
        for shapes, value in ((taken, True), (left_out, False)):
            for patch, within in shapes:
                near = np.flatnonzero(_within(patch.ra, patch.dec, 0, patch.radius)(ra, dec))
                inside[near[within(ra[near], dec[near])]] = value
        return inside

    return SkyArea(f"{len(found)} region{'s' * (len(found) != 1)} of {path.name}", patches, contains)


def _included(region: Any) -> bool:
    return region.meta.get("include", True) not in (False, 0, "-")


def _shape(region: Any, path: Path) -> _Shape:
    """Return a circle around a region, and what says which positions near it lie in it.

    Circles and rings are exact. Sides of polygons are great circles. Ellipses and boxes are those of the plane that
    touches the sky in their middle.
    """
    from astropy.coordinates import SkyCoord

    kind = type(region).__name__
    if kind in ("CircleSkyRegion", "CircleAnnulusSkyRegion"):
        middle = region.center.icrs
        ra, dec = float(middle.ra.deg), float(middle.dec.deg)
        inner = float(region.inner_radius.to_value("deg") if kind.startswith("CircleAnnulus") else 0)
        largest: Any = region.outer_radius if kind.startswith("CircleAnnulus") else region.radius
        outer = float(largest.to_value("deg"))
        if not 0 < outer <= _MAX_RADIUS_DEG:
            raise CatalogError(f"{path}: a circle of {outer:g} degrees: expected more than 0 and at most 90")
        return Patch(ra, dec, outer), _within(ra, dec, inner, outer)
    wcs = _plane(_middle(region, path))
    with quiet():
        flat = region.to_pixel(wcs)
        corners = _corners(flat)
        if flat.area <= 0 or corners is None:
            raise CatalogError(f"{path}: a {kind.removesuffix('SkyRegion').lower()} has no area: leave it out")
        sky = wcs.pixel_to_world(*corners)
    ra, dec = (float(value) for value in wcs.wcs.crval)
    reach = float(sky.separation(SkyCoord(ra, dec, unit="deg")).deg.max())
    if not reach <= _MAX_REGION_DEG:
        raise CatalogError(f"{path}: a region reaches {reach:g} degrees from its middle: expected at most 60")

    def contains(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        with quiet():
            x, y = wcs.wcs_world2pix(lon, lat, 0)
            from regions import PixCoord

            return np.asarray(flat.contains(PixCoord(x, y)), bool) if len(lon) else np.zeros(0, bool)

    return Patch(ra, dec, reach * 1.01 + _PIXEL_DEG), contains


def _middle(region: Any, path: Path) -> Any:
    if hasattr(region, "center"):
        return region.center.icrs
    if hasattr(region, "vertices"):
        from astropy.coordinates import SkyCoord

        x, y, z = region.vertices.icrs.cartesian.xyz.value.mean(axis=1)
        return SkyCoord(np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y))), unit="deg")
    kind = type(region).__name__.removesuffix("SkyRegion").lower()
    raise CatalogError(f"{path}: a {kind} has no area: leave it out")


def _plane(middle: Any) -> Any:
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [middle.ra.deg, middle.dec.deg]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cdelt = [-_PIXEL_DEG, _PIXEL_DEG]
    return wcs


def _corners(flat: Any) -> Sequence[np.ndarray] | None:
    """Return the corners of a region in pixels, or those of the box around it."""
    if hasattr(flat, "vertices"):
        return flat.vertices.x, flat.vertices.y
    try:
        box = flat.bounding_box
    except (ValueError, NotImplementedError):
        return None
    x, y = np.meshgrid([box.ixmin, box.ixmax], [box.iymin, box.iymax])
    return x.ravel(), y.ravel()
