"""Read light curves from tables with a row for each measurement, of one object or of many."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import AstroAnomalyError, UnreadableError
from astroanomaly.parallel.watch import reading
from astroanomaly.tables.column_names import LABELLED_ID_NAMES, SKY_NAMES, find_name, find_pair, split_unit, ucd_of
from astroanomaly.tables.names import file_names
from astroanomaly.tables.positions import sky_positions
from astroanomaly.tables.read import column_numbers, column_texts, read_table
from astroanomaly.tables.spectrum_units import unit_of

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["MOST_BANDS", "LightCurves", "read_light_curves"]

_AUTO, _FLUX, _MAGNITUDE = "auto", "flux", "magnitude"
_UCDS = {_FLUX: "phot.flux", _MAGNITUDE: "phot.mag"}
MOST_BANDS = 16
_IDS = (
    *LABELLED_ID_NAMES, "oid", "objectid", "obj_id", "diaobjectid", "source_id", "sourceid", "star_id", "asas_sn_id",
    "lightcurve_id", "curve_id",
)  # fmt: skip
_TIMES = (
    "mjd", "bjd", "hjd", "jd", "hmjd", "bmjd", "time", "times", "obs_time", "obstime", "obsmjd", "mjd_obs",
    "midpointmjdtai", "midpointtai", "expmidptmjd", "bjd_tdb", "btjd", "bkjd", "time_bjd", "epoch", "date", "t",
)  # fmt: skip
_BANDS = (
    "band", "bands", "filter", "filt", "passband", "filtercode", "bandpass", "filter_name", "filtername", "band_name",
    "phot_filter", "fid", "filterid", "filter_id",
)  # fmt: skip
_FLUXES = (
    "flux", "fluxes", "psf_flux", "psfflux", "fluxcal", "forced_flux", "forcediffimflux", "diff_flux", "totflux",
    "scienceflux", "pdcsap_flux", "sap_flux", "flux_psf", "flux_ujy", "f",
)  # fmt: skip
_MAGNITUDES = (
    "mag", "magnitude", "mags", "magnitudes", "psfmag", "psf_mag", "mag_psf", "magpsf", "mag_auto", "mag_aper", "m",
)  # fmt: skip
_UNSAID = ("value", "values", "brightness", "measurement", "y", "phot", "photometry")
_ERRORS = (
    "error", "err", "errors", "uncertainty", "sigma", "noise", "std", "value_err", "value_error", "yerr",
)  # fmt: skip
_ERRORS_OF_MAGNITUDES = ("sigmapsf",)  # of ZTF
_OF_NAME = (
    "{}err",
    "{}_err",
    "{}error",
    "{}_error",
    "e_{}",
    "err_{}",
    "sigma_{}",
    "{}_sigma",
    "{}unc",
    "{}_unc",
    "d{}",
)
_JULIAN = 2_400_000.5  # days, from the Julian date to the modified one
_DATES = (1.5e4, 2e5)  # modified Julian dates that are taken for such: 1899 to 2406; JD - 2450000 is less until 2036
_FARTHEST_DAYS = 1e7  # times beyond these are no days: 20260101, or seconds without a unit
_FAINTEST = 90.0  # a magnitude that stands for none, as 99 and -999
_LONGEST_BAND = 24  # letters of its name
_EXPECTED = (
    "expected a table with a row for each measurement, and the columns `time` (or `mjd`, `jd`, `bjd`), `flux` or "
    "`mag`, best `flux_err` or `mag_err`, `band`, and `object_id` where it has more than one object"
)


@dataclass(frozen=True, eq=False)
class LightCurves:
    """The light curves of a file: ``m`` of them, with ``N`` measurements together.

    Parameters
    ----------
    names
        What the file calls each; of a single one also the file's own name, with and without its suffix.
    ra, dec
        ``(m,)`` degrees, ICRS; NaN where unknown.
    curve
        ``(N,)`` int32, which of them a measurement is of.
    time
        ``(N,)`` float64 days: modified Julian dates where ``is_mjd``, else as the file counts them.
    value, error
        ``(N,)`` float64 flux or magnitude, finite, and its error (one standard deviation), NaN where unknown.
    band
        ``(N,)`` integers, which of ``bands``.
    bands
        Their names; one that is empty where the file names none.
    is_magnitude
        Whether values are magnitudes.
    unit
        Of the values, as the file states it, empty where it states none.
    is_mjd
        What times are.
    """

    names: tuple[tuple[str, ...], ...]
    ra: np.ndarray
    dec: np.ndarray
    curve: np.ndarray
    time: np.ndarray
    value: np.ndarray
    error: np.ndarray
    band: np.ndarray
    bands: tuple[str, ...]
    is_magnitude: bool
    unit: str
    is_mjd: bool


@dataclass(frozen=True)
class _Columns:
    time: str
    value: str
    error: str | None
    band: str | None
    id: str | None
    is_magnitude: bool


def read_light_curves(path: Path, brightness: str = _AUTO) -> LightCurves:
    """Read the light curves of a file.

    Parameters
    ----------
    path
        A table of any format with a row for each measurement; without a column of ids, it is one light curve.
    brightness
        ``flux``, ``magnitude``, or ``auto``: by unit, UCD or name of the column.

    Raises
    ------
    UnreadableError
        If it is damaged, or has no light curve.
    """
    try:
        with warnings.catch_warnings(), reading(path):
            warnings.simplefilter("ignore")  # astropy's words on units and headers of files that are not ours
            return _of_table(read_table(path, _has_curve, _id_name), path, brightness)
    except AstroAnomalyError:
        raise
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        said = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UnreadableError(f"{path} cannot be read as light curves: {said}; {_EXPECTED}") from error


def _id_name(names: Sequence[str]) -> str | None:
    return find_name(names, _IDS)


def _has_curve(table: Table) -> bool:
    return find_name(table.colnames, _TIMES) is not None and bool(_values(table))


def _values(table: Table) -> dict[str, str]:
    """Return the columns of brightness: the first of fluxes, of magnitudes, and of those whose name does not tell."""
    found = {}
    for kind, names in ((_FLUX, _FLUXES), (_MAGNITUDE, _MAGNITUDES), (_AUTO, _UNSAID)):
        ucd = next((name for name in table.colnames if ucd_of(table[name]).startswith(_UCDS.get(kind, "-"))), None)
        name = find_name(table.colnames, names) or ucd
        if name is not None:
            found[kind] = name
    return found


def _columns(table: Table, path: Path, brightness: str) -> _Columns:
    names = table.colnames
    time = find_name(names, _TIMES) or next((n for n in names if ucd_of(table[n]).startswith("time.epoch")), None)
    found = _values(table)
    units = {kind: _kind(table[name], name) for kind, name in found.items()}  # a unit says more than a name
    told = {units[kind]: name for kind, name in found.items() if units[kind] != _AUTO}
    told |= {kind: name for kind, name in found.items() if kind != _AUTO and units[kind] in (kind, _AUTO)}
    if brightness != _AUTO:  # said by a person
        value = told.get(brightness) or found.get(_AUTO)
    else:
        value = told.get(_FLUX) or told.get(_MAGNITUDE)
    if time is None or value is None:
        if time is not None and _AUTO in found:
            raise UnreadableError(
                f"{path}: the column {found[_AUTO]!r} does not say whether it is a flux or a magnitude: set "
                "blocks.brightness=flux or magnitude, or give it a unit"
            )
        what = "" if brightness == _AUTO else f" of {brightness}es" if brightness == _FLUX else f" of {brightness}s"
        raise UnreadableError(f"{path} has no light curve{what}: {_EXPECTED}; it has {', '.join(names[:8])}")
    kind = brightness if brightness != _AUTO else _FLUX if told.get(_FLUX) == value else _MAGNITUDE
    error = _error_column(table, value, is_magnitude=kind == _MAGNITUDE)
    return _Columns(time, value, error, find_name(names, _BANDS), _id_name(names), kind == _MAGNITUDE)


def _error_column(table: Table, value: str, *, is_magnitude: bool) -> str | None:
    """Return the column of the errors of a brightness: the first by its name whose unit goes with it."""
    bases = dict.fromkeys((value.lower(), split_unit(value)[0].lower()))
    usual = [pattern.format(base) for base in bases for pattern in _OF_NAME]
    usual += [*(_ERRORS_OF_MAGNITUDES if is_magnitude else ()), *_ERRORS]
    unit = unit_of(table[value], value)
    found = dict.fromkeys(name for one in usual if (name := find_name(table.colnames, [one])) not in (None, value))
    return next((name for name in found if name and _factor(unit_of(table[name], name), unit) is not None), None)


def _factor(unit: str, wanted: str) -> float | None:
    """Return what numbers in a unit are multiplied with; None if it is of something else, 1 where one is not known."""
    from astropy import units

    one, other = (units.Unit(text, parse_strict="silent") for text in (unit, wanted))
    if unit == wanted or any(
        not text or isinstance(u, units.UnrecognizedUnit) for text, u in ((unit, one), (wanted, other))
    ):
        return 1.0
    try:
        return float(getattr(one, "function_unit", one).to(getattr(other, "function_unit", other)))
    except units.UnitsError:
        return None


def _kind(column: Any, name: str) -> str:
    """Say whether a column is of fluxes or magnitudes by its unit and UCD; neither where they do not tell."""
    from astropy import units

    ucd = ucd_of(column)
    for kind, start in _UCDS.items():
        if ucd.startswith(start):
            return kind
    unit = units.Unit(unit_of(column, name), parse_strict="silent")
    if isinstance(unit, units.function.FunctionUnitBase) or unit.is_equivalent(units.mag):
        return _MAGNITUDE
    recognised = not isinstance(unit, units.UnrecognizedUnit) and unit != units.dimensionless_unscaled
    return _FLUX if recognised else _AUTO


def _of_table(table: Table, path: Path, brightness: str) -> LightCurves:
    columns = _columns(table, path, brightness)
    time, is_mjd = _days(table[columns.time], columns.time, path)
    value = _numbers(table[columns.value], columns.value, path)
    unit = unit_of(table[columns.value], columns.value)
    error = np.full(len(table), np.nan)
    if columns.error is not None:
        error = _numbers(table[columns.error], columns.error, path)
        error *= abs(_factor(unit_of(table[columns.error], columns.error), unit) or 1.0)
    if columns.is_magnitude and (factor := _factor(unit, "mag")) not in (None, 1.0):  # as of mmag
        value, error, unit = value * factor, error * abs(factor), "mag"
    error = np.where(error > 0, error, np.nan)
    known = np.isfinite(time) & np.isfinite(value)
    if columns.is_magnitude:
        known &= np.abs(value) < _FAINTEST
    bands: tuple[str, ...] = ("",)
    band = np.zeros(len(table), np.int64)
    if columns.band is not None:
        texts, band = _numbered([_plain_band(text) for text in _texts(table[columns.band])])
        bands = tuple(_band_name(text) for text in texts)
    if len(bands) > MOST_BANDS:
        raise UnreadableError(
            f"{path}: the column {columns.band!r} has {len(bands)} bands, expected at most {MOST_BANDS}"
        )
    if len(set(bands)) < len(bands):
        twice = next(name for name in bands if bands.count(name) > 1)
        raise UnreadableError(
            f"{path}: several bands of the column {columns.band!r} become {twice!r}: give them names that differ in "
            f"their letters or digits, in the first {_LONGEST_BAND}"
        )
    own = file_names(path)
    ids, curve = _numbered(_texts(table[columns.id]) if columns.id else [])
    if not any(ids):  # no column of ids, or an empty one
        names: tuple[tuple[str, ...], ...] = (own,)
        curve = np.zeros(len(table), np.int64)
    else:
        names = tuple((text, *(own if len(ids) == 1 else ())) for text in ids)
        known &= np.array([bool(text) for text in ids], bool)[curve]  # nobody says whose the others are
    curve = curve.astype(np.int32)
    ra, dec = _positions(table, path, curve, len(names))
    found = LightCurves(
        names, ra, dec, curve, time, value, error, band, bands, columns.is_magnitude, unit, is_mjd,
    )  # fmt: skip
    parts = {field: getattr(found, field)[known] for field in ("curve", "time", "value", "error", "band")}
    return replace(found, **parts)


def _texts(column: Any) -> list[str]:
    """Return a column as text without blanks at its ends; empty where it has none, as in a gap among numbers."""
    number = getattr(getattr(column, "dtype", None), "kind", "") == "f"
    return ["" if number and text == "nan" else text.strip() for text in column_texts(column)]


def _numbered(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the different texts in the order in which they occur, and ``(N,)`` int64 which of them each is."""
    seen: dict[str, int] = {}
    which = np.fromiter((seen.setdefault(text, len(seen)) for text in texts), np.int64, len(texts))
    return list(seen), which


