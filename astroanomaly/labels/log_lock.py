"""What keeps others out of a label log where SQLite cannot."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from astroanomaly.errors import BusyError, StorageError
from astroanomaly.files import FileLock, locked

__all__ = ["LogLock"]

_POLL_S = 0.01


class LogLock:
    """The lock around each use of the file where SQLite cannot lock it; anywhere else it does nothing.

    SQLite locks with ``fcntl``, which some file systems do not have: then it says that the file is busy, or that it
    cannot be read. There it opens the file without locks of its own, and everybody holds this one meanwhile.
    """

    def __init__(self, path: Path, record_locks: bool) -> None:
        self._path = path
        self._record_locks = record_locks
        self._depth = 0

    @property
    def vfs(self) -> str:
        """The part of the file's address that tells SQLite how to lock."""
        return "" if self._record_locks else "&vfs=unix-none"

    @contextlib.contextmanager
    def held(self, wait_s: float) -> Iterator[None]:
        """Hold it; again inside a block of the same thread. Other threads are kept out by their callers.

        Raises
        ------
        BusyError
            If another process holds it for longer than ``wait_s`` seconds.
        StorageError
            If the folder cannot be written to.
        """
        if self._record_locks or self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        with self._take(wait_s):
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def _take(self, wait_s: float) -> FileLock:
        until = time.monotonic() + wait_s
        while True:
            try:
                return locked(self._path, wait=False)
            except BusyError:
                if time.monotonic() > until:
                    raise
                time.sleep(_POLL_S)
            except OSError as error:
                raise StorageError(
                    f"{self._path} cannot be written to, which stands for a lock: {error.strerror or error}"
                ) from error
