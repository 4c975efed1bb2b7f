"""The index of a cache: which object lies in which shard. Rebuilt from the shards whenever it does not match them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from astroanomaly.cache import schema
from astroanomaly.cache.id_hashes import hash_ids
from astroanomaly.cache.index_columns import Columns, DamagedShardError, DoubledIdError
from astroanomaly.cache.index_shards import ShardHead, read_head, without_doubled_tasks
from astroanomaly.errors import CacheError, DamagedError, StorageError, UnreadableError

__all__ = ["Index", "load_index"]

_log = logging.getLogger(__name__)
_MIN_MAPPED_BYTES = 8 * 2**20  # of a dataset of a million objects: smaller ones are read


@dataclass(frozen=True, eq=False)
class Index:
    """Index of the objects of a cache by the hash of their id.

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
    ignored
        File names of shards that hold a task which another shard holds too: they do not count.

    names
        The ids of all shards one after another, UTF-8 padded with zeros to one length in each shard; None in files of
        earlier versions.
    lengths
        ``(shards,)`` int64 bytes of each id of a shard.
    damaged
        What is wrong with shards that could not be read when the index was built, by file name: they do not count.

    All but what is of shards is read-only and memory-mapped where the index was read from its file.
    """

    shards: tuple[str, ...]
    counts: np.ndarray
    hashes: np.ndarray
    rows: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    ignored: tuple[str, ...] = ()
    names: np.ndarray | None = None
    lengths: np.ndarray | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)

    def ids(self, number: int) -> np.ndarray | None:
        """``(n,)`` ids of a shard as bytes; None where the index does not have them."""
        if self.names is None or self.lengths is None:
            return None
        count, length = int(self.counts[number]), int(self.lengths[number])
        start = int(self.counts[:number] @ self.lengths[:number])
        return self.names[start : start + count * length].view(f"S{length}")

    def candidates(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return indices into ``ids``, and rows whose hash is that of the id; the id itself must be compared."""
        texts = [object_id.encode("utf-8", "surrogatepass") for object_id in ids]
        if self.lengths is not None:  # longer ones are not here: a long text would make all as long as itself
            longest = int(self.lengths.max(initial=0)) + 1
            texts = [text[:longest] for text in texts]
        return self.rows_of(hash_ids(texts))

    def rows_of(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(m,)`` indices into some ``(n,)`` hashes, and the rows that have each."""
        starts = np.searchsorted(self.hashes, wanted, "left")
        counts = np.searchsorted(self.hashes, wanted, "right") - starts
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(np.arange(len(wanted)), counts), self.rows[np.repeat(starts, counts) + within]


def load_index(folder: Path) -> Index:
    """Read the index of a cache, or rebuild it when the shards have changed since.

    Raises
    ------
    CacheError
        If all shards are damaged, one is of a newer version, or an id occurs twice and its shards hold different tasks.
    """
    names = sorted(path.name for path in (folder / schema.SHARD_FOLDER).glob("*.h5") if path.name[0] != ".")
    path = folder / schema.INDEX_FILE
    if path.is_file():
        index = _read(path)
        if index is not None and sorted((*index.shards, *index.ignored)) == names:
            return index
    return _make(folder, names)


def _read(path: Path) -> Index | None:
    """Read an index file; None when it is damaged, or nothing would tell that it is: it can be rebuilt."""
    try:
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, "index", path)
            if not schema.has_digest(file):
                _log.info("the index %s is rebuilt: it has no digest", path)
                return None
            counts = schema.check_dataset(file, "count", (None,), "i", path)[...]
            total = int(counts.sum())
            known = "id" in file and "id_length" in file
            if len(counts) and counts.min() < 0:
                raise DamagedError(f"{path}: a shard has less than no objects")
            found = Index(
                shards=tuple(schema.read_texts(schema.check_dataset(file, "shard", (len(counts),), "S", path))),
                counts=counts,
                hashes=_mapped(schema.check_dataset(file, "hash", (total,), "u", path)),
                rows=_mapped(schema.check_dataset(file, "row", (total,), "i", path)),
                ra=_mapped(schema.check_dataset(file, "ra", (total,), "f", path)),
                dec=_mapped(schema.check_dataset(file, "dec", (total,), "f", path)),
                ignored=tuple(schema.read_texts(schema.check_dataset(file, "ignored", (None,), "S", path)))
                if "ignored" in file
                else (),
                names=_mapped(schema.check_dataset(file, "id", (None,), "u", path)) if known else None,
                lengths=schema.check_dataset(file, "id_length", (len(counts),), "i", path)[...] if known else None,
            )
            _check_names(found, path)
            return found
    except (CacheError, UnreadableError) as error:
        _log.info("the index %s is rebuilt: %s", path, error)
        return None


def _check_names(index: Index, path: Path) -> None:
    """Refuse an index whose ids do not add up."""
    if index.names is None or index.lengths is None:
        return
    lengths = [int(length) for length in index.lengths]
    total = sum(int(count) * length for count, length in zip(index.counts, lengths, strict=True))
    if index.names.dtype.itemsize != 1 or min(lengths, default=1) < 1 or total != len(index.names):
        raise DamagedError(f"{path}: its ids have {len(index.names)} bytes, expected {total}")


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
            raise DamagedError(f"{dataset.file.filename}, dataset {dataset.name}: ends beyond the end of the file")
        return np.memmap(file, dtype, "r", offset, dataset.shape)


# -------------------------------------------------------------------------------------------------------------- making


def _make(folder: Path, names: list[str]) -> Index:
    """Make the index of a cache, and its file where nothing is damaged and it can be written."""
    shards, damaged = _heads(folder, names)
    ignored: tuple[str, ...] = ()
    while True:
        if damaged and not shards:
            raise DamagedError(f"no shard of {folder} can be read: {next(iter(damaged.values()))}")
        try:
            index = _written(folder, shards, ignored) if not damaged else None  # somebody may put a copy in its place
            index = _in_memory(folder, shards, ignored) if index is None else index
        except DamagedShardError as error:
            damaged[error.name] = str(error)
            shards = [shard for shard in shards if shard.name != error.name]
            continue
        except DoubledIdError as error:
            kept = [] if ignored else without_doubled_tasks(folder, shards)
            if ignored or len(kept) == len(shards):
                raise CacheError(
                    f"object {schema.decode_text(error.object_id)!r} occurs twice in {folder}: ids must be unique in a "
                    "cache"
                ) from None
            ignored = tuple(shard.name for shard in shards if shard not in kept)
            shards = kept
            continue
        if ignored:
            _log.warning("%s: %d shards hold tasks that others hold too, and are ignored", folder, len(ignored))
        for text in damaged.values():
            _log.warning("objects are missing: %s; `astroanomaly info %s --repair` moves it aside", text, folder)
        return replace(index, damaged=damaged)


def _heads(folder: Path, names: list[str]) -> tuple[list[ShardHead], dict[str, str]]:
    """Return the shards in the order of their tasks, and what is wrong with those that cannot be read."""
    found, damaged = [], {}
    for name in names:
        try:
            found.append(read_head(folder, name))
        except DamagedError as error:
            damaged[name] = str(error)
    return sorted(found, key=lambda shard: (shard.first_task, shard.name)), damaged


def _written(folder: Path, shards: Sequence[ShardHead], ignored: Sequence[str]) -> Index | None:
    """Write the index, and read it; None where it cannot be written."""
    path = folder / schema.INDEX_FILE
    try:
        with schema.new_hdf5(path) as file:
            file.attrs.update({"format": "astroanomaly-index", "version": schema.VERSION})
            file["count"] = np.array([shard.count for shard in shards], np.int64)
            file["id_length"] = np.array([shard.id_length for shard in shards], np.int64)
            columns = Columns.new(shards, file.vector)
            begin = columns.copy(folder, shards)
            file.check()
            columns.sort(shards, begin)
            schema.put_texts(file, "shard", [shard.name for shard in shards])
            schema.put_texts(file, "ignored", ignored)
    except StorageError as error:  # a cache on a read-only disk is as good, only slower to open
        _log.info("the index of %s is kept in memory: %s", folder, error)
        return None
    index = _read(path)
    names = tuple(shard.name for shard in shards)
    return index if index is not None and index.shards == names else None  # another process may have replaced it


def _in_memory(folder: Path, shards: Sequence[ShardHead], ignored: Sequence[str]) -> Index:
    columns = Columns.new(shards, lambda _, length, kind: np.empty(length, kind))
    columns.sort(shards, columns.copy(folder, shards))
    return Index(
        shards=tuple(shard.name for shard in shards),
        counts=np.array([shard.count for shard in shards], np.int64),
        hashes=columns.hashes,
        rows=columns.rows,
        ra=columns.ra,
        dec=columns.dec,
        ignored=tuple(ignored),
        names=columns.names,
        lengths=np.array([shard.id_length for shard in shards], np.int64),
    )
