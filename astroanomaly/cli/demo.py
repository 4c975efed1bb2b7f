"""The command that shows the whole job: demo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import count
from astroanomaly.cli.progress import follow
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.learn.engine.device import tune_allocator

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_demo)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("astroanomaly-demo"),
        metavar="DIR",
        help="folder to work in (default: astroanomaly-demo)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the simulated sky and of all else (default: 0)"
    )
    parser.add_argument(
        "--objects", type=count, default=2000, metavar="N", help="objects on the simulated sky (default: 2000)"
    )
    parser.add_argument(
        "--iterations", type=count, default=100, metavar="N", help="training steps of the network (default: 100)"
    )


def _demo(arguments: argparse.Namespace) -> None:
    from astroanomaly.demo.run import demo_steps

    tune_allocator()
    say("This demo searches a SIMULATED sky: nothing in it was observed.")
    result = follow(
        demo_steps(arguments.out, seed=arguments.seed, objects=arguments.objects, iterations=arguments.iterations)
    )
    show_table(
        f"{result.planted} of {result.objects} objects are rare. A simulated expert looked at the {result.looked_at} "
        f"that came first, and found {result.found} of the rare ones:",
        result.columns,
        result.rows,
    )
    for path in result.files:
        say(f"see {path}")
    say()
    for line in result.advice:
        say(line)
