"""Flags that a source brings to a command, and what was given for them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from astroanomaly.cli.flags import add_flags, given_options
from astroanomaly.config import FetchConfig
from astroanomaly.hookspecs import Source
from astroanomaly.parallel.limits import ReadLimits
from astroanomaly.plugins import load_plugins

__all__ = ["named_source", "source_flags", "source_options"]


def named_source(words: Sequence[str]) -> Source | None:
    """Return the source that ``--source NAME`` names on a command line; None without it.

    Raises
    ------
    PluginError
        If there is no such source.
    """
    if "score" not in words:
        return None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name = following if word == "--source" else word.removeprefix("--source=")
        if name != word and name and not name.startswith("-"):
            return load_plugins().source(name)
    return None


def source_flags(parser: argparse.ArgumentParser, source: Any) -> argparse._ArgumentGroup:
    """Add the flags of a source's options, of what a file may ask for, and of how archives are asked if it fetches.

    Returns
    -------
    argparse._ArgumentGroup
        The group of the source's own flags.
    """
    own = parser.add_argument_group(f"options of {source.name}")
    add_flags(own, source.Options)
    add_flags(parser.add_argument_group("limits on files"), ReadLimits, prefix="limits")
    if getattr(source, "fetches", False):
        add_flags(parser.add_argument_group("archives"), FetchConfig, prefix="fetch")
    return own


def source_options(arguments: argparse.Namespace, source: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return what was given for a source's options, for how archives are asked, and for what a file may ask for."""
    fetches = getattr(source, "fetches", False)
    return (
        given_options(arguments, source.Options),
        given_options(arguments, FetchConfig, prefix="fetch") if fetches else {},
        given_options(arguments, ReadLimits, prefix="limits"),
    )
