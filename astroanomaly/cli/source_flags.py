"""Flags that a source brings to a command, and what was given for them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from astroanomaly.cli.common import many
from astroanomaly.cli.flags import add_flags, given_options
from astroanomaly.cli.terminal import say
from astroanomaly.config import FetchConfig
from astroanomaly.fetch.recording.run import ABOUT, size_of_record
from astroanomaly.hookspecs import Source
from astroanomaly.parallel.limits import ReadLimits
from astroanomaly.plugins import load_plugins

__all__ = ["named_source", "source_flags", "source_options", "tell_of_record"]


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
            return load_plugins("source").source(name)
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


@contextlib.contextmanager
def tell_of_record(fetch: Mapping[str, Any]) -> Iterator[None]:
    """Say at the end of the block, and where it breaks off, what has been recorded, if anything is."""
    folder = Path(fetch.get("record") or "")
    new = bool(fetch.get("record")) and not (folder / ABOUT).exists()
    try:
        yield
    finally:
        if new and (folder / ABOUT).is_file():
            requests, nbytes = size_of_record(folder)
            say(
                f"record: {many(requests, 'request')}, {nbytes / 1e6:.3g} MB in {folder}. Passwords, tokens and "
                "cookies are hidden; your positions and tables are in it. Look through it before you hand it on"
            )
