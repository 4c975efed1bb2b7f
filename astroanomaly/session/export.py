"""Catalogues of objects of a session: how they are made, and which objects are exported."""

from __future__ import annotations

import importlib.metadata
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import ranking
from astroanomaly.arguments import as_ids, as_number, as_text, as_whole
from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError, LabelError, SessionError, UnreadableError
from astroanomaly.labels.consensus import DISPUTED, ObjectConsensus
from astroanomaly.labels.export import grade_columns
from astroanomaly.records import NOMINAL
from astroanomaly.session.audit import population
from astroanomaly.session.calibration import Forecast
from astroanomaly.session.distinct import Distinct, first_distinct
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.known import known_columns, known_provenance, read_known
from astroanomaly.session.label_table import describe_grades
from astroanomaly.session.outputs.provenance import public
from astroanomaly.session.remaining import remaining
from astroanomaly.session.rounds import Round
from astroanomaly.tables.csv_rows import check_escape
from astroanomaly.tables.latex import JOURNALS
from astroanomaly.tables.paper import PAPER_SUFFIXES, check_paper_table, write_paper_table
from astroanomaly.tables.write import build_catalog, merge_duplicates, name_merged, write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["describe", "export", "origin", "ranker_origin", "ranks", "round_origin", "selected"]

_log = logging.getLogger(__name__)

_DEFAULT_TOP = 100  # what is exported when nobody says how much
ANOMALIES = "anomalies"  # of every label class but nominal
_NOT_CALIBRATED = "that takes an audit set, labelled blind, with anomalies in it (`astroanomaly audit SESSION N`)"


def export(
    session: SessionFolder,
    path: Path,
    top: int | None,
    threshold: float | None,
    labelled: str | None,
    merge_radius_arcsec: float,
    overwrite: bool,
    escape_formulas: bool = False,
    acronym: str = "",
    journal: str = JOURNALS[0],
) -> QTable:
    """Write a catalogue; see `Session.export`."""
    check_escape(path, escape_formulas)
    if path.suffix.lower() in PAPER_SUFFIXES:
        check_paper_table(path, acronym, journal, overwrite=overwrite)
        table = selected(session, top, threshold, labelled, merge_radius_arcsec=merge_radius_arcsec)
        return write_paper_table(table, path, acronym=acronym, journal=journal, overwrite=overwrite)
    if acronym:
        raise ConfigError(f"{path}: an acronym goes with a table for a paper: {', '.join(PAPER_SUFFIXES)}")
    table = selected(session, top, threshold, labelled, merge_radius_arcsec=merge_radius_arcsec)
    write_catalog(table, path, overwrite=overwrite, escape_formulas=escape_formulas)
    return table


