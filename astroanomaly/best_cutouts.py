"""The cutouts worth keeping of a survey that is scored straight through: those of the highest scores."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from astroanomaly import clusters
from astroanomaly.cache import Cache
from astroanomaly.cache.part_scores import PartScores
from astroanomaly.cache.writer import read_plan_parts
from astroanomaly.fetch import Tally
from astroanomaly.learn.scoring import TopK
from astroanomaly.reading import Job, read_tasks
from astroanomaly.records import Progress
from astroanomaly.retrying import reading_again

__all__ = ["Best", "keep"]

_SPARE = 4  # times as many objects as are wanted whose tasks are remembered


class Best:
    """The highest scores among objects that are not there already.

    Parameters
    ----------
    top
        How many.
    known
        What is there.
    """

    def __init__(self, top: int, known: Cache) -> None:
        self._top = TopK(top)
        self._known = known
        self._tasks: dict[str, int] = {}

    def add(self, part: PartScores) -> None:
        """Take the scores of a part."""
        scores = -part.log_odds[:, 0].astype(np.float64)
        chosen = np.flatnonzero(scores >= self._top.least)  # NaN is not
        ids = [part.ids[place] for place in chosen.tolist()]
        new = np.flatnonzero(self._known.find(ids) < 0)
        ids = [ids[place] for place in new.tolist()]
        self._top.add(scores[chosen[new]], ids)
        self._tasks.update(zip(ids, part.task[chosen[new]].tolist(), strict=True))
        if len(self._tasks) > _SPARE * self._top.k:
            self._tasks = self.tasks

    @property
    def tasks(self) -> dict[str, int]:
        """The ids of the best so far, highest first, with the place in the plan of the task each came from."""
        return {name: self._tasks[name] for _, name in self._top.result()}


def keep(
    job: Job, survey: Path, places: Mapping[str, int], workers: int | clusters.Cluster
) -> Generator[Progress, None, Tally]:
    """Cut some objects once more, each from its task, and keep them.

    Parameters
    ----------
    job
        Whose cache they go to.
    survey
        Folder with the plan.
    places
        Ids of the objects, and the places in the plan of their tasks.
    workers
        Number of processes, or a cluster.
    """
    tasks = dict(read_plan_parts(survey, set(places.values()).__contains__))
    suspects: dict[str, set[str]] = {}
    for name, ordinal in places.items():
        suspects.setdefault(tasks[ordinal].key, set()).add(name.removeprefix(job.prefix))
    again = reading_again(tasks.items(), suspects)
    only = frozenset(name.removeprefix(job.prefix) for name in places)
    tally, done = Tally(), 0
    yield Progress("keeping", 0, len(places))
    for part in read_tasks(replace(job, only=only), again, workers):
        tally += part.tally
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("keeping", done, max(done, len(places)))
    return tally
