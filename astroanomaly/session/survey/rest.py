"""Objects of a survey that turn out to be needed after all: cut once more and scored, until the recall is certain."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.plan import read_plan
from astroanomaly.cache.schema import SHARD_FOLDER
from astroanomaly.cache.scores import read_part
from astroanomaly.fetch import Traffic
from astroanomaly.ingestion.workers import IngestContext, in_processes
from astroanomaly.records import Progress, Task
from astroanomaly.session.survey.best import BestObjects
from astroanomaly.session.survey.cascade import Cascade, CascadeReport
from astroanomaly.session.survey.parts import Survey, cut_tasks, cutting_folder

__all__ = ["until_certain"]


def until_certain(
    survey: Survey, cascade: Cascade, known: Cache, name: str, workers: int
) -> Generator[Progress, None, tuple[BestObjects, CascadeReport, Traffic]]:
    """Score what is pending, and more where the sample asks for it."""
    traffic = Traffic()
    while True:
        wanted = _pending(survey, cascade)
        done, total = 0, sum(len(ids) for ids, _ in wanted.values())
        if total:
            yield Progress("scoring more", done, total)
            for path, cut, asked in _cut_pending(survey.context, wanted, workers):
                _complete(survey, cascade, path, cut, name)
                traffic += asked
                done += len(wanted[path][0])
                yield Progress("scoring more", done, total)
        best, found, threshold = cascade.measure(survey.parts(), known)
        if threshold is None:
            cascade.finish(found)
            return best, found, traffic
        cascade.lower(threshold)


def _pending(survey: Survey, cascade: Cascade) -> dict[Path, tuple[frozenset[str], frozenset[int]]]:
    """Return the objects that are still to score, as the source names them, and their tasks, by part."""
    found = {}
    for part in survey.parts():
        rows = np.flatnonzero(cascade.pending(part))
        if len(rows):
            ids = frozenset(part.ids[row].removeprefix(survey.context.prefix) for row in rows.tolist())
            found[part.path(survey.scores)] = ids, frozenset(part.task[rows].tolist())
    return found


def _cut_pending(
    context: IngestContext, wanted: dict[Path, tuple[frozenset[str], frozenset[int]]], workers: int
) -> Iterator[tuple[Path, Path, Traffic]]:
    """Cut objects of some parts once more; yield the file of each part and the folder of its cutouts."""
    part_of = {ordinal: path for path, (_, ordinals) in wanted.items() for ordinal in ordinals}
    left = read_plan(context.out, lambda ordinal, _: ordinal in part_of)
    tasks = itertools.groupby(left, lambda task: part_of[task[0]])
    jobs = ((path, wanted[path][0], list(some)) for path, some in tasks)  # tasks of a part follow one another
    with cutting_folder(context.out) as folder:
        staging = replace(context, out=folder, sync=False)
        yield from in_processes(functools.partial(_cut_some, staging), staging, jobs, workers)


def _cut_some(
    context: IngestContext, job: tuple[Path, frozenset[str], list[tuple[int, Task]]]
) -> tuple[Path, Path, Traffic]:
    path, only, batch = job
    cut, _, traffic = cut_tasks(replace(context, only=only), batch)
    return path, cut, traffic


def _complete(survey: Survey, cascade: Cascade, path: Path, cut: Path, name: str) -> None:
    """Add the scores of objects that were cut once more to their part, and throw the cutouts away."""
    shards = [Shard(file, survey.context.layout) for file in sorted((cut / SHARD_FOLDER).glob("*.h5"))]
    found = [cascade.teacher(shard) for shard in shards]
    none = np.empty((0, len(survey.classes)), np.float32)
    part = cascade.completed(
        read_part(survey.scores, int(path.stem), survey.classes),
        [object_id for scores in found for object_id in scores.ids],
        np.concatenate([none, *(scores.log_odds for scores in found)]),
    )
    failures = [one for shard in shards for one in shard.failures()[1] if one.kind != "resolved"]
    replace(part, failures=[*part.failures, *failures]).write(survey.scores, survey.classes, name)
    for shard in shards:
        shard.release()
    shutil.rmtree(cut, ignore_errors=True)
