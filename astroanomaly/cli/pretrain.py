"""The command that trains a network on images alone: pretrain."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.cli.common import set_flag
from astroanomaly.cli.flags import add_flags, given_options
from astroanomaly.cli.progress import follow
from astroanomaly.cli.terminal import say
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.learn.settings import settings_sections
from astroanomaly.learn.training.options import PretrainOptions

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_pretrain)
    parser.add_argument("cache", type=Path, metavar="CACHE", help="folder of the cache")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="file to write, .safetensors")
    add_flags(parser, PretrainOptions)
    set_flag(parser, "input.size=128 or backbone.weights=random")


def _pretrain(arguments: argparse.Namespace) -> None:
    from astroanomaly.learn.training.pretraining import pretrain_steps

    tune_allocator()
    follow(
        pretrain_steps(
            arguments.cache,
            arguments.out,
            settings=parse_assignments(arguments.set, settings_sections()),
            options=given_options(arguments, PretrainOptions),
        )
    )
    say(f"next: astroanomaly init SESSION --cache {arguments.cache} --set backbone.weights={arguments.out}")
