"""Preferences of a person for the page, kept in the session until the next visit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from astroanomaly.app.review.filters import NOT_MINE
from astroanomaly.errors import CacheError, ConfigError
from astroanomaly.files import atomic_path, read_json
from astroanomaly.imaging.display import Display

__all__ = ["load_preferences", "save_preferences"]

_FILE, _DAMAGED_FILE = "app.json", "app-damaged.json"
_MAX_BYTES = 1_000_000  # bytes
_FORMER_FILTERS = {"not judged by me": NOT_MINE}  # words that were written before they were renamed
_log = logging.getLogger(__name__)


def load_preferences(session: Path, annotator: str) -> dict[str, Any]:
    """Return what was kept for somebody; empty when there is nothing, or nothing that can be read."""
    try:
        kept = (_read(session / _FILE) or {}).get(annotator)
    except ConfigError as error:
        _log.warning("preferences are left out: %s", error)
        return {}
    if not isinstance(kept, dict):
        return {}
    filters = kept.get("filters")
    if isinstance(filters, dict) and str(filters.get("labels")) in _FORMER_FILTERS:
        kept["filters"] = filters | {"labels": _FORMER_FILTERS[filters["labels"]]}
    if _nobody_chose(kept.get("display")):
        del kept["display"]
    return kept


def _nobody_chose(display: Any) -> bool:
    """Whether a display is the one that everybody began with, as versions that knew no scale of bands kept it."""
    if not isinstance(display, dict) or "scale" in display:
        return False
    try:
        return Display.from_plain(display) == Display.for_pixels("flux")
    except ConfigError:
        return False


def save_preferences(session: Path, annotator: str, values: dict[str, Any]) -> None:
    """Keep values for somebody, beside those of others.

    A disk that cannot be written to is no reason to stop. A file that is too large or cannot be opened stays as it is,
    since it may hold what others chose; a damaged one is set aside.
    """
    path = session / _FILE
    try:
        kept = _read(path)
        text = json.dumps((kept or {}) | {annotator: values}, indent=1)
        if len(text) > _MAX_BYTES:
            raise ConfigError(f"{path} would have {len(text)} bytes: expected at most {_MAX_BYTES}")
        if kept is None:
            path.replace(session / _DAMAGED_FILE)
            _log.warning("%s was damaged and is now %s", path, _DAMAGED_FILE)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (OSError, ConfigError) as error:
        _log.warning("preferences are not kept: %s", error)


def _read(path: Path) -> dict[str, Any] | None:
    """Return everybody's preferences; empty without a file, None for a damaged one.

    Raises
    ------
    ConfigError
        If the file is too large or cannot be opened.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} has more than {_MAX_BYTES} bytes: remove it")
        return read_json(path, max_bytes=_MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except CacheError:
        return None
