"""Tables of candidates, of doubtful labels, and contact sheets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly import figures, ranking
from astroanomaly.cache.showing import with_pictures
from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.imaging.compass import sexagesimal
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.orientation import OrientationChoice
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.learn import label_errors
from astroanomaly.records import Progress
from astroanomaly.session.distinct import Distinct, first_distinct
from astroanomaly.session.export import describe
from astroanomaly.session.folder import SessionFolder
from astroanomaly.tables.write import name_merged

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["NextObjects", "candidates", "contact_sheet", "next_objects", "suspects", "usual_display"]


@dataclass(frozen=True)
class NextObjects(Distinct):
    """The objects to look at next.

    Attributes
    ----------
    log_odds
        ``(N, classes)`` float32 of all objects of the session, in their order.
    consensus
        The consensus of annotators by object id.
    """

    log_odds: np.ndarray
    consensus: dict[str, ObjectConsensus]

    @property
    def scores(self) -> np.ndarray:
        """``(N,)`` score of all objects: log-odds that each is not nominal."""
        return -self.log_odds[:, 0]


def next_objects(
    session: SessionFolder, n: int, order: str, *, include_labelled: bool = False, merge_radius_arcsec: float = 1.0
) -> NextObjects:
    """Choose the objects to look at next; see `Session.candidates`."""
    last = session.last_round
    ids, log_odds = last.read_scores(session.objects)
    consensus = session.labels.current()
    labelled = [object_id for object_id, one in consensus.items() if one.label]
    rows = session.objects.find([*session.labels.audit, *(() if include_labelled else labelled)])
    free = np.ones(len(ids), bool)
    free[rows[rows >= 0]] = False
    scores = -log_odds[:, 0]

    def ask(count: int) -> list[str]:
        rng = np.random.default_rng((session.section("session")["seed"], last.number, 2))
        return ranking.order(
            ids, scores, order, n=count, among=free, rng=rng, features=session.points, labelled=labelled
        )

    chosen = first_distinct(ask, n, session.objects, merge_radius_arcsec, free, scores)
    return NextObjects(chosen.ids, chosen.duplicates, log_odds, consensus)


def candidates(session: SessionFolder, found: NextObjects, *, merged: bool = True) -> QTable:
    """Make the table of the objects to look at next, with what duplicates each has if ``merged``."""
    table = describe(session, found.ids, found.scores, found.log_odds, found.consensus)
    if merged:
        table = name_merged(table, found.duplicates)
    return with_pictures(session.cache, table, usual_display(session)) if session.has_caches else table


def usual_display(session: SessionFolder) -> Display:
    """Return how cutouts of a session are rendered unless somebody chooses: in the channels that the model sees."""
    usual = session.cache.pictures.usual_display
    return usual.changed(channels=session.section("input").get("channels", "") or usual.channels)


def contact_sheet(session: SessionFolder, table: QTable, path: Path, orientation: OrientationChoice) -> None:
    """Draw the objects of a table as one picture; see `Session.contact_sheet`."""
    needed = ("object_id", "ra", "dec", "rank", "score", "label")
    missing = [name for name in needed if name not in getattr(table, "colnames", ())]
    if missing:
        raise ConfigError(
            f"table: expected what `candidates` gives, with the column {missing[0]}; it is {type(table).__name__}"
        )
    ids = [str(object_id) for object_id in table["object_id"]]
    captions = [
        f"{rank}  {score:+.2f}\n{object_id}"
        for rank, score, object_id in zip(table["rank"], table["score"], ids, strict=True)
    ]
    labels = [str(label) or None for label in table["label"]]
    display = usual_display(session).changed(orientation=orientation)
    pictures = session.cache.pictures
    figures.contact_sheet(
        pictures.rgb(ids, display), captions, path, labels=labels, classes=session.classes,
        compasses=pictures.compasses(ids, display),
        positions=[
            sexagesimal(ra, dec) if np.isfinite(ra + dec) else ""
            for ra, dec in zip(table["ra"].to_value("deg"), table["dec"].to_value("deg"), strict=True)
        ],
    )  # fmt: skip


def suspects(session: SessionFolder, n: int, progress: Callable[[Progress], None] | None = None) -> QTable:
    """Make the table of the labels that look most wrong; see `Session.suspects`."""
    from astropy.table import QTable

    labelled = session.labels.labelled()
    there = session.cache.find(labelled.ids)
    pairs = [(i, c) for i, c, row in zip(labelled.ids, labelled.classes, there, strict=True) if row >= 0]
    if len({label for _, label in pairs}) < 2:
        raise TrainingError(
            f"{session.path} has {len(pairs)} labels, all of them alike: label both nominal objects and anomalies, "
            "then each label can be compared with the others"
        )
    points = session.points([object_id for object_id, _ in pairs], progress)
    found = label_errors.suspects(points, [label for _, label in pairs])[:n]
    return QTable(
        {
            "object_id": np.array([pairs[k][0] for k, _, _ in found], dtype=str),
            "label": np.array([pairs[k][1] for k, _, _ in found], dtype=str),
            "looks_like": np.array([likely for _, _, likely in found], dtype=str),
            "confidence": np.array([sure for _, sure, _ in found], dtype=float),
        }
    )
