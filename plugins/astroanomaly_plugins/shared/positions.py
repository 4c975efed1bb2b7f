"""The positions an archive is asked for: ids, sky positions and the columns that ride along, from a catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from astroanomaly import Catalog, CatalogError, Fact, Task
from astroanomaly_plugins.shared.columns import COLUMN, carried
from astroanomaly_plugins.shared.facts import catalog_facts, object_fact
from astroanomaly_plugins.shared.failures import Kind, failure_tasks
from astroanomaly_plugins.shared.hours import hours_remark
from astroanomaly_plugins.shared.options import PositionOptions

__all__ = ["Positions", "positions_of"]


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

    def some(self, rows: np.ndarray) -> Positions:
        """Return some rows."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return replace(self, ids=self.ids[rows], ra=self.ra[rows], dec=self.dec[rows], columns=columns)

    def table(self, rows: np.ndarray) -> dict[str, Any]:
        """Make the table of a task of some rows."""
        table: dict[str, Any] = {"id": self.ids[rows], "ra": self.ra[rows], "dec": self.dec[rows]}
        return table | {COLUMN + name: values[rows] for name, values in self.columns.items()}

    def failures(
        self, key: str, rows: np.ndarray, reasons: str | Sequence[str], kinds: Kind | Sequence[Kind]
    ) -> list[Task]:
        """Make the task of some rows that fail; see `failure_tasks`."""
        return failure_tasks(key, self.ids[rows], self.ra[rows], self.dec[rows], reasons, kinds)


def positions_of(table: Catalog, options: PositionOptions, where: object, *, empty: bool = False) -> Positions:
    """Take ids, positions and the columns that ride along of a catalogue.

    Parameters
    ----------
    where
        How messages call it.
    empty
        Whether all rows may lack a position.

    Raises
    ------
    CatalogError
        If it has no sky positions, or lacks a column that is to be carried.
    """
    if table.ra is None or table.dec is None:
        raise CatalogError(
            f"{where} has pixel positions only ({table.found.get('pixel', '')}), but an archive is asked by "
            f"sky positions: name their columns with --ra COLUMN --dec COLUMN. Its columns: "
            f"{', '.join(table.columns.colnames)}"
        )
    columns = carried(table.columns, options.carry)
    positions = Positions(
        table.ids, np.asarray(table.ra, float), np.asarray(table.dec, float), columns, catalog_facts(table)
    )
    if not empty and not len(positions.placed):
        raise CatalogError(f"{where}: none of its {len(table)} rows has a valid position ({table.found['sky']})")
    return positions
