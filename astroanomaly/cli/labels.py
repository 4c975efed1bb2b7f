"""The commands that keep labels: labels import, export, suspects."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import add_command, count, escape_flag, say_missing_caches
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.errors import ConfigError
from astroanomaly.sky import read_angle

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
        help="CSV, ECSV, FITS or VOTable with object_id (or ra, dec) and label; or a folder of a folder for each class",
    )
    parser.add_argument(
        "--match-radius", default="1arcsec", metavar="ANGLE", help="for labels by position (default: 1arcsec)"
    )
    parser.add_argument("--label-column", metavar="COLUMN", help="column of the labels (default: a usual name)")
    parser.add_argument("--ra", metavar="COLUMN", help="column of right ascension or longitude: match by position")
    parser.add_argument("--dec", metavar="COLUMN", help="column of declination or latitude")
    parser.add_argument("--frame", metavar="FRAME", help="frame of the positions, as in fk4 or galactic")
    parser.add_argument("--unit", metavar="UNIT", help="unit of the positions: deg, rad, hour, or two as in hour,rad")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="WORD=LABEL",
        help="what a word of the table means, as in Yes=anomaly; WORD= leaves such rows out; several with commas",
    )
    parser.add_argument(
        "--skip-unmatched", action="store_true", help="leave out rows that match no object, and say how many"
    )
    parser.add_argument(
        "--annotator", metavar="NAME", help="who said so (default: the file's column, else your user name)"
    )


def _import(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    radius = read_angle(arguments.match_radius, "arcsec", plain="arcsec", name="--match-radius")
    report = session.import_labels(
        arguments.file,
        match_radius_arcsec=radius,
        annotator=arguments.annotator,
        label=arguments.label_column,
        ra=arguments.ra,
        dec=arguments.dec,
        frame=arguments.frame,
        unit=arguments.unit,
        words=_meanings(arguments.map),
        skip_unmatched=arguments.skip_unmatched,
    )
    say(f"{report.added} labels added from {arguments.file}")
    for line in report.messages:
        say(f"  {line}")


def _meanings(entries: Sequence[str]) -> dict[str, str]:
    """Read ``WORD=LABEL,WORD=LABEL``."""
    found: dict[str, str] = {}
    for part in (part for entry in entries for part in entry.split(",")):
        word, equals, label = part.partition("=")
        if not equals or not word.strip():
            raise ConfigError(f"--map {part!r}: expected WORD=LABEL, as in Yes=anomaly, or WORD= for no label")
        found[word.strip()] = label.strip()
    return found


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

    table = Session.open(arguments.session).suspects(arguments.top)
    rows = [(str(i), str(label), str(like), f"{sure:.3f}") for i, label, like, sure in table.iterrows()]
    show_table("", ["object_id", "label", "looks like", "confidence"], rows)
