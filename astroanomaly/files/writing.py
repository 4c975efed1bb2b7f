"""Write a file or folder whole or not at all: the one place of fsync."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from astroanomaly.errors import AstroAnomalyError, StorageError
from astroanomaly.files.leftovers import remove_leftovers, temporary_path
from astroanomaly.files.paths import open_plain

__all__ = [
    "CHECKSUMS",
    "atomic_folder",
    "atomic_path",
    "check_new",
    "files_in",
    "parse_sums",
    "sync_file",
    "sync_folder",
]

_MAX_SUMS_BYTES = 64 * 2**20
CHECKSUMS = "SHA256SUMS"  # the list of a folder's files, as `sha256sum -c` reads it


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
    remove_leftovers(path.parent)
    temporary = temporary_path(path)
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
    remove_leftovers(path.parent)
    temporary, before = temporary_path(path), temporary_path(path)
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
        with open_plain(folder / CHECKSUMS) as file:
            return sorted(parse_sums(file.read(_MAX_SUMS_BYTES).decode("utf-8")))
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
