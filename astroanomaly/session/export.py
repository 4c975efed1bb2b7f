"""The catalogue of anomalies of a session."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly import ranking
from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError, LabelError, SessionError
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import NOMINAL
from astroanomaly.session.candidates import describe
from astroanomaly.tables.write import merge_duplicates, write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

    from astroanomaly.session.calibration import Forecast
    from astroanomaly.session.session import Session

__all__ = ["export"]

_log = logging.getLogger(__name__)

_TOP = 100  # what is exported when nobody says how much
_NOT_CALIBRATED = "that takes an audit set, labelled blind, with anomalies in it (`astroanomaly init --audit N`)"


def export(
    session: Session,
    path: Path,
    top: int | None,
    threshold: float | None,
    labelled: str | None,
    merge_radius_arcsec: float,
    overwrite: bool,
) -> QTable:
    """Write a catalogue; see `Session.export`."""
    if sum(choice is not None for choice in (top, threshold, labelled)) > 1:
        raise ConfigError("top, threshold and labelled exclude one another: give one")
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"threshold={threshold}: expected a probability between 0 and 1")
    if labelled is not None and labelled not in session.classes:
        raise LabelError(
            f"{labelled!r} is no label class{nearest(labelled, session.classes)} (known: {', '.join(session.classes)})"
        )
    opinions = session.labels.current()
    if session.is_scored:
        ids, log_odds = session.scores()
    elif labelled is not None:  # labels can be written out before anything was trained
        ids = list(session.cache.ids)
        log_odds = np.full((len(ids), len(session.classes)), np.nan, np.float32)
    else:
        session.last_round  # noqa: B018 - says that nothing was trained, or scored, yet
    scores = -log_odds[:, 0]
    found = _calibrated(session)
    if labelled is not None:
        places = [k for k, i in enumerate(ids) if i in opinions and opinions[i].label == labelled]
        chosen = [ids[k] for k in sorted(places, key=lambda k: (-np.nan_to_num(scores[k], nan=-np.inf), ids[k]))]
    else:
        nominal = {object_id for object_id, opinion in opinions.items() if opinion.label == NOMINAL}
        chosen = ranking.order(ids, scores, n=len(ids) if threshold is not None else top or _TOP, exclude=nominal)
        if threshold is not None:
            if found is None:
                _log.warning("probability >= %g is not calibrated: %s", threshold, _NOT_CALIBRATED)
            likely = 1 / (1 + np.exp(-scores.astype(np.float64))) if found is None else found.probability(scores)
            above = {ids[k] for k in np.flatnonzero(likely >= threshold)}
            if found is not None:  # what is known needs no estimate
                known = {i: opinion.label for i, opinion in opinions.items() if opinion.label not in ("", DISPUTED)}
                above = (above - known.keys()) | {i for i, label in known.items() if label != NOMINAL}
            chosen = [object_id for object_id in chosen if object_id in above]
    table = describe(session, chosen, scores, log_odds, opinions, found=found)
    if merge_radius_arcsec > 0:
        table = merge_duplicates(table, merge_radius_arcsec)
    write_catalog(table, path, overwrite=overwrite)
    return table


def _calibrated(session: Session) -> Forecast | None:
    """Return what the audit set says of the latest round's scores; None if too little of it is labelled."""
    from astroanomaly.session.remaining import remaining

    if not session.labels.audit or not session.is_scored:
        return None
    try:
        found = remaining(session, ())
    except SessionError as error:
        _log.info("no probabilities: %s", error)
        return None
    return found if found.calibrated else None
