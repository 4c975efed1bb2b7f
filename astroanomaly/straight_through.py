"""Straight through a survey: cut, score, forget. Scores and positions of all are kept, and the cutouts of the best."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.index import load_index
from astroanomaly.cache.part_scores import PartScores, list_parts
from astroanomaly.cache.schema import CACHE_FILE, SHARD_FOLDER
from astroanomaly.cache.writer import create_cache, plan_length, read_description, read_plan_parts, write_lock
from astroanomaly.config import FetchConfig
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.fetch import Tally
from astroanomaly.hookspecs import Source
from astroanomaly.ingestion import open_job
from astroanomaly.learn.scoring import TopK
from astroanomaly.reading import IngestReport, Job, read_batch, read_tasks
from astroanomaly.records import Progress, Task
from astroanomaly.retrying import reading_again
from astroanomaly.rounds import SCORES

if TYPE_CHECKING:
    from astroanomaly.learn.explain import ImageScore

__all__ = ["SurveyReport", "score_source"]

_BEST = "best"  # folder of the cache of the best
_CUTTING = "cutting"  # folder of cutouts that wait to be scored
_TOGETHER = 64  # cutouts per pass
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
    ranker: Any,
    known: Cache,
    target: Path,
    source: str | Source,
    inputs: str | Path | Sequence[str | Path] = (),
    *,
    out: Path,
    top: int = 1000,
    prefix: str = "",
    workers: int = 1,
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> Generator[Progress, None, SurveyReport]:
    """Score the objects of a survey without keeping their cutouts, or go on where an earlier call stopped.

    Parameters
    ----------
    ranker
        A fitted ranker that scores images.
    known
        Cutouts that are there already: their ids are not among the best.
    target
        Folder for what this ranker gives: ``scores`` and the cache ``best``.
    source, inputs, prefix, workers, fetch, options
        As in `astroanomaly.ingest`.
    out
        Folder with the plan of the survey, made when missing.
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
    job, planning = yield from open_job(source, inputs, out, prefix=prefix, fetch=fetch, options=options)
    survey = Cache.open(out)  # without a cutout
    scores, kept = target / SCORES, target / _BEST
    others = [folder for folder in known.folders if folder != kept.absolute()]
    Cache.open(*others, out)  # refused now rather than at the end, if they do not fit together
    score: ImageScore = ranker.image_score(survey)
    with write_lock(out):
        best = _Best(top, Cache.open(*others))
        report = yield from _score(job, score, ranker, scores, workers, best)
        report = replace(report, best=kept, tally=planning + report.tally)
        chosen = best.tasks
        if chosen:
            if not (kept / CACHE_FILE).is_file():
                create_cache(kept, job.layout, (), read_description(out)["request"])
            there = Cache.open(kept).find(list(chosen)) >= 0
            missing = {name: chosen[name] for name, has in zip(chosen, there.tolist(), strict=True) if not has}
            tally = yield from _keep(replace(job, out=kept), out, missing, workers)
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


def _score(
    job: Job, score: ImageScore, ranker: Any, folder: Path, workers: int, best: _Best
) -> Generator[Progress, None, SurveyReport]:
    """Score what has no score yet."""
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
    left = read_plan_parts(job.out, lambda ordinal: ordinal not in done)
    yield Progress("scoring", scored, max(total, scored))
    cutting = job.out / _CUTTING
    shutil.rmtree(cutting, ignore_errors=True)
    try:
        for cut in read_tasks(replace(job, out=cutting, sync=False), left, workers, _cut):
            part = _scored(cut, job, score, ranker.context.classes)
            part.write(folder, ranker.context.classes, ranker.name)
            shutil.rmtree(cut.folder)
            tally += cut.report.tally
            take(part)
            seen = scored + failed.total() + no_coverage
            yield Progress("scoring", seen, max(total, seen), {"failed": float(failed.total())})
    finally:
        shutil.rmtree(cutting, ignore_errors=True)
    return SurveyReport(scored, failed, no_coverage, 0, folder, folder, tally)


@dataclass(frozen=True)
class _Cut:
    """A part that was cut and is to be scored."""

    folder: Path
    tasks: tuple[int, ...]
    report: IngestReport


def _cut(job: Job, batch: list[tuple[int, Task]]) -> _Cut:
    """Cut some tasks into a folder of their own."""
    folder = job.out / f"{batch[0][0]:010d}"
    (folder / SHARD_FOLDER).mkdir(parents=True)
    report = read_batch(replace(job, out=folder), batch)
    return _Cut(folder, tuple(ordinal for ordinal, _ in batch), report)


def _scored(cut: _Cut, job: Job, score: ImageScore, classes: Sequence[str]) -> PartScores:
    """Score what was cut."""
    shards = [Shard(path, job.layout) for path in sorted((cut.folder / SHARD_FOLDER).glob("*.h5"))]
    none = np.empty((0, len(classes)), np.float32)
    return PartScores(
        tasks=np.array(cut.tasks, np.int64),
        ids=[name for shard in shards for name in shard.ids],
        ra=np.concatenate([shard.positions[0] for shard in shards]),
        dec=np.concatenate([shard.positions[1] for shard in shards]),
        log_odds=np.concatenate([none, *(part for shard in shards for part in _judged(shard, score))]),
        task=np.concatenate([shard.row_tasks() for shard in shards]),
        failures=[failure for shard in shards for failure in shard.failures()[1]],
    )


def _judged(shard: Shard, score: ImageScore) -> Iterator[np.ndarray]:
    for start in range(0, len(shard), _TOGETHER):
        yield score.of_cutouts(shard.read(start, start + _TOGETHER))


def _keep(job: Job, survey: Path, places: Mapping[str, int], workers: int) -> Generator[Progress, None, Tally]:
    """Cut some objects once more, each from its task, and keep them."""
    tasks = dict(read_plan_parts(survey, set(places.values()).__contains__))
    suspects: dict[str, set[str]] = {}
    for name, ordinal in places.items():
        suspects.setdefault(tasks[ordinal].key, set()).add(name.removeprefix(job.prefix))
    again = reading_again(tasks.items(), suspects)
    only = frozenset(name.removeprefix(job.prefix) for name in places)
    tally, done = Tally(), 0
    yield Progress("keeping", 0, len(places))
    for part in read_tasks(replace(job, only=only), again, workers, read_batch):
        tally += part.tally
        done += part.cut + part.failed.total() + part.no_coverage
        yield Progress("keeping", done, max(done, len(places)))
    return tally
