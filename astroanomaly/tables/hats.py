"""HATS catalogues: Parquet files, one for each HEALPix cell, of which only those near the images are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CatalogError, UnreadableError
from astroanomaly.sky import unit_vectors
from astroanomaly.tables.parquet import open_parquet, plain_columns, table_of_arrow

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Area", "HatsPart", "hats_files", "hats_parts", "is_hats", "read_hats"]

_PROPERTIES = ("hats.properties", "properties")
_COLLECTION = "collection.properties"
_CELL = re.compile(r"Norder=(\d+)/Dir=\d+/Npix=(\d+)(?:\.parquet|/.*\.parquet)$")
_MAX_PROPERTIES_BYTES = 2**20
_MAX_ROWS = 50_000_000


@dataclass(frozen=True)
class Area:
    """A circle on the sky.

    Parameters
    ----------
    center
        ``(3,)`` unit vector of its middle.
    chord
        Length of the chord to its edge, 0 to 2.
    """

    center: np.ndarray
    chord: float


@dataclass(frozen=True)
class HatsPart:
    """One partition of a HATS catalogue.

    Attributes
    ----------
    file
        The Parquet file.
    order, cell
        Its HEALPix cell, nested.
    positions
        Names of the columns of right ascension and declination.
    area
        A circle that holds the cell.
    """

    file: Path
    order: int
    cell: int
    positions: tuple[str, str]
    area: Area = field(compare=False)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that a table can have."""
        with open_parquet(self.file) as parquet:
            return _wanted(parquet.schema_arrow)

    def blocks(self, columns: Sequence[str], rows: int) -> Iterator[Table]:
        """Read some columns, at most so many rows at a time.

        Yields
        ------
        astropy.table.Table
            Columns of the positions have the UCDs of the main position.

        Raises
        ------
        UnreadableError
            If the file is damaged, or lacks a column.
        """
        import pyarrow as pa

        with open_parquet(self.file) as parquet:
            there = _wanted(parquet.schema_arrow)
            missing = [name for name in (*self.positions, *columns) if name not in there]
            if missing:
                raise UnreadableError(f"{self.file} has no column {missing[0]!r}, which other partitions have")
            masks = [f"{name}.mask" for name in columns if f"{name}.mask" in there]
            chosen = list(dict.fromkeys([*columns, *self.positions, *masks]))
            for batch in parquet.iter_batches(batch_size=rows, columns=chosen):
                if batch.num_rows:
                    table = table_of_arrow(pa.Table.from_batches([batch], batch.schema), str(self.file))
                    yield _with_ucds(table, self.positions)


def hats_parts(path: Path, areas: Sequence[Area] | None = None) -> list[HatsPart]:
    """List the partitions of a HATS catalogue, in the order of their cells on the sky; none is opened.

    Parameters
    ----------
    path, areas
        As in `read_hats`.

    Raises
    ------
    UnreadableError
        As `read_hats`.
    """
    cells, positions = _partitions(path)
    chosen = cells if areas is None else [cell for cell in cells if _touches(cell, areas)]
    return [HatsPart(file, order, cell, positions, Area(*_circle((order, cell, file)))) for order, cell, file in chosen]


def is_hats(path: Path) -> bool:
    """Whether a folder is a HATS catalogue, or a collection of one with its margins and indices."""
    return path.is_dir() and any((path / name).is_file() for name in (*_PROPERTIES, _COLLECTION))


def read_hats(path: Path, areas: Sequence[Area] | None = None) -> Table:
    """Read the rows of a HATS catalogue, partition by partition.

    Parameters
    ----------
    path
        Folder of the catalogue, or of a collection, whose primary table is read.
    areas
        Where rows are wanted: partitions that touch none of these are not opened, and rows outside are not kept. None:
        everywhere.

    Returns
    -------
    astropy.table.Table
        Columns of the positions have the UCDs of the main position, whatever they are called; columns of lists are left
        out.

    Raises
    ------
    UnreadableError
        If the folder is no such catalogue, or damaged.
    CatalogError
        If it has no row there, or more than 50 million.
    """
    cells, (ra, dec) = _partitions(path)
    chosen = cells if areas is None else [cell for cell in cells if _touches(cell, areas)]
    import pyarrow as pa

    parts, rows = [], 0
    for _, _, file in chosen:
        part = _rows(file, ra, dec, areas)
        rows += part.num_rows
        if rows > _MAX_ROWS:
            raise CatalogError(
                f"{path} has more than {_MAX_ROWS} rows here: cut out a part of it first, as with lsdb's cone_search"
            )
        if part.num_rows:
            parts.append(part)
    if not parts:
        where = f" on the images ({len(chosen)} of {len(cells)} partitions touch them)" if areas is not None else ""
        raise CatalogError(f"{path} has no row{where}")
    table = table_of_arrow(pa.concat_tables(parts, promote_options="default"), str(path))
    return _with_ucds(table, (ra, dec))


