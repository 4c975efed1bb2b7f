"""A survey that is scored without keeping its cutouts: what is there, and cutouts that wait to be scored."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from astroanomaly.cache.schema import SHARD_FOLDER
from astroanomaly.cache.scores import PartScores, list_parts
from astroanomaly.fetch import Traffic
from astroanomaly.ingestion.workers import IngestContext, read_batch
from astroanomaly.records import Task

__all__ = ["STAGING_FOLDER", "Survey", "cut_tasks", "cutting_folder"]

STAGING_FOLDER = "cutting"  # folder of cutouts that wait to be scored
_EXPECTED_OBJECTS = 10**6  # objects of a plan that does not know how many they are


@dataclass(frozen=True)
class Survey:
    """A survey and what is known of its scores; plain data, for workers too."""

    context: IngestContext
    scores: Path  # folder of the score files
    objects: int  # 0: the plan does not know
    classes: tuple[str, ...]
    points: Path | None = None  # folder of quantised features; None: they are not kept

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
