"""An account of what the app has shown to whom, when and in which order: written as it happens, bounded on disk."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import math
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import SessionError, UnreadableError
from astroanomaly.labels.consensus import Event
from astroanomaly.session.folder import SessionFolder
from astroanomaly.tables.write import build_columns

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["INSPECTOR", "PAGE", "SHOWINGS", "Showing", "ShowingLog", "read_showings", "showings_table"]

SHOWINGS = "showings"  # folder in the session
PAGE = "page"  # where an object was shown: among others,
INSPECTOR = "inspector"  # or enlarged
_MAX_FILE_BYTES = 8 * 2**20  # a further file begins after that
_MAX_BYTES = 128 * 2**20  # of all files; the oldest goes first. About three million objects shown
_MAX_LINE_BYTES = 2**20
_SUFFIX = ".jsonl"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Showing:
    """Objects that were shown to somebody at once.

    Attributes
    ----------
    time
        When they were sent to the browser (ISO, UTC).
    annotator
        Who sat there.
    view
        ``page``: as pictures of a page; ``inspector``: one object, enlarged.
    page, first
        Number of the page of this visit, from 1; and of the cell of the first object, from 1.
    ordering, probability
        In what order they were chosen, and with what probability, as in `Event`.
    blind
        Whether scores, catalogue and earlier verdicts were hidden.
    ids
        The objects, in the order of their cells.
    """

    time: str
    annotator: str
    view: str
    page: int
    first: int
    ordering: str
    probability: float | None
    blind: bool
    ids: tuple[str, ...]


class ShowingLog:
    """Writes showings to a file of its own in the session; several processes may do so at the same time.

    A disk that cannot be written to stops nobody from labelling: it is logged once, and nothing is kept any more.

    Parameters
    ----------
    session
        Folder of the session.
    max_file_bytes, max_bytes
        Size after which a further file begins, and of all files together: the oldest are removed.
    """

    def __init__(self, session: Path, *, max_file_bytes: int = _MAX_FILE_BYTES, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = session / SHOWINGS
        self._limits = (max_file_bytes, max_bytes)
        self._file: Path | None = None
        self._broken = False

    def append(self, showings: Sequence[Showing]) -> None:
        """Write showings down; not to be called by two threads at once."""
        if self._broken or not showings:
            return
        text = "".join(json.dumps(dataclasses.asdict(one)) + "\n" for one in showings)
        try:
            try:
                self._write(text)
            except FileNotFoundError:  # somebody has removed the file or the folder, as they may
                self._file = None
                self._write(text)
        except OSError as error:
            self._broken = True
            _log.warning("what is shown to whom is not kept any more: %s", error)

    def _write(self, text: str) -> None:
        if self._file is None or self._file.stat().st_size > self._limits[0]:
            self._begin_file()
        with self._file.open("a", encoding="utf-8") as file:  # type: ignore[union-attr]
            file.write(text)

    def _begin_file(self) -> None:
        self._folder.mkdir(exist_ok=True)
        files = _files(self._folder)
        sizes = [_size(file) for file in files]
        while files and sum(sizes) > self._limits[1] - self._limits[0]:
            files.pop(0).unlink(missing_ok=True)
            sizes.pop(0)
        now = datetime.datetime.now(datetime.UTC)
        self._file = self._folder / f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}{_SUFFIX}"
        self._file.touch(exist_ok=False)


def read_showings(session: Path) -> list[Showing]:
    """Read all showings of a session, in the order of their times.

    Lines that are damaged, as the last one of a process that was killed, are left out, and logged.

    Raises
    ------
    SessionError
        If a file is larger than any that is written.
    UnreadableError
        If one cannot be read.
    """
    found: list[Showing] = []
    damaged = 0
    for file in _files(session / SHOWINGS):
        try:
            size = file.stat().st_size
            if size > _MAX_FILE_BYTES + 4 * _MAX_LINE_BYTES:
                raise SessionError(f"{file} has {size} bytes, more than is ever written: move it away")
            content = file.read_bytes()
        except FileNotFoundError:  # removed since
            continue
        except OSError as error:
            raise UnreadableError(f"{file} cannot be read: {error.strerror or error}") from error
        for line in content.splitlines():
            one = _parse(line)
            damaged += one is None
            found += [one] if one is not None else []
    if damaged:
        _log.warning("%s: %d damaged lines were left out", session / SHOWINGS, damaged)
    return sorted(found, key=lambda one: one.time)


def showings_table(session: SessionFolder) -> QTable:
    """Make the table of what was shown to whom, one row per object shown; see `Session.showings`."""
    rows = list(_rows(read_showings(session.path)))
    said = _verdicts(session, rows)
    columns: dict[str, Any] = {
        "time": np.array([one.time.removesuffix("+00:00") for one, _, _ in rows], dtype=str),
        "annotator": np.array([one.annotator for one, _, _ in rows], dtype=str),
        "view": np.array([one.view for one, _, _ in rows], dtype=str),
        "page": np.array([one.page for one, _, _ in rows], np.int64),
        "cell": np.array([cell for _, cell, _ in rows], np.int64),
        "object_id": np.array([object_id for _, _, object_id in rows], dtype=str),
        "ordering": np.array([one.ordering for one, _, _ in rows], dtype=str),
        "probability": np.array([_number(one.probability) for one, _, _ in rows], np.float64),
        "blind": np.array([one.blind for one, _, _ in rows], bool),
        "verdict": np.array(["" if event is None else event.value or event.kind for event in said], dtype=str),
        "verdict_time": np.array(
            ["" if event is None else event.time.removesuffix("+00:00") for event in said], dtype=str
        ),
    }
    table = build_columns(columns)
    for name, text in (
        ("time", "when the object was sent to the browser (UTC)"),
        ("annotator", "who sat there"),
        ("view", "page of pictures, or inspector"),
        ("page", "number of the page of a visit"),
        ("cell", "number of the cell on the page"),
        ("ordering", "in what order the object was chosen"),
        ("probability", "probability with which it was chosen"),
        ("blind", "whether scores, catalogue and earlier verdicts were hidden"),
        ("verdict", "last verdict or skip of this annotator before the object was shown again"),
        ("verdict_time", "time of that verdict (UTC)"),
    ):
        table[name].info.description = text
    return table


def _rows(showings: Sequence[Showing]) -> Iterator[tuple[Showing, int, str]]:
    for one in showings:
        for cell, object_id in enumerate(one.ids, one.first):
            yield one, cell, object_id


def _verdicts(session: SessionFolder, rows: Sequence[tuple[Showing, int, str]]) -> list[Event | None]:
    """Return what was said after each showing, and before the next one of the same object to the same person."""
    shown = {object_id for _, _, object_id in rows}
    consensus = session.labels.consensus()
    events: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for object_id in shown:
        for event in consensus.valid_events(object_id):
            if event.kind in ("verdict", "skip"):
                events[event.annotator, object_id].append(event)
    found: list[Event | None] = [None] * len(rows)
    until: dict[tuple[str, str], str] = {}  # when the object was shown next
    for number in range(len(rows) - 1, -1, -1):
        one, _, object_id = rows[number]
        key = (one.annotator, object_id)
        there = [event for event in events.get(key, ()) if one.time <= event.time < until.get(key, "~")]
        found[number] = there[-1] if there else None
        until[key] = one.time
    return found


def _files(folder: Path) -> list[Path]:
    """Return the files of a session's account, the oldest first."""
    return sorted(file for file in folder.glob(f"*{_SUFFIX}") if file.is_file()) if folder.is_dir() else []


def _size(file: Path) -> int:
    """Return the size of a file in bytes, 0 where it was removed since."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _parse(line: bytes) -> Showing | None:
    """Return what a line says; None for a damaged one."""
    if len(line) > _MAX_LINE_BYTES:
        return None
    try:
        one = Showing(**json.loads(line))
        datetime.datetime.fromisoformat(one.time)
        texts = (one.time, one.annotator, one.view, one.ordering, *one.ids)
        numbers = (one.page, one.first)
        sound = all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)
        _number(one.probability)
    except (ValueError, TypeError, RecursionError):
        return None
    if not sound or type(one.blind) is not bool or not isinstance(one.ids, list):
        return None
    return dataclasses.replace(one, ids=tuple(one.ids))


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
