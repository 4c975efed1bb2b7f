"""The command that lists sources, rankers, crossmatch services and plugins that do not load: sources."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from astroanomaly.cli.flags import describe_options
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.plugins import load_plugins

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Say what the command does; it has no flags."""
    parser.set_defaults(run=_sources)


def _sources(arguments: argparse.Namespace) -> None:
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
    say()
    show_table(
        "crossmatch services",
        ["name", "what it does", "package"],
        [(s.name, s.summary, registry.packages["crossmatch", s.name]) for s in registry.crossmatches.values()],
    )
    if registry.broken:
        say()
        show_table(
            "plugins that were skipped",
            ["plugin", "package", "reason"],
            [(item.name, item.package, item.reason) for item in registry.broken],
        )
