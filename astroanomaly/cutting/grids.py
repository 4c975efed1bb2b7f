"""Pixel grids: their WCS kept complete, positions on them, explicit tangential grids."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cutting.fits_headers import check_fits_content
from astroanomaly.cutting.frames import celestial_frame
from astroanomaly.cutting.remarks import quiet
from astroanomaly.cutting.wcs_cards import (
    BLOCK_BYTES,
    check_wcs_cards,
    copy_table,
    header_block,
    table_names,
    wcs_cards,
)
from astroanomaly.errors import UnreadableError
from astroanomaly.sky import mean_position

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.wcs import WCS

__all__ = [
    "Grid",
    "covering_tan_grid",
    "crop_wcs",
    "grid_from_hdu",
    "pixel_scale_arcsec",
    "pixel_sides_arcsec",
    "pixel_to_sky",
    "same_grid",
    "sky_to_pixel",
    "tan_grid",
    "wcs_from_fits",
    "whole_turns",
]

_PLACES = 33  # along each side, where the scale is measured if it cannot be in the middle


def grid_from_hdu(hdu: Any, hdulist: HDUList | None = None) -> Grid | None:
    """Take the pixel grid of an image extension, complete with its lookup tables.

    The header cards that describe the WCS are kept verbatim, and so are the extensions they refer to: CPDIS and D2IM
    distortion images and the binary tables of ``-TAB`` axes. Pixels are not read. Where the primary description
    (without a letter) is not on the sky, the first alternate one that is stands in its place. An extension without a
    WCS has that of a primary header without pixels, unless it says ``INHERIT = F``.

    Parameters
    ----------
    hdu
        Image HDU of at least two axes.
    hdulist
        The open file, needed when the WCS refers to other extensions.

    Returns
    -------
    Grid or None
        None where the header has no celestial WCS.

    Raises
    ------
    UnreadableError
        If the WCS refers to a lookup table that is not there, cannot be understood, or is in an unknown frame.
    """
    from astropy.io import fits

    header = hdu.header
    with quiet():
        text = wcs_cards(header)
        if "CTYPE" not in text and "PLTRAH" not in text and hdulist is not None and header.get("INHERIT", True):
            primary = hdulist[0].header
            text = wcs_cards(primary) if primary.get("NAXIS") == 0 else text
        if "CTYPE" not in text and "PLTRAH" not in text:
            return None
        check_wcs_cards(text)
        content = header_block(text)
        if re.search(r"LOOKUP|AXISCORR|-TAB", text, re.IGNORECASE):
            wcs_header = fits.Header.fromstring(text)
            tables = [copy_table(hdulist, name, version) for name, version in table_names(wcs_header)]
            buffer = io.BytesIO()
            fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(buffer, output_verify="ignore")
            content += buffer.getvalue()[BLOCK_BYTES:]  # the empty primary header is one block
    shape = (int(header.get("NAXIS2", 0)), int(header.get("NAXIS1", 0)))
    if hdu.shape is not None:
        squeezed = [length for length in hdu.shape if length != 1]
        shape = (int(squeezed[-2]), int(squeezed[-1])) if len(squeezed) == 2 else tuple(hdu.shape[-2:])
    grid = Grid(content, shape)
    if not grid.wcs.has_celestial or grid.wcs.naxis != 2:
        return None
    celestial_frame(grid.wcs)
    return grid


def wcs_from_fits(content: bytes, shape: tuple[int, int]) -> WCS:
    """Build the celestial WCS of a grid from its FITS file in memory; see `Grid`.

    Degenerate further axes (frequency, Stokes ...) are dropped.

    Parameters
    ----------
    shape
        ``(height, width)`` of the grid in pixels.

    Raises
    ------
    UnreadableError
        If the WCS cannot be understood.
    """
    from astropy.io import fits
    from astropy.wcs import WCS

    try:
        with quiet(), contextlib.ExitStack() as stack:
            stream = io.BytesIO(content)
            header = fits.Header.fromfile(stream)
            hdulist = None
            if stream.tell() < len(content):  # lookup tables follow
                check_fits_content(content, "the grid")
                hdulist = stack.enter_context(fits.open(io.BytesIO(content), memmap=False))
            try:
                wcs = WCS(header, hdulist)
            except ValueError:  # distortion tables and SIP need exactly two axes
                wcs = WCS(header, hdulist, naxis=2)
            if wcs.naxis != 2 and wcs.has_celestial:
                wcs = wcs.celestial
            wcs.wcs.set()
    except (ValueError, LookupError, TypeError, OSError, AttributeError, EOFError, ArithmeticError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("ERROR ")]
        reason = " ".join(lines) or type(error).__name__  # WCSLIB says in which line of its code it was, too
        raise UnreadableError(f"the WCS cannot be understood: {reason}") from error
    if wcs.naxis == 2:
        wcs.pixel_shape = (shape[1], shape[0])
    return wcs


def crop_wcs(wcs: WCS, offset_xy: tuple[int, int], shape_hw: tuple[int, int]) -> WCS:
    """Return the WCS of a crop: the reference pixels of the core WCS, of SIP and of the lookup tables are shifted.

    Parameters
    ----------
    offset_xy
        ``(x, y)`` of the crop's first pixel on the grid, zero-based; may be negative.
    shape_hw
        ``(height, width)`` of the crop in pixels.
    """
    from astropy.wcs import Sip

    offset = np.asarray(offset_xy, dtype=np.float64)
    new = wcs.deepcopy()
    new.wcs.crpix = wcs.wcs.crpix - offset + (whole_turns(wcs, offset_xy[0] + (shape_hw[1] - 1) / 2), 0)
    if wcs.sip is not None:
        sip = wcs.sip
        new.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, sip.crpix - offset)
    for name in ("cpdis1", "cpdis2", "det2im1", "det2im2"):
        table = getattr(new, name)
        if table is not None:
            table.crval = tuple(np.asarray(table.crval) - offset)
    new.pixel_shape = (int(shape_hw[1]), int(shape_hw[0]))
    new.wcs.set()
    return new


def whole_turns(wcs: WCS, x: float) -> float:
    """Return by how many pixels a cylindrical map has to be moved so that its WCS knows the column ``x``.

    WCSLIB gives positions for native longitudes from -180 to 180 degrees only; a map that shows 0 to 360 goes beyond.
    It repeats itself after a full turn. 0 for any other map.
    """
    turn = _turn(wcs)
    if not turn or np.isfinite(wcs.all_pix2world(x, wcs.wcs.crpix[1] - 1, 0)).all():
        return 0.0
    return next((k for k in (turn, -turn) if np.isfinite(wcs.all_pix2world(x - k, wcs.wcs.crpix[1] - 1, 0)).all()), 0.0)


def _turn(wcs: WCS) -> float:
    """Pixels of a full turn along x on a map in a cylindrical projection whose axes are not rotated; else 0."""
    if wcs.wcs.lng != 0 or wcs.wcs.ctype[0][5:8] not in ("CAR", "MER", "CEA", "CYP") or wcs.has_distortion:
        return 0.0
    matrix = wcs.pixel_scale_matrix
    return 360 / abs(float(matrix[0, 0])) if matrix[0, 0] and not matrix[0, 1] and not matrix[1, 0] else 0.0


def tan_grid(center: tuple[float, float], pixel_scale_arcsec: float, shape: tuple[int, int]) -> Grid:
    """Make an explicit distortion-free gnomonic grid, north up and east left.

    Parameters
    ----------
    center
        ICRS ``(ra, dec)`` in degrees of the middle of the grid.
    pixel_scale_arcsec
        Side of a pixel at the centre in arcseconds.
    shape
        ``(height, width)`` in pixels.
    """
    from astropy.io import fits

    height, width = int(shape[0]), int(shape[1])
    scale = pixel_scale_arcsec / 3600
    header = fits.Header()
    header["WCSAXES"] = 2
    for axis, ctype, value, step, length in (
        (1, "RA---TAN", center[0], -scale, width),
        (2, "DEC--TAN", center[1], scale, height),
    ):
        header[f"CTYPE{axis}"] = ctype
        header[f"CUNIT{axis}"] = "deg"
        header[f"CRVAL{axis}"] = float(value)
        header[f"CDELT{axis}"] = float(step)
        header[f"CRPIX{axis}"] = (length + 1) / 2
    header["RADESYS"] = "ICRS"
    buffer = io.BytesIO()
    fits.PrimaryHDU(header=header).writeto(buffer)
    return Grid(buffer.getvalue(), (height, width))


def covering_tan_grid(grids: Sequence[Grid], pixel_scale: float) -> Grid:
    """Make the smallest `tan_grid` that covers some grids.

    Parameters
    ----------
    pixel_scale
        Side of a pixel in arcseconds.
    """
    sky = [pixel_to_sky(grid, *_border(grid)) for grid in grids]
    ra, dec = (np.concatenate(parts) for parts in zip(*sky, strict=True))
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        raise UnreadableError("the WCS of the image gives no position for any of its border pixels")
    center = mean_position(ra[good], dec[good])
    # by way of radians, whose last digit decides a size that is rounded up: grids of earlier plans come out the same
    border = (np.degrees(np.radians(part[good])) for part in (ra, dec))
    px, py = sky_to_pixel(tan_grid(center, pixel_scale, (1, 1)), *border)
    half_width, half_height = np.nanmax(np.abs(px)) + 0.5, np.nanmax(np.abs(py)) + 0.5
    return tan_grid(center, pixel_scale, (int(np.ceil(2 * half_height)), int(np.ceil(2 * half_width))))


def _border(grid: Grid, steps: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions along the outer edge of a grid (``-0.5`` to ``length - 0.5``)."""
    height, width = grid.shape
    u, v = np.linspace(-0.5, width - 0.5, steps), np.linspace(-0.5, height - 0.5, steps)
    left, right = np.full(steps, -0.5), np.full(steps, width - 0.5)
    bottom, top = np.full(steps, -0.5), np.full(steps, height - 0.5)
    return np.concatenate([u, u, left, right]), np.concatenate([bottom, top, v, v])


