"""Move shards aside that do not count in a cache, as they double others; nothing is deleted."""

from __future__ import annotations

from pathlib import Path

from astroanomaly.cache import schema
from astroanomaly.cache.index import load_index
from astroanomaly.cache.plan import read_description
from astroanomaly.cache.writer import write_lock
from astroanomaly.errors import StorageError
from astroanomaly.files import sync_folder

__all__ = ["repair_cache"]

_ASIDE_FOLDER = "set-aside"  # folder of the cache for shards that do not count


def repair_cache(path: Path) -> list[Path]:
    """Move the shards that double others out of the way; return where they lie now.

    Parameters
    ----------
    path
        Folder of the cache.

    Raises
    ------
    UnreadableError
        If there is no cache.
    CacheError
        If it is damaged in another way.
    BusyError
        If an ingest is writing to it.
    StorageError
        If its files cannot be moved.
    """
    read_description(path)
    with write_lock(path):
        moved = []
        aside = path / _ASIDE_FOLDER
        try:
            for name in load_index(path).ignored:
                aside.mkdir(exist_ok=True)
                moved.append((path / schema.SHARD_FOLDER / name).rename(aside / name))
            for folder in (aside, path / schema.SHARD_FOLDER) if moved else ():
                sync_folder(folder)
        except OSError as error:
            raise StorageError(f"shards of {path} cannot be moved to {aside}: {error.strerror or error}") from error
        load_index(path)
    return moved
