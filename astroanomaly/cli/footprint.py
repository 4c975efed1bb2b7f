"""The command that writes which part of the sky was searched: footprint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import many
from astroanomaly.cli.terminal import say

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_footprint)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the MOC as FITS (default: SESSION-moc.fits, here)")
    parser.add_argument(
        "--size",
        metavar="ANGLE",
        help="diameter of the disc around each object, such as 10arcsec (default: the shorter side of the cutouts)",
    )
    parser.add_argument(
        "--order",
        type=int,
        metavar="K",
        help="order of the smallest cells, 0 to 29 (default: cells of about a quarter of a disc)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _footprint(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    out = arguments.out or Path(f"{session.path.absolute().name}-moc.fits")
    found = session.write_footprint(out, size=arguments.size, order=arguments.order, overwrite=arguments.overwrite)
    say(
        f"{found.moc.area_deg2:.6g} square degrees in {out}: discs of {found.diameter_arcsec:.4g} arcsec around "
        f"{many(found.objects, 'object')}, cells of order {found.moc.order}"
    )
    if found.without_position:
        say(f"{many(found.without_position, 'object')} without a position left out")
