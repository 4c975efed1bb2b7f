"""Read spectra from files: SDSS, DESI, tables of flux over wavelength, and whatever specutils knows."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cutting.fits_files import open_fits
from astroanomaly.errors import AstroAnomalyError, UnreadableError
from astroanomaly.parallel.watch import reading
from astroanomaly.tables.column_names import LABELLED_ID_NAMES, SKY_NAMES, find_name, find_pair, split_unit
from astroanomaly.tables.names import file_names
from astroanomaly.tables.positions import sky_positions
from astroanomaly.tables.read import column_texts, read_table
from astroanomaly.tables.spectrum_units import clean_unit, to_angstrom, unit_of
from astroanomaly.tables.stated_frames import frame_of_cards, note_frame

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["MOST_PIXELS", "Piece", "Spectrum", "read_spectra"]

MOST_PIXELS = 100_000  # of a spectrum
_FEWEST_PIXELS = 16
_LOG_WAVELENGTHS = ("loglam", "log_lambda", "loglambda", "log_wavelength", "logwave")
_WAVELENGTHS = ("wavelength", "wavelengths", "wave", "lambda", "lam", "wl", "spectral_axis")
_FLUXES = ("flux", "fluxes", "flux_density", "flux_lambda", "flam", "f_lambda")
_INVERSE_VARIANCES = ("ivar", "inverse_variance", "invvar", "flux_ivar")
_ERRORS = (
    "error", "err", "errors", "flux_error", "flux_err", "fluxerr", "flux_uncertainty", "uncertainty", "sigma",
    "sigma_flux", "e_flux", "noise", "std",
)  # fmt: skip
_MASKS = ("mask",)  # others have bits that are mere notes, as and_mask of SDSS; what is bad has no weight there
_REDSHIFTS = ("z", "redshift", "zspec", "z_spec")
_DESI_IDS = ("targetid",)
_LONGEST_ANGSTROM = 1e10  # a metre
_EXPECTED = (
    "expected a FITS file of SDSS (spec-*.fits) or DESI (coadd-*.fits), or a table with the columns `wavelength` (or "
    "`loglam`) and `flux`, and best `ivar` or `error`"
)


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a spectrum: all of it, or one arm of the spectrograph.

    Parameters
    ----------
    wavelength
        ``(P,)`` Angstrom, float64, rising.
    flux
        ``(P,)`` float64; any number where it is not known.
    weight
        ``(P,)`` float64 inverse variance, 0 where the flux is not known; 1 elsewhere where the file states none.
    """

    wavelength: np.ndarray
    flux: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A spectrum of one object.

    Parameters
    ----------
    names
        What its file calls it; else the file's own name, with and without its suffix.
    pieces
        Its parts; they may overlap.
    unit
        Unit of the flux as its file states it, empty where it states none.
    has_errors
        Whether the weights are inverse variances.
    ra, dec
        Degrees; NaN where unknown.
    redshift
        NaN where the file states none.
    """

    names: tuple[str, ...]
    pieces: tuple[Piece, ...]
    unit: str = ""
    has_errors: bool = True
    ra: float = np.nan
    dec: float = np.nan
    redshift: float = np.nan


def read_spectra(path: Path) -> Iterator[Spectrum]:
    """Read the spectra of a file, one after another.

    Parameters
    ----------
    path
        FITS of SDSS or DESI; a table of any format with one row for each wavelength, or with one row for each object
        and columns of vectors; else a FITS file that specutils reads.

    Raises
    ------
    UnreadableError
        If it is damaged, has no spectrum, or one that cannot be.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy's words on units and headers of files that are not ours
            if _is_fits(path):
                yield from _of_fits(path)
            else:
                table = read_table(path, _has_spectrum, _id_name)
                if not _has_spectrum(table):
                    raise UnreadableError(f"{path} has no spectrum: {_EXPECTED}; it has {_listed(table.colnames)}")
                columns = {name: table[name] for name in table.colnames}
                yield from _of_columns(columns, path, "", {}, table.meta)
    except AstroAnomalyError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UnreadableError(f"{path} cannot be read as a spectrum: {said}; {_EXPECTED}") from error


def _is_fits(path: Path) -> bool:
    if not path.is_file():
        raise UnreadableError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(9)
    return head == b"SIMPLE  =" or (head[:2] == b"\x1f\x8b" and ".fit" in path.name.lower())


