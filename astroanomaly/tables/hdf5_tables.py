"""Tables in HDF5 files: compound datasets, as astropy and pandas write them, and groups of columns of one length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError
from astroanomaly.tables.hdf5 import hdf5_links, open_hdf5
from astroanomaly.tables.parquet import NOT_PLAIN
from astroanomaly.tables.serialized import column_notes, join_masks
from astroanomaly.tables.several import one_table

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["read_hdf5_table"]

_META = ".__table_column_meta__"  # of astropy: a YAML header beside a table
_FEWEST_COLUMNS = 2
_OWN = ("_i_table", "_v_pos")  # of PyTables


def read_hdf5_table(path: Path, where: str, wanted: Callable[[Table], bool], place: str) -> Table:
    """Read the table of an HDF5 file that is meant, see `one_table`; ``FILE[/GROUP/NAME]`` names one.

    Raises
    ------
    UnreadableError
        If the file is damaged, or leads out of itself.
    CatalogError
        If it holds no table, or several that differ.
    """
    with open_hdf5(path) as file:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}))
        places = {name: item for name, item in found.items() if not any(part in _OWN for part in name.split("/"))}
        links = hdf5_links(file)
        columns: dict[str, Any] = {}
        tables: list[tuple[list[str], Table]] = []
        for name, item in places.items():
            if not hasattr(item, "dtype") or name.endswith(_META):
                continue
            if item.dtype.names and item.ndim == 1:
                called = [name, *(link for link, leads in links.items() if leads == name)]
                calls = [str(len(tables)), *called, *(f"/{text}" for text in called)]
                tables.append((calls, _compound(item, found.get(name + _META), where)))
            elif _is_column(item):
                columns[name] = item
        linked = {link: places[name] for link, name in links.items() if name in columns}
        for group, some in _groups(columns, linked, links):
            length = len(next(iter(some.values())))
            wide = [name for name, item in places.items() if _is_wide(item, name, group, length)]
            called = [group, *(link for link, leads in links.items() if leads == group)]
            calls = [str(len(tables)), *called, *(f"/{text}" for text in called if text != "/")]
            table = _columns(some)
            table.meta[NOT_PLAIN] = [name.rpartition("/")[2] for name in wide]
            tables.append((calls, table))
        if not tables:
            raise CatalogError(
                f"{where} holds no table: neither a compound dataset nor columns of one length in a group"
            )
        return one_table(tables, place, wanted, where)


def _is_wide(item: Any, name: str, group: str, length: int) -> bool:
    """Whether a dataset has several values, or none that a table can have, for each row of a group."""
    inside = (name.rpartition("/")[0] or "/") == group and bool(getattr(item, "shape", ()))
    return inside and item.shape[0] == length and not _is_column(item)


def _is_column(item: Any) -> bool:
    return item.ndim == 1 and item.dtype.kind in "iufbSO"


def _groups(
    columns: Mapping[str, Any], linked: Mapping[str, Any], links: Mapping[str, str]
) -> list[tuple[str, dict[str, Any]]]:
    """Return the groups with columns of one length.

    Parameters
    ----------
    columns, linked
        Datasets by name, and by the name of a soft link to one of them.
    links
        Where each soft link leads.
    """
    groups: dict[tuple[str, int], dict[str, Any]] = {}
    leads: dict[tuple[str, int], set[tuple[str, str]]] = {}  # what its columns are called, and which datasets they are
    for name, item in (*columns.items(), *linked.items()):
        group, _, column = name.rpartition("/")
        groups.setdefault((group or "/", len(item)), {})[column] = item
        leads.setdefault((group or "/", len(item)), set()).add((column, links.get(name, name)))
    kept: list[tuple[str, int]] = []
    for key in groups:  # those without a link come first, as they do above
        if len(groups[key]) >= _FEWEST_COLUMNS and not any(leads[key] <= leads[other] for other in kept):
            kept.append(key)
    return [(group, groups[group, length]) for group, length in kept]


def _compound(item: Any, header: Any, where: str) -> Table:
    from astropy.table import Table

    table = Table(item[...])
    notes = _notes(header, where)
    for name, said in notes.items():
        if name in table.colnames:
            table[name].unit = said.get("unit")
            table[name].meta.update({key: text for key, text in said.items() if key == "ucd"})
    join_masks(table, notes)
    return _decoded(table)


def _notes(header: Any, where: str) -> dict[str, dict[str, str]]:
    """Return what the header that astropy writes beside a table says of its columns."""
    lines = [] if header is None else header[...].tolist()
    return column_notes("\n".join(_texts(lines)), where)


def _columns(columns: dict[str, Any]) -> Table:
    from astropy.table import Column, Table

    table = Table()
    for name, item in columns.items():
        values = item[...]
        if values.dtype.kind == "O":
            values = np.array(
                [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.tolist()]
            )
        unit = next((item.attrs[key] for key in ("unit", "units") if key in item.attrs), None)
        table[name] = Column(values)
        if isinstance(unit, str | bytes) and unit:
            table[name].unit = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else unit
    return _decoded(table)


def _decoded(table: Table) -> Table:
    for name in table.colnames:
        if table[name].dtype.kind in "SO" and table[name].ndim == 1:
            table[name] = np.array(_texts(table[name]), dtype=str)
    return table


def _texts(values: Any) -> list[str]:
    plain = values if isinstance(values, list) else np.asarray(values).tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in plain]
