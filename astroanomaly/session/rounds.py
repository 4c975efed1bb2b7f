"""Rounds of a session on disk: recipe, checkpoint, scores. A round is there whole, or not at all."""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from astroanomaly.cache.scores import has_scores, read_scores
from astroanomaly.errors import AstroAnomalyError, SessionError, StorageError, UnreadableError
from astroanomaly.files import (
    ProcessId,
    is_held,
    locked,
    read_json,
    temporary_path,
    write_json,
    writer_of,
)
from astroanomaly.records import ShardScores

__all__ = ["RECIPE", "ROUNDS", "SCORES", "WEIGHTS", "Draft", "Round", "is_in_the_making", "list_rounds", "new_round"]

ROUNDS = "rounds"  # folder of the rounds of a session
SCORES = "scores"  # folder of the score files of a round, or of a survey scored with it
RECIPE = "ranker.json"  # file of a round
WEIGHTS = "model.safetensors"  # its checkpoint
_UNFINISHED, _LOCK, _USE = ".tmp-", "lock", "in-use"
_REMEDY = "restore it from a copy, or move the folder of this round out of the session"
_LOCK_GRACE_S = 1.0  # between making the lock file and locking it


class _Shard(Protocol):
    """The part of a shard of objects that is needed."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def uuid(self) -> str:
        """Its name."""


class _Objects(Protocol):
    """The part of a cache that is needed."""

    @property
    def shards(self) -> Sequence[_Shard]:
        """The shards, in order."""

    @property
    def uuids(self) -> Sequence[str]:
        """Uuids of the shards."""


@dataclass(frozen=True)
class Round:
    """One training of one ranker.

    Attributes
    ----------
    number
        1 for the first; 0 while it is in the making.
    ranker
        Its name.
    last_event
        Number of the last label event it knew.
    path
        Folder with its recipe, checkpoint, scores and figures.
    """

    number: int
    ranker: str
    last_event: int
    path: Path

    @property
    def weights(self) -> Path:
        """Its checkpoint; there only for rankers with weights."""
        return self.path / WEIGHTS

    @property
    def scores(self) -> Path:
        """Folder of its score files."""
        return self.path / SCORES

    @property
    def recipe(self) -> dict[str, Any]:
        """Settings, label event, time, and the figures of every training step."""
        return read_json(self.path / RECIPE, error=SessionError, remedy=_REMEDY)

    @property
    def audit_draws(self) -> int:
        """Draws of the audit set that it knew, see `astroanomaly.labels.audit.AuditSet`."""
        return int(self.recipe.get("audit_draws", 0))

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it from being removed while something is added to it.

        Raises
        ------
        StorageError
            If its folder cannot be written to.
        """
        mark = temporary_path(self.path / _USE)
        try:
            mark.mkdir()
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written to: {error.strerror or error}") from error
        try:
            yield
        finally:
            shutil.rmtree(mark, ignore_errors=True)

    @property
    def is_in_use(self) -> bool:
        """Whether a process may be adding to it, here or on another machine."""
        writers = (writer_of(path) for path in self.path.glob(f".tmp-*-{_USE}"))
        return any(writer is not None and not writer.is_dead for writer in writers)

    def absolute(self) -> Round:
        """Return it with an absolute path, for processes elsewhere."""
        return replace(self, path=self.path.absolute())

    def in_survey(self, folder: Path) -> Path:
        """Where the folder of a survey has what this round makes of it.

        The name has the number of the round and a hash of its recipe and checkpoint, so that several sessions may use
        one folder.
        """
        digest = hashlib.sha256((self.path / RECIPE).read_bytes())
        if self.weights.is_file():
            digest.update(self.weights.read_bytes())
        return folder / f"round-{self.number:04d}-{digest.hexdigest()[:8]}"

    def is_scored(self, cache: _Objects) -> bool:
        """Whether every object of the cache has a score."""
        return all(has_scores(self.scores, uuid) for uuid in cache.uuids)

    def read_scores(self, cache: _Objects) -> tuple[list[str], np.ndarray]:
        """Ids and ``(N, classes)`` float32 log-odds of all objects of the cache."""
        parts = list(self.shard_scores(cache))
        return [object_id for part in parts for object_id in part.ids], np.concatenate(
            [part.log_odds for part in parts]
        )

    def read_log_odds(self, cache: _Objects) -> np.ndarray:
        """``(N, classes)`` float32 log-odds in the order of ``cache.ids``."""
        return np.concatenate([part.log_odds for part in self.shard_scores(cache)])

    def shard_scores(self, cache: _Objects) -> Iterator[ShardScores]:
        """Give the scores of one shard of the cache after another, in its order."""
        for shard in cache.shards:
            if not has_scores(self.scores, shard.uuid):
                raise SessionError(
                    f"round {self.number} has not scored all of {shard.folder} yet: run `astroanomaly score SESSION`"
                )
            yield read_scores(self.scores, shard.uuid)


