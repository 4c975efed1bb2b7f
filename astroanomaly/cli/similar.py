"""The command that looks for objects that look like others: similar."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import count, many, say_unfinished
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.tables.write import SUFFIXES, check_target, write_catalog

__all__ = ["add"]

_SHOWN = 20  # rows on the screen


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_similar)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "ids", nargs="+", metavar="OBJECT", help="an object of the session or of the survey, or several"
    )
    parser.add_argument(
        "--survey", type=Path, metavar="FOLDER",
        help="look in this survey, which was scored with --keep-features (default: in the session)",
    )  # fmt: skip
    parser.add_argument(
        "--by", default="image", metavar="BLOCK",
        help="compare by image, by the name of a block of numbers beside it, or together (default: image)",
    )  # fmt: skip
    parser.add_argument(
        "-n", "--top", dest="n", type=count, default=100, metavar="N", help="how many to find (default: 100)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table: .vot .fits .ecsv .csv or .reg")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")


def _similar(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    if arguments.out is not None:
        check_target(arguments.out, SUFFIXES, overwrite=arguments.overwrite)
    session = Session.open(arguments.session)
    say_unfinished(session)
    with shown() as show:
        table = session.similar(arguments.ids, arguments.n, by=arguments.by, survey=arguments.survey, progress=show)
    if arguments.out is not None:  # before the table, whose reader may end this command, as head does
        write_catalog(table, arguments.out, overwrite=arguments.overwrite, contents="similar")
    names = ["object_id", "ra [deg]", "dec [deg]", "score", "distance", "label"]
    rows = [
        (
            str(row["object_id"]), f"{row['ra'].value:.6f}", f"{row['dec'].value:+.6f}", f"{row['score']:+.3f}",
            f"{row['distance']:.3f}", str(row["label"]),
        )
        for row in table[:_SHOWN]
    ]  # fmt: skip
    show_table(f"the first {len(rows)}" if len(table) > _SHOWN else "", names, rows)
    where = "" if arguments.survey is None else f" in {arguments.survey}"
    say(f"{many(len(table), 'object')} like {', '.join(arguments.ids)}{where}")
    if arguments.out is not None:
        say(f"see {arguments.out}")
