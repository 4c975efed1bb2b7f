"""Score files: small HDF5 files of one ranker's scores, so that scoring resumes and nothing joins by position.

There are two kinds: scores of a shard of a cache, and scores of a part of the plan of a survey whose cutouts are not
kept.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache import schema
from astroanomaly.errors import CacheError, DamagedError
from astroanomaly.records import Failure, ShardScores

__all__ = [
    "PartScores",
    "Reason",
    "count_tasks",
    "has_scores",
    "list_parts",
    "read_part",
    "read_positions",
    "read_scores",
    "write_scores",
]

_SHARD_KIND, _PART_KIND = "scores", "part-scores"  # of file format


# ------------------------------------------------------------------------------------------------ scores of a shard


def has_scores(folder: Path, shard: str) -> bool:
    """Whether the scores of a shard are there, whole."""
    return _shard_path(folder, shard).is_file()


def write_scores(
    folder: Path,
    scores: ShardScores,
    classes: Sequence[str],
    ranker: str,
    positions: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Write the scores of one shard in one step.

    Parameters
    ----------
    folder
        Folder of one ranker's scores; made when missing.
    classes
        Label classes, one per column of ``log_odds``.
    ranker
        Hash or recipe of the ranker, kept with the scores.
    positions
        ``(n,)`` right ascension and declination in ICRS degrees, kept with the scores: what needs no pixels then does
        not need the cache.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with schema.new_hdf5(_shard_path(folder, scores.shard)) as file:
        file.attrs.update(_attributes(_SHARD_KIND, classes, ranker, scores.engine))
        file.attrs["shard"] = scores.shard
        schema.put_texts(file, "object_id", scores.ids)
        file["log_odds"] = np.asarray(scores.log_odds, dtype=np.float32)
        if positions is not None:
            file["ra"], file["dec"] = (np.asarray(values, np.float64) for values in positions)


def read_positions(folder: Path, shard: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the positions that were kept with the scores of a shard: ICRS degrees, NaN where unknown or not kept.

    Raises
    ------
    UnreadableError
        If the shard has not been scored.
    CacheError
        If the file is damaged.
    """
    path = _shard_path(folder, shard)
    with schema.open_hdf5(path) as file:
        schema.refuse_changed(file, path)
        schema.check_format(file.attrs, _SHARD_KIND, path)
        count = len(schema.check_dataset(file, "object_id", (None,), "S", path))
        if "ra" not in file or "dec" not in file:  # written before version 0.3
            return np.full(count, np.nan), np.full(count, np.nan)
        return schema.read_positions(file, count, path)


def read_scores(folder: Path, shard: str) -> ShardScores:
    """Read the scores of one shard.

    Raises
    ------
    UnreadableError
        If the shard has not been scored.
    CacheError
        If the file is damaged.
    """
    path = _shard_path(folder, shard)
    with schema.open_hdf5(path) as file:
        schema.refuse_changed(file, path)
        schema.check_format(file.attrs, _SHARD_KIND, path)
        ids = schema.read_texts(schema.check_dataset(file, "object_id", (None,), "S", path))
        log_odds = schema.check_dataset(file, "log_odds", (len(ids), None), "f", path)[...]
        if file.attrs["shard"] != shard:
            raise DamagedError(f"{path} holds the scores of another shard, {file.attrs['shard']}")
        engine = str(file.attrs.get("engine", ""))
    return ShardScores(shard, ids, log_odds, engine)


