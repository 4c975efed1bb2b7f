"""Drain a source into a cache: in parallel, resumable, every object counted."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import multiprocessing
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import parallel
from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.schema import layout_from_plain
from astroanomaly.cache.writer import SHARD_BYTES, ShardWriter, create_cache, read_description, read_plan, write_lock
from astroanomaly.config import FetchConfig, build, to_plain
from astroanomaly.errors import CacheError, PluginError, StorageError
from astroanomaly.fetch import Tally, tally, using
from astroanomaly.hookspecs import Source
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Cutout, CutoutBlock, Download, Failure, Layout, Plan, Progress, Request, Task
from astroanomaly.retrying import exposed, failed_tasks, keep_only

__all__ = ["DryRun", "IngestReport", "dry_run", "ingest", "ingest_steps"]

_log = logging.getLogger(__name__)
_BATCH_BYTES = 64 * 2**20  # pixels a worker collects before it commits them: what a kill can cost


@dataclass(frozen=True)
class IngestReport:
    """What came of an ingest.

    Attributes
    ----------
    cut
        Cutouts written by this run.
    failed
        Failures of this run that may succeed another time, counted by reason.
    resumed
        Tasks that an earlier run had already committed.
    no_coverage
        Objects that the survey has not seen.
    tally
        What was asked of the network.
    seconds
        How long it took.
    """

    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    no_coverage: int = 0
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0


@dataclass(frozen=True)
class DryRun:
    """What an ingest would do.

    Attributes
    ----------
    objects
        Objects that the plan knows; sources that find them while reading give 0.
    tasks
        Number of tasks.
    downloads
        What reading them would fetch, as far as the source says.
    tally
        What planning itself has asked of the network.
    """

    objects: int
    tasks: int
    downloads: tuple[Download, ...] = ()
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to know beside its tasks."""

    source: Source
    out: Path
    layout: Layout
    prefix: str
    compression: str | None
    fetch: FetchConfig
    began: float
    only: frozenset[str] | None = None  # ids to read, None for all
    barred: frozenset[str] = frozenset()  # ids that another shard has


