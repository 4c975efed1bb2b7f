"""Write cutouts as FITS: one image extension for each band, with the whole WCS of the grid they are cropped from."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cutting.fits_headers import check_fits_content
from astroanomaly.cutting.grids import Grid, crop_wcs, whole_turns
from astroanomaly.cutting.remarks import quiet

if TYPE_CHECKING:
    from astropy.io.fits import Header

__all__ = ["TableVersions", "image_hdus", "put_card"]

_LONGEST_TEXT = 68  # characters of a FITS card without continuation
_STRUCTURE = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "XTENSION", "PCOUNT", "GCOUNT")


class TableVersions:
    """Numbers the lookup tables of several grids in one file, where each ``EXTNAME`` and ``EXTVER`` occurs once."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def next(self, name: str) -> int:
        """Return the next free version of a table's name."""
        self._used[name] = self._used.get(name, 0) + 1
        return self._used[name]


def image_hdus(
    data: np.ndarray,
    bands: Sequence[str],
    units: Sequence[str],
    *,
    grid: Grid | None = None,
    offset: tuple[int, int] = (0, 0),
    coverage: np.ndarray | None = None,
    cards: Mapping[str, Any] | None = None,
    version: int = 1,
    tables: TableVersions | None = None,
) -> list[Any]:
    """Make the image extensions of one cutout, and the lookup tables that its WCS refers to.

    The cards of the WCS are those of the grid, verbatim but for the pixel they count from and for names of the frame
    that the FITS standard has given up. So distortions as SIP, TPV, TNX and lookup tables are all there, with the
    digits that the image had.

    Parameters
    ----------
    data
        ``(bands, height, width)`` of any type that FITS has; it is kept.
    bands
        Become ``EXTNAME`` and ``BAND``.
    units
        Become ``BUNIT``, one for each band, empty where unknown; or none at all.
    grid, offset
        The grid, and ``(x, y)`` of the first pixel on it, zero-based.
    coverage
        ``(bands,)`` share of pixels with data: ``COVERAGE``.
    cards
        Further cards of every extension: values, or ``(value, comment)``, by keyword.
    version
        ``EXTVER`` of the images.
    tables
        Gives the lookup tables their ``EXTVER``; None keeps those of the grid.

    Returns
    -------
    list of astropy.io.fits.ImageHDU
        The bands, then the lookup tables (`BinTableHDU` for ``-TAB``). A primary HDU comes before them in a file.
    """
    from astropy.io import fits

    wcs_header, extensions = (fits.Header(), []) if grid is None else _cropped(grid, offset, data.shape[-2:], tables)
    hdus: list[Any] = []
    for number, band in enumerate(bands):
        hdu = fits.ImageHDU(np.ascontiguousarray(data[number]), wcs_header.copy())
        put_card(hdu.header, "EXTNAME", band, "band")
        hdu.header["EXTVER"] = version
        put_card(hdu.header, "BAND", band, "band")
        if number < len(units) and units[number]:
            put_card(hdu.header, "BUNIT", units[number], "unit of the pixels")
        if coverage is not None:
            hdu.header["COVERAGE"] = float(coverage[number]), "share of pixels with data"
        for key, value in (cards or {}).items():
            put_card(hdu.header, key, value)
        hdus.append(hdu)
    hdus.extend(extensions)
    return hdus


def put_card(header: Header, key: str, value: Any, comment: str = "") -> None:
    """Put a value, or ``(value, comment)``, into a header.

    Text is spelt in ASCII and cut to the length of a card. NaN and None are left out.
    """
    if isinstance(value, tuple):
        value, comment = value
    if isinstance(value, str):
        plain = value.encode("ascii", "backslashreplace").decode("ascii")
        plain = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in plain)
        quotes = plain[:_LONGEST_TEXT].count("'")  # each takes two characters
        value = plain[: _LONGEST_TEXT - quotes]
        room = _LONGEST_TEXT - len(value) - quotes - len(" / ")
        header[key] = (value, comment) if comment and len(comment) < room else value
        return
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return
    header[key] = (value.item() if isinstance(value, np.generic) else value, comment)


