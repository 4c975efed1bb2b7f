"""The command that writes a report with pictures: report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import choice_flags, chosen, in_words, many, say_unfinished
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_report)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the HTML file (default: SESSION-report.html, here)")
    parser.add_argument("--title", default="", metavar="TEXT", help="heading (default: name of the session)")
    choice_flags(parser)
    parser.add_argument("--pages", action="store_true", help="add a page for each object, of the first 100")
    parser.add_argument(
        "--methods",
        type=Path,
        metavar="FILE",
        help="write the method in sentences too: .txt, or .tex with a .bib beside it",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def _report(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say_unfinished(session)
    out = arguments.out or Path(f"{session.path.absolute().name}-report.html")
    with shown() as show:
        table = session.write_report(
            out,
            title=arguments.title,
            pages=arguments.pages,
            overwrite=arguments.overwrite,
            **chosen(arguments),
            progress=show,
        )
    say(f"{many(len(table), 'object')} in {out} ({in_words(out.stat().st_size)}); a browser prints it into a PDF")
    if arguments.methods is not None:
        session.write_methods(arguments.methods, overwrite=arguments.overwrite)
        say(f"the method in sentences, to be edited, in {arguments.methods}")
