"""The command that lists sources, rankers and plugins that do not load: sources."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from astroanomaly.cli.common import command
from astroanomaly.cli.flags import describe_options
from astroanomaly.plugins import load_plugins

__all__ = ["add"]


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command."""
    command(commands, "sources", _sources, "list installed sources and rankers, and plugins that do not load")


def _sources(arguments: argparse.Namespace) -> None:
    from astroanomaly.cli.terminal import say, show_table

    registry = load_plugins()
    for source in registry.sources.values():
        say(f"{source.name}: {source.summary}  [{registry.packages['source', source.name]}]")
        show_table("", ["option", "default", "meaning"], describe_options(source.Options))
        say()
    rankers = registry.rankers.values()
    show_table(
        "rankers",
        ["name", "what it does", "package"],
        [(r.name, r.summary, registry.packages["ranker", r.name]) for r in rankers],
    )
    if registry.broken:
        say()
        show_table(
            "plugins that were skipped",
            ["plugin", "package", "reason"],
            [(item.name, item.package, item.reason) for item in registry.broken],
        )