def _cropped(
    grid: Grid, offset: tuple[int, int], shape: tuple[int, ...], versions: TableVersions | None
) -> tuple[Header, list[Any]]:
    """Return the WCS cards of a crop, and its lookup tables."""
    from astropy.io import fits

    stream = io.BytesIO(grid.fits)
    with quiet():
        header = fits.Header.fromfile(stream)
        tables = []
        if stream.tell() < len(grid.fits):
            check_fits_content(grid.fits, "the grid")
            with fits.open(io.BytesIO(grid.fits), memmap=False) as hdus:
                tables = [hdu.copy() for hdu in hdus[1:]]
        if "AXISCORR" in header:  # a table of one axis that cannot be told to count from elsewhere
            return _rewritten(grid, offset, shape)
        for key in _STRUCTURE:
            header.remove(key, ignore_missing=True)
        for axis, first in enumerate(offset, 1):
            if "PLTRAH" in header:  # a plate of the DSS, which counts from the first pixel of the scan
                header[f"CNPIX{axis}"] = header.get(f"CNPIX{axis}", 0) + first
                if f"CRPIX{axis}" not in header:
                    continue
            turns = whole_turns(grid.wcs, first + (shape[1] - 1) / 2) if axis == 1 else 0
            header[f"CRPIX{axis}"] = float(header.get(f"CRPIX{axis}", 0.0)) - first + turns
            for table in tables:
                if table.name in ("WCSDVARR", "D2IMARR"):
                    table.header[f"CRVAL{axis}"] = float(table.header.get(f"CRVAL{axis}", 0.0)) - first
        if versions is not None:
            _renumber(header, tables, versions.next)
        _name_frame(header, grid)
    return header, tables


def _name_frame(header: Header, grid: Grid) -> None:
    """Say the frame as the standard does (FITS 4.0, section 8.3): ``RADECSYS`` and ``EPOCH`` are of former years.

    Equatorial and ecliptic axes have ``RADESYS`` and ``EQUINOX``, others none. Beside ``EQUINOX``, ``EPOCH`` is
    something else: in headers of the DSS the date of the exposure.
    """
    core = grid.wcs.wcs
    if core.lngtyp not in ("RA", "ELON"):
        for key in ("RADESYS", "RADECSYS", "EQUINOX"):
            header.remove(key, ignore_missing=True)
        return
    if "RADECSYS" in header:
        if "RADESYS" in header:
            del header["RADECSYS"]
        else:
            header.rename_keyword("RADECSYS", "RADESYS")
        header["RADESYS"] = core.radesys
    if "EPOCH" in header and "EQUINOX" not in header:
        header.rename_keyword("EPOCH", "EQUINOX")
        header["EQUINOX"] = float(core.equinox)


def _renumber(header: Header, tables: Sequence[Any], new_version: Callable[[str], int]) -> None:
    """Give lookup tables other versions, in the header too that refers to them."""
    new = {(table.name, table.ver): new_version(table.name) for table in tables}
    for table in tables:
        table.ver = new[table.name, table.ver]
    for key in list(header):
        distortion = re.fullmatch(r"(DP|D2IM)(\d)\.EXTVER", key)
        of_axis = re.fullmatch(r"PV(\d+)_1", key)
        if distortion:
            name = "WCSDVARR" if distortion[1] == "DP" else "D2IMARR"
        elif of_axis and f"PS{of_axis[1]}_0" in header:
            name = str(header[f"PS{of_axis[1]}_0"])
        else:
            continue
        header[key] = new.get((name, int(header[key])), header[key])


def _rewritten(grid: Grid, offset: tuple[int, int], shape: tuple[int, ...]) -> tuple[Header, list[Any]]:
    """Return the WCS of a crop as astropy writes it."""
    hdus = crop_wcs(grid.wcs, offset, (shape[0], shape[1])).to_fits(relax=True)
    header = hdus[0].header
    for key in _STRUCTURE:
        header.remove(key, ignore_missing=True)
    return header, list(hdus[1:])
