"""Forecast of the anomalies that are left, and suspect labels: takes a second or more, so it is asked in a thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroanomaly.app.review.shared_state import COLD, LATEST, SharedState
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.hookspecs import rests_on_labels
from astroanomaly.labels.consensus import DISPUTED, Consensus
from astroanomaly.learn.label_errors import suspects
from astroanomaly.session.calibration import DEPTHS, Forecast
from astroanomaly.session.remaining import forecast_scores

__all__ = ["ForecastAndSuspects", "forecast_and_suspects"]

_DEPTHS = np.unique(np.geomspace(10, 1e6, 41).astype(int)).tolist()


@dataclass(frozen=True)
class ForecastAndSuspects:
    """How many anomalies are left, and which labels look wrong.

    Attributes
    ----------
    forecast
        How many anomalies are left, or None.
    why_none
        What is missing for a forecast, and what to do; empty with one.
    suspects
        Id, label, confidence in it and the class that looks likelier; the most doubtful first.
    """

    forecast: Forecast | None
    why_none: str
    suspects: tuple[tuple[str, str, float, str], ...]


def forecast_and_suspects(shared: SharedState, by: str, n: int = 20) -> ForecastAndSuspects:
    """Forecast by one ranking, and find suspect labels; may be called from any thread.

    Parameters
    ----------
    by
        Name of the scores.
    n
        Most suspect labels; those that all other labels agree with are left out.
    """
    consensus = shared.labels.consensus()  # one of its own: that of the shared state changes meanwhile
    forecast, why_none = None, "There is no ranking yet."
    if by in shared.scores:
        try:
            forecast, why_none = _forecast(shared, by, consensus), ""
        except AstroAnomalyError as error:
            why_none = f"{str(error)[:1].upper()}{str(error)[1:]}."
    return ForecastAndSuspects(forecast, why_none, tuple(_suspects(shared, consensus, n)))


def _forecast(shared: SharedState, by: str, consensus: Consensus) -> Forecast:
    session = shared.session
    until = draws = None
    learnt: tuple[str, ...] = ()
    if by == LATEST:
        last = session.rounds[shared.rounds - 1]
        until, draws = last.last_event, last.audit_draws
    if by != COLD and (by != LATEST or rests_on_labels(session.ranker(last.ranker, **last.recipe["options"]))):
        learnt = shared.labels.labelled(until=until, draws=draws).ids
    return forecast_scores(
        shared.cache,
        shared.scores[by],
        consensus,
        shared.labels,
        learnt=learnt,
        points=shared.features or session.points,
        regression=session.settings.get("probe", {}),
        depths=sorted({*DEPTHS, *_DEPTHS}),
    )


def _suspects(shared: SharedState, consensus: Consensus, n: int) -> list[tuple[str, str, float, str]]:
    labels = {i: o.label for i, o in sorted(consensus.current().items()) if o.label not in ("", DISPUTED)}
    ids = [i for i in shared.known(list(labels)) if i not in shared.audit]
    if shared.features is None or not ids:
        return []
    points = shared.features(ids)
    there = np.flatnonzero(points.any(axis=1))  # without features: zero
    found = suspects(points[there], [labels[ids[k]] for k in there])
    named = [(ids[there[k]], labels[ids[there[k]]], sure, likely) for k, sure, likely in found]
    return [item for item in named if item[1] != item[3]][:n]
