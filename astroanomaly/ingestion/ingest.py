"""Drain a source into a cache: in parallel, resumable, every object counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.plan import read_description, read_plan
from astroanomaly.cache.schema import layout_from_plain
from astroanomaly.cache.writer import create_cache, write_lock
from astroanomaly.config import FetchConfig, build, to_plain
from astroanomaly.fetch import Traffic, traffic, using
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion.plan import make_plan, read_request, refuse_other_request, refuse_strange_folder
from astroanomaly.ingestion.retry import failed_tasks
from astroanomaly.ingestion.workers import IngestReport, Job, read_tasks
from astroanomaly.parallel import dask as clusters
from astroanomaly.records import Download, Plan, Progress

__all__ = ["DryRun", "dry_run", "ingest", "ingest_steps", "open_job"]


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
    traffic
        What planning itself has asked of the network.
    """

    objects: int
    tasks: int
    downloads: tuple[Download, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)


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
    began = time.time()
    job, planning = yield from open_job(
        source, inputs, Path(out), prefix=prefix, compression=compression, fetch=fetch, options=options
    )
    with write_lock(job.out), clusters.connect(scheduler, workers) as cluster:
        if cluster is not None:
            job = replace(job, out=job.out.absolute(), stage=True)  # workers may be elsewhere
        report = yield from _run(job, cluster or workers, retry_failed)
        load_index(job.out)
    return replace(report, traffic=planning + report.traffic, seconds=time.time() - began)


def open_job(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path],
    out: Path,
    *,
    prefix: str = "",
    compression: str | None = None,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Generator[Progress, None, tuple[Job, Traffic]]:
    """Make the plan of a request in a folder, or check that the plan there is of the same request.

    Returns
    -------
    tuple of Job and Traffic
        What readers of its tasks need, and what planning asked of the network.
    """
    began = time.time()
    loaded, request, chosen = read_request(source, inputs, options)
    config = _fetch_config(fetch)
    description = {
        "source": loaded.name,
        "inputs": list(request.inputs),
        "options": to_plain(chosen),
        "prefix": prefix,
    }
    planning = Traffic()
    if not (out / "cache.json").is_file():
        refuse_strange_folder(out)
        yield Progress("planning", 0)
        before = traffic()
        with using(config, began):
            layout, tasks = make_plan(loaded, request, chosen)
        planning = traffic() - before
        create_cache(out, layout, tasks, description)
    content = read_description(out)
    refuse_other_request(content, description, loaded.Options, out)
    layout = layout_from_plain(content.get("layout"), out / "cache.json")
    return Job(loaded, out, layout, prefix, compression, config, began), planning


def dry_run(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> DryRun:
    """Plan an ingest and say what it would do. No cache is written; what planning fetches is kept."""
    loaded, request, chosen = read_request(source, inputs, options)
    before = traffic()
    with using(_fetch_config(fetch)):
        plan = loaded.plan(request, chosen)
        sizes = [len(task) for task in plan]
    downloads = tuple(plan.downloads) if isinstance(plan, Plan) else ()
    return DryRun(sum(sizes), len(sizes), downloads, traffic() - before)


def _fetch_config(given: FetchConfig | Mapping[str, Any] | None) -> FetchConfig:
    return given if isinstance(given, FetchConfig) else build(FetchConfig, given or {}, "fetch")


def _run(job: Job, workers: int | clusters.Cluster, retry_failed: bool) -> Generator[Progress, None, IngestReport]:
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
    for part in read_tasks(replace(job, barred=frozenset(retried)), left, workers):
        report = _add(report, part)
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("cutting", done, max(total, done), {"failed": float(report.failed.total())})
    if again:
        done, total = 0, len(failed)
        yield Progress("retrying", done, total)
        for part in read_tasks(replace(job, only=failed), again, workers):
            report = _add(report, part)
            done += part.cut + part.failed.total() + part.no_coverage
            yield Progress("retrying", done, max(total, done), {"failed": float(part.failed.total())})
    return report


def _add(one: IngestReport, two: IngestReport) -> IngestReport:
    return replace(
        one,
        cut=one.cut + two.cut,
        failed=one.failed + two.failed,
        no_coverage=one.no_coverage + two.no_coverage,
        traffic=one.traffic + two.traffic,
    )
