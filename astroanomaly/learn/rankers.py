"""The rankers that come with the package, as an ordinary plugin."""

from __future__ import annotations

from collections.abc import Callable

from astroanomaly.hookspecs import hookimpl
from astroanomaly.learn.cold import Cold
from astroanomaly.learn.fixmatch_ranker import FixMatch
from astroanomaly.learn.probe import Probe

__all__ = ["register_rankers"]


@hookimpl
def register_rankers(register: Callable[[type], None]) -> None:
    """Register the cold ranker, the probe and FixMatch."""
    for ranker in (Cold, Probe, FixMatch):
        register(ranker)