def list_rounds(folder: Path) -> list[Round]:
    """Return the rounds in a folder, oldest first."""
    found = []
    for path in sorted(folder.glob("[0-9]*")):
        try:
            recipe = read_json(path / RECIPE, error=SessionError, remedy=_REMEDY)
        except UnreadableError:
            if path.exists():
                raise
            continue  # removed meanwhile
        try:
            found.append(Round(int(path.name), str(recipe["ranker"]), int(recipe["last_event"]), path))
        except (KeyError, ValueError, TypeError) as error:
            raise SessionError(f"{path / RECIPE} is damaged: {error!r}; {_REMEDY}") from error
    return found


@dataclass
class Draft:
    """A round in the making.

    Attributes
    ----------
    round
        Where its files go; afterwards the finished round, with its number.
    recipe
        To be completed.
    """

    round: Round
    recipe: dict[str, Any]


@contextlib.contextmanager
def new_round(folder: Path, ranker: str, last_event: int) -> Iterator[Draft]:
    """Give a round in the making; it joins the others only if all went well, with the number that is next then.

    Several may be in the making at once. What killed ones left behind is removed first.

    Parameters
    ----------
    folder
        Folder of the session's rounds.
    ranker, last_event
        As in `Round`.
    """
    unfinished = temporary_path(folder / "round")
    draft = Draft(Round(0, ranker, last_event, unfinished), {"ranker": ranker, "last_event": last_event})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        unfinished.mkdir()
        with locked(unfinished / _LOCK):  # the system lets go of it with the process, however that ends
            yield draft
            draft.recipe.setdefault("created", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
            write_json(unfinished / RECIPE, draft.recipe)
            (unfinished / _LOCK).unlink(missing_ok=True)
        number = _settle(unfinished, folder)
        draft.round = Round(number, ranker, last_event, folder / f"{number:04d}")
    except OSError as error:
        if isinstance(error, AstroAnomalyError):
            raise
        raise StorageError(f"a round of {ranker} cannot be kept in {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _settle(unfinished: Path, folder: Path) -> int:
    """Rename a round to the first number that nobody has, nor takes meanwhile; return the number."""
    number = max((int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()), default=0)
    while True:
        number += 1
        try:
            unfinished.rename(folder / f"{number:04d}")
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return number


def is_in_the_making(folder: Path) -> bool:
    """Whether a round is being made in a folder of rounds, by any process that may be alive."""
    return any(path.is_dir() and not _is_left_over(path) for path in folder.glob(f"{_UNFINISHED}*"))


def _sweep(folder: Path) -> None:
    """Remove rounds that were being made by processes that are gone."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        if _is_left_over(path):
            shutil.rmtree(path, ignore_errors=True)


def _is_left_over(path: Path) -> bool:
    """Whether the process that made a round is gone: its name says so, or a lock file that nobody holds.

    Without either, as when it was killed on another machine before it made the lock file, nobody knows: it stays.
    """
    writer = writer_of(path)
    if writer is not None and writer.host == ProcessId.own().host:
        return writer.is_dead
    try:
        held = is_held(path / _LOCK)
        return not held and time.time() - (path / _LOCK).stat().st_mtime > _LOCK_GRACE_S
    except OSError:  # it is gone meanwhile, or not ours
        return False
