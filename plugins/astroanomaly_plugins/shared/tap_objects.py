"""Objects of a table of a TAP service: those in a part of the sky, or those that a query gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly import CatalogError, ConfigError, FetchError
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.client_answers import understood
from astroanomaly_plugins.shared.options import ArchiveOptions
from astroanomaly_plugins.shared.sky_area import Patch, SkyArea, whole_sky
from astroanomaly_plugins.shared.votable_answers import asked_table
from astroanomaly_plugins.shared.web import error

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Ask", "numbers_of", "objects_of_tap", "rows_in_area"]

Ask = Callable[[str, str], "Table"]  # takes a query and what it asks for
_MOST_ROWS = 200_000  # that are asked for at once
_MOST_ROWS_IN_ALL = 10**7  # that are held in memory
_MOST_BYTES = 256 * 10**6
_BYTES_PER_VALUE = 64  # of a VOTable, at most, but for long texts
_LEAST_DEG = 1 / 3600  # of a circle that is asked for in parts
_SLACK = 1e-6  # relative: services calculate a little differently
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}")
_QUOTED = re.compile(r'[A-Za-z0-9_."/+ -]+')


def rows_in_area(
    ask: Ask,
    table: str,
    names: str,
    position: tuple[str, str],
    area: SkyArea,
    where: str = "",
    what: str = "objects of the area",
    most_rows: int = _MOST_ROWS,
) -> list[Table]:
    """Take the rows of a table that lie in an area, each once.

    A circle that has more rows than a service gives is asked for in parts, cell by cell of HEALPix.

    Parameters
    ----------
    ask
        Runs a query; the answer may lack rows.
    table, names, position
        The table, its columns to ask for (``*``, or names with commas), and those of right ascension and declination.
    where
        A further condition in ADQL.
    most_rows
        That are asked for at once.

    Raises
    ------
    CatalogError
        If there are more than memory holds.
    FetchError
        If the service fails, or gives fewer rows than it counts even of a small part of the sky.
    """
    found: list[Table] = []
    total = 0
    short: set[int] = set()  # lengths of answers that lacked rows: two of one length show the service's limit
    waiting = [(patch, number) for number, patch in reversed(list(enumerate(area.patches)))]
    while waiting:
        patch, root = waiting.pop()
        circle = f"CIRCLE('ICRS', {patch.ra!r}, {patch.dec!r}, {patch.radius * (1 + _SLACK)!r})"
        condition = f"CONTAINS(POINT('ICRS', {position[0]}, {position[1]}), {circle}) = 1"
        condition += f" AND ({where})" if where else ""
        counted = ask(f"SELECT COUNT(*) AS number FROM {table} WHERE {condition}", f"number of the {what}")
        with understood(f"number of the {what}"):
            number = int(counted[counted.colnames[0]][0])
        if not number:
            continue
        least = patch.radius < _LEAST_DEG
        asked = number <= most_rows or (least and number <= _MOST_ROWS)
        rows = ask(f"SELECT {names} FROM {table} WHERE {condition}", what) if asked else None
        if rows is None or len(rows) < number:
            if least:
                got = "gives none" if rows is None else f"gave {len(rows)}"
                raise error(what, f"the archive counts {number} and {got}: it cut its answer short")
            if rows is not None:
                most_rows = min(most_rows, len(rows)) if len(rows) in short else most_rows
                short.add(len(rows))
            waiting += [(part, root) for part in reversed(area.patches[root].touching(patch.halves()))]
            continue
        ra, dec = (numbers_of(rows, name, what) for name in position)
        kept = area.inside(ra, dec)
        kept[kept] = _first_in(area.patches[: root + 1], patch, ra[kept], dec[kept])
        if kept.any():
            found.append(rows[kept])
            total += int(kept.sum())
        if total > _MOST_ROWS_IN_ALL:
            raise CatalogError(
                f"{what}: {area.words} has more than {_MOST_ROWS_IN_ALL} rows of {table}, more than are held in memory "
                "at once: ask for a smaller area, or for a HATS catalogue, which is read in parts (--catalog)"
            )
    return found


def _first_in(patches: Sequence[Patch], part: Patch, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """``(n,)`` bool: whether positions lie in a part of the last of some circles, and in none before it."""
    wanted = part.holds(ra, dec) & patches[-1].holds(ra, dec)
    for earlier in patches[-1].touching(patches[:-1]):
        wanted &= ~earlier.holds(ra, dec)
    return wanted


def numbers_of(table: Table, name: str, what: str) -> np.ndarray:
    """Return a column of numbers, whatever its case; NaN where there is none.

    Raises
    ------
    FetchError
        If there is no such column, or it holds no numbers.
    """
    plain = name.strip('"').rpartition(".")[2].lower()
    lower = {column.lower(): column for column in table.colnames}
    if plain not in lower:
        raise error(what, f"its answer has no column {name!r}, only {', '.join(table.colnames)}")
    with understood(what):
        return np.ma.filled(np.ma.asarray(table[lower[plain]], np.float64), np.nan)


def objects_of_tap(options: ArchiveOptions, area: SkyArea | None, login: tuple[str, ...] = ()) -> Table:
    """Take the objects of a TAP service that the options name.

    Raises
    ------
    ConfigError
        If a table was named without a part of the sky, and without a condition.
    CatalogError
        If there is none, or the service has no such table.
    FetchError
        If the service fails, or gives fewer rows than there are.
    """
    from astropy.table import vstack

    def ask(adql: str, what: str) -> Table:
        return _ask(options.tap, adql, what, login)[0]

    if options.adql:
        table, whole = _ask(options.tap, options.adql, "objects of the query", login)
        if not whole:
            raise FetchError(
                f"objects of the query: {options.tap} gives no more than {len(table)} rows, and there are more. "
                "Ask for fewer, or for a table and a part of the sky, which is asked for in parts: --table with "
                "--cone, --region or --moc",
                reason="an answer that was cut short",
            )
        if not len(table):
            raise CatalogError(f"{options.tap}: the query of --adql gives no object")
        return table
    if area is None and not options.where:
        raise ConfigError(f"--table {options.table} without a part of it: say --cone, --region, --moc or --where")
    names, position, columns = _columns(options, ask)
    chosen = list(dict.fromkeys([*names, *position]))
    wanted = "*" if "*" in options.carry else ", ".join(chosen)
    most = _MOST_BYTES // (_BYTES_PER_VALUE * (columns if wanted == "*" else len(chosen)))
    asked = (_quoted(options.table), wanted, position, area or whole_sky(), options.where)
    parts = rows_in_area(ask, *asked, most_rows=min(most, _MOST_ROWS))
    if not parts:
        where = f" where {options.where}" if options.where else ""
        raise CatalogError(
            f"the table {options.table} at {options.tap} has no object{where} in {asked[3].words}: is this its area?"
        )
    with ASTROPY:
        return vstack(parts, metadata_conflicts="silent")


def _ask(address: str, adql: str, what: str, login: tuple[str, ...]) -> tuple[Table, bool]:
    fields = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": "votable", "MAXREC": str(_MOST_ROWS), "QUERY": adql}
    url = f"{address.rstrip('/').removesuffix('/sync')}/sync"
    return asked_table(url, what, form=fields, most_bytes=_MOST_BYTES, login=login, lower=False)


def _quoted(table: str) -> str:
    if _NAME.fullmatch(table) or ('"' in table and _QUOTED.fullmatch(table)):
        return table
    if not _QUOTED.fullmatch(table):
        raise ConfigError(f"table={table!r}: expected the name of a table, as in ivoa.obscore or II/349/ps1")
    return f'"{table}"'


def _columns(options: ArchiveOptions, ask: Ask) -> tuple[list[str], tuple[str, str], int]:
    """Return the columns to ask for, where not all are, those of the position, by UCD or named, and how many it has."""
    plain = _quoted(options.table).replace('"', "")
    adql = (
        "SELECT column_name, ucd FROM TAP_SCHEMA.columns WHERE table_name IN "
        f"('{plain}', '\"{plain}\"') ORDER BY column_name"
    )
    answer = ask(adql, f"columns of {options.table}")
    with understood(f"columns of {options.table}"):
        there = {str(row[0]).strip('"'): str(row[1] or "").lower() for row in answer}
    if not there:
        raise CatalogError(f"{options.tap} has no table {options.table!r} (its list is TAP_SCHEMA.tables)")
    named = [name for name in (options.ra, options.dec, options.id, *options.carry) if name not in ("", "*", "none")]
    missing = [name for name in named if name not in there]
    if missing:
        raise CatalogError(f"{options.table} has no column {missing[0]!r}. It has {', '.join(there)}")
    position = (options.ra, options.dec)
    if not options.ra:
        position = (_by_ucd(there, "pos.eq.ra", options), _by_ucd(there, "pos.eq.dec", options))
    ids = [name for name, ucd in there.items() if ucd == "meta.id;meta.main"]
    chosen = [_column(name) for name in dict.fromkeys([*ids, *named])]
    return chosen, (_column(position[0]), _column(position[1])), len(there)


def _by_ucd(there: dict[str, str], ucd: str, options: ArchiveOptions) -> str:
    for wanted in (f"{ucd};meta.main", ucd):
        found = [name for name, one in there.items() if one == wanted]
        if len(found) == 1:
            return found[0]
    raise CatalogError(
        f"{options.table} does not say which columns are the position (UCD {ucd}): name them with --ra COLUMN and "
        f"--dec COLUMN, in ICRS degrees. It has {', '.join(there)}"
    )


def _column(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else '"' + name.replace('"', "") + '"'
