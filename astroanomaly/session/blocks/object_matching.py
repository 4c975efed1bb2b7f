"""Which object of a cache a spectrum or a light curve is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from astroanomaly.cache.object_tables import catalog_columns
from astroanomaly.errors import CatalogError
from astroanomaly.tables.matching import match_positions
from astroanomaly.tables.names import NameMatcher
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["ObjectMatcher"]

_RADIUS_ARCSEC = 1.0  # between what was taken and its object
_APART_ARCSEC = 10.0  # not of this object, whatever it is called
_EXAMPLES = 3  # named in a message


class Taken(Protocol):
    """What was taken of an object: what it is called, and where it was taken in degrees, NaN where unknown."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def ra(self) -> float: ...
    @property
    def dec(self) -> float: ...


class ObjectMatcher:
    """Finds the objects of a spectrum or a light curve: by what it is called, else by its position.

    Objects that are more than 10 arcsec from where it was taken are not those that it is called by.

    Parameters
    ----------
    cache
        The objects.
    column
        Catalogue column of what they are called; empty: the ids of the objects, and their positions.
    name, what, several
        Of the block, and what it has, one and more of them, for messages.

    Attributes
    ----------
    apart
        How many are called as objects that are elsewhere.
    """

    def __init__(self, cache: Cache, column: str, name: str, what: str, several: str) -> None:
        self._cache, self._column, self._block, self._what, self._several = cache, column, name, what, several
        self.apart = 0
        self._positions = cache.positions
        self._rows: dict[str, list[int]] = {}
        texts = column_texts(catalog_columns(cache, [column])[column]) if column else cache.ids
        for row, text in enumerate(texts):
            if text.strip():
                self._rows.setdefault(text.strip() if column else text, []).append(row)
        self._names = NameMatcher(self._rows)

    def find(self, taken: Sequence[Taken]) -> list[list[str]]:
        """Return the object ids of each: several where a catalogue calls it so, none where it is of none.

        Raises
        ------
        CatalogError
            If a name may be that of several objects.
        """
        objects = [self._cache.ids_at(np.array(self._near(one, self._by_name(one.names)), int)) for one in taken]
        ra, dec = (np.array([getattr(one, axis) for one in taken]) for axis in ("ra", "dec"))
        left = np.flatnonzero(np.array([not ids for ids in objects], bool) & np.isfinite(ra) & np.isfinite(dec))
        if not self._column and len(left):
            nearest, _ = match_positions(ra[left], dec[left], *self._positions, _RADIUS_ARCSEC)
            there = nearest >= 0
            for k, object_id in zip(left[there].tolist(), self._cache.ids_at(nearest[there]), strict=True):
                objects[k] = [object_id]
        return [list(ids) for ids in objects]

    def none_of_ours(self, seen: int, files: int) -> CatalogError:
        """Return the error of files in which nothing is of an object."""
        how = f"in the column {self._column!r}" if self._column else f"or by position within {_RADIUS_ARCSEC:g} arcsec"
        return CatalogError(
            f"block {self._block}: none of the {seen} {self._several} in {files} files is of an object of the cache: a "
            f"{self._what} is matched by its id or file name {how}. `{self._block}:COLUMN` takes a catalogue column of "
            f"the cache for what {self._several} are called{'; ' + self._elsewhere if self.apart else ''}"
        )

    def left_out(self, failed: Sequence[str], files: int, seen: int, matched: int) -> Iterator[str]:
        """Say what was left out.

        Parameters
        ----------
        failed, files
            Why files cannot be read, and how many there are.
        seen, matched
            How many spectra or light curves there are in the others, and how many of them are of objects.
        """
        if failed:
            some = "; ".join(failed[:_EXAMPLES])
            yield f"block {self._block}: {len(failed)} of {files} files cannot be read, and are left out: {some}"
        if seen > matched:
            yield f"block {self._block}: {seen - matched} of {seen} {self._several} are of no object of the cache"
        if self.apart:
            yield f"block {self._block}: {self._elsewhere}"

    @property
    def _elsewhere(self) -> str:
        return (
            f"{self.apart} {self._several} are called as objects that are more than {_APART_ARCSEC:g} arcsec from "
            "their positions, and are not taken for theirs"
        )

    def _near(self, one: Taken, rows: list[int]) -> list[int]:
        """Leave out objects that are elsewhere."""
        from astropy.coordinates import angular_separation

        if not rows or not np.isfinite(one.ra + one.dec):
            return rows
        ra, dec = (np.radians(axis[rows]) for axis in self._positions)
        apart = angular_separation(np.radians(one.ra), np.radians(one.dec), ra, dec)  # NaN where unknown
        near = [
            row for row, angle in zip(rows, apart.tolist(), strict=True) if not angle > np.radians(_APART_ARCSEC / 3600)
        ]
        self.apart += not near
        return near

    def _by_name(self, names: Sequence[str]) -> list[int]:
        for name in names:
            found = self._names.find(name)
            if len(found) > 1:
                raise CatalogError(
                    f"block {self._block}: the {self._what} {name!r} could be of {found[0]!r} or {found[1]!r}: give "
                    "the whole id"
                )
            if found:
                return self._rows[found[0]]
        return []