def _with_ucds(table: Table, positions: Sequence[str]) -> Table:
    for name, ucd in zip(positions, ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main"), strict=True):
        if name in table.colnames:
            table[name].meta["ucd"] = ucd
    return table


def _wanted(schema: Any) -> list[str]:
    return [name for name in plain_columns(schema) if not name.startswith("_healpix")]


def hats_files(path: Path, near: tuple[np.ndarray, float] | None = None) -> Iterator[tuple[Path, tuple[str, str]]]:
    """List the partitions of a HATS catalogue, each with the names of its columns of right ascension and declination.

    Parameters
    ----------
    path
        As in `read_hats`.
    near
        Unit vectors ``(n, 3)`` and a chord: those that are farther than this from all of them are left out.

    Raises
    ------
    UnreadableError
        As `read_hats`.
    """
    cells, names = _partitions(path)
    for cell in cells:
        if near is not None:
            points, chord = near
            center, reach = _circle(cell)
            if not len(points) or ((points - center) ** 2).sum(axis=1).min() > (chord + reach) ** 2:
                continue
        yield cell[2], names


def _partitions(path: Path) -> tuple[list[tuple[int, int, Path]], tuple[str, str]]:
    root = _primary(path)
    about = _properties(next(root / name for name in _PROPERTIES if (root / name).is_file()))
    cells = _cells(root)
    if not cells:
        raise UnreadableError(f"{path} holds no partition (dataset/Norder=.../Dir=.../Npix=....parquet)")
    return cells, (about.get("hats_col_ra", "ra"), about.get("hats_col_dec", "dec"))


def _primary(path: Path) -> Path:
    """Return the folder of the catalogue itself."""
    if any((path / name).is_file() for name in _PROPERTIES):
        return path
    name = _properties(path / _COLLECTION).get("hats_primary_table_url", "")
    inside = path / Path(name).name if name else path
    if not name or not any((inside / one).is_file() for one in _PROPERTIES):
        raise UnreadableError(f"{path}: its {_COLLECTION} names the primary table {name!r}, which is not there")
    return inside


def _properties(file: Path) -> dict[str, str]:
    if file.stat().st_size > _MAX_PROPERTIES_BYTES:
        raise UnreadableError(f"{file} has more than {_MAX_PROPERTIES_BYTES} bytes")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith(("#", "!"))]
    return {name.strip(): value.strip() for name, _, value in pairs}


def _cells(root: Path) -> list[tuple[int, int, Path]]:
    """Return order and number of the HEALPix cell of each file, in the order of the cells on the sky."""
    found = []
    for file in (root / "dataset").rglob("*.parquet"):
        cell = _CELL.search(file.as_posix())
        if cell and int(cell[1]) <= 29 and int(cell[2]) < 12 * 4 ** int(cell[1]):
            found.append((int(cell[1]), int(cell[2]), file))
    return sorted(found, key=lambda item: (item[1] << 2 * (29 - item[0]), item[0], item[2]))


def _touches(cell: tuple[int, int, Path], areas: Sequence[Area]) -> bool:
    """Whether a HEALPix cell may touch one of some circles."""
    center, reach = _circle(cell)
    return any(np.linalg.norm(area.center - center) <= area.chord + reach for area in areas)


def _circle(cell: tuple[int, int, Path]) -> tuple[np.ndarray, float]:
    """Return the middle of a HEALPix cell as unit vector, and a chord that reaches all of it."""
    from astropy_healpix import HEALPix

    order, number, _ = cell
    grid = HEALPix(nside=2**order, order="nested")
    lon, lat = grid.healpix_to_lonlat(number)
    center = unit_vectors(np.array([lon.deg]), np.array([lat.deg]))[0]
    edge_lon, edge_lat = grid.boundaries_lonlat(number, step=4)
    corners = unit_vectors(edge_lon.deg.ravel(), edge_lat.deg.ravel())
    return center, 1.05 * float(np.sqrt(((corners - center) ** 2).sum(axis=1)).max())


def _rows(file: Path, ra: str, dec: str, areas: Sequence[Area] | None) -> Any:
    """Read the rows of one partition that lie in one of some circles."""
    import pyarrow as pa

    with open_parquet(file) as parquet:
        kinds = {name: parquet.schema_arrow.field(name).type for name in parquet.schema_arrow.names}
        missing = [name for name in (ra, dec) if name not in kinds]
        if missing:
            raise UnreadableError(f"{file} has no column {missing[0]!r}, which the properties of the catalogue name")
        table = parquet.read(columns=_wanted(parquet.schema_arrow))
    if areas is None:
        return table
    vectors = unit_vectors(table.column(ra).to_numpy().astype(float), table.column(dec).to_numpy().astype(float))
    kept = np.zeros(len(vectors), bool)
    for area in areas:
        kept |= ((vectors - area.center) ** 2).sum(axis=1) <= area.chord**2
    return table.filter(pa.array(kept))
