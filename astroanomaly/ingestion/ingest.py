"""Drain a source into a cache: in parallel, resumable, every object counted."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.layout import layout_from_plain
from astroanomaly.cache.plan import count_plan, read_description, read_facts, read_plan
from astroanomaly.cache.schema import CACHE_FILE, INPUT_FOLDER
from astroanomaly.cache.writer import create_cache, write_lock
from astroanomaly.config import FetchConfig, option_types
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.fetch import Traffic, down_hosts, traffic, using
from astroanomaly.hookspecs import DescribingSource, Source
from astroanomaly.ingestion.plan import (
    CountedTasks,
    complete_facts,
    make_plan,
    refuse_other_request,
    refuse_strange_folder,
)
from astroanomaly.ingestion.record import begin_record
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.retry import failed_tasks
from astroanomaly.ingestion.workers import IngestContext, IngestReport, read_tasks
from astroanomaly.parallel.dask import Cluster, connect
from astroanomaly.parallel.limits import ReadLimits
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Download, Fact, Failure, Progress, Task, drain

if TYPE_CHECKING:
    from astropy.io.fits import HDUList

__all__ = ["DryRun", "dry_run", "hold_folder", "ingest", "ingest_steps", "plan_ingest"]


@dataclass(frozen=True)
class DryRun:
    """Tasks, objects and downloads of an ingest that is only planned.

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
    facts
        What was understood of the request.
    """

    objects: int
    tasks: int
    downloads: tuple[Download, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    facts: tuple[Fact, ...] = ()


def ingest(
    source: str | Source,
    inputs: str | Path | HDUList | Sequence[str | Path | HDUList] = (),
    *,
    out: str | Path,
    prefix: str = "",
    workers: int = 1,
    scheduler: str | None = None,
    compression: str | None = None,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    limits: ReadLimits | Mapping[str, Any] | None = None,
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
        Files, folders or addresses, as text or `pathlib.Path`; open HDULists. An HDUList that has no file, or is not as
        its file has it, is written into the folder ``inputs`` of the cache, where workers and later calls find it.
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
    limits
        What a file may ask for, time and memory too: a `ReadLimits`, or some of its values by name. It may differ from
        call to call.
    retry_failed
        Once all tasks are done, read the objects again that had failed in an earlier call, but for those the survey
        has not seen.
    progress
        Called with a `Progress` now and then.
    **options
        Options of the source, as in ``astroanomaly ingest NAME --help``. Catalogues may be paths, astropy tables or
        SkyCoord; sizes pixels, ``(height, width)``, or angles as `astropy.units.Quantity` or text.

    Returns
    -------
    Cache
        The finished cache; ``cache.failures`` lists the objects that could not be cut, ``cache.facts`` what was
        understood of the request.

    Raises
    ------
    AstroAnomalyError
        Whatever makes the whole run impossible. What was committed before stays, and the same call resumes.
    """
    if not isinstance(out, str | Path):
        raise ConfigError(f"out: {type(out).__name__} cannot name the cache: expected the path of a folder")
    if "preview" in options and not _has_option(source, "preview"):
        raise ConfigError("ingest writes a cache; a preview, which writes none, is made by astroanomaly.preview(...)")
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"workers={workers!r}: expected a whole number of processes, 1 or more")
    request = SourceRequest.of(
        source,
        inputs,
        options=options,
        prefix=prefix,
        fetch=fetch,
        limits=limits,
        retry_failed=retry_failed,
        compression=compression,
    )
    drain(ingest_steps(request, out, workers=workers, scheduler=scheduler), progress)
    return Cache.open(out)


def ingest_steps(
    request: SourceRequest, out: str | Path, *, workers: int = 1, scheduler: str | None = None
) -> Generator[Progress, None, IngestReport]:
    """As `ingest`, as a generator of progress reports that returns an `IngestReport`."""
    began = time.time()
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(begin_record(request, scheduler, Path(out)))
        request = replace(request, fetch=run.fetch)
        stack.enter_context(hold_folder(Path(out)))
        cluster = stack.enter_context(connect(scheduler, workers))
        context, planning = yield from plan_ingest(request, Path(out))
        if cluster is not None:
            context = replace(context, out=context.out.absolute())  # workers may be elsewhere
        report = yield from _run(context, cluster or workers, request.retry_failed)
        load_index(context.out)
        if run.fetch.record:
            run.note(cut=report.cut, failed=report.failed, digest=Cache.open(context.out).digest())
    return replace(report, traffic=planning + report.traffic, seconds=time.time() - began)


@contextlib.contextmanager
def hold_folder(out: Path) -> Iterator[None]:
    """Hold the folder of a cache for writing, from before its plan is made; a folder that stays without one is removed.

    Raises
    ------
    BusyError
        If another process is writing to it.
    StorageError
        If something else is there, or it cannot be written to.
    """
    if not (out / CACHE_FILE).is_file():
        refuse_strange_folder(out)
    was_there = out.is_dir()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the cache folder {out} cannot be made: {error.strerror or error}") from error
    with write_lock(out):
        try:
            yield
        finally:
            if not was_there and not (out / CACHE_FILE).is_file():
                shutil.rmtree(out, ignore_errors=True)


