"""Tables in HDF5 files: compound datasets, as astropy and pandas write them, and groups of columns of one length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError
from astroanomaly.tables.hdf5 import open_hdf5
from astroanomaly.tables.serialized import check_yaml
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
        groups: dict[str, dict[str, Any]] = {}
        tables: list[tuple[list[str], Table]] = []
        for name, item in places.items():
            if not hasattr(item, "dtype") or name.endswith(_META):
                continue
            if item.dtype.names and item.ndim == 1:
                tables.append(([str(len(tables)), name, f"/{name}"], _compound(item, found.get(name + _META), where)))
            elif item.ndim == 1 and item.dtype.kind in "iufbSO":
                group, _, column = name.rpartition("/")
                groups.setdefault(f"{group or '/'} {len(item)}", {})[column] = item
        for key, columns in groups.items():
            group = key.rpartition(" ")[0]
            if len(columns) >= _FEWEST_COLUMNS:
                tables.append(([str(len(tables)), group, f"/{group}"], _columns(columns)))
        if not tables:
            raise CatalogError(
                f"{where} holds no table: neither a compound dataset nor columns of one length in a group"
            )
        return one_table(tables, place, wanted, where)


def _compound(item: Any, header: Any, where: str) -> Table:
    from astropy.table import Table

    table = Table(item[...])
    for name, unit in _units(header, where).items():
        if name in table.colnames:
            table[name].unit = unit
    return _decoded(table)


def _units(header: Any, where: str) -> dict[str, str]:
    """Return the units in the header that astropy writes beside a table."""
    if header is None:
        return {}
    import yaml

    lines = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in header[...].tolist()
    ]
    text = "\n".join(lines)
    check_yaml(text, where)
    try:
        plain = yaml.compose(text, Loader=yaml.SafeLoader)
        datatype = next((value for key, value in plain.value if key.value == "datatype"), None)
        pairs = [{key.value: value.value for key, value in entry.value} for entry in datatype.value] if datatype else []
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        return {}
    return {
        str(pair["name"]): str(pair["unit"]) for pair in pairs if isinstance(pair.get("unit"), str) and "name" in pair
    }


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
    plain = np.asarray(values).tolist()
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in plain]
