"""Group objects by the images they are cut from, and say what fetching those will take."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from astroanomaly import ConfigError, Download, FetchError, Task, fetch
from astroanomaly_plugins.shared.positions import Positions
from astroanomaly_plugins.shared.web import Web
from astroanomaly_plugins.vo.links import Access, Via, access_to
from astroanomaly_plugins.vo.plan import Candidates
from astroanomaly_plugins.vo.reading import CHOICE

__all__ = ["downloads", "find_ways", "make_tasks"]

_log = logging.getLogger(__name__)
_OBJECTS_PER_TASK = 128  # if cutouts are fetched one by one; those of a whole file are one task
_HEADER_BYTES = 5760
Ways = Mapping[int, Access]


def _best(found: Candidates, row: int, bands: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of the best image of each band, -1 for none."""
    choices = found.rows[row]
    return tuple(choices[band][0] if band in choices else -1 for band in bands)


def best_images(found: Candidates, bands: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the numbers of the images of each band that are the best of an object, the most used first."""
    used: dict[str, Counter[int]] = {band: Counter() for band in bands}
    for row in found.rows:
        for band, number in zip(bands, _best(found, row, bands) if found.rows[row] else (), strict=False):
            used[band].update([number] if number >= 0 else [])
    return {band: [number for number, _ in counts.most_common()] for band, counts in used.items()}


def find_ways(found: Candidates, bands: tuple[str, ...], web: Web, via: Via) -> Ways:
    """Find out how each image that is the best of an object is reached; those that are not are left out.

    Raises
    ------
    ConfigError
        If none of them may be fetched, for where its address leads.
    """
    wanted = sorted({n for row in found.rows if found.rows[row] for n in _best(found, row, bands)} - {-1})
    ask = functools.partial(_ask, found, web, via)
    ways: dict[int, Access] = {}
    refused: Counter[str] = Counter()
    for number, way in fetch.each(ask, wanted):
        if isinstance(way, FetchError):
            refusal = web.refusal(found.products[number].url)
            refused.update([refusal] if refusal else [])
            _log.warning("%s", way)
            continue
        ways[number] = way
        refusal = web.refusal(way.soda["url"] if way.soda else way.whole)
        refused.update([refusal] if refusal else [])
    if refused and refused.total() == len(wanted):
        reason, count = refused.most_common(1)[0]
        raise ConfigError(f"none of the {len(wanted)} images may be fetched; of {count} of them {reason}")
    return ways


def _ask(found: Candidates, web: Web, via: Via, number: int) -> Access:
    return access_to(found.products[number], web, via)


def make_tasks(
    found: Candidates,
    positions: Positions,
    bands: tuple[str, ...],
    payload: Mapping[str, Any],
    ways: Ways,
    block: int = 0,
) -> list[Task]:
    """Make tasks of objects with the same best images, so that a whole file is needed by one task.

    Parameters
    ----------
    block
        Number of the block of objects, which tells its tasks from those of others.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, choices in sorted(found.rows.items()):
        if choices:
            groups[_best(found, row, bands)].append(row)
    tasks = []
    for best, members in groups.items():
        single = any(number in ways and ways[number].soda for number in best)
        step = _OBJECTS_PER_TASK if single else len(members)
        name = " + ".join(found.products[number].did for number in best if number >= 0)
        for start in range(0, len(members), step):
            tasks.append((name, _task(found, positions, bands, payload, members[start : start + step], block)))
    return [task for _, task in sorted(tasks, key=lambda item: (item[0], item[1].key))]


def _task(
    found: Candidates,
    positions: Positions,
    bands: tuple[str, ...],
    payload: Mapping[str, Any],
    members: list[int],
    block: int,
) -> Task:
    numbers = sorted({n for row in members for choice in found.rows[row].values() for n in choice})
    local = {number: k for k, number in enumerate(numbers)}
    table = positions.table(np.array(members))
    for band in bands:
        texts = [" ".join(str(local[n]) for n in found.rows[row].get(band, ())) for row in members]
        table[CHOICE + band] = np.array(texts)
    plain = [found.products[number].plain for number in numbers]
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    number = f"{block:06d}-" if block else ""
    return Task(f"vo-{digest[:12]}-{number}{members[0]:08d}", {**payload, "products": plain}, table)


def downloads(found: Candidates, bands: tuple[str, ...], ways: Ways, size: int) -> list[Download]:
    """Say what will be fetched of each image that is the best of an object."""
    used = Counter(n for row in found.rows if found.rows[row] for n in set(_best(found, row, bands)))
    listed = []
    for number, way in sorted(ways.items()):
        name = found.products[number].did
        if way.soda:
            nbytes = used[number] * (size**2 * 8 + _HEADER_BYTES)
            listed.append(Download(f"{name} (cutouts)", used[number], nbytes))
        else:
            listed.append(Download(name, 1, way.nbytes))
    return listed
