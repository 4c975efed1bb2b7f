"""The flags that say how a table of labels or of the truth is read: for labels import, init, advise and benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from astroanomaly.errors import ConfigError
from astroanomaly.sky import read_angle

__all__ = ["add_grades_flag", "add_label_flags", "given_grades", "label_options", "meanings"]

_NAMES = ("ra", "dec", "frame", "unit")


def add_label_flags(parser: argparse.ArgumentParser, *, column: bool = True) -> None:
    """Add the flags.

    Parameters
    ----------
    parser
        The parser of a command that reads such a table.
    column
        Whether ``--label-column`` is among them.
    """
    parser.add_argument(
        "--match-radius", default="1arcsec", metavar="ANGLE", help="for labels by position (default: 1arcsec)"
    )
    if column:
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


def add_grades_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--grades``, which `given_grades` reads."""
    parser.add_argument(
        "--grades", metavar="NAME=MEANING,...",
        help="ordered grades, the most certain first, with their meanings or without, as in "
        "'A=certain,B=probable,C=possible,X=not a candidate'; the last one is nominal",
    )  # fmt: skip


def given_grades(text: str | None) -> dict[str, str] | None:
    """Return the meaning of each grade that ``--grades`` names; None without the flag.

    Raises
    ------
    ConfigError
        If a name is there twice.
    """
    if text is None:
        return None
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, meaning = (piece.strip() for piece in part.partition("="))
        if name in found:
            raise ConfigError(f"--grades: the grade {name!r} is there twice")
        found[name] = meaning
    return found


def label_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the flags say, by the names of `Session.import_labels`."""
    return {
        "match_radius_arcsec": read_angle(arguments.match_radius, "arcsec", plain="arcsec", name="--match-radius"),
        "label": getattr(arguments, "label_column", None),
        **{name: getattr(arguments, name) for name in _NAMES},
        "words": meanings(arguments.map),
        "skip_unmatched": arguments.skip_unmatched,
    }


def meanings(entries: Sequence[str]) -> dict[str, str]:
    """Read ``WORD=LABEL,WORD=LABEL``; a word may hold commas if it is alone.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    found: dict[str, str] = {}
    for part in (part for entry in entries for part in _parts(entry)):
        picture = part.lstrip().startswith("![")  # in Markdown, where a width as in =60x may follow the address
        word, equals, label = part.rpartition("=") if picture else part.partition("=")
        if not equals or not word.strip():
            raise ConfigError(f"--map {part!r}: expected WORD=LABEL, as in Yes=anomaly, or WORD= for no label")
        found[word.strip()] = label.strip()
    return found


def _parts(entry: str) -> list[str]:
    parts = entry.split(",")
    return parts if all("=" in part for part in parts) else [entry]
