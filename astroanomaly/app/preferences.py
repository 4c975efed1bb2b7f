"""What a person chose for the page, kept in the session until the next visit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from astroanomaly.cache.schema import atomic_path
from astroanomaly.errors import ConfigError, StorageError

__all__ = ["load_preferences", "save_preferences"]

_FILE = "app.json"
_LARGEST = 1_000_000  # bytes
_log = logging.getLogger(__name__)


def load_preferences(session: Path, annotator: str) -> dict[str, Any]:
    """Return what was kept for somebody; empty when there is nothing, or nothing that can be read."""
    try:
        kept = _read(session / _FILE).get(annotator)
    except ConfigError as error:
        _log.warning("preferences are left out: %s", error)
        return {}
    return kept if isinstance(kept, dict) else {}


def save_preferences(session: Path, annotator: str, values: dict[str, Any]) -> None:
    """Keep values for somebody, beside those of others.

    A disk that cannot be written to is no reason to stop, and neither is a file that cannot be read: it may hold what
    others chose, so it stays as it is.
    """
    path = session / _FILE
    try:
        text = json.dumps(_read(path) | {annotator: values}, indent=1)
        if len(text) > _LARGEST:
            raise ConfigError(f"{path} would have {len(text)} bytes: expected at most {_LARGEST}")
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (StorageError, ConfigError) as error:
        _log.warning("preferences are not kept: %s", error)


def _read(path: Path) -> dict[str, Any]:
    """Return everybody's preferences; empty without a file.

    Raises
    ------
    ConfigError
        If there is something else.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ConfigError(f"{path} has {size} bytes, expected at most {_LARGEST}: remove it")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged, no JSON: remove it") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no preferences by annotator: remove it")
    return content
