"""Move files of a cache aside that do not count or are damaged, so that they are made anew; nothing is deleted."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

from astroanomaly.cache import schema
from astroanomaly.cache.check import Damage, Integrity, cache_files, check_files, only_one, only_opened
from astroanomaly.cache.index import load_index
from astroanomaly.cache.plan import read_description
from astroanomaly.cache.writer import write_lock
from astroanomaly.errors import StorageError
from astroanomaly.files import sync_folder
from astroanomaly.records import Progress, drain

__all__ = ["ASIDE_FOLDER", "move_aside", "repair_cache", "repair_steps"]

ASIDE_FOLDER = "set-aside"  # folder for files that do not count
_NEEDED = (schema.CACHE_FILE, schema.PLAN_FILE)  # nothing makes them anew


def repair_cache(path: Path) -> list[Path]:
    """Move damaged files, and shards that double others, out of the way; return where they lie now.

    Parameters
    ----------
    path
        Folder of the cache.

    Raises
    ------
    UnreadableError
        If there is no cache.
    CacheError
        If its description is damaged.
    BusyError
        If an ingest is writing to it.
    StorageError
        If its files cannot be moved.
    """
    return drain(repair_steps(path))[1]


def repair_steps(
    path: Path, *, check: bool = True, only: Path | None = None
) -> Generator[Progress, None, tuple[Integrity, list[Path]]]:
    """As `repair_cache`, as a generator of progress reports; it returns what was found, too.

    Parameters
    ----------
    check
        Whether files are read to their end. Without, each is opened, which finds less and takes seconds.
    only
        The only file that is looked at, and moved.
    """
    read_description(path)
    with write_lock(path):
        files = cache_files(path)
        if only is not None:
            files = iter([only_one(files, only)])
        found = yield from check_files(files if check else only_opened(files))
        moved = move_aside(path, (damage for damage in found.damaged if damage.path.name not in _NEEDED))
        shards = path / schema.SHARD_FOLDER
        doubled = [shards / name for name in load_index(path).ignored]
        if only is not None:
            doubled = [shard for shard in doubled if shard.absolute() == only.absolute()]
        moved += move_aside(path, (Damage(shard, "", "") for shard in doubled))
        load_index(path)
    return found, moved


def move_aside(folder: Path, damaged: Iterable[Damage]) -> list[Path]:
    """Move damaged files of a cache or session into a folder of it; return where they lie now.

    Raises
    ------
    StorageError
        If they cannot be moved.
    """
    aside = folder / ASIDE_FOLDER
    moved = []
    try:
        for damage in damaged:
            place = damage.path.relative_to(folder)
            target = aside / (place.name if place.parent.name == schema.SHARD_FOLDER else place)
            while target.exists():  # moved aside before, and put back
                target = target.with_name(f"{target.name}~")
            target.parent.mkdir(parents=True, exist_ok=True)
            moved.append(damage.path.rename(target))
            for changed in (target.parent, damage.path.parent):
                sync_folder(changed)
    except OSError as error:
        raise StorageError(f"files of {folder} cannot be moved to {aside}: {error.strerror or error}") from error
    return moved
