"""Write a file whole or not at all, hold a lock: the one place of fsync, rename and flock."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from astroanomaly.errors import AstroAnomalyError, CacheError, StorageError, UnreadableError

__all__ = ["atomic_path", "read_json", "sync_folder", "write_json"]

_JSON_LIMIT = 64 * 2**20  # bytes; a strange cache.json must not fill the memory


@contextlib.contextmanager
def atomic_path(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success flush, sync and rename it, else remove it.

    Without ``sync`` a power cut may lose it: for files that will not be needed then.

    Raises
    ------
    StorageError
        When the disk is full or the folder cannot be written to. Nothing is left behind.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    try:
        yield temporary
        if not sync:
            temporary.replace(path)
            return
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except AstroAnomalyError:
        raise
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}; nothing half-written was left. "
            "Free some space or choose another place, then run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Have the disk know which files are in a folder."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of bounded size.

    Raises
    ------
    UnreadableError
        If the file is missing.
    CacheError
        If it is not a JSON object.
    """
    try:
        if path.stat().st_size > _JSON_LIMIT:
            raise CacheError(f"{path} has more than {_JSON_LIMIT} bytes: it is no file of ours")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CacheError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CacheError(f"{path} is damaged: expected an object, found {type(content).__name__}")
    return content
