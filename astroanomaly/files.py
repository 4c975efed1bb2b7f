"""Write a file or folder whole or not at all, hold a lock: the one place of fsync and flock, and of temporary files."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import uuid
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from astroanomaly.errors import AstroAnomalyError, BusyError, CacheError, ConfigError, StorageError, UnreadableError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "CHECKSUMS",
    "FileLock",
    "as_path",
    "atomic_folder",
    "atomic_path",
    "check_new",
    "files_in",
    "is_held",
    "locked",
    "parse_sums",
    "read_json",
    "sync_file",
    "sync_folder",
    "write_json",
]

CHECKSUMS = "SHA256SUMS"  # the list of a folder's files, as `sha256sum -c` reads it

_MAX_JSON_BYTES = 64 * 2**20  # a strange cache.json must not fill the memory
_LOCKED_ERRNOS = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}  # what flock says where another has the lock
_log = logging.getLogger(__name__)


# ----------------------------------------------------------------------------------------------------------- writing


@contextlib.contextmanager
def atomic_path(path: Path, *, sync: bool = True, private: bool = False) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success flush, sync and rename it, else remove it.

    Parameters
    ----------
    path
        The file to be written or replaced.
    sync
        False: a power cut may lose it. For files that will not be needed then.
    private
        True: the temporary file is there already, empty, and only its owner may read it.

    Raises
    ------
    StorageError
        When the disk is full or the folder cannot be written to. Nothing is left behind.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    try:
        if private:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield temporary
        if sync:
            sync_file(temporary)
        temporary.replace(path)
        if sync:
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


@contextlib.contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a new folder beside ``path``; on success list its files in `CHECKSUMS`, sync and rename it, else remove it.

    Parameters
    ----------
    path
        The folder to be made.
    overwrite
        Replace a folder that was made so, as `check_new` allows it.

    Raises
    ------
    StorageError
        When ``path`` is taken, the disk is full or the folder above cannot be written to. Nothing is left behind.
    """
    check_new(path, overwrite=overwrite, folder=True)
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    before = temporary.with_name(f"{temporary.name}-before")
    try:
        temporary.mkdir()
        yield temporary
        lines = [f"{_sha256(temporary / name)}  {name}\n" for name in files_in(temporary)]
        (temporary / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
        for item in temporary.rglob("*"):
            (sync_folder if item.is_dir() else sync_file)(item)
        if path.exists():
            path.rename(before)
        temporary.rename(path)
        sync_folder(path.parent)
    except AstroAnomalyError:
        raise
    except OSError as error:
        if before.exists() and not path.exists():
            before.rename(path)
        raise StorageError(
            f"{path} could not be written: {error.strerror or error}; nothing half-written was left. "
            "Free some space or choose another place, then run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def check_new(path: Path, *, overwrite: bool, folder: bool = False) -> None:
    """Check that a file or folder may be written before the work begins.

    Raises
    ------
    StorageError
        If the file exists and must not be replaced; if the folder exists and is not empty, unless it may be replaced
        and its files are those that `atomic_folder` listed; or if there is no folder above.
    """
    if path.is_dir() if not folder else path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a {'file' if folder else 'folder'}: choose another name")
    if not path.absolute().parent.is_dir():
        raise StorageError(f"{path} cannot be written: the folder {path.parent} does not exist")
    if not path.exists() or (folder and not any(path.iterdir())):
        return
    if not overwrite:
        raise StorageError(f"{path} exists already: choose another name, or --overwrite")
    if folder and _listed(path) != files_in(path):
        raise StorageError(
            f"{path} is not replaced: it holds files that its {CHECKSUMS} does not list, so others wrote there too. "
            "Choose another name, or remove it yourself"
        )


def parse_sums(text: str) -> dict[str, str]:
    """Return the SHA-256 of each file that a `CHECKSUMS` lists; lines that are none are left out."""
    found = [re.fullmatch(r"([0-9a-f]{64})  (.+)", line) for line in text.splitlines()]
    return {match[2]: match[1] for match in found if match}


def files_in(folder: Path) -> list[str]:
    """List the files of a folder and those below by their paths there, but for `CHECKSUMS`; links are not followed."""
    inside = (item for item in folder.rglob("*") if item.is_symlink() or not item.is_dir())
    names = sorted(item.relative_to(folder).as_posix() for item in inside)
    return [name for name in names if name != CHECKSUMS]


def _listed(folder: Path) -> list[str]:
    """List what a folder's `CHECKSUMS` names; nothing without such a file, or a damaged one."""
    try:
        return sorted(parse_sums((folder / CHECKSUMS).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return []


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Have the disk know what is in a file."""
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())


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
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CacheError(f"{path} has more than {_MAX_JSON_BYTES} bytes: it is no file of ours")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CacheError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CacheError(f"{path} is damaged: expected an object, found {type(content).__name__}")
    return content


def as_path(value: object, what: str) -> Path:
    """Return a path that was given as text or as a `pathlib.Path`.

    Parameters
    ----------
    what
        What it is the path of, for the message.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    try:
        return Path(value)  # type: ignore[arg-type]
    except TypeError:
        raise ConfigError(f"{what} is {type(value).__name__}: expected its path, as text or pathlib.Path") from None


# ------------------------------------------------------------------------------------------------------------- locks


class FileLock:
    """A file or folder that is held, until it is closed or the process ends, however that happens.

    Made by `locked`. It is closed at the end of a ``with`` block, by `close`, or when nothing refers to it any more.

    Attributes
    ----------
    exclusive : bool
        False where there are no locks, so that nobody is kept out.
    """

    def __init__(self, handle: int, exclusive: bool) -> None:
        self.exclusive = exclusive
        self._finalize = weakref.finalize(self, os.close, handle)

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
    """Hold a file (``flock``): no other thread or process of those that ask holds it at the same time.

    Whoever holds it may remove or rename it: those that wait then ask for the file that is at this path now.

    **Without locks.** A system without ``flock`` and some network file systems (Lustre without the mount option
    ``flock``) have none. Then the work goes on as if nobody else were there, with one warning, and `FileLock.exclusive`
    is False. So two rules hold for all who use locks. What is wrong without one, such as two writers in one cache, is
    refused with an error where ``exclusive`` is False. And what a dead process may have left is not touched, or only
    once nobody has written to it for a day, where `is_held` is None.

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
        If it cannot be opened.
    """
    while True:
        handle = _open(path, create)
        try:
            exclusive = _flock(handle, path, wait)
            current = not exclusive or _is_at(path, handle)
        except BaseException:
            os.close(handle)
            raise
        if current:
            return FileLock(handle, exclusive)
        os.close(handle)  # whoever held it has removed or renamed it


def is_held(path: Path) -> bool | None:
    """Whether another thread or process holds an existing file or folder; None where there are no locks.

    Raises
    ------
    OSError
        If it is missing or cannot be opened.
    """
    try:
        with locked(path, wait=False, create=False) as lock:
            return False if lock.exclusive else None
    except BusyError:
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
        _warn_without_locks("the system has no flock")
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if not wait and error.errno in _LOCKED_ERRNOS:
            raise BusyError(f"{path} is held by another process") from None
        _warn_without_locks(f"{path.parent}: {error.strerror or error}")
        return False
    return True


@functools.cache
def _warn_without_locks(reason: str) -> None:
    """Say once for each folder that nobody is kept out."""
    _log.warning("files cannot be locked here (%s): let only one process at a time write to this folder", reason)


def _is_at(path: Path, handle: int) -> bool:
    """Whether a path leads to the open file."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
