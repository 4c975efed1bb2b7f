"""Write shards: buffered, contiguous, under a temporary name, synced, renamed, and never changed after that."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from astroanomaly.cache import schema
from astroanomaly.cutting.grids import Grid
from astroanomaly.errors import BusyError, CacheError, PluginError, StorageError, UnreadableError
from astroanomaly.files import locked, read_json, sync_folder, write_json
from astroanomaly.records import CutoutBlock, Failure, Layout, Task

__all__ = [
    "SHARD_BYTES",
    "ShardWriter",
    "commit_staged",
    "create_cache",
    "plan_length",
    "plan_tasks",
    "read_description",
    "read_plan",
    "read_plan_parts",
    "write_lock",
]

SHARD_BYTES = 256 * 2**20
_UNFINISHED, _STAGED = ".tmp-*", ".tmp-staged-"  # a staged shard counts as unfinished until it is committed


def create_cache(path: Path, layout: Layout, tasks: Iterable[Task], description: Mapping[str, Any]) -> None:
    """Make the folder of a new cache with its plan and its description.

    The description comes last: a folder without one is no cache yet.

    Parameters
    ----------
    tasks
        The whole plan; kept so that a later run resumes from it instead of planning again.
    description
        What was asked for (source, inputs, options), as JSON values.
    """
    try:
        (path / schema.SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the cache folder {path} cannot be made: {error.strerror or error}") from error
    with schema.new_hdf5(path / schema.PLAN_FILE) as file:
        file.attrs.update({"format": "astroanomaly-plan", "version": schema.VERSION})
        for number, task in enumerate(tasks):
            group = file.create_group(f"{number:08d}")
            group.attrs["key"] = task.key
            payload = group.create_dataset("payload", data=np.frombuffer(task.payload_json.encode(), np.uint8))
            payload.attrs["content"] = "JSON"
            table = group.create_group("table", track_order=True)
            for name, values in task.table.items():
                schema.put(table, schema.column_key(name), values)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(
        path / schema.CACHE_FILE,
        {
            "format": "astroanomaly-cache",
            "version": schema.VERSION,
            "created": now,
            "layout": schema.layout_to_plain(layout),
            "request": dict(description),
        },
    )


def read_description(path: Path) -> dict[str, Any]:
    """Return what ``cache.json`` says, checked.

    Raises
    ------
    UnreadableError
        If there is no cache at this path.
    CacheError
        If it is damaged or of a newer version.
    """
    if not path.is_dir():
        raise UnreadableError(f"{path} is no cache: there is no such folder; make one with `astroanomaly ingest`")
    if not (path / schema.CACHE_FILE).is_file():
        raise UnreadableError(f"{path} is no cache: it has no {schema.CACHE_FILE}; make one with `astroanomaly ingest`")
    content = read_json(path / schema.CACHE_FILE)
    schema.check_format(content, "cache", path / schema.CACHE_FILE)
    return content


def read_plan(path: Path) -> Iterator[Task]:
    """Read back the tasks of a cache in their order."""
    return (task for _, task in read_plan_parts(path))


def plan_length(path: Path) -> int:
    """Return how many objects the plan of a cache knows, without reading it all."""
    with schema.open_hdf5(path / schema.PLAN_FILE) as file:
        schema.check_format(file.attrs, "plan", path / schema.PLAN_FILE)
        total = 0
        for group in file.values():
            for column in itertools.islice(group["table"], 1):
                total += len(schema.check_dataset(group["table"], column, (None,), "biufSO", path / schema.PLAN_FILE))
        return total


def plan_tasks(path: Path) -> int:
    """Return how many tasks the plan of a cache has."""
    with schema.open_hdf5(path / schema.PLAN_FILE) as file:
        schema.check_format(file.attrs, "plan", path / schema.PLAN_FILE)
        return len(file)


def read_plan_parts(path: Path, wanted: Callable[[int], bool] = lambda ordinal: True) -> Iterator[tuple[int, Task]]:
    """Read back the wanted tasks of a cache one after another, each with its place in the plan."""
    with schema.open_hdf5(path / schema.PLAN_FILE) as file:
        schema.check_format(file.attrs, "plan", path / schema.PLAN_FILE)
        for ordinal, name in enumerate(sorted(file)):
            if not wanted(ordinal):
                continue
            group = file[name]
            table = {}
            for key, dataset in group["table"].items():
                values = schema.read_texts(dataset) if dataset.dtype.kind in "SO" else dataset[...]
                table[schema.column_name(key)] = _with_attributes(np.asarray(values), dataset.attrs)
            yield ordinal, Task(str(group.attrs["key"]), json.loads(group["payload"][...].tobytes()), table)


def _with_attributes(values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Give a column back the unit and description it was stored with."""
    if not attributes:
        return values
    from astropy.table import Column
    from astropy.units import Unit

    unit = attributes.get("unit")
    return Column(
        values, unit=Unit(unit, parse_strict="silent") if unit else None, description=attributes.get("description")
    )


