"""What people said of the objects: an append-only log of events in SQLite, durable at each verdict.

Nothing is ever changed or removed. The last verdict of each annotator counts, an undo takes back one's own latest
batch, and the majority of annotators decides; ties are disputed and not trained on.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from astroanomaly.config import nearest
from astroanomaly.errors import BusyError, LabelError, StorageError, UnreadableError
from astroanomaly.labels.consensus import DISPUTED, Consensus, Event, Opinion
from astroanomaly.records import ANOMALY, NOMINAL, Labelled

__all__ = ["IMPORTED", "WORDS", "LabelLog"]

IMPORTED = "import"  # ordering of what came from a table of labels

WORDS = {  # how tables of labels also call the first two classes, in lower case
    "normal": NOMINAL,
    "0": NOMINAL,
    "false": NOMINAL,
    "anomalous": ANOMALY,
    "1": ANOMALY,
    "true": ANOMALY,
}
_VERSION = 1
_APPLICATION = 0x41414C42  # marks the file as a label log of ours
_BUSY_S = 30.0
_GLANCE_S = 0.05
_OUTERMOST = ("BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",))
_NESTED = ("SAVEPOINT nested", "RELEASE nested", ("ROLLBACK TO nested", "RELEASE nested"))
_KINDS = ("verdict", "skip", "flag", "note", "undo")
_SCHEMA = f"""
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    object_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN {_KINDS}),
    value TEXT NOT NULL,
    annotator TEXT NOT NULL,
    time TEXT NOT NULL,
    round INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    refers_to INTEGER,
    ordering TEXT NOT NULL,
    probability REAL,
    blind_repeat INTEGER NOT NULL
);
CREATE INDEX event_object ON event (object_id);
CREATE INDEX event_batch ON event (annotator, batch);
CREATE INDEX event_undone ON event (refers_to) WHERE refers_to IS NOT NULL;
CREATE TABLE label_class (place INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE audit (object_id TEXT PRIMARY KEY);
"""
_PROTECTED = "".join(
    f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the label log is append-only'); END;"
    for table in ("event", "label_class", "audit")
    for verb in ("UPDATE", "DELETE")
) + "".join(  # INSERT OR REPLACE removes the old row without asking the triggers above
    f"CREATE TRIGGER {table}_INSERT BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {clash}) "
    f"BEGIN SELECT RAISE(ABORT, 'the label log is append-only'); END;"
    for table, clash in (("event", "number >= NEW.number"), ("label_class", "place = NEW.place OR name = NEW.name"))
)
_COLUMNS = "object_id, kind, value, annotator, time, round, batch, refers_to, ordering, probability, blind_repeat"
_AFTER = f"SELECT number, {_COLUMNS} FROM event WHERE number > ? ORDER BY number"


class LabelLog:
    """The label file of a session. Several processes and threads may use one at the same time.

    Make one with `LabelLog.create`, come back with `LabelLog.open`.
    """

    def __init__(self, path: Path, busy_s: float = _BUSY_S) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._glance: sqlite3.Connection | None = None  # for `news`, which waits neither for files nor for threads
        self._glance_lock = threading.Lock()
        self._connection = self._connect(busy_s)
        try:
            self._connection.execute("PRAGMA trusted_schema=OFF")
            # A rollback journal, unlike a write-ahead log, also works on network file systems.
            self._connection.execute("PRAGMA journal_mode=DELETE")
            self._connection.execute("PRAGMA synchronous=FULL")
        except sqlite3.Error:
            self._connection.close()
            raise

    def _connect(self, busy_s: float) -> sqlite3.Connection:
        # mode=rw: a file that has just vanished must not come back empty
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        made = sqlite3.connect(address, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)
        # nobody closes the log of a session, and from Python 3.13 on a connection that is not closed is a warning
        weakref.finalize(self, made.close).atexit = False
        return made

    @classmethod
    def create(cls, path: str | Path, classes: Sequence[str] = (NOMINAL, ANOMALY)) -> LabelLog:
        """Make a new, empty log.

        Parameters
        ----------
        classes
            ``nominal``, ``anomaly``, then any anomaly classes of the session's own.

        Raises
        ------
        LabelError
            If the file exists, or a class cannot have its name. Nothing is left behind.
        StorageError
            If the file cannot be made.
        """
        path = Path(path)
        if tuple(classes[:2]) != (NOMINAL, ANOMALY):
            raise LabelError(f"label classes {list(classes)}: expected {NOMINAL!r} and {ANOMALY!r} first")
        for place, name in enumerate(classes[2:], 2):
            _check_class(name, classes[:place])
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
        except FileExistsError:
            raise LabelError(f"{path} exists already: open it instead") from None
        except OSError as error:
            raise StorageError(f"the label file {path} cannot be made: {error.strerror or error}") from error
        log = None
        try:
            log = cls(path)
            # one transaction: a label file has its classes and its protection, or is no label file
            names = "".join(f"INSERT INTO label_class VALUES ({k}, '{_quoted(n)}');" for k, n in enumerate(classes, 1))
            log._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} {names} {_PROTECTED} PRAGMA user_version={_VERSION}; "
                f"PRAGMA application_id={_APPLICATION}; COMMIT;"
            )
        except BaseException as error:
            if log is not None:
                log.close()
            path.unlink(missing_ok=True)
            if isinstance(error, sqlite3.Error):
                raise StorageError(f"the label file {path} cannot be made: {error}") from error
            raise
        return log

    @classmethod
    def open(cls, path: str | Path, *, busy_s: float = _BUSY_S) -> LabelLog:
        """Open an existing log.

        Parameters
        ----------
        busy_s
            How long to wait, in seconds, for another process that is writing.

        Raises
        ------
        UnreadableError
            If there is none, or it cannot be read.
        LabelError
            If the file is something else, damaged, or of a newer version.
        BusyError
            If another process holds it for too long.
        """
        path = Path(path)
        if not path.is_file():
            raise UnreadableError(f"the label file {path} does not exist")
        try:
            log = cls(path, busy_s)
        except sqlite3.Error as error:
            raise _reading_error(path, error) from error
        try:
            log._check_format()
        except BaseException:
            log.close()
            raise
        return log

    def _check_format(self) -> None:
        path = self.path
        if self._read("PRAGMA application_id")[0][0] != _APPLICATION:
            raise LabelError(f"{path} is an SQLite file, but not a label file of AstroAnomaly")
        version = self._read("PRAGMA user_version")[0][0]
        if version > _VERSION:
            raise LabelError(f"{path} has version {version}, newer than {_VERSION}: update astroanomaly")
        expected = {
            "event": ("number", *_COLUMNS.split(", ")),
            "label_class": ("place", "name"),
            "audit": ("object_id",),
        }
        for table, columns in expected.items():
            found = tuple(row[0] for row in self._read("SELECT name FROM pragma_table_info(?)", (table,)))
            if version < 1 or found != columns:
                raise LabelError(
                    f"{path} is a damaged label file: its table {table!r} has the columns {list(found)}, "
                    f"expected {list(columns)}; restore it from a copy"
                )

    def close(self) -> None:
        """Close the file."""
        with self._glance_lock:
            if self._glance is not None:
                self._glance.close()
        with self._lock:
            self._connection.close()

    def __enter__(self) -> LabelLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- writing

    def verdict(
        self,
        ids: str | Iterable[str],
        value: str | Sequence[str],
        *,
        annotator: str,
        round: int = 0,
        ordering: str = "",
        probability: float | None = None,
        blind_repeat: bool | Sequence[bool] = False,
        time: str | Sequence[str] | None = None,
    ) -> int:
        """Record a verdict on one or more objects as one action; return its batch number.

        Parameters
        ----------
        ids
            The objects, or a single one.
        value
            One label class for all, or one for each.
        annotator
            Who says so.
        round, ordering, probability, blind_repeat
            See `Event`; ``blind_repeat`` for all or for each.
        time
            When it was said, ISO 8601, UTC unless it says otherwise, for all or for each; None or empty text: now. The
            order of events, not their time, decides which verdict is the last.

        Raises
        ------
        LabelError
            For a word that is no label class, or anything else that cannot be; nothing is written.
        StorageError, BusyError
            If it could not be made durable; nothing is written.
        """
        chosen = [ids] if isinstance(ids, str) else list(ids)
        values = [value] * len(chosen) if isinstance(value, str) else list(value)
        if len(values) != len(chosen):
            raise LabelError(f"{len(values)} verdicts for {len(chosen)} objects: give one for all, or one for each")
        known = self.classes
        for object_id, word in zip(chosen, values, strict=True):
            if word not in known:
                raise LabelError(
                    f"object {object_id!r}: {word!r} is no label class{nearest(word, known)} "
                    f"(known: {', '.join(known)})"
                )
        return self._append(
            "verdict",
            list(zip(chosen, values, strict=True)),
            annotator,
            round,
            ordering,
            probability,
            blind_repeat,
            time,
        )

    def skip(self, ids: str | Iterable[str], *, annotator: str, round: int = 0, ordering: str = "") -> int:
        """Record that somebody looked and did not want to decide."""
        return self._append("skip", _pairs(ids, ""), annotator, round, ordering)

    def flag(self, ids: str | Iterable[str], *, annotator: str, round: int = 0, ordering: str = "") -> int:
        """Mark objects for another look."""
        return self._append("flag", _pairs(ids, ""), annotator, round, ordering)

    def note(self, ids: str | Iterable[str], text: str, *, annotator: str, round: int = 0, ordering: str = "") -> int:
        """Write a note to objects."""
        return self._append("note", _pairs(ids, text), annotator, round, ordering)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write everything said inside a ``with`` block at its end, all of it or nothing; batches stay separate.

        Other processes wait meanwhile: keep the block short.
        """
        with self._transaction():
            yield

    def undo(self, *, annotator: str, round: int = 0, imports: bool = False) -> int | None:
        """Take back one's own latest batch that is not taken back yet; return its number, None when nothing is left.

        Parameters
        ----------
        imports
            Whether that may be a table of labels (ordering `IMPORTED`). A key press takes back what was done by hand:
            it would be a surprise if one more of them took back hundreds of labels that came from a file.
        """
        by_hand = "" if imports else "AND ordering != :imported "
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT max(batch) FROM event WHERE annotator = :who AND (kind != 'undo' OR object_id != '') "
                f"{by_hand}AND batch "
                "NOT IN (SELECT refers_to FROM event WHERE annotator = :who AND kind = 'undo' AND object_id = '')",
                {"who": annotator, "imported": IMPORTED},
            ).fetchone()
            if row[0] is None:
                return None
            self._insert(connection, [("", "undo", "", annotator, _now(), int(round), row[0], "", None, False)])
        return int(row[0])

    def clear(self, ids: str | Iterable[str], *, annotator: str, round: int = 0, after: int = 0) -> int | None:
        """Take back one's own verdicts, skips and flags of some objects, whatever batch they came in, as one action.

        Only events with a number above ``after`` are taken back. It can be undone itself. Return its batch number;
        None when there is nothing to take back.
        """
        chosen = [ids] if isinstance(ids, str) else list(dict.fromkeys(ids))
        with self._transaction() as connection:
            rows = []
            for object_id in chosen:
                standing = Consensus(self.history(object_id)).standing(object_id)
                own = {
                    event.batch
                    for event in standing
                    if event.annotator == annotator and event.kind != "note" and event.number > after
                }
                rows += [
                    (object_id, "undo", "", annotator, _now(), int(round), batch, "", None, False)
                    for batch in sorted(own)
                ]
            return self._insert(connection, rows) if rows else None

    def add_class(self, name: str) -> None:
        """Add an anomaly class of the session's own.

        Raises
        ------
        LabelError
            If the name is empty, taken (whatever the case), or one of the words with a meaning of their own.
        """
        with self._transaction() as connection:
            known = self.classes
            _check_class(name, known)
            connection.execute("INSERT INTO label_class VALUES (?, ?)", (len(known) + 1, name))

    def set_audit(self, ids: Iterable[str]) -> None:
        """Add objects to the audit set: labelled blind, never trained on."""
        chosen = [(_checked_text(object_id, "object id"),) for object_id in ids]
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO audit VALUES (?)", chosen)

    # ------------------------------------------------------------------------------------------------------- reading

    @property
    def classes(self) -> tuple[str, ...]:
        """Label classes, ``nominal`` first."""
        return tuple(row[0] for row in self._read("SELECT name FROM label_class ORDER BY place"))

    @property
    def audit(self) -> frozenset[str]:
        """Ids of the audit set."""
        return frozenset(row[0] for row in self._read("SELECT object_id FROM audit"))

    @property
    def last_event(self) -> int:
        """Number of the last event, 0 without any."""
        return int(self._read("SELECT coalesce(max(number), 0) FROM event")[0][0])

    def history(self, object_id: str) -> list[Event]:
        """All events of one object, oldest first, undone ones and the undos that concern it included."""
        rows = self._read(
            f"SELECT number, {_COLUMNS} FROM event WHERE object_id = :it OR (object_id = '' AND "
            "refers_to IN (SELECT batch FROM event WHERE object_id = :it)) ORDER BY number",
            {"it": object_id},
        )
        return [_event(row) for row in rows]

    def events(self, *, after: int = 0) -> list[Event]:
        """All events after a given number, oldest first."""
        return [_event(row) for row in self._read(_AFTER, (after,))]

    def news(self, *, after: int) -> list[Event]:
        """As `events`, for somebody who asks again and again and must not be kept waiting.

        While another process holds the file there is nothing new: after 50 ms at most, and whatever other threads are
        doing with this log.

        Raises
        ------
        UnreadableError, LabelError
            If the file cannot be read for any other reason.
        """
        with self._glance_lock:
            try:
                if self._glance is None:
                    self._glance = self._connect(_GLANCE_S)
                rows = self._glance.execute(_AFTER, (after,)).fetchall()
            except sqlite3.Error as error:
                if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    return []
                raise _reading_error(self.path, error) from error
        return [_event(row) for row in rows]

    def current(self, *, until: int | None = None) -> dict[str, Opinion]:
        """Return what stands, by object id.

        Parameters
        ----------
        until
            Number of the last event to take into account; None: all.
        """
        return Consensus(event for event in self.events() if until is None or event.number <= until).opinions()

    def labelled(self, *, until: int | None = None, exclude: Iterable[str] = ()) -> Labelled:
        """Labelled objects to learn from: neither disputed nor of the audit set, in the order of their ids.

        Parameters
        ----------
        until
            Number of the last event to take into account; None: all.
        exclude
            Further objects to leave out.
        """
        audit = self.audit.union(exclude)
        chosen = sorted(
            (object_id, opinion.label)
            for object_id, opinion in self.current(until=until).items()
            if opinion.label not in ("", DISPUTED) and object_id not in audit
        )
        return Labelled(tuple(i for i, _ in chosen), tuple(label for _, label in chosen))

    def counts(self) -> dict[str, int]:
        """Count the objects with each label, ``disputed`` included, the most frequent first."""
        return dict(Counter(opinion.label for opinion in self.current().values() if opinion.label).most_common())

    # -------------------------------------------------------------------------------------------------------- inside

    def _append(
        self,
        kind: str,
        pairs: Sequence[tuple[str, str]],
        annotator: str,
        round: int,
        ordering: str = "",
        probability: float | None = None,
        blind_repeat: bool | Sequence[bool] = False,
        time: str | Sequence[str] | None = None,
    ) -> int:
        if not annotator:
            raise LabelError("a label needs an annotator: say who gives it")
        if not pairs:
            raise LabelError(f"no object was named for this {kind}")
        if probability is not None:
            probability = float(probability)
            if not (math.isfinite(probability) and 0 <= probability <= 1):
                raise LabelError(f"probability={probability} of having been shown: expected 0 to 1")
        said = [time] * len(pairs) if time is None or isinstance(time, str) else list(time)
        if len(said) != len(pairs):
            raise LabelError(f"{len(said)} times for {len(pairs)} objects: give one for all, or one for each")
        repeats = [blind_repeat] * len(pairs) if isinstance(blind_repeat, bool) else list(blind_repeat)
        now = _now()
        who, shown = _checked_text(annotator, "annotator"), _checked_text(ordering, "ordering", empty=True)
        rows = [
            (_checked_text(object_id, "object id"), kind, _checked_text(value, kind, empty=True), who,
             _utc(when) if when else now, int(round), None, shown, probability, repeat)
            for (object_id, value), when, repeat in zip(pairs, said, repeats, strict=True)
        ]  # fmt: skip
        with self._transaction() as connection:
            return self._insert(connection, rows)

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[tuple]) -> int:
        """Insert the events of one action; their batch is the number of the first."""
        batch = int(connection.execute("SELECT coalesce(max(number), 0) + 1 FROM event").fetchone()[0])
        marks = ", ".join("?" * 12)
        connection.executemany(
            f"INSERT INTO event (number, {_COLUMNS}) VALUES ({marks})",
            ((number, *row[:6], batch, *row[6:]) for number, row in enumerate(rows, batch)),
        )
        return batch

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; on disk when the outermost one ends."""
        with self._lock:
            try:
                inner = self._connection.in_transaction
                begin, commit, rollback = _NESTED if inner else _OUTERMOST
                self._connection.execute(begin)
                try:
                    yield self._connection
                    self._connection.execute(commit)
                except BaseException:
                    if self._connection.in_transaction:  # SQLite itself takes some failures back, all of it
                        for statement in rollback:
                            self._connection.execute(statement)
                    raise
            except sqlite3.Error as error:
                if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise BusyError(
                        f"{self.path} is locked by another process; nothing was written: try again"
                    ) from error
                raise StorageError(f"{self.path}: nothing was written: {error}") from error

    def _read(self, query: str, values: Mapping[str, object] | tuple = ()) -> list[tuple]:
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise _reading_error(self.path, error) from error


def _code(error: sqlite3.Error) -> int:
    """Primary result code of SQLite, -1 where the error is Python's own."""
    return error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else -1


