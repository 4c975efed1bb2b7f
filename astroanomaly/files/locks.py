"""Hold a file so that no other process has it: the one place of flock and of record locks."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import random
import secrets
import socket
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from astroanomaly.errors import BusyError
from astroanomaly.files.leftovers import temporary_path
from astroanomaly.files.process import ProcessId

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock", "has_record_locks", "is_held", "locked"]

_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN}  # what flock says where another has the lock
_RECORD_BUSY = {errno.EACCES, errno.EAGAIN}
_SUFFIX = ".held"  # of the file that says who holds another one, where there is no flock
_MAX_HOLDER_BYTES = 4096
_POLL_S = 0.05  # at most, between two looks whether somebody still holds a file
_PATIENCE_S = 600.0  # with the same process of another machine, which may be gone
_log = logging.getLogger(__name__)


class FileLock:
    """A file or folder that is held, until it is closed or the process ends, however that happens.

    Made by `locked`. It is closed at the end of a ``with`` block, by `close`, or when nothing refers to it any more.
    """

    def __init__(self, handle: int, holder: Path | None = None) -> None:
        self._finalize = weakref.finalize(self, _release, handle, holder, os.getpid())

    def close(self) -> None:
        """Let go of it; once is enough."""
        self._finalize()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def locked(path: Path, *, wait: bool = True, create: bool = True) -> FileLock:
    """Hold a file: no other thread or process of those that ask holds it at the same time.

    Whoever holds it may remove or rename it: those that wait then ask for the file that is at this path now.

    **Without flock.** The system lets go of a lock (``flock``) with the process that has it. Some network file systems
    (NFS without its lock service, Lustre without the mount option ``flock``) have none. There a second file,
    ``<name>.held``, stands for the lock: it is made only if it is not there yet, says which process of which machine
    holds it, and is removed with the lock. What a process that was killed has left is taken over only by another one
    of the same machine, which sees that the process is gone; never because it is old. From another machine nobody can
    see that: the error names the file, and a person who knows may remove it. All who write to a folder must see it in
    the same way, with flock or without.

    Parameters
    ----------
    path
        The file; its content does not matter.
    wait
        Whether to wait until others let go.
    create
        Whether to make the file if it is missing. Without, ``path`` may also be a folder.

    Returns
    -------
    FileLock
        To be closed, best by ``with``.

    Raises
    ------
    BusyError
        If another holds it and ``wait`` is False.
    OSError
        If it cannot be opened, or, without flock, the folder cannot be written to.
    """
    while True:
        handle = _open(path, create)
        holder = None
        try:
            if not _flock(handle, path, wait):
                holder = _holder_file(path)
                _hold(holder, path, wait)
            else:
                _respect(path, wait)
            current = _is_at(path, handle)
        except BaseException:
            os.close(handle)
            raise
        lock = FileLock(handle, holder)
        if current:
            return lock
        lock.close()  # whoever held it has removed or renamed it


def is_held(path: Path) -> bool:
    """Whether another thread or process holds an existing file or folder.

    Raises
    ------
    OSError
        If it is missing or cannot be opened.
    """
    handle = _open(path, create=False)
    try:
        _flock(handle, path, wait=False)
    except BusyError:
        return True
    finally:
        os.close(handle)
    found = _Holder.read(_holder_file(path))
    return found is not None and not found.is_dead


def has_record_locks(folder: Path) -> bool:
    """Whether parts of files in a folder can be locked (``fcntl``), as SQLite does; True where that cannot be tried."""
    if fcntl is None:
        return True  # SQLite has another way there
    trial = temporary_path(folder / "locks")
    try:
        handle = os.open(trial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return True
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _RECORD_BUSY
    finally:
        os.close(handle)
        trial.unlink(missing_ok=True)
    return True


def _open(path: Path, create: bool) -> int:
    """Open for writing, since NFS wants that for an exclusive lock; a folder can be opened for reading only."""
    if create:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        return os.open(path, os.O_RDWR)
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY)


def _flock(handle: int, path: Path, wait: bool) -> bool:
    """Take the lock of an open file; False where there are none."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if not wait and error.errno in _BUSY:
            raise BusyError(f"{path} is held by another process") from None
        _note_without_flock(path.parent, error.strerror or str(error))
        return False
    return True


