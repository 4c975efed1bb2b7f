"""The index of a cache: which object lies in which shard. Rebuilt from the shards whenever it does not match them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from astroanomaly.cache import schema
from astroanomaly.errors import CacheError, StorageError, UnreadableError

__all__ = ["Index", "hash_ids", "load_index"]

_log = logging.getLogger(__name__)
_MIN_MAPPED_BYTES = 8 * 2**20  # of a dataset of a million objects: smaller ones are read
_FNV_PRIME = np.uint64(0x100000001B3)
_FNV_BASIS = np.uint64(0xCBF29CE484222325)


@dataclass(frozen=True, eq=False)
class Index:
    """Where the objects of a cache are.

    Parameters
    ----------
    shards
        File names of the shards, in the order of their tasks.
    counts
        ``(shards,)`` int64 objects per shard; the row of an object counts through all shards in order.
    hashes
        ``(N,)`` uint64 hashes of the ids, sorted.
    rows
        ``(N,)`` int64 row of each hash.
    ra, dec
        ``(N,)`` float64 ICRS degrees by row, NaN where unknown.

    All but the counts are read-only and memory-mapped where the index was read from its file.
    """

    shards: tuple[str, ...]
    counts: np.ndarray
    hashes: np.ndarray
    rows: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    def candidates(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Places in ``ids``, and rows whose hash is that of the id there; the id itself must still be compared."""
        wanted = hash_ids([object_id.encode("utf-8", "surrogatepass") for object_id in ids])
        starts = np.searchsorted(self.hashes, wanted, "left")
        stops = np.searchsorted(self.hashes, wanted, "right")
        counts = stops - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(len(ids)), counts), self.rows[np.repeat(starts, counts) + within]


def hash_ids(ids: Sequence[bytes] | np.ndarray) -> np.ndarray:
    """FNV-1a hashes of byte strings, vectorised over the ids.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` uint64.
    """
    texts = np.asarray(ids, dtype=np.bytes_)
    if texts.size == 0:
        return np.zeros(0, np.uint64)
    letters = texts.view(np.uint8).reshape(len(texts), -1)
    lengths = np.char.str_len(texts)
    hashes = np.full(len(texts), _FNV_BASIS, np.uint64)
    for position in range(letters.shape[1]):
        mixed = (hashes ^ letters[:, position]) * _FNV_PRIME
        hashes = np.where(position < lengths, mixed, hashes)
    return hashes


def load_index(folder: Path) -> Index:
    """Read the index of a cache, or rebuild it when the shards have changed since.

    Raises
    ------
    CacheError
        If a shard is damaged or an id occurs twice.
    """
    names = sorted(path.name for path in (folder / schema.SHARD_FOLDER).glob("*.h5") if path.name[0] != ".")
    path = folder / schema.INDEX_FILE
    if path.is_file():
        index = _read(path)
        if index is not None and sorted(index.shards) == names:
            return index
    index = _build(folder, names)
    try:
        _write(path, index)
    except StorageError as error:  # a cache on a read-only disk is as good, only slower to open
        _log.info("the index of %s is kept in memory: %s", folder, error)
    return index


def _read(path: Path) -> Index | None:
    """Read an index file; None when it is damaged, since it can be rebuilt."""
    try:
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, "index", path)
            counts = schema.check_dataset(file, "count", (None,), "i", path)[...]
            total = int(counts.sum())
            return Index(
                shards=tuple(schema.read_texts(schema.check_dataset(file, "shard", (len(counts),), "S", path))),
                counts=counts,
                hashes=_mapped(schema.check_dataset(file, "hash", (total,), "u", path)),
                rows=_mapped(schema.check_dataset(file, "row", (total,), "i", path)),
                ra=_mapped(schema.check_dataset(file, "ra", (total,), "f", path)),
                dec=_mapped(schema.check_dataset(file, "dec", (total,), "f", path)),
            )
    except (CacheError, UnreadableError) as error:
        _log.info("the index %s is rebuilt: %s", path, error)
        return None


def _mapped(dataset: h5py.Dataset) -> np.ndarray:
    """Map the numbers of a dataset, which are read when they are touched; read few, and those that cannot be mapped.

    They are mapped from the file that is open, whatever its path leads to meanwhile.
    """
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    dtype = dataset.dtype
    if dataset.nbytes < _MIN_MAPPED_BYTES or offset is None or offset % dtype.itemsize or not dtype.isnative:
        return dataset[...]
    with os.fdopen(os.dup(dataset.file.id.get_vfd_handle()), "rb") as file:
        if offset + dataset.nbytes > os.fstat(file.fileno()).st_size:
            raise CacheError(f"{dataset.file.filename}, dataset {dataset.name}: ends beyond the end of the file")
        return np.memmap(file, dtype, "r", offset, dataset.shape)


def _build(folder: Path, names: list[str]) -> Index:
    parts = []
    for name in names:
        path = folder / schema.SHARD_FOLDER / name
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, "shard", path)
            ids = schema.check_dataset(file, "object_id", (None,), "S", path)[...]
            ra = schema.check_dataset(file, "ra", (len(ids),), "f", path)[...]
            dec = schema.check_dataset(file, "dec", (len(ids),), "f", path)[...]
            parts.append((int(file.attrs["first_task"]), name, ids, ra, dec))
    parts.sort(key=lambda part: part[:2])
    hashes = np.concatenate([hash_ids(part[2]) for part in parts] or [np.zeros(0, np.uint64)])
    rows = np.argsort(hashes, kind="stable")
    index = Index(
        shards=tuple(part[1] for part in parts),
        counts=np.array([len(part[2]) for part in parts], np.int64),
        hashes=hashes[rows],
        rows=rows.astype(np.int64),
        ra=np.concatenate([part[3] for part in parts] or [np.zeros(0)]),
        dec=np.concatenate([part[4] for part in parts] or [np.zeros(0)]),
    )
    _refuse_doubles(index, parts, folder)
    return index


def _refuse_doubles(
    index: Index, parts: list[tuple[int, str, np.ndarray, np.ndarray, np.ndarray]], folder: Path
) -> None:
    same = np.flatnonzero(index.hashes[1:] == index.hashes[:-1])
    if not len(same):
        return
    ends = np.cumsum(index.counts)

    def identify(row: int) -> bytes:
        shard = int(np.searchsorted(ends, row, "right"))
        return bytes(parts[shard][2][row - (ends[shard] - index.counts[shard])])

    for position in same:
        first, second = identify(int(index.rows[position])), identify(int(index.rows[position + 1]))
        if first == second:
            raise CacheError(
                f"object {first.decode('utf-8', 'replace')!r} occurs twice in {folder}: ids must be unique in a cache"
            )


def _write(path: Path, index: Index) -> None:
    with schema.new_hdf5(path) as file:
        file.attrs.update({"format": "astroanomaly-index", "version": schema.VERSION})
        file["count"] = index.counts
        file["hash"] = index.hashes
        file["row"] = index.rows
        file["ra"] = index.ra
        file["dec"] = index.dec
        schema.put_texts(file, "shard", index.shards)  # last, or its odd length would keep the others from being mapped
