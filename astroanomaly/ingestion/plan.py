"""From a request to the plan of a cache: layout and tasks; and whether a cache was made by the same request."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache.schema import INPUT_FOLDER
from astroanomaly.cache.writer import SHARD_BYTES
from astroanomaly.config import current_names
from astroanomaly.errors import CacheError, PluginError, StorageError
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.workers import read_some
from astroanomaly.parallel.limits import limited
from astroanomaly.parallel.watched import Watch
from astroanomaly.records import Cutout, CutoutBlock, Fact, Failure, Layout, Task

__all__ = ["CountedTasks", "complete_facts", "layout_of", "make_plan", "refuse_other_request", "refuse_strange_folder"]

_MOST_FACTS = 100
_BANDS_LISTED = 20


class CountedTasks:
    """Tasks of a source, counted as they are taken: none is kept.

    Parameters
    ----------
    tasks
        The tasks, taken once.
    source
        Whose they are.

    Attributes
    ----------
    number
        How many were taken.
    objects
        How many objects these name.

    Raises
    ------
    PluginError
        While they are taken, at a task whose key another one has.
    """

    def __init__(self, tasks: Iterable[Task], source: Source) -> None:
        self.number = self.objects = 0
        self._tasks, self._source = iter(tasks), source
        self._keys: set[str] = set()

    def __iter__(self) -> Iterator[Task]:
        for task in self._tasks:
            if task.key in self._keys:
                raise PluginError(f"source {self._source.name!r} plans two tasks with the key {task.key!r}")
            self._keys.add(task.key)
            self.number += 1
            self.objects += len(task)
            yield task


def make_plan(request: SourceRequest) -> tuple[Layout, Iterator[Task], Callable[[], tuple[Fact, ...]]]:
    """Ask the source for its tasks; find the layout; split tasks that would not fit a shard; say what was understood.

    Returns
    -------
    layout
        Of the cutouts.
    tasks
        Taken from the source one by one, so that a plan of any length needs the memory of a task.
    facts
        Gives what was understood, once all tasks are taken. What the source does not say of bands and size comes from
        the layout.
    """
    source, plan = request.source, request.plan()
    counted = CountedTasks(plan, source)
    tasks = iter(counted)
    first = list(itertools.islice(tasks, 1))
    if not first:
        raise CacheError(f"source {source.name!r} found nothing to cut in {', '.join(request.inputs) or 'its request'}")
    layout = plan.layout
    if layout is None:
        layout = _layout_of_first(request, first, tasks)
    rows = max(1, SHARD_BYTES // 4 // layout.nbytes)
    parts = (part for task in itertools.chain(first, tasks) for part in task.split(rows))
    return layout, parts, lambda: complete_facts(plan.facts, layout, counted)


def complete_facts(facts: Iterable[Fact], layout: Layout | None, tasks: CountedTasks) -> tuple[Fact, ...]:
    """Add what the plan says of objects, bands and size where the source says nothing of them.

    Parameters
    ----------
    facts
        What the source says.
    layout
        Of the cutouts, where it is known.
    tasks
        The plan, of which every task was taken.

    Raises
    ------
    PluginError
        If two facts have one name, or there are more than a hundred.
    """
    said = list(facts)
    names = [fact.name for fact in said]
    if len(set(names)) < len(names) or len(names) > _MOST_FACTS:
        raise PluginError(f"a source says {len(names)} facts, {len(set(names))} of them of different names")
    if "objects" not in names and tasks.objects:
        words = f"{tasks.objects} in {tasks.number} {'task' if tasks.number == 1 else 'tasks'}"
        said.append(Fact("objects", words, tasks.objects))
    if layout is not None and "bands" not in names:
        pairs = list(zip(layout.bands, layout.units, strict=True))
        words = ", ".join(f"{band} [{unit}]" if unit else band for band, unit in pairs[:_BANDS_LISTED])
        more = f" and {len(pairs) - _BANDS_LISTED} more" if len(pairs) > _BANDS_LISTED else ""
        said.append(Fact("bands", words + more, {band: {"unit": unit} for band, unit in pairs}))
    if layout is not None and "size" not in names:
        pixels = [layout.height, layout.width]
        said.append(Fact("size", f"{layout.width} x {layout.height} pixels (width x height)", {"pixels": pixels}))
    return tuple(said)


def _layout_of_first(request: SourceRequest, taken: list[Task], tasks: Iterator[Task]) -> Layout:
    """Read tasks until one gives a cutout; those that are taken for it are added to ``taken``."""
    source, watch, reasons = request.source, Watch(), Counter[str]()
    for number in itertools.count():
        if number == len(taken):
            taken += itertools.islice(tasks, 1)
        if number == len(taken):
            break
        task = taken[number]
        with limited(request.limits):
            found, _ = read_some(source, task, 1, request.fetch, time.time(), watch)
        for item in found:
            if isinstance(item, Failure):
                reasons[item.reason] += 1
                continue
            return layout_of(CutoutBlock.of(item) if isinstance(item, Cutout) else item)
    why = f"; the most frequent reason: {reasons.most_common(1)[0][0]}" if reasons else ""
    raise CacheError(f"source {source.name!r} gave no cutout at all, {reasons.total()} failures{why}")


def layout_of(block: CutoutBlock) -> Layout:
    """Return the layout of a block of cutouts."""
    display = np.asarray(block.images).dtype == np.uint8
    return Layout(
        bands=tuple(block.bands),
        height=block.images.shape[2],
        width=block.images.shape[3],
        dtype="uint8" if display else "float32",
        pixel_kind="display" if display else "flux",
        units=tuple(block.units),
    )


def refuse_strange_folder(out: Path) -> None:
    """Refuse to make a cache where something else is."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out} exists and is no folder: choose another --out")
    known = {"shards", "plan.h5", ".lock", INPUT_FOLDER}
    if out.is_dir() and any(item.name not in known and not item.name.startswith(".tmp-") for item in out.iterdir()):
        raise StorageError(f"{out} is not empty and holds no cache: choose another --out")


def refuse_other_request(content: dict[str, Any], request: SourceRequest, out: Path) -> None:
    """Refuse to resume a cache that was made by another request: one cache, one plan."""
    description = request.description
    known = dict(content.get("request", {}))
    if isinstance(known.get("options"), dict):
        known["options"] = current_names(request.source.Options, known["options"])
        for item in fields(request.options):  # an option that the cache's version did not have had its default
            if item.name in description["options"] and getattr(request.options, item.name) == item.default:
                known["options"].setdefault(item.name, description["options"][item.name])
    for part in ("source", "inputs", "prefix", "options"):
        before, now = known.get(part), description[part]
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            part = next(name for name in {**before, **now} if before.get(name) != now.get(name))
            before, now = before.get(part), now.get(part)
        raise CacheError(
            f"{out} was made by another request: its {part} was {before!r}, now it is {now!r}. Choose another --out, "
            "or repeat the first request to resume it"
        )
