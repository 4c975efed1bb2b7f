"""Rounds of a session on disk: recipe, checkpoint, scores. A round is there whole, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.schema import read_json, write_json
from astroanomaly.cache.scores import has_scores, read_scores
from astroanomaly.errors import SessionError, StorageError
from astroanomaly.hookspecs import ShardScores

__all__ = ["Round", "list_rounds", "new_round"]

_RECIPE, _WEIGHTS, _SCORES = "ranker.json", "model.safetensors", "scores"


@dataclass(frozen=True)
class Round:
    """One training of one ranker.

    Attributes
    ----------
    number
        1 for the first.
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
        return self.path / _WEIGHTS

    @property
    def scores(self) -> Path:
        """Folder of its score files."""
        return self.path / _SCORES

    @property
    def recipe(self) -> dict[str, Any]:
        """Settings, label event, time, and the figures of every training step."""
        return read_json(self.path / _RECIPE)

    def is_scored(self, cache: Cache) -> bool:
        """Whether every object of the cache has a score."""
        return all(has_scores(self.scores, shard.uuid) for shard in cache.shards)

    def read_scores(self, cache: Cache) -> tuple[list[str], np.ndarray]:
        """Ids and ``(N, classes)`` float32 log-odds of all objects of the cache."""
        parts = list(self._parts(cache))
        return [object_id for part in parts for object_id in part.ids], np.concatenate(
            [part.log_odds for part in parts]
        )

    def read_log_odds(self, cache: Cache) -> np.ndarray:
        """``(N, classes)`` float32 log-odds in the order of ``cache.ids``."""
        return np.concatenate([part.log_odds for part in self._parts(cache)])

    def _parts(self, cache: Cache) -> Iterator[ShardScores]:
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
        recipe = read_json(path / _RECIPE)
        try:
            found.append(Round(int(path.name), str(recipe["ranker"]), int(recipe["last_event"]), path))
        except (KeyError, ValueError, TypeError) as error:
            raise SessionError(f"{path / _RECIPE} is damaged: {error!r}") from error
    return found


@contextlib.contextmanager
def new_round(folder: Path, ranker: str, last_event: int) -> Iterator[tuple[Round, dict[str, Any]]]:
    """Give a round in the making and its recipe to fill in; it joins the others only if all went well.

    Parameters
    ----------
    folder
        Folder of the session's rounds.
    ranker, last_event
        As in `Round`.
    """
    earlier = list_rounds(folder)
    number = earlier[-1].number + 1 if earlier else 1
    unfinished = folder / f".tmp-{uuid.uuid4().hex}"
    recipe: dict[str, Any] = {"ranker": ranker, "last_event": last_event}
    try:
        unfinished.mkdir(parents=True)
        yield Round(number, ranker, last_event, unfinished), recipe
        write_json(unfinished / _RECIPE, recipe)
        unfinished.rename(folder / f"{number:04d}")
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"round {number} cannot be kept in {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
