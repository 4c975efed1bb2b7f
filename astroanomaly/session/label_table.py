"""The labels of a session as a table of astropy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import UnreadableError
from astroanomaly.labels.export import export_labels, label_columns
from astroanomaly.session.folder import SessionFolder
from astroanomaly.tables.csv_rows import check_escape
from astroanomaly.tables.write import SUFFIXES, build_columns, write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["describe_grades", "known_positions", "labels_table", "write_labels"]

_log = logging.getLogger(__name__)


def labels_table(session: SessionFolder) -> QTable:
    """Make the table; see `Session.labels_table`."""
    columns = label_columns(session.labels, *known_positions(session))
    columns["time"] = [text.removesuffix("+00:00") for text in columns["time"]]  # else astropy does not read it
    texts = ("object_id", "label", "votes", "annotators", "decided_by", "time", "note", "grade")
    made = {name: np.array(values, dtype=str) if name in texts else values for name, values in columns.items()}
    made["audit"] = np.array(columns["audit"], bool)
    table = build_columns(made)
    table["time"].info.description = "time of the last verdict (UTC)"
    table["decided_by"].info.description = "who closed the case; empty where votes count"
    describe_grades(table, session)
    table["audit"].info.description = "whether the object is of the audit set"
    return table


def describe_grades(table: QTable, session: SessionFolder) -> None:
    """Say in a table what its columns of grades are; one without them stays as it is."""
    if session.grades is not None and "grade" in table.colnames:
        best = len(session.grades.names) - 1
        table["grade"].info.description = f"median grade of annotators, or grade of the decision: {session.grades}"
        table["mean_grade"].info.description = (
            f"mean of the annotators' grades in points, {best} for {session.grades.names[0]} to 0 for "
            f"{session.grades.names[-1]}"
        )
        for name, ucd in (("grade", "meta.code.class"), ("mean_grade", "meta.code.qual;stat.mean")):
            table[name].info.meta = {**(table[name].info.meta or {}), "ucd": ucd}


def write_labels(session: SessionFolder, path: Path, *, overwrite: bool, escape_formulas: bool) -> int:
    """Write the table in the format of the suffix, as CSV where that names none; see `Session.export_labels`."""
    if path.suffix.lower() == ".csv" or path.suffix.lower() not in SUFFIXES:
        return export_labels(
            session.labels, path, *known_positions(session), overwrite=overwrite, escape_formulas=escape_formulas
        )
    check_escape(path, escape_formulas)
    table = labels_table(session)
    write_catalog(table, path, overwrite=overwrite, contents="labels")
    return len(table)


def known_positions(session: SessionFolder) -> tuple[Sequence[str], tuple[np.ndarray, np.ndarray]]:
    """Return the objects of a session and their positions; none where the cache is gone and nothing was scored."""
    try:
        return session.objects.ids, session.objects.positions
    except UnreadableError as error:
        _log.warning("labels without positions: %s", error)
        return [], (np.zeros(0), np.zeros(0))
