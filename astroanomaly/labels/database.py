"""The SQLite file of a label log: its tables, to which rows can only be added, and safe ways to read and write them."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from astroanomaly.errors import AstroAnomalyError, BusyError, LabelError, StorageError, UnreadableError
from astroanomaly.files import has_record_locks
from astroanomaly.labels import digests
from astroanomaly.labels.log_lock import LogLock

__all__ = ["BUSY_S", "EVENT_COLUMNS", "LabelDatabase", "append_only"]

BUSY_S = 30.0
EVENT_COLUMNS = (
    "number", "object_id", "kind", "value", "annotator", "time", "round", "batch", "refers_to", "ordering",
    "probability", "blind_repeat",
)  # fmt: skip
_VERSION = 1  # of a new file
_NEWEST_VERSION = 2  # with an audit set that is no sample of the whole, see `astroanomaly.labels.audit`
_APPLICATION_ID = 0x41414C42  # marks the file as a label log of ours
_READING_ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the second where SQLite's own message quotes damaged text
_FIRST_TRY_S = 0.05
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
{digests.CREATE};
"""


def append_only(tables: Mapping[str, str]) -> list[str]:
    """Return the statements that keep the rows of some tables from being changed, removed or replaced.

    Parameters
    ----------
    tables
        By name: the condition under which a row is in the way of a ``NEW`` one; empty where one may be ignored.
    """
    abort = "BEGIN SELECT RAISE(ABORT, 'the label log is append-only'); END;"
    fixed = [
        f"CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} {abort}"
        for table in tables
        for verb in ("UPDATE", "DELETE")
    ]
    return fixed + [  # INSERT OR REPLACE removes the old row without asking the triggers above
        f"CREATE TRIGGER {table}_INSERT BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {clash}) {abort}"
        for table, clash in tables.items()
        if clash
    ]


_CLASHES = {
    "event": "number >= NEW.number",
    "label_class": "place = NEW.place OR name = NEW.name",
    "audit": "",
    digests.TABLE: "number >= NEW.number",
}
_TRIGGERS = "".join(append_only(_CLASHES))
_OUR_TRIGGER = re.compile(  # as `append_only` makes them; its condition can only ask
    r"CREATE TRIGGER (\w+)_(UPDATE|DELETE|INSERT) BEFORE \2 ON \1 "
    r"(WHEN EXISTS \(SELECT 1 FROM \1 WHERE [\w .=>]+\) )?"
    r"BEGIN SELECT RAISE\(ABORT, 'the label log is append-only'\); END"
)
_CODE = re.compile(r"\s*CREATE\s+(TEMP\s+|TEMPORARY\s+)?(VIEW|VIRTUAL)", re.IGNORECASE)


