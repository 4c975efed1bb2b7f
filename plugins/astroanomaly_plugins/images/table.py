"""The table of columns for pictures: read it, find each picture's row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import CatalogError, read_texts

__all__ = ["Table", "match_rows", "positions", "read_table"]

_KEY_NAMES = ("object_id", "filename", "file_name", "file", "path", "image", "picture", "name", "id")


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


def read_table(content: Path | bytes, where: str) -> Table:
    """Read a table of any format that `astroanomaly.read_texts` reads.

    The column that names the pictures is the first that is called object_id, filename, file_name, file, path, image,
    picture, name or id; else the first column.

    Raises
    ------
    UnreadableError
        If it is no table.
    CatalogError
        If it has a column twice, or a row with another number of values.
    """
    found = read_texts(content, where)
    columns = [found.column(number) for number in range(len(found.names))]
    lowered = [name.lower() for name in found.names]
    key = next((lowered.index(name) for name in _KEY_NAMES if name in lowered), 0)
    return Table(where, found.names, [list(row) for row in zip(*columns, strict=True)], list(found.lines), key)


def match_rows(table: Table, ids: Sequence[str]) -> np.ndarray:
    """Find the row of every picture.

    A row belongs to the picture whose id it names in full; else to the only one with its base name, with or without
    suffix, whose folders agree with those the row names.

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
    exact = {object_id: number for number, object_id in enumerate(ids)}
    by_base: dict[str, list[int]] = defaultdict(list)
    by_stem: dict[str, list[int]] = defaultdict(list)
    if any(_key(row[table.key]) not in exact for row in table.rows):
        for number, object_id in enumerate(ids):
            base = object_id.rpartition("/")[2]
            by_base[base].append(number)
            by_stem[base.rpartition(".")[0]].append(number)
    found = np.full(len(ids), -1, np.int64)
    for row_number, row in enumerate(table.rows):
        key = _key(row[table.key])
        if not key:
            continue
        picture = exact.get(key)
        if picture is None:
            base = key.rpartition("/")[2]
            fitting = [n for n in by_base.get(base) or by_stem.get(base) or [] if _folders_agree(key, ids[n])]
            if len(fitting) > 1:
                raise CatalogError(
                    f"{table.where}, line {table.lines[row_number]}: {key!r} fits {len(fitting)} pictures, "
                    f"{ids[fitting[0]]!r} and {ids[fitting[1]]!r} among them; write the whole id"
                )
            if not fitting:
                continue
            picture = fitting[0]
        earlier = int(found[picture])
        if earlier >= 0 and table.rows[earlier] != row:
            raise CatalogError(
                f"{table.where}: lines {table.lines[earlier]} and {table.lines[row_number]} are both about "
                f"{ids[picture]!r} and differ; keep one"
            )
        found[picture] = row_number
    return found


def _key(text: str) -> str:
    return text.replace("\\", "/").removeprefix("./").lstrip("/")


def _folders_agree(key: str, object_id: str) -> bool:
    """Whether the folders are the same as far as both names go."""
    one, other = key.split("/")[-2::-1], object_id.split("/")[-2::-1]
    return all(a == b for a, b in zip(one, other, strict=False))


def positions(table: Table) -> tuple[np.ndarray, np.ndarray] | None:
    """Return ``ra`` and ``dec`` of every row in degrees (NaN where empty), or None if the table lacks the columns.

    Raises
    ------
    CatalogError
        For a value that is no position.
    """
    columns = table.column("ra"), table.column("dec")
    if columns[0] is None or columns[1] is None:
        return None
    both = []
    for name, column, low, high in (("ra", columns[0], -360.0, 360.0), ("dec", columns[1], -90.0, 90.0)):
        values = np.full(len(table.rows), np.nan)
        for number, row in enumerate(table.rows):
            if not row[column] or row[column].lower() == "nan":
                continue
            try:
                values[number] = float(row[column])
            except ValueError:
                values[number] = np.inf
            if not low <= values[number] <= high:
                raise CatalogError(
                    f"{table.where}, line {table.lines[number]}: {name} is {row[column]!r}, expected degrees between "
                    f"{low:g} and {high:g}"
                )
        both.append(values)
    return both[0] % 360, both[1]
