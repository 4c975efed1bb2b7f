"""The command that lists the rounds of a session, and removes those that are not needed: rounds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import count, in_words, many
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.errors import ConfigError

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_rounds)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--keep", type=count, metavar="N", help="remove all rounds but the latest N and those that are needed"
    )
    parser.add_argument("--dry-run", action="store_true", help="with --keep: only say what would be removed")


def _rounds(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    if arguments.dry_run and arguments.keep is None:
        raise ConfigError("--dry-run goes with --keep N: without it nothing is removed")
    session = Session.open(arguments.session)
    if arguments.keep is not None:
        removed = session.prune_rounds(arguments.keep, dry_run=arguments.dry_run)
        done = "would be removed" if arguments.dry_run else "removed"
        for item in removed:
            say(f"{done}: round {item.round.number} ({item.round.ranker}, {in_words(item.nbytes)})")
        say(f"{many(len(removed), 'round')} {done}, {in_words(sum(item.nbytes for item in removed))}")
        if arguments.dry_run:
            return
    rows = [
        (
            str(item.round.number),
            item.round.ranker,
            str(item.round.recipe.get("created", "")),
            many(item.scored, "shard"),
            in_words(item.nbytes),
            item.needed,
        )
        for item in session.stored_rounds()
    ]
    show_table("", ("round", "ranker", "made", "scored", "size", "needed, since"), rows)
