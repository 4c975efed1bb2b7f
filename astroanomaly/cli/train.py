"""The command that trains a ranker and scores every object: train."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import cluster_flags, count, refuse_idle_workers
from astroanomaly.cli.progress import follow
from astroanomaly.cli.terminal import say
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.records import DEFAULT_RANKER

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_train)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--ranker",
        default=DEFAULT_RANKER,
        metavar="NAME",
        help="auto, active-search, probe, tuned, fixmatch, cold or another of `astroanomaly sources` (default: auto)",
    )
    parser.add_argument(
        "--iterations", type=count, metavar="N", help="training steps of this round (tuned, fixmatch, supervised)"
    )
    cluster_flags(parser)


def _train(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    tune_allocator()
    session = Session.open(arguments.session)
    options = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    refuse_idle_workers(arguments)
    where = {"scheduler": arguments.scheduler, "workers": arguments.workers}
    report = follow(session.train_steps(arguments.ranker, **where, **options))
    learnt = ", ".join(f"{count} {label}" for label, count in report.labels.items())
    say(f"round {report.round.number}: {report.round.ranker}" + (f" learnt from {learnt}" if learnt else ""))
    for picture in sorted(report.round.path.glob("*.png")):
        say(f"see {picture}")
    say(f"next: astroanomaly candidates {arguments.session}")
