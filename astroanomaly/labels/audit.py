"""The audit set in a label log: who is in it, and what it is a random sample of.

A set is drawn once, or enlarged by further draws from what it was drawn from. A later set may take the place of an
earlier one. Tables of their own keep this; a log without them has one set, drawn when the session was made.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from astroanomaly.errors import LabelError
from astroanomaly.labels.database import LabelDatabase, append_only

__all__ = ["AuditSet", "copy_audit", "count_draws", "read_audit", "write_draw"]

_TABLES = (
    "CREATE TABLE audit_draw (number INTEGER PRIMARY KEY, time TEXT NOT NULL, event INTEGER NOT NULL, "
    "population INTEGER NOT NULL, first INTEGER NOT NULL)",
    "CREATE TABLE audit_member (draw INTEGER NOT NULL, object_id TEXT NOT NULL, PRIMARY KEY (draw, object_id))",
    "CREATE TABLE audit_shard (draw INTEGER NOT NULL, uuid TEXT NOT NULL, PRIMARY KEY (draw, uuid))",
)
_APPEND_ONLY = {"audit_draw": "number >= NEW.number", "audit_member": "", "audit_shard": ""}
_THERE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'audit_draw'"
_LATE_VERSION = 2  # of a file whose audit set is no sample of the whole: older software would take it for one


@dataclass(frozen=True)
class AuditSet:
    """Objects drawn at random for a blind check, and what they were drawn from.

    Attributes
    ----------
    ids
        The objects.
    draws
        Number of the latest draw of the log; 0 for a log without draws.
    event
        What was drawn from had no label after this event; 0: when nothing was labelled yet.
    shards
        Uuids of the shards it was drawn from; None: all, or it is not known.
    population
        Number of objects it was drawn from, the set included; 0: not known.
    time
        When it was first drawn (ISO, UTC); empty: with the session.
    """

    ids: frozenset[str]
    draws: int = 0
    event: int = 0
    shards: frozenset[str] | None = None
    population: int = 0
    time: str = ""


def read_audit(database: LabelDatabase, draws: int | None = None) -> AuditSet:
    """Return the audit set of a log.

    Parameters
    ----------
    database
        The label file.
    draws
        Number of the last draw to take into account, as in `AuditSet.draws`; None: all.

    Raises
    ------
    LabelError
        If its table of draws is damaged.
    """
    if not database.read(_THERE)[0][0]:
        return AuditSet(frozenset(row[0] for row in database.read("SELECT object_id FROM audit")))
    every = database.read("SELECT number, time, event, population, first FROM audit_draw ORDER BY number")
    _check(database, every)
    known = [row for row in every if draws is None or row[0] <= draws]
    if not known:
        return AuditSet(frozenset())
    start, time, event, population, _ = next(row for row in reversed(known) if row[4])
    last = known[-1][0]
    members = database.read("SELECT object_id FROM audit_member WHERE draw BETWEEN ? AND ?", (start, last))
    shards = frozenset(row[0] for row in database.read("SELECT uuid FROM audit_shard WHERE draw = ?", (start,)))
    return AuditSet(frozenset(row[0] for row in members), last, event, shards or None, population, time)


def _check(database: LabelDatabase, draws: list[tuple[object, ...]]) -> None:
    """Refuse draws of other types: a table that somebody has made anew holds anything.

    Raises
    ------
    LabelError
        If a number is none, or a text.
    """
    for number, time, *numbers in draws:
        if not isinstance(time, str) or any(type(one) is not int for one in (number, *numbers)):
            raise LabelError(
                f"{database.path} is a damaged label file: a draw of its audit set is no number; restore it from a copy"
            )


def count_draws(database: LabelDatabase) -> int:
    """Return the number of the latest draw, for somebody who asks again and again; -1 while the file is busy."""
    there = database.glance(_THERE)
    if not there or not there[0][0]:
        return 0 if there else -1
    found = database.glance("SELECT coalesce(max(number), 0) FROM audit_draw")
    return int(found[0][0]) if found else -1


def copy_audit(source: LabelDatabase, target: LabelDatabase) -> None:
    """Write the audit sets of a log into another one, which has none."""
    tables = ["audit"]
    with target.transaction() as connection:
        if source.read(_THERE)[0][0]:
            tables += _APPEND_ONLY
            for statement in (*_TABLES, *append_only(_APPEND_ONLY)):
                connection.execute(statement)
            version = int(source.read("PRAGMA user_version")[0][0])
            connection.execute(f"PRAGMA user_version={version}")
        for table in tables:
            rows = source.read(f"SELECT * FROM {table}")
            if rows:
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def write_draw(
    database: LabelDatabase, ids: Iterable[str], *, event: int, shards: Iterable[str], population: int, new: bool
) -> None:
    """Write a draw to a log.

    Parameters
    ----------
    database
        The label file.
    ids
        The objects drawn.
    event, shards, population
        As in `AuditSet`; of a draw that enlarges a set, those of the set hold.
    new
        Whether a set begins with it, in the place of the one before; the first draw always begins one.
    """
    drawn = list(ids)
    with database.transaction() as connection:
        if not connection.execute(_THERE).fetchone()[0]:
            for statement in (*_TABLES, *append_only(_APPEND_ONLY)):
                connection.execute(statement)
            before = connection.execute("SELECT object_id FROM audit").fetchall()
            if before:
                connection.execute("INSERT INTO audit_draw VALUES (0, '', 0, 0, 1)")
                connection.executemany("INSERT INTO audit_member VALUES (0, ?)", before)
        last, count = connection.execute("SELECT coalesce(max(number), 0), count(*) FROM audit_draw").fetchone()
        number, first = int(last) + 1, int(new or not count)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        connection.execute("INSERT INTO audit_draw VALUES (?, ?, ?, ?, ?)", (number, now, event, population, first))
        connection.executemany("INSERT INTO audit_member VALUES (?, ?)", ((number, i) for i in drawn))
        connection.executemany("INSERT INTO audit_shard VALUES (?, ?)", ((number, uuid) for uuid in shards))
        connection.executemany("INSERT OR IGNORE INTO audit VALUES (?)", ((i,) for i in drawn))
        if number > 1 or event:
            connection.execute(f"PRAGMA user_version={_LATE_VERSION}")
