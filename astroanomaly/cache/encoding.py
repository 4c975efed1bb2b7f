"""Blocks of cutouts as the datasets of a shard: band order, float16, grids, catalogue columns."""

from __future__ import annotations

import datetime
import json
from typing import Any

import h5py
import numpy as np

from astroanomaly.cache import schema
from astroanomaly.cache.file_digest import cutout_checksums
from astroanomaly.cache.layout import layout_to_plain
from astroanomaly.cache.new_file import NewFile
from astroanomaly.cache.packed import write_packed
from astroanomaly.cutting.grids import Grid
from astroanomaly.errors import CacheError, PluginError
from astroanomaly.records import CutoutBlock, Failure, Layout

__all__ = ["TaskContent", "fit_block", "write_shard"]

_BYTES_TOGETHER = 2**20  # of pixels that are written and hashed together
_BYTES_PACKED = 2**24  # of pixels that are compressed together, by several threads


class TaskContent:
    """Blocks and failures that one task has given; no key for objects of a task that another shard commits."""

    def __init__(self, ordinal: int, key: str | None) -> None:
        self.ordinal = ordinal
        self.key = key
        self.blocks: list[CutoutBlock] = []
        self.failures: list[Failure] = []
        self.nbytes = 0


def fit_block(block: CutoutBlock, layout: Layout) -> CutoutBlock:
    """Check a block against the layout; put its bands in order, leaving absent bands NaN.

    Raises
    ------
    CacheError
        If it does not fit, naming its first object.
    """
    images = np.asarray(block.images)
    first = block.ids[0]
    expected = (len(block), len(block.bands), layout.height, layout.width)
    if images.shape != expected:
        raise CacheError(
            f"object {first!r}: its block has shape {images.shape}, expected {expected} "
            "(objects, bands, height, width of the cache)"
        )
    kind = np.dtype(np.uint8) if layout.pixel_kind == "display" else np.dtype(np.float32)
    if layout.pixel_kind == "display" and images.dtype != kind:
        raise CacheError(f"object {first!r}: pixels of type {images.dtype}, but this cache holds 8-bit pictures")
    images = images.astype(kind, copy=False)
    coverage = block.coverage
    if coverage is None:
        if kind.kind == "f":
            coverage = np.isfinite(images).mean(axis=(2, 3), dtype=np.float64)
        else:
            coverage = np.ones(images.shape[:2])
    coverage = np.asarray(coverage, dtype=np.float32)
    if coverage.shape != images.shape[:2]:
        raise CacheError(f"object {first!r}: coverage has shape {coverage.shape}, expected {images.shape[:2]}")
    dec = _numbers(block.dec, len(block), np.nan)
    nowhere = np.flatnonzero(np.abs(dec) > schema.MOST_DEC)
    if len(nowhere):
        raise CacheError(
            f"object {block.ids[nowhere[0]]!r}: its declination is {dec[nowhere[0]]:g}, expected -90 to 90 degrees"
        )
    if tuple(block.bands) != layout.bands:
        images, coverage = _reorder(images, coverage, block, layout)
    return CutoutBlock(
        ids=[str(object_id) for object_id in block.ids],
        images=images,
        bands=layout.bands,
        ra=_numbers(block.ra, len(block), np.nan),
        dec=dec,
        grid=block.grid,
        offsets=np.zeros((len(block), 2), np.int64) if block.offsets is None else np.asarray(block.offsets, np.int64),
        coverage=coverage,
        columns=block.columns,
        units=block.units,
    )


