"""All settings of a session by section: the fixed sections, and one for every installed ranker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astroanomaly.config import BackboneConfig, InputConfig, SessionConfig, StretchConfig, build, nearest
from astroanomaly.errors import ConfigError
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.plugins import load_plugins

__all__ = ["FIXED_SECTIONS", "build_settings", "settings_sections"]

FIXED_SECTIONS: dict[str, type] = {
    "session": SessionConfig,
    "stretch": StretchConfig,
    "input": InputConfig,
    "backbone": BackboneConfig,
    "blocks": BlockOptions,
}


def settings_sections() -> dict[str, type]:
    """Return the options dataclass of every section.

    Returns
    -------
    dict
        `FIXED_SECTIONS`, then the section of every installed ranker.
    """
    sections = dict(FIXED_SECTIONS)
    for ranker in load_plugins("ranker").rankers.values():
        sections.setdefault(ranker.section, ranker.Options)
    return sections


def build_settings(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Make the options of every section from plain values, with defaults for the rest.

    Raises
    ------
    ConfigError
        For an unknown section or key (with the nearest valid one), or a value of the wrong kind.
    """
    sections = settings_sections()
    for section in given:
        if section not in sections:
            raise ConfigError(f"unknown section {section!r}{nearest(section, sections)} (known: {', '.join(sections)})")
    return {section: build(options, given.get(section, {}), section) for section, options in sections.items()}
