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
from astroanomaly.errors import CacheError, DamagedError, StorageError, UnreadableError

__all__ = ["Index", "Part", "hash_ids", "load_index", "read_part"]

_log = logging.getLogger(__name__)
_MIN_MAPPED_BYTES = 8 * 2**20  # of a dataset of a million objects: smaller ones are read
_FNV_PRIME = np.uint64(0x100000001B3)
_FNV_BASIS = np.uint64(0xCBF29CE484222325)


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
        If all shards are damaged, one is of a newer version, or an id occurs twice and its shards hold different tasks.
    """
    names = sorted(path.name for path in (folder / schema.SHARD_FOLDER).glob("*.h5") if path.name[0] != ".")
    path = folder / schema.INDEX_FILE
    if path.is_file():
        index = _read(path)
        if index is not None and sorted((*index.shards, *index.ignored)) == names:
            return index
    index = _build(folder, names)
    if index.damaged:  # somebody may put a copy in its place
        return index
    try:
        _write(path, index)
    except StorageError as error:  # a cache on a read-only disk is as good, only slower to open
        _log.info("the index of %s is kept in memory: %s", folder, error)
    return index


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


@dataclass(frozen=True, eq=False)
class Part:
    """What the index needs of one shard."""

    first_task: int
    name: str
    ids: np.ndarray
    ra: np.ndarray
    dec: np.ndarray


def _build(folder: Path, names: list[str]) -> Index:
    found, damaged = [], {}
    for name in names:
        try:
            found.append(read_part(folder, name))
        except DamagedError as error:
            damaged[name] = str(error)
    if damaged and not found:
        raise DamagedError(f"no shard of {folder} can be read: {next(iter(damaged.values()))}")
    for text in damaged.values():
        _log.warning("objects are missing: %s; `astroanomaly info %s --repair` moves it aside", text, folder)
    parts = sorted(found, key=lambda part: (part.first_task, part.name))
    index = _assemble(parts)
    if _doubled_id(index, parts) is not None:
        kept = _without_doubled_tasks(folder, parts)
        names_kept = {part.name for part in kept}
        ignored = tuple(part.name for part in parts if part.name not in names_kept)
        index = replace(_assemble(kept), ignored=ignored)
        doubled = _doubled_id(index, kept)
        if doubled is not None:
            raise CacheError(
                f"object {doubled.decode('utf-8', 'replace')!r} occurs twice in {folder}: ids must be unique in a cache"
            )
        _log.warning("%s: %d shards hold tasks that others hold too, and are ignored", folder, len(ignored))
    return replace(index, damaged=damaged)


def read_part(folder: Path, name: str) -> Part:
    """Read what the index needs of one shard.

    Raises
    ------
    CacheError
        If it is damaged.
    """
    path = folder / schema.SHARD_FOLDER / name
    with schema.open_hdf5(path) as file:
        schema.check_format(file.attrs, "shard", path)
        ids = schema.check_dataset(file, "object_id", (None,), "S", path)[...]
        ra, dec = schema.read_positions(file, len(ids), path)
        schema.check_dataset(file, "images", (len(ids), None, None, None), "fu", path, chunks=False)
        return Part(int(file.attrs["first_task"]), name, ids, ra, dec)


def _assemble(parts: Sequence[Part]) -> Index:
    hashes = np.concatenate([hash_ids(part.ids) for part in parts] or [np.zeros(0, np.uint64)])
    rows = np.argsort(hashes, kind="stable")
    return Index(
        shards=tuple(part.name for part in parts),
        counts=np.array([len(part.ids) for part in parts], np.int64),
        hashes=hashes[rows],
        rows=rows.astype(np.int64),
        ra=np.concatenate([part.ra for part in parts] or [np.zeros(0)]),
        dec=np.concatenate([part.dec for part in parts] or [np.zeros(0)]),
        names=np.concatenate([np.zeros(0, np.uint8), *(part.ids.view(np.uint8).ravel() for part in parts)]),
        lengths=np.array([part.ids.itemsize for part in parts], np.int64),
    )


def _doubled_id(index: Index, parts: Sequence[Part]) -> bytes | None:
    """Return an id that occurs twice; None where there is none."""
    ends = np.cumsum(index.counts)

    def identify(row: int) -> bytes:
        shard = int(np.searchsorted(ends, row, "right"))
        return bytes(parts[shard].ids[row - (ends[shard] - index.counts[shard])])

    for position in np.flatnonzero(index.hashes[1:] == index.hashes[:-1]):
        first, second = identify(int(index.rows[position])), identify(int(index.rows[position + 1]))
        if first == second:
            return first
    return None


def _without_doubled_tasks(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """Leave out shards that hold a task of another one; of two, the one with more tasks stays.

    Tasks that only a shard left out holds count as not done. A shard without tasks, of objects that were tried again,
    is left out where others hold all its objects.
    """
    keys = {}
    for part in parts:
        path = folder / schema.SHARD_FOLDER / part.name
        with schema.open_hdf5(path) as file:
            keys[part.name] = set(schema.read_texts(schema.check_dataset(file, "tasks/key", (None,), "S", path)))
    chosen: list[Part] = []
    done: set[str] = set()
    for part in sorted(parts, key=lambda part: (part.first_task, -len(keys[part.name]), part.name)):
        if keys[part.name] and not keys[part.name] & done:
            chosen.append(part)
            done |= keys[part.name]
    known = {bytes(name) for part in chosen for name in part.ids}
    for part in parts:
        ids = {bytes(name) for name in part.ids}
        if not keys[part.name] and not ids <= known:
            chosen.append(part)
            known |= ids
    names = {part.name for part in chosen}
    return [part for part in parts if part.name in names]


def _write(path: Path, index: Index) -> None:
    with schema.new_hdf5(path) as file:
        file.attrs.update({"format": "astroanomaly-index", "version": schema.VERSION})
        file["count"] = index.counts
        file["hash"] = index.hashes
        file["row"] = index.rows
        file["ra"] = index.ra
        file["dec"] = index.dec
        file["id_length"] = index.lengths
        file["id"] = index.names
        schema.put_texts(
            file, "shard", index.shards
        )  # texts last: an odd length would keep what follows from being mapped
        schema.put_texts(file, "ignored", index.ignored)
