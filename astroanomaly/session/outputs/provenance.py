"""Where things come from, in words that may leave this computer: names of folders instead of their paths."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import PurePath

__all__ = ["public", "software_versions"]

_PACKAGES = ("astroanomaly", "numpy", "scipy", "scikit-learn", "torch", "timm", "openvino")  # scores depend on them
_LISTS_OF_PATHS = ("caches",)
_PATH = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:[\\/]|~?/)[^\s,;\"']+")  # absolute, of any system


def public(provenance: Mapping[str, str]) -> dict[str, str]:
    """Return provenance with the name of each folder and file instead of its path."""
    found = {}
    for key, value in provenance.items():
        text = str(value)
        if key in _LISTS_OF_PATHS:
            text = ", ".join(_name(part) for part in text.split(", "))
        elif key in ("session", "survey"):
            text = _name(text)
        found[str(key)] = _PATH.sub(lambda match: _name(match[0]), text)
    return found


def software_versions() -> dict[str, str]:
    """Versions of the packages that scores depend on, those that are installed."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _name(path: str) -> str:
    return PurePath(path.replace("\\", "/")).name or path
