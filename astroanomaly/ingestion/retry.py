"""Find the objects of a cache that failed but need not have, and the tasks of its plan that read them again."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.errors import UnreadableError
from astroanomaly.records import Cutout, CutoutBlock, Failure, Task
from astroanomaly.tables.column_names import TASK_ID_NAMES

__all__ = ["exposed", "failed_rest", "failed_tasks", "keep_only", "reading_again", "rows_left"]


def failed_tasks(
    cache: Cache,
    tasks: Iterable[tuple[int, Task]],
    prefix: str,
    which: Callable[[Failure], bool] = lambda failure: True,
) -> tuple[list[tuple[int, Task]], frozenset[str]]:
    """Return ``(ordinal, task)`` pairs that read every object whose failure is not final, and the ids of these objects.

    ``tasks`` are those of the plan with their indices. ``which`` says which of these failures are meant.

    Where a task's table names its objects in a column ``object_id``, ``id`` or ``ids``, only their rows are left in it.
    Else whatever the shard of the failure was read from is read again. Ids are those of the source, without the prefix.
    """
    again = (failure for failure in cache.failures if failure.kind == "failed" and which(failure))
    wanted = {failure.object_id.removeprefix(prefix) for failure in again}
    suspects: dict[str, set[str]] = {}
    for shard in cache.shards:
        ids = wanted & {failure.object_id.removeprefix(prefix) for failure in shard.failures()[1]}
        for key in shard.task_keys() if ids else ():
            suspects.setdefault(key, set()).update(ids)
    return reading_again(tasks, suspects), frozenset(wanted)


def reading_again(tasks: Iterable[tuple[int, Task]], suspects: Mapping[str, set[str]]) -> list[tuple[int, Task]]:
    """Return ``(ordinal, task)`` pairs that read some objects again.

    Parameters
    ----------
    tasks
        Tasks with their indices in the plan.
    suspects
        Ids of the wanted objects, without the prefix, by the key of a task that may hold them. Where the table of one
        of these tasks names an object, it is read from there alone.
    """
    rows: list[tuple[int, Task, Task | None]] = []  # a task with its wanted rows, and whole if it may hold others
    placed: set[str] = set()
    for ordinal, task in tasks:
        if task.key in suspects:
            chosen, names = _rows_of(task, suspects[task.key])
            placed |= names
            rows.append((ordinal, task.take(chosen), task if suspects[task.key] - names else None))
    found = []
    for ordinal, part, whole in rows:
        if whole is not None and suspects[whole.key] - placed:
            found.append((ordinal, whole))
        elif len(part):
            found.append((ordinal, part))
    return found


def keep_only(item: CutoutBlock | Cutout | Failure, ids: Container[str]) -> CutoutBlock | Cutout | Failure | None:
    """Return what an item says of some objects and their exposures (``<product>/<id>``); None where it says nothing."""
    if isinstance(item, CutoutBlock):
        rows = np.array([row for row, name in enumerate(item.ids) if _object_of(name, ids)], np.int64)
        return item if len(rows) == len(item) else item.take(rows) if len(rows) else None
    return item if _object_of(item.object_id, ids) else None


def exposed(item: CutoutBlock | Cutout | Failure | None, ids: Container[str]) -> set[str]:
    """Return those of some objects that an item shows by exposures with ids of their own."""
    if item is None or isinstance(item, Failure):
        return set()
    names = item.ids if isinstance(item, CutoutBlock) else [item.object_id]
    return {_object_of(name, ids) for name in names if name not in ids}


def rows_left(task: Task, reported: Iterable[str]) -> np.ndarray:
    """Return the rows of a task's table whose objects were not reported; none where it does not name its objects."""
    column = next((name for name in TASK_ID_NAMES if name in task.table), None)
    ids = [] if column is None else _plain_ids(task.table[column])
    known = set(ids)
    done = {_object_of(name, known) for name in reported}
    return np.array([row for row, name in enumerate(ids) if name not in done], np.int64)


def failed_rest(task: Task, reported: Iterable[str], reason: str) -> Iterator[Failure]:
    """Yield a failure for every object of a task of which nothing was reported, not even by an exposure of it.

    Raises
    ------
    UnreadableError
        If the task does not name its objects.
    """
    column = next((name for name in TASK_ID_NAMES if name in task.table), None)
    if column is None:
        raise UnreadableError(f"the task {task.key!r} of the plan {reason}")
    ids = _plain_ids(task.table[column])
    wanted = set(ids)
    done = {_object_of(name, wanted) for name in reported}
    ra, dec = (np.asarray(task.table.get(name, np.full(len(ids), np.nan)), np.float64) for name in ("ra", "dec"))
    for name, lon, lat in zip(ids, ra.tolist(), dec.tolist(), strict=True):
        if name not in done:
            yield Failure(name, reason, lon, lat)


def _object_of(name: str, ids: Container[str]) -> str:
    """Return the id that a cutout belongs to: its own, or that of the object it is an exposure of; else empty."""
    while name and name not in ids:
        name = name.partition("/")[2]
    return name


def _rows_of(task: Task, ids: set[str]) -> tuple[np.ndarray, set[str]]:
    """Rows of objects in the task's table, and which were found there."""
    column = next((name for name in TASK_ID_NAMES if name in task.table), None)
    if column is None:
        return np.zeros(0, np.int64), set()
    names = _plain_ids(task.table[column])
    rows = [row for row, name in enumerate(names) if name in ids]
    return np.array(rows, np.int64), {names[row] for row in rows}


def _plain_ids(column: Any) -> list[str]:
    """Return the ids in a column of a task's table as text."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in np.asarray(column)]