def _reading_error(path: Path, error: sqlite3.Error) -> LabelError | BusyError | UnreadableError:
    if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyError(f"{path} is locked by another process: try again")
    if _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY):
        return UnreadableError(f"{path} cannot be read: {error}")
    if _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return LabelError(f"{path} is not a label file, or is damaged: {error}")
    return LabelError(f"{path} cannot be read: {error}")


def _check_class(name: str, known: Sequence[str]) -> None:
    """Refuse a name that is no name, is taken, or means something else in a table of labels."""
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise LabelError(f"{name!r} cannot name a label class: expected printable text other than {DISPUTED!r}")
    if name.lower() == DISPUTED or name.lower() in WORDS:
        raise LabelError(f"{name!r} cannot name a label class: the word has a meaning of its own")
    taken = next((other for other in known if other.lower() == name.lower()), None)
    if taken is not None:
        raise LabelError(f"the label class {taken!r} exists already: {name!r} would not differ but in case")


def _pairs(ids: str | Iterable[str], value: str) -> list[tuple[str, str]]:
    return [(object_id, value) for object_id in ([ids] if isinstance(ids, str) else ids)]


def _checked_text(text: object, what: str, *, empty: bool = False) -> str:
    if not isinstance(text, str) or not (text or empty):
        raise LabelError(f"{text!r} is no {what}: expected {'text' if empty else 'text that is not empty'}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise LabelError(f"the {what} {text!r} is not valid Unicode: rename it, it cannot be stored") from None
    return str(text)


def _utc(time: str) -> str:
    """Bring a time to the form in which it is stored."""
    try:
        moment = datetime.datetime.fromisoformat(time.strip())
    except (ValueError, AttributeError):
        raise LabelError(f"{time!r} is no time: expected ISO 8601 as in {_now()}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _event(row: tuple) -> Event:
    return Event(*(*row[:-1], bool(row[-1])))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
