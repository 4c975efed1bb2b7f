"""A survey that is scored without keeping its cutouts: what is there, and cutouts that wait to be scored."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astroanomaly.cache import Shard
from astroanomaly.cache.schema import SHARD_FOLDER
from astroanomaly.cache.scores import PartScores, list_parts
from astroanomaly.fetch import Traffic
from astroanomaly.ingestion.workers import IngestContext, read_batch
from astroanomaly.records import ShardScores, Task
from astroanomaly.session.survey.cascade import GuessedScores
from astroanomaly.session.survey.points import PointScores, write_points

__all__ = ["STAGING_FOLDER", "Score", "Survey", "cut_tasks", "cutting_folder", "score_part"]

STAGING_FOLDER = "cutting"  # folder of cutouts that wait to be scored
_EXPECTED_OBJECTS = 10**6  # objects of a plan that does not know how many they are
Score = Callable[[Shard], ShardScores]


@dataclass(frozen=True)
class Survey:
    """A survey and what is known of its scores; plain data, for workers too."""

    context: IngestContext
    scores: Path  # folder of the score files
    objects: int  # 0: the plan does not know
    classes: tuple[str, ...]
    points: Path | None = None  # folder of quantised features; None: they are not kept
    guessing: tuple[int, float] | None = None  # number of best objects and recall, see `Cascade`; None: all are scored

    @property
    def expected(self) -> int:
        """About how many objects it has."""
        return self.objects or _EXPECTED_OBJECTS

    def parts(self) -> Iterator[PartScores]:
        """Give the scores that are there; what a killed writer has left is removed."""
        for leftover in self.scores.glob(".tmp-*"):
            leftover.unlink(missing_ok=True)
        return list_parts(self.scores, self.classes)

    def forget_failed(self) -> None:
        """Remove the scores of parts in which an object has failed, but not for good: they are cut and scored again."""
        for part in self.parts():
            if any(failure.kind == "failed" for failure in part.failures):
                part.path(self.scores).unlink()

    def forget_without_points(self) -> None:
        """Remove the scores of parts without quantised features: they are cut and scored again, and the reverse."""
        if self.points is None:
            return
        scored = {path.stem for path in self.scores.glob("[0-9]*.h5")}
        kept = {path.stem for path in self.points.glob("[0-9]*.npy")}
        for leftover in self.points.glob(".tmp-*"):
            leftover.unlink(missing_ok=True)
        for name in scored - kept:
            (self.scores / f"{name}.h5").unlink(missing_ok=True)
        for name in kept - scored:
            (self.points / f"{name}.npy").unlink(missing_ok=True)


def cut_tasks(context: IngestContext, batch: list[tuple[int, Task]]) -> tuple[Path, list[int], Traffic]:
    """Cut some tasks into a folder of their own."""
    folder = Path(tempfile.mkdtemp(prefix=f"{batch[0][0]:010d}-", dir=context.out))
    (folder / SHARD_FOLDER).mkdir()
    done = read_batch(replace(context, out=folder), batch)
    if done.broken is not None:
        raise done.broken
    return folder, [ordinal for ordinal, _ in batch], done.report.traffic


def score_part(survey: Survey, score: Score, ranker: str, cut: Path, tasks: Sequence[int]) -> PartScores:
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
    if survey.guessing is None or not part.path(survey.scores).exists():  # a lost worker may be late: more may be there
        part.write(survey.scores, survey.classes, ranker)
    for shard in shards:
        shard.release()  # a network file system keeps what is still mapped
    shutil.rmtree(cut, ignore_errors=True)
    return part


@contextlib.contextmanager
def cutting_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder for cutouts that wait to be scored; it is gone afterwards."""
    folder = out / STAGING_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
