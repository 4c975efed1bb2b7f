"""Score files: one small HDF5 file per shard and ranker, so that scoring resumes and nothing joins by position."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly.cache import schema
from astroanomaly.errors import CacheError
from astroanomaly.hookspecs import ShardScores

__all__ = ["has_scores", "read_scores", "write_scores"]


def _path(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.h5"


def has_scores(folder: Path, shard: str) -> bool:
    """Whether the scores of a shard are there, whole."""
    return _path(folder, shard).is_file()


def write_scores(folder: Path, scores: ShardScores, classes: Sequence[str], ranker: str) -> None:
    """Write the scores of one shard in one step.

    Parameters
    ----------
    folder
        Folder of one ranker's scores; made when missing.
    classes
        Label classes, one per column of ``log_odds``.
    ranker
        Hash or recipe of the ranker, kept with the scores.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with schema.new_hdf5(_path(folder, scores.shard)) as file:
        file.attrs.update(
            {
                "format": "astroanomaly-scores",
                "version": schema.VERSION,
                "shard": scores.shard,
                "ranker": ranker,
                "classes": json.dumps(list(classes)),
                "engine": scores.engine,
            }
        )
        schema.put_texts(file, "object_id", scores.ids)
        file["log_odds"] = np.asarray(scores.log_odds, dtype=np.float32)


def read_scores(folder: Path, shard: str) -> ShardScores:
    """Read the scores of one shard.

    Raises
    ------
    UnreadableError
        If the shard has not been scored.
    CacheError
        If the file is damaged.
    """
    path = _path(folder, shard)
    with schema.open_hdf5(path) as file:
        schema.check_format(file.attrs, "scores", path)
        ids = schema.read_texts(schema.check_dataset(file, "object_id", (None,), "S", path))
        log_odds = schema.check_dataset(file, "log_odds", (len(ids), None), "f", path)[...]
        if file.attrs["shard"] != shard:
            raise CacheError(f"{path} holds the scores of another shard, {file.attrs['shard']}")
        engine = str(file.attrs.get("engine", ""))
    return ShardScores(shard, ids, log_odds, engine)
