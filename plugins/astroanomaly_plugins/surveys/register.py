"""Register the sources of single surveys: ``legacy``, ``panstarrs``, ``sdss`` and ``skymapper``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astroanomaly import hookimpl
from astroanomaly_plugins.surveys.legacy import LegacySource
from astroanomaly_plugins.surveys.panstarrs import PanstarrsSource
from astroanomaly_plugins.surveys.sdss import SdssSource
from astroanomaly_plugins.surveys.skymapper import SkyMapperSource

__all__ = ["register_sources"]


@hookimpl
def register_sources(register: Callable[[Any], None]) -> None:
    """Register the sources of single surveys."""
    for source in (LegacySource(), PanstarrsSource(), SdssSource(), SkyMapperSource()):
        register(source)