@contextlib.contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the cache for writing; temporary files of killed writers are removed, before and after.

    Raises
    ------
    BusyError
        If another process is writing to the cache.
    StorageError
        If the folder cannot be written to, or files in it cannot be locked.
    """
    try:
        lock = locked(path / schema.LOCK_FILE, wait=False)
    except BusyError:
        raise BusyError(f"another ingest is writing to {path}: wait for it, or stop it") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written to: {error.strerror or error}") from error
    with lock:
        if not lock.exclusive:
            raise StorageError(
                f"{path} cannot be written to: files cannot be locked there, so that another ingest could write to it "
                "at the same time; choose a folder on another file system, or have this one mounted with locks (flock)"
            )
        _sweep(path)
        try:
            yield
        finally:
            _sweep(path)


def _sweep(path: Path) -> None:
    for folder in (path, path / schema.SHARD_FOLDER):
        for leftover in folder.glob(_UNFINISHED):
            leftover.unlink(missing_ok=True)


def commit_staged(path: Path, names: Iterable[str]) -> None:
    """Make staged shards part of a cache, which must be held for writing.

    Raises
    ------
    StorageError
        If one is not there.
    """
    folder = path / schema.SHARD_FOLDER
    try:
        for name in names:
            (folder / f"{_STAGED}{name}.h5").replace(folder / f"{name}.h5")
        sync_folder(folder)
    except OSError as error:
        raise StorageError(
            f"a shard that a worker has written into {folder} cannot be taken in: {error.strerror or error}. All "
            "workers must see the same folder under the same path"
        ) from error


class ShardWriter:
    """Collect whole tasks and write them out as shards.

    Parameters
    ----------
    path
        Folder of the cache.
    layout
        The layout every cutout must have.
    limit
        Largest size of a shard's pixels in bytes.
    compression
        None (contiguous, can be memory-mapped) or ``gzip``.
    sync
        False for shards that are read once and thrown away: the disk is not waited for.
    stage
        Leave the shards to `commit_staged`, where whoever holds the cache decides which of them count: a worker of a
        cluster may do what another has done already.

    Attributes
    ----------
    staged
        Names of the shards that wait for `commit_staged`.

    Examples
    --------
    ::

        with ShardWriter(folder, layout) as writer:
            writer.begin(ordinal, task)
            writer.add(block)
            writer.commit()
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        *,
        limit: int = SHARD_BYTES,
        compression: str | None = None,
        sync: bool = True,
        stage: bool = False,
    ) -> None:
        self.path = path
        self.layout = layout
        self.limit = limit
        self.compression = compression
        self.sync = sync
        self.stage = stage
        self.staged: list[str] = []
        self._done: list[_TaskContent] = []
        self._open: _TaskContent | None = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what whole tasks gave; a task that was interrupted leaves nothing."""
        if kind is None or not issubclass(kind, StorageError):
            self.flush()

    def begin(self, ordinal: int, key: str | None) -> None:
        """Start a task; without a key, some objects of one that another shard has committed."""
        self._open = _TaskContent(ordinal, key)

    def add(self, item: CutoutBlock | Failure) -> None:
        """Take what the task gave.

        Raises
        ------
        CacheError
            If the block does not fit the cache's layout.
        """
        if self._open is None:
            raise CacheError("a block was added outside a task")
        if isinstance(item, Failure):
            self._open.failures.append(item)
        elif len(item):
            self._open.blocks.append(_fit(item, self.layout))
            self._open.nbytes += len(item) * self.layout.nbytes

    def commit(self) -> None:
        """End the task; the shard is written once it is full."""
        if self._open is None:
            raise CacheError("no task is open")
        if self._done and sum(task.nbytes for task in self._done) + self._open.nbytes > self.limit:
            self.flush()
        self._done.append(self._open)
        self._open = None

    def flush(self) -> None:
        """Write the finished tasks as one shard."""
        if self._done:
            name = uuid.uuid4().hex
            target = self.path / schema.SHARD_FOLDER / f"{_STAGED if self.stage else ''}{name}.h5"
            with schema.new_hdf5(target, sync=self.sync) as file:
                _write_shard(file, name, self.layout, self._done, self.compression)
            if self.stage:
                self.staged.append(name)
            self._done = []


class _TaskContent:
    """What one task has given so far."""

    def __init__(self, ordinal: int, key: str | None) -> None:
        self.ordinal = ordinal
        self.key = key
        self.blocks: list[CutoutBlock] = []
        self.failures: list[Failure] = []
        self.nbytes = 0


def _fit(block: CutoutBlock, layout: Layout) -> CutoutBlock:
    """Check a block against the layout; put its bands in order, leaving absent bands NaN."""
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
    if tuple(block.bands) != layout.bands:
        images, coverage = _reorder(images, coverage, block, layout)
    return CutoutBlock(
        ids=[str(object_id) for object_id in block.ids],
        images=images,
        bands=layout.bands,
        ra=_numbers(block.ra, len(block), np.nan),
        dec=_numbers(block.dec, len(block), np.nan),
        grid=block.grid,
        offsets=np.zeros((len(block), 2), np.int64) if block.offsets is None else np.asarray(block.offsets, np.int64),
        coverage=coverage,
        columns=block.columns,
        units=block.units,
    )


def _reorder(
    images: np.ndarray, coverage: np.ndarray, block: CutoutBlock, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    unknown = [band for band in block.bands if band not in layout.bands]
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
        ordered[:, layout.bands.index(band)] = images[:, plane]
        covered[:, layout.bands.index(band)] = coverage[:, plane]
    return ordered, covered


def _numbers(values: Any, count: int, default: float) -> np.ndarray:
    return np.full(count, default) if values is None else np.asarray(values, dtype=np.float64)


def _write_shard(
    file: h5py.File, name: str, layout: Layout, tasks: list[_TaskContent], compression: str | None
) -> None:
    """Write one shard; see ``docs/cache-format.md``."""
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
            "layout": json.dumps(schema.layout_to_plain(layout)),
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
    file: h5py.File, blocks: list[CutoutBlock], count: int, layout: Layout, compression: str | None
) -> None:
    shape = (count, len(layout.bands), layout.height, layout.width)
    chunks = (1, *shape[1:]) if compression and count else None
    images = file.create_dataset(
        "images", shape, layout.dtype, chunks=chunks, compression=compression if count else None, track_times=False
    )
    encoded = layout.dtype == "float16"
    scales, zeros = [], []
    start = 0
    for block in blocks:
        stop = start + len(block)
        pixels = block.images
        if encoded:
            pixels, scale, zero = _to_float16(pixels, block.ids)
            scales.append(scale)
            zeros.append(zero)
        images[start:stop] = pixels
        start = stop
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
