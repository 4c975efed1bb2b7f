"""What a search has found: tables of candidates, contact sheets, exported catalogues."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import ranking
from astroanomaly.config import StretchConfig
from astroanomaly.errors import TrainingError
from astroanomaly.imaging.bands import default_channels, parse_channels
from astroanomaly.imaging.stretch import Stretch, to_rgb
from astroanomaly.labels.consensus import DISPUTED, Opinion
from astroanomaly.tables.write import build_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

    from astroanomaly.session.calibration import Forecast
    from astroanomaly.session.rounds import Round
    from astroanomaly.session.session import Session

__all__ = ["candidates", "contact_sheet", "describe", "origin", "suspects", "thumbnails"]


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
    labels = [str(label) or None for label in table["label"]]
    figures.contact_sheet(thumbnails(session, ids), captions, path, labels=labels, classes=session.classes)


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
        from astroanomaly.session.remaining import provenance as calibrated_on

        where_from |= calibrated_on(found)
    return build_catalog(columns, where_from)


def suspects(session: Session, n: int) -> QTable:
    """Make the table of the labels that look most wrong; see `Session.suspects`."""
    from astropy.table import QTable

    from astroanomaly.learn.label_errors import suspects as order

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
