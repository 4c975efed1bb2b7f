"""Array + grid + positions -> cutouts, vectorised per tile; grids kept complete; bands put on one grid."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError, UnreadableError
from astroanomaly.records import Grid

if TYPE_CHECKING:
    from astropy.io.fits import HDUList
    from astropy.wcs import WCS

__all__ = [
    "ConstantArea",
    "Plane",
    "align",
    "constant_areas",
    "covering_tan_grid",
    "crop_wcs",
    "cut",
    "first_pixels",
    "grid_from_hdu",
    "pixel_scale_arcsec",
    "pixel_to_sky",
    "quiet",
    "same_grid",
    "sky_to_pixel",
    "tan_grid",
    "wcs_from_fits",
]

# Every keyword that WCSLIB or astropy.wcs reads for the primary description of an image: the FITS WCS papers, SIP,
# lookup-table distortions (CPDIS, D2IM and the older AXISCORR), IRAF's WAT and the plate solutions of the DSS.
_WCS_KEYWORD = re.compile(
    r"WCSAXES|WCSNAME|CTYPE\d+|CRPIX\d+|CRVAL\d+|CDELT\d+|CUNIT\d+|CROTA\d+|CRDER\d+|CSYER\d+|CNAME\d+|"
    r"(PC|CD)\d+_\d+|(PC|CD)\d{6}|P[VS]\d+_\d+|PROJP\d+|LONPOLE|LATPOLE|RADE(CS|SY)YS|RADESYS|RADECSYS|EQUINOX|EPOCH|"
    r"DATE-?[A-Z]*|DATEREF|MJD-?[A-Z]*|JDREF[IF]?|TIMESYS|TREFPOS|TREFDIR|TIMEUNIT|TIMEOFFS|OBSGEO-[A-Z]|SPECSYS|"
    r"VELREF|REST(FRQ|FREQ|WAV)|[AB]P?_\d+_\d+|[AB]P?_ORDER|[AB]_DMAX|"
    r"C[PQ](DIS|ERR)\d+|D[PQ]\d+(\..*)?|D2IM(DIS|ERR)?\d+(\..*)?|AXISCORR|D2IMEXT|NPOLEXT|DVERR|"
    r"WAT\d_\d+|AMD[XY]\d+|PPO\d+|PLTRA[HMS]|PLTDEC(SN|D|M|S)|PLTSCALE|CNPIX\d|[XY]PIXELSZ|OBJCTX|OBJCTY"
)
_BLOCK = 2880  # bytes of a FITS block
_CONSTANT_RUN = 32  # pixels of exactly one value along a side of the image that make it suspicious
_CONSTANT_BLOCK = 8  # side of the blocks in which constant areas are followed into the image
_SIDE_SAMPLES = 1024  # pixels looked at along the left and the right side, each of which costs a page of the file


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence astropy's remarks on non-standard headers, units and file ends: they concern strangers' files.

    Warning filters belong to the whole process, so blocks that overlap in several threads share one change of them.
    """
    global _quiet_blocks
    with _quiet_lock:
        _quiet_blocks += 1
        if _quiet_blocks == 1:
            _quiet_filters.enter_context(_no_remarks())
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_blocks -= 1
            if _quiet_blocks == 0:
                _quiet_filters.close()


_quiet_lock = threading.Lock()
_quiet_blocks = 0
_quiet_filters = contextlib.ExitStack()


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    from astropy.io.fits.verify import VerifyWarning
    from astropy.units import UnitsWarning
    from astropy.utils.exceptions import AstropyDeprecationWarning, AstropyUserWarning
    from astropy.wcs import FITSFixedWarning

    with warnings.catch_warnings():
        for category in (FITSFixedWarning, VerifyWarning, UnitsWarning, AstropyDeprecationWarning, AstropyUserWarning):
            warnings.simplefilter("ignore", category)
        yield


# -------------------------------------------------------------------------------------------------------------- grids


