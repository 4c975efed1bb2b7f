"""What is left to find, and labels that look wrong: takes a second or more, so it is asked in a thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroanomaly.app.review.shared_state import COLD, LATEST, SharedState
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.labels.consensus import DISPUTED, Consensus
from astroanomaly.session.calibration import DEPTHS, Forecast
from astroanomaly.session.remaining import forecast_scores

__all__ = ["ForecastAndSuspects", "forecast_and_suspects"]

_DEPTHS = np.unique(np.geomspace(10, 1e6, 41).astype(int)).tolist()


@dataclass(frozen=True)
class ForecastAndSuspects:
    """What could be said.

    Attributes
    ----------
    left
        How many anomalies are left, or None.
    why_not
        What is missing to say it, and what to do; empty with ``left``.
    suspects
        Id, label, confidence in it and the class that looks likelier; the most doubtful first.
    """

    left: Forecast | None
    why_not: str
    suspects: tuple[tuple[str, str, float, str], ...]


def forecast_and_suspects(shared: SharedState, by: str, n: int = 20) -> ForecastAndSuspects:
    """Look at one ranking; may be called from any thread.

    Parameters
    ----------
    by
        Name of the scores.
    n
        Most labels that look wrong; those that the others speak for are left out.
    """
    consensus = Consensus(shared.labels.events())  # one of its own: that of the shared state changes meanwhile
    left, why_not = None, "There is no ranking yet."
    if by in shared.scores:
        try:
            left, why_not = _left(shared, by, consensus), ""
        except AstroAnomalyError as error:
            why_not = f"{str(error)[:1].upper()}{str(error)[1:]}."
    return ForecastAndSuspects(left, why_not, tuple(_suspects(shared, consensus, n)))


def _left(shared: SharedState, by: str, consensus: Consensus) -> Forecast:
    session = shared.session
    until = None
    learnt: tuple[str, ...] = ()
    if by == LATEST:
        last = session.rounds[shared.rounds - 1]
        until = last.last_event
    if by != COLD and (by != LATEST or session.ranker(last.ranker, **last.recipe["options"]).needs_labels):
        learnt = shared.labels.labelled(until=until).ids
    return forecast_scores(
        shared.cache,
        shared.scores[by],
        consensus,
        shared.audit,
        learnt=learnt,
        points=shared.features or session.points,
        regression=session.settings["probe"],
        depths=sorted({*DEPTHS, *_DEPTHS}),
    )


def _suspects(shared: SharedState, consensus: Consensus, n: int) -> list[tuple[str, str, float, str]]:
    from astroanomaly.learn.label_errors import suspects

    said = {i: o.label for i, o in sorted(consensus.opinions().items()) if o.label not in ("", DISPUTED)}
    ids = [i for i in shared.known(list(said)) if i not in shared.audit]
    if shared.features is None or not ids:
        return []
    points = shared.features(ids)
    there = np.flatnonzero(points.any(axis=1))  # without features: zero
    found = suspects(points[there], [said[ids[k]] for k in there])
    named = [(ids[there[k]], said[ids[there[k]]], sure, likely) for k, sure, likely in found]
    return [item for item in named if item[1] != item[3]][:n]
