"""The positions an archive is asked for: ids, sky positions and the columns that ride along, from a catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astroanomaly import CatalogError, ConfigError, Fact, Task, read_catalog
from astroanomaly_plugins.shared.columns import COLUMN, carried
from astroanomaly_plugins.shared.facts import catalog_facts, object_fact
from astroanomaly_plugins.shared.failures import Kind, failure_tasks
from astroanomaly_plugins.shared.hours import hours_remark
from astroanomaly_plugins.shared.options import PositionOptions

__all__ = ["Positions", "read_positions"]


@dataclass(frozen=True, eq=False)
class Positions:
    """Objects with positions.

    Attributes
    ----------
    ids
        ``(n,)`` text.
    ra, dec
        ``(n,)`` ICRS degrees, NaN where a row has no position.
    columns
        Catalogue columns that ride along, ``(n,)`` each.
    origin
        Where ids and positions come from.
    """

    ids: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    columns: Mapping[str, Any]
    origin: Sequence[Fact] = field(default=())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def placed(self) -> np.ndarray:
        """Rows with a position."""
        return np.flatnonzero(np.isfinite(self.ra) & np.isfinite(self.dec))

    @property
    def unplaced(self) -> np.ndarray:
        """Rows without a position."""
        return np.setdiff1d(np.arange(len(self)), self.placed)

    @property
    def remark(self) -> str:
        """What to add to an error that nothing is found at the positions: whether they look like hours."""
        origin = [fact.value for fact in self.origin if fact.name == "positions"]
        return hours_remark(self.ra, origin[0]) if origin else ""

    def facts(self, **counts: int) -> list[Fact]:
        """Say where the positions come from and how many there are; counts as `object_fact` takes them."""
        return [*self.origin, object_fact(len(self), **counts, without_a_valid_position=len(self.unplaced))]

    def table(self, rows: np.ndarray) -> dict[str, Any]:
        """Make the table of a task of some rows."""
        table: dict[str, Any] = {"id": self.ids[rows], "ra": self.ra[rows], "dec": self.dec[rows]}
        return table | {COLUMN + name: values[rows] for name, values in self.columns.items()}

    def failures(
        self, key: str, rows: np.ndarray, reasons: str | Sequence[str], kinds: Kind | Sequence[Kind]
    ) -> list[Task]:
        """Make the task of some rows that fail; see `failure_tasks`."""
        return failure_tasks(key, self.ids[rows], self.ra[rows], self.dec[rows], reasons, kinds)


def read_positions(options: PositionOptions) -> Positions:
    """Read the positions of a catalogue; see `astroanomaly.read_catalog` for the columns.

    Raises
    ------
    ConfigError
        If no catalogue was given.
    CatalogError
        If it has no sky positions, or lacks a column that is to be carried.
    """
    if options.catalog is None:
        raise ConfigError(
            "the positions are missing: give a table of them with --catalog FILE (in Python also an "
            "astropy table or a SkyCoord)"
        )
    table = read_catalog(
        options.catalog,
        ra=options.ra or None,
        dec=options.dec or None,
        id=options.id or None,
        frame=options.frame or None,
        unit=options.unit or None,
    )
    if table.ra is None or table.dec is None:
        raise CatalogError(
            f"{options.catalog} has pixel positions only ({table.found.get('pixel', '')}), but an archive is asked by "
            f"sky positions: name their columns with --ra COLUMN --dec COLUMN. Its columns: "
            f"{', '.join(table.columns.colnames)}"
        )
    columns = carried(table.columns, options.carry)
    positions = Positions(
        table.ids, np.asarray(table.ra, float), np.asarray(table.dec, float), columns, catalog_facts(table)
    )
    if not len(positions.placed):
        raise CatalogError(
            f"{options.catalog}: none of its {len(table)} rows has a valid position ({table.found['sky']})"
        )
    return positions
