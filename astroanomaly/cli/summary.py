"""The command that counts anomalies by class, and by whether they are known: summary."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import merge_flag, merge_radius, say_missing_caches
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.session.known import KNOWN, NOT_KNOWN, NOT_LOOKED_UP
from astroanomaly.tables.write import SUFFIXES, check_target, write_catalog

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_summary)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    merge_flag(parser, "count duplicates as one within")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the counts: .vot .fits .ecsv or .csv")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")


def _summary(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    if arguments.out is not None:
        check_target(arguments.out, [one for one in SUFFIXES if one != ".reg"], overwrite=arguments.overwrite)
    session = Session.open(arguments.session)
    say_missing_caches(session)
    table = session.summary(merge_radius_arcsec=merge_radius(arguments))
    if arguments.out is not None:
        write_catalog(table, arguments.out, overwrite=arguments.overwrite, contents="summary")
    counts: Counter[tuple[str, str]] = Counter()
    references: Counter[tuple[str, str]] = Counter()
    for row in table:
        for label in (str(row["label"]), "all"):
            counts[label, str(row["known"])] += int(row["n"])
        if row["known"] == KNOWN:
            references[str(row["known_in"]), str(row["reference"])] += int(row["n"])
    states = (KNOWN, NOT_KNOWN, NOT_LOOKED_UP)
    labels = [*dict.fromkeys(str(label) for label in table["label"]), "all"]
    rows = [(label, *(str(counts[label, state]) for state in states)) for label in labels]
    show_table("objects labelled as anomalies, duplicates merged", ["label", *states], rows)
    if references:
        say()
        rows = [(where, reference or "none", str(count)) for (where, reference), count in references.most_common()]
        show_table("known in", ["catalogue", "reference", "objects"], rows)
    if counts["all", NOT_LOOKED_UP]:
        say("to look them up: `astroanomaly crossmatch SESSION --labelled LABEL --with CATALOG`")
    if arguments.out is not None:
        say(f"see {arguments.out}")