def selected(
    session: SessionFolder,
    top: int | None = None,
    threshold: float | None = None,
    labelled: str | None = None,
    only: Sequence[str] | None = None,
    *,
    merge_radius_arcsec: float = 1.0,
) -> QTable:
    """Make the catalogue of the objects that somebody chose.

    Parameters
    ----------
    session
        The session.
    top, threshold, labelled
        As in `Session.export`; at most one of these and ``only``.
    only
        These objects, in this order; each once. None of them is merged.
    merge_radius_arcsec
        Objects closer than this are merged into one row; 0 keeps all.

    Raises
    ------
    ConfigError, LabelError, UnknownObjectError
        For choices that exclude one another or cannot be.
    SessionError
        If nothing has been scored, but for objects that are chosen by their label or id.
    """
    if sum(choice is not None for choice in (top, threshold, labelled, only)) > 1:
        others = "top, threshold, ids" if only is not None else "top, threshold"
        raise ConfigError(f"{others} and labelled exclude one another: give one")
    top = None if top is None else as_whole(top, "top", 1)
    merge_radius_arcsec = as_number(merge_radius_arcsec, "merge_radius_arcsec", 0)
    only = None if only is None else as_ids(only, "ids")
    if threshold is not None and not 0 < as_number(threshold, "threshold") < 1:
        raise ConfigError(f"threshold={threshold}: expected a probability between 0 and 1")
    wanted = () if labelled is None else _label_classes(session, as_text(labelled, "labelled"))
    consensus = session.labels.current()
    if session.is_scored:
        ids, log_odds = session.last_round.read_scores(session.objects)
    elif labelled is not None or only is not None:  # these can be written out before anything was trained
        ids = list(session.objects.ids)
        log_odds = np.full((len(ids), len(session.classes)), np.nan, np.float32)
    else:
        session.last_round  # noqa: B018 - says that nothing was trained, or scored, yet
    scores = -log_odds[:, 0]
    found = _calibrated(session, needed=threshold is not None)
    within = None if found is None else population(session.labels, session.objects)
    distinct: Distinct | None = None
    if only is not None:
        chosen, merge_radius_arcsec = list(dict.fromkeys(only)), 0.0
        session.objects.rows(chosen)
    elif labelled is not None:
        rows = [k for k, i in enumerate(ids) if i in consensus and consensus[i].label in wanted]
        chosen = [ids[k] for k in sorted(rows, key=lambda k: (-np.nan_to_num(scores[k], nan=-np.inf), ids[k]))]
    else:
        free = np.ones(len(ids), bool)
        nominal = session.objects.find([object_id for object_id, one in consensus.items() if one.label == NOMINAL])
        free[nominal[nominal >= 0]] = False
        if threshold is None:
            distinct = first_distinct(
                lambda n: ranking.order(ids, scores, n=n, among=free), top or _DEFAULT_TOP, session.objects,
                merge_radius_arcsec, free, scores,
            )  # fmt: skip
            chosen = list(distinct.ids)
        else:
            chosen = ranking.order(ids, scores, n=len(ids), among=free)
            if found is None:
                _log.warning("probability >= %g is not calibrated: %s", threshold, _NOT_CALIBRATED)
            likely = 1 / (1 + np.exp(-scores.astype(np.float64)))
            if found is not None and within is not None:
                likely = np.where(within, found.probability(scores), np.nan)
            above = {ids[k] for k in np.flatnonzero(likely >= threshold)}
            if found is not None:  # what is known needs no estimate
                known = {i: one.label for i, one in consensus.items() if one.label not in ("", DISPUTED)}
                above = (above - known.keys()) | {i for i, label in known.items() if label != NOMINAL}
            chosen = [object_id for object_id in chosen if object_id in above]
    table = describe(session, chosen, scores, log_odds, consensus, found=found, within=within)
    if merge_radius_arcsec == 0:
        return table
    return name_merged(table, distinct.duplicates) if distinct else merge_duplicates(table, merge_radius_arcsec)


def _label_classes(session: SessionFolder, labelled: str) -> tuple[str, ...]:
    """Return the label classes that somebody means: one of them, or all kinds of anomalies."""
    if labelled in session.classes:
        return (labelled,)
    if labelled == ANOMALIES:
        return tuple(name for name in session.classes if name != NOMINAL)
    known = [*session.classes, ANOMALIES]
    raise LabelError(f"{labelled!r} is no label class{nearest(labelled, known)} (known: {', '.join(known)})")


def _calibrated(session: SessionFolder, *, needed: bool) -> Forecast | None:
    """Return what the audit set says of the latest round's scores; None if too little of it is labelled.

    Without the cache there may be no features to say it from: an error if the selection needs it, else None.
    """
    if not session.labels.audit or not session.is_scored:
        return None
    try:
        found = remaining(session, ())
    except SessionError as error:
        _log.info("no probabilities: %s", error)
        return None
    except UnreadableError as error:
        if needed or session.has_caches:
            raise
        _log.warning("no probabilities: %s", error)
        return None
    return found if found.calibrated else None


