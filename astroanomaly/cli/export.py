"""The command that writes a catalogue of anomalies: export."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import count, escape_flag, merge_flag, merge_radius, say_unfinished
from astroanomaly.cli.progress import follow
from astroanomaly.cli.terminal import say
from astroanomaly.errors import ConfigError

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_export)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".vot .fits .ecsv .csv or .reg (DS9 regions); for a paper .mrt (AAS), .dat with a ReadMe (CDS) or .tex "
        "(LaTeX); with --all .fits .parquet or .csv",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--top", type=count, metavar="N", help="the N highest scores, duplicates merged (default: 100)")
    which.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="all whose probability is at least P; calibrated only with a labelled audit set",
    )
    which.add_argument("--labelled", metavar="LABEL", help="all with this label; anomalies: with any but nominal")
    which.add_argument("--all", action="store_true", help="the scores of all objects, however many; none are merged")
    parser.add_argument(
        "--survey", type=Path, metavar="FOLDER", help="with --all: of a survey scored by `score --source` instead"
    )
    merge_flag(parser, "merge duplicates within")
    escape_flag(parser)
    parser.add_argument(
        "--acronym",
        default="",
        metavar="TEXT",
        help="for a paper: what stands before the position in names, as in AA J012345.67+123456.7",
    )
    parser.add_argument(
        "--journal", choices=("aas", "mnras"), default="aas", help="of LaTeX: deluxetable, or a table of MNRAS (aas)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _export(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session
    from astroanomaly.session.survey.score_table import export_scores

    session = Session.open(arguments.session)
    say_unfinished(session)
    if arguments.all:
        if arguments.merge_radius is not None:
            raise ConfigError("--all merges nothing: leave --merge-radius out")
        steps = export_scores(
            session,
            arguments.out,
            survey=arguments.survey,
            overwrite=arguments.overwrite,
            escape_formulas=arguments.escape_formulas,
        )
        written = follow(steps)
        say(f"{written} objects written to {arguments.out}")
        return
    if arguments.survey is not None:
        raise ConfigError("--survey goes with --all: of its other objects only scores are kept")
    table = session.export(
        arguments.out,
        top=arguments.top,
        threshold=arguments.threshold,
        labelled=arguments.labelled,
        merge_radius_arcsec=merge_radius(arguments),
        overwrite=arguments.overwrite,
        escape_formulas=arguments.escape_formulas,
        acronym=arguments.acronym,
        journal=arguments.journal,
    )
    say(f"{len(table)} objects written to {arguments.out}")
    if "without_probability" in table.meta:
        say(f"without a probability: {table.meta['without_probability']}")
    if arguments.threshold is not None and "calibration" not in table.meta:
        say("the probability is NOT CALIBRATED: that takes an audit set, labelled blind, with anomalies in it")
