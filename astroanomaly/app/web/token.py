"""The token of a session: what a browser has to bring; kept, so that pages come back after a restart of the server."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from pathlib import Path

from astroanomaly.files import atomic_path, locked

__all__ = ["FILE", "keep_token"]

FILE = "app-token"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,200}")
_log = logging.getLogger(__name__)


def keep_token(session: Path) -> tuple[str, bool]:
    """Return the token that is kept in a session, or a new one, and whether it will be the same next time.

    The file is readable by its owner alone. One that others could read, or that holds something else, is replaced.
    """
    path = session / FILE
    try:
        with locked(session, create=False):  # servers started at the same moment keep one token
            token = _read(path)
            if token:
                return token, True
            token = secrets.token_urlsafe(24)
            with atomic_path(path, private=True) as temporary:
                temporary.write_text(token + "\n", encoding="ascii")
            return token, bool(_read(path))
    except OSError as error:
        _log.warning("the token is not kept, browsers need a new one next time: %s", error)
        return secrets.token_urlsafe(24), False


def _read(path: Path) -> str:
    """Return the token in a file; empty if there is none that can be trusted."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return ""
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        private = os.name != "posix" or (not about.st_mode & 0o077 and about.st_uid == os.geteuid())
        if not stat.S_ISREG(about.st_mode) or not private:
            _log.warning("%s can be read or was made by others: a new token is made", path)
            return ""
        text = file.read(1000).decode("ascii", "replace").strip()
    return text if _TOKEN.fullmatch(text) else ""
