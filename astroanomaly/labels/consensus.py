"""The consensus of annotators: a decision, else their majority or median grade, kept up event by event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from astroanomaly.labels.grades import Grades
from astroanomaly.records import ANOMALY

__all__ = [
    "AUDIT",
    "DECISION",
    "DISPUTED",
    "IMPORTED_DECISION",
    "Consensus",
    "Event",
    "ObjectConsensus",
    "agreed",
    "audit_labels",
    "majority",
]

AUDIT = "audit"  # ordering of verdicts given when score and other verdicts were hidden
DECISION = "decision"  # ordering of verdicts that close a case: one of them counts instead of all votes
IMPORTED_DECISION = "import decision"  # the same, from a table

_DECISIONS = (DECISION, IMPORTED_DECISION)

DISPUTED = "disputed"  # consensus label where as many annotators say one thing as another


@dataclass(frozen=True)
class Event:
    """One action of an annotator on an object: a verdict, a skip, a flag, a note or an undo.

    Attributes
    ----------
    number
        Number in the log, from 1.
    object_id
        The object; empty for an undo of a whole batch.
    kind
        ``verdict``, ``skip``, ``flag``, ``note`` or ``undo``.
    value
        Label class, or text of the note.
    annotator, time
        Who and when (ISO, UTC).
    round
        Number of rounds the session had.
    batch
        Number of the first event of the same action; all of them are undone together.
    refers_to
        For an undo: the batch it takes back, or takes back of one object if that is named.
    ordering, probability
        In what order the object was shown, and with what probability it was chosen.
    blind_repeat
        Whether it was shown again to test consistency.
    """

    number: int
    object_id: str
    kind: Literal["verdict", "skip", "flag", "note", "undo"]
    value: str
    annotator: str
    time: str
    round: int
    batch: int
    refers_to: int | None
    ordering: str
    probability: float | None
    blind_repeat: bool


@dataclass(frozen=True)
class ObjectConsensus:
    """The consensus of all annotators on one object.

    Attributes
    ----------
    label
        The consensus label: that of the decision, else the label class that most annotators chose, ``disputed`` on a
        tie, empty without a verdict. Where all of them gave grades: the median grade, see `agreed`.
    votes
        Last verdict of each annotator who has not skipped the object since; a decision is none of them.
    time
        Of the last verdict.
    skipped_by
        Those who skipped it last.
    flagged
        Whether somebody flagged it.
    notes
        Texts, oldest first.
    decision, decided_by
        The label class that closed the case, and who said so; empty while it is open.
    """

    label: str
    votes: Mapping[str, str]
    time: str = ""
    skipped_by: frozenset[str] = frozenset()
    flagged: bool = False
    notes: tuple[str, ...] = ()
    decision: str = ""
    decided_by: str = ""

    @property
    def is_disagreed(self) -> bool:
        """Whether annotators differ, and nobody has decided."""
        return not self.decision and len(set(self.votes.values())) > 1

    @property
    def skipped(self) -> bool:
        """Whether somebody skipped it last."""
        return bool(self.skipped_by)


class Consensus:
    """The consensus on every object after some events: add them in their order, ask at any time.

    The last verdict of each annotator is a vote, unless it was taken back or the annotator skipped the object
    afterwards; the majority of votes is the label, and a tie is disputed. A decision is a verdict with the ordering
    `DECISION`: the last one is the label whatever the votes are, and a skip with that ordering reopens the case. An
    undo takes back a whole batch, or what a batch says of one object; the latter is a batch itself, which can be taken
    back.

    Parameters
    ----------
    events
        The first events.
    grades
        The grades of the session; None: it has none.

    Attributes
    ----------
    last
        Number of the last event added, 0 without any.
    """

    def __init__(self, events: Iterable[Event] = (), grades: Grades | None = None) -> None:
        self.last = 0
        self.grades = grades
        self._events: dict[str, list[Event]] = {}
        self._members: dict[int, list[str]] = {}  # batch -> its objects
        self._undone: set[int] = set()
        self._cleared: dict[tuple[int, str], list[int]] = {}  # (batch, object) -> batches that took it back
        self._cached: dict[str, ObjectConsensus] = {}  # of objects without an event since
        self.add(events)

    def add(self, events: Iterable[Event]) -> set[str]:
        """Take further events; return the objects whose consensus may have changed."""
        changed: set[str] = set()
        for event in events:
            self.last = event.number
            if event.kind != "undo":
                self._events.setdefault(event.object_id, []).append(event)
            elif event.refers_to is None:
                continue
            elif event.object_id:
                self._cleared.setdefault((event.refers_to, event.object_id), []).append(event.batch)
            else:
                self._undone.add(event.refers_to)
                changed.update(self._members.get(event.refers_to, ()))
                continue
            self._members.setdefault(event.batch, []).append(event.object_id)
            changed.add(event.object_id)
        for object_id in changed:
            self._cached.pop(object_id, None)
        return changed

    def members(self, batch: int) -> tuple[str, ...]:
        """Objects that a batch concerns."""
        return tuple(self._members.get(batch, ()))

    def events_of(self, object_id: str) -> list[Event]:
        """Events of one object but for undos, oldest first, those that were taken back included."""
        return list(self._events.get(object_id, ()))

    def valid_events(self, object_id: str) -> list[Event]:
        """Events of one object that are not taken back, oldest first."""
        return [
            event
            for event in self._events.get(object_id, ())
            if event.batch not in self._undone
            and all(batch in self._undone for batch in self._cleared.get((event.batch, object_id), ()))
        ]

    def of(self, object_id: str) -> ObjectConsensus:
        """Return the consensus on one object."""
        cached = self._cached.get(object_id)
        if cached is None:
            cached = self._count_votes(object_id)
            if object_id in self._events:
                self._cached[object_id] = cached
        return cached

    def _count_votes(self, object_id: str) -> ObjectConsensus:
        words: dict[str, Event] = {}
        decided: Event | None = None
        flagged, notes, time = False, [], ""
        for event in self.valid_events(object_id):
            if event.kind in ("verdict", "skip"):
                if event.ordering in _DECISIONS:
                    decided = event if event.kind == "verdict" else None
                else:
                    words[event.annotator] = event
                time = event.time if event.kind == "verdict" else time
            elif event.kind == "flag":
                flagged = True
            else:
                notes.append(event.value)
        votes = {who: event.value for who, event in words.items() if event.kind == "verdict"}
        skipped = frozenset(who for who, event in words.items() if event.kind == "skip")
        decision, decided_by = (decided.value, decided.annotator) if decided else ("", "")
        label = decision or agreed(votes, self.grades)
        when = time if label else ""
        return ObjectConsensus(label, votes, when, skipped, flagged, tuple(notes), decision, decided_by)

    def current(self) -> dict[str, ObjectConsensus]:
        """Return the consensus on every object with a vote, a skip, a flag or a note that was not taken back."""
        every = ((object_id, self.of(object_id)) for object_id in self._events)
        return {i: one for i, one in every if one.label or one.skipped_by or one.flagged or one.notes}


def agreed(votes: Mapping[str, str], grades: Grades | None = None) -> str:
    """Label class that annotators agree on, ``disputed`` where there is none, empty without votes.

    Where every vote is a grade it is the median grade, see `Grades.median`; else what most of them chose. ``anomaly``
    beside grades says that the object is a candidate, and not which grade it has: such votes count as the median of
    the grades other than the last, if there are any.
    """
    given = list(votes.values())
    if grades is None or not given or not set(given) <= {*grades.labels, ANOMALY}:
        return majority(votes)
    candidate = [label for label in given if label in grades.names[:-1]]
    if ANOMALY in given:
        if not candidate:
            return majority(votes)
        middle = grades.median(candidate) or DISPUTED
        given = [middle if label == ANOMALY else label for label in given]
    return grades.median(given) or DISPUTED


def majority(votes: Mapping[str, str]) -> str:
    """Label class that most annotators chose, ``disputed`` on a tie, empty without votes."""
    ranked = Counter(votes.values()).most_common(2)
    if not ranked:
        return ""
    return DISPUTED if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def audit_labels(consensus: Consensus, audit: Collection[str]) -> dict[str, str]:
    """Labels of the audit set that count, ``disputed`` ones included, by object id.

    Only verdicts given blind count, on the audit pages of the app: what somebody chose to label, having seen its score
    or in a table, is no random part of it. A decision settles what was labelled blind. Once the whole set is labelled,
    nothing was chosen: every verdict counts.
    """
    labels = {object_id: consensus.of(object_id).label for object_id in audit}
    if not all(labels.values()):
        labels = {object_id: _blind(consensus, object_id) for object_id in audit if labels[object_id]}
    return {object_id: label for object_id, label in labels.items() if label}


def _blind(consensus: Consensus, object_id: str) -> str:
    """Return the label by the verdicts on an object given blind, without its score and other verdicts; else nothing."""
    votes: dict[str, str] = {}
    for event in consensus.valid_events(object_id):
        if event.kind == "verdict" and event.ordering == AUDIT:
            votes[event.annotator] = event.value
        elif event.kind == "skip" and event.ordering not in _DECISIONS:
            votes.pop(event.annotator, None)
    decision = consensus.of(object_id).decision if votes else ""
    return decision or agreed(votes, consensus.grades)
