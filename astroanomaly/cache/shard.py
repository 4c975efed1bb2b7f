"""Read one shard of a cache: cutouts by row, memory-mapped where that is possible."""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from astroanomaly.cache import schema
from astroanomaly.cache.file_digest import cutout_checksums
from astroanomaly.cache.layout import stored_layout
from astroanomaly.cache.packed import PackedCutouts
from astroanomaly.cache.unwritten import refuse_unwritten, unwritten_rows
from astroanomaly.cutting.grids import Grid
from astroanomaly.errors import BandError, DamagedError
from astroanomaly.records import Failure, Layout

__all__ = ["Shard", "Stored"]

_BYTES_TOGETHER = 2**24  # of pixels that are read together where all are checked


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
    damage
        Why nothing of it can be read; empty for most.
    damaged_rows
        Rows whose pixels were found damaged so far.
    """

    damage: str = ""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.uuid = path.stem  # of a copy, or a file with another name, too: scores are found without opening it
        self.folder = path.parent.parent
        self.layout = layout
        self.damaged_rows: set[int] = set()
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, "shard", path)
            self._stored = stored_layout(file.attrs, path)
            shape = (None, len(self._stored.bands), self._stored.height, self._stored.width)
            images = schema.check_dataset(file, "images", shape, "fu", path, chunks=False)
            if images.dtype.name != self._stored.dtype:
                raise DamagedError(f"{path}: images have type {images.dtype}, its layout says {self._stored.dtype}")
            self._count = len(images)
            self._offset = images.id.get_offset() if images.chunks is None else None
            self._dtype = images.dtype
            if self._offset is not None and self._offset + images.nbytes > path.stat().st_size:
                raise DamagedError(f"{path} is cut short: its pixels end beyond the end of the file")
            self.has_grids = "grids/end" in file and len(file["grids/end"]) > 0
            for name in ("object_id", "ra", "dec", "grid", "offset", "coverage"):
                if name not in file or file[name].shape[:1] != (self._count,):
                    raise DamagedError(f"{path}, dataset {name}: missing, or not of length {self._count}")
                refuse_unwritten(file[name], path)
            self._has_checksums = schema.CHECKSUM in file
            self._checksums_offset = None
            if self._has_checksums:
                sums = schema.check_dataset(file, schema.CHECKSUM, (self._count,), "u", path)
                self._checksums_offset = sums.id.get_offset() if sums.chunks is None else None
        missing = [band for band in layout.bands if band not in self._stored.bands]
        if missing:
            raise BandError(f"{path} has no band {missing[0]!r}; its bands are {list(self._stored.bands)}")
        self._planes = [self._stored.bands.index(band) for band in layout.bands]

    @classmethod
    def whole(cls, path: Path) -> Self:
        """Open a shard with all its bands, whatever the cache that it belongs to.

        Raises
        ------
        DamagedError
            If it is damaged.
        """
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, "shard", path)
            return cls(path, stored_layout(file.attrs, path))

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

    @cached_property
    def _checksums(self) -> np.ndarray | None:
        """``(n,)`` uint64 checksums of the cutouts, mapped where that is possible; None in shards without."""
        if not self._has_checksums:
            return None
        if self._map is not None and self._checksums_offset is not None:
            return np.frombuffer(self._map, np.uint64, count=self._count, offset=self._checksums_offset)
        with schema.open_hdf5(self.path) as file:
            return file[schema.CHECKSUM][...]

    @cached_property
    def _packed(self) -> PackedCutouts | None:
        """Where its compressed cutouts lie; None where HDF5 has to read them."""
        with schema.open_hdf5(self.path) as file:
            return PackedCutouts.of(file["images"])

    @property
    def ids(self) -> list[str]:
        """Ids of its objects, in order (read from the file at each call)."""
        with schema.open_hdf5(self.path) as file:
            return schema.read_texts(file["object_id"])

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """``(n,)`` float64 right ascension and declination in ICRS degrees, NaN where unknown (read at each call)."""
        with schema.open_hdf5(self.path) as file:
            return schema.read_positions(file, len(self), self.path)

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

    def auxiliary(self, row: int) -> dict[str, np.ndarray]:
        """Read the auxiliary planes of a cutout: ``(height, width)`` float32 by name; empty where none are stored."""
        names = tuple(name for name in self.layout.auxiliary if name in self._stored.bands)
        if not names:
            return {}
        planes = Shard(self.path, replace(self.layout, auxiliary=names).of_auxiliary).read(row, row + 1)[0]
        return dict(zip(names, planes, strict=True))

    def release(self) -> None:
        """Let go of the memory map, and so of the open file; it is mapped again when it is read."""
        self.__dict__.pop("_pixels", None)
        self.__dict__.pop("_checksums", None)
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

    def stored(self, rows: slice | np.ndarray, *, damaged_too: bool = False) -> Stored:
        """Give cutouts as they are stored, by row; of consecutive ones in a mapped file nothing is copied.

        Parameters
        ----------
        rows
            Which; none of them negative.
        damaged_too
            Whether to give something for cutouts that are damaged: then `damaged_rows` tells which these are.

        Raises
        ------
        DamagedError
            If some are not as they were written, with the rows and ids of these.
        """
        picked = rows if isinstance(rows, slice) else np.asarray(rows, dtype=np.int64)
        numbers = np.arange(self._count)[picked] if isinstance(picked, slice) else picked
        if self._pixels is not None:
            pixels, broken = self._pixels[picked], np.zeros(0, np.int64)
        else:
            pixels, broken = self._read_chunks(picked, numbers)
        scale = zero = None
        if self._stored.dtype == "float16":
            with schema.open_hdf5(self.path) as file:
                scale, zero = (file[name][...][picked] for name in ("scale", "zero"))
        if self._checksums is not None:
            differ = cutout_checksums(pixels, scale, zero) != self._checksums[picked]
            broken = np.union1d(broken, numbers[differ])
        if len(broken):
            self.damaged_rows.update(broken.tolist())
            if not damaged_too:
                raise self.damage_of(broken)
        if self._planes != list(range(len(self._stored.bands))):
            pixels = np.take(pixels, self._planes, axis=1)
        if scale is None or zero is None:
            return Stored(pixels)
        return Stored(pixels, scale[:, self._planes, None, None], zero[:, self._planes, None, None])

    def _read_chunks(self, picked: slice | np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read pixels that cannot be mapped; return them, and the rows that could not be read."""
        if self._packed is not None:
            pixels, broken = self._packed.read(self.path, numbers)
            return pixels, numbers[broken]
        with schema.open_hdf5(self.path) as file:
            images = file["images"]
            unwritten = unwritten_rows(images)
            if isinstance(picked, slice) and not len(unwritten):
                try:
                    return images[picked], unwritten
                except (OSError, RuntimeError):  # one of them is damaged
                    pass
            broken = np.isin(numbers, unwritten)
            pixels = np.zeros((len(numbers), *images.shape[1:]), self._dtype)
            for k in np.flatnonzero(~broken):  # HDF5 picks single chunks faster than a list of them
                try:
                    pixels[k] = images[int(numbers[k])]
                except (OSError, RuntimeError):
                    broken[k] = True
            return pixels, numbers[broken]

    def find_damaged(self) -> np.ndarray:
        """Read all pixels, and return the rows of the cutouts that are damaged.

        They are not mapped: a disk that fails is an error then, and not the end of the process.

        Raises
        ------
        DamagedError
            If the file cannot be read.
        """
        step = max(1, _BYTES_TOGETHER // self._stored.nbytes)
        found = [np.zeros(0, np.int64)]
        with schema.open_hdf5(self.path) as file:
            images = file["images"]
            sums = file[schema.CHECKSUM][...] if self._has_checksums else None
            extra = [file[name][...] for name in ("scale", "zero") if self._stored.dtype == "float16"]
            for start in range(0, self._count, step):
                some = slice(start, start + step)
                rows = np.arange(self._count)[some]
                if images.chunks is None:
                    pixels, broken = images[some], rows[:0]
                else:
                    pixels, broken = self._read_chunks(some, rows)
                found.append(broken)
                if sums is not None:
                    found.append(rows[cutout_checksums(pixels, *(values[some] for values in extra)) != sums[some]])
        return np.unique(np.concatenate(found))

    def damage_of(self, rows: np.ndarray) -> DamagedError:
        """Make the error that names the objects at some rows."""
        ids = self.ids
        names = [ids[row] for row in rows.tolist()]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return DamagedError(
            f"{self.path} is damaged: the pixels of {names[0]}{more} are not as they were written; "
            f"`astroanomaly info {self.folder} --check` tells what is damaged, and the way out",
            rows.tolist(),
            names,
        )

    def coverage(self) -> np.ndarray:
        """``(n, bands)`` float32 share of pixels with data."""
        with schema.open_hdf5(self.path) as file:
            return file["coverage"][...][:, self._planes]

    def columns(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """Catalogue columns, each an `astropy.table.Column` of length n with its unit, description and UCD.

        Parameters
        ----------
        names
            Read these alone, as far as they are there; None: all.
        """
        found: dict[str, Any] = {}
        with schema.open_hdf5(self.path) as file:
            for key, dataset in file["columns"].items():
                name = schema.column_name(key)
                if names is not None and name not in names:
                    continue
                values = schema.read_texts(dataset) if dataset.dtype.kind in "SO" else dataset[...]
                found[name] = schema.described_column(values, dataset.attrs, name)
        return found

    def number_columns(self) -> list[str]:
        """Names of the catalogue columns that hold one number for each object; their values are not read."""
        with schema.open_hdf5(self.path) as file:
            return [
                schema.column_name(key)
                for key, dataset in file["columns"].items()
                if dataset.ndim == 1 and dataset.dtype.kind in "biuf"
            ]

    def grid_numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the ``(n,)`` number of each cutout's grid (-1: none) and the ``(n, 2)`` offsets x, y.

        Raises
        ------
        DamagedError
            If one refers to a grid that is not stored.
        """
        with schema.open_hdf5(self.path) as file:
            numbers, offsets, count = file["grid"][...], file["offset"][...], len(file["grids/end"])
        if len(numbers) and not -1 <= numbers.min() <= numbers.max() < count:
            raise DamagedError(f"{self.path}, dataset grid: refers to a grid that is not stored")
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
        DamagedError
            If it does not: it was written by an older version, or for objects that were read again.
        """
        with schema.open_hdf5(self.path) as file:
            if "count" in file["tasks"]:
                rows = np.repeat(file["tasks/ordinal"][...], file["tasks/count"][...])
                if len(rows) == self._count:
                    return rows
        raise DamagedError(f"{self.path}, dataset tasks/count: does not tell which cutout is of which task")

    def task_keys(self) -> list[str]:
        """Keys of the tasks this shard commits."""
        with schema.open_hdf5(self.path) as file:
            return schema.read_texts(file["tasks/key"])
