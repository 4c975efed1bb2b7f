"""Objects of one image put together, though they come from several parts of the sky: an image is opened once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from astroanomaly_plugins.shared.blocks import Blocks

__all__ = ["Gather", "Group"]

_MOST_ROWS = 4_000_000  # that are held back: beyond, the largest group goes


@dataclass(eq=False)
class Group:
    """The objects of one image.

    Attributes
    ----------
    name
        Of the image.
    key
        The name, with a number if it has been given away before.
    image
        The image; of dictionaries, what all of them hold.
    last
        Number of the last part of the sky that touches it.
    tables
        Columns of its objects, of each part that had some.
    """

    name: str
    key: str
    image: Any
    last: int
    tables: list[Mapping[str, Any]] = field(default_factory=list)
    rows: int = 0

    @property
    def table(self) -> dict[str, Any]:
        """All of its objects."""
        if len(self.tables) == 1:
            return dict(self.tables[0])
        names = list(dict.fromkeys(name for table in self.tables for name in table))
        return {name: _joined([(table.get(name), len(table["id"])) for table in self.tables]) for name in names}


def _joined(parts: Sequence[tuple[Any, int]]) -> Any:
    """Put the parts of a column together; one that is missing is masked. What the first says of units stays."""
    from astropy.table import Column, MaskedColumn

    known = next(values for values, _ in parts if values is not None)
    filled = [np.ma.masked_all(n, np.asarray(known).dtype) if values is None else values for values, n in parts]
    if not any(np.ma.isMaskedArray(values) for values in filled):
        values = np.concatenate([np.asarray(part) for part in filled])
        return _like(Column(values), known) if isinstance(known, Column) else values
    return _like(MaskedColumn(np.ma.concatenate([np.ma.asarray(part) for part in filled])), known)


def _like(made: Any, known: Any) -> Any:
    for name in ("unit", "description", "meta"):
        if getattr(known, name, None):
            setattr(made, name, getattr(known, name))
    return made


class Gather:
    """Holds objects back by their images until no later part of the sky can have more of them.

    Parts of the sky follow one another along the curve of HEALPix, so that few images lie across what is done and what
    is to come. If more than four million objects wait, those of the fullest image go before, and it is opened twice.
    """

    def __init__(self, blocks: Blocks, most_rows: int = _MOST_ROWS) -> None:
        self._blocks, self._most_rows = blocks, most_rows
        self._groups: dict[str, Group] = {}
        self._times: Counter[str] = Counter()
        self.early = 0

    @property
    def rows(self) -> int:
        """Objects that wait."""
        return sum(group.rows for group in self._groups.values())

    def add(self, name: str, image: Any, table: Mapping[str, Any], ra: float, dec: float, radius_deg: float) -> None:
        """Add objects of an image, of which a circle in ICRS degrees says where more of them may lie."""
        group = self._groups.get(name)
        if group is None:
            self._times[name] += 1
            key = name if self._times[name] == 1 else f"{name} {self._times[name]}"
            group = self._groups[name] = Group(name, key, image, self._blocks.last_part(ra, dec, radius_deg))
        group.image = {**group.image, **image} if isinstance(image, dict) else image
        group.tables.append(table)
        group.rows += len(table["id"])

    def ready(self, part: int) -> Iterator[Group]:
        """Give away the images that no part from this one on touches; then the fullest while too many objects wait."""
        for key in [key for key, group in self._groups.items() if group.last < part]:
            yield self._groups.pop(key)
        while self.rows > self._most_rows:
            self.early += 1
            yield self._groups.pop(max(self._groups, key=lambda key: self._groups[key].rows))

    def rest(self) -> Iterator[Group]:
        """Give away all that wait."""
        while self._groups:
            yield self._groups.pop(next(iter(self._groups)))