def plan_ingest(request: SourceRequest, out: Path) -> Generator[Progress, None, tuple[IngestContext, Traffic]]:
    """Make the plan of a request in a folder that is held, or check that the plan there is of the same request.

    Returns
    -------
    tuple of IngestContext and Traffic
        What readers of its tasks need, and what planning asked of the network.
    """
    began = time.time()
    planning = Traffic()
    given, inputs, is_new = request, out / INPUT_FOLDER, not (out / CACHE_FILE).is_file()
    request = given.stored(inputs, write=is_new)
    if is_new:
        yield Progress("planning", 0)
        before = traffic()
        with using(request.fetch, began):
            layout, tasks, facts = make_plan(request)
            create_cache(out, layout, tasks, request.description, facts)
        planning = traffic() - before
    content = read_description(out)
    refuse_other_request(content, request, out)
    given.stored(inputs)  # once more, where somebody has removed them
    yield Progress("planning", 0, facts=read_facts(content))
    layout = layout_from_plain(content.get("layout"), out / CACHE_FILE)
    context = IngestContext(
        request.source, out, layout, request.prefix, request.compression, request.fetch, request.limits, began
    )
    return context, planning


def dry_run(request: SourceRequest) -> DryRun:
    """Plan an ingest and say what it would do. No cache is written; what planning fetches is kept."""
    before = traffic()
    with begin_record(request) as run, using(run.fetch), request.stored_for_now() as stored:
        planned = stored.plan()
        tasks = CountedTasks(planned, request.source)
        for _ in tasks:
            pass
    facts = complete_facts(planned.facts, planned.layout, tasks)
    return DryRun(tasks.objects, tasks.number, tuple(planned.downloads), traffic() - before, facts)


def describe(request: SourceRequest) -> Sequence[Fact]:
    """Ask a source what its archives have; no cache is written, and nothing is planned.

    Raises
    ------
    ConfigError
        If this source cannot say.
    """
    if not isinstance(request.source, DescribingSource):
        raise ConfigError(f"the source {request.source.name} cannot say what its archives have")
    with begin_record(request) as run, using(run.fetch):
        return request.source.describe(request.options)


def _run(context: IngestContext, workers: int | Cluster, retry_failed: bool) -> Generator[Progress, None, IngestReport]:
    cache = Cache.open(context.out)
    keys = [(shard, shard.task_keys()) for shard in cache.shards]
    committed = {key for _, found in keys for key in found}
    again, failed = failed_tasks(cache, read_plan(context.out), context.prefix) if retry_failed else ([], frozenset())

    def is_left(ordinal: int, key: str) -> bool:
        return key not in committed

    tasks, total = count_plan(context.out)
    left, objects = count_plan(context.out, is_left) if committed else (tasks, total)
    done = total - objects
    report = IngestReport(resumed=tasks - left)
    # A shard without tasks holds objects that were retried; they stay when the shard they failed in is cut anew.
    retried = {name.removeprefix(context.prefix) for shard, found in keys if left and not found for name in shard.ids}
    yield Progress("cutting", done, total, message="" if isinstance(workers, int) else workers.announce())
    for part in read_tasks(replace(context, barred=frozenset(retried)), read_plan(context.out, is_left), workers):
        report = _add(report, part)
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("cutting", done, max(total, done), {"failed": float(report.failed.total())})
    if again:
        report = yield from _read_again(context, report, again, failed, workers)
    hosts = yield from _await_hosts(context)
    if hosts:
        cache = Cache.open(context.out)
        left_out = Counter(one.reason for one in cache.failures if one.kind == "failed" and _names(one, hosts))
        came = failed_tasks(cache, read_plan(context.out), context.prefix, lambda failure: _names(failure, hosts))
        if came[0]:
            report = yield from _read_again(context, replace(report, failed=report.failed - left_out), *came, workers)
    return report


def _read_again(
    context: IngestContext,
    report: IngestReport,
    again: list[tuple[int, Task]],
    failed: frozenset[str],
    workers: int | Cluster,
) -> Generator[Progress, None, IngestReport]:
    """Read objects that failed once more; those of this run are no failures any more where they succeed."""
    done, total = 0, len(failed)
    yield Progress("retrying", done, total)
    for part in read_tasks(replace(context, only=failed), again, workers):
        report = _add(report, part)
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("retrying", done, max(total, done), {"failed": float(part.failed.total())})
    return report


def _await_hosts(context: IngestContext) -> Generator[Progress, None, list[str]]:
    """Return the hosts that were down in this run and may be up again, once the rest of each is over."""
    if not getattr(context.source, "fetches", False):
        return []
    with using(context.fetch, context.began):
        hosts = [mark for mark in down_hosts() if not mark.given_up]
    left = max((mark.until - time.time() for mark in hosts if not mark.up), default=0.0)
    if left > 0:
        yield Progress("waiting", 0, message=f"for {', '.join(mark.host for mark in hosts)}, which did not answer")
        time.sleep(left)
    return [mark.host for mark in hosts]


def _names(failure: Failure, hosts: Sequence[str]) -> bool:
    """Whether the reason of a failure is one of these hosts."""
    return any(f"({host})" in failure.reason for host in hosts)


def _has_option(source: str | Source, name: str) -> bool:
    loaded = load_plugins("source").source(source) if isinstance(source, str) else source
    return name in option_types(loaded.Options)


def _add(one: IngestReport, two: IngestReport) -> IngestReport:
    return replace(
        one,
        cut=one.cut + two.cut,
        failed=one.failed + two.failed,
        no_coverage=one.no_coverage + two.no_coverage,
        traffic=one.traffic + two.traffic,
    )
