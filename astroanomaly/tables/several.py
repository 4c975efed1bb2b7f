"""One table out of the several that a file holds: the only one that fits, or all alike, or the one that is named."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import CatalogError
from astroanomaly.tables.stated_frames import same_frames

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["PARTS", "one_table", "split_place"]

PARTS = "astroanomaly_parts"  # in the meta of a table made of several: the part of each row
_COLUMNS_SHOWN = 6
_TABLES_SHOWN = 10


def split_place(path: Path) -> tuple[Path, str]:
    """Split ``FILE[TABLE]`` into the file and the number or name of a table in it; the latter is empty for a file."""
    found = re.fullmatch(r"(.+)\[([^\[\]]+)\]", str(path))
    if path.exists() or found is None or not Path(found[1]).is_file():
        return path, ""
    return Path(found[1]), found[2].strip()


def one_table(
    found: Sequence[tuple[Sequence[str], Table]], place: str, wanted: Callable[[Table], bool], where: str
) -> Table:
    """Return the table of a file that is meant.

    Parameters
    ----------
    found
        The tables, each with what it may be called: its number, its name.
    place
        The one that somebody named; empty where nobody did.
    wanted
        Says whether a table has what is looked for. Of several that have, and whose columns are the same, all rows are
        taken, as of an LDAC file with a table for each CCD.

    Raises
    ------
    CatalogError
        If there is no table, none of that name, or several different ones that have what is looked for.
    """
    if not found:
        raise CatalogError(f"{where} holds no table (on the command line, images go before the catalogue)")
    if place:
        chosen = [table for names, table in found if place.lower() in [name.lower() for name in names]]
        if len(chosen) != 1:
            raise CatalogError(f"{where} has {len(chosen) or 'no'} tables called {place!r}. There are:{_list(found)}")
        return chosen[0]
    fitting = [(names, table) for names, table in found if len(table) and wanted(table)]
    if len(fitting) < 2:
        return fitting[0][1] if fitting else next((table for _, table in found if len(table)), found[0][1])
    tables = [table for _, table in fitting]
    alike = all(table.colnames == tables[0].colnames and same_frames(table, tables[0]) for table in tables)
    clash = _other_unit(tables) if alike else ""
    if not alike or clash:
        how = f" in the unit of {clash!r}" if clash else ""
        raise CatalogError(
            f"{where} holds {len(fitting)} tables that have what is looked for, and they differ{how}:{_list(fitting)}\n"
            f"Name one: {where}[{fitting[0][0][0]}]"
        )
    from astropy.table import vstack

    stacked = vstack(tables, join_type="exact", metadata_conflicts="silent")
    stacked.meta[PARTS] = np.repeat([names[0] for names, _ in fitting], [len(table) for table in tables])
    return stacked


def _other_unit(tables: Sequence[Table]) -> str:
    """Return a column whose unit is not that of the same column of another table; empty for none.

    No unit is any unit, but for angles: without one they are in degrees.
    """
    from astropy import units as u

    for name in tables[0].colnames:
        units = {u.Unit(getattr(table[name], "unit", None) or "", parse_strict="silent") for table in tables}
        stated = units - {u.dimensionless_unscaled}
        angles = len(units) > 1 and all(unit.is_equivalent(u.deg) and unit != u.deg for unit in stated)
        if len(stated) > 1 or angles:
            return name
    return ""


def _list(found: Sequence[tuple[Sequence[str], Table]]) -> str:
    lines = []
    for names, table in found[:_TABLES_SHOWN]:
        more = ", ..." if len(table.colnames) > _COLUMNS_SHOWN else ""
        lines.append(
            f"\n  [{'] or ['.join(names)}]: {len(table)} rows of {', '.join(table.colnames[:_COLUMNS_SHOWN])}{more}"
        )
    return "".join(lines) + (f"\n  ... {len(found) - _TABLES_SHOWN} more" if len(found) > _TABLES_SHOWN else "")
