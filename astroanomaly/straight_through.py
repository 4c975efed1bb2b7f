"""Straight through a survey: cut, score, forget. Scores and positions of all are kept, and the cutouts of the best."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import clusters, shard_work
from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.index import load_index
from astroanomaly.cache.part_scores import PartScores, list_parts, read_part
from astroanomaly.cache.schema import CACHE_FILE, SHARD_FOLDER
from astroanomaly.cache.writer import create_cache, plan_length, read_description, read_plan_parts, write_lock
from astroanomaly.config import FetchConfig
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.fetch import Tally
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion import open_job
from astroanomaly.learn.pipeline import ahead
from astroanomaly.learn.scoring import TopK
from astroanomaly.reading import Job, in_batches, read_batch, read_tasks
from astroanomaly.records import Layout, Progress, Task
from astroanomaly.retrying import reading_again
from astroanomaly.rounds import SCORES, Round

if TYPE_CHECKING:
    from astroanomaly.learn.explain import ImageScore
    from astroanomaly.session import Session

__all__ = ["SurveyReport", "score_source"]

_BEST = "best"  # folder of the cache of the best
_CUTTING = "cutting"  # folder of cutouts that wait to be scored
_SPARE = 4  # times as many objects as are wanted whose tasks are remembered


@dataclass(frozen=True)
class SurveyReport:
    """What came of a survey that was scored straight through.

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
    tally
        What was asked of the network.
    seconds
        How long it took.
    """

    scored: int
    failed: Counter[str]
    no_coverage: int
    kept: int
    scores: Path
    best: Path
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0


def score_source(
    session: Session,
    last: Round,
    ranker: Any,
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    out: Path,
    top: int = 1000,
    prefix: str = "",
    workers: int | None = None,
    scheduler: str | None = None,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Generator[Progress, None, SurveyReport]:
    """Score the objects of a survey without keeping their cutouts, or go on where an earlier call stopped.

    Parameters
    ----------
    session
        The search. Its objects are not among the best.
    last, ranker
        The round, and its ranker, which scores images.
    source, inputs, prefix, workers, scheduler, fetch, options
        As in `astroanomaly.ingest`. Without a scheduler, ``workers`` processes cut, and this one scores.
    out
        Folder with the plan of the survey, made when missing; `Round.in_survey` gets the scores and the best.
    top
        How many of the highest scores are cut once more, and kept.

    Raises
    ------
    ConfigError
        If ``top`` is less than 1.
    SessionError
        If the ranker scores objects of caches only.
    AstroAnomalyError
        As `astroanomaly.ingest`, and if the survey's bands or pixels are not those that the ranker has learnt from.
    """
    if top < 1:
        raise ConfigError(f"top={top}: expected at least 1")
    if not hasattr(ranker, "image_score"):
        raise SessionError(
            f"the ranker {ranker.name!r} cannot score images that are in no cache: ingest the survey, then run "
            "`astroanomaly score SESSION --cache CACHE`"
        )
    began = time.time()
    out = out.absolute()  # workers may be elsewhere
    job, planning = yield from open_job(source, inputs, out, prefix=prefix, fetch=fetch, options=options)
    scores, kept = last.in_survey(out) / SCORES, last.in_survey(out) / _BEST
    others = [folder for folder in session.cache.folders if folder != kept]
    Cache.open(*others, out)  # refused now rather than at the end, if they do not fit together
    survey = Cache.open(out)  # without a cutout
    objects = plan_length(out)
    scoring = _Scoring(ranker.image_score(survey, expected=objects), scores, tuple(session.classes), ranker.name)
    best = _Best(top, Cache.open(*others))
    with write_lock(out), clusters.connect(scheduler, workers) as cluster:
        if cluster is None:
            parts = _in_this_process(job, scoring, workers or 1)
        else:
            elsewhere = _Elsewhere(shard_work.search_of(session, session.cache), last.absolute(), objects)
            parts = _on_cluster(job, scores, elsewhere, cluster)
        report = yield from _follow(job, scores, parts, best, "" if cluster is None else cluster.announce())
        report = replace(report, best=kept, tally=planning + report.tally)
        chosen = best.tasks
        if chosen:
            if not (kept / CACHE_FILE).is_file():
                create_cache(kept, job.layout, (), read_description(out)["request"])
            there = Cache.open(kept).find(list(chosen)) >= 0
            missing = {name: chosen[name] for name, has in zip(chosen, there.tolist(), strict=True) if not has}
            keeping = replace(job, out=kept, stage=cluster is not None)
            tally = yield from _keep(keeping, out, missing, cluster or workers or 1)
            load_index(kept)
            found = int((Cache.open(kept).find(list(chosen)) >= 0).sum())
            report = replace(report, kept=found, tally=report.tally + tally)
    return replace(report, seconds=time.time() - began)


class _Best:
    """The highest scores among objects that are not there already."""

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


def _follow(
    job: Job, folder: Path, parts: Callable[[set[int]], Iterator[tuple[PartScores, Tally]]], best: _Best, message: str
) -> Generator[Progress, None, SurveyReport]:
    """Take the scores that are there, then those that come; tell how many."""
    done: set[int] = set()
    scored = no_coverage = 0
    failed: Counter[str] = Counter()
    tally = Tally()

    def take(part: PartScores) -> None:
        nonlocal scored, no_coverage
        best.add(part)
        done.update(part.tasks.tolist())
        scored += len(part.ids)
        no_coverage += sum(failure.kind == "no coverage" for failure in part.failures)
        failed.update(failure.reason for failure in part.failures if failure.kind == "failed")

    for part in list_parts(folder):
        take(part)
    total = plan_length(job.out)
    yield Progress("scoring", scored, max(total, scored), message=message)
    for part, asked in parts(done):
        tally += asked
        take(part)
        seen = scored + failed.total() + no_coverage
        yield Progress("scoring", seen, max(total, seen), {"failed": float(failed.total())})
    return SurveyReport(scored, failed, no_coverage, 0, folder, folder, tally)


@dataclass(frozen=True, eq=False)
class _Scoring:
    """How cutouts are scored, and where the scores go."""

    score: ImageScore
    folder: Path
    classes: tuple[str, ...]
    ranker: str

    def part(self, cut: Path, tasks: Sequence[int], layout: Layout) -> PartScores:
        """Score what was cut, write it down, and throw the cutouts away."""
        shards = [Shard(path, layout) for path in sorted((cut / SHARD_FOLDER).glob("*.h5"))]
        none = np.empty((0, len(self.classes)), np.float32)
        part = PartScores(
            tasks=np.array(tasks, np.int64),
            ids=[name for shard in shards for name in shard.ids],
            ra=np.concatenate([shard.positions[0] for shard in shards]),
            dec=np.concatenate([shard.positions[1] for shard in shards]),
            log_odds=np.concatenate([none, *(some for shard in shards for some in self._judged(shard))]),
            task=np.concatenate([shard.row_tasks() for shard in shards]),
            failures=[failure for shard in shards for failure in shard.failures()[1]],
        )
        part.write(self.folder, self.classes, self.ranker, self.score.engine.label)
        shutil.rmtree(cut)
        return part

    def _judged(self, shard: Shard) -> Iterator[np.ndarray]:
        size = self.score.together
        for _, images in ahead(lambda start: shard.read(start, start + size), range(0, len(shard), size)):
            yield self.score.of_cutouts(images)


def _cut(job: Job, batch: list[tuple[int, Task]]) -> tuple[Path, list[int], Tally]:
    """Cut some tasks into a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix=f"{batch[0][0]:010d}-", dir=job.out))
    (folder / SHARD_FOLDER).mkdir()
    report, _ = read_batch(replace(job, out=folder), batch)
    return folder, [ordinal for ordinal, _ in batch], report.tally


