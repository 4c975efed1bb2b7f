"""The token: what a browser has to bring. Where it comes from, and how long it is good for."""

from __future__ import annotations

import logging
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_path, locked

__all__ = ["FILE", "NO_TOKEN", "VARIABLE", "Token", "given_token", "kept_token", "new_secret"]

FILE = "app-token"
VARIABLE = "ASTROANOMALY_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,200}")
_MAX_BYTES = 1000
_HOW_TO_MAKE = "make one with: python -c 'import secrets; print(secrets.token_urlsafe(24))'"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """What a browser has to bring.

    Attributes
    ----------
    text
        The secret; empty: nothing is asked for.
    origin
        Where somebody who knows the secret has it from; empty if it was made here.
    kept
        How long it is good for, in words.
    """

    text: str = field(repr=False)
    origin: str = ""
    kept: str = ""


NO_TOKEN = Token("")


def new_secret() -> str:
    """Return a secret that nobody guesses, of characters that an address may have."""
    return secrets.token_urlsafe(24)


def given_token(file: Path | None, environment: Mapping[str, str]) -> Token | None:
    """Return the token of a file or, without one, of the variable ``ASTROANOMALY_TOKEN``; None if neither is given.

    Raises
    ------
    ConfigError
        If the file cannot be read or others may read it, or if the token is too short or no word.
    """
    if file is not None:
        return Token(_checked(_read_given(file), str(file)), origin=f"in {file}")
    if VARIABLE in environment:
        return Token(_checked(environment[VARIABLE].strip(), VARIABLE), origin=f"in the variable {VARIABLE}")
    return None


def kept_token(session: Path) -> Token:
    """Return the token that is kept in a session, or a new one, which is kept there if it can be.

    The file is readable by its owner alone. One that others could read, or that holds something else, is replaced;
    that of another account is left alone.
    """
    path = session / FILE
    if _is_of_another(path):
        path = session / f"{FILE}-{os.geteuid()}"
    try:
        with locked(session, create=False):  # servers started at the same moment keep one token
            text = _read(path)
            if not text:
                text = new_secret()
                with atomic_path(path, private=True) as temporary:
                    temporary.write_text(f"{text}\n", encoding="ascii")
            if _read(path):
                return Token(text, kept=f"it stays the same until {path} is removed")
    except OSError as error:
        _log.warning("the token is not kept, browsers need a new one next time: %s", error)
        text = new_secret()
    return Token(text, kept="the next start has another")


def _checked(text: str, origin: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ConfigError(f"{origin}: expected a token of 32 to 200 letters, digits, - and _; {_HOW_TO_MAKE}")
    return text


def _read_given(path: Path) -> str:
    """Return the text of a file that only its owner may read."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if os.name == "posix" and about.st_mode & 0o077:
                raise ConfigError(f"{path}: other accounts may read the token: chmod 600 {path}")
            return file.read(_MAX_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigError(f"{path}: the token cannot be read: {error.strerror or error}") from error


def _is_of_another(path: Path) -> bool:
    """Whether another account has made a file."""
    try:
        return os.name == "posix" and path.lstat().st_uid != os.geteuid()
    except OSError:
        return False


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
        text = file.read(_MAX_BYTES).decode("ascii", "replace").strip()
    return text if _TOKEN.fullmatch(text) else ""