def _id_name(names: Sequence[str]) -> str | None:
    return find_name(names, LABELLED_ID_NAMES)


def _has_spectrum(table: Table) -> bool:
    return _has_names(table.colnames)


def _has_names(names: Sequence[str]) -> bool:
    return find_name(names, _FLUXES) is not None and find_name(names, _LOG_WAVELENGTHS + _WAVELENGTHS) is not None


# --------------------------------------------------------------------------------------------------------------- FITS


def _of_fits(path: Path) -> Iterator[Spectrum]:
    from astropy.io import fits

    with reading(path), open_fits(path, memmap=True) as hdulist:
        names = {str(hdu.name).upper() for hdu in hdulist}
        if "FIBERMAP" in names and any(name.endswith("_WAVELENGTH") for name in names):
            yield from _of_desi(hdulist, names, path)
            return
        tables = [
            hdu for hdu in hdulist if isinstance(hdu, fits.BinTableHDU) and not isinstance(hdu, fits.CompImageHDU)
        ]
        found = next((hdu for hdu in tables if _has_names(hdu.columns.names)), None)
        if found is not None:
            columns = _plain_columns(found, path)
            stated = _stated(hdulist)
            yield from _of_columns(columns, path, str(hdulist[0].header.get("BUNIT", "")), stated, found.header)
            return
        place = _header_position(hdulist[0].header)
    yield _of_specutils(path, place)


def _plain_columns(hdu: Any, path: Path) -> dict[str, Any]:
    """Return the columns of a table that a spectrum may have, as astropy columns; none of varying length."""
    from astropy.table import Column

    known = (
        *_LOG_WAVELENGTHS, *_WAVELENGTHS, *_FLUXES, *_INVERSE_VARIANCES, *_ERRORS, *_MASKS, *_REDSHIFTS, *_DESI_IDS,
        *LABELLED_ID_NAMES, *(name for pair in SKY_NAMES for name in pair[:2]),
    )  # fmt: skip
    found = {}
    for column in hdu.columns:
        if split_unit(column.name)[0].lower() not in known:
            continue
        if any(letter in str(column.format) for letter in "PQ"):
            raise UnreadableError(
                f"{path}: the column {column.name!r} has vectors of varying length, which are not read here: write "
                "one table for each spectrum"
            )
        values = np.asarray(hdu.data[column.name])
        found[column.name] = Column(values.astype(values.dtype.newbyteorder("=")), unit=clean_unit(column.unit) or None)
    return found


def _stated(hdulist: Any) -> dict[str, float]:
    """Return position and redshift that a file of one spectrum states, as those of SDSS do."""
    found = _header_position(hdulist[0].header) | {"redshift": np.nan}
    for hdu in hdulist[1:]:
        if str(hdu.name).upper() in ("SPECOBJ", "SPALL") and len(getattr(hdu, "data", ())) == 1:
            name = find_name(hdu.columns.names, ("z",))
            warned = find_name(hdu.columns.names, ("zwarning",))
            if name and not (warned and hdu.data[warned][0]):
                found["redshift"] = _number(hdu.data[name][0])
            break
    return found


def _header_position(header: Any) -> dict[str, float]:
    """Return the position that a header states in degrees; NaN where it states none, or not as numbers."""
    found = {}
    for key, words in (("ra", ("PLUG_RA", "RA", "RA_TARG")), ("dec", ("PLUG_DEC", "DEC", "DEC_TARG"))):
        values = (_number(header.get(word)) for word in words)
        found[key] = next((value for value in values if np.isfinite(value)), np.nan)
    return found


