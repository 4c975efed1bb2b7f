"""The command that trains a ranker and scores every object: train."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astroanomaly.cli.common import cluster_flags, command, count, refuse_idle_workers
from astroanomaly.records import DEFAULT_RANKER

__all__ = ["add"]


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command."""
    command(commands, "train", _train, "train a ranker on the labels so far and score every object", _train_flags)


def _train_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--ranker",
        default=DEFAULT_RANKER,
        metavar="NAME",
        help=f"tuned, fixmatch, probe, cold or another of `astroanomaly sources` (default: {DEFAULT_RANKER})",
    )
    parser.add_argument(
        "--iterations", type=count, metavar="N", help="training steps of this round (tuned, fixmatch, supervised)"
    )
    cluster_flags(parser)


def _train(arguments: argparse.Namespace) -> None:
    from astroanomaly.cli.terminal import follow, say
    from astroanomaly.learn.engine.device import tune_allocator
    from astroanomaly.session.session import Session

    tune_allocator()
    session = Session.open(arguments.session)
    options = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    refuse_idle_workers(arguments)
    where = {"scheduler": arguments.scheduler, "workers": arguments.workers}
    report = follow(session.train_steps(arguments.ranker, **where, **options))
    learnt = ", ".join(f"{count} {label}" for label, count in report.labels.items())
    say(f"round {report.round.number}: {arguments.ranker}" + (f" learnt from {learnt}" if learnt else ""))
    for picture in sorted(report.round.path.glob("*.png")):
        say(f"see {picture}")
    say(f"next: astroanomaly candidates {arguments.session}")
