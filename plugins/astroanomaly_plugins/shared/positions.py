"""The positions an archive is asked for: ids, sky positions and the columns that ride along, from a catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from astroanomaly import CatalogError, ConfigError, Failure, Task, read_catalog
from astroanomaly_plugins.shared.columns import COLUMN, carried

__all__ = [
    "Positions",
    "angle_arcsec",
    "failures",
    "read_failures",
    "read_positions",
    "size_or_angle",
    "unplaced",
]


@dataclass(frozen=True, eq=False)
class Positions:
    """Objects with an ICRS position in degrees, NaN where a row has none, and the columns carried along."""

    ids: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def placed(self) -> np.ndarray:
        """Rows with a position."""
        return np.flatnonzero(np.isfinite(self.ra) & np.isfinite(self.dec))

    def in_sky_order(self, rows: np.ndarray, cell_deg: float) -> Iterator[np.ndarray]:
        """Yield rows by cells of the sky of about this side, neighbours after one another."""
        band = np.floor((self.dec[rows] + 90) / cell_deg).astype(int)
        middle = np.radians((band + 0.5) * cell_deg - 90)
        step = cell_deg / np.clip(np.cos(middle), cell_deg / 360, None)
        column = np.floor((self.ra[rows] % 360) / step).astype(int)
        column = np.where(band % 2, -column, column)  # back and forth
        order = np.lexsort((rows, column, band))
        cells = np.stack([band, column], axis=1)[order]
        starts = np.flatnonzero(np.concatenate([[True], (np.diff(cells, axis=0) != 0).any(axis=1)]))
        yield from np.split(rows[order], starts[1:])

    def table(self, rows: np.ndarray) -> dict[str, Any]:
        """Make the table of a task of some rows."""
        table: dict[str, Any] = {"id": self.ids[rows], "ra": self.ra[rows], "dec": self.dec[rows]}
        table.update({COLUMN + name: values[rows] for name, values in self.columns.items()})
        return table


def read_positions(catalog: Path | None, *, ra: str, dec: str, id: str, frame: str, carry: Sequence[str]) -> Positions:
    """Read the positions of a catalogue; see `astroanomaly.read_catalog` for the columns.

    Raises
    ------
    ConfigError
        If no catalogue was given.
    CatalogError
        If it has no sky positions.
    """
    if catalog is None:
        raise ConfigError("the positions are missing: give a table of them with --catalog FILE")
    table = read_catalog(catalog, ra=ra or None, dec=dec or None, id=id or None, frame=frame or None)
    if table.ra is None or table.dec is None:
        raise CatalogError(
            f"{catalog} has pixel positions only ({table.found.get('pixel', '')}), but an archive is asked by sky "
            f"positions: name their columns with --ra COLUMN --dec COLUMN. Its columns: "
            f"{', '.join(table.columns.colnames)}"
        )
    positions = Positions(
        table.ids, np.asarray(table.ra, float), np.asarray(table.dec, float), carried(table.columns, carry)
    )
    if not len(positions.placed):
        raise CatalogError(f"{catalog}: none of its {len(table)} rows has a valid position ({table.found['sky']})")
    return positions


def unplaced(positions: Positions) -> list[Task]:
    """Make the task of the objects without a position: all are failures."""
    rows = np.setdiff1d(np.arange(len(positions)), positions.placed)
    return failures("no position", positions, rows, "no valid position in the catalogue", "failed")


def angle_arcsec(text: str) -> float | None:
    """Read an angle with its unit (``30arcsec``, ``0.5 arcmin``) as arcseconds; None for anything else."""
    from astropy.units import Quantity, UnitsError

    try:
        angle = float(Quantity(text).to_value("arcsec"))
    except (TypeError, ValueError, UnitsError):
        return None
    return angle if 0 < angle < 3600 * 90 else None


def size_or_angle(text: str) -> tuple[int | None, float | None]:
    """Read a size in pixels (``64``) or as an angle (``10arcsec``): one of both is None.

    Raises
    ------
    ConfigError
        For anything else.
    """
    if re.fullmatch(r"\s*\d+\s*", text) and 1 <= int(text) <= 16384:
        return int(text), None
    angle = angle_arcsec(text)
    if angle is None:
        raise ConfigError(f"size={text!r}: expected pixels (64) or an angle (10arcsec, 0.5arcmin)")
    return None, angle


def failures(
    key: str, positions: Positions, rows: np.ndarray, reason: str, kind: Literal["failed", "no coverage"]
) -> list[Task]:
    """Make the task of some objects that all fail for one reason; none for no rows."""
    if not len(rows):
        return []
    table = {"id": positions.ids[rows], "ra": positions.ra[rows], "dec": positions.dec[rows]}
    return [Task(key, {"kind": "failures", "reason": reason, "failure": kind}, table)]


def read_failures(task: Task) -> Iterator[Failure]:
    """Report the objects of a task of `failures`."""
    table = task.table
    for object_id, ra, dec in zip(table["id"], table["ra"], table["dec"], strict=True):
        yield Failure(str(object_id), task.payload["reason"], float(ra), float(dec), task.payload["failure"])
