"""Drain a source into a cache: in parallel, resumable, every object counted."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from astroanomaly import clusters, parallel
from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.schema import layout_from_plain
from astroanomaly.cache.writer import ShardWriter, commit_staged, create_cache, read_description, read_plan, write_lock
from astroanomaly.config import FetchConfig, build, to_plain
from astroanomaly.fetch import Tally, tally, using
from astroanomaly.hookspecs import Source
from astroanomaly.planning import make_plan, read_request, refuse_other_request, refuse_strange_folder
from astroanomaly.records import Cutout, CutoutBlock, Download, Failure, Layout, Plan, Progress, Task
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
    stage: bool = False  # leave shards to be committed by whoever holds the cache


def ingest(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    prefix: str = "",
    workers: int = 1,
    scheduler: str | None = None,
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
        Number of processes on this machine.
    scheduler
        Read on a Dask cluster: the address of its scheduler, such as ``tcp://host:8786``, whose workers are used then;
        or ``local``, a cluster of ``workers`` processes on this machine.
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
        scheduler=scheduler,
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
    scheduler: str | None = None,
    compression: str | None = None,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    retry_failed: bool = False,
    options: dict[str, Any] | None = None,
) -> Generator[Progress, None, IngestReport]:
    """As `ingest`, as a generator of progress reports that returns an `IngestReport`."""
    out, began = Path(out), time.time()
    loaded, request, chosen = read_request(source, inputs, options)
    config = _fetch_config(fetch)
    description = {
        "source": loaded.name,
        "inputs": list(request.inputs),
        "options": to_plain(chosen),
        "prefix": prefix,
    }
    planning = Tally()
    if not (out / "cache.json").is_file():
        refuse_strange_folder(out)
        yield Progress("planning", 0)
        before = tally()
        with using(config, began):
            layout, tasks = make_plan(loaded, request, chosen)
        planning = tally() - before
        create_cache(out, layout, tasks, description)
    content = read_description(out)
    refuse_other_request(content, description, out)
    layout = layout_from_plain(content.get("layout"), out / "cache.json")
    with write_lock(out), clusters.connect(scheduler, workers) as cluster:
        folder = out if cluster is None else out.absolute()  # workers may be elsewhere
        job = _Job(loaded, folder, layout, prefix, compression, config, began, stage=cluster is not None)
        report = yield from _run(job, cluster or workers, retry_failed)
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
    loaded, request, chosen = read_request(source, inputs, options)
    before = tally()
    with using(_fetch_config(fetch)):
        plan = loaded.plan(request, chosen)
        sizes = [len(task) for task in plan]
    downloads = tuple(plan.downloads) if isinstance(plan, Plan) else ()
    return DryRun(sum(sizes), len(sizes), downloads, tally() - before)


def _fetch_config(given: FetchConfig | Mapping[str, Any] | None) -> FetchConfig:
    return given if isinstance(given, FetchConfig) else build(FetchConfig, given or {}, "fetch")


def _run(job: _Job, workers: int | clusters.Cluster, retry_failed: bool) -> Generator[Progress, None, IngestReport]:
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
    yield Progress("cutting", done, total, message="" if isinstance(workers, int) else workers.announce())
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


def _parts(job: _Job, tasks: list[tuple[int, Task]], workers: int | clusters.Cluster) -> Iterator[IngestReport]:
    """Read tasks in batches and yield what came of each batch."""
    fetches = getattr(job.source, "fetches", False)
    batches = _batches(tasks, job.layout, _BATCH_BYTES // 8 if fetches else _BATCH_BYTES)  # an archive is slow
    waits = False
    if isinstance(workers, int):
        workers = min(workers, len(batches))
        waits = fetches and workers > 1
    with parallel.workers_end_at_interrupt() if waits else contextlib.nullcontext():
        for report, staged in parallel.run(functools.partial(_read_batch, job), batches, workers):
            commit_staged(job.out, staged)
            yield report


def _add(one: IngestReport, two: IngestReport) -> IngestReport:
    return replace(
        one,
        cut=one.cut + two.cut,
        failed=one.failed + two.failed,
        no_coverage=one.no_coverage + two.no_coverage,
        tally=one.tally + two.tally,
    )


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


def _read_batch(job: _Job, batch: list[tuple[int, Task]]) -> tuple[IngestReport, list[str]]:
    """Read some tasks and write them; the process that reads writes. Return the shards that are still to commit."""
    cut = no_coverage = 0
    failed: Counter[str] = Counter()
    before = tally()
    if job.stage:
        clusters.need(job.out / "cache.json")
    new = ShardWriter(job.out, job.layout, compression=job.compression, stage=job.stage)
    with using(job.fetch, job.began), new as writer:
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
    return IngestReport(cut, failed, no_coverage=no_coverage, tally=tally() - before), writer.staged


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
