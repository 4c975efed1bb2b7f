"""The command that computes the ranking of a bundle again: reproduce."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroanomaly.cli.common import many
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say
from astroanomaly.errors import SessionError

if TYPE_CHECKING:
    from astroanomaly.session.reproduce import Reproduction

__all__ = ["add"]

_TOLERANCE = 1e-4


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_reproduce)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder or archive written by bundle --ranking")
    parser.add_argument(
        "--cache",
        type=Path,
        action="append",
        metavar="PATH",
        help="a cache that was ranked, where the bundle does not include it; may be repeated",
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="the weights that the network began with, where they are not part of this package; or pretrained, to let "
        "timm download them",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=_TOLERANCE,
        metavar="X",
        help=f"how much log-odds may differ (default: {_TOLERANCE:g})",
    )


def _reproduce(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    with shown() as show:
        found = Session.reproduce(
            arguments.bundle,
            arguments.cache,
            weights=arguments.weights,
            tolerance=arguments.tolerance,
            progress=show,
        )
    _tell(found)
    if not found.ok:
        raise SessionError(f"the scores are NOT the same within {found.tolerance:g}:\n  " + "\n  ".join(found.reasons))
    say(f"the same within {found.tolerance:g}")


def _tell(found: Reproduction) -> None:
    how = "scored with the stored checkpoint" if found.how == "checkpoint" else "learnt anew from the labels"
    say(f"round {found.round}, ranker {found.ranker}: {how}")
    say(f"{many(found.objects, 'object')} compared")
    say(f"greatest difference of log-odds: {found.greatest:.3g} ({found.worst})")
    say(f"rank correlation: {found.correlation:.6f}")
    for name in {**found.then, **found.now}:
        then, now = found.then.get(name, "none"), found.now.get(name, "none")
        say(f"{name}: {then}" + ("" if then == now else f" then, {now} now"))
    engines = [", ".join(engines) for engines in (found.engines_then, found.engines_now)]
    if any(engines):
        say(f"networks ran on: {engines[0]}" + ("" if engines[0] == engines[1] else f" then, {engines[1]} now"))
