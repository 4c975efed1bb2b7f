"""Score a survey without keeping its cutouts: only scores and positions, and the cutouts of the best, are stored."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.plan import count_plan, read_description, read_facts, read_plan
from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.cache.scores import PartScores
from astroanomaly.cache.writer import create_cache, write_lock
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.fetch import Traffic
from astroanomaly.hookspecs import ImageRanker, Ranker
from astroanomaly.ingestion.ingest import hold_folder, plan_ingest
from astroanomaly.ingestion.record import begin_record
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.workers import in_batches
from astroanomaly.parallel.dask import connect
from astroanomaly.records import Failure, Progress
from astroanomaly.session.cluster_tasks import SessionRef
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import SCORES, Round
from astroanomaly.session.survey.best import BestObjects, cut_again
from astroanomaly.session.survey.cascade import Cascade, CascadeReport
from astroanomaly.session.survey.parts import Score, Survey, cut_tasks, cutting_folder, score_part
from astroanomaly.session.survey.points import kept_points, start_points
from astroanomaly.session.survey.remote import RemoteScoring
from astroanomaly.session.survey.rest import in_this_process, until_certain

__all__ = ["SurveyReport", "score_source"]

_BEST_FOLDER = "best"  # folder of the cache of the best


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
        If ``top`` is less than 1, or ``recall`` is asked for with features, or needs the whole survey to be scored.
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
        guessing = None if recall is None else (top, recall)
        survey = Survey(context, scores, objects, tuple(session.classes), points, guessing)
        survey.forget_without_points()
        if request.retry_failed:
            survey.forget_failed()
        cascade: Cascade | None = None
        if recall is not None:
            cascade = yield from Cascade.open(
                session, last, ranker, Cache.open(out), target, top, recall, survey.expected
            )
        remote: RemoteScoring | None = None
        if cluster is None:
            score = cascade or ranker.image_score(Cache.open(out), expected=survey.expected)
            if points is not None:
                score = kept_points(session, score, points, Cache.open(out), survey.expected)
            parts = _in_this_process(survey, score, last.ranker, workers or 1)
        else:
            remote = RemoteScoring(survey, SessionRef.of(session, session.cache), last.absolute(), cluster)
            parts = remote.parts
        report = yield from _follow(survey, parts, best, "" if cluster is None else cluster.announce())
        if cascade is not None:
            more = in_this_process(survey, cascade, workers or 1) if remote is None else remote.more
            best, outcome, lost, traffic = yield from until_certain(
                survey, cascade, Cache.open(*others), last.ranker, more
            )
            failed, no_coverage, unplaced = _count(lost)
            report = replace(
                report,
                failed=report.failed + failed,
                no_coverage=report.no_coverage + no_coverage,
                no_position=report.no_position + unplaced,
                cascade=outcome,
                traffic=report.traffic + traffic,
            )
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
        reasons, unseen, nowhere = _count(part.failures)
        no_coverage, unplaced = no_coverage + unseen, unplaced + nowhere
        failed.update(reasons)

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


def _count(failures: Sequence[Failure]) -> tuple[Counter[str], int, int]:
    """Count failures by reason, those without coverage, and those of the first that are for want of a position."""
    return (
        Counter(failure.reason for failure in failures if failure.kind in ("failed", "no position")),
        sum(failure.kind == "no coverage" for failure in failures),
        sum(failure.kind == "no position" for failure in failures),
    )


def _in_this_process(
    survey: Survey, score: Score, name: str, workers: int
) -> Callable[[set[int]], Iterator[tuple[PartScores, Traffic]]]:
    """Cut in some processes, and score here."""
    context = survey.context

    def parts(done: set[int]) -> Iterator[tuple[PartScores, Traffic]]:
        left = read_plan(context.out, lambda ordinal, _: ordinal not in done)
        with cutting_folder(context.out) as folder:
            for cut, tasks, traffic in in_batches(cut_tasks, replace(context, out=folder, sync=False), left, workers):
                yield score_part(survey, score, name, cut, tasks), traffic

    return parts
