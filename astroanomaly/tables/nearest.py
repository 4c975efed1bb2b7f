"""The nearest entry of a catalogue to each of some positions, and how many lie within a radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.sky import unit_vectors
from astroanomaly.tables.blocks import table_blocks
from astroanomaly.tables.column_names import ID_NAMES, find_name, ucd_of
from astroanomaly.tables.given import GivenTable
from astroanomaly.tables.matching import pairs_within
from astroanomaly.tables.position_errors import position_errors
from astroanomaly.tables.positions import sky_positions
from astroanomaly.tables.read import column_numbers, column_texts

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["MAX_RADIUS_ARCSEC", "NearestEntries", "WithinErrors", "entry_columns", "nearest_in_catalog"]

MAX_RADIUS_ARCSEC = 600.0  # of a cross-match: every pair within it is looked at
_MAX_LETTERS = 200  # of a name, a type or a reference
_NAMES = (
    "name", "main_id", "designation", "iauname", "iau_name", "object_name", "objname", "source_name", "target_name",
    "target", "object", "prefname",
)  # fmt: skip
_TYPES = (
    "type", "otype", "main_type", "object_type", "objtype", "obj_type", "class", "classification", "spectype", "kind",
)  # fmt: skip
_REFERENCES = (
    "bibcode", "reference", "references", "ref", "refcode", "bib_code", "bibcodes", "doi", "paper", "coo_bibcode",
    "url", "link",
)  # fmt: skip


@dataclass(frozen=True)
class WithinErrors:
    """How far an entry may be, measured by the errors of positions.

    Parameters
    ----------
    sigma
        An entry whose position has a known error may be no further than this many times the error: more than 0.
    error_arcsec
        Error of the given positions, which is added in quadrature: 0 or more.

    Raises
    ------
    ConfigError
        If one of them cannot be.
    """

    sigma: float
    error_arcsec: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ConfigError(f"sigma={self.sigma:g}: expected a number above 0")
        if not 0 <= self.error_arcsec <= MAX_RADIUS_ARCSEC:
            raise ConfigError(
                f"position_error: {self.error_arcsec:g} arcsec, expected 0 to {MAX_RADIUS_ARCSEC:g} arcsec"
            )


class NearestEntries:
    """The entries of a catalogue near some positions, block by block as they come.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees, finite.
    radius_arcsec
        How far an entry may be: more than 0, at most `MAX_RADIUS_ARCSEC`.
    values
        Names of columns of numbers that are kept of the nearest entry.
    within
        How errors of positions count beside the radius; None: not at all.

    Attributes
    ----------
    count
        ``(n,)`` entries within the radius, and within what their errors allow.
    separation_arcsec
        ``(n,)`` distance of the nearest of these, NaN without any.
    error_arcsec
        ``(n,)`` error of its position and of the given one together; NaN where ``within`` is None, or it is unknown.
    error_columns
        Names of the columns that the errors were taken from.
    texts
        ``name``, ``type`` and ``reference`` of the nearest: ``n`` texts each, empty without any.
    values
        By name ``(n,)`` float64 of the nearest, NaN where unknown.

    Raises
    ------
    ConfigError
        If the radius cannot be.
    """

    def __init__(
        self,
        ra: np.ndarray,
        dec: np.ndarray,
        radius_arcsec: float,
        values: Sequence[str] = (),
        within: WithinErrors | None = None,
    ) -> None:
        if not 0 < radius_arcsec <= MAX_RADIUS_ARCSEC:
            raise ConfigError(
                f"a radius of {radius_arcsec:g} arcsec: expected more than 0 and at most {MAX_RADIUS_ARCSEC:g} arcsec"
            )
        self.ra, self.dec, self.radius_arcsec, self.within = ra, dec, radius_arcsec, within
        self.count = np.zeros(len(ra), np.int64)
        self.separation_arcsec = np.full(len(ra), np.nan)
        self.error_arcsec = np.full(len(ra), np.nan)
        self.error_columns: list[str] = []
        self.texts = {name: [""] * len(ra) for name in ("name", "type", "reference")}
        self.values = {name: np.full(len(ra), np.nan) for name in values}

    def add(self, table: Table, ra: np.ndarray, dec: np.ndarray, columns: dict[str, str], first_row: int = 0) -> None:
        """Take the entries of a block.

        Parameters
        ----------
        table
            The block.
        ra, dec
            ``(m,)`` ICRS degrees of its rows, NaN where unknown.
        columns
            Which of its columns are ``name``, ``type`` and ``reference``; without a name an entry is called by its row.
        first_row
            Number of the block's first row in its catalogue, from 0.
        """
        given, rows, separation = pairs_within(self.ra, self.dec, ra, dec, self.radius_arcsec)
        errors = self._errors(table, rows)
        if self.within is not None:
            near = ~(separation > self.within.sigma * errors)  # without an error the radius alone counts
            given, rows, separation, errors = given[near], rows[near], separation[near], errors[near]
        self.count += np.bincount(given, minlength=len(self.ra))
        given, first = np.unique(given, return_index=True)  # of each position the nearest comes first
        closer = ~(self.separation_arcsec[given] <= separation[first])
        given, first = given[closer], first[closer]
        rows = rows[first]
        self.separation_arcsec[given] = separation[first]
        self.error_arcsec[given] = errors[first]
        if not len(rows):
            return
        for name, kept in self.texts.items():
            if name in columns:
                found = [_short(text) for text in column_texts(table[columns[name]][rows])]
            else:
                found = [f"row {first_row + row + 1}" if name == "name" else "" for row in rows.tolist()]
            for k, text in zip(given.tolist(), found, strict=True):
                kept[k] = text
        for name, numbers in self.values.items():
            numbers[given] = column_numbers(table[name][rows]) if name in table.colnames else np.nan

    def _errors(self, table: Table, rows: np.ndarray) -> np.ndarray:
        """Return the errors of some entries and of the given positions together, in arcsec; NaN where unknown."""
        found = None if self.within is None else position_errors(table)
        if self.within is None or found is None:
            return np.full(len(rows), np.nan)
        self.error_columns = found[1]
        return np.hypot(found[0][rows], self.within.error_arcsec)


def nearest_in_catalog(
    catalog: Path | GivenTable,
    ra: np.ndarray,
    dec: np.ndarray,
    radius_arcsec: float,
    within: WithinErrors | None = None,
) -> NearestEntries:
    """Find the nearest entry of a local catalogue to each position.

    Which columns hold positions, in what frame and unit, is found out as `read_catalog` does. Names, types and
    references are columns of a usual UCD or name.

    Parameters
    ----------
    catalog
        A table of any format, or one in memory. FITS, Parquet and HATS are read block by block.
    ra, dec
        ``(n,)`` ICRS degrees, finite.
    radius_arcsec
        How far an entry may be.
    within
        How errors of positions count beside the radius, which are found by `position_errors`; None: not at all.

    Raises
    ------
    CatalogError
        If there are no positions that are recognised; if errors count and there are none with a unit.
    ConfigError
        If the radius cannot be.
    UnreadableError
        If the file is missing or no table.
    """
    found = NearestEntries(ra, dec, radius_arcsec, within=within)
    where = str(catalog) if isinstance(catalog, Path) else f"the {catalog.kind} that was given as catalogue"

    def choose(table: Table) -> list[str]:
        errors = None if within is None else position_errors(table)
        if within is not None and errors is None:
            raise CatalogError(
                f"{where} has no errors of positions that were recognised, in a unit of angle. Its columns: "
                f"{', '.join(table.colnames)}. Call one pos_err and give its unit, or match without sigma"
            )
        needed = [*_positions(table, where)[2].columns, *entry_columns(table).values(), *(errors[1] if errors else [])]
        return [*dict.fromkeys(needed)]

    if isinstance(catalog, GivenTable):
        blocks = iter([catalog.table[choose(catalog.table)]])
    else:
        chord = 2 * np.sin(np.radians(radius_arcsec / 3600) / 2)
        blocks = table_blocks(
            catalog, choose, lambda names: find_name(names, (*_NAMES, *ID_NAMES)), (unit_vectors(ra, dec), chord)
        )
    row = 0
    for table in blocks:
        if len(table):
            of_rows = _positions(table, where)
            found.add(table, of_rows[0], of_rows[1], entry_columns(table), row)
        row += len(table)
    return found


def entry_columns(table: Table) -> dict[str, str]:
    """Return which columns of a catalogue are ``name``, ``type`` and ``reference``, by UCD, else by a usual name."""
    ucds = {name: ucd_of(table[name]) for name in table.colnames if getattr(table[name], "ndim", 1) == 1}
    chosen = {
        "name": find_name(ucds, _NAMES) or _only(ucds, "meta.id;meta.main") or find_name(ucds, ID_NAMES),
        "type": _only(ucds, "src.class") or find_name(ucds, _TYPES),
        "reference": _only(ucds, "meta.bib") or find_name(ucds, _REFERENCES),
    }
    return {what: name for what, name in chosen.items() if name is not None}


def _only(ucds: dict[str, str], wanted: str) -> str | None:
    """Return the only column with a UCD, or one below it."""
    found = [name for name, ucd in ucds.items() if ucd == wanted or ucd.startswith(f"{wanted}.")]
    return found[0] if len(found) == 1 else None


def _positions(table: Table, where: str) -> tuple[np.ndarray, np.ndarray, Any]:
    found = sky_positions(table, where=where)
    if found is None:
        raise CatalogError(
            f"{where} has no sky positions that were recognised. Its columns: {', '.join(table.colnames)}. "
            "Call those of its positions ra and dec"
        )
    return found


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_LETTERS else text[: _MAX_LETTERS - 1] + "…"
