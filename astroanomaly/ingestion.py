"""Drain a source into a cache: in parallel, resumable, every object counted."""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import parallel
from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.schema import layout_from_plain
from astroanomaly.cache.writer import SHARD_BYTES, ShardWriter, create_cache, read_description, read_plan, write_lock
from astroanomaly.config import build, to_plain
from astroanomaly.errors import CacheError, PluginError, StorageError
from astroanomaly.hookspecs import Source
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Cutout, CutoutBlock, Failure, Layout, Plan, Progress, Request, Task

__all__ = ["IngestReport", "ingest", "ingest_steps"]

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
        Failures of this run, counted by reason.
    resumed
        Tasks that an earlier run had already committed.
    """

    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    resumed: int = 0


def ingest(
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    out: str | Path,
    prefix: str = "",
    workers: int = 1,
    compression: str | None = None,
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
        source, inputs, out=out, prefix=prefix, workers=workers, compression=compression, options=options
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
    options: dict[str, Any] | None = None,
) -> Generator[Progress, None, IngestReport]:
    """As `ingest`, as a generator of progress reports that returns an `IngestReport`."""
    out = Path(out)
    loaded = load_plugins().source(source) if isinstance(source, str) else source
    chosen = _absolute(build(loaded.Options, options or {}))
    given = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    request = Request(tuple(_absolute_path(item) for item in given))
    description = {
        "source": loaded.name,
        "inputs": list(request.inputs),
        "options": to_plain(chosen),
        "prefix": prefix,
    }
    if not (out / "cache.json").is_file():
        _refuse_strange_folder(out)
        yield Progress("planning", 0)
        layout, tasks = _plan(loaded, request, chosen)
        create_cache(out, layout, tasks, description)
    content = read_description(out)
    _refuse_other_request(content, description, out)
    layout = layout_from_plain(content.get("layout"), out / "cache.json")
    with write_lock(out):
        report = yield from _run(loaded, out, layout, prefix, workers, compression)
        load_index(out)
    return report


def _run(
    source: Source, out: Path, layout: Layout, prefix: str, workers: int, compression: str | None
) -> Generator[Progress, None, IngestReport]:
    cache = Cache.open(out)
    committed = {key for shard in cache.shards for key in shard.task_keys()}
    tasks = list(read_plan(out))
    left = [(ordinal, task) for ordinal, task in enumerate(tasks) if task.key not in committed]
    total = sum(len(task) for task in tasks)
    done = total - sum(len(task) for _, task in left)
    yield Progress("cutting", done, total)
    counted: Counter[str] = Counter()
    cut = 0
    work = functools.partial(_read_batch, source, out, layout, prefix, compression)
    batches = _batches(left, layout)
    for batch_cut, failures in parallel.run(work, batches, min(workers, len(batches))):
        cut += batch_cut
        counted.update(failures)
        done += batch_cut + sum(failures.values())
        yield Progress("cutting", done, max(total, done), {"failed": float(counted.total())})
    return IngestReport(cut, counted, len(tasks) - len(left))


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


def _batches(left: list[tuple[int, Task]], layout: Layout) -> list[list[tuple[int, Task]]]:
    """Group neighbouring tasks to about one commit's worth of pixels."""
    batches: list[list[tuple[int, Task]]] = []
    size = math.inf
    for ordinal, task in left:
        nbytes = max(1, len(task)) * layout.nbytes
        if size + nbytes > _BATCH_BYTES or batches[-1][-1][0] != ordinal - 1:
            batches.append([])
            size = 0
        batches[-1].append((ordinal, task))
        size += nbytes
    return batches


def _read_batch(
    source: Source, out: Path, layout: Layout, prefix: str, compression: str | None, batch: list[tuple[int, Task]]
) -> tuple[int, Counter[str]]:
    """Read some tasks and commit them; the process that reads writes."""
    cut = 0
    failed: Counter[str] = Counter()
    with ShardWriter(out, layout, compression=compression) as writer:
        for ordinal, task in batch:
            writer.begin(ordinal, task.key)
            for item in source.read(task):
                if isinstance(item, Failure):
                    failed[item.reason] += 1
                    writer.add(replace(item, object_id=prefix + item.object_id))
                    continue
                block = CutoutBlock.of(item) if isinstance(item, Cutout) else item
                if prefix:
                    block = replace(block, ids=[prefix + object_id for object_id in block.ids])
                writer.add(block)
                cut += len(block)
            writer.commit()
    return cut, failed


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
