"""The command that draws an audit set in a session that exists: audit."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import count
from astroanomaly.cli.terminal import say

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_audit)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("n", type=count, metavar="N", help="how many objects to draw")
    parser.add_argument(
        "--replace", action="store_true", help="give up the audit set there is: its labels become ordinary ones"
    )


def _audit(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say(str(session.add_audit(arguments.n, replace=arguments.replace)))
    say(f"next: astroanomaly serve {arguments.session} (show: the audit set, blind)")
    say(f"then: astroanomaly remaining {arguments.session}")
