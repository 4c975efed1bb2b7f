"""Compiled networks that are kept on disk, so that the next process need not compile them: a few, the latest used."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from astroanomaly.cache.file_digest import append_digest, verify_digest, without_digest
from astroanomaly.errors import DamagedError, StorageError
from astroanomaly.files import atomic_path, open_plain, user_cache

__all__ = ["FOLDER_VARIABLE", "read_compiled", "write_compiled"]

FOLDER_VARIABLE = "ASTROANOMALY_NETWORKS"
_MOST_BYTES = 512 * 2**20  # of all of them together: some 25 of EfficientNet-Lite2
_log = logging.getLogger(__name__)


def read_compiled(key: str) -> bytes | None:
    """Return what was kept under a key; None where there is nothing, it is damaged, or nothing is to be kept.

    Parameters
    ----------
    key
        Names the network, its weights and all that it was compiled with: letters and digits.
    """
    folder = _folder()
    if folder is None:
        return None
    path = folder / f"{key}.blob"
    try:
        if not path.is_file():
            return None
        verify_digest(path, expected=True)
        with open_plain(path) as file:
            content = file.read(without_digest(path))
        os.utime(path)  # used now: the others are removed first
    except (OSError, DamagedError) as problem:
        _log.debug("a compiled network is made anew: %s", problem)
        return None
    return content


def write_compiled(key: str, content: bytes) -> None:
    """Keep what was compiled, and remove those that were not used for longest; on a full disk nothing happens."""
    folder = _folder()
    if folder is None or len(content) > _MOST_BYTES:
        return
    try:
        with atomic_path(folder / f"{key}.blob", sync=False, private=True) as temporary:
            temporary.write_bytes(content)
            append_digest(temporary)
        found = sorted(folder.glob("*.blob"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        total = 0
        for path in found:
            total += path.stat().st_size
            if total > _MOST_BYTES:
                path.unlink(missing_ok=True)
    except (OSError, StorageError) as problem:
        _log.debug("a compiled network is not kept: %s", problem)


def _folder() -> Path | None:
    """Return the folder, which only this user can write to; None where there is none."""
    chosen = os.environ.get(FOLDER_VARIABLE, "")
    if chosen.lower() == "off":
        return None
    try:
        folder = Path(chosen).expanduser() if chosen else user_cache("networks")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except (OSError, RuntimeError) as problem:  # there may be no home
        _log.debug("compiled networks are not kept: %s", problem)
        return None
    if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        _log.debug("compiled networks are not kept in %s: others can write to it", folder)
        return None
    return folder
