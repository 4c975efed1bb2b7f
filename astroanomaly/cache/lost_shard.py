"""A shard that cannot be read any more: its objects are known by the index, their pixels are gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from astroanomaly.cache import schema
from astroanomaly.cache.shard import Shard, Stored
from astroanomaly.cutting.grids import Grid
from astroanomaly.errors import DamagedError
from astroanomaly.records import Failure, Layout

__all__ = ["LostShard"]


class LostShard(Shard):
    """Stands for a damaged file, so that the other objects keep their rows.

    Parameters
    ----------
    path, layout
        As of `Shard`.
    ids
        ``(n,)`` ids of its objects, as bytes.
    ra, dec
        ``(n,)`` ICRS degrees.
    damage
        Why it cannot be read.
    """

    def __init__(
        self, path: Path, layout: Layout, ids: np.ndarray, ra: np.ndarray, dec: np.ndarray, damage: str
    ) -> None:
        self.path, self.folder, self.layout, self.uuid = path, path.parent.parent, layout, path.stem
        self.damage = damage
        self.has_grids = False
        self.damaged_rows = set(range(len(ids)))
        self._count = len(ids)
        self._known_ids, self._known_positions = ids, (ra, dec)

    @property
    def ids(self) -> list[str]:
        """Ids of its objects, in order."""
        return [schema.decode_text(value) for value in self._known_ids.tolist()]

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """``(n,)`` float64 right ascension and declination in ICRS degrees, NaN where unknown."""
        return self._known_positions

    def prefetch(self, rows: np.ndarray) -> None:
        """Do nothing: there is nothing to be had."""

    def stored(self, rows: slice | np.ndarray, *, damaged_too: bool = False) -> Stored:
        """Refuse, or give empty pixels where damaged ones are asked for, too."""
        numbers = np.arange(self._count)[rows if isinstance(rows, slice) else np.asarray(rows, np.int64)]
        if len(numbers) and not damaged_too:
            ids = self.ids
            raise DamagedError(self._message, numbers.tolist(), [ids[row] for row in numbers.tolist()])
        layout = self.layout
        shape = (len(numbers), len(layout.bands), layout.height, layout.width)
        if layout.dtype != "float16":
            return Stored(np.full(shape, 0 if layout.dtype == "uint8" else np.nan, layout.dtype))
        one = np.ones((*shape[:2], 1, 1), np.float32)
        return Stored(np.full(shape, np.nan, np.float16), one, 0 * one)

    def auxiliary(self, row: int) -> dict[str, np.ndarray]:
        """Refuse: there is nothing to be had."""
        raise DamagedError(self._message, [row], [self.ids[row]])

    def coverage(self) -> np.ndarray:
        """``(n, bands)`` NaN: unknown."""
        return np.full((self._count, len(self.layout.bands)), np.nan, np.float32)

    def columns(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """No catalogue columns."""
        return {}

    def number_columns(self) -> list[str]:
        """No catalogue columns."""
        return []

    def grid_numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """No grids."""
        return np.full(self._count, -1, np.int32), np.zeros((self._count, 2), np.int64)

    def read_grids(self, numbers: Sequence[int]) -> list[Grid]:
        """No grids."""
        return []

    def grids(self) -> tuple[list[Grid], np.ndarray, np.ndarray]:
        """No grids."""
        return ([], *self.grid_numbers())

    def failures(self) -> tuple[str, list[Failure]]:
        """No failures that are known."""
        return "", []

    def row_tasks(self) -> NoReturn:
        """Refuse: they are lost."""
        raise DamagedError(self._message)

    def task_keys(self) -> NoReturn:
        """Refuse: they are lost."""
        raise DamagedError(self._message)

    @property
    def _message(self) -> str:
        return (
            f"{self.damage}. `astroanomaly info {self.path} --repair` moves it aside; the ingest that made the "
            "cache, run again, cuts its objects anew"
        )
