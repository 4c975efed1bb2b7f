"""The commands that keep labels: labels import, export, suspects."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import add_command, count, escape_flag, say_missing_caches
from astroanomaly.cli.label_flags import add_label_flags, label_options
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say, show_table

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the verbs, and what each does."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_import(add_command(verbs, "import", "take labels from a table"))
    _add_export(add_command(verbs, "export", "write one row per labelled object"))
    _add_suspects(add_command(verbs, "suspects", "list the labels that look most wrong"))


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_import)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="table with object_id (or ra, dec) and label, JSON of Label Studio, or folder of a folder for each class",
    )
    add_label_flags(parser)
    parser.add_argument(
        "--annotator", metavar="NAME", help="who said so (default: the file's column, else your user name)"
    )
    parser.add_argument(
        "--decision", action="store_true", help="these labels are decisions: each counts whatever annotators have said"
    )


def _import(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    report = session.import_labels(
        arguments.file, annotator=arguments.annotator, decision=arguments.decision, **label_options(arguments)
    )
    say(f"{report.added} labels added from {arguments.file}")
    for line in report.messages:
        say(f"  {line}")


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_export)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--out", type=Path, metavar="FILE", help="file to write: .csv, .vot, .fits, .ecsv, .reg (CSV for any other)"
    )
    where.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the same without --out")
    escape_flag(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _export(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say_missing_caches(session)
    path = arguments.out or arguments.file
    written = session.export_labels(path, overwrite=arguments.overwrite, escape_formulas=arguments.escape_formulas)
    say(f"{written} labelled objects written to {path}")


def _add_suspects(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=_suspects)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--top", type=count, default=50, metavar="N", help="how many (default: 50)")


def _suspects(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    with shown() as show:
        table = Session.open(arguments.session).suspects(arguments.top, progress=show)
    rows = [(str(i), str(label), str(like), f"{sure:.3f}") for i, label, like, sure in table.iterrows()]
    show_table("", ["object_id", "label", "looks like", "confidence"], rows)
