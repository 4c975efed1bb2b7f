"""Read one shard of a cache: cutouts by row, memory-mapped where that is possible."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache import schema
from astroanomaly.cutting.grids import Grid
from astroanomaly.errors import BandError, CacheError
from astroanomaly.records import Failure, Layout

__all__ = ["Shard", "Stored"]


@dataclass(frozen=True, eq=False)
class Stored:
    """Cutouts as they are stored.

    Parameters
    ----------
    pixels
        ``(n, bands, height, width)``: uint8, float32, or float16 in units of ``scale``. It may be a part of a file that
        is mapped into memory: to be copied before `Shard.release`.
    scale, zero
        ``(n, bands, 1, 1)`` float32 for float16: flux is ``scale * pixels + zero``. None for the others.
    """

    pixels: np.ndarray
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None

    def plain(self) -> np.ndarray:
        """Float32 flux with NaN where there is no data, or uint8 display pixels, in memory of its own."""
        if self.scale is not None and self.zero is not None:
            return self.pixels.astype(np.float32) * self.scale + self.zero
        return self.pixels if self.pixels.flags.owndata else np.array(self.pixels)


class Shard:
    """One immutable HDF5 file of cutouts.

    Parameters
    ----------
    path
        The file.
    layout
        Layout that callers see: bands are picked and ordered accordingly.

    Attributes
    ----------
    uuid
        Name of the shard, unique in the world.
    folder
        Folder of the cache it belongs to.
    has_grids
        Whether any of its cutouts can have a WCS.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.folder = path.parent.parent
        self.layout = layout
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, "shard", path)
            self.uuid = str(file.attrs["uuid"])
            self._stored = schema.stored_layout(file.attrs, path)
            images = schema.check_dataset(
                file, "images", (None, len(self._stored.bands), self._stored.height, self._stored.width), "fu", path
            )
            if images.dtype.name != self._stored.dtype:
                raise CacheError(f"{path}: images have type {images.dtype}, its layout says {self._stored.dtype}")
            self._count = len(images)
            self._offset = images.id.get_offset() if images.chunks is None else None
            self._dtype = images.dtype
            if self._offset is not None and self._offset + images.nbytes > path.stat().st_size:
                raise CacheError(f"{path} is cut short: its pixels end beyond the end of the file")
            self.has_grids = "grids/end" in file and len(file["grids/end"]) > 0
            for name in ("object_id", "ra", "dec", "grid", "offset", "coverage"):
                if name not in file or file[name].shape[:1] != (self._count,):
                    raise CacheError(f"{path}, dataset {name}: missing, or not of length {self._count}")
        missing = [band for band in layout.bands if band not in self._stored.bands]
        if missing:
            raise BandError(f"{path} has no band {missing[0]!r}; its bands are {list(self._stored.bands)}")
        self._planes = [self._stored.bands.index(band) for band in layout.bands]

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _map(self) -> mmap.mmap | None:
        """The file as a memory map, None where the pixels are compressed or there are none."""
        if self._offset is None or not self._count:
            return None
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    @cached_property
    def _pixels(self) -> np.ndarray | None:
        """The stored pixels, read when they are touched; None where there is no memory map."""
        if self._map is None:
            return None
        shape = (self._count, len(self._stored.bands), self._stored.height, self._stored.width)
        flat = np.frombuffer(self._map, self._dtype, count=math.prod(shape), offset=self._offset or 0)
        return flat.reshape(shape)

    @property
    def ids(self) -> list[str]:
        """Ids of its objects, in order (read from the file at each call)."""
        with schema.open_hdf5(self.path) as file:
            return schema.read_texts(file["object_id"])

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """``(n,)`` float64 right ascension and declination in ICRS degrees, NaN where unknown (read at each call)."""
        with schema.open_hdf5(self.path) as file:
            return file["ra"][...], file["dec"][...]

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read consecutive cutouts.

        Returns
        -------
        numpy.ndarray
            ``(n, bands, height, width)``: float32 flux with NaN where there is no data, or uint8 display pixels.
        """
        return self.stored(slice(start, stop)).plain()

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """Read cutouts by their rows in the shard, in the order given; as `read`."""
        return self.stored(rows).plain()

    def release(self) -> None:
        """Let go of the memory map, and so of the open file; it is mapped again when it is read."""
        self.__dict__.pop("_pixels", None)
        self.__dict__.pop("_map", None)

    def prefetch(self, rows: np.ndarray) -> None:
        """Ask the system to have some cutouts at hand; returns at once. Nothing happens where it cannot be asked."""
        if self._map is None or not hasattr(self._map, "madvise"):
            return
        size = self._stored.nbytes
        for row in rows.tolist():
            begin, end = (self._offset or 0) + row * size, (self._offset or 0) + (row + 1) * size
            start = begin // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, start, end - start)

    def stored(self, rows: slice | np.ndarray) -> Stored:
        """Give cutouts as they are stored, by row; of consecutive ones in a mapped file nothing is copied."""
        picked = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        if self._pixels is not None:
            pixels = self._pixels[picked]
        else:
            with schema.open_hdf5(self.path) as file:
                if isinstance(picked, slice):
                    pixels = file["images"][picked]
                else:  # HDF5 picks single chunks faster than a list of them
                    pixels = np.empty((len(picked), *file["images"].shape[1:]), self._dtype)
                    for k, row in enumerate(picked):
                        pixels[k] = file["images"][int(row)]
        if self._planes != list(range(len(self._stored.bands))):
            pixels = np.take(pixels, self._planes, axis=1)
        if self._stored.dtype != "float16":
            return Stored(pixels)
        with schema.open_hdf5(self.path) as file:
            scale, zero = (file[name][...][picked][:, self._planes, None, None] for name in ("scale", "zero"))
        return Stored(pixels, scale, zero)

    def coverage(self) -> np.ndarray:
        """``(n, bands)`` float32 share of pixels with data."""
        with schema.open_hdf5(self.path) as file:
            return file["coverage"][...][:, self._planes]

    def columns(self) -> dict[str, Any]:
        """Catalogue columns, each an `astropy.table.Column` of length n with its unit, description and UCD."""
        found: dict[str, Any] = {}
        with schema.open_hdf5(self.path) as file:
            for key, dataset in file["columns"].items():
                name = schema.column_name(key)
                values = schema.read_texts(dataset) if dataset.dtype.kind in "SO" else dataset[...]
                found[name] = schema.described_column(values, dataset.attrs, name)
        return found

    def grid_numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the ``(n,)`` number of each cutout's grid (-1: none) and the ``(n, 2)`` offsets x, y.

        Raises
        ------
        CacheError
            If one refers to a grid that is not stored.
        """
        with schema.open_hdf5(self.path) as file:
            numbers, offsets, count = file["grid"][...], file["offset"][...], len(file["grids/end"])
        if len(numbers) and not -1 <= numbers.min() <= numbers.max() < count:
            raise CacheError(f"{self.path}, dataset grid: refers to a grid that is not stored")
        return numbers, offsets

    def read_grids(self, numbers: Sequence[int]) -> list[Grid]:
        """Read some grids by their numbers, in the order given."""
        with schema.open_hdf5(self.path) as file:
            content = file["grids/fits"]
            ends, shapes = file["grids/end"][...].tolist(), file["grids/shape"][...].tolist()
            starts = [0, *ends]
            if 2 * len(numbers) > len(ends):  # many small reads take longer than a large one
                content = content[...]
            return [
                Grid(content[starts[number] : ends[number]].tobytes(), (shapes[number][0], shapes[number][1]))
                for number in numbers
            ]

    def grids(self) -> tuple[list[Grid], np.ndarray, np.ndarray]:
        """Read all grids of the shard, and `grid_numbers`."""
        numbers, offsets = self.grid_numbers()
        with schema.open_hdf5(self.path) as file:
            count = len(file["grids/end"])
        return self.read_grids(range(count)), numbers, offsets

    def failures(self) -> tuple[str, list[Failure]]:
        """When the shard was written (ISO time), and the failures of its tasks."""
        with schema.open_hdf5(self.path) as file:
            return str(file.attrs["created"]), schema.read_failures(file, self.path)

    def row_tasks(self) -> np.ndarray:
        """``(n,)`` int64 index in the plan of the task that each cutout came from, of a shard that stores it.

        Raises
        ------
        CacheError
            If it does not: it was written by an older version, or for objects that were read again.
        """
        with schema.open_hdf5(self.path) as file:
            if "count" in file["tasks"]:
                rows = np.repeat(file["tasks/ordinal"][...], file["tasks/count"][...])
                if len(rows) == self._count:
                    return rows
        raise CacheError(f"{self.path}, dataset tasks/count: does not tell which cutout is of which task")

    def task_keys(self) -> list[str]:
        """Keys of the tasks this shard commits."""
        with schema.open_hdf5(self.path) as file:
            return schema.read_texts(file["tasks/key"])
