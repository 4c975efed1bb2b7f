"""The command that lists the objects to look at next: candidates."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly.cli.common import count, many, merge_flag, merge_radius, say_unfinished
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.imaging.orientation import ORIENTATIONS
from astroanomaly.ranking import ORDERS

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_candidates)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("-n", "--top", dest="n", type=count, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--order", choices=ORDERS, default="score", help="which first (default: score)")
    merge_flag(parser, "list one of several duplicates within")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also draw them as a contact sheet")
    parser.add_argument(
        "--orientation", choices=ORIENTATIONS, default="north",
        help="on the sheet: north up by the exact angle, by quarter turns, or as pixels are stored (default: north)",
    )  # fmt: skip


def _candidates(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say_unfinished(session)
    radius = merge_radius(arguments)
    table = session.candidates(arguments.n, arguments.order, merge_radius_arcsec=radius)
    columns = {
        "rank": [str(rank) for rank in table["rank"]],  # as on the sheet, and in what is exported
        "object_id": [str(name) for name in table["object_id"]],
    }
    if np.isfinite(table["ra"]).any():  # pictures have no place on the sky
        columns["ra [deg]"] = [f"{value:.6f}" for value in table["ra"].value]
        columns["dec [deg]"] = [f"{value:+.6f}" for value in table["dec"].value]
    columns["score"] = [f"{value:+.3f}" for value in table["score"]]
    more = [str(ids) for ids in table["merged_ids"]] if "merged_ids" in table.colnames else []
    if any(more):
        columns["duplicates"] = more
    if arguments.sheet is not None:  # before the table, whose reader may end this command, as head does
        session.contact_sheet(table, arguments.sheet, orientation=arguments.orientation)
    show_table("", list(columns), list(zip(*columns.values(), strict=True)))
    if any(more):
        left_out = int(np.sum(table["n_merged"] - 1))
        say(f"{many(left_out, 'duplicate')} within {radius:g} arcsec of these left out (--merge-radius 0 lists all)")
    if arguments.sheet is not None:
        say(f"see {arguments.sheet}")
