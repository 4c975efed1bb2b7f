"""The command that lists sources, rankers, crossmatch services and plugins that do not load: sources."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from astroanomaly.cli.flags import describe_options
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.plugins import load_plugins

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the argument, and what the command does."""
    parser.set_defaults(run=_sources)
    parser.add_argument("names", nargs="*", metavar="SOURCE", help="show the options of these sources only")


def _sources(arguments: argparse.Namespace) -> None:
    registry = load_plugins()
    for name in arguments.names:
        source = registry.source(name)
        say(f"{source.name}: {source.summary}  [{registry.packages['source', source.name]}]")
        show_table("", ["option", "default", "meaning"], describe_options(source.Options))
        say()
    if arguments.names:
        return
    show_table(
        "sources",
        ["name", "what it does", "package"],
        [(s.name, s.summary, registry.packages["source", s.name]) for s in registry.sources.values()],
    )
    say("options of a source: `astroanomaly sources NAME`, or `astroanomaly ingest NAME --help`")
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
