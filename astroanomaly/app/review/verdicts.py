"""Verdicts of one annotator, and what may be shown of an object before the verdict (blind labelling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroanomaly.app.review.paging import ObjectPage
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.config import nearest
from astroanomaly.errors import LabelError
from astroanomaly.labels.consensus import DECISION, IMPORTED_DECISION, Event

__all__ = ["Mark", "Verdicts"]

_VOTE_KINDS = ("verdict", "skip")


@dataclass(frozen=True)
class Mark:
    """What is drawn on a cell: a label class, ``disputed``, ``skipped`` or nothing; whether it is one's own; a flag."""

    label: str = ""
    own: bool = False
    flagged: bool = False


class Verdicts:
    """Writes to the label log of a session under one name.

    Every method that writes raises an `astroanomaly.AstroAnomalyError` if nothing was written.

    Parameters
    ----------
    shared
        What all pages share.
    annotator
        Name under which verdicts are written; may change.
    """

    def __init__(self, shared: SharedState, annotator: str) -> None:
        self.shared = shared
        self.annotator = annotator

    def is_hidden(self, object_id: str, page: ObjectPage) -> bool:
        """Whether scores, catalogue, and events on an object from before it was chosen must not be shown."""
        return page.choice_of(object_id).blind or object_id in self.shared.blind_for(self.annotator)

    def mark(self, object_id: str, page: ObjectPage) -> Mark:
        """Return what to draw on an object; where it is hidden, only events since it was chosen."""
        if self.is_hidden(object_id, page):
            since = self._since(object_id, page)
            own = [
                event
                for event in self.shared.consensus.valid_events(object_id)
                if event.annotator == self.annotator and event.number > since
            ]
            words = ["skipped" if event.kind == "skip" else event.value for event in own if event.kind in _VOTE_KINDS]
            return Mark(words[-1] if words else "", True, any(event.kind == "flag" for event in own))
        consensus = self.shared.consensus_of(object_id)
        if page.choice_of(object_id).ordering == DECISION:
            return Mark(consensus.decision, consensus.decided_by == self.annotator, consensus.flagged)
        vote = consensus.votes.get(self.annotator, "")
        if vote:
            return Mark(vote, True, consensus.flagged)
        if self.annotator in consensus.skipped_by:
            return Mark("skipped", True, consensus.flagged)
        if consensus.skipped and not consensus.label:
            return Mark("skipped", False, consensus.flagged)
        return Mark(consensus.label, False, consensus.flagged)

    def words(self, event: Event) -> str:
        """Say what an event says of its object."""
        text = event.value if event.kind in ("verdict", "note") else event.kind
        return f"{text} (decision)" if event.ordering in (DECISION, IMPORTED_DECISION) else text

    def _since(self, object_id: str, page: ObjectPage) -> int:
        """Return the number of the event before those that a page knows of an object; 0: it knows all of one's own."""
        choice = page.choice_of(object_id)
        apart = choice.blind or choice.ordering == DECISION or object_id in self.shared.audit
        return choice.since if apart else 0

    def verdict(self, ids: Sequence[str], value: str, page: ObjectPage) -> None:
        """Call objects a label class, as one action."""
        if value not in self.shared.classes:
            raise LabelError(f"{value!r} is no label class{nearest(value, self.shared.classes)}")
        choices = [page.choice_of(object_id) for object_id in ids]
        self.shared.journal.verdict(
            ids,
            value,
            annotator=self.annotator,
            round=self.shared.rounds,
            ordering=[choice.ordering for choice in choices],
            probability=[choice.probability for choice in choices],
            blind_repeat=[object_id in choice.repeats for object_id, choice in zip(ids, choices, strict=True)],
        )

    def skip(self, ids: Sequence[str], page: ObjectPage) -> None:
        """Say that objects were seen and not decided."""
        orderings = [page.choice_of(object_id).ordering for object_id in ids]
        self.shared.journal.skip(ids, annotator=self.annotator, round=self.shared.rounds, ordering=orderings)

    def flag(self, ids: Sequence[str], page: ObjectPage) -> None:
        """Flag objects for another look."""
        orderings = [page.choice_of(object_id).ordering for object_id in ids]
        self.shared.journal.flag(ids, annotator=self.annotator, round=self.shared.rounds, ordering=orderings)

    def note(self, object_id: str, text: str) -> None:
        """Write a note to an object."""
        self.shared.journal.note([object_id], text, annotator=self.annotator, round=self.shared.rounds)

    def clear(self, ids: Sequence[str], page: ObjectPage) -> None:
        """Take back one's own verdicts on objects; where the page is blind or of decisions, only those given on it."""
        after = [self._since(object_id, page) for object_id in ids]
        self.shared.journal.clear(ids, annotator=self.annotator, round=self.shared.rounds, after=after)

    def undo(self) -> int | None:
        """Take back one's own latest action; return its batch, None when nothing is left."""
        return self.shared.journal.undo(annotator=self.annotator, round=self.shared.rounds)
