"""Score a survey without keeping its cutouts: only scores and positions, and the cutouts of the best, are stored."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.index import load_index
from astroanomaly.cache.plan import count_plan, read_description, read_facts, read_plan
from astroanomaly.cache.schema import CACHE_FILE, SHARD_FOLDER
from astroanomaly.cache.scores import PartScores, read_part
from astroanomaly.cache.writer import create_cache, write_lock
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.fetch import Traffic
from astroanomaly.hookspecs import ImageRanker, Ranker
from astroanomaly.ingestion.ingest import hold_folder, plan_ingest
from astroanomaly.ingestion.record import begin_record
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.workers import IngestContext, in_batches
from astroanomaly.parallel.dask import Cluster, connect, need
from astroanomaly.records import Progress, ShardScores, Task
from astroanomaly.session.cluster_tasks import SessionRef, fitted_ranker
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import SCORES, Round
from astroanomaly.session.survey.best import BestObjects, cut_again
from astroanomaly.session.survey.cascade import Cascade, CascadeReport, GuessedScores
from astroanomaly.session.survey.parts import STAGING_FOLDER, Survey, cut_tasks, cutting_folder
from astroanomaly.session.survey.points import PointScores, kept_points, start_points, write_points
from astroanomaly.session.survey.rest import until_certain

__all__ = ["SurveyReport", "score_source"]

_BEST_FOLDER = "best"  # folder of the cache of the best
_Score = Callable[[Shard], ShardScores]


@dataclass(frozen=True)
class SurveyReport:
    """Result of scoring a survey.

    Attributes
    ----------
    scored
        Objects that have a score, those of earlier runs included.
    failed
        Objects that could not be cut, counted by reason; without those that the survey has not seen.
    no_coverage
        Objects that the survey has not seen.
    kept
        How many of the highest scores are in the cache of the best.
    scores
        Folder of the score files.
    best
        The cache of the best.
    traffic
        What was asked of the network.
    seconds
        How long it took.
    no_position
        How many of those that failed have no position, which no other try changes.
    cascade
        What was lost and saved, where scores were guessed first; None where every object was scored.
    """

    scored: int
    failed: Counter[str]
    no_coverage: int
    kept: int
    scores: Path
    best: Path
    traffic: Traffic = field(default_factory=Traffic)
    seconds: float = 0.0
    no_position: int = 0
    cascade: CascadeReport | None = None


def score_source(
    session: SessionFolder,
    last: Round,
    ranker: Ranker,
    request: SourceRequest,
    *,
    out: Path,
    top: int = 1000,
    recall: float | None = None,
    keep_features: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Generator[Progress, None, SurveyReport]:
    """Score the objects of a survey without keeping their cutouts, or go on where an earlier call stopped.

    Parameters
    ----------
    session
        The session. Its objects are not among the best.
    last, ranker
        The round, and its ranker, which scores images.
    request
        The survey. To retry what has failed, the scores of parts in which objects have failed are forgotten first, so
        that they are cut and scored again.
    out
        Folder with the plan of the survey, made when missing; `Round.in_survey` gets the scores and the best.
    top
        How many of the highest scores are cut once more, and kept.
    recall
        Share of these that have to be found, see `astroanomaly.session.survey.cascade`; None: score every object.
    keep_features
        Keep quantised features beside the scores, see `astroanomaly.session.survey.points`. What was scored without
        them is scored again.
    workers, scheduler
        As in `astroanomaly.ingest`. Without a scheduler, ``workers`` processes cut, and this one scores.

    Raises
    ------
    ConfigError
        If ``top`` is less than 1, or ``recall`` is asked for on a cluster or with features, or needs the whole survey
        to be scored.
    SessionError
        If the ranker scores objects of caches only.
    AstroAnomalyError
        As `astroanomaly.ingest`, and if the survey's bands or pixels are not those that the ranker has learnt from.
    """
    if top < 1:
        raise ConfigError(f"top={top}: expected at least 1")
    if not isinstance(ranker, ImageRanker):
        raise SessionError(
            f"the ranker {ranker.name!r} cannot score images that are in no cache: ingest the survey, then run "
            "`astroanomaly score SESSION --cache CACHE`"
        )
    began = time.time()
    out = out.resolve()  # workers may be elsewhere
    if recall is not None and scheduler is not None:
        raise ConfigError(f"recall={recall:g} works without a cluster only: leave the scheduler out")
    if recall is not None and keep_features:
        raise ConfigError(f"recall={recall:g} leaves most objects without features: leave keep_features out")
    target = last.in_survey(out) if recall is None else Cascade.place(last, out, top, recall)
    scores, kept = target / SCORES, target / _BEST_FOLDER
    others = [folder for folder in session.cache.folders if folder.resolve() != kept]
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(begin_record(request, scheduler, out))
        request = replace(request, fetch=run.fetch)
        stack.enter_context(hold_folder(out))
        cluster = stack.enter_context(connect(scheduler, workers))
        context, planning = yield from plan_ingest(request, out)
        Cache.open(*others, out)  # refused now rather than at the end, if they do not fit together
        session.model_input.check(Cache.open(out))
        best, (_, objects) = BestObjects(top, Cache.open(*others)), count_plan(out)
        points = None if recall is not None else (yield from start_points(session, target, keep_features))
        survey = Survey(context, scores, objects, tuple(session.classes), points)
        survey.forget_without_points()
        if request.retry_failed:
            survey.forget_failed()
        cascade: Cascade | None = None
        if recall is not None:
            cascade = yield from Cascade.open(
                session, last, ranker, Cache.open(out), target, top, recall, survey.expected
            )
        if cluster is None:
            score = cascade or ranker.image_score(Cache.open(out), expected=survey.expected)
            if points is not None:
                score = kept_points(session, score, points, Cache.open(out), survey.expected)
            parts = _in_this_process(survey, score, last.ranker, workers or 1)
        else:
            parts = _on_cluster(survey, SessionRef.of(session, session.cache), last.absolute(), cluster)
        report = yield from _follow(survey, parts, best, "" if cluster is None else cluster.announce())
        if cascade is not None:
            known = Cache.open(*others)
            best, outcome, traffic = yield from until_certain(survey, cascade, known, last.ranker, workers or 1)
            report = replace(report, cascade=outcome, traffic=report.traffic + traffic)
        report = replace(report, best=kept, traffic=planning + report.traffic)
        chosen = best.tasks
        if chosen:
            if not (kept / CACHE_FILE).is_file():
                content = read_description(out)
                create_cache(kept, context.layout, (), content["request"], lambda: read_facts(content))
            with write_lock(kept):
                there = Cache.open(kept).find(list(chosen)) >= 0
                missing = {name: chosen[name] for name, has in zip(chosen, there.tolist(), strict=True) if not has}
                keeping = replace(context, out=kept)
                traffic = yield from cut_again(keeping, out, missing, cluster or workers or 1)
                load_index(kept)
            found = int((Cache.open(kept).find(list(chosen)) >= 0).sum())
            report = replace(report, kept=found, traffic=report.traffic + traffic)
        run.note(scored=report.scored, failed=report.failed)
    return replace(report, seconds=time.time() - began)


def _follow(
    survey: Survey, parts: Callable[[set[int]], Iterator[tuple[PartScores, Traffic]]], best: BestObjects, message: str
) -> Generator[Progress, None, SurveyReport]:
    """Take the scores that are there, then those that come; tell how many."""
    done: set[int] = set()
    scored = no_coverage = unplaced = 0
    failed: Counter[str] = Counter()
    traffic = Traffic()
    announced = ""

    def take(part: PartScores) -> None:
        nonlocal scored, no_coverage, unplaced
        best.add(part)
        done.update(part.tasks.tolist())
        scored += len(part.ids)
        no_coverage += sum(failure.kind == "no coverage" for failure in part.failures)
        unplaced += sum(failure.kind == "no position" for failure in part.failures)
        failed.update(failure.reason for failure in part.failures if failure.kind in ("failed", "no position"))

    for part in survey.parts():
        take(part)
    yield Progress("scoring", scored, max(survey.objects, scored), message=message)
    for part, asked in parts(done):
        traffic += asked
        take(part)
        seen = scored + failed.total() + no_coverage
        message = "" if part.engine in ("", announced) else f"scored with {part.engine}"
        announced = part.engine
        yield Progress("scoring", seen, max(survey.objects, seen), {"failed": float(failed.total())}, message)
    return SurveyReport(scored, failed, no_coverage, 0, survey.scores, survey.scores, traffic, no_position=unplaced)


def _part(survey: Survey, score: _Score, ranker: str, cut: Path, tasks: Sequence[int]) -> PartScores:
    """Score what was cut, write it down, and throw the cutouts away."""
    shards = [Shard(path, survey.context.layout) for path in sorted((cut / SHARD_FOLDER).glob("*.h5"))]
    found = [score(shard) for shard in shards]
    guessed = [scores for scores in found if isinstance(scores, GuessedScores)]
    none = np.empty((0, len(survey.classes)), np.float32)
    if survey.points is not None:  # before the scores, which say that the part is done
        write_points(survey.points, min(tasks), [scores.points for scores in found if isinstance(scores, PointScores)])
    part = PartScores(
        tasks=np.array(tasks, np.int64),
        ids=[name for shard in shards for name in shard.ids],
        ra=np.concatenate([shard.positions[0] for shard in shards]),
        dec=np.concatenate([shard.positions[1] for shard in shards]),
        log_odds=np.concatenate([none, *(scores.log_odds for scores in found)]),
        task=np.concatenate([shard.row_tasks() for shard in shards]),
        failures=[failure for shard in shards for failure in shard.failures()[1]],
        engine=found[0].engine if found else "",
        guesses=np.concatenate([scores.guesses for scores in guessed]) if guessed else None,
        reasons=np.concatenate([scores.reasons for scores in guessed]) if guessed else None,
    )
    part.write(survey.scores, survey.classes, ranker)
    for shard in shards:
        shard.release()  # a network file system keeps what is still mapped
    shutil.rmtree(cut, ignore_errors=True)
    return part


# ------------------------------------------------------------------------------------------------- on this machine


def _in_this_process(
    survey: Survey, score: _Score, name: str, workers: int
) -> Callable[[set[int]], Iterator[tuple[PartScores, Traffic]]]:
    """Cut in some processes, and score here."""
    context = survey.context

    def parts(done: set[int]) -> Iterator[tuple[PartScores, Traffic]]:
        left = read_plan(context.out, lambda ordinal, _: ordinal not in done)
        with cutting_folder(context.out) as folder:
            for cut, tasks, traffic in in_batches(cut_tasks, replace(context, out=folder, sync=False), left, workers):
                yield _part(survey, score, name, cut, tasks), traffic

    return parts


# ------------------------------------------------------------------------------------------------- on a cluster


def _on_cluster(
    survey: Survey, ref: SessionRef, last: Round, cluster: Cluster
) -> Callable[[set[int]], Iterator[tuple[PartScores, Traffic]]]:
    """Cut and score in the workers of a cluster; what they have written is read here."""
    context = survey.context
    function = functools.partial(_cut_and_score, survey, ref, last)

    def parts(done: set[int]) -> Iterator[tuple[PartScores, Traffic]]:
        left = read_plan(context.out, lambda ordinal, _: ordinal not in done)
        with cutting_folder(context.out):
            for first, traffic in in_batches(function, context, left, cluster):
                yield read_part(survey.scores, first, survey.classes), traffic

    return parts


def _cut_and_score(
    survey: Survey, ref: SessionRef, last: Round, context: IngestContext, batch: list[tuple[int, Task]]
) -> tuple[int, Traffic]:
    """Cut and score some tasks, in a worker; return the first of them. Another may do the same: both write the same."""
    need(context.out / CACHE_FILE)
    score = _image_score(ref, last, context.out, survey.expected, survey.points)
    cut, tasks, traffic = cut_tasks(replace(context, out=context.out / STAGING_FOLDER, sync=False), batch)
    return int(_part(survey, score, last.ranker, cut, tasks).tasks.min()), traffic


@functools.lru_cache(maxsize=1)
def _image_score(ref: SessionRef, last: Round, out: Path, expected: int, points: Path | None) -> _Score:
    ranker = fitted_ranker(ref, last)
    if not isinstance(ranker, ImageRanker):
        raise TypeError(f"the ranker {last.ranker} scores no images")  # has been checked before
    score = ranker.image_score(Cache.open(out), expected=expected)
    if points is None:
        return score
    return kept_points(SessionFolder.open(ref.session), score, points, Cache.open(out), expected)
