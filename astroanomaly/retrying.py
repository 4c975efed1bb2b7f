"""Find the objects of a cache that failed but need not have, and the pieces of its plan that read them again."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.records import Cutout, CutoutBlock, Failure, Task

__all__ = ["failed_tasks", "keep_only"]

_ID_COLUMNS = ("object_id", "id", "ids")


def failed_tasks(cache: Cache, tasks: Sequence[Task], prefix: str) -> tuple[list[tuple[int, Task]], frozenset[str]]:
    """Return ``(ordinal, task)`` pairs that read every object whose failure is not final, and the ids of these objects.

    Where a task's table names its objects in a column ``object_id``, ``id`` or ``ids``, only their rows are left in it.
    Else whatever the shard of the failure was read from is read again. Ids are those of the source, without the prefix.
    """
    wanted = {failure.object_id.removeprefix(prefix) for failure in cache.failures if failure.kind == "failed"}
    suspects: dict[str, set[str]] = {}
    for shard in cache.shards:
        ids = wanted & {failure.object_id.removeprefix(prefix) for failure in shard.failures()[1]}
        for key in shard.task_keys() if ids else ():
            suspects.setdefault(key, set()).update(ids)
    rows = {ordinal: _rows_of(task, suspects[task.key]) for ordinal, task in enumerate(tasks) if task.key in suspects}
    placed = {name for _, names in rows.values() for name in names}
    found = []
    for ordinal, (places, names) in rows.items():
        task = tasks[ordinal]
        if suspects[task.key] - placed:
            found.append((ordinal, task))
        elif names:
            found.append((ordinal, task.take(places)))
    return found, frozenset(wanted)


def keep_only(item: CutoutBlock | Cutout | Failure, ids: Container[str]) -> CutoutBlock | Cutout | Failure | None:
    """Return what an item says of some objects; None where it says nothing."""
    if isinstance(item, CutoutBlock):
        places = np.array([place for place, object_id in enumerate(item.ids) if object_id in ids], np.int64)
        return item if len(places) == len(item) else item.take(places) if len(places) else None
    return item if item.object_id in ids else None


def _rows_of(task: Task, ids: set[str]) -> tuple[np.ndarray, set[str]]:
    """Places of objects in the task's table, and which were found there."""
    column = next((name for name in _ID_COLUMNS if name in task.table), None)
    if column is None:
        return np.zeros(0, np.int64), set()
    names = [value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(task.table[column])]
    places = [place for place, name in enumerate(names) if name in ids]
    return np.array(places, np.int64), {names[place] for place in places}
