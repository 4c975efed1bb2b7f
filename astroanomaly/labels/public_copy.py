"""A copy of a label log that may be published: without notes, with annotators under other names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from astroanomaly.labels.audit import copy_audit
from astroanomaly.labels.database import EVENT_COLUMNS, LabelDatabase

__all__ = ["write_public_copy"]

_COLUMNS = ", ".join(EVENT_COLUMNS)
_ANNOTATOR = EVENT_COLUMNS.index("annotator")


def write_public_copy(log: LabelDatabase, path: Path, classes: Sequence[str], named: Callable[[str], str]) -> None:
    """Write all events but the notes, under their numbers, and the audit sets.

    Parameters
    ----------
    log
        What is copied.
    path
        A new file.
    classes
        Label classes, ``nominal`` first.
    named
        Gives the name of each annotator in the copy; different ones must stay different.

    Raises
    ------
    LabelError
        If the file exists.
    StorageError
        If it cannot be written.
    """
    rows = log.read(f"SELECT {_COLUMNS} FROM event WHERE kind != 'note' ORDER BY number")
    copy = LabelDatabase.create(path, classes)
    try:
        with copy.transaction() as connection:
            connection.executemany(
                f"INSERT INTO event ({_COLUMNS}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})",
                ((*row[:_ANNOTATOR], named(row[_ANNOTATOR]), *row[_ANNOTATOR + 1 :]) for row in rows),
            )
        copy_audit(log, copy)
    finally:
        copy.close()