def grid_from_hdu(hdu: Any, hdulist: HDUList | None = None) -> Grid | None:
    """Take the pixel grid of an image extension, complete with its lookup tables.

    The header cards that describe the WCS are kept verbatim, and so are the extensions they refer to: CPDIS and D2IM
    distortion images and the binary tables of ``-TAB`` axes. Pixels are not read.

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
        If the WCS refers to a lookup table that is not there, or cannot be understood.
    """
    from astropy.io import fits

    header = hdu.header
    with quiet():
        text = "".join(
            card.image for card in header.cards if card.keyword and _WCS_KEYWORD.fullmatch(str(card.keyword).upper())
        )
        if "CTYPE" not in text and "PLTRAH" not in text:
            return None
        content = _header_block(text)
        if re.search(r"LOOKUP|AXISCORR|-TAB", text, re.IGNORECASE):
            kept = fits.Header.fromstring(text)
            tables = [_copy_table(hdulist, name, version) for name, version in _table_names(kept)]
            buffer = io.BytesIO()
            fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(buffer, output_verify="ignore")
            content += buffer.getvalue()[_BLOCK:]  # the empty primary header is one block
    shape = (int(header.get("NAXIS2", 0)), int(header.get("NAXIS1", 0)))
    if hdu.shape is not None:
        squeezed = [length for length in hdu.shape if length != 1]
        shape = (int(squeezed[-2]), int(squeezed[-1])) if len(squeezed) == 2 else tuple(hdu.shape[-2:])
    grid = Grid(content, shape)
    return grid if grid.wcs.has_celestial and grid.wcs.naxis == 2 else None


