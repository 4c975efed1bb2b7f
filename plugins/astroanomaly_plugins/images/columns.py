"""Catalogue columns and positions of pictures, from a CSV beside or inside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import CatalogError, Fact, UnreadableError, typed_column
from astroanomaly_plugins.images.files import Listing
from astroanomaly_plugins.images.members import open_container
from astroanomaly_plugins.images.pixels import PictureError
from astroanomaly_plugins.images.table import Columns, Table, match_rows, positions, read_table
from astroanomaly_plugins.shared.columns import COLUMN

__all__ = ["POSITION_NAMES", "ride_along"]

_SHOWN = 3
_DEFAULT_TABLES = ("labels.csv", "classes.csv")
POSITION_NAMES = ("ra", "dec")


def ride_along(
    listings: list[Listing], ids: list[str], wanted: str, max_bytes: int, said: Columns
) -> tuple[dict[str, np.ndarray], list[Fact]]:
    """Find the tables and match them to the pictures.

    Parameters
    ----------
    ids
        ``(n,)`` ids of all pictures, one listing after another.
    wanted
        A CSV file, or its name inside a container; empty for ``labels.csv`` or ``classes.csv`` at the top; ``none``.
    max_bytes
        Largest table inside a container.
    said
        Columns that somebody has named, their frame and unit.

    Returns
    -------
    columns : dict of numpy.ndarray
        ``(n,)`` values under ``column:NAME``; positions in degrees, NaN where unknown, under ``ra`` and ``dec``.
    facts : list of Fact
        Which tables were used, and which of their rows belong to no picture.

    Raises
    ------
    CatalogError
        If a table cannot be understood, is ambiguous, or fits no picture.
    UnreadableError
        If the table that was asked for is not there.
    """
    texts: dict[str, list[str]] = {}
    sky = {name: np.full(len(ids), np.nan) for name in POSITION_NAMES}
    has_sky = False
    matches: list[_Matches] = []
    for table, start, stop in _tables(listings, wanted, max_bytes, said):
        rows = match_rows(table, ids[start:stop])
        known = np.flatnonzero(rows >= 0)
        matches.append(_matches(table, rows, ids[start]))
        found = positions(table, said)
        if found is not None:
            has_sky = True
            for name, values in zip(POSITION_NAMES, found, strict=True):
                sky[name][start + known] = values[rows[known]]
        left_out = {"object_id"} | (set(POSITION_NAMES) if found is not None else set())
        for number, name in enumerate(table.names):
            if name.lower() in left_out:  # these are the cutout's own id and position
                continue
            column = texts.setdefault(name, [""] * len(ids))
            for picture in known.tolist():
                column[start + picture] = table.rows[rows[picture]][number]
    start = 0
    for listing in listings:
        for name, inside in listing.columns.items():
            texts.setdefault(name, [""] * len(ids))[start : start + len(listing)] = inside
        start += len(listing)
    columns = {COLUMN + name: typed_column(values) for name, values in texts.items()}
    return columns | sky if has_sky else columns, _table_facts(matches)


@dataclass(frozen=True)
class _Matches:
    """How the rows of a table and the pictures fit: numbers, and what the table calls objects without a picture."""

    where: str
    rows: int
    used: int
    pictures: int
    named: int
    strangers: list[str]


def _matches(table: Table, rows: np.ndarray, example: str) -> _Matches:
    used = np.unique(rows[rows >= 0])
    if not used.size:
        sample = table.rows[0][table.key] if table.rows else ""
        raise CatalogError(
            f"{table.where} fits no picture: its column {table.names[table.key]!r} has {sample!r}, the pictures have "
            f"ids like {example!r}. Give another --table, or --table none"
        )
    others = np.setdiff1d(np.arange(len(table.rows)), used)
    known = {tuple(table.rows[row]) for row in used.tolist()}
    strange = [
        row for row in others.tolist() if tuple(table.rows[row]) not in known
    ]  # a row that is there twice is none
    strangers = [table.rows[row][table.key] for row in strange]
    return _Matches(
        table.where, len(table.rows), len(table.rows) - len(strange), len(rows), int((rows >= 0).sum()), strangers
    )


def _table_facts(matches: list[_Matches]) -> list[Fact]:
    """Say which tables were used, and what did not fit."""
    if not matches:
        return []
    texts, value = [], []
    for one in matches:
        text = f"{one.where}: {one.used} of {one.rows} rows belong to a picture"
        if one.strangers:
            shown = ", ".join(map(repr, one.strangers[:_SHOWN]))
            more = f" and {len(one.strangers) - _SHOWN} more" if len(one.strangers) > _SHOWN else ""
            text += f", none to {shown}{more}"
        if one.named < one.pictures:
            text += f"; {one.pictures - one.named} of {one.pictures} pictures have no row"
        texts.append(text)
        numbers = {
            "rows": one.rows,
            "used": one.used,
            "pictures": one.pictures,
            "without_row": one.pictures - one.named,
        }
        value.append({"table": one.where, **numbers, "first": one.strangers[:_SHOWN]})
    return [Fact("table", "; ".join(texts)[:1000], {"tables": value[:100]})]


def _tables(listings: list[Listing], wanted: str, max_bytes: int, said: Columns) -> Iterator[tuple[Table, int, int]]:
    """Yield each table with the range of pictures it is about."""
    if wanted == "none":
        return
    outside = Path(wanted) if wanted else None
    if outside is not None and outside.is_file():
        yield read_table(outside, str(outside), said), 0, sum(map(len, listings))
        return
    start, found = 0, False
    for listing in listings:
        name = _table_in(listing, wanted)
        if name:
            found = True
            listing.is_the_table(name)
            where = f"{listing.container.path}: {name}"
            with open_container(listing.container, max_bytes) as fetch:
                try:
                    data = fetch(name, listing.tables[name])
                except PictureError as error:
                    raise UnreadableError(f"table {where}: {error}") from error
            yield read_table(data, where, said), start, start + len(listing)
        start += len(listing)
    if wanted and not found:
        inside = sorted(name for listing in listings for name in listing.tables)
        raise UnreadableError(
            f"table {wanted!r} is neither a file nor in one of the inputs; .csv files found there: "
            f"{', '.join(inside[:10]) or 'none'}"
        )


def _table_in(listing: Listing, wanted: str) -> str:
    """Return the name of the table inside a container, empty if there is none."""
    if wanted:
        return wanted if wanted in listing.tables else ""
    top = next(iter(listing.tops)) + "/" if len(listing.tops) == 1 else ""
    tops = {prefix + name for name in _DEFAULT_TABLES for prefix in ("", "./", top, "./" + top)}
    found = sorted(tops & listing.tables.keys())
    if len(found) > 1:
        raise CatalogError(
            f"{listing.container.path} holds {' and '.join(found)}: say which one with --table, or --table none"
        )
    return found[0] if found else ""
