"""What a search has found: tables of candidates, contact sheets, exported catalogues."""

from __future__ import annotations

import importlib.metadata
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import ranking
from astroanomaly.bands import default_channels, parse_channels
from astroanomaly.config import StretchConfig, nearest
from astroanomaly.errors import ConfigError, LabelError, SessionError, TrainingError
from astroanomaly.export import build_catalog, merge_duplicates, write_catalog
from astroanomaly.opinions import DISPUTED, Opinion
from astroanomaly.records import NOMINAL
from astroanomaly.stretch import Stretch, to_rgb

if TYPE_CHECKING:
    from astropy.table import QTable

    from astroanomaly.calibration import Forecast
    from astroanomaly.rounds import Round
    from astroanomaly.session import Session

__all__ = ["candidates", "contact_sheet", "describe", "export", "origin", "suspects", "thumbnails"]

_TOP = 100  # what is exported when nobody says how much
_NOT_CALIBRATED = "that takes an audit set, labelled blind, with anomalies in it (`astroanomaly init --audit N`)"
_log = logging.getLogger(__name__)


def candidates(session: Session, n: int, order: str, *, include_labelled: bool = False) -> QTable:
    """Make the table of the objects to look at next; see `Session.candidates`."""
    ids, log_odds = session.scores()
    opinions = session.labels.current()
    barred = set(session.labels.audit)
    if not include_labelled:
        barred |= {object_id for object_id, opinion in opinions.items() if opinion.label}
    chosen = ranking.order(
        ids,
        -log_odds[:, 0],
        order,
        n=n,
        exclude=barred,
        rng=np.random.default_rng((session.settings["session"]["seed"], session.last_round.number, 2)),
        features=session.points,
        labelled=[object_id for object_id, opinion in opinions.items() if opinion.label],
    )
    return describe(session, chosen, -log_odds[:, 0], log_odds, opinions)


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


def thumbnails(session: Session, ids: Sequence[str]) -> np.ndarray:
    """Draw objects for the eye, each stretched on its own.

    Returns
    -------
    numpy.ndarray
        ``(n, height, width, 3)`` uint8.
    """
    cache, settings = session.cache, session.settings["input"]
    channels = settings.get("channels", "")
    rows = parse_channels(channels, cache.bands) if channels else default_channels(cache.bands)
    images = cache.read(ids)
    if cache.layout.pixel_kind == "display":
        stretched = images.astype(np.float32) / 255
    else:
        stretched = Stretch(StretchConfig(curve="asinh", interval="percentile", low=1, high=99.7, scope="cutout"))(
            images
        )
    return to_rgb(stretched, rows)


def contact_sheet(session: Session, table: QTable, path: Path) -> None:
    """Draw the objects of a table as one picture; see `Session.contact_sheet`."""
    from astroanomaly import figures

    ids = [str(object_id) for object_id in table["object_id"]]
    captions = [
        f"{rank}  {score:+.2f}\n{object_id}"
        for rank, score, object_id in zip(table["rank"], table["score"], ids, strict=True)
    ]
    figures.contact_sheet(
        thumbnails(session, ids), captions, path, labels=[str(label) or None for label in table["label"]]
    )