def describe(
    session: SessionFolder,
    chosen: Sequence[str],
    scores: np.ndarray,
    log_odds: np.ndarray | None = None,
    consensus: Mapping[str, ObjectConsensus] | None = None,
    provenance: Mapping[str, str] | None = None,
    found: Forecast | None = None,
    within: np.ndarray | None = None,
) -> QTable:
    """Make the catalogue of some objects: positions, scores, labels, catalogue columns.

    Parameters
    ----------
    session
        The session.
    chosen
        Ids, in the order of the rows.
    scores
        ``(N,)`` of all objects in the order of the cache, NaN where there is none.
    log_odds
        ``(N, classes)`` of all objects; None leaves the columns of the classes out.
    consensus
        The consensus of annotators by object id; None reads it.
    provenance
        Where the scores come from; None: the latest round. Folders are named in the catalogue, without their paths.
    found
        What the audit set says of the scores; None leaves the probability out.
    within
        ``(N,)`` boolean in the order of the cache: the objects that the audit set is a sample of, others have no
        probability; None: all.
    """
    objects = session.objects
    rows = objects.rows(chosen)
    ra, dec = objects.positions
    known = session.labels.current() if consensus is None else consensus
    of_chosen = [known.get(object_id, ObjectConsensus("", {})) for object_id in chosen]
    columns: dict[str, Any] = {
        "object_id": np.array(list(chosen), dtype=str),
        "ra": ra[rows],
        "dec": dec[rows],
        "score": scores[rows],
        "rank": ranks(scores, rows),
        "label": np.array([one.label for one in of_chosen], dtype=str),
        "votes": np.array([_votes(one) for one in of_chosen], dtype=str),
        "note": np.array([" | ".join(one.notes) for one in of_chosen], dtype=str),
    }
    for name, values in grade_columns(session.grades, of_chosen).items():
        columns[name] = np.array(values, dtype=str if name == "grade" else np.float64)
    if found is not None:
        free = np.array([one.label in ("", DISPUTED) for one in of_chosen], bool)
        told = free if within is None else free & within[rows]
        columns["probability"] = np.where(told, found.probability(scores[rows]), np.nan)
    graded = () if session.grades is None else session.grades.names  # no classes to rankers
    for number, name in enumerate(session.classes if log_odds is not None else ()):
        if name in graded:
            continue
        columns[f"log_odds_{name}"] = log_odds[rows, number]  # type: ignore[index]
    known_in = read_known(session.path)
    columns |= known_columns(known_in, chosen)
    for name, values in objects.columns(chosen).items() if chosen else ():
        columns[name if name not in columns else f"catalog_{name}"] = values
    last = session.last_round if provenance is None and session.is_scored else None
    where_from = {**origin(session, last), **(provenance or {}), **known_provenance(known_in)}
    if found is not None:
        where_from |= found.provenance
    table = build_catalog(columns, public(where_from))
    describe_grades(table, session)
    return table


def ranks(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return 1 + how many objects have a higher score, masked where there is no score; equal scores share a rank."""
    known = np.sort(scores[np.isfinite(scores)])
    ranks = len(known) - np.searchsorted(known, scores[rows], side="right") + 1
    missing = ~np.isfinite(scores[rows])
    return np.ma.array(ranks, mask=missing) if missing.any() else ranks


def _votes(consensus: ObjectConsensus) -> str:
    return ";".join(f"{label}:{count}" for label, count in Counter(consensus.votes.values()).most_common())


def origin(session: SessionFolder, last: Round | None) -> dict[str, str]:
    """Return where scores come from: software, session, caches, label event and, where there is one, the round."""
    found = {
        "software": f"astroanomaly {importlib.metadata.version('astroanomaly')}",
        "session": str(session.path),
        "caches": ", ".join(map(str, session.cache_folders)),
        "label_event": str(session.labels.last_event),
    }
    return found | (round_origin(last) if last is not None else {})


def round_origin(last: Round) -> dict[str, str]:
    """Return what gave the scores of a round: its number, its ranker, and what that has learnt from."""
    recipe = last.recipe
    made = str(recipe.get("created", ""))
    ranker = ranker_origin(
        last.ranker, recipe.get("options", {}), recipe.get("labels", {}), made, last.last_event
    )  # fmt: skip
    return {"round": str(last.number)} | ranker


def ranker_origin(
    ranker: str, options: Mapping[str, Any], labels: Mapping[str, int], trained: str, event: int
) -> dict[str, str]:
    """Return what gave scores: the ranker, its settings, and what it has learnt from.

    Parameters
    ----------
    ranker, options
        Its name, and its settings as plain values.
    labels
        Number of labels of each class that it learnt from; empty for one that needs none.
    trained
        When (ISO, UTC).
    event
        Number of the last label event that it knew.
    """
    return {
        "ranker": ranker,
        "ranker_settings": ", ".join(f"{name}={value}" for name, value in sorted(options.items())) or "none",
        "trained_on_labels": ", ".join(f"{count} {label}" for label, count in sorted(labels.items())) or "none",
        "trained": trained,
        "trained_on_event": str(event),
    }