def _header_block(cards: str) -> bytes:
    """Make the primary header of a file without pixels out of 80-character cards."""
    start = "".join(
        card.ljust(80)
        for card in (
            "SIMPLE  =                    T",
            "BITPIX  =                    8",
            "NAXIS   =                    0",
            "EXTEND  =                    T",
        )
    )
    text = start + cards + "END".ljust(80)
    return text.encode("ascii", "replace").ljust(-(-len(text) // _BLOCK) * _BLOCK)


def _table_names(header: Any) -> list[tuple[str, int]]:
    """List ``(EXTNAME, EXTVER)`` of every extension that a WCS header refers to."""
    names: list[tuple[str, int]] = []
    for axis in (1, 2):
        for kind, prefix, extension in (("CPDIS", "DP", "WCSDVARR"), ("D2IMDIS", "D2IM", "D2IMARR")):
            if str(header.get(f"{kind}{axis}", "")).lower() == "lookup":
                names.append((extension, int(header.get(f"{prefix}{axis}.EXTVER", 1))))
    if "AXISCORR" in header:
        names.append(("D2IMARR", 1))
    for key in header:
        match = re.fullmatch(r"CTYPE(\d+)", key)
        if match and str(header[key])[4:].upper().startswith("-TAB"):
            axis_number = match.group(1)
            names.append((str(header.get(f"PS{axis_number}_0", "")), int(header.get(f"PV{axis_number}_1", 1))))
    return list(dict.fromkeys(names))


def _copy_table(hdulist: HDUList | None, name: str, version: int) -> Any:
    from astropy.io import fits

    try:
        if hdulist is None:
            raise KeyError(name)
        found = hdulist[name, version]
    except (KeyError, IndexError):
        raise UnreadableError(
            f"the WCS refers to the lookup table {name!r} (version {version}), which is not in the file: "
            "use the complete file"
        ) from None
    if isinstance(found, fits.BinTableHDU):
        return fits.BinTableHDU(found.data.copy(), found.header.copy(), name=name, ver=version)
    return fits.ImageHDU(np.array(found.data), found.header.copy(), name=name, ver=version)


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
                hdulist = stack.enter_context(fits.open(io.BytesIO(content), memmap=False))
            try:
                wcs = WCS(header, hdulist)
            except ValueError:  # distortion tables and SIP need exactly two axes
                wcs = WCS(header, hdulist, naxis=2)
            if wcs.naxis != 2 and wcs.has_celestial:
                wcs = wcs.celestial
            wcs.wcs.set()
    except (ValueError, KeyError, TypeError, OSError, IndexError, AttributeError) as error:
        raise UnreadableError(f"the WCS cannot be understood: {error}") from error
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
    new.wcs.crpix = wcs.wcs.crpix - offset
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
    ra, dec = (np.radians(np.concatenate(parts)) for parts in zip(*sky, strict=True))
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        raise UnreadableError("the WCS of the image gives no position for any of its border pixels")
    ra, dec = ra[good], dec[good]
    x, y, z = (np.cos(dec) * np.cos(ra)).mean(), (np.cos(dec) * np.sin(ra)).mean(), np.sin(dec).mean()
    center = (float(np.degrees(np.arctan2(y, x)) % 360), float(np.degrees(np.arctan2(z, np.hypot(x, y)))))
    trial = tan_grid(center, pixel_scale, (1, 1))
    px, py = sky_to_pixel(trial, np.degrees(ra), np.degrees(dec))
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
    from astropy.wcs.utils import wcs_to_celestial_frame

    wcs = grid.wcs
    x, y = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    with quiet(), np.errstate(invalid="ignore"):
        world = np.asarray(wcs.all_pix2world(x, y, 0), dtype=np.float64)
        lon, lat = world[wcs.wcs.lng], world[wcs.wcs.lat]
        good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
        ra, dec = np.full(x.shape, np.nan), np.full(x.shape, np.nan)
        if good.any():
            icrs = SkyCoord(lon[good], lat[good], unit="deg", frame=wcs_to_celestial_frame(wcs)).icrs
            ra[good], dec[good] = icrs.ra.deg, icrs.dec.deg
    return ra, dec


def sky_to_pixel(grid: Grid, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Turn ICRS degrees into zero-based pixel positions.

    Positions that the projection or its distortions cannot hold become NaN: wherever the way back does not end within
    a tenth of a pixel of where it started, the iterative inverse has failed.
    """
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    wcs = grid.wcs
    ra, dec = np.atleast_1d(np.asarray(ra, np.float64)), np.atleast_1d(np.asarray(dec, np.float64))
    x, y = np.full(ra.shape, np.nan), np.full(ra.shape, np.nan)
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        return x, y
    with quiet(), np.errstate(invalid="ignore"):
        frame = wcs_to_celestial_frame(wcs)
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
    x[good], y[good] = found
    return x, y


def pixel_scale_arcsec(grid: Grid) -> float:
    """Measure the side of a pixel in the middle of a grid, distortions included: the root of the pixel's area."""
    from astropy.coordinates import angular_separation

    wcs = grid.wcs
    x, y = (grid.shape[1] - 1) / 2, (grid.shape[0] - 1) / 2
    with quiet():
        world = np.radians(np.asarray(wcs.all_pix2world([x, x + 1, x, x + 1], [y, y, y + 1, y + 1], 0)))
    lon, lat = world[wcs.wcs.lng], world[wcs.wcs.lat]
    first, second, diagonal = (angular_separation(lon[0], lat[0], lon[k], lat[k]) for k in (1, 2, 3))
    cosine = np.clip((diagonal**2 - first**2 - second**2) / (2 * first * second), -1, 1)
    return float(np.degrees(np.sqrt(first * second * np.sqrt(1 - cosine**2))) * 3600)


def same_grid(first: Grid, second: Grid) -> bool:
    """Whether two grids have the same pixels: equal shape, and borders that agree to a hundredth of a pixel."""
    if first.key == second.key:
        return True
    if first.shape != second.shape:
        return False
    x, y = _border(first, 3)
    found_x, found_y = sky_to_pixel(second, *pixel_to_sky(first, x, y))
    return bool(np.all(np.hypot(found_x - x, found_y - y) < 0.01))


# ------------------------------------------------------------------------------------------------------------ cutting


@dataclass(frozen=True, eq=False)
class ConstantArea:
    """An area of exactly one stored value that reaches the edge of the image.

    Parameters
    ----------
    value
        The stored value.
    blocks
        ``(ceil(H / 8), ceil(W / 8))`` bool: blocks of 8 x 8 pixels that lie wholly in the area.
    """

    value: float
    blocks: np.ndarray

    def mask(self, stored: np.ndarray, first_y: int, first_x: int) -> np.ndarray:
        """Mark the pixels of a window ``stored`` that belong to the area."""
        equal = stored == self.value
        size = _CONSTANT_BLOCK
        rows = np.arange(first_y, first_y + stored.shape[0]) // size
        columns = np.arange(first_x, first_x + stored.shape[1]) // size
        seeds = self.blocks[np.ix_(rows, columns)] & equal
        if not seeds.any():
            return seeds
        from scipy.ndimage import binary_propagation

        return binary_propagation(seeds, mask=equal)


@dataclass(frozen=True, eq=False)
class Plane:
    """Stored pixels of one band and how they become flux: ``flux = stored * scale + zero``, NaN where blank.

    Parameters
    ----------
    stored
        ``(H, W)`` array of any numeric type and byte order, memory-mapped or not.
    scale, zero
        FITS ``BSCALE`` and ``BZERO``.
    blank
        FITS ``BLANK``: the stored whole number that stands for no data.
    constant
        Areas that count as uncovered, from `constant_areas`.
    """

    stored: np.ndarray
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None
    constant: tuple[ConstantArea, ...] = ()

    def flux(self, window: np.ndarray) -> np.ndarray:
        """Turn stored pixels into flux, with the arithmetic and rounding of `astropy.io.fits`."""
        if self.scale == 1 and self.zero == 0 and self.blank is None:
            return window
        whole = window.dtype.kind in "iu"
        if whole and self.scale == 1 and self.zero == int(self.zero) and self.blank is None:
            return window.astype(np.int64) + int(self.zero)  # unsigned integers by the convention of FITS
        wide = window.dtype.itemsize > 2 if whole else window.dtype.itemsize > 4
        flux: Any = window.astype(np.float64 if wide else np.float32)
        if self.scale != 1:
            flux *= self.scale
        if self.zero != 0:
            flux += self.zero
        if whole and self.blank is not None:
            flux[window == self.blank] = np.nan
        return flux


def first_pixels(position: np.ndarray, size: int) -> np.ndarray:
    """Index of the first pixel of a cutout: ``ceil(position - size / 2)``, as `astropy.nddata.Cutout2D` has it."""
    return np.ceil(np.asarray(position, np.float64) - size / 2).astype(np.int64)


def cut(
    images: Sequence[np.ndarray | Plane] | np.ndarray,
    x: Any,
    y: Any,
    size_hw: tuple[int, int],
    *,
    nodata: float | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut stamps around many positions out of images that share one pixel grid.

    Every stamp equals ``Cutout2D(image, (x, y), (h, w), mode='partial', fill_value=nan).data``; positions whose stamp
    misses the images altogether give NaN only. Windows are copied one by one in the order of the file, straight into
    the result: on a memory-mapped big-endian file this was faster than fancy indexing of a sliding-window view, which
    makes a second copy before it swaps the bytes.

    Parameters
    ----------
    images
        ``B`` images ``(H, W)``, or one array ``(B, H, W)``.
    x, y
        ``(n,)`` zero-based pixel positions.
    size_hw
        ``(height, width)`` of a stamp in pixels.
    nodata
        Flux value that stands for no data: pixels equal to it become NaN.
    out
        ``(n, B, height, width)`` float32 array to write to.

    Returns
    -------
    stamps : ndarray
        ``(n, B, height, width)`` float32, NaN where there is no data.
    offsets : ndarray
        ``(n, 2)`` int64 ``(x, y)`` of each first pixel.
    coverage : ndarray
        ``(n, B)`` float32 share of pixels that are finite and in no `ConstantArea`.

    Raises
    ------
    CatalogError
        If a position is not finite.
    """
    planes = [image if isinstance(image, Plane) else Plane(np.asarray(image)) for image in images]
    x, y = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise CatalogError("a position is not finite: leave objects without a position out before cutting")
    height, width = size_hw
    full_height, full_width = planes[0].stored.shape
    limit = 2**40  # far outside any image, and safe in 64-bit arithmetic
    x0 = first_pixels(np.clip(x, -limit, limit), width)
    y0 = first_pixels(np.clip(y, -limit, limit), height)
    shape = (len(x), len(planes), height, width)
    stamps = np.empty(shape, np.float32) if out is None else out
    low_x, high_x = np.clip(x0, 0, full_width), np.clip(x0 + width, 0, full_width)
    low_y, high_y = np.clip(y0, 0, full_height), np.clip(y0 + height, 0, full_height)
    whole = (high_x - low_x == width) & (high_y - low_y == height)
    stamps[~whole] = np.nan
    windows = np.stack([low_y, high_y, low_x, high_x, low_y - y0, high_y - y0, low_x - x0, high_x - x0], axis=1)
    order = np.lexsort((x0, y0))
    order = order[(high_x > low_x)[order] & (high_y > low_y)[order]]
    rows = list(zip(order.tolist(), windows[order].tolist(), strict=True))
    coverage = np.empty(shape[:2], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for band, plane in enumerate(planes):
            stored, target = plane.stored, stamps[:, band]
            plain = plane.scale == 1 and plane.zero == 0 and plane.blank is None
            for k, (ya, yb, xa, xb, ta, tb, sa, sb) in rows:
                window = stored[ya:yb, xa:xb]
                target[k, ta:tb, sa:sb] = window if plain else plane.flux(window)
            if nodata is not None:
                target[target == np.float32(nodata)] = np.nan
            coverage[:, band] = _share_finite(target)
            for area in plane.constant:
                for k, (ya, yb, xa, xb, ta, tb, sa, sb) in rows:
                    mask = area.mask(stored[ya:yb, xa:xb], ya, xa)
                    if mask.any():
                        lost = np.count_nonzero(mask & np.isfinite(target[k, ta:tb, sa:sb]))
                        coverage[k, band] -= np.float32(lost / (height * width))
    return stamps, np.stack([x0, y0], axis=1), np.clip(coverage, 0, 1)


def _share_finite(stamps: np.ndarray) -> np.ndarray:
    """Share of finite pixels per stamp; a finite sum proves a stamp clean without looking at each pixel again."""
    share = np.ones(len(stamps), np.float32)
    for start in range(0, len(stamps), 256):  # stay in the processor's cache
        part = stamps[start : start + 256]
        for k in np.flatnonzero(~np.isfinite(part.sum(axis=(1, 2)))):
            share[start + k] = np.isfinite(part[k]).mean()
    return share


def constant_areas(stored: np.ndarray) -> tuple[ConstantArea, ...]:
    """Find areas of exactly constant pixels that reach the edge of an image: the padding of a mosaic.

    The four sides are looked at first, the left and right ones in at most 1,024 places: only where one value fills a
    run of 32 pixels, or a whole side, is the rest of the image read. Areas are followed in blocks of 8 x 8 pixels and
    completed to single pixels in each cutout. NaN needs no such search.

    Parameters
    ----------
    stored
        ``(H, W)`` stored pixels.
    """
    height = stored.shape[0]
    step = max(1, height // _SIDE_SAMPLES)
    sides = (stored[0], stored[-1], stored[::step, 0], stored[::step, -1])
    runs = (_CONSTANT_RUN, _CONSTANT_RUN, max(2, _CONSTANT_RUN // step), max(2, _CONSTANT_RUN // step))
    values = sorted({value for side, run in zip(sides, runs, strict=True) for value in _runs(np.asarray(side), run)})
    found = []
    for value in values[:4]:
        blocks = _edge_blocks(stored, value)
        if blocks.any():
            found.append(ConstantArea(value, blocks))
    return tuple(found)


def _runs(side: np.ndarray, length: int) -> set[float]:
    """Values that fill ``length`` neighbouring pixels of a side, or all of a shorter side."""
    if len(side) < 2:
        return set()
    change = np.flatnonzero(np.concatenate([[True], side[1:] != side[:-1], [True]]))
    long = np.diff(change) >= min(length, len(side))
    return {float(value) for value in side[change[:-1][long]] if np.isfinite(value)}


def _edge_blocks(stored: np.ndarray, value: float) -> np.ndarray:
    from scipy.ndimage import label

    size = _CONSTANT_BLOCK
    height, width = stored.shape
    columns = np.arange(0, width, size)
    blocks = np.empty((-(-height // size), len(columns)), bool)
    for row in range(len(blocks)):
        strip = np.all(stored[row * size : (row + 1) * size] == value, axis=0)
        blocks[row] = np.logical_and.reduceat(strip, columns)
    labels, _ = label(blocks, structure=np.ones((3, 3)))
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    return np.isin(labels, edge[edge > 0])


# ----------------------------------------------------------------------------------------------------------- aligning


def align(
    planes: Sequence[Plane | np.ndarray],
    grids: Sequence[Grid],
    target: Grid,
    offset_xy: tuple[int, int] = (0, 0),
    shape_hw: tuple[int, int] | None = None,
    per_area: Sequence[bool] = (),
    nodata: float | None = None,
) -> np.ndarray:
    """Resample bands that lie on different grids onto a window of one grid (`reproject.reproject_interp`, bilinear).

    Only the part of each input that the window needs is read. Pixels without data and those of a `ConstantArea` are NaN
    before they are interpolated, so that no padding is mixed into its neighbours. Where pixel sizes differ by more than
    1 %, flux per pixel is scaled by the ratio of the pixel areas, so that an object keeps its flux; a surface
    brightness is not.

    Parameters
    ----------
    planes, grids
        Pixels and grid of each band.
    target
        The distortion-free grid to resample to; see `tan_grid`.
    offset_xy
        ``(x, y)`` of the window's first pixel on the target.
    shape_hw
        ``(height, width)`` of the window; None means all of the target.
    per_area
        For each band whether its unit is per solid angle; left out, none is.
    nodata
        Flux value that stands for no data.

    Returns
    -------
    ndarray
        ``(B, height, width)`` float32, NaN outside the input.
    """
    from reproject import reproject_interp

    height, width = shape_hw or target.shape
    wcs_out = crop_wcs(target.wcs, offset_xy, (height, width))
    window = Grid(target.fits, (height, width))
    x, y = (part + start for part, start in zip(_border(window), offset_xy, strict=True))
    sky = pixel_to_sky(target, x, y)
    aligned = np.full((len(planes), height, width), np.nan, np.float32)
    for band, (item, grid) in enumerate(zip(planes, grids, strict=True)):
        plane = item if isinstance(item, Plane) else Plane(np.asarray(item))
        px, py = sky_to_pixel(grid, *sky)
        inside = np.isfinite(px) & np.isfinite(py)
        full_height, full_width = plane.stored.shape
        box = (0, full_width, 0, full_height)
        if inside.all():  # else the window reaches where the input's projection ends: take everything
            box = (
                max(0, int(px.min()) - 4),
                min(full_width, int(px.max()) + 6),
                max(0, int(py.min()) - 4),
                min(full_height, int(py.max()) + 6),
            )
        if box[0] >= box[1] or box[2] >= box[3]:
            continue
        stored = plane.stored[box[2] : box[3], box[0] : box[1]]
        part = np.array(plane.flux(stored), np.float64)
        if nodata is not None:
            part[part.astype(np.float32) == np.float32(nodata)] = np.nan
        for area in plane.constant:
            part[area.mask(stored, box[2], box[0])] = np.nan
        wcs_in = crop_wcs(grid.wcs, (box[0], box[2]), part.shape)
        with quiet(), np.errstate(invalid="ignore"):
            result = reproject_interp(
                (part, wcs_in), wcs_out, shape_out=(height, width), order="bilinear", return_footprint=False
            )
        ratio = (pixel_scale_arcsec(target) / pixel_scale_arcsec(grid)) ** 2
        if abs(ratio - 1) > 0.02 and not (per_area and per_area[band]):
            result = result * ratio
        aligned[band] = result
    return aligned