def ingest(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    prefix: str = "",
    workers: int = 1,
    compression: str | None = None,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Cache:
    """Cut the objects of a survey into a cache, or finish what an earlier call began.

    Parameters
    ----------
    source
        Name of an installed source (``fits``, ``images`` ...) or a source object.
    inputs
        Files, folders or addresses.
    out
        Folder of the cache.
    prefix
        Text put before every object id, to keep ids of several caches apart.
    workers
        Number of processes.
    compression
        None, or ``gzip``; compressed pixels cannot be memory-mapped.
    fetch
        How archives are asked: a `FetchConfig`, or some of its values by name. It may differ from call to call.
    retry_failed
        Once all tasks are done, read the objects again that had failed in an earlier call, but for those the survey
        has not seen.
    progress
        Called with a `Progress` now and then.
    **options
        Options of the source, as in ``astroanomaly ingest NAME --help``.

    Returns
    -------
    Cache
        The finished cache; ``cache.failures`` lists the objects that could not be cut.

    Raises
    ------
    AstroAnomalyError
        Whatever makes the whole run impossible. What was committed before stays, and the same call resumes.
    """
    steps = ingest_steps(
        source,
        inputs,
        out=out,
        prefix=prefix,
        workers=workers,
        compression=compression,
        fetch=fetch,
        retry_failed=retry_failed,
        options=options,
    )
    for step in steps:
        if progress is not None:
            progress(step)
    return Cache.open(out)


def ingest_steps(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    prefix: str = "",
    workers: int = 1,
    compression: str | None = None,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    options: dict[str, Any] | None = None,
) -> Generator[Progress, None, IngestReport]:
    """As `ingest`, as a generator of progress reports that returns an `IngestReport`."""
    out, began = Path(out), time.time()
    loaded, request, chosen = _request(source, inputs, options)
    config = _fetch_config(fetch)
    description = {
        "source": loaded.name,
        "inputs": list(request.inputs),
        "options": to_plain(chosen),
        "prefix": prefix,
    }
    planning = Tally()
    if not (out / "cache.json").is_file():
        _refuse_strange_folder(out)
        yield Progress("planning", 0)
        before = tally()
        with using(config, began):
            layout, tasks = _plan(loaded, request, chosen)
        planning = tally() - before
        create_cache(out, layout, tasks, description)
    content = read_description(out)
    _refuse_other_request(content, description, out)
    layout = layout_from_plain(content.get("layout"), out / "cache.json")
    with write_lock(out):
        report = yield from _run(_Job(loaded, out, layout, prefix, compression, config, began), workers, retry_failed)
        load_index(out)
    return replace(report, tally=planning + report.tally, seconds=time.time() - began)


def dry_run(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> DryRun:
    """Plan an ingest and say what it would do. No cache is written; what planning fetches is kept."""
    loaded, request, chosen = _request(source, inputs, options)
    before = tally()
    with using(_fetch_config(fetch)):
        plan = loaded.plan(request, chosen)
        sizes = [len(task) for task in plan]
    downloads = tuple(plan.downloads) if isinstance(plan, Plan) else ()
    return DryRun(sum(sizes), len(sizes), downloads, tally() - before)


def _request(
    source: str | Source, inputs: str | Path | Sequence[str | Path], options: dict[str, Any] | None
) -> tuple[Source, Request, Any]:
    loaded = load_plugins().source(source) if isinstance(source, str) else source
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    chosen = _absolute(build(loaded.Options, options or {}))
    return loaded, Request(tuple(_absolute_path(item) for item in given)), chosen


def _fetch_config(given: FetchConfig | Mapping[str, Any] | None) -> FetchConfig:
    return given if isinstance(given, FetchConfig) else build(FetchConfig, given or {}, "fetch")


def _run(job: _Job, workers: int, retry_failed: bool) -> Generator[Progress, None, IngestReport]:
    cache = Cache.open(job.out)
    keys = [(shard, shard.task_keys()) for shard in cache.shards]
    committed = {key for _, found in keys for key in found}
    tasks = list(read_plan(job.out))
    again, failed = failed_tasks(cache, tasks, job.prefix) if retry_failed else ([], frozenset())
    left = [(ordinal, task) for ordinal, task in enumerate(tasks) if task.key not in committed]
    total = sum(len(task) for task in tasks)
    done = total - sum(len(task) for _, task in left)
    report = IngestReport(resumed=len(tasks) - len(left))
    # A shard without tasks holds objects that were retried; they stay when the shard they failed in is cut anew.
    retried = {name.removeprefix(job.prefix) for shard, found in keys if left and not found for name in shard.ids}
    yield Progress("cutting", done, total)
    for part in _parts(replace(job, barred=frozenset(retried)), left, workers):
        report = _add(report, part)
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("cutting", done, max(total, done), {"failed": float(report.failed.total())})
    if again:
        done, total = 0, len(failed)
        yield Progress("retrying", done, total)
        for part in _parts(replace(job, only=failed), again, workers):
            report = _add(report, part)
            done += part.cut + part.failed.total() + part.no_coverage
            yield Progress("retrying", done, max(total, done), {"failed": float(part.failed.total())})
    return report


def _parts(job: _Job, tasks: list[tuple[int, Task]], workers: int) -> Iterator[IngestReport]:
    """Read tasks in batches and yield what came of each batch."""
    fetches = getattr(job.source, "fetches", False)
    batches = _batches(tasks, job.layout, _BATCH_BYTES // 8 if fetches else _BATCH_BYTES)  # an archive is slow
    workers = min(workers, len(batches))
    with _workers_end_at_interrupt() if fetches and workers > 1 else contextlib.nullcontext():
        yield from parallel.run(functools.partial(_read_batch, job), batches, workers)


@contextlib.contextmanager
def _workers_end_at_interrupt() -> Iterator[None]:
    """On Ctrl-C, end worker processes that wait for an archive: what they have not committed is done again."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # somebody else decides what Ctrl-C does
        return

    others = set(multiprocessing.active_children())

    def end(*_: Any) -> None:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _add(one: IngestReport, two: IngestReport) -> IngestReport:
    return replace(
        one,
        cut=one.cut + two.cut,
        failed=one.failed + two.failed,
        no_coverage=one.no_coverage + two.no_coverage,
        tally=one.tally + two.tally,
    )


def _plan(source: Source, request: Request, options: Any) -> tuple[Layout, list[Task]]:
    """Ask the source for its tasks; find the layout; split tasks that would not fit a shard."""
    plan = source.plan(request, options)
    tasks = list(plan)
    keys = Counter(task.key for task in tasks)
    doubled = [key for key, count in keys.items() if count > 1]
    if doubled:
        raise PluginError(f"source {source.name!r} plans two tasks with the key {doubled[0]!r}")
    if not tasks:
        raise CacheError(f"source {source.name!r} found nothing to cut in {', '.join(request.inputs) or 'its request'}")
    layout = plan.layout if isinstance(plan, Plan) else None
    if layout is None:
        layout = _layout_of_first(source, tasks)
    rows = max(1, SHARD_BYTES // 4 // layout.nbytes)
    return layout, [part for task in tasks for part in task.split(rows)]


def _layout_of_first(source: Source, tasks: Iterable[Task]) -> Layout:
    reasons: Counter[str] = Counter()
    for task in tasks:
        for item in source.read(task):
            if isinstance(item, Failure):
                reasons[item.reason] += 1
                continue
            block = CutoutBlock.of(item) if isinstance(item, Cutout) else item
            display = np.asarray(block.images).dtype == np.uint8
            return Layout(
                bands=tuple(block.bands),
                height=block.images.shape[2],
                width=block.images.shape[3],
                dtype="uint8" if display else "float32",
                pixel_kind="display" if display else "flux",
                units=tuple(block.units),
            )
    why = f"; the most frequent reason: {reasons.most_common(1)[0][0]}" if reasons else ""
    raise CacheError(f"source {source.name!r} gave no cutout at all, {reasons.total()} failures{why}")


def _batches(left: list[tuple[int, Task]], layout: Layout, limit: int) -> list[list[tuple[int, Task]]]:
    """Group neighbouring tasks to about one commit's worth of pixels."""
    batches: list[list[tuple[int, Task]]] = []
    size = math.inf
    for ordinal, task in left:
        nbytes = max(1, len(task)) * layout.nbytes
        if size + nbytes > limit or batches[-1][-1][0] != ordinal - 1:
            batches.append([])
            size = 0
        batches[-1].append((ordinal, task))
        size += nbytes
    return batches


def _read_batch(job: _Job, batch: list[tuple[int, Task]]) -> IngestReport:
    """Read some tasks and commit them; the process that reads writes."""
    cut = no_coverage = 0
    failed: Counter[str] = Counter()
    before = tally()
    with using(job.fetch, job.began), ShardWriter(job.out, job.layout, compression=job.compression) as writer:
        for ordinal, task in batch:
            writer.begin(ordinal, task.key if job.only is None else None)
            for item in _items(job, task):
                if isinstance(item, Failure):
                    writer.add(replace(item, object_id=job.prefix + item.object_id))
                    no_coverage += item.kind == "no coverage"
                    if item.kind == "failed":
                        failed[item.reason] += 1
                    continue
                block = CutoutBlock.of(item) if isinstance(item, Cutout) else item
                if job.prefix:
                    block = replace(block, ids=[job.prefix + object_id for object_id in block.ids])
                writer.add(block)
                cut += len(block)
            writer.commit()
    return IngestReport(cut, failed, no_coverage=no_coverage, tally=tally() - before)


def _items(job: _Job, task: Task) -> Iterator[CutoutBlock | Cutout | Failure]:
    """Yield what a source reads, without the objects that are not wanted."""
    resolved: set[str] = set()
    for item in job.source.read(task):
        kept: CutoutBlock | Cutout | Failure | None = item
        if job.only is not None:
            kept = keep_only(item, job.only)
            resolved |= exposed(kept, job.only)
        elif job.barred:
            ids = item.ids if isinstance(item, CutoutBlock) else [item.object_id]
            kept = keep_only(item, set(ids) - job.barred)
        if kept is not None:
            yield kept
    yield from (Failure(name, "cut as exposures", kind="resolved") for name in sorted(resolved))


def _absolute(options: Any) -> Any:
    """Make paths among the options absolute, so that a resumed run finds them from anywhere."""
    changed = {name: value.absolute() for name, value in vars(options).items() if isinstance(value, Path)}
    return replace(options, **changed) if changed else options


def _absolute_path(item: str | Path) -> str:
    text = str(item)
    return text if "://" in text else str(Path(text).absolute())


def _refuse_strange_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out} exists and is no folder: choose another --out")
    known = {"shards", "plan.h5", ".lock"}
    if out.is_dir() and any(item.name not in known and not item.name.startswith(".tmp-") for item in out.iterdir()):
        raise StorageError(f"{out} is not empty and holds no cache: choose another --out")


def _refuse_other_request(content: dict[str, Any], description: dict[str, Any], out: Path) -> None:
    """Resuming is for the same request only: one cache, one plan."""
    known = content.get("request", {})
    for part in ("source", "inputs", "prefix", "options"):
        if known.get(part) != description[part]:
            raise CacheError(
                f"{out} was made by another request: its {part} was {known.get(part)!r}, now it is "
                f"{description[part]!r}. Choose another --out, or repeat the first request to resume it"
            )
