"""Paths as callers give them, and plain files opened by them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from astroanomaly.errors import ConfigError, UnreadableError

__all__ = ["as_path", "open_plain", "user_cache"]


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


def user_cache(name: str) -> Path:
    """Return a folder of this user for what can be made again: below ``$XDG_CACHE_HOME``, else below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "astroanomaly" / name


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; a pipe or a device, which might never end, is refused.

    Raises
    ------
    UnreadableError
        If it is missing, cannot be opened, or is no plain file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise UnreadableError(f"{path} does not exist") from None
    except OSError as problem:
        raise UnreadableError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UnreadableError(f"{path} cannot be read: it is no plain file")
    return open(handle, "rb")
