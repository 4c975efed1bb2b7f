"""Folders that AstroAnomaly itself has made: they are no input, also where they lie inside one."""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_ours"]

_MARKS = ("cache.json", "session.toml")


def is_ours(folder: Path) -> bool:
    """Whether a folder is a cache or a session, or a cache that is being made."""
    if any((folder / mark).is_file() for mark in _MARKS):
        return True
    try:
        return [item.name for item in folder.iterdir()] == [".lock"]
    except OSError:
        return False
