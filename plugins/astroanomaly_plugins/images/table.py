"""The table of columns for pictures: read it, find each picture's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import CatalogError, NameMatcher, read_catalog, read_texts, typed_column

__all__ = ["Columns", "Table", "match_rows", "positions", "read_table"]

_ROW = "number of the row"
_KEY_NAMES = ("object_id", "filename", "file_name", "file", "path", "image", "picture", "name", "id")


@dataclass(frozen=True)
class Columns:
    """What somebody says of the columns of a table; empty where nothing.

    Parameters
    ----------
    id
        Column that names the pictures.
    ra, dec
        Columns of the positions.
    frame, unit
        Their frame and unit, as in `astroanomaly.read_catalog`.
    """

    id: str = ""
    ra: str = ""
    dec: str = ""
    frame: str = ""
    unit: str = ""


_NOTHING = Columns()


@dataclass(frozen=True, eq=False)
class Table:
    """A table as text.

    Parameters
    ----------
    where
        What to call it in messages.
    names
        Column names.
    rows
        One list of texts per row.
    lines
        Line of the file on which each row ends, for messages.
    key
        Number of the column that says which picture a row is about.
    """

    where: str
    names: list[str]
    rows: list[list[str]]
    lines: list[int]
    key: int

    def column(self, name: str) -> int | None:
        """Return the number of the column with this name in any case, or None."""
        return next((number for number, known in enumerate(self.names) if known.lower() == name), None)


def read_table(content: Path | bytes, where: str, said: Columns = _NOTHING) -> Table:
    """Read a table of any format that `astroanomaly.read_texts` reads.

    The column that names the pictures is the one that somebody has named; else the first that is called object_id,
    filename, file_name, file, path, image, picture, name or id; else the first column.

    Raises
    ------
    UnreadableError
        If it is no table.
    CatalogError
        If it has a column twice, a row with another number of values, or lacks a column that was named.
    """
    found = read_texts(content, where)
    columns = [found.column(number) for number in range(len(found.names))]
    lowered = [name.lower() for name in found.names]
    for name in (said.id, said.ra, said.dec):
        if name and name.lower() not in lowered:
            raise CatalogError(f"{where} has no column {name!r}. Its columns: {', '.join(found.names)}")
    key = (
        lowered.index(said.id.lower())
        if said.id
        else next((lowered.index(name) for name in _KEY_NAMES if name in lowered), 0)
    )
    return Table(where, found.names, [list(row) for row in zip(*columns, strict=True)], list(found.lines), key)


def match_rows(table: Table, ids: Sequence[str]) -> np.ndarray:
    """Find the row of every picture.

    A row belongs to the only picture that `astroanomaly.NameMatcher` finds, whose folders are those the row names.

    Parameters
    ----------
    ids
        ``(n,)`` object ids.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` int64 row numbers, -1 where there is none.

    Raises
    ------
    CatalogError
        If a row fits several pictures, or a picture has two different rows.
    """
    numbers = {object_id: number for number, object_id in enumerate(ids)}
    matcher = NameMatcher(numbers)
    found = np.full(len(ids), -1, np.int64)
    for row_number, row in enumerate(table.rows):
        key = row[table.key]
        if not key:
            continue
        fitting = matcher.find(key, strict=True)
        if len(fitting) > 1:
            raise CatalogError(
                f"{table.where}, line {table.lines[row_number]}: {key!r} fits {len(fitting)} pictures, "
                f"{fitting[0]!r} and {fitting[1]!r} among them; write the whole id"
            )
        if not fitting:
            continue
        picture = numbers[fitting[0]]
        earlier = int(found[picture])
        if earlier >= 0 and table.rows[earlier] != row:
            raise CatalogError(
                f"{table.where}: lines {table.lines[earlier]} and {table.lines[row_number]} are both about "
                f"{ids[picture]!r} and differ; keep one"
            )
        found[picture] = row_number
    return found


def positions(table: Table, said: Columns = _NOTHING) -> tuple[np.ndarray, np.ndarray] | None:
    """Return ICRS right ascension and declination of every row in degrees, NaN where empty; None without positions.

    They are found as in a catalogue, see `astroanomaly.read_catalog`, or in the columns that somebody has named.

    Raises
    ------
    CatalogError
        For a value of ``ra`` or ``dec`` that is no position.
    """
    from astropy.table import QTable

    if not table.rows:
        return None
    texts = dict(zip(table.names, map(list, zip(*table.rows, strict=True)), strict=True))
    numbers = {name: typed_column(values) for name, values in texts.items()}
    columns = QTable(
        {name: values.astype(str) if values.dtype.kind == "O" else values for name, values in numbers.items()}
    )
    if table.names[table.key].lower() not in (said.ra.lower(), said.dec.lower()):
        columns.remove_column(table.names[table.key])
    columns["x"] = columns["y"] = np.zeros(len(table.rows))  # so that a table without sky positions is no error
    columns[_ROW] = np.arange(len(table.rows))
    try:
        found = read_catalog(
            columns,
            id=_ROW,
            ra=_spelt(said.ra, table.names),
            dec=_spelt(said.dec, table.names),
            frame=said.frame or None,
            unit=said.unit or None,
        )
    except CatalogError as error:
        raise CatalogError(str(error).replace("the QTable that was given as catalogue", table.where)) from error
    if found.ra is None or found.dec is None or found.sky is None:
        return None
    for row in np.flatnonzero(~np.isfinite(found.ra + found.dec)).tolist():
        words_of = {name: texts[name][row] for name in reversed(found.sky.columns)}
        if said.ra == "" and tuple(map(str.lower, words_of)) != ("dec", "ra"):
            continue  # other columns of such names may be anything: alpha and delta
        if any(text and text.lower() not in ("nan", "null", "none", "n/a", "--") for text in words_of.values()):
            words = ", ".join(f"{name} is {text!r}" for name, text in words_of.items())
            raise CatalogError(f"{table.where}, line {table.lines[row]}: {words}, which is no position")
    return found.ra, found.dec


def _spelt(name: str, names: Sequence[str]) -> str | None:
    """Return a name as the table spells it, None for none."""
    return next((known for known in names if known.lower() == name.lower()), None) if name else None
