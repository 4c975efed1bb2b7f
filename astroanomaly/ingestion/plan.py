"""From a request to the plan of a cache: layout and tasks; and whether a cache was made by the same request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache.writer import SHARD_BYTES
from astroanomaly.config import current_names
from astroanomaly.errors import CacheError, PluginError, StorageError
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.records import Cutout, CutoutBlock, Failure, Layout, Plan, Task

__all__ = ["make_plan", "refuse_other_request", "refuse_strange_folder"]


def make_plan(request: SourceRequest) -> tuple[Layout, list[Task]]:
    """Ask the source for its tasks; find the layout; split tasks that would not fit a shard."""
    source, plan = request.source, request.plan()
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


def refuse_strange_folder(out: Path) -> None:
    """Refuse to make a cache where something else is."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out} exists and is no folder: choose another --out")
    known = {"shards", "plan.h5", ".lock"}
    if out.is_dir() and any(item.name not in known and not item.name.startswith(".tmp-") for item in out.iterdir()):
        raise StorageError(f"{out} is not empty and holds no cache: choose another --out")


def refuse_other_request(content: dict[str, Any], request: SourceRequest, out: Path) -> None:
    """Refuse to resume a cache that was made by another request: one cache, one plan."""
    description = request.description
    known = dict(content.get("request", {}))
    if isinstance(known.get("options"), dict):
        known["options"] = current_names(request.source.Options, known["options"])
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
