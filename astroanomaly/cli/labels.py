"""The commands that keep labels: labels import, export, suspects."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astroanomaly.cli.common import arcsec, command, count

__all__ = ["add"]


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command and its verbs."""
    labels = commands.add_parser("labels", help="import, export or check labels")
    verbs = labels.add_subparsers(title="verbs", metavar="VERB", required=True)
    command(verbs, "import", _labels_import, "take labels from a table", _labels_import_flags)
    command(verbs, "export", _labels_export, "write one row per labelled object", _labels_export_flags)
    command(verbs, "suspects", _labels_suspects, "list the labels that look most wrong", _labels_suspects_flags)


def _labels_import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="CSV, ECSV, FITS or VOTable with object_id (or ra, dec) and label"
    )
    parser.add_argument(
        "--match-radius", default="1arcsec", metavar="ANGLE", help="for labels by position (default: 1arcsec)"
    )
    parser.add_argument(
        "--annotator", metavar="NAME", help="who said so (default: the file's column, else your user name)"
    )


def _labels_import(arguments: argparse.Namespace) -> None:
    from astroanomaly.cli.terminal import say
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    radius = arcsec(arguments.match_radius, "--match-radius")
    report = session.import_labels(arguments.file, match_radius_arcsec=radius, annotator=arguments.annotator)
    say(f"{report.added} labels added from {arguments.file}")
    for line in report.messages:
        say(f"  {line}")


def _labels_export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _labels_export(arguments: argparse.Namespace) -> None:
    from astroanomaly.cli.terminal import say
    from astroanomaly.session.session import Session

    count = Session.open(arguments.session).export_labels(arguments.file, overwrite=arguments.overwrite)
    say(f"{count} labelled objects written to {arguments.file}")


def _labels_suspects_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--top", type=count, default=50, metavar="N", help="how many (default: 50)")


def _labels_suspects(arguments: argparse.Namespace) -> None:
    from astroanomaly.cli.terminal import show_table
    from astroanomaly.session.session import Session

    table = Session.open(arguments.session).suspects(arguments.top)
    rows = [(str(i), str(said), str(like), f"{sure:.3f}") for i, said, like, sure in table.iterrows()]
    show_table("", ["object_id", "label", "looks like", "confidence"], rows)
