"""The label log: an append-only log of verdicts and other events, durable at each verdict.

Nothing is ever changed or removed. The last verdict of each annotator is a vote, an undo takes back one's own latest
batch, and the majority of votes is the consensus label; ties are disputed and not trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from astroanomaly.config import nearest
from astroanomaly.errors import LabelError
from astroanomaly.labels.audit import AuditSet, count_draws, read_audit, write_draw
from astroanomaly.labels.class_names import WORDS, check_class
from astroanomaly.labels.consensus import DISPUTED, IMPORTED_DECISION, Consensus, Event, ObjectConsensus
from astroanomaly.labels.database import BUSY_S, EVENT_COLUMNS, LabelDatabase
from astroanomaly.labels.event_values import checked_probability, checked_text, for_each, to_utc, utc_now
from astroanomaly.labels.grades import Grades
from astroanomaly.labels.public_copy import write_public_copy
from astroanomaly.records import ANOMALY, NOMINAL, Labelled

__all__ = ["IMPORTED", "LabelLog"]

IMPORTED = "import"  # ordering of what came from a table of labels
_COLUMNS = ", ".join(EVENT_COLUMNS)
_EVENTS_AFTER = f"SELECT {_COLUMNS} FROM event WHERE number > ? ORDER BY number"


class LabelLog:
    """The label file of a session. Several processes and threads may use one at the same time.

    Make one with `LabelLog.create`, come back with `LabelLog.open`. With ``grades``, which the session keeps, the last
    grade is a word for ``nominal``, and the median grade is what annotators agree on.
    """

    def __init__(self, database: LabelDatabase, grades: Grades | None = None) -> None:
        self.path = database.path
        self.grades = grades
        self._database = database

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
        if tuple(classes[:2]) != (NOMINAL, ANOMALY):
            raise LabelError(f"label classes {list(classes)}: expected {NOMINAL!r} and {ANOMALY!r} first")
        for place, name in enumerate(classes[2:], 2):
            check_class(name, classes[:place])
        return cls(LabelDatabase.create(Path(path), classes))

    @classmethod
    def open(cls, path: str | Path, *, busy_s: float = BUSY_S, grades: Grades | None = None) -> LabelLog:
        """Open an existing log.

        Parameters
        ----------
        busy_s
            How long to wait, in seconds, for another process that is writing.
        grades
            The grades of the session.

        Raises
        ------
        UnreadableError
            If there is none, or it cannot be read.
        LabelError
            If the file is something else, damaged, or of a newer version.
        BusyError
            If another process holds it for too long.
        """
        return cls(LabelDatabase.open(Path(path), busy_s), grades)

    def verify(self) -> bool:
        """Look for damage; return whether all rows have digests: those that earlier versions have written have none.

        Raises
        ------
        LabelError
            If the file is damaged, with what is wrong.
        BusyError, UnreadableError
            If it cannot be read now.
        """
        return self._database.verify()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

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
        ordering: str | Sequence[str] = "",
        probability: float | Sequence[float | None] | None = None,
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
            See `Event`; all but ``round`` for all or for each.
        time
            Time of the verdict, ISO 8601, UTC unless it has another zone, for all or for each; None or empty: now. The
            order of events, not their time, decides which verdict is the last.

        Raises
        ------
        LabelError
            For an unknown label class or any other invalid value; nothing is written.
        StorageError, BusyError
            If it could not be made durable; nothing is written.
        """
        chosen = [ids] if isinstance(ids, str) else list(ids)
        values = [value] * len(chosen) if isinstance(value, str) else list(value)
        values = values if self.grades is None else [self.grades.label_of(word) for word in values]
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

    def skip(
        self, ids: str | Iterable[str], *, annotator: str, round: int = 0, ordering: str | Sequence[str] = ""
    ) -> int:
        """Record that somebody looked and did not want to decide."""
        return self._append("skip", _pairs(ids, ""), annotator, round, ordering)

    def flag(
        self, ids: str | Iterable[str], *, annotator: str, round: int = 0, ordering: str | Sequence[str] = ""
    ) -> int:
        """Mark objects for another look."""
        return self._append("flag", _pairs(ids, ""), annotator, round, ordering)

    def note(self, ids: str | Iterable[str], text: str, *, annotator: str, round: int = 0, ordering: str = "") -> int:
        """Write a note to objects."""
        return self._append("note", _pairs(ids, text), annotator, round, ordering)

    def transaction(self) -> AbstractContextManager[object]:
        """Write everything said inside a ``with`` block at its end, all of it or nothing; batches stay separate.

        Other processes wait meanwhile: keep the block short.
        """
        return self._database.transaction()

    def undo(self, *, annotator: str, round: int = 0, imports: bool = False) -> int | None:
        """Take back one's own latest batch that is not taken back yet; return its number, None when nothing is left.

        Parameters
        ----------
        imports
            Whether that may be a table of labels (ordering `IMPORTED`) or of decisions. A key press takes back what was
            done by hand: it would be a surprise if one more of them took back hundreds of labels that came from a file.
        """
        by_hand = "" if imports else "AND ordering NOT IN (:imported, :decided) "
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT max(batch) FROM event WHERE annotator = :who AND (kind != 'undo' OR object_id != '') "
                f"{by_hand}AND batch "
                "NOT IN (SELECT refers_to FROM event WHERE annotator = :who AND kind = 'undo' AND object_id = '')",
                {"who": annotator, "imported": IMPORTED, "decided": IMPORTED_DECISION},
            ).fetchone()
            if row[0] is None:
                return None
            self._insert([("", "undo", "", annotator, utc_now(), int(round), row[0], "", None, False)])
        return int(row[0])

    def clear(
        self, ids: str | Iterable[str], *, annotator: str, round: int = 0, after: int | Sequence[int] = 0
    ) -> int | None:
        """Take back one's own verdicts, skips and flags of some objects, whatever batch they came in, as one action.

        Only events with a number above ``after``, one for all or one for each, are taken back. It can be undone itself.
        Return its batch number;
        None when there is nothing to take back.
        """
        named = [ids] if isinstance(ids, str) else list(ids)
        limits = dict(zip(named, for_each(after, len(named), "limits"), strict=True))
        with self._database.transaction():
            rows = []
            for object_id, limit in limits.items():
                valid = Consensus(self.history(object_id)).valid_events(object_id)
                own = {
                    event.batch
                    for event in valid
                    if event.annotator == annotator and event.kind != "note" and event.number > limit
                }
                rows += [
                    (object_id, "undo", "", annotator, utc_now(), int(round), batch, "", None, False)
                    for batch in sorted(own)
                ]
            return self._insert(rows) if rows else None

    def set_audit(
        self, ids: Iterable[str], *, event: int = 0, shards: Iterable[str] = (), population: int = 0, new: bool = False
    ) -> None:
        """Add objects to the audit set, or make them a new one; see `astroanomaly.labels.audit.write_draw`."""
        chosen = [checked_text(object_id, "object id") for object_id in ids]
        write_draw(self._database, chosen, event=event, shards=shards, population=population, new=new)

    def write_copy(self, path: Path, named: Callable[[str], str]) -> None:
        """Write a copy for others, see `astroanomaly.labels.public_copy.write_public_copy`."""
        write_public_copy(self._database, path, self.classes, named)

    # ------------------------------------------------------------------------------------------------------- reading

    @property
    def classes(self) -> tuple[str, ...]:
        """Label classes, ``nominal`` first."""
        return tuple(row[0] for row in self._database.read("SELECT name FROM label_class ORDER BY place"))

    @property
    def words(self) -> dict[str, str]:
        """Label class by what tables may call it, in lower case."""
        last = {} if self.grades is None else {self.grades.names[-1].lower(): NOMINAL}
        return {**WORDS, **{name.lower(): name for name in self.classes}, **last}

    @property
    def audit(self) -> frozenset[str]:
        """Ids of the audit set."""
        return read_audit(self._database).ids

    def audit_set(self, draws: int | None = None) -> AuditSet:
        """Return the audit set and what it is a sample of, as it was after so many draws; None: as it is."""
        return read_audit(self._database, draws)

    def count_draws(self) -> int:
        """Count the draws of the audit set, without waiting: -1 while another process holds the file."""
        return count_draws(self._database)

    @property
    def last_event(self) -> int:
        """Number of the last event, 0 without any."""
        return int(self._database.read("SELECT coalesce(max(number), 0) FROM event")[0][0])

    def history(self, object_id: str) -> list[Event]:
        """All events of one object, oldest first, undone ones and the undos that concern it included."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM event WHERE object_id = :it OR (object_id = '' AND "
            "refers_to IN (SELECT batch FROM event WHERE object_id = :it)) ORDER BY number",
            {"it": object_id},
        )
        return [_event(row) for row in rows]

    def events(self, *, after: int = 0) -> list[Event]:
        """All events after a given number, oldest first."""
        return [_event(row) for row in self._database.read(_EVENTS_AFTER, (after,))]

    def news(self, *, after: int) -> list[Event]:
        """As `events`, for somebody who asks again and again and must not be kept waiting.

        While another process holds the file there is nothing new: after 50 ms at most, and whatever other threads are
        doing with this log.

        Raises
        ------
        UnreadableError, LabelError
            If the file cannot be read for any other reason.
        """
        return [_event(row) for row in self._database.glance(_EVENTS_AFTER, (after,))]

    def current(self, *, until: int | None = None) -> dict[str, ObjectConsensus]:
        """Return the consensus on every object that has events which were not taken back, by object id.

        Parameters
        ----------
        until
            Number of the last event to take into account; None: all.
        """
        events = (event for event in self.events() if until is None or event.number <= until)
        return Consensus(events, self.grades).current()

    def consensus(self) -> Consensus:
        """Return the consensus as it is, which goes on with further events."""
        return Consensus(self.events(), self.grades)

    def labelled(self, *, until: int | None = None, exclude: Iterable[str] = (), draws: int | None = None) -> Labelled:
        """Labelled objects to learn from: neither disputed nor of the audit set, in the order of their ids.

        Parameters
        ----------
        until
            Number of the last event to take into account; None: all.
        exclude, draws
            Further objects to leave out; and as in `audit_set`.
        """
        audit = self.audit_set(draws).ids.union(exclude)
        chosen = sorted(
            (object_id, consensus.label)
            for object_id, consensus in self.current(until=until).items()
            if consensus.label not in ("", DISPUTED) and object_id not in audit
        )
        ids, labels = tuple(i for i, _ in chosen), tuple(label for _, label in chosen)
        return Labelled(ids, labels) if self.grades is None else Labelled(ids, *self.grades.learnt(labels))

    def counts(self) -> dict[str, int]:
        """Count the objects with each label, ``disputed`` included, the most frequent first."""
        labels = (consensus.label for consensus in self.current().values())
        return dict(Counter(label for label in labels if label).most_common())

    # -------------------------------------------------------------------------------------------------------- inside

    def _append(
        self,
        kind: str,
        pairs: Sequence[tuple[str, str]],
        annotator: str,
        round: int,
        ordering: str | Sequence[str] = "",
        probability: float | Sequence[float | None] | None = None,
        blind_repeat: bool | Sequence[bool] = False,
        time: str | Sequence[str] | None = None,
    ) -> int:
        if not annotator:
            raise LabelError("a label needs an annotator: say who gives it")
        if not pairs:
            raise LabelError(f"no object was named for this {kind}")
        times = for_each(time, len(pairs), "times")
        orderings = for_each(ordering, len(pairs), "orderings")
        chances = [checked_probability(one) for one in for_each(probability, len(pairs), "probabilities")]
        repeats = for_each(blind_repeat, len(pairs), "marks of blind repeats")
        now, who = utc_now(), checked_text(annotator, "annotator")
        rows = []
        for (object_id, value), when, shown, chance, repeat in zip(
            pairs, times, orderings, chances, repeats, strict=True
        ):
            said = (checked_text(object_id, "object id"), kind, checked_text(value, kind, empty=True), who)
            showing = (checked_text(shown, "ordering", empty=True), chance, repeat)
            rows.append((*said, to_utc(when) if when else now, int(round), None, *showing))
        return self._insert(rows)

    def _insert(self, rows: Sequence[tuple]) -> int:
        """Insert the events of one action; their batch is the number of the first."""
        with self._database.transaction() as connection:
            batch = int(connection.execute("SELECT coalesce(max(number), 0) + 1 FROM event").fetchone()[0])
            connection.executemany(
                f"INSERT INTO event ({_COLUMNS}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})",
                ((number, *row[:6], batch, *row[6:]) for number, row in enumerate(rows, batch)),
            )
        return batch


def _pairs(ids: str | Iterable[str], value: str) -> list[tuple[str, str]]:
    return [(object_id, value) for object_id in ([ids] if isinstance(ids, str) else ids)]


def _event(row: tuple) -> Event:
    return Event(*(*row[:-1], bool(row[-1])))