def _shard_path(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.h5"


# ------------------------------------------------------------------------------------- scores of a part of a survey


class Reason(enum.IntFlag):
    """Why a ranker has scored an object of a survey whose scores are guessed first."""

    DRAWN = 1  # it is of the random sample
    GUESS = 2  # its guess is high enough
    FAR = 4  # it is unlike what the guesses were learnt from, or has no guess


@dataclass(frozen=True, eq=False)
class PartScores:
    """Scores of the objects of some tasks of a survey's plan, which are scored together.

    Parameters
    ----------
    tasks
        ``(T,)`` int64 indices in the plan of the tasks that it holds whole.
    ids
        The objects.
    ra, dec
        ``(n,)`` float64 ICRS degrees, NaN where unknown.
    log_odds
        ``(n, classes)`` float32.
    task
        ``(n,)`` int64 index in the plan of the task that each object came from.
    failures
        Objects of these tasks that could not be cut.
    engine
        What the network ran on.
    guesses
        ``(n,)`` float32 scores guessed by a small network, NaN for damaged cutouts; None where every object was scored.
    reasons
        ``(n,)`` uint8: why the ranker has scored each object, see `Reason`; 0 where it has not. None as above.
    """

    tasks: np.ndarray
    ids: Sequence[str]
    ra: np.ndarray
    dec: np.ndarray
    log_odds: np.ndarray
    task: np.ndarray
    failures: Sequence[Failure] = ()
    engine: str = ""
    guesses: np.ndarray | None = None
    reasons: np.ndarray | None = None

    def path(self, folder: Path) -> Path:
        """Its file in a folder: the name is the first of its tasks."""
        return _part_path(folder, int(self.tasks.min()))

    def write(self, folder: Path, classes: Sequence[str], ranker: str) -> None:
        """Write it in one step.

        Parameters
        ----------
        folder
            Folder of one ranker's scores; made when missing.
        classes
            Label classes, one per column of ``log_odds``.
        ranker
            Name of the ranker, kept with the scores.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with schema.new_hdf5(self.path(folder)) as file:
            file.attrs.update(_attributes(_PART_KIND, classes, ranker, self.engine))
            file["tasks"] = np.asarray(self.tasks, np.int64)
            schema.put_texts(file, "object_id", self.ids)
            file["ra"], file["dec"] = np.asarray(self.ra, np.float64), np.asarray(self.dec, np.float64)
            file["log_odds"] = np.asarray(self.log_odds, np.float32)
            file["task"] = np.asarray(self.task, np.int64)
            schema.put_failures(file, self.failures)
            if self.guesses is not None and self.reasons is not None:
                file["guess"] = np.asarray(self.guesses, np.float32)
                file["reason"] = np.asarray(self.reasons, np.uint8)


def list_parts(folder: Path, classes: Sequence[str]) -> Iterator[PartScores]:
    """Read the parts in a folder one after another, in the order of the plan.

    Parameters
    ----------
    folder
        Folder of one ranker's scores; there are none if it is missing.
    classes
        Label classes that the columns must be of.

    Raises
    ------
    CacheError
        If a file is damaged, or has scores of other label classes.
    """
    return (_read_part(path, classes) for path in sorted(folder.glob("[0-9]*.h5")))


def count_tasks(folder: Path) -> int:
    """Return how many tasks the parts in a folder hold.

    Raises
    ------
    CacheError
        If a file is damaged.
    """
    total = 0
    for path in folder.glob("[0-9]*.h5"):
        with schema.open_hdf5(path) as file:
            schema.check_format(file.attrs, _PART_KIND, path)
            total += len(schema.check_dataset(file, "tasks", (None,), "i", path))
    return total


def read_part(folder: Path, first: int, classes: Sequence[str]) -> PartScores:
    """Read the part whose first task has this index in the plan; as `list_parts`.

    Raises
    ------
    UnreadableError
        If there is none.
    CacheError
        If the file is damaged, or has scores of other label classes.
    """
    return _read_part(_part_path(folder, first), classes)


def _part_path(folder: Path, first: int) -> Path:
    return folder / f"{first:010d}.h5"


def _read_part(path: Path, classes: Sequence[str]) -> PartScores:
    with schema.open_hdf5(path) as file:
        schema.refuse_changed(file, path)
        schema.check_format(file.attrs, _PART_KIND, path)
        ids = schema.read_texts(schema.check_dataset(file, "object_id", (None,), "S", path))
        if file.attrs["classes"] != json.dumps(list(classes)):
            raise CacheError(f"{path} has scores of {file.attrs['classes']}, expected {', '.join(classes)}")
        part = PartScores(
            schema.check_dataset(file, "tasks", (None,), "i", path)[...],
            ids,
            *schema.read_positions(file, len(ids), path),
            schema.check_dataset(file, "log_odds", (len(ids), len(classes)), "f", path)[...],
            schema.check_dataset(file, "task", (len(ids),), "i", path)[...],
            schema.read_failures(file, path),
            str(file.attrs.get("engine", "")),
            *(
                schema.check_dataset(file, name, (len(ids),), kind, path)[...] if name in file else None
                for name, kind in (("guess", "f"), ("reason", "u"))
            ),
        )
        if not len(part.tasks) or not np.isin(part.task, part.tasks).all():
            raise DamagedError(f"{path}, dataset task: is of tasks that the part does not have")
        return part


def _attributes(kind: str, classes: Sequence[str], ranker: str, engine: str) -> dict[str, Any]:
    """Return the attributes that both kinds of file have."""
    return {
        "format": f"astroanomaly-{kind}",
        "version": schema.VERSION,
        "ranker": ranker,
        "classes": json.dumps(list(classes)),
        "engine": engine,
    }