def _of_desi(hdulist: Any, names: set[str], path: Path) -> Iterator[Spectrum]:
    """Give the spectra of a file of DESI: one for each row of the FIBERMAP, with an arm in each group of images."""
    targets = hdulist["FIBERMAP"].data
    arms = sorted(name.removesuffix("_WAVELENGTH") for name in names if name.endswith("_WAVELENGTH"))
    parts = []
    unit = ""
    for arm in arms:
        if f"{arm}_FLUX" not in names or f"{arm}_IVAR" not in names:
            raise UnreadableError(f"{path}: the arm {arm} has wavelengths, and no {arm}_FLUX and {arm}_IVAR")
        wavelength = np.asarray(hdulist[f"{arm}_WAVELENGTH"].data, np.float64)
        flux, weight = hdulist[f"{arm}_FLUX"].data, hdulist[f"{arm}_IVAR"].data
        mask = hdulist[f"{arm}_MASK"].data if f"{arm}_MASK" in names else None
        shape = (len(targets), *wavelength.shape)
        for what, image in (("FLUX", flux), ("IVAR", weight), ("MASK", mask)):
            if image is not None and np.shape(image) != shape:
                raise UnreadableError(
                    f"{path}: {arm}_{what} has the shape {np.shape(image)}, expected {shape}: a row for each target"
                )
        factor = to_angstrom(clean_unit(hdulist[f"{arm}_WAVELENGTH"].header.get("BUNIT")) or "Angstrom", path)
        unit = unit or clean_unit(hdulist[f"{arm}_FLUX"].header.get("BUNIT"))
        parts.append((wavelength * factor, flux, weight, mask))
    ids = find_name(targets.columns.names, _DESI_IDS)
    if ids is None:
        raise UnreadableError(f"{path}: its FIBERMAP has no column TARGETID")
    places = find_pair(targets.columns.names, SKY_NAMES)
    for row, name in enumerate(np.asarray(targets[ids]).tolist()):
        pieces = tuple(
            _piece(wavelength, flux[row], weight[row], None if mask is None else mask[row] != 0, path)
            for wavelength, flux, weight, mask in parts
        )
        ra, dec = (_number(targets[place][row]) for place in places[:2]) if places else (np.nan, np.nan)
        yield Spectrum((str(name),), pieces, unit, True, ra, dec)


def _of_specutils(path: Path, place: Mapping[str, float]) -> Spectrum:
    """Read a FITS file with specutils, which knows the formats of many spectrographs."""
    try:
        import specutils
    except ImportError as error:
        raise UnreadableError(
            f"{path} has no table with columns of wavelength and flux: {_EXPECTED}. Other formats need the package "
            "specutils: pip install 'astroanomaly[spectra]'"
        ) from error
    try:
        found = specutils.Spectrum.read(str(path))
    except Exception as error:  # its readers raise whatever they like on what they do not know
        said = str(error).strip().splitlines()
        raise UnreadableError(
            f"{path} cannot be read by specutils ({said[0] if said else type(error).__name__}); {_EXPECTED}"
        ) from error
    flux = np.asarray(found.flux.value)
    if flux.ndim != 1:
        raise UnreadableError(f"{path}: specutils finds spectra of shape {flux.shape}, expected one: {_EXPECTED}")
    from astropy import units
    from astropy.nddata import InverseVariance

    wavelength = found.spectral_axis.to_value(units.AA, equivalencies=units.spectral())
    weight = None
    if found.uncertainty is not None:
        weight = np.asarray(found.uncertainty.represent_as(InverseVariance).array, np.float64)
    piece = _piece(wavelength, flux, weight, None if found.mask is None else np.asarray(found.mask), path)
    return Spectrum(file_names(path), (piece,), clean_unit(found.flux.unit), weight is not None, **place)


# -------------------------------------------------------------------------------------------------------------- tables


