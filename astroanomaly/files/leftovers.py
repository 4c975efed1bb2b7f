"""Names of temporary files, which say who writes them, so that what a killed process left can be removed."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from astroanomaly.files.process import ProcessId

__all__ = ["remove_leftovers", "temporary_folder", "temporary_path", "writer_of"]

_NAME = re.compile(r"\.tmp-([0-9a-f]{8})-(\d{1,10})-([0-9a-f]{8})-[0-9a-f]{8}-.+", re.DOTALL)
_LONGEST_NAME = 200  # bytes of the name of the file itself: file systems take 255 in all
_swept: set[tuple[int, str]] = set()  # process and folder: each is looked through once


def temporary_path(path: Path) -> Path:
    """Return the path of a new temporary file or folder beside ``path``; its name says which process writes it."""
    own = ProcessId.own()
    name = path.name.encode("utf-8", "surrogateescape")[-_LONGEST_NAME:].decode("utf-8", "ignore") or "file"
    return path.with_name(f".tmp-{own.host}-{own.pid}-{own.started}-{secrets.token_hex(4)}-{name}")


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Give a new empty folder beside ``path``; it is gone afterwards."""
    folder = temporary_path(path)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def writer_of(path: Path) -> ProcessId | None:
    """Return which process writes a temporary file or folder; None where its name does not say."""
    match = _NAME.fullmatch(path.name)
    return ProcessId(match[1], int(match[2]), match[3]) if match else None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders in a folder whose writers ran here, as this user, and are gone.

    Whatever another machine, another user or an earlier version wrote stays: whether it is still written to cannot be
    known. A process looks through each folder once.
    """
    key = (os.getpid(), os.path.abspath(folder))
    if key in _swept:
        return
    _swept.add(key)
    with contextlib.suppress(OSError):
        for item in folder.glob(".tmp-*"):
            writer = writer_of(item)
            with contextlib.suppress(OSError):
                status = item.lstat()
                own = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
                if writer is None or not own or not writer.is_dead:
                    continue
                if item.is_dir() and not item.is_symlink():
                    shutil.rmtree(item, ignore_errors=True)
                else:
                    item.unlink()