def describe(
    session: Session,
    chosen: Sequence[str],
    scores: np.ndarray,
    log_odds: np.ndarray | None = None,
    opinions: Mapping[str, Opinion] | None = None,
    provenance: Mapping[str, str] | None = None,
    found: Forecast | None = None,
) -> QTable:
    """Make the catalogue of some objects: positions, scores, labels, catalogue columns.

    Parameters
    ----------
    session
        The search.
    chosen
        Ids, in the order of the rows.
    scores
        ``(N,)`` of all objects in the order of the cache, NaN where there is none.
    log_odds
        ``(N, classes)`` of all objects; None leaves the columns of the classes out.
    opinions
        What stands; None reads it.
    provenance
        Where the scores come from; None: the latest round.
    found
        What the audit set says of the scores; None leaves the probability out.
    """
    rows = session.cache.rows(chosen)
    ra, dec = session.cache.positions
    order = np.argsort(np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable"), kind="stable")
    standing = session.labels.current() if opinions is None else opinions
    said = [standing.get(object_id, Opinion("", {})) for object_id in chosen]
    columns: dict[str, Any] = {
        "object_id": np.array(list(chosen), dtype=str),
        "ra": ra[rows],
        "dec": dec[rows],
        "score": scores[rows],
        "rank": order[rows] + 1,
        "label": np.array([opinion.label for opinion in said], dtype=str),
        "votes": np.array([_votes(opinion) for opinion in said], dtype=str),
        "note": np.array([" | ".join(opinion.notes) for opinion in said], dtype=str),
    }
    if found is not None:
        free = np.array([opinion.label in ("", DISPUTED) for opinion in said], bool)
        columns["probability"] = np.where(free, found.probability(scores[rows]), np.nan)
    for number, name in enumerate(session.classes if log_odds is not None else ()):
        columns[f"log_odds_{name}"] = log_odds[rows, number]  # type: ignore[index]
    for name, values in session.cache.columns(chosen).items() if chosen else ():
        columns[name if name not in columns else f"catalog_{name}"] = values
    last = session.last_round if provenance is None and session.is_scored else None
    where_from = {**origin(session, last), **(provenance or {})}
    if found is not None:
        from astroanomaly.remaining import provenance as calibrated_on

        where_from |= calibrated_on(found)
    return build_catalog(columns, where_from)


def suspects(session: Session, n: int) -> QTable:
    """Make the table of the labels that look most wrong; see `Session.suspects`."""
    from astropy.table import QTable

    from astroanomaly.learn.robust import suspects as order

    labelled = session.labels.labelled()
    there = session.cache.find(labelled.ids)
    pairs = [(i, c) for i, c, row in zip(labelled.ids, labelled.classes, there, strict=True) if row >= 0]
    if len({label for _, label in pairs}) < 2:
        raise TrainingError(
            f"{session.path} has {len(pairs)} labels, all of them alike: label both nominal objects and anomalies, "
            "then each label can be compared with the others"
        )
    points = session.points([object_id for object_id, _ in pairs])
    found = order(points, [label for _, label in pairs])[:n]
    return QTable(
        {
            "object_id": np.array([pairs[k][0] for k, _, _ in found], dtype=str),
            "label": np.array([pairs[k][1] for k, _, _ in found], dtype=str),
            "looks_like": np.array([likely for _, _, likely in found], dtype=str),
            "confidence": np.array([sure for _, sure, _ in found], dtype=float),
        }
    )


def _calibrated(session: Session) -> Forecast | None:
    """Return what the audit set says of the latest round's scores; None if too little of it is labelled."""
    from astroanomaly.remaining import remaining

    if not session.labels.audit or not session.is_scored:
        return None
    try:
        found = remaining(session, ())
    except SessionError as error:
        _log.info("no probabilities: %s", error)
        return None
    return found if found.calibrated else None


def _votes(opinion: Opinion) -> str:
    return ";".join(f"{label}:{count}" for label, count in Counter(opinion.votes.values()).most_common())


def origin(session: Session, last: Round | None) -> dict[str, str]:
    """Return where scores come from: software, session, caches, label event and, where there is one, the round."""
    found = {
        "software": f"astroanomaly {importlib.metadata.version('astroanomaly')}",
        "session": str(session.path),
        "caches": ", ".join(map(str, session.cache.folders)),
        "label_event": str(session.labels.last_event),
    }
    if last is not None:
        found |= {
            "round": str(last.number),
            "ranker": last.ranker,
            "trained": str(last.recipe.get("created", "")),
            "trained_on_event": str(last.last_event),
        }
    return found
