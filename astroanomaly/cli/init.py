"""The command that starts a session: init."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.cli.common import set_flag
from astroanomaly.cli.label_flags import add_grades_flag, add_label_flags, given_grades, label_options
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say
from astroanomaly.errors import ConfigError
from astroanomaly.learn.settings import settings_sections

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_init)
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
    add_grades_flag(parser)
    parser.add_argument(
        "--block", action="append", default=[], metavar="NAME=FILE",
        help="numbers of each object to look at beside its image, from a table or .npz by object id; "
        "NAME:COLUMN,COLUMN=FILE takes these columns; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--spectra", action="append", default=[], metavar="NAME=FILES",
        help="spectra of objects to look at beside their images: file, folder or quoted pattern; NAME:COLUMN=FILES "
        "takes a catalogue column for what the spectra are called; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--light-curves", action="append", default=[], metavar="NAME=FILES",
        help="light curves of objects to look at beside their images: tables with a row for each measurement (file, "
        "folder or quoted pattern), of many objects by id, or of one by its name; NAME:COLUMN=FILES takes a catalogue "
        "column for what they are called; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--photometry", action="store_true",
        help="also look at numbers measured on the cutouts: brightness, size, shape of the light, colours",
    )  # fmt: skip
    add_label_flags(parser)
    set_flag(parser, "tune.iterations=50")


def _init(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    with shown() as show:
        session = Session.create(
            arguments.session,
            arguments.cache,
            classes=[name.strip() for name in arguments.classes.split(",") if name.strip()],
            grades=given_grades(arguments.grades),
            settings=parse_assignments(arguments.set, settings_sections()),
            labels=arguments.labels,
            label_options=label_options(arguments),
            audit=arguments.audit,
            start_from=arguments.start_from,
            blocks=_named(arguments.block, "--block", "zoobot=embeddings.npz"),
            spectra=_named(arguments.spectra, "--spectra", "sdss=spectra/"),
            light_curves=_named(arguments.light_curves, "--light-curves", "ztf=curves.parquet"),
            photometry=arguments.photometry,
            progress=show,
        )
    counts = ", ".join(f"{count} {label}" for label, count in session.labels.counts().items()) or "no labels yet"
    say(f"{arguments.session}: {len(session.cache)} objects, {counts}")
    if session.grades is not None:
        say(f"grades: {session.grades}")
    for line in session.label_report.messages if session.label_report else ():
        say(f"  {line}")
    for line in session.block_messages:
        say(line)
    for one in session.advice:
        say(f"{one.name}: {one.text}")
    say(f"next: astroanomaly serve {arguments.session} (label in a browser; nothing has to be trained before)")
    say(f"or:   astroanomaly train {arguments.session}")


def _named(words: Sequence[str], flag: str, example: str) -> dict[str, str]:
    """Return the file of each block by its name, as `Session.create` takes them."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (equals and name.strip() and file):
            raise ConfigError(f"{flag} {word}: expected NAME=FILE, as in {example}")
        if name in found:
            raise ConfigError(f"{flag} {name} is given twice: give each block a name of its own")
        found[name] = file
    return found
