"""Columns of the index of a cache, filled in memory that does not grow with the number of objects.

The columns may lie in a file: they are written and read in slices. Hashes are sorted in buckets of about a million,
which hold the hashes between two bounds: all are counted, then each goes to its bucket, then each bucket is sorted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache.id_hashes import hash_ids
from astroanomaly.cache.index_shards import ShardHead, read_pieces
from astroanomaly.errors import DamagedError

__all__ = ["Columns", "DamagedShardError", "DoubledIdError"]

_BUCKET = 2**20  # objects that are sorted together, about
_BITS = 16  # first bits of a hash, by which hashes are counted


class DamagedShardError(DamagedError):
    """A shard that is damaged beyond its head.

    Attributes
    ----------
    name
        Its file name.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class DoubledIdError(RuntimeError):
    """An id that occurs twice. Not an error of the package: on a full disk whatever is read back is zero.

    Attributes
    ----------
    object_id
        The id, as bytes.
    """

    def __init__(self, object_id: bytes) -> None:
        super().__init__(object_id)
        self.object_id = object_id


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of the index that have a value for each object: arrays, or datasets of a file that are sliced as such.

    Parameters
    ----------
    hashes
        ``(N,)`` uint64 hashes of the ids, ascending.
    rows
        ``(N,)`` int64 row of each hash; of equal hashes, the lower row comes first.
    ra, dec
        ``(N,)`` float64 ICRS degrees by row.
    names
        ``(bytes,)`` uint8: the ids of all shards one after another, of one length in each.
    """

    hashes: Any
    rows: Any
    ra: Any
    dec: Any
    names: Any

    @classmethod
    def new(cls, shards: Sequence[ShardHead], make: Callable[[str, int, str], Any]) -> Columns:
        """Make columns for the objects of some shards.

        Parameters
        ----------
        make
            Makes a column of a name, a length and a data type.
        """
        total = sum(shard.count for shard in shards)
        letters = sum(shard.count * shard.id_length for shard in shards)
        return cls(
            make("hash", total, "u8"),
            make("row", total, "i8"),
            make("ra", total, "f8"),
            make("dec", total, "f8"),
            make("id", letters, "u1"),  # last: an odd length would keep what follows from being mapped
        )

    def copy(self, folder: Path, shards: Sequence[ShardHead]) -> np.ndarray:
        """Take ids and positions from the shards.

        Returns
        -------
        numpy.ndarray
            ``(65536,)`` int64: how many hashes begin with each 16 bits.

        Raises
        ------
        DamagedShardError
            If a shard is damaged.
        """
        begin = np.zeros(2**_BITS, np.int64)
        row = at = 0
        for shard in shards:
            last_row = row + shard.count
            try:
                for ids, ra, dec in read_pieces(folder, shard.name):
                    letters, end = ids.view(np.uint8).ravel(), row + len(ids)
                    if end > last_row or ids.itemsize != shard.id_length:
                        break
                    self.ra[row:end], self.dec[row:end], self.names[at : at + len(letters)] = ra, dec, letters
                    begin += np.bincount(_first_bits(hash_ids(ids)), minlength=2**_BITS)
                    row, at = end, at + len(letters)
            except DamagedError as error:
                raise DamagedShardError(shard.name, str(error)) from error
            if row != last_row:
                raise DamagedShardError(shard.name, f"{shard.name} of {folder} has changed while it was read")
        return begin

    def sort(self, shards: Sequence[ShardHead], begin: np.ndarray) -> None:
        """Fill the hashes and their rows from the ids.

        Parameters
        ----------
        begin
            What `copy` has returned.

        Raises
        ------
        DoubledIdError
            If an id occurs twice.
        """
        starts = np.cumsum(begin) - begin
        bucket_of = starts // _BUCKET  # of the first bits of a hash: a rising number
        firsts = np.flatnonzero(np.diff(bucket_of, prepend=-1))
        bounds = np.append(starts[firsts], begin.sum())
        bucket_of = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=2**_BITS))
        ends = bounds[:-1].copy()  # of what is in each bucket so far
        for row, ids in self._ids(shards):
            hashes = hash_ids(ids)
            buckets = bucket_of[_first_bits(hashes)]
            order = np.argsort(buckets, kind="stable")
            hashes, rows = hashes[order], row + order
            counts = np.bincount(buckets, minlength=len(ends))
            stops = np.cumsum(counts)
            for bucket in np.flatnonzero(counts).tolist():
                part = slice(stops[bucket] - counts[bucket], stops[bucket])
                place = slice(ends[bucket], ends[bucket] + counts[bucket])
                self.hashes[place], self.rows[place] = hashes[part], rows[part]
            ends += counts
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            hashes, rows = self.hashes[first:last], self.rows[first:last]
            order = np.argsort(hashes, kind="stable")
            hashes, rows = hashes[order], rows[order]
            self.hashes[first:last], self.rows[first:last] = hashes, rows
            before, same = -2, set[bytes]()  # ids of one hash: those that are the same need not be neighbours
            for k in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
                if k != before + 1:
                    same = {self._id(shards, int(rows[k]))}
                before, one = k, self._id(shards, int(rows[k + 1]))
                if one in same:
                    raise DoubledIdError(one)
                same.add(one)

    def _ids(self, shards: Sequence[ShardHead]) -> Iterator[tuple[int, np.ndarray]]:
        """Give the row of the first of some ids, and the ids, of a shard at most a million at a time."""
        row = at = 0
        for shard in shards:
            for start in range(0, shard.count, _BUCKET):
                count = min(_BUCKET, shard.count - start)
                end = at + count * shard.id_length
                yield row, self.names[at:end].view(f"S{shard.id_length}")
                row, at = row + count, end

    def _id(self, shards: Sequence[ShardHead], row: int) -> bytes:
        at = 0
        for shard in shards:
            if row < shard.count:
                break
            row, at = row - shard.count, at + shard.count * shard.id_length
        at += row * shard.id_length
        return bytes(self.names[at : at + shard.id_length]).rstrip(b"\0")


def _first_bits(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - _BITS)).astype(np.int64)
