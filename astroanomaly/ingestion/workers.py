"""Read the tasks of a plan in batches, in one process or in several: the process that reads writes."""

from __future__ import annotations

import functools
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.cache.writer import ShardWriter, commit_staged
from astroanomaly.config import FetchConfig
from astroanomaly.errors import AstroAnomalyError, BudgetError, StorageError
from astroanomaly.fetch import Traffic, traffic, using
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion.retry import exposed, failed_rest, keep_only, rows_left
from astroanomaly.parallel.cores import sharing_cores
from astroanomaly.parallel.dask import Cluster, need
from astroanomaly.parallel.limits import ReadLimits, limited
from astroanomaly.parallel.processes import run
from astroanomaly.parallel.threads import prefetch
from astroanomaly.parallel.watch import NO_MEMORY, reading
from astroanomaly.parallel.watched import Watch
from astroanomaly.records import Cutout, CutoutBlock, Failure, Layout, Task

__all__ = [
    "BatchResult",
    "IngestContext",
    "IngestReport",
    "in_batches",
    "in_processes",
    "read_batch",
    "read_some",
    "read_task",
    "read_tasks",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
_log = logging.getLogger(__name__)
_ALONE_S = 2.0  # for which a source that does not fetch is read by one process: another takes as long to start
_BATCH_BYTES = 64 * 2**20  # pixels a worker collects before it commits them: what a kill can cost


@dataclass(frozen=True)
class IngestReport:
    """Result of an ingest: counts of objects and failures.

    Attributes
    ----------
    cut
        Cutouts written by this run.
    failed
        Failures of this run, counted by reason; without objects that the survey has not seen.
    resumed
        Tasks that an earlier run had already committed.
    no_coverage
        Objects that the survey has not seen.
    traffic
        What was asked of the network.
    seconds
        How long it took.
    """

    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    no_coverage: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    seconds: float = 0.0


@dataclass(frozen=True)
class BatchResult:
    """What came of some tasks.

    Attributes
    ----------
    report
        Their objects.
    staged
        Shards that are still to commit.
    broken
        What ended the reading before the last of the tasks; the shards hold those before it.
    """

    report: IngestReport
    staged: tuple[str, ...] = ()
    broken: AstroAnomalyError | None = None


@dataclass(frozen=True)
class IngestContext:
    """Settings of a worker beside its tasks.

    Attributes
    ----------
    source
        Reads the tasks.
    out
        Folder of the cache.
    layout
        Layout of the cutouts.
    prefix
        Put before every id.
    compression
        Of the pixels.
    fetch
        How archives are asked.
    limits
        What a file may ask for.
    began
        When, in seconds since 1970.
    only
        Ids to read, as the source gives them; None: all.
    barred
        Ids that another shard has.
    sync
        Whether the disk is waited for.
    stage
        Whether shards are left to be committed by whoever holds the cache.
    processes
        That read at once on this computer, and share its cores.
    watch
        Ends processes that take too long.
    """

    source: Source
    out: Path
    layout: Layout
    prefix: str
    compression: str | None
    fetch: FetchConfig
    limits: ReadLimits
    began: float
    only: frozenset[str] | None = None
    barred: frozenset[str] = frozenset()
    sync: bool = True
    stage: bool = False
    processes: int = 1
    watch: Watch = field(default_factory=Watch, compare=False)


def read_batch(context: IngestContext, batch: list[tuple[int, Task]]) -> BatchResult:
    """Read some tasks and write them, in a process that is watched.

    The process that reads writes. Where one is ended, nothing it has written counts, and the batch is read again. One
    worker reads a source that fetches in this process.
    """
    with limited(context.limits):
        return context.watch.call(functools.partial(_read_batch, context), batch)


def _read_batch(context: IngestContext, batch: list[tuple[int, Task]]) -> BatchResult:
    cut = no_coverage = 0
    failed: Counter[str] = Counter()
    before = traffic()
    broken: AstroAnomalyError | None = None
    if context.stage:
        need(context.out / CACHE_FILE)
    new = ShardWriter(
        context.out, context.layout, compression=context.compression, sync=context.sync, stage=context.stage
    )
    with sharing_cores(context.processes), using(context.fetch, context.began), new as writer:
        for ordinal, task in batch:
            writer.begin(ordinal, task.key if context.only is None else None)
            try:
                for item in _items(context, task):
                    if isinstance(item, Failure):
                        writer.add(replace(item, object_id=context.prefix + item.object_id))
                        no_coverage += item.kind == "no coverage"
                        if item.kind in ("failed", "no position"):
                            failed[item.reason] += 1
                        continue
                    block = CutoutBlock.of(item) if isinstance(item, Cutout) else item
                    if context.prefix:
                        block = replace(block, ids=[context.prefix + object_id for object_id in block.ids])
                    writer.add(block)
                    cut += len(block)
            except StorageError:
                raise
            except AstroAnomalyError as error:
                broken = error
                break
            writer.commit()
    report = IngestReport(cut, failed, no_coverage=no_coverage, traffic=traffic() - before)
    return BatchResult(report, tuple(writer.staged), broken)


def _items(context: IngestContext, task: Task) -> Iterator[CutoutBlock | Cutout | Failure]:
    """Yield what a source reads, without the objects that are not wanted."""
    resolved: set[str] = set()
    for item in read_task(context.source, task):
        kept: CutoutBlock | Cutout | Failure | None = item
        if context.only is not None:
            kept = keep_only(item, context.only)
            resolved |= exposed(kept, context.only)
        elif context.barred:
            ids = item.ids if isinstance(item, CutoutBlock) else [item.object_id]
            kept = keep_only(item, set(ids) - context.barred)
        if kept is not None:
            yield kept
    yield from (Failure(name, "cut as exposures", kind="resolved") for name in sorted(resolved))


def read_task(source: Source, task: Task) -> Iterator[CutoutBlock | Cutout | Failure]:
    """Yield what a source reads; objects of the task that it has not come to when it breaks off are failures.

    In a watched process each step of a source that reads files has the time of a file. Where a step took longer, the
    objects of its task are read one by one.

    Raises
    ------
    UnreadableError
        If it breaks off at a task that does not name its objects.
    """
    yield from _read(source, task, f"task {task.key}")


def _read(source: Source, task: Task, name: str) -> Iterator[CutoutBlock | Cutout | Failure]:
    reported: set[str] = set()
    try:
        for item in _steps(source, task, name):
            reported.update(item.ids if isinstance(item, CutoutBlock) else [item.object_id])
            yield item
    except BudgetError as error:
        rows = rows_left(task, reported)
        if len(task) == 1 or not len(rows):
            yield from failed_rest(task, reported, str(error).removeprefix(f"{name}: "))
            return
        for row in rows.tolist():
            yield from _read(source, task.take(np.array([row])), f"{name}, row {row}")
    except AstroAnomalyError:
        raise
    except Exception as error:  # noqa: BLE001 - a plugin and its libraries may raise anything on a damaged file
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        if isinstance(error, MemoryError):
            reason = NO_MEMORY
        _log.warning("source %s broke off at its task %s: %s", source.name, task.key, reason, exc_info=True)
        yield from failed_rest(task, reported, f"cannot be read: {reason}")


def _steps(source: Source, task: Task, name: str) -> Iterator[CutoutBlock | Cutout | Failure]:
    """Yield what a source reads, each step within the time of a file; one that fetches waits for an archive."""
    if getattr(source, "fetches", False):
        yield from source.read(task)
        return
    items = iter(source.read(task))
    while True:
        with reading(name, nbytes=0):
            item = next(items, None)
        if item is None:
            return
        yield item


def read_some(
    source: Source, task: Task, wanted: int, fetch: FetchConfig, began: float, watch: Watch
) -> tuple[list[CutoutBlock | Cutout | Failure], Traffic]:
    """Read a task until it has given some cutouts, in a process that is watched unless its source fetches.

    Returns
    -------
    list, Traffic
        What it gave, and what was asked of the network.
    """
    watch.here = bool(getattr(source, "fetches", False))
    return watch.call(_read_some, (source, task, wanted, fetch, began))


def _read_some(
    what: tuple[Source, Task, int, FetchConfig, float],
) -> tuple[list[CutoutBlock | Cutout | Failure], Traffic]:
    source, task, wanted, fetch, began = what
    found: list[CutoutBlock | Cutout | Failure] = []
    before = traffic()
    with using(fetch, began):
        for item in read_task(source, task):
            found.append(item)
            wanted -= 0 if isinstance(item, Failure) else len(item) if isinstance(item, CutoutBlock) else 1
            if wanted <= 0:
                break
    return found, traffic() - before


def read_tasks(
    context: IngestContext, tasks: Iterable[tuple[int, Task]], workers: int | Cluster
) -> Iterator[IngestReport]:
    """Read tasks into a cache and yield what came of each batch of them.

    Parameters
    ----------
    tasks
        Tasks with their indices in the plan; taken as they are needed.
    workers
        Number of processes, or a cluster.
    """
    here = isinstance(workers, int)  # the disk is waited for in this process, while others cut what comes next
    processes = workers if isinstance(workers, int) else 1
    # only who holds the lock takes shards in
    staging = replace(context, stage=True, sync=not here, processes=processes)

    def commit(done: BatchResult) -> None:
        commit_staged(context.out, done.staged, sync=here)

    def until_broken() -> Iterator[BatchResult]:
        for done in in_batches(read_batch, staging, tasks, workers):
            yield done
            if done.broken is not None:  # what was read is committed before anything else
                return

    depth = 0 if getattr(context.source, "fetches", False) else 1  # an archive is slow: its batches are told of at once
    for done, _ in prefetch(commit, until_broken(), depth=depth):
        yield done.report
        if done.broken is not None:
            raise done.broken


def in_batches(
    function: Callable[[IngestContext, list[tuple[int, Task]]], Result],
    context: IngestContext,
    tasks: Iterable[tuple[int, Task]],
    workers: int | Cluster,
) -> Iterator[Result]:
    """Call a function, which must be importable by name, for one batch of tasks after another; as `read_tasks`."""
    fetches = getattr(context.source, "fetches", False)
    batches = _batches(tasks, context.layout, _BATCH_BYTES // 8 if fetches else _BATCH_BYTES)  # an archive is slow
    yield from in_processes(functools.partial(function, context), context, batches, workers)


def in_processes(
    function: Callable[[Item], Result], context: IngestContext, items: Iterable[Item], workers: int | Cluster
) -> Iterator[Result]:
    """Call a function that reads with a context for each item, as `run`; the context's processes are made ready."""
    fetches = getattr(context.source, "fetches", False)
    if isinstance(workers, int):
        waiting = iter(items)
        first = list(itertools.islice(waiting, workers))
        workers, items = min(workers, len(first)), itertools.chain(first, waiting)
        context.watch.several = workers > 1
        context.watch.here = workers <= 1 and fetches  # what a client has been told and its logins are known here
    yield from run(function, items, workers, stop=context.watch.end, alone_s=0.0 if fetches else _ALONE_S)


def _batches(left: Iterable[tuple[int, Task]], layout: Layout, limit: int) -> Iterator[list[tuple[int, Task]]]:
    """Group neighbouring tasks to about one commit's worth of pixels."""
    batch: list[tuple[int, Task]] = []
    size = 0
    for ordinal, task in left:
        nbytes = max(1, len(task)) * layout.nbytes
        if batch and (size + nbytes > limit or batch[-1][0] != ordinal - 1):
            yield batch
            batch, size = [], 0
        batch.append((ordinal, task))
        size += nbytes
    if batch:
        yield batch
