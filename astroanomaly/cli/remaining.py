"""The command that says how many anomalies are left: remaining."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import count, many, say_unfinished
from astroanomaly.cli.terminal import say, show_table

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_remaining)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--depth", type=count, nargs="+", metavar="N", help="how many are looked at (default: 10 20 50 100 ...)"
    )


def _remaining(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say_unfinished(session)
    found = session.remaining(arguments.depth)
    say(
        f"audit set: {found.audit} labelled, {many(found.audit_anomalies, 'anomaly', 'anomalies')} among them; "
        f"{many(found.known, 'anomaly', 'anomalies')} known beside it"
    )
    if found.sample_of:
        before = many(found.known_outside, "known anomaly was", "known anomalies were")
        say(f"drawn from {found.sample_of}: the estimate is about these; {before} labelled before")
    if found.outside:
        say(f"nothing is said of {many(found.outside, 'object')} without a label that the audit set is no sample of")
    named = [
        *((f"the next {depth}", item) for depth, item in zip(found.depths, found.within, strict=True)),
        (f"all {found.unlabelled} without a label", found.total),
    ]
    rows = [
        (name, f"{i.expected:.0f}", f"{i.low:.0f} to {i.high:.0f}", f"{i.low_95:.0f} to {i.high_95:.0f}")
        for name, i in named
    ]
    show_table("anomalies among the objects of the highest scores", ["objects", "expected", "90 %", "95 %"], rows)
    if not found.calibrated:
        say("not known is where in the ranking: the audit set needs anomalies and nominal objects; label more of it")
