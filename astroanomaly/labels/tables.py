"""Tables of labels: read, and matched to objects by id or by position. All rows, or none."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError, LabelError
from astroanomaly.labels.consensus import IMPORTED_DECISION
from astroanomaly.labels.foreign import SCORES, folder_labels, is_json, one_row_per_label, task_labels
from astroanomaly.labels.log import IMPORTED, LabelLog
from astroanomaly.labels.matching import match_rows
from astroanomaly.labels.options import LabelOptions
from astroanomaly.tables.catalog import require_column
from astroanomaly.tables.column_names import LABEL_NAMES, LABELLED_ID_NAMES, find_name
from astroanomaly.tables.given import GivenTable, given_catalog
from astroanomaly.tables.read import column_texts, read_table

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    "ImportReport",
    "import_labels",
    "read_truth",
    "refuse_contradictions",
]


@dataclass(frozen=True)
class ImportReport:
    """Result of an import of labels.

    Attributes
    ----------
    added
        Labels written.
    messages
        What a person should know: several objects within the radius, the nearest was taken.
    skipped
        Rows that were left out, since they match no object or have no label.
    """

    added: int
    messages: tuple[str, ...] = ()
    skipped: int = 0


# ------------------------------------------------------------------------------------------------------ the two verbs


def import_labels(
    log: LabelLog,
    given: str | Path | Table,
    ids: Sequence[str],
    positions: tuple[np.ndarray, np.ndarray],
    *,
    radius_arcsec: float = 1.0,
    annotator: str,
    round: int = 0,
    label: str | None = None,
    ra: str | None = None,
    dec: str | None = None,
    frame: str | None = None,
    unit: str | None = None,
    words: Mapping[str, str] | None = None,
    skip_unmatched: bool = False,
    decision: bool = False,
) -> ImportReport:
    """Write the labels of a table into the log, as one batch for each annotator.

    Rows are matched by ``object_id`` (or ``filename`` ...), else by unique base name. A table without ids, or with
    names of which none is one of ours, labels the nearest object within the radius of its sky positions, which are
    found as in `read_catalog`; such a name is kept as a note. A row with an empty label is left out.

    Parameters
    ----------
    log
        Where they go.
    given
        A table, or the path of one, of tasks that Label Studio exported as JSON, or of a folder with a folder of files
        for each class.
        A table has a column ``label`` (or ``class``, ``verdict`` ..., ``human_label`` of Astronomaly, ``choice`` of
        Label Studio), or is one of classifications of Zooniverse; ``annotator``, ``time`` (ISO 8601, UTC unless it says
        otherwise) and ``note`` are taken where they exist. Words are compared without regard to case; ``normal`` and 0,
        ``anomalous`` and 1 are understood.
    ids, positions
        The objects of the session, with ``(N,)`` right ascension and declination in ICRS degrees.
    radius_arcsec
        How far a labelled position may be from its object.
    annotator
        Who says so, where the table does not.
    round
        Number of rounds the session had.
    label
        Name of the column of labels.
    ra, dec, frame, unit
        Columns of positions, their frame and unit, as in `read_catalog`; named, they are used in place of ids.
    words
        What words of the table mean: the label of each, or an empty text for no label.
    skip_unmatched
        Leave out rows that match no object.
    decision
        Whether each label closes the case of its object, whatever other annotators say.

    Raises
    ------
    LabelError
        For an unknown word, an unknown or ambiguous object, a position without an object, or two labels by one
        annotator that contradict each other. Nothing is written then.
    UnreadableError, CatalogError
        If the file holds no table that can be read, or a column of positions holds no angles.
    """
    usual = LABEL_NAMES if label is None else (label.lower(),)
    table, where = _given(given, usual)
    label_column = label or find_name(table.colnames, LABEL_NAMES)
    if label is not None:
        require_column(table, label, where)
    if label_column is None:
        raise LabelError(
            f"{where} has no column with labels: expected one of {', '.join(LABEL_NAMES)}; "
            f"it has {', '.join(table.colnames)}"
        )
    messages: list[str] = []
    scored = label_column.lower() == "human_label" and not words
    if scored:
        messages.append(
            f"{label_column}: 0 to 2 are taken as nominal, 3 to 5 as anomaly, -1 as no label; --map says else"
        )
    labels = _words(table, label_column, log, where, SCORES if scored else words or {})
    times = _times(table, where)
    said = np.array([bool(word) for word in labels], bool)
    unlabelled = len(labels) - int(said.sum())
    table = table[said]
    labels, times = list(filter(None, labels)), [time for time, one in zip(times, said, strict=True) if one]
    annotators, notes = _column_or(table, "annotator", annotator), _column_or(table, "note", "")
    options = LabelOptions(
        ra=ra, dec=dec, frame=frame, unit=unit, skip_unmatched=skip_unmatched, match_radius_arcsec=radius_arcsec
    )
    matched = match_rows(table, where, ids, positions, options)
    objects, said_of_rows = matched.objects, matched.messages
    messages = said_of_rows + messages if any(matched.names) else messages + said_of_rows
    notes = [
        f"{name}: {note}" if name and note else name or note for name, note in zip(matched.names, notes, strict=True)
    ]
    kept = [k for k, object_id in enumerate(objects) if object_id]
    if len(kept) < len(objects):
        messages.append(f"{len(objects) - len(kept)} of {len(objects)} rows match no object and were left out")
    if unlabelled:
        messages.append(f"{unlabelled} of {len(said)} rows have no label and were left out")
    refuse_contradictions([objects[k] for k in kept], [labels[k] for k in kept], [annotators[k] for k in kept], where)
    by_annotator: dict[str, list[int]] = {}
    for k in kept:
        by_annotator.setdefault(annotators[k], []).append(k)
    more: dict[str, Any] = {"round": round, "ordering": IMPORTED_DECISION if decision else IMPORTED}
    with log.transaction():
        for who, mine in by_annotator.items():
            for k in mine:  # before the verdicts, so that one undo takes back the labels
                if notes[k]:
                    log.note([objects[k]], notes[k], annotator=who, **more)
            chosen, values = [objects[k] for k in mine], [labels[k] for k in mine]
            log.verdict(chosen, values, annotator=who, time=[times[k] for k in mine], **more)
    return ImportReport(len(kept), tuple(messages), len(said) - len(kept))


def read_truth(
    path: Path,
    column: str,
    ids: Sequence[str],
    positions: tuple[np.ndarray, np.ndarray],
    options: LabelOptions | None = None,
) -> dict[str, str]:
    """Read the value of one column for every object of a table, matched as labels are.

    Parameters
    ----------
    path, column
        The table, and its column of classes.
    ids, positions
        The objects, with ``(N,)`` right ascension and declination in ICRS degrees.
    options
        How the table is read: positions, what its words mean, and whether rows that match no object are left out.

    Returns
    -------
    dict
        Class of every object that a row is about and says one of; rows without one are left out.

    Raises
    ------
    LabelError
        If the table lacks the column, or ids and positions; if a row matches no object, unless such rows are left out;
        or if two rows give one object two classes.
    UnreadableError, CatalogError
        If the file holds no table that can be read.
    """
    options = options or LabelOptions()
    table = _read(path, functools.partial(_has_column, (column,)))
    if column not in table.colnames:
        raise LabelError(
            f"{path} has no column {column!r}{nearest(column, table.colnames)} (it has {', '.join(table.colnames)})"
        )
    values = [options.words.get(text.strip(), text) for text in column_texts(table[column])]
    said = np.array([bool(text.strip()) for text in values], bool)
    matched = match_rows(table[said], str(path), ids, positions, options)
    classes: dict[str, str] = {}
    for object_id, value in zip(matched.objects, (text for text in values if text.strip()), strict=True):
        if object_id and classes.setdefault(object_id, value) != value:
            raise LabelError(f"{path} says both {classes[object_id]!r} and {value!r} of object {object_id!r}")
    return classes


# ------------------------------------------------------------------------------------------------------------- inside


def _given(given: str | Path | Table, label_names: Sequence[str]) -> tuple[Table, str]:
    """Return a table of labels, and how messages call it."""
    found = given_catalog(given, "labels")
    if isinstance(found, GivenTable):
        return found.table, f"the table of labels ({found.kind})"
    if found is None:
        raise ConfigError("labels: nothing was given, expected the path of a table, or an astropy Table or QTable")
    if found.is_dir():
        return folder_labels(found), f"the folder {found}"
    if found.is_file() and is_json(found):
        return task_labels(found), str(found)
    table = _read(found, functools.partial(_has_column, label_names))
    return one_row_per_label(table, str(found)), str(found)


def _has_column(names: Sequence[str], table: Table) -> bool:
    return find_name(table.colnames, names) is not None


def _read(path: Path, wanted: Callable[[Table], bool]) -> Table:
    """Read a table of any format; of text tables all values stay text: an id such as 007, a note such as 1.50."""
    return read_table(path, wanted, lambda names: find_name(names, LABELLED_ID_NAMES), texts=True)


def _column_or(table: Table, name: str, default: str) -> list[str]:
    column = find_name(table.colnames, (name,))
    texts = [""] * len(table) if column is None else column_texts(table[column])
    return [text or default for text in texts]


def _times(table: Table, where: str) -> list[str]:
    times = _column_or(table, "time", "")
    for number, text in enumerate(times, 1):
        try:
            datetime.datetime.fromisoformat(text.strip() or "2000-01-01")
        except ValueError:
            raise LabelError(
                f"{where}, row {number}: time is {text!r}, expected when the label was given, in ISO 8601 as in "
                "2026-01-31T12:00:00; rename the column if it means something else. No label was written"
            ) from None
    return [text.strip() for text in times]


def _words(table: Table, column: str, log: LabelLog, where: str, meant: Mapping[str, str]) -> list[str]:
    """Bring the words of a label column to label classes, whatever their case; empty ones stay.

    Raises
    ------
    LabelError
        If a word, or what one is said to mean, is no label class.
    """
    known, classes = log.words, log.classes
    for word, label in meant.items():
        if label and label.lower() not in known:
            raise LabelError(
                f"{word!r} is said to mean {label!r}, which is no label class{nearest(label, classes)} (known: "
                f"{', '.join(classes)})"
            )
    known |= {word.strip().lower(): known[label.lower()] if label else "" for word, label in meant.items()}
    labels = []
    for number, word in enumerate(column_texts(table[column]), 1):
        word = word.strip()
        if word.endswith(".0") and word[:-2].lstrip("-").isdecimal():  # a column of numbers with gaps
            word = word[:-2]
        if not word:
            labels.append("")
            continue
        if word.lower() not in known:
            raise LabelError(
                f"{where}, row {number}: {column} is {word!r}, which is no label class{nearest(word, classes)} "
                f"(known: {', '.join(classes)}). Say what it means, as in --map {word}={classes[0]}, or leave it out: "
                f"--map {word}=. No label was written"
            )
        labels.append(known[word.lower()])
    return labels


def refuse_contradictions(
    objects: Sequence[str], labels: Sequence[str], annotators: Sequence[str], where: Path | str
) -> None:
    """Check that no annotator gives an object two labels at once.

    Parameters
    ----------
    objects, labels, annotators
        Parallel.
    where
        Where the labels are from, for the message.

    Raises
    ------
    LabelError
        If somebody does.
    """
    known: dict[tuple[str, str], str] = {}
    for object_id, label, who in zip(objects, labels, annotators, strict=True):
        if known.setdefault((object_id, who), label) != label:
            raise LabelError(
                f"{where} says both {known[object_id, who]!r} and {label!r} of object {object_id!r} (annotator {who}). "
                "No label was written"
            )
