"""What a person chose for the page, kept in the session until the next visit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from astroanomaly.cache.schema import atomic_path
from astroanomaly.errors import StorageError

__all__ = ["load_preferences", "save_preferences"]

_FILE = "app.json"
_LARGEST = 1_000_000  # bytes
_log = logging.getLogger(__name__)


def load_preferences(session: Path, annotator: str) -> dict[str, Any]:
    """Return what was kept for somebody; empty when there is nothing, or nothing that can be read."""
    kept = _read(session / _FILE).get(annotator)
    return kept if isinstance(kept, dict) else {}


def save_preferences(session: Path, annotator: str, values: dict[str, Any]) -> None:
    """Keep values for somebody, beside those of others. A disk that cannot be written to is no reason to stop."""
    path = session / _FILE
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(_read(path) | {annotator: values}, indent=1), encoding="utf-8")
    except StorageError as error:
        _log.warning("preferences are not kept: %s", error)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
