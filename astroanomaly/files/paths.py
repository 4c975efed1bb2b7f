"""Paths as callers give them."""

from __future__ import annotations

from pathlib import Path

from astroanomaly.errors import ConfigError

__all__ = ["as_path"]


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
