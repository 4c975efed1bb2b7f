"""Digests of the rows of a label file: what was written is what is read, or it is seen to be damaged.

SQLite notices when its own structure is damaged, and nothing of a bit that is another one in a text or a number. So
each transaction keeps a digest of the rows that it has added. ``PRAGMA integrity_check`` is ``quick_check`` and
compares the indices with the tables, too.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3

__all__ = ["CREATE", "TABLE", "add_digests", "find_damage"]

TABLE = "digest"
CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (number INTEGER PRIMARY KEY, name TEXT NOT NULL, first INTEGER NOT NULL, "
    "last INTEGER NOT NULL, digest TEXT NOT NULL)"
)
_EXISTS = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
_TABLES = ("event", "label_class", "audit", "audit_draw", "audit_member", "audit_shard")  # rows are only ever added


def add_digests(connection: sqlite3.Connection) -> None:
    """Keep digests of all rows that have none yet; part of the transaction that added them."""
    for name in _there(connection):
        newest = connection.execute(f"SELECT max(rowid) FROM {name}").fetchone()[0] or 0
        covered = connection.execute(f"SELECT max(last) FROM {TABLE} WHERE name = ?", (name,)).fetchone()[0] or 0
        if newest > covered:
            digest = _digest(connection, name, covered + 1, newest)
            connection.execute(
                f"INSERT INTO {TABLE} VALUES ((SELECT coalesce(max(number), 0) + 1 FROM {TABLE}), ?, ?, ?, ?)",
                (name, covered + 1, newest, digest),
            )


def find_damage(connection: sqlite3.Connection) -> tuple[list[str], bool]:
    """Compare all rows with their digests.

    Returns
    -------
    damage : list of str
        What is wrong, a line each.
    covered : bool
        Whether all rows have a digest; those that earlier versions have written have none.
    """
    damage = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
    damage = [] if damage == ["ok"] else damage
    if not connection.execute(_EXISTS, (TABLE,)).fetchone()[0]:
        return damage, False
    covered = dict.fromkeys(_there(connection), 0)
    for name, first, last, digest in connection.execute(
        f"SELECT name, first, last, digest FROM {TABLE} ORDER BY number"
    ).fetchall():
        if name not in covered or first != covered[name] + 1 or _digest(connection, name, first, last) != digest:
            damage.append(f"rows {first} to {last} of its table {name!r} are not as they were written")
        if name in covered:
            covered[name] = last
    whole = all(
        (connection.execute(f"SELECT max(rowid) FROM {name}").fetchone()[0] or 0) <= last
        for name, last in covered.items()
    )
    return damage, whole


def _there(connection: sqlite3.Connection) -> list[str]:
    return [name for name in _TABLES if connection.execute(_EXISTS, (name,)).fetchone()[0]]


def _digest(connection: sqlite3.Connection, name: str, first: int, last: int) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    query = f"SELECT rowid, * FROM {name} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    for row in connection.execute(query, (first, last)):
        hasher.update(json.dumps(row, default=bytes.hex).encode())
    return hasher.hexdigest()
