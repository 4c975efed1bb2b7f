"""The command that looks objects up in catalogues and services: crossmatch."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly.cli.common import choice_flags, chosen, many, say_unfinished
from astroanomaly.cli.flags import add_flags, given_options
from astroanomaly.cli.progress import follow
from astroanomaly.cli.source_flags import tell_of_record
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.config import FetchConfig
from astroanomaly.errors import FetchError
from astroanomaly.tables.write import SUFFIXES, check_target, write_catalog

__all__ = ["add"]

_SHOWN = 20  # rows on the screen


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_crossmatch)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--with", action="append", required=True, dest="catalogs", metavar="CATALOG",
        help="a table with positions (FITS, VOTable, Parquet, HATS, CSV ...), or a service: simbad, ned, gaia, skybot; "
        "repeat the option for more",
    )  # fmt: skip
    parser.add_argument(
        "--radius", default="2arcsec", metavar="ANGLE", help="how far an entry may be (default: 2arcsec)"
    )
    parser.add_argument(
        "--sigma", type=float, metavar="N",
        help="an entry of a table may also be no further than N times the error of its position",
    )  # fmt: skip
    parser.add_argument(
        "--position-error", metavar="ANGLE", help="error of the session's own positions, with --sigma (default: 0)"
    )
    choice_flags(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the table: .vot .fits .ecsv .csv or .reg")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    add_flags(parser.add_argument_group("services"), FetchConfig, prefix="fetch")


def _crossmatch(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    if arguments.out is not None:  # before anybody is asked
        check_target(arguments.out, SUFFIXES, overwrite=arguments.overwrite)
    session = Session.open(arguments.session)
    say_unfinished(session)
    fetch = given_options(arguments, FetchConfig, prefix="fetch")
    steps = session.crossmatch_steps(
        arguments.catalogs, radius=arguments.radius, sigma=arguments.sigma, position_error=arguments.position_error,
        **chosen(arguments), fetch=fetch,
    )  # fmt: skip
    with tell_of_record(fetch):
        report = follow(steps)
    table = report.table
    if arguments.out is not None:
        write_catalog(table, arguments.out, overwrite=arguments.overwrite, contents="crossmatch")
    if "known" in table.colnames:
        rows = [row for row in table if row["known_in"]]
        show_table(
            "known" + (f", the first {_SHOWN}" if len(rows) > _SHOWN else ""),
            ["object_id", "known as", "type", "in", "distance", "reference"],
            [
                (
                    str(row["object_id"]), str(row["known"]), str(row["known_type"]), str(row["known_in"]),
                    f"{row['known_separation'].to_value('arcsec'):.2f} arcsec", str(row["known_reference"]),
                )
                for row in rows[:_SHOWN]
            ],
        )  # fmt: skip
    failed = 0
    for name, count in report.matched.items():
        reasons = Counter(one.reason for one in report.failures[name])
        failed += sum(not np.isnan(one.ra) for one in report.failures[name])
        say(f"{name}: {count} of {many(len(table) - reasons.total(), 'object')} known")
        for reason, number in reasons.most_common(5):
            say(f"  {many(number, 'object')} not looked up: {reason}")
    if arguments.out is not None:
        say(f"see {arguments.out}")
    if failed:
        raise FetchError("not all objects were looked up; what was answered is kept: run the same command again")
