"""Exports: catalogues and reports of chosen objects."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.display import Display
from astroanomaly.session.distinct import first_distinct
from astroanomaly.session.export import describe
from astroanomaly.session.outputs.bundle import write_bundle
from astroanomaly.session.outputs.cutouts import refuse_too_many, zip_cutouts
from astroanomaly.session.outputs.report import report
from astroanomaly.tables.write import merge_duplicates, write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["FORMATS", "SELECTIONS", "catalogue", "file_content", "select"]

FORMATS = {  # suffix -> name, type of content
    ".vot": ("VOTable", "application/x-votable+xml"),
    ".fits": ("FITS", "application/fits"),
    ".csv": ("CSV", "text/csv"),
    "-spreadsheet.csv": ("CSV for spreadsheets (formulas escaped)", "text/csv"),
    ".ecsv": ("ECSV", "text/plain"),
    ".reg": ("DS9 regions", "text/plain"),
    ".html": ("report with pictures", "text/html"),
    "-cutouts.zip": ("FITS cutouts (zip)", "application/zip"),
    "-bundle.zip": ("bundle of table, report, cutouts (zip)", "application/zip"),
}
SELECTIONS = {
    "anomalies": "all anomalies",
    "page": "objects on the page",
    "selection": "objects selected on the page",
    "filter": "all that pass the filters, highest score first",
    "top": "the highest scores",
}


def select(
    shared: SharedState,
    which: str,
    page: Sequence[str],
    free: np.ndarray,
    by: str,
    top: int,
    selected: Sequence[str] = (),
    merge_radius_arcsec: float = 0.0,
) -> list[str]:
    """Return the ids of a selection, the highest score first.

    Parameters
    ----------
    which
        One of `SELECTIONS`, or a label class.
    page
        The objects of the page on show.
    free
        ``(N,)`` boolean: objects that pass the filters of the page.
    by
        Name of the scores.
    top
        How many of the highest scores; duplicates count once, and all of them are among the ids.
    selected
        The objects that are selected on the page.
    merge_radius_arcsec
        Radius within which objects are duplicates.
    """
    current = shared.current_consensus()
    if which in ("anomalies", *shared.classes):
        wanted = set(shared.classes[1:]) if which == "anomalies" else {which}
        ids = shared.known([i for i, o in current.items() if o.label in wanted])
    elif which in ("page", "selection"):
        ids = [i for i in (page if which == "page" else selected) if i not in shared.audit]
    elif which in ("filter", "top"):
        rows = np.flatnonzero(free)
        scores = shared.scores.get(by)
        keys = np.zeros(len(rows)) if scores is None else -np.nan_to_num(scores[rows], nan=-np.inf)
        rows = rows[np.argsort(keys, kind="stable")]
        if which == "top" and merge_radius_arcsec > 0:
            return _top(shared, rows, free, scores, top, merge_radius_arcsec)
        return shared.cache.ids_at(rows[:top] if which == "top" else rows)
    else:
        raise ConfigError(f"there is no selection {which!r} (known: {', '.join((*SELECTIONS, *shared.classes))})")
    scores_of = np.nan_to_num(shared.score_of(ids, by), nan=-np.inf) if ids else []
    return [i for _, i in sorted(zip((-float(s) for s in scores_of), ids, strict=True))]


def _top(
    shared: SharedState, ranked: np.ndarray, free: np.ndarray, scores: np.ndarray | None, top: int, radius_arcsec: float
) -> list[str]:
    """Ids of the first objects of a ranking of rows, and of all their duplicates, in the order of the ranking."""
    cache = shared.cache
    values = np.full(len(cache), np.nan, np.float32) if scores is None else scores
    found = first_distinct(lambda n: cache.ids_at(ranked[:n]), top, cache, radius_arcsec, free, values)
    place = np.empty(len(cache), np.int64)
    place[ranked] = np.arange(len(ranked))
    rows = cache.rows([i for one, others in zip(found.ids, found.duplicates, strict=True) for i in (one, *others)])
    return cache.ids_at(rows[np.argsort(place[rows])])


def catalogue(shared: SharedState, ids: Sequence[str], by: str, merge_radius_arcsec: float) -> QTable:
    """Make the catalogue of some objects.

    Raises
    ------
    ConfigError
        If there are none.
    """
    if not ids:
        raise ConfigError("there is nothing to export: no object is in this selection")
    scores = shared.scores.get(by)
    whole = np.full(len(shared.cache), np.nan, np.float32) if scores is None else scores
    table = describe(
        shared.session, ids, whole, consensus=shared.current_consensus(),
        provenance=shared.origin_of(by) | {"label_event": str(shared.consensus.last)},
    )  # fmt: skip
    return merge_duplicates(table, merge_radius_arcsec) if merge_radius_arcsec > 0 else table


def file_content(
    shared: SharedState, table: QTable, suffix: str, display: Display, palette: Callable[[str], np.ndarray]
) -> bytes:
    """Return a catalogue as the content of a file.

    Parameters
    ----------
    table
        What `catalogue` made.
    suffix
        One of `FORMATS`.
    display, palette
        How the pictures look; as in `Painter.paint`.

    Raises
    ------
    ConfigError
        For another suffix.
    """
    if suffix not in FORMATS:
        raise ConfigError(f"{suffix!r} is no format (known: {', '.join(FORMATS)})")
    title = f"{shared.session.path.name}: {len(table)} object{'s' if len(table) != 1 else ''}"
    if suffix == ".html":
        return report(shared.cache, table, title, display=display, palette=palette).encode("utf-8")
    if suffix == "-cutouts.zip":
        packed = io.BytesIO()
        zip_cutouts(shared.cache, table, packed)
        return packed.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{shared.session.path.name}{suffix}"
        if suffix == "-bundle.zip":
            refuse_too_many(shared.cache, len(table))
            consensus = shared.current_consensus()
            write_bundle(shared.cache, table, consensus, path, title, display=display, palette=palette)
            return path.read_bytes()
        write_catalog(table, path, escape_formulas=suffix == "-spreadsheet.csv")
        return path.read_bytes()