class LabelDatabase:
    """The open file. Several processes and threads may use one at the same time.

    Parameters
    ----------
    path
        The file.
    busy_s
        How long to wait, in seconds, for another process that is writing.
    """

    def __init__(self, path: Path, busy_s: float = BUSY_S) -> None:
        self.path = path
        self._busy_s = busy_s
        record_locks, lock_path = has_record_locks(path.parent), path.with_name(f".{path.name}.lock")
        self._file_lock = LogLock(lock_path, record_locks)
        self._lock = threading.RLock()
        self._glance: sqlite3.Connection | None = None  # a connection that waits neither for files nor for threads
        self._glance_lock = threading.Lock()
        self._glance_file_lock = LogLock(lock_path, record_locks)
        self._connection = self._connect(busy_s)
        try:
            with self._file_lock.held(busy_s):
                self._connection.execute("PRAGMA trusted_schema=OFF")
                # A rollback journal, unlike a write-ahead log, also works on network file systems.
                self._connection.execute("PRAGMA journal_mode=DELETE")
                self._connection.execute("PRAGMA synchronous=FULL")
        except (sqlite3.Error, AstroAnomalyError):
            self._connection.close()
            raise

    def _connect(self, busy_s: float) -> sqlite3.Connection:
        # mode=rw: a file that has just vanished must not come back empty
        address = f"{self.path.absolute().as_uri()}?mode=rw{self._file_lock.vfs}"
        made = sqlite3.connect(address, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)
        # nobody closes the log of a session, and from Python 3.13 on a connection that is not closed is a warning
        weakref.finalize(self, made.close).atexit = False
        return made

    @classmethod
    def create(cls, path: Path, classes: Sequence[str]) -> LabelDatabase:
        """Make a new file with its label classes and no events.

        Raises
        ------
        LabelError
            If the file exists.
        StorageError
            If the file cannot be made. Nothing is left behind.
        """
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666))
        except FileExistsError:
            raise LabelError(f"{path} exists already: open it instead") from None
        except OSError as error:
            raise StorageError(f"the label file {path} cannot be made: {error.strerror or error}") from error
        made = None
        try:
            made = cls(path)
            # one transaction: a label file has its classes and its protection, or is no label file
            names = "".join(f"INSERT INTO label_class VALUES ({k}, '{_quoted(n)}');" for k, n in enumerate(classes, 1))
            with made._file_lock.held(BUSY_S):
                made._connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} {names} {_TRIGGERS} PRAGMA user_version={_VERSION}; "
                    f"PRAGMA application_id={_APPLICATION_ID}; COMMIT;"
                )
            with made.transaction():
                pass  # the label classes get their digest
        except BaseException as error:
            if made is not None:
                made.close()
            path.unlink(missing_ok=True)
            if isinstance(error, sqlite3.Error):
                raise StorageError(f"the label file {path} cannot be made: {error}") from error
            raise
        return made

    @classmethod
    def open(cls, path: Path, busy_s: float) -> LabelDatabase:
        """Open an existing file.

        Raises
        ------
        UnreadableError
            If there is none, or it cannot be read.
        LabelError
            If the file is something else, damaged, or of a newer version.
        BusyError
            If another process holds it for too long.
        """
        if not path.is_file():
            raise UnreadableError(f"the label file {path} does not exist")
        try:
            opened = cls(path, busy_s)
        except _READING_ERRORS as error:
            raise _reading_error(path, error) from error
        try:
            opened._check_format()
        except BaseException:
            opened.close()
            raise
        return opened

    def _check_format(self) -> None:
        path = self.path
        if self.read("PRAGMA application_id")[0][0] != _APPLICATION_ID:
            raise LabelError(f"{path} is an SQLite file, but not a label file of AstroAnomaly")
        version = self.read("PRAGMA user_version")[0][0]
        if version > _NEWEST_VERSION:
            raise LabelError(f"{path} has version {version}, newer than {_NEWEST_VERSION}: update astroanomaly")
        self._refuse_foreign_code()
        expected = {"event": EVENT_COLUMNS, "label_class": ("place", "name"), "audit": ("object_id",)}
        for table, columns in expected.items():
            found = tuple(row[0] for row in self.read("SELECT name FROM pragma_table_info(?)", (table,)))
            if version < 1 or found != columns:
                raise LabelError(
                    f"{path} is a damaged label file: its table {table!r} has the columns {list(found)}, "
                    f"expected {list(columns)}; restore it from a copy"
                )

    def _refuse_foreign_code(self) -> None:
        """Refuse views, virtual tables, and triggers that do more than keep the log append-only.

        They would run when labels are read or written: a verdict that was acknowledged could be gone.
        """
        for kind, name, text in self.read("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
            told = isinstance(text, str)
            ours = told and (_OUR_TRIGGER.fullmatch(text) is not None if kind == "trigger" else not _CODE.match(text))
            if not ours:
                raise LabelError(
                    f"{self.path} is a damaged label file: its {kind} {name!r} is not ours; restore it from a copy"
                )

    def close(self) -> None:
        """Close the file."""
        with self._glance_lock:
            if self._glance is not None:
                self._glance.close()
        with self._lock:
            self._connection.close()

    def read(self, query: str, values: Mapping[str, object] | tuple = ()) -> list[tuple]:
        """Return the rows that a query gives.

        Raises
        ------
        BusyError
            If another process holds the file for too long.
        UnreadableError, LabelError
            If the file cannot be read for any other reason.
        """
        with self._lock:
            try:
                with self._file_lock.held(self._busy_s):
                    return self._connection.execute(query, values).fetchall()
            except _READING_ERRORS as error:
                raise _reading_error(self.path, error) from error

    def glance(self, query: str, values: tuple = ()) -> list[tuple]:
        """As `read`, but wait for nobody: there are no rows while another process holds the file.

        That takes 50 ms at most, whatever other threads are doing with the file.
        """
        with self._glance_lock:
            try:
                if self._glance is None:
                    self._glance = self._connect(_FIRST_TRY_S)
                with self._glance_file_lock.held(_FIRST_TRY_S):
                    return self._glance.execute(query, values).fetchall()
            except BusyError:
                return []
            except sqlite3.Error as error:
                if _is_busy(error):
                    return []
                raise _reading_error(self.path, error) from error

    def verify(self) -> bool:
        """Look for damage; return whether all rows have digests.

        Raises
        ------
        LabelError
            If the file is damaged, with what is wrong.
        BusyError, UnreadableError
            If it cannot be read now.
        """
        with self._lock:
            try:
                damage, covered = digests.find_damage(self._connection)
            except _READING_ERRORS as error:
                raise _reading_error(self.path, error) from error
        if damage:
            raise LabelError(f"{self.path} is damaged: {damage[0]}")
        return covered

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write all that happens inside the ``with`` block, or nothing; it is on disk when the outermost block ends.

        Raises
        ------
        StorageError, BusyError
            If it could not be made durable; nothing is written.
        """
        with self._lock:
            try:
                with self._file_lock.held(self._busy_s), self._block():
                    yield self._connection
            except sqlite3.Error as error:
                if _is_busy(error):
                    raise BusyError(
                        f"{self.path} is locked by another process; nothing was written: try again"
                    ) from error
                raise StorageError(f"{self.path}: nothing was written: {error}") from error

    @contextlib.contextmanager
    def _block(self) -> Iterator[None]:
        """Begin and end a transaction, or a part of one."""
        begin, commit, rollback = _NESTED if self._connection.in_transaction else _OUTERMOST
        self._connection.execute(begin)
        try:
            yield
            if commit == _OUTERMOST[1]:
                self._connection.execute(digests.CREATE)  # in files of earlier versions
                digests.add_digests(self._connection)
            self._connection.execute(commit)
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself takes some failures back, all of it
                for statement in rollback:
                    self._connection.execute(statement)
            raise


def _code(error: Exception) -> int:
    """Primary result code of SQLite, -1 where the error is Python's own."""
    return error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else -1


def _is_busy(error: Exception) -> bool:
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _reading_error(path: Path, error: Exception) -> LabelError | BusyError | UnreadableError:
    if _is_busy(error):
        return BusyError(f"{path} is locked by another process: try again")
    if _code(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY):
        return UnreadableError(f"{path} cannot be read: {error}")
    if _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return LabelError(f"{path} is not a label file, or is damaged: {error}")
    return LabelError(f"{path} cannot be read: {error}")


def _quoted(text: str) -> str:
    return text.replace("'", "''")
