"""The command that says what a cache, a session or this installation is: info."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astroanomaly.cli.common import command

__all__ = ["add"]


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command."""
    command(commands, "info", _info, "say what a cache, a session or this installation is", _info_flags)


def _info_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="a cache or a session; left out: this installation"
    )
    parser.add_argument("--digest", action="store_true", help="also compute the digest of a cache (reads all pixels)")


def _info(arguments: argparse.Namespace) -> None:
    from astroanomaly.cli import describe as info
    from astroanomaly.cli.terminal import show_table

    rows = info.describe(arguments.path, digest=arguments.digest)
    show_table("", ["", ""], rows)