def _reorder(
    images: np.ndarray, coverage: np.ndarray, block: CutoutBlock, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    unknown = [band for band in block.bands if band not in layout.bands + layout.auxiliary]
    if unknown:
        raise CacheError(
            f"object {block.ids[0]!r} has the band {unknown[0]!r}, but this cache holds {list(layout.bands)}"
        )
    if layout.pixel_kind == "display" and len(block.bands) < len(layout.bands):
        raise CacheError(f"object {block.ids[0]!r} has the bands {list(block.bands)}, expected {list(layout.bands)}")
    ordered = np.full((len(block), len(layout.bands), *images.shape[2:]), np.nan, np.float32)
    if layout.pixel_kind == "display":
        ordered = np.empty(ordered.shape, np.uint8)
    covered = np.zeros(ordered.shape[:2], np.float32)
    for plane, band in enumerate(block.bands):
        if band not in layout.bands:
            continue  # an auxiliary plane, which is not wanted here
        ordered[:, layout.bands.index(band)] = images[:, plane]
        covered[:, layout.bands.index(band)] = coverage[:, plane]
    return ordered, covered


def _numbers(values: Any, count: int, default: float) -> np.ndarray:
    return np.full(count, default) if values is None else np.asarray(values, dtype=np.float64)


def write_shard(file: NewFile, name: str, layout: Layout, tasks: list[TaskContent], compression: str | None) -> None:
    """Write what tasks gave into a new shard file; see ``docs/cache-format.md``.

    Parameters
    ----------
    name
        Its uuid.
    compression
        None (contiguous) or ``gzip``.

    Raises
    ------
    PluginError
        If two objects have one id.
    CacheError
        If float16 cannot hold the pixels of an object.
    """
    blocks = [block for task in tasks for block in task.blocks]
    failures = [failure for task in tasks for failure in task.failures]
    ids = [object_id for block in blocks for object_id in block.ids]
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise PluginError(f"object {twice!r} was cut twice by the same source; ids must be unique in a cache")
    file.attrs.update(
        {
            "format": "astroanomaly-shard",
            "version": schema.VERSION,
            "uuid": name,
            "layout": json.dumps(layout_to_plain(layout)),
            "first_task": min(task.ordinal for task in tasks),
            "created": datetime.datetime.now(datetime.UTC).isoformat(),
        }
    )
    _write_images(file, blocks, len(ids), layout, compression)
    schema.put_texts(file, "object_id", ids)
    for key in ("ra", "dec"):
        file[key] = np.concatenate([getattr(block, key) for block in blocks]) if blocks else np.zeros(0)
    file["offset"] = np.concatenate([block.offsets for block in blocks]) if blocks else np.zeros((0, 2), np.int64)
    file["coverage"] = (
        np.concatenate([block.coverage for block in blocks]) if blocks else np.zeros((0, len(layout.bands)), np.float32)
    )
    _write_grids(file, blocks)
    _write_columns(file.create_group("columns", track_order=True), blocks)
    group = file.create_group("tasks")
    whole = [task for task in tasks if task.key is not None]
    schema.put_texts(group, "key", [task.key for task in whole])
    group["ordinal"] = np.array([task.ordinal for task in whole], np.int64)
    group["count"] = np.array([sum(map(len, task.blocks)) for task in whole], np.int64)
    schema.put_failures(file, failures)


def _write_images(
    file: NewFile, blocks: list[CutoutBlock], count: int, layout: Layout, compression: str | None
) -> None:
    shape = (count, len(layout.bands), layout.height, layout.width)
    images, begin = None, 0
    if compression or not count:
        how = {"chunks": (1, *shape[1:]), "compression": compression, "shuffle": layout.dtype != "uint8"}
        images = file.create_dataset("images", shape, layout.dtype, track_times=False, **(how if count else {}))
    else:
        begin = file.allocate("images", shape, layout.dtype)
    encoded = layout.dtype == "float16"
    scales, zeros = [], []
    sums = np.empty(count, np.uint64)
    start, step = 0, max(1, (_BYTES_PACKED if compression else _BYTES_TOGETHER) // layout.nbytes)
    for block in blocks:
        pixels, scale, zero = block.images, None, None
        if encoded:
            pixels, scale, zero = _to_float16(pixels, block.ids)
            scales.append(scale)
            zeros.append(zero)
        for first in range(
            0, len(block), step
        ):  # what was just written is in the processor's cache: to hash it is cheap
            some = slice(first, first + step)
            part = np.ascontiguousarray(pixels[some], layout.dtype)
            place = slice(start + first, start + first + len(part))
            if images is not None:
                write_packed(images, place.start, part)
            else:
                file.write_at(begin + place.start * part[0].nbytes, part)
            scale_zero = () if scale is None or zero is None else (scale[some], zero[some])
            sums[place] = cutout_checksums(part, *scale_zero)
        start += len(block)
    file[schema.CHECKSUM] = sums
    if encoded:
        empty = [np.zeros((0, len(layout.bands)), np.float32)]
        file["scale"] = np.concatenate(scales or empty)
        file["zero"] = np.concatenate(zeros or empty)


def _to_float16(pixels: np.ndarray, ids: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode flux as float16 with a scale and zero per cutout and band: ``flux = stored * scale + zero``."""
    low, high = np.fmin.reduce(pixels, axis=(2, 3)), np.fmax.reduce(pixels, axis=(2, 3))
    zero = np.nan_to_num((low + high) / 2).astype(np.float32)
    scale = np.nan_to_num((high - low) / 2).astype(np.float32)
    scale[scale == 0] = 1
    stored = ((pixels - zero[:, :, None, None]) / scale[:, :, None, None]).astype(np.float16)
    bad = np.isinf(stored).any(axis=(1, 2, 3)) | ~np.isfinite(scale).all(axis=1)
    if bad.any():
        raise CacheError(
            f"object {ids[int(np.argmax(bad))]!r} has pixels that float16 cannot hold; use --dtype float32"
        )
    return stored, scale, zero


def _write_grids(file: h5py.File, blocks: list[CutoutBlock]) -> None:
    """Store every grid once; each cutout refers to it by number, -1 for none."""
    grids: list[Grid] = []
    number_of: dict[str, int] = {}
    numbers: list[np.ndarray] = []
    for block in blocks:
        number = -1
        if block.grid is not None:
            if block.grid.key not in number_of:
                number_of[block.grid.key] = len(grids)
                grids.append(block.grid)
            number = number_of[block.grid.key]
        numbers.append(np.full(len(block), number, np.int32))
    file["grid"] = np.concatenate(numbers) if numbers else np.zeros(0, np.int32)
    group = file.create_group("grids")
    joined = np.frombuffer(b"".join(grid.fits for grid in grids), np.uint8)
    group.create_dataset("fits", data=joined, compression="gzip" if joined.size else None, track_times=False)
    group["end"] = np.cumsum([len(grid.fits) for grid in grids], dtype=np.int64)
    group["shape"] = np.array([grid.shape for grid in grids], np.int64).reshape(-1, 2)


def _write_columns(group: h5py.Group, blocks: list[CutoutBlock]) -> None:
    """Store the catalogue columns; where a block lacks one, its values are NaN or empty text."""
    for name in dict.fromkeys(name for block in blocks for name in block.columns):
        given = {number: block.columns[name] for number, block in enumerate(blocks) if name in block.columns}
        plain = {number: schema.plain_column(values) for number, values in given.items()}
        numeric = all(values.dtype.kind in "iufb" for values in plain.values())
        parts = [
            plain.get(number, np.full(len(block), np.nan) if numeric else np.full(len(block), "", object))
            for number, block in enumerate(blocks)
        ]
        if not numeric:  # numbers in one block and text in another become text in all
            parts = [np.array([str(value) for value in part.tolist()], object) for part in parts]
        dataset = schema.put(group, schema.column_key(name), np.concatenate(parts))
        schema.put_description(dataset, next(iter(given.values())))
