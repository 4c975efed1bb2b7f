"""Compressed cutouts, one HDF5 chunk each, coded and decoded past HDF5, which does one at a time in all threads."""

from __future__ import annotations

import functools
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from astroanomaly.parallel.cores import own_cores

__all__ = ["PackedCutouts", "write_packed"]

_LEVEL = 4  # of zlib: higher ones gain next to nothing on noise
_DEFLATE, _SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


@dataclass(frozen=True, eq=False)
class PackedCutouts:
    """Where the compressed cutouts of a file lie.

    Attributes
    ----------
    offsets, sizes
        ``(n,)`` first byte and number of bytes of each; an offset of -1 where a cutout was never written.
    shape
        Of one cutout: ``(bands, height, width)``.
    dtype
        Of its pixels.
    shuffled
        Whether the first bytes of all pixels come before the second ones, and so on.
    """

    offsets: np.ndarray
    sizes: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype
    shuffled: bool

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> PackedCutouts | None:
        """Look up the cutouts of a dataset; None where it is not made of single cutouts packed by `write_packed`."""
        made = dataset.id.get_create_plist()
        filters = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
        if dataset.chunks != (1, *dataset.shape[1:]) or filters not in ([_DEFLATE], [_SHUFFLE, _DEFLATE]):
            return None
        offsets, sizes = np.full(len(dataset), -1), np.zeros(len(dataset), np.int64)
        skipped = 0

        def note(chunk: Any) -> None:
            nonlocal skipped
            row = chunk.chunk_offset[0]
            offsets[row], sizes[row] = chunk.byte_offset, chunk.size
            skipped |= chunk.filter_mask

        dataset.id.chunk_iter(note)
        if skipped:  # HDF5 may leave a filter out where it gains nothing
            return None
        return cls(offsets, sizes, dataset.shape[1:], dataset.dtype, len(filters) == 2)

    def read(self, path: Path, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read cutouts.

        Returns
        -------
        pixels, broken
            ``(n, bands, height, width)``, and ``(n,)`` boolean: which could not be read; they are 0.
        """
        pixels, broken = np.zeros((len(rows), *self.shape), self.dtype), np.zeros(len(rows), bool)
        with path.open("rb", buffering=0) as file:
            for k, row in enumerate(rows.tolist()):
                broken[k] = self.offsets[row] < 0 or not self._unpack(file, row, pixels[k])
        return pixels, broken

    def _unpack(self, file: Any, row: int, target: np.ndarray) -> bool:
        """Decode one cutout; False where that cannot be."""
        size = int(self.sizes[row])
        if size > target.nbytes + target.nbytes // 100 + 1024:  # zlib makes nothing so much longer
            return False
        try:
            file.seek(int(self.offsets[row]), os.SEEK_SET)
            decoder = zlib.decompressobj()
            found = np.frombuffer(decoder.decompress(_read(file, size), target.nbytes + 1), np.uint8)
        except (OSError, zlib.error, ValueError, OverflowError):
            return False
        if len(found) != target.nbytes or not decoder.eof:
            return False
        flat = target.reshape(-1).view(np.uint8)
        if self.shuffled:
            flat.reshape(-1, self.dtype.itemsize)[...] = found.reshape(self.dtype.itemsize, -1).T
        else:
            flat[...] = found
        return True


def _read(file: Any, size: int) -> bytes:
    """Read so many bytes, or all up to the end of the file: one call may give fewer, as over a network."""
    content = bytearray()
    while len(content) < size:
        more = file.read(size - len(content))
        if not more:
            break
        content += more
    return bytes(content)


def write_packed(dataset: h5py.Dataset, start: int, pixels: np.ndarray) -> None:
    """Compress cutouts ``(n, bands, height, width)`` in the process's cores, and write them from a row on."""
    shuffled = pixels.dtype.itemsize > 1

    def pack(one: np.ndarray) -> bytes:
        flat = one.reshape(-1).view(np.uint8)
        if shuffled:
            flat = np.ascontiguousarray(flat.reshape(-1, one.dtype.itemsize).T)
        return zlib.compress(flat.data, _LEVEL)

    for row, packed in enumerate(_threads(os.getpid(), own_cores()).map(pack, pixels), start):
        dataset.id.write_direct_chunk((row, *(0 for _ in pixels.shape[1:])), packed)


@functools.cache
def _threads(process: int, count: int) -> ThreadPoolExecutor:
    """Return the threads of a process, which stay: a forked one has none of its parent's."""
    return ThreadPoolExecutor(count, thread_name_prefix=f"pack-{process}")