@functools.cache
def _note_without_flock(folder: Path, reason: str) -> None:
    _log.info("there is no flock in %s (%s): files called *%s stand for locks", folder, reason, _SUFFIX)


def _is_at(path: Path, handle: int) -> bool:
    """Whether a path leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _release(handle: int, holder: Path | None, pid: int) -> None:
    os.close(handle)
    if holder is not None and pid == os.getpid():  # not in a process that was forked from the one that holds it
        with contextlib.suppress(OSError):
            holder.unlink()


# ---------------------------------------------------------------------------------------------------- without flock


@dataclass(frozen=True)
class _Holder:
    """Who holds a file, as ``<name>.held`` says it; an empty token where it cannot be read."""

    host: str = ""
    pid: int = 0
    started: str = ""
    token: str = ""
    machine: str = "a machine that is not named"
    since: str = "an unknown time"

    @classmethod
    def read(cls, path: Path) -> _Holder | None:
        """Read who holds a file; None if nobody does."""
        try:
            with path.open("rb") as file:
                content = json.loads(file.read(_MAX_HOLDER_BYTES))
            return cls(
                str(content["host"]), int(content["pid"]), str(content["started"]), str(content["token"]),
                str(content["machine"]), str(content["since"]),
            )  # fmt: skip
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return cls()  # being written, or by somebody else

    @property
    def is_dead(self) -> bool:
        return bool(self.token) and ProcessId(self.host, self.pid, self.started).is_dead


def _holder_file(path: Path) -> Path:
    return path / _SUFFIX if path.is_dir() else path.with_name(path.name + _SUFFIX)


def _hold(holder: Path, path: Path, wait: bool) -> None:
    """Make the file that says who holds another one, once nobody else has."""
    own = ProcessId.own()
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    made = _Holder(own.host, own.pid, own.started, secrets.token_hex(8), socket.gethostname(), since)
    text = json.dumps(asdict(made))
    while True:
        _await_nobody(holder, path, wait)
        try:
            handle = os.open(holder, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        try:
            os.write(handle, text.encode())
        except OSError:
            holder.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        return


def _respect(path: Path, wait: bool) -> None:
    """Having a lock of the system, wait for somebody who could not have one."""
    _await_nobody(_holder_file(path), path, wait)


def _await_nobody(holder: Path, path: Path, wait: bool) -> None:
    """Wait until no file says that somebody holds another one; remove it where its process is gone.

    Raises
    ------
    BusyError
        If it is held and ``wait`` is False; after a while too where it cannot be seen from here whether it still is.
    """
    began, first, pause_s = time.monotonic(), None, 0.001
    while (found := _Holder.read(holder)) is not None:
        first = found if first is None else first
        if found.is_dead and _remove_dead(holder, found):
            continue
        unseen = found.host != ProcessId.own().host or sys.platform != "linux"
        if found != first:
            began, first = time.monotonic(), found
        if not wait or (unseen and time.monotonic() - began > _PATIENCE_S):
            raise _held(path, holder, found)
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, _POLL_S)


def _held(path: Path, holder: Path, found: _Holder) -> BusyError:
    return BusyError(
        f"{path} is held by process {found.pid or 'without a number'} of {found.machine} since {found.since}. There is "
        f"no flock on this file system, so the file {holder} says so: if that process has ended, remove this file"
    )


def _remove_dead(holder: Path, found: _Holder) -> bool:
    """Remove what a process of this host left that is gone; False where that is not safe, or another does it."""
    with _alone_on_host(found.token) as alone:
        if alone and _Holder.read(holder) == found:
            holder.unlink(missing_ok=True)
            return True
    return False


@contextlib.contextmanager
def _alone_on_host(name: str) -> Iterator[bool]:
    """Keep the other processes of this host out, by a name that the system gives back (Linux: an abstract socket)."""
    if sys.platform != "linux":
        yield False
        return
    digest = hashlib.sha256(name.encode()).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        try:
            one.bind(f"\0astroanomaly-{digest}")
        except OSError:
            yield False
            return
        yield True