def _of_columns(
    columns: Mapping[str, Any], path: Path, unit: str, stated: Mapping[str, float], meta: Mapping[str, Any]
) -> Iterator[Spectrum]:
    """Give the spectra of a table: one of all rows, or one of each row where columns hold vectors."""
    names = list(columns)
    log = find_name(names, _LOG_WAVELENGTHS)
    axis = log or find_name(names, _WAVELENGTHS)
    flux_name, errors = find_name(names, _FLUXES), find_name(names, _ERRORS)
    weights, masks = find_name(names, _INVERSE_VARIANCES), find_name(names, _MASKS)
    if axis is None or flux_name is None:
        raise UnreadableError(f"{path} has no spectrum: {_EXPECTED}; it has {_listed(names)}")
    wavelength = _values(columns[axis], path, axis)
    wavelength = 10.0**wavelength if log else wavelength * to_angstrom(unit_of(columns[axis], axis) or "Angstrom", path)
    flux = _values(columns[flux_name], path, flux_name)
    weight = None
    if weights is not None:
        weight = _values(columns[weights], path, weights)
    elif errors is not None:
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            weight = _values(columns[errors], path, errors) ** -2.0
    mask = None if masks is None else _values(columns[masks], path, masks) != 0
    unit = unit_of(columns[flux_name], flux_name) or clean_unit(unit)
    if flux.ndim == 1:
        piece = _piece(wavelength, flux, weight, mask, path)
        yield Spectrum(file_names(path), (piece,), unit, weight is not None, **stated)
        return
    ids = find_name(names, LABELLED_ID_NAMES + _DESI_IDS)
    if ids is None and len(flux) > 1:
        raise UnreadableError(f"{path} has {len(flux)} spectra, and no column of ids such as `object_id`")
    called = [file_names(path)] if ids is None else [(text,) for text in column_texts(columns[ids])]
    shift, known = find_name(names, _REDSHIFTS), stated if len(flux) == 1 else {}
    ra, dec = _positions(columns, meta, path)
    for row, own_names in enumerate(called):
        piece = _piece(
            wavelength[row] if wavelength.ndim == 2 else wavelength, flux[row],
            None if weight is None else weight[row], None if mask is None else mask[row], path,
        )  # fmt: skip
        own = {"ra": float(ra[row]), "dec": float(dec[row])} if np.isfinite(ra[row] + dec[row]) else {}
        z = _number(columns[shift][row]) if shift else np.nan
        own |= {"redshift": z} if np.isfinite(z) else {}
        yield Spectrum(own_names, (piece,), unit, weight is not None, **{**known, **own})


def _positions(columns: Mapping[str, Any], meta: Mapping[str, Any], path: Path) -> tuple[np.ndarray, np.ndarray]:
    """``(n,)`` right ascension and declination of the rows of a table in ICRS degrees, NaN where unknown."""
    from astropy.table import Table

    names = [name for name, column in columns.items() if getattr(column, "ndim", 1) == 1]  # others are spectra
    table = Table({name: columns[name] for name in names}, meta=dict(meta))
    note_frame(table, frame_of_cards(table.meta))
    found = sky_positions(table, where=str(path)) if names else None
    nowhere = np.full(len(next(iter(columns.values()))), np.nan)
    return (nowhere, nowhere) if found is None else found[:2]


def _values(column: Any, path: Path, name: str) -> np.ndarray:
    values = np.ma.asarray(getattr(column, "value", column))
    if values.dtype.kind not in "biuf" or values.ndim not in (1, 2):
        raise UnreadableError(f"{path}: the column {name!r} holds no numbers, or more than a vector in each row")
    return np.ma.filled(values.astype(np.float64), np.nan)


def _piece(wavelength: Any, flux: Any, weight: Any, mask: Any, path: Path) -> Piece:
    """Check a part of a spectrum, in the order of its wavelengths; what cannot be used gets no weight."""
    wavelength, flux = np.asarray(wavelength, np.float64), np.asarray(flux, np.float64)
    weight = np.ones(flux.shape) if weight is None else np.asarray(weight, np.float64)
    if wavelength.ndim != 1 or not wavelength.shape == flux.shape == weight.shape:
        raise UnreadableError(
            f"{path}: {wavelength.shape} wavelengths, {flux.shape} fluxes and {weight.shape} errors: expected as many "
            "of each"
        )
    if not _FEWEST_PIXELS <= len(flux) <= MOST_PIXELS:
        raise UnreadableError(
            f"{path} has a spectrum of {len(flux)} pixels, expected {_FEWEST_PIXELS} to {MOST_PIXELS:,}"
        )
    with np.errstate(invalid="ignore"):
        known = (wavelength > 0) & (wavelength < _LONGEST_ANGSTROM)
        good = np.isfinite(flux) & (weight > 0) & (weight < np.inf) & (np.abs(flux) < 1e30)
    if mask is not None:
        good &= ~np.asarray(mask, bool)
    order = np.flatnonzero(known)
    order = order[np.argsort(wavelength[order], kind="stable")]
    order = order[np.concatenate([[True], np.diff(wavelength[order]) > 0])] if len(order) else order
    if len(order) < _FEWEST_PIXELS:
        raise UnreadableError(
            f"{path} has {len(order)} different wavelengths above 0, expected {_FEWEST_PIXELS} or more"
        )
    return Piece(wavelength[order], np.where(good, flux, 0)[order], np.where(good, weight, 0)[order])


def _number(value: Any) -> float:
    """Return a number of a header or a table; NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return np.nan
    found = float(value)
    return found if abs(found) < 1e30 else np.nan


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
