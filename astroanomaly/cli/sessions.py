"""Commands that begin a search and keep its labels: init, labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from astroanomaly.cli.common import arcsec, command, count, set_flag
from astroanomaly.config import parse_assignments
from astroanomaly.records import DEFAULT_RANKER

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the commands."""
    command(commands, "init", _init, "start a session: one search in one or more caches", _init_flags)
    labels = commands.add_parser("labels", help="import, export or check labels")
    verbs = labels.add_subparsers(title="verbs", metavar="VERB", required=True)
    command(verbs, "import", _labels_import, "take labels from a table", _labels_import_flags)
    command(verbs, "export", _labels_export, "write one row per labelled object", _labels_export_flags)
    command(verbs, "suspects", _labels_suspects, "list the labels that look most wrong", _labels_suspects_flags)


def _init_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the new session")
    parser.add_argument(
        "--cache", type=Path, action="append", required=True, help="a cache to search in; may be repeated"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="table of labels to begin with")
    parser.add_argument(
        "--audit", type=int, default=0, metavar="N", help="draw N objects for a blind check, never trained on"
    )
    parser.add_argument(
        "--from", dest="start_from", type=Path, metavar="CHECKPOINT", help="start from another session's checkpoint"
    )
    parser.add_argument(
        "--classes", default="", metavar="NAMES", help="anomaly classes of your own, separated by commas"
    )
    set_flag(parser, "tune.iterations=50")


def _init(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.settings import settings_sections
    from astroanomaly.terminal import say

    session = Session.create(
        arguments.session,
        arguments.cache,
        classes=[name.strip() for name in arguments.classes.split(",") if name.strip()],
        settings=parse_assignments(arguments.set, settings_sections()),
        labels=arguments.labels,
        audit=arguments.audit,
        start_from=arguments.start_from,
    )
    counts = ", ".join(f"{count} {label}" for label, count in session.labels.counts().items()) or "no labels yet"
    say(f"{arguments.session}: {len(session.cache)} objects, {counts}")
    ranker = DEFAULT_RANKER if session.labels.counts() else "cold"
    say(f"next: astroanomaly serve {arguments.session} (label in a browser; nothing has to be trained before)")
    say(f"or:   astroanomaly train {arguments.session} --ranker {ranker}")


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
    from astroanomaly.session import Session
    from astroanomaly.terminal import say

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
    from astroanomaly.session import Session
    from astroanomaly.terminal import say

    count = Session.open(arguments.session).export_labels(arguments.file, overwrite=arguments.overwrite)
    say(f"{count} labelled objects written to {arguments.file}")


def _labels_suspects_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--top", type=count, default=50, metavar="N", help="how many (default: 50)")


def _labels_suspects(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import show_table

    table = Session.open(arguments.session).suspects(arguments.top)
    rows = [(str(i), str(said), str(like), f"{sure:.3f}") for i, said, like, sure in table.iterrows()]
    show_table("", ["object_id", "label", "looks like", "confidence"], rows)
