"""Workers of a cluster cut and score a survey."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from astroanomaly.cache import Cache
from astroanomaly.cache.plan import read_plan
from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.cache.scores import PartScores, read_part
from astroanomaly.fetch import Traffic
from astroanomaly.hookspecs import ImageRanker
from astroanomaly.ingestion.workers import IngestContext, in_batches, in_processes
from astroanomaly.parallel.dask import Cluster, need
from astroanomaly.records import Task, drain
from astroanomaly.session.cluster_tasks import SessionRef, fitted_ranker
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import Round
from astroanomaly.session.survey.cascade import STATE_FILE, Cascade
from astroanomaly.session.survey.parts import STAGING_FOLDER, Score, Survey, cut_tasks, cutting_folder, score_part
from astroanomaly.session.survey.points import kept_points
from astroanomaly.session.survey.rest import Job, Rescored, cut_some, rescored

__all__ = ["RemoteScoring"]


@dataclass(frozen=True)
class RemoteScoring:
    """The scoring of a survey by the workers of a cluster.

    Parameters
    ----------
    survey
        The survey.
    ref, last
        The session and the round that scores, for workers.
    cluster
        Its workers.
    """

    survey: Survey
    ref: SessionRef
    last: Round
    cluster: Cluster

    def parts(self, done: set[int]) -> Iterator[tuple[PartScores, Traffic]]:
        """Cut and score the tasks that are not done; what the workers have written is read here."""
        context = self.survey.context
        left = read_plan(context.out, lambda ordinal, _: ordinal not in done)
        function = functools.partial(_cut_and_score, self.survey, self.ref, self.last)
        with cutting_folder(context.out):
            for first, traffic in in_batches(function, context, left, self.cluster):
                yield read_part(self.survey.scores, first, self.survey.classes), traffic

    def more(self, jobs: Iterable[Job]) -> Iterator[Rescored]:
        """Cut some objects once more and score them; see `astroanomaly.session.survey.rest`."""
        function = functools.partial(_cut_more, self.survey, self.ref, self.last)
        yield from in_processes(function, self.survey.context, jobs, self.cluster)


# -------------------------------------------------------------------------------------------------- in the workers


def _cut_and_score(
    survey: Survey, ref: SessionRef, last: Round, context: IngestContext, batch: list[tuple[int, Task]]
) -> tuple[int, Traffic]:
    """Cut and score some tasks; return the first of them. Another may do the same: both write the same."""
    score = _score_of(survey, ref, last)
    cut, tasks, traffic = cut_tasks(_staging(context), batch)
    return int(score_part(survey, score, last.ranker, cut, tasks).tasks.min()), traffic


def _cut_more(survey: Survey, ref: SessionRef, last: Round, job: Job) -> Rescored:
    """Cut some objects and score them. Only the process that gave the job writes."""
    cascade = _score_of(survey, ref, last)
    if not isinstance(cascade, Cascade):
        raise TypeError("objects are cut once more where scores are guessed")
    return rescored(survey, cascade, *cut_some(_staging(survey.context), job))


def _staging(context: IngestContext) -> IngestContext:
    return replace(context, out=context.out / STAGING_FOLDER, sync=False)


def _score_of(survey: Survey, ref: SessionRef, last: Round) -> Score:
    return _score(ref, last, survey.context.out, survey.scores.parent, survey.expected, survey.points, survey.guessing)


@functools.lru_cache(maxsize=1)
def _score(
    ref: SessionRef,
    last: Round,
    out: Path,
    target: Path,
    expected: int,
    points: Path | None,
    guessing: tuple[int, float] | None,
) -> Score:
    """Return what scores a shard, once in a process."""
    need(out / CACHE_FILE)
    ranker = fitted_ranker(ref, last)
    if not isinstance(ranker, ImageRanker):
        raise TypeError(f"the ranker {last.ranker} scores no images")  # has been checked before
    cache = Cache.open(out)
    if guessing is not None:
        need(target / STATE_FILE)
        return drain(Cascade.open(SessionFolder.open(ref.session), last, ranker, cache, target, *guessing, expected))
    score = ranker.image_score(cache, expected=expected)
    return score if points is None else kept_points(SessionFolder.open(ref.session), score, points, cache, expected)
