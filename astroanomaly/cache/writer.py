"""Write a cache: its folder, then shards under a temporary name, synced, renamed, and never changed after that."""

from __future__ import annotations

import contextlib
import datetime
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from astroanomaly.cache import schema
from astroanomaly.cache.encoding import TaskContent, fit_block, write_shard
from astroanomaly.cache.file_digest import signed_json
from astroanomaly.cache.layout import layout_to_plain
from astroanomaly.cache.plan import write_plan
from astroanomaly.errors import BusyError, CacheError, StorageError
from astroanomaly.files import locked, sync_file, sync_folder, write_json
from astroanomaly.records import CutoutBlock, Fact, Failure, Layout, Task

__all__ = ["SHARD_BYTES", "ShardWriter", "commit_staged", "create_cache", "write_lock"]

SHARD_BYTES = 256 * 2**20
_UNFINISHED, _STAGED = ".tmp-*", ".tmp-staged-"  # a staged shard counts as unfinished until it is committed


def create_cache(
    path: Path,
    layout: Layout,
    tasks: Iterable[Task],
    description: Mapping[str, Any],
    facts: Callable[[], Iterable[Fact]] = tuple,
) -> None:
    """Make the folder of a new cache with its plan and its description.

    The description comes last: a folder without one is no cache yet.

    Parameters
    ----------
    tasks
        The whole plan; kept so that a later run resumes from it instead of planning again. They are written one by one.
    description
        What was asked for (source, inputs, options), as JSON values.
    facts
        Gives what the source understood of it, once the tasks are written.
    """
    try:
        (path / schema.SHARD_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the cache folder {path} cannot be made: {error.strerror or error}") from error
    write_plan(path, tasks)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(
        path / schema.CACHE_FILE,
        signed_json(
            {
                "format": "astroanomaly-cache",
                "version": schema.VERSION,
                "created": now,
                "layout": layout_to_plain(layout),
                "request": dict(description),
                "facts": [asdict(fact) for fact in facts()],
            }
        ),
    )


@contextlib.contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the cache for writing; temporary files of killed writers are removed, before and after.

    Raises
    ------
    BusyError
        If another process is writing to the cache.
    StorageError
        If the folder cannot be written to.
    """
    try:
        lock = locked(path / schema.LOCK_FILE, wait=False)
    except BusyError as error:
        raise BusyError(f"another ingest is writing to {path}: wait for it, or stop it ({error})") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be written to: {error.strerror or error}") from error
    with lock:
        _sweep(path)
        try:
            yield
        finally:
            _sweep(path)


def _sweep(path: Path) -> None:
    for folder in (path, path / schema.SHARD_FOLDER):
        for leftover in folder.glob(_UNFINISHED):
            leftover.unlink(missing_ok=True)


def commit_staged(path: Path, names: Iterable[str], *, sync: bool = False) -> None:
    """Make staged shards part of a cache, which must be held for writing.

    Parameters
    ----------
    path
        Folder of the cache.
    names
        The shards.
    sync
        Wait for the disk first, where the one who wrote them has not.

    Raises
    ------
    StorageError
        If one is not there.
    """
    folder = path / schema.SHARD_FOLDER
    try:
        for name in names:
            if sync:
                sync_file(folder / f"{_STAGED}{name}.h5")
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
        self.layout = layout.stored
        self.limit = limit
        self.compression = compression
        self.sync = sync
        self.stage = stage
        self.staged: list[str] = []
        self._done: list[TaskContent] = []
        self._open: TaskContent | None = None

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
        self._open = TaskContent(ordinal, key)

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
            self._open.blocks.append(fit_block(item, self.layout))
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
                write_shard(file, name, self.layout, self._done, self.compression)
            if self.stage:
                self.staged.append(name)
            self._done = []