def pixel_to_sky(grid: Grid, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turn zero-based pixel positions into ICRS degrees, NaN where the projection is not defined."""
    from astropy.coordinates import SkyCoord

    wcs = grid.wcs
    x, y = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    with quiet(), np.errstate(invalid="ignore"):
        world = np.asarray(wcs.all_pix2world(x, y, 0), dtype=np.float64)
        turn = _turn(wcs)
        for shift in (turn, -turn) if turn and not np.isfinite(world).all() else ():
            lost = ~np.isfinite(world).all(axis=0)
            world[:, lost] = wcs.all_pix2world(x[lost] + shift, y[lost], 0)
        lon, lat = world[wcs.wcs.lng], world[wcs.wcs.lat]
        good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
        ra, dec = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
        if good.any():
            icrs = SkyCoord(lon[good], lat[good], unit="deg", frame=celestial_frame(wcs)).icrs
            ra[good], dec[good] = icrs.ra.deg, icrs.dec.deg
    return ra, dec


def sky_to_pixel(grid: Grid, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turn ICRS degrees into zero-based pixel positions.

    Positions that the projection or its distortions cannot hold become NaN: wherever the way back does not end within
    a tenth of a pixel of where it started, the iterative inverse has failed.
    """
    from astropy.coordinates import SkyCoord

    wcs = grid.wcs
    ra, dec = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
    x, y = np.full(ra.shape, np.nan), np.full(ra.shape, np.nan)
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        return x, y
    with quiet(), np.errstate(invalid="ignore"):
        frame = celestial_frame(wcs)
        coords = SkyCoord(ra[good], dec[good], unit="deg", frame="icrs").transform_to(frame).spherical
        world = [np.empty(0)] * 2
        world[wcs.wcs.lng], world[wcs.wcs.lat] = coords.lon.deg, coords.lat.deg
        found = np.asarray(wcs.all_world2pix(*world, 0, quiet=True), dtype=np.float64)
        back = np.asarray(wcs.all_pix2world(*found, 0), dtype=np.float64)
        lat = np.radians(world[wcs.wcs.lat])
        dlon = (back[wcs.wcs.lng] - world[wcs.wcs.lng] + 180) % 360 - 180
        error = np.hypot(dlon * np.cos(lat), back[wcs.wcs.lat] - world[wcs.wcs.lat]) * 3600
        wrong = ~(error < 0.1 * pixel_scale_arcsec(grid))
        found[:, wrong] = np.nan
        turn = _turn(wcs)
        for shift in (turn, -turn) if turn else ():
            moved = found[0] + shift
            outside = (found[0] < -0.5) | (found[0] > grid.shape[1] - 0.5)
            found[0] = np.where(outside & (moved >= -0.5) & (moved <= grid.shape[1] - 0.5), moved, found[0])
    x[good], y[good] = found
    return x, y


def pixel_scale_arcsec(grid: Grid) -> float:
    """Measure the side of a pixel in the middle of a grid, distortions included: the root of the pixel's area.

    Where the WCS gives no position there, it is measured at the nearest place where it does; NaN where it does nowhere.
    """
    first, second, sine = _sides(grid)
    return float(np.sqrt(first * second * sine))


def pixel_sides_arcsec(grid: Grid) -> tuple[float, float]:
    """Measure the sides of a pixel along x and y, at the place of `pixel_scale_arcsec`."""
    first, second, _ = _sides(grid)
    return first, second


def _sides(grid: Grid) -> tuple[float, float, float]:
    """Sides of a pixel along x and y in arcsec, and the sine of the angle between them."""
    from astropy.coordinates import angular_separation

    wcs = grid.wcs
    x, y = np.array([(grid.shape[1] - 1) / 2]), np.array([(grid.shape[0] - 1) / 2])
    for step in (1, _PLACES):
        if step > 1:  # the middle is no place on the sky: a hole of the projection, or the end of a map
            u, v = (np.linspace(0, length - 1, step) for length in grid.shape[::-1])
            places = np.stack(np.meshgrid(u, v)).reshape(2, -1)
            x, y = places[:, np.argsort(np.hypot(places[0] - x, places[1] - y), kind="stable")]
        with quiet(), np.errstate(invalid="ignore", divide="ignore"):
            corners = np.concatenate([x, x + 1, x, x + 1]), np.concatenate([y, y, y + 1, y + 1])
            world = np.radians(np.asarray(wcs.all_pix2world(*corners, 0)))
            lon, lat = (world[axis].reshape(4, -1) for axis in (wcs.wcs.lng, wcs.wcs.lat))
            first, second, diagonal = (angular_separation(lon[0], lat[0], lon[k], lat[k]) for k in (1, 2, 3))
            cosine = np.clip((diagonal**2 - first**2 - second**2) / (2 * first * second), -1, 1)
            sine = np.sqrt(1 - cosine**2)
        good = np.flatnonzero(np.isfinite(cosine) & (first > 0) & (second > 0) & (sine > 0))
        if len(good):
            k = good[0]
            return float(np.degrees(first[k]) * 3600), float(np.degrees(second[k]) * 3600), float(sine[k])
    return np.nan, np.nan, np.nan


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether two grids have the same pixels: equal shape, and borders that agree to a hundredth of a pixel."""
    if first.key == second.key:
        return True
    if first.shape != second.shape:
        return False
    x, y = _border(first, 3)
    found_x, found_y = sky_to_pixel(second, *pixel_to_sky(first, x, y))
    return bool(np.all(np.hypot(found_x - x, found_y - y) < 0.01))


@dataclass(frozen=True, eq=False)
class Grid:
    """The pixel grid, with its WCS, that cutouts are integer crops of.

    Parameters
    ----------
    fits
        A FITS file in memory without pixels: the primary header holds the WCS keywords, further HDUs hold the lookup
        tables (distortion arrays, ``-TAB`` coordinates) that the header refers to.
    shape
        ``(height, width)`` of the whole grid in pixels.
    """

    fits: bytes
    shape: tuple[int, int]

    @cached_property
    def key(self) -> str:
        """Hexadecimal SHA-256 of the grid: equal keys mean equal grids."""
        return hashlib.sha256(f"{self.shape[0]}x{self.shape[1]}:".encode() + self.fits).hexdigest()

    @cached_property
    def wcs(self) -> WCS:
        """The celestial WCS of the whole grid (built on first use; do not modify)."""
        return wcs_from_fits(self.fits, self.shape)
