"""The command that tells a session where its caches are: relocate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.terminal import say

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_relocate)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--cache",
        type=Path,
        action="append",
        required=True,
        metavar="NEW",
        help="where a cache of the session is now; may be repeated",
    )


def _relocate(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    report = session.relocate(arguments.cache)
    for folder, text in zip(report.caches, session.cache_names, strict=True):
        say(f"{folder}" + ("" if Path(text).is_absolute() else f", kept as {text}"))
    for line in report.messages:
        say(f"  {line}")
