"""Description and plan of a cache: ``cache.json`` and its tasks, ``plan.h5``."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from astroanomaly.cache import schema
from astroanomaly.errors import CacheError, DamagedError, PluginError, UnreadableError
from astroanomaly.files import parse_json, read_json
from astroanomaly.records import Fact, Task

__all__ = [
    "count_plan",
    "plan_keys",
    "read_description",
    "read_facts",
    "read_plan",
    "write_plan",
]

_Wanted = Callable[[int, str], bool]
_REMEDY = "restore it from a copy, or make the cache anew in another folder"


def read_description(path: Path) -> dict[str, Any]:
    """Return what ``cache.json`` says, checked.

    Raises
    ------
    UnreadableError
        If there is no cache at this path.
    CacheError
        If it is damaged or of a newer version.
    """
    if not path.is_dir():
        raise UnreadableError(f"{path} is no cache: there is no such folder; make one with `astroanomaly ingest`")
    if not (path / schema.CACHE_FILE).is_file():
        raise UnreadableError(f"{path} is no cache: it has no {schema.CACHE_FILE}; make one with `astroanomaly ingest`")
    content = read_json(path / schema.CACHE_FILE, remedy=_REMEDY)
    schema.check_format(content, "cache", path / schema.CACHE_FILE)
    if not isinstance(content.get("request", {}), dict):
        raise DamagedError(f"{path / schema.CACHE_FILE} is damaged: its request is no object; {_REMEDY}")
    return content


def read_facts(description: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Return what the source understood of the request, as ``cache.json`` has it.

    None in caches of versions before 0.3; what is damaged there is left out, since nothing depends on it.
    """
    stored = description.get("facts")
    found = []
    for item in stored if isinstance(stored, list) else ():
        if isinstance(item, dict) and {"name", "text"} <= item.keys():
            with contextlib.suppress(PluginError):
                found.append(Fact(str(item["name"]), str(item["text"]), item.get("value")))
    return tuple(found)


def write_plan(path: Path, tasks: Iterable[Task]) -> None:
    """Write all tasks of a cache, so that a later run resumes from them instead of planning again."""
    with schema.new_hdf5(path / schema.PLAN_FILE) as file:
        file.attrs.update({"format": "astroanomaly-plan", "version": schema.VERSION})
        for number, task in enumerate(tasks):
            group = file.create_group(f"{number:08d}")
            group.attrs["key"] = task.key
            payload = group.create_dataset("payload", data=np.frombuffer(task.payload_json.encode(), np.uint8))
            payload.attrs["content"] = "JSON"
            table = group.create_group("table", track_order=True)
            for name, values in task.table.items():
                schema.put(table, schema.column_key(name), values)
            file.check()  # the tasks that follow may be long in coming


def count_plan(path: Path, wanted: _Wanted = lambda ordinal, key: True) -> tuple[int, int]:
    """Count the wanted tasks of a cache, and their objects, without reading their tables.

    Parameters
    ----------
    wanted
        Takes the index of a task in the plan, and its key.

    Returns
    -------
    tuple of int
        Tasks, and those of their objects that the plan knows.
    """
    tasks = objects = 0
    with _open_plan(path) as file:
        for _, group in _wanted_groups(file, wanted):
            tasks += 1
            for column in itertools.islice(group["table"], 1):
                objects += len(schema.check_dataset(group["table"], column, (None,), "biufSO", path / schema.PLAN_FILE))
    return tasks, objects


def plan_keys(path: Path) -> list[str]:
    """Return the keys of all tasks of a cache, by their indices in the plan."""
    with _open_plan(path) as file:
        return [str(group.attrs["key"]) for _, group in _wanted_groups(file, lambda ordinal, key: True)]


def read_plan(path: Path, wanted: _Wanted = lambda ordinal, key: True) -> Iterator[tuple[int, Task]]:
    """Read back the wanted tasks of a cache one after another, each with its index in the plan.

    Parameters
    ----------
    wanted
        Takes the index of a task, and its key.
    """
    with _open_plan(path) as file:
        for ordinal, group in _wanted_groups(file, wanted):
            table = {}
            for key, dataset in group["table"].items():
                values = schema.read_texts(dataset) if dataset.dtype.kind in "SO" else dataset[...]
                plain = np.asarray(values)
                table[schema.column_name(key)] = (
                    schema.described_column(plain, dataset.attrs) if dataset.attrs else plain
                )
            where = f"{path / schema.PLAN_FILE}, dataset {group.name.lstrip('/')}/payload"
            payload = parse_json(group["payload"][...].tobytes(), where, kind=dict, error=CacheError, remedy=_REMEDY)
            yield ordinal, Task(str(group.attrs["key"]), payload, table)


@contextlib.contextmanager
def _open_plan(path: Path) -> Iterator[h5py.File]:
    with schema.open_hdf5(path / schema.PLAN_FILE) as file:
        schema.check_format(file.attrs, "plan", path / schema.PLAN_FILE)
        yield file


def _wanted_groups(file: h5py.File, wanted: _Wanted) -> Iterator[tuple[int, h5py.Group]]:
    for ordinal, name in enumerate(sorted(file)):
        group = file[name]
        if wanted(ordinal, str(group.attrs["key"])):
            yield ordinal, group
