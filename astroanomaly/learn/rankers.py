"""The rankers that come with the package, as an ordinary plugin."""

from __future__ import annotations

from collections.abc import Callable

from astroanomaly.hookspecs import hookimpl
from astroanomaly.learn.baselines import PlainProbe
from astroanomaly.learn.cold import Cold
from astroanomaly.learn.fixmatch_ranker import FixMatch
from astroanomaly.learn.isolation_forest import IsolationForest
from astroanomaly.learn.lof import Lof
from astroanomaly.learn.ocsvm import Ocsvm
from astroanomaly.learn.probe import Probe
from astroanomaly.learn.supervised import Supervised
from astroanomaly.learn.tuned import Tuned

__all__ = ["register_rankers"]


@hookimpl
def register_rankers(register: Callable[[type], None]) -> None:
    """Register the rankers: one line for each file."""
    for ranker in (Cold, IsolationForest, Lof, Ocsvm, Probe, PlainProbe, Tuned, Supervised, FixMatch):
        register(ranker)