def _plain_band(text: str) -> str:
    """Return ``1`` for ``1.0``, which a column of numbers with gaps makes of it; other bands as they are."""
    return text[:-2] if text.endswith(".0") and text[:-2].isdigit() else text


def _band_name(text: str) -> str:
    """Return the name of a band, which becomes part of the names of numbers."""
    return "".join(letter if letter.isalnum() or letter in "+-." else "_" for letter in text[:_LONGEST_BAND])


def _days(column: Any, name: str, path: Path) -> tuple[np.ndarray, bool]:
    """``(N,)`` times in days, NaN where there is none, and whether they are modified Julian dates."""
    from astropy import units
    from astropy.time import Time

    if isinstance(column, Time):
        return np.ma.filled(np.ma.asarray(column.mjd, np.float64), np.nan), True
    if np.asarray(np.ma.getdata(getattr(column, "value", column))).dtype.kind in "USO":
        texts = [text.strip() for text in column_texts(column)]
        there = np.array([bool(text) for text in texts], bool)
        found = np.full(len(texts), np.nan)
        try:
            found[there] = Time([text for text in texts if text]).mjd if there.any() else []
        except ValueError as error:
            first = next(text for text in texts if text)
            raise UnreadableError(
                f"{path}: times such as {first!r} in the column {name!r}, expected days (MJD, JD, BJD) or ISO 8601"
            ) from error
        return found, True
    values = _numbers(column, name, path)
    unit = units.Unit(unit_of(column, name), parse_strict="silent")
    if unit.is_equivalent(units.day):
        values = values * float(unit.to(units.day))
    given = values[np.isfinite(values)]
    values[np.abs(values) > _FARTHEST_DAYS] = np.nan
    if len(given) and not np.isfinite(values).any():
        raise UnreadableError(
            f"{path}: times such as {given[0]:.12g} in the column {name!r}, expected days (MJD, JD, BJD) or ISO 8601, "
            "or a unit of the column, as `s`"
        )
    positive = values[values > 0]
    usual = np.median(positive) if len(positive) else np.nan
    if abs(usual - _JULIAN) < _DATES[1]:
        return _dates(values - _JULIAN), True
    if _DATES[0] < usual < _DATES[1] and ("mjd" in name.lower() or unit in (units.day, "")):
        return _dates(values), True
    return values, "mjd" in name.lower()


def _dates(values: np.ndarray) -> np.ndarray:
    """Leave out what is no modified Julian date among such, as 0 and -999, which stand for none."""
    return np.where((values > 0) & (values < _DATES[1]), values, np.nan)


def _numbers(column: Any, name: str, path: Path) -> np.ndarray:
    values = column_numbers(column)
    if values.ndim != 1 or (len(values) and not np.issubdtype(np.asarray(np.ma.getdata(column)).dtype, np.number)):
        raise UnreadableError(f"{path}: the column {name!r} does not hold one number in each row; {_EXPECTED}")
    return np.where(np.isfinite(values), values, np.nan)


def _positions(table: Table, path: Path, curve: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``(m,)`` degrees: the position in the first row of each curve that has one."""
    ra, dec = np.full(count, np.nan), np.full(count, np.nan)
    if find_pair(table.colnames, SKY_NAMES):
        found = sky_positions(table, where=str(path))
        if found is not None:
            there = np.flatnonzero(np.isfinite(found[0] + found[1]))[::-1]
            ra[curve[there]], dec[curve[there]] = found[0][there], found[1][there]
    return ra, dec
