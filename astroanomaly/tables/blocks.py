"""Tables with positions a block of rows at a time: catalogues that are larger than memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError
from astroanomaly.tables.fits import fits_blocks
from astroanomaly.tables.hats import hats_files, is_hats
from astroanomaly.tables.parquet import open_parquet, plain_columns, table_of_arrow
from astroanomaly.tables.positions import has_sky_positions
from astroanomaly.tables.read import read_table
from astroanomaly.tables.several import split_place

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Choose", "file_state", "table_blocks"]

Choose = Callable[["Table"], Collection[str]]
_PARQUET = b"PAR1"
_ROWS = 2**20  # of a block
_FIRST_ROWS = 100  # by which columns are chosen


def table_blocks(
    path: Path,
    choose: Choose,
    id_column: Callable[[list[str]], str | None],
    near: tuple[np.ndarray, float] | None = None,
) -> Iterator[Table]:
    """Read a table block by block: FITS, Parquet and HATS in memory of one block, other formats whole.

    Parameters
    ----------
    path
        As in `astroanomaly.tables.read.read_table`; or the folder of a HATS catalogue.
    choose
        Is given the first rows with all columns, and says which columns are wanted.
    id_column
        As in `read_table`.
    near
        Unit vectors ``(n, 3)`` and a chord: the partitions of a HATS catalogue that are farther than this from all of
        them are not opened. None: all are.

    Yields
    ------
    astropy.table.Table
        Rows in their order, the chosen columns.

    Raises
    ------
    AstroAnomalyError
        As `read_table`.
    """
    file, place = split_place(path)
    if is_hats(file):
        for part, positions in hats_files(file, near):
            yield from _parquet_blocks(part, choose, positions)
        return
    if not place and file.is_file():
        with file.open("rb") as opened:
            head = opened.read(len(_PARQUET))
        if head == _PARQUET:
            yield from _parquet_blocks(file, choose)
            return
        if head == b"SIMP" and (found := fits_blocks(file, _ROWS)) is not None:
            wanted: list[str] = []
            for table in found:
                wanted = wanted or list(choose(table[:_FIRST_ROWS]))
                yield table[wanted]
            return
    whole = read_table(path, has_sky_positions, id_column)
    yield whole[list(choose(whole[:_FIRST_ROWS]))]


def _parquet_blocks(file: Path, choose: Choose, positions: Sequence[str] = ()) -> Iterator[Table]:
    with open_parquet(file) as parquet:
        import pyarrow as pa

        columns = [name for name in plain_columns(parquet.schema_arrow) if not name.startswith("_healpix")]

        def batches(rows: int, names: Sequence[str]) -> Iterator[Any]:
            for batch in parquet.iter_batches(batch_size=rows, columns=list(names)):
                yield _with_ucds(table_of_arrow(pa.Table.from_batches([batch], batch.schema), str(file)), positions)

        first = next(batches(_FIRST_ROWS, columns), None)
        if first is None:
            return
        chosen = list(choose(first))
        missing = [name for name in positions if name not in chosen]
        if missing:
            raise CatalogError(f"{file} has no column {missing[0]!r}, which the properties of the catalogue name")
        masks = [f"{name}.mask" for name in chosen if f"{name}.mask" in columns]
        for table in batches(_ROWS, [*chosen, *masks]):
            yield table[chosen]


def _with_ucds(table: Table, positions: Sequence[str]) -> Table:
    for name, ucd in zip(positions, ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"), strict=False):
        if name in table.colnames:
            table[name].meta["ucd"] = ucd
    return table


def file_state(path: Path) -> dict[str, str]:
    """Return size and time of change of a file, or of a folder, as words; empty where there is none."""
    try:
        state = os.stat(split_place(path)[0])
    except OSError:
        return {}
    modified = np.datetime64(int(state.st_mtime), "s")
    return {"bytes": str(state.st_size), "modified": f"{modified}Z"}