# ------------------------------------------------------------------------------------------------- on this machine


def _in_this_process(
    job: Job, scoring: _Scoring, workers: int
) -> Callable[[set[int]], Iterator[tuple[PartScores, Tally]]]:
    """Cut in some processes, and score here."""

    def parts(done: set[int]) -> Iterator[tuple[PartScores, Tally]]:
        left = read_plan_parts(job.out, lambda ordinal: ordinal not in done)
        with _cutting(job.out) as folder:
            for cut, tasks, tally in in_batches(_cut, replace(job, out=folder, sync=False), left, workers):
                yield scoring.part(cut, tasks, job.layout), tally

    return parts


@contextlib.contextmanager
def _cutting(out: Path) -> Iterator[Path]:
    """Give an empty folder for cutouts that wait to be scored; it is gone afterwards."""
    folder = out / _CUTTING
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- on a cluster


@dataclass(frozen=True)
class _Elsewhere:
    """What a worker of a cluster opens to score what it has cut."""

    search: shard_work.Search
    last: Round
    objects: int


def _on_cluster(
    job: Job, folder: Path, elsewhere: _Elsewhere, cluster: clusters.Cluster
) -> Callable[[set[int]], Iterator[tuple[PartScores, Tally]]]:
    """Cut and score in the workers of a cluster; what they have written is read here."""

    def parts(done: set[int]) -> Iterator[tuple[PartScores, Tally]]:
        left = read_plan_parts(job.out, lambda ordinal: ordinal not in done)
        with _cutting(job.out):
            for first, tally in in_batches(functools.partial(_cut_and_score, elsewhere), job, left, cluster):
                yield read_part(folder, first), tally

    return parts


def _cut_and_score(elsewhere: _Elsewhere, job: Job, batch: list[tuple[int, Task]]) -> tuple[int, Tally]:
    """Cut and score some tasks, in a worker; return the first of them. Another may do the same: both write the same."""
    clusters.need(job.out / CACHE_FILE)
    scoring = _opened(elsewhere, job.out)
    cut, tasks, tally = _cut(replace(job, out=job.out / _CUTTING, sync=False), batch)
    return int(scoring.part(cut, tasks, job.layout).tasks.min()), tally


@functools.lru_cache(maxsize=1)
def _opened(elsewhere: _Elsewhere, out: Path) -> _Scoring:
    ranker: Any = shard_work.fitted_ranker(elsewhere.search, elsewhere.last)
    folder = elsewhere.last.in_survey(out) / SCORES
    score = ranker.image_score(Cache.open(out), expected=elsewhere.objects)
    return _Scoring(score, folder, tuple(ranker.context.classes), ranker.name)


# ------------------------------------------------------------------------------------------------- the best


def _keep(
    job: Job, survey: Path, places: Mapping[str, int], workers: int | clusters.Cluster
) -> Generator[Progress, None, Tally]:
    """Cut some objects once more, each from its task, and keep them."""
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
