"""The cutouts worth keeping of a survey: those of the highest scores."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.plan import plan_keys, read_plan
from astroanomaly.cache.scores import PartScores
from astroanomaly.fetch import Traffic
from astroanomaly.ingestion.retry import reading_again
from astroanomaly.ingestion.workers import IngestContext, read_tasks
from astroanomaly.parallel.dask import Cluster
from astroanomaly.records import Progress

__all__ = ["BestObjects", "TopK", "cut_again"]

_SPARE_FACTOR = 4  # times as many objects as are wanted whose tasks are remembered


class BestObjects:
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
        chosen = np.flatnonzero(scores >= self._top.lowest)  # NaN is not
        ids = [part.ids[row] for row in chosen.tolist()]
        new = np.flatnonzero(self._known.find(ids) < 0)
        ids = [ids[k] for k in new.tolist()]
        self._top.add(scores[chosen[new]], ids)
        self._tasks.update(zip(ids, part.task[chosen[new]].tolist(), strict=True))
        if len(self._tasks) > _SPARE_FACTOR * self._top.k:
            self._tasks = self.tasks

    @property
    def lowest(self) -> float:
        """The lowest score that may still be among the best: minus infinity until there are as many as are wanted."""
        return self._top.lowest

    @property
    def tasks(self) -> dict[str, int]:
        """The ids of the best so far, highest first, with the index in the plan of the task each came from."""
        return {name: self._tasks[name] for _, name in self._top.result()}


def cut_again(
    context: IngestContext, survey: Path, ordinals: Mapping[str, int], workers: int | Cluster
) -> Generator[Progress, None, Traffic]:
    """Cut some objects once more, each from its task, and keep them.

    Parameters
    ----------
    context
        Whose cache they go to.
    survey
        Folder with the plan.
    ordinals
        Indices in the plan of the tasks that hold the objects, by object id.
    workers
        Number of processes, or a cluster.
    """
    keys = plan_keys(survey)
    suspects: dict[str, set[str]] = {}
    for name, ordinal in ordinals.items():
        suspects.setdefault(keys[ordinal], set()).add(name.removeprefix(context.prefix))
    again = reading_again(read_plan(survey, lambda _, key: key in suspects), suspects)
    only = frozenset(name.removeprefix(context.prefix) for name in ordinals)
    traffic, done = Traffic(), 0
    yield Progress("keeping", 0, len(ordinals))
    for part in read_tasks(replace(context, only=only), again, workers):
        traffic += part.traffic
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("keeping", done, max(done, len(ordinals)))
    return traffic


class TopK:
    """Keep the ``k`` highest-scored ids of a stream in memory O(k + batch).

    Equal scores are ordered by id, so the result does not depend on the order of the stream.

    Parameters
    ----------
    k
        How many to keep.
    """

    def __init__(self, k: int) -> None:
        self.k = max(0, k)
        self._scores = np.empty(0, np.float64)
        self._ids = np.empty(0, object)

    def add(self, scores: np.ndarray, ids: Sequence[str]) -> None:
        """Take a batch: ``(n,)`` scores, NaN for objects without one, and their ids."""
        scores = np.asarray(scores, dtype=np.float64)
        wanted = ~np.isnan(scores)
        if len(self._scores) == self.k and self.k:
            wanted &= scores >= self._scores[-1]
        chosen = np.flatnonzero(wanted)
        if len(chosen) > self.k and self.k:  # all above the k-th of the batch, and those that tie with it
            kth = np.partition(scores[chosen], len(chosen) - self.k)[len(chosen) - self.k]
            chosen = chosen[scores[chosen] >= kth]
        if not len(chosen) or not self.k:
            return
        batch = np.empty(len(chosen), object)
        batch[:] = [ids[int(i)] for i in chosen]
        all_scores, all_ids = np.concatenate([self._scores, scores[chosen]]), np.concatenate([self._ids, batch])
        order = np.lexsort((all_ids, -all_scores))[: self.k]
        self._scores, self._ids = all_scores[order], all_ids[order]

    @property
    def lowest(self) -> float:
        """The lowest score that may still be kept: minus infinity until there are ``k``."""
        return float(self._scores[-1]) if len(self._scores) == self.k and self.k else -np.inf

    def result(self) -> list[tuple[float, str]]:
        """Return ``(score, id)``, highest first, equal scores by id."""
        return [(float(score), str(name)) for score, name in zip(self._scores, self._ids, strict=True)]
