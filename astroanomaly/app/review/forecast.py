"""What is left to find, and labels that look wrong: takes a second or more, so it is asked in a thread. No Bokeh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroanomaly.app.review.shared_state import COLD, LATEST, Search
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.labels.consensus import DISPUTED, Consensus
from astroanomaly.session.calibration import DEPTHS, Forecast
from astroanomaly.session.remaining import forecast_scores

__all__ = ["Outlook", "look_ahead"]

_DEPTHS = np.unique(np.geomspace(10, 1e6, 41).astype(int)).tolist()


@dataclass(frozen=True)
class Outlook:
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


def look_ahead(search: Search, by: str, n: int = 20) -> Outlook:
    """Look at one ranking; may be called from any thread.

    Parameters
    ----------
    by
        Name of the scores.
    n
        Most labels that look wrong; those that the others speak for are left out.
    """
    consensus = Consensus(search.labels.events())  # one of its own: that of the search changes meanwhile
    left, why_not = None, "There is no ranking yet."
    if by in search.scores:
        try:
            left, why_not = _left(search, by, consensus), ""
        except AstroAnomalyError as error:
            why_not = f"{str(error)[:1].upper()}{str(error)[1:]}."
    return Outlook(left, why_not, tuple(_suspects(search, consensus, n)))


def _left(search: Search, by: str, consensus: Consensus) -> Forecast:
    session = search.session
    until = None
    learnt: tuple[str, ...] = ()
    if by == LATEST:
        last = session.rounds[search.rounds - 1]
        until = last.last_event
    if by != COLD and (by != LATEST or session.ranker(last.ranker, **last.recipe["options"]).needs_labels):
        learnt = search.labels.labelled(until=until).ids
    return forecast_scores(
        search.cache,
        search.scores[by],
        consensus,
        search.audit,
        learnt=learnt,
        points=search.features or session.points,
        regression=session.settings.get("probe", {}),
        depths=sorted({*DEPTHS, *_DEPTHS}),
    )


def _suspects(search: Search, consensus: Consensus, n: int) -> list[tuple[str, str, float, str]]:
    from astroanomaly.learn.label_errors import suspects

    said = {i: o.label for i, o in sorted(consensus.current().items()) if o.label not in ("", DISPUTED)}
    ids = [i for i in search.known(list(said)) if i not in search.audit]
    if search.features is None or not ids:
        return []
    points = search.features(ids)
    there = np.flatnonzero(points.any(axis=1))  # without features: zero
    found = suspects(points[there], [said[ids[k]] for k in there])
    named = [(ids[there[k]], said[ids[there[k]]], sure, likely) for k, sure, likely in found]
    return [item for item in named if item[1] != item[3]][:n]
