"""The rankers that come with the package, as an ordinary plugin."""

from __future__ import annotations

from collections.abc import Callable

from astroanomaly.hookspecs import Ranker, hookimpl
from astroanomaly.learn.rankers.active_search import ActiveSearch
from astroanomaly.learn.rankers.baselines import PlainProbe, Supervised
from astroanomaly.learn.rankers.cold import Cold
from astroanomaly.learn.rankers.fixmatch import FixMatch
from astroanomaly.learn.rankers.isolation_forest import IsolationForest
from astroanomaly.learn.rankers.lof import Lof
from astroanomaly.learn.rankers.ocsvm import Ocsvm
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.learn.rankers.tuned import Tuned

__all__ = ["register_rankers"]


@hookimpl
def register_rankers(register: Callable[[type[Ranker]], None]) -> None:
    """Register the rankers: one line for each file."""
    for ranker in (Cold, IsolationForest, Lof, Ocsvm, Probe, ActiveSearch, PlainProbe, Tuned, Supervised, FixMatch):
        register(ranker)
