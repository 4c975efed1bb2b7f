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
    from astroanomaly.session.candidates import candidates, contact_sheet, next_objects
    from astroanomaly.session.export import ranks
    from astroanomaly.session.folder import SessionFolder

    session = SessionFolder.open(arguments.session)
    say_unfinished(session)
    radius = merge_radius(arguments)
    found = next_objects(session, arguments.n, arguments.order, merge_radius_arcsec=radius)
    rows = session.objects.rows(found.ids)
    ra, dec = (values[rows] for values in session.objects.positions)
    columns = {
        "rank": [str(rank) for rank in ranks(found.scores, rows)],  # as on the sheet, and in what is exported
        "object_id": list(found.ids),
    }
    if np.isfinite(ra).any():  # pictures have no place on the sky
        columns["ra [deg]"] = [f"{value:.6f}" for value in ra]
        columns["dec [deg]"] = [f"{value:+.6f}" for value in dec]
    columns["score"] = [f"{value:+.3f}" for value in found.scores[rows]]
    left_out = sum(map(len, found.duplicates))
    if left_out:
        columns["duplicates"] = [" ".join(ids) for ids in found.duplicates]
    if arguments.sheet is not None:  # before the table, whose reader may end this command, as head does
        contact_sheet(session, candidates(session, found), arguments.sheet, arguments.orientation)
    show_table("", list(columns), list(zip(*columns.values(), strict=True)))
    if left_out:
        say(f"{many(left_out, 'duplicate')} within {radius:g} arcsec of these left out (--merge-radius 0 lists all)")
    if arguments.sheet is not None:
        say(f"see {arguments.sheet}")
