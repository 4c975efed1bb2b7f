"""Objects of a survey that turn out to be needed after all: cut once more and scored, until the recall is certain."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.plan import read_plan
from astroanomaly.cache.schema import SHARD_FOLDER
from astroanomaly.cache.scores import read_part
from astroanomaly.fetch import Traffic
from astroanomaly.ingestion.workers import IngestContext, in_processes
from astroanomaly.records import Failure, Progress, Task
from astroanomaly.session.survey.best import BestObjects
from astroanomaly.session.survey.cascade import Cascade, CascadeReport
from astroanomaly.session.survey.parts import STAGING_FOLDER, Survey, cut_tasks, cutting_folder

__all__ = ["Job", "Rescored", "cut_some", "in_this_process", "rescored", "until_certain"]

Job = tuple[Path, frozenset[str], list[tuple[int, Task]]]  # file of a part, ids as in the source, and their tasks


@dataclass(frozen=True)
class Rescored:
    """Objects of a part that were cut once more and scored."""

    path: Path  # file of the part
    ids: list[str]
    log_odds: np.ndarray  # (n, classes) float32
    failures: list[Failure]
    traffic: Traffic


def until_certain(
    survey: Survey,
    cascade: Cascade,
    known: Cache,
    name: str,
    more: Callable[[Iterable[Job]], Iterator[Rescored]],
) -> Generator[Progress, None, tuple[BestObjects, CascadeReport, list[Failure], Traffic]]:
    """Score what is pending, and more where the sample asks for it.

    Parameters
    ----------
    survey, cascade
        The survey, all of which has been guessed.
    known
        Objects that are not looked for.
    name
        Of the ranker.
    more
        Cuts objects into the survey's `cutting_folder` and scores them.

    Returns
    -------
    BestObjects, CascadeReport
        The best, and what is known of the others.
    list of Failure
        Objects that could not be cut once more.
    Traffic
        What was asked of the network.
    """
    failures, traffic = list[Failure](), Traffic()
    while True:
        wanted = _pending(survey, cascade)
        done, total = 0, sum(len(ids) for ids, _ in wanted.values())
        if total:
            yield Progress("scoring more", done, total)
            with cutting_folder(survey.context.out):
                for found in more(_jobs(survey.context, wanted)):
                    _complete(survey, cascade, found, name)
                    failures += found.failures
                    traffic += found.traffic
                    done += len(wanted[found.path][0])
                    yield Progress("scoring more", done, total)
        best, outcome, threshold = cascade.measure(survey.parts(), known)
        if threshold is None:
            cascade.finish(outcome)
            return best, outcome, failures, traffic
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


def _jobs(context: IngestContext, wanted: dict[Path, tuple[frozenset[str], frozenset[int]]]) -> Iterator[Job]:
    part_of = {ordinal: path for path, (_, ordinals) in wanted.items() for ordinal in ordinals}
    left = read_plan(context.out, lambda ordinal, _: ordinal in part_of)
    for path, tasks in itertools.groupby(left, lambda task: part_of[task[0]]):  # tasks of a part follow one another
        yield path, wanted[path][0], list(tasks)


def in_this_process(survey: Survey, cascade: Cascade, workers: int) -> Callable[[Iterable[Job]], Iterator[Rescored]]:
    """Cut in some processes, and score here."""
    context = replace(survey.context, out=survey.context.out / STAGING_FOLDER, sync=False)

    def more(jobs: Iterable[Job]) -> Iterator[Rescored]:
        for path, cut, traffic in in_processes(functools.partial(cut_some, context), context, jobs, workers):
            yield rescored(survey, cascade, path, cut, traffic)

    return more


def cut_some(context: IngestContext, job: Job) -> tuple[Path, Path, Traffic]:
    """Cut some objects of a part into a folder of their own."""
    path, only, batch = job
    cut, _, traffic = cut_tasks(replace(context, only=only), batch)
    return path, cut, traffic


def rescored(survey: Survey, cascade: Cascade, path: Path, cut: Path, traffic: Traffic) -> Rescored:
    """Score objects of a part that were cut once more, and throw the cutouts away."""
    shards = [Shard(file, survey.context.layout) for file in sorted((cut / SHARD_FOLDER).glob("*.h5"))]
    found = [cascade.teacher(shard) for shard in shards]
    none = np.empty((0, len(survey.classes)), np.float32)
    again = Rescored(
        path,
        [object_id for scores in found for object_id in scores.ids],
        np.concatenate([none, *(scores.log_odds for scores in found)]),
        [one for shard in shards for one in shard.failures()[1] if one.kind != "resolved"],
        traffic,
    )
    for shard in shards:
        shard.release()
    shutil.rmtree(cut, ignore_errors=True)
    return again


def _complete(survey: Survey, cascade: Cascade, found: Rescored, name: str) -> None:
    """Add the scores of objects that were cut once more to their part."""
    before = read_part(survey.scores, int(found.path.stem), survey.classes)
    part = cascade.completed(before, found.ids, found.log_odds)
    replace(part, failures=[*part.failures, *found.failures]).write(survey.scores, survey.classes, name)
