"""Tables of labels as they are written: one row for each labelled object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.errors import StorageError
from astroanomaly.files import atomic_path
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.labels.grades import Grades
from astroanomaly.labels.log import LabelLog
from astroanomaly.tables.csv_rows import csv_rows
from astroanomaly.tables.names import find_rows

__all__ = ["export_labels", "grade_columns", "label_columns"]


def export_labels(
    log: LabelLog,
    path: Path,
    ids: Sequence[str],
    positions: tuple[np.ndarray, np.ndarray],
    *,
    overwrite: bool = False,
    escape_formulas: bool = False,
) -> int:
    """Write one row per labelled object, with a header line, as CSV; return how many.

    With ``escape_formulas`` no text in it is a formula to a spreadsheet, see `csv_rows`.

    Raises
    ------
    StorageError
        If the file exists and must not be replaced, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists already: choose another name, or --overwrite")
    columns = label_columns(log, ids, positions)
    columns["audit"] = list(map(int, columns["audit"]))
    columns |= {name: list(map(_number, columns[name])) for name in ("ra", "dec")}
    if "mean_grade" in columns:
        columns["mean_grade"] = [f"{value:.3f}" if np.isfinite(value) else "" for value in columns["mean_grade"]]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        csv_rows(handle, columns, escape_formulas=escape_formulas)(zip(*columns.values(), strict=True))
    return len(columns["object_id"])


def label_columns(log: LabelLog, ids: Iterable[str], positions: tuple[np.ndarray, np.ndarray]) -> dict[str, list[Any]]:
    """Return one value per labelled object for each column of a table of labels, in the order of the ids.

    Parameters
    ----------
    log
        The labels.
    ids, positions
        The objects whose positions are known, with ``(N,)`` right ascension and declination in ICRS degrees.

    Returns
    -------
    dict
        ``object_id``, ``label``, ``votes``, ``annotators``, ``decided_by``, ``time`` (ISO 8601, UTC), ``ra`` and
        ``dec`` (degrees, NaN where unknown), ``audit`` (whether it is of the audit set) and ``note``; with grades also
        those of `grade_columns`.
    """
    labelled = {i: consensus for i, consensus in sorted(log.current().items()) if consensus.label}
    audit, unknown = log.audit, float("nan")
    rows = find_rows(list(labelled), ids).tolist()
    every = labelled.values()
    return {
        "object_id": list(labelled),
        "label": [one.label for one in every],
        "votes": [";".join(f"{k}:{n}" for k, n in Counter(one.votes.values()).most_common()) for one in every],
        "annotators": [";".join(one.votes) for one in every],
        "decided_by": [one.decided_by for one in every],
        "time": [one.time for one in every],
        "ra": [float(positions[0][k]) if k >= 0 else unknown for k in rows],
        "dec": [float(positions[1][k]) if k >= 0 else unknown for k in rows],
        "audit": [object_id in audit for object_id in labelled],
        "note": [" | ".join(one.notes) for one in every],
        **grade_columns(log.grades, list(every)),
    }


def grade_columns(grades: Grades | None, objects: Sequence[ObjectConsensus]) -> dict[str, list[Any]]:
    """Return the grades of some objects as columns: none where the session has no grades.

    Returns
    -------
    dict
        ``grade``, that of the consensus or decision, empty where it is none; and ``mean_grade``, the mean of the points
        of all who gave a grade (0 for the last grade, one more for each better one), NaN where nobody did.
    """
    if grades is None:
        return {}
    return {
        "grade": [grades.name_of(one.label) for one in objects],
        "mean_grade": [grades.mean_points(one.votes.values()) for one in objects],
    }


def _number(value: float) -> str:
    return f"{value:.9f}" if np.isfinite(value) else ""
