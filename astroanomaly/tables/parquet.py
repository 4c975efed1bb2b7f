"""The door to Parquet files, and the tables in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import ConfigError, UnreadableError
from astroanomaly.parallel.watch import reading
from astroanomaly.tables.serialized import column_notes, join_masks

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["NOT_PLAIN", "NO_PYARROW", "open_parquet", "plain_columns", "read_parquet", "table_of_arrow"]

NOT_PLAIN = "astroanomaly_not_plain"  # in the meta of a table: names of the columns that it cannot have
NO_PYARROW = "Parquet needs pyarrow: pip install 'astroanomaly[parquet]'"


@contextlib.contextmanager
def open_parquet(path: str | Path) -> Iterator[Any]:
    """Open a Parquet file from elsewhere as `pyarrow.parquet.ParquetFile`.

    Raises
    ------
    ConfigError
        If pyarrow is not installed.
    UnreadableError
        If the file is no Parquet file, or damaged.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(f"{path}: {NO_PYARROW}") from error
    try:
        with reading(path), pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        lines = str(error).strip().splitlines()
        raise UnreadableError(f"{path} cannot be read as Parquet: {lines[0] if lines else error!r}") from error


def read_parquet(path: Path) -> Table:
    """Read the table in a Parquet file: the columns of numbers, texts, dates and truth values.

    Dates become text as ISO 8601 has it. Units are those that astropy, or the key ``unit`` of a column, has left in the
    metadata.
    """
    with open_parquet(path) as file:
        plain = plain_columns(file.schema_arrow)
        table = table_of_arrow(file.read(columns=plain), str(path))
        kept = {name.partition(".")[0] for name in plain} | set(plain)
        table.meta[NOT_PLAIN] = [name for name in file.schema_arrow.names if name not in kept]
        return table


def plain_columns(schema: Any) -> list[str]:
    """Return the columns that a table can have: plain ones, and the plain parts of those that have parts."""
    found = []
    for name in schema.names:
        kind = schema.field(name).type
        parts = [kind.field(number) for number in range(kind.num_fields)] if str(kind).startswith("struct") else []
        found += [name] if _is_plain(kind) else [f"{name}.{part.name}" for part in parts if _is_plain(part.type)]
    return found


def table_of_arrow(arrow: Any, where: str) -> Table:
    """Turn a table of Arrow into one of astropy; null values are masked."""
    import pyarrow as pa
    from astropy.table import Column, MaskedColumn, Table

    header = (arrow.schema.metadata or {}).get(b"table_meta_yaml", b"").decode("utf-8", "replace")  # of astropy
    table, notes = Table(), column_notes(header, where)
    arrow = arrow.flatten()
    for name in arrow.column_names:
        column, about = arrow.column(name), arrow.schema.field(name).metadata or {}
        if str(column.type).startswith("dictionary"):
            column = column.cast(column.type.value_type)
        if pa.types.is_temporal(column.type):
            column = column.cast(pa.int64() if pa.types.is_duration(column.type) else pa.string())
        nulls = np.asarray(column.is_null())
        values = column.to_pylist() if column.type.id in _text_types() else column.to_numpy()
        if column.type.id in _text_types():
            values = np.array(["" if value is None else str(value) for value in values], dtype=str)
        elif nulls.any() and values.dtype.kind == "f" and _is_whole(column.type):
            values = np.array([0 if value is None else value for value in column.to_pylist()], dtype=np.int64)
        elif values.dtype.kind == "O":
            values = np.array([False if value is None else bool(value) for value in values])
        unit, ucd = (
            about.get(key.encode(), b"").decode("utf-8", "replace") or notes.get(name, {}).get(key)
            for key in ("unit", "ucd")
        )
        made = MaskedColumn(values, mask=nulls) if nulls.any() else Column(values)
        with contextlib.suppress(ValueError, TypeError):  # of a unit that astropy does not know
            made.unit = unit
        if ucd:
            made.meta["ucd"] = ucd
        table[name] = made
    join_masks(table, notes)
    return table


def _is_plain(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_temporal, pa.types.is_boolean)
    return kind.id in _text_types() or any(test(kind) for test in tests)


def _is_whole(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def _text_types() -> set[int]:
    import pyarrow as pa

    return {pa.string().id, pa.large_string().id}
