"""All settings of a search by section: the fixed sections, and one for every installed ranker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from astroanomaly.config import BackboneConfig, InputConfig, StretchConfig, build, nearest, option
from astroanomaly.errors import ConfigError
from astroanomaly.plugins import load_plugins

__all__ = ["SessionConfig", "build_settings", "settings_sections"]


@dataclass(frozen=True)
class SessionConfig:
    """Settings of the search as a whole."""

    seed: int = option(0, "seed of everything random")
    device: str = option("auto", "torch device: auto, cpu, cuda, cuda:1 ...")
    engine: Literal["auto", "torch", "openvino", "torch-compiled", "torch-bf16", "torch-fp16", "openvino-bf16"] = (
        option(
            "auto", "what computes features and scores of networks; auto: OpenVINO on the CPU if installed, else torch"
        )
    )

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"session.seed={self.seed}: expected 0 or more")


def settings_sections() -> dict[str, type]:
    """Return the options dataclass of every section.

    Returns
    -------
    dict
        ``session``, ``stretch``, ``input``, ``backbone``, then the section of every installed ranker.
    """
    sections: dict[str, type] = {
        "session": SessionConfig,
        "stretch": StretchConfig,
        "input": InputConfig,
        "backbone": BackboneConfig,
    }
    for ranker in load_plugins().rankers.values():
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
