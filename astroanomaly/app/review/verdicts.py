"""What one person says of objects, and what may be shown of an object before they say it. No Bokeh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroanomaly.app.review.paging import Dealt
from astroanomaly.app.review.shared_state import Search
from astroanomaly.config import nearest
from astroanomaly.errors import LabelError

__all__ = ["Mark", "Verdicts"]

_WORDS = ("verdict", "skip")


@dataclass(frozen=True)
class Mark:
    """What is drawn on a cell: a label class, ``disputed``, ``skipped`` or nothing; whose word it is; a flag."""

    word: str = ""
    own: bool = False
    flagged: bool = False


class Verdicts:
    """Writes to the log of a search under one name.

    Every method that writes raises an `astroanomaly.AstroAnomalyError` if nothing was written.

    Parameters
    ----------
    search
        The search.
    annotator
        Whose word it is; may change.
    """

    def __init__(self, search: Search, annotator: str) -> None:
        self.search = search
        self.annotator = annotator

    def is_hidden(self, object_id: str, page: Dealt) -> bool:
        """Whether scores, catalogue, and what was said of an object before the page was dealt, must not be shown."""
        return page.blind or object_id in self.search.audit

    def mark(self, object_id: str, page: Dealt) -> Mark:
        """Return what to draw on an object; where it is hidden, only what was said since the page was dealt."""
        if self.is_hidden(object_id, page):
            own = [
                event
                for event in self.search.consensus.standing(object_id)
                if event.annotator == self.annotator and event.number > page.since
            ]
            words = ["skipped" if event.kind == "skip" else event.value for event in own if event.kind in _WORDS]
            return Mark(words[-1] if words else "", True, any(event.kind == "flag" for event in own))
        opinion = self.search.opinion(object_id)
        vote = opinion.votes.get(self.annotator, "")
        if vote:
            return Mark(vote, True, opinion.flagged)
        if self.annotator in opinion.skipped_by:
            return Mark("skipped", True, opinion.flagged)
        if opinion.skipped and not opinion.label:
            return Mark("skipped", False, opinion.flagged)
        return Mark(opinion.label, False, opinion.flagged)

    def verdict(self, ids: Sequence[str], value: str, page: Dealt) -> None:
        """Call objects a label class, as one action."""
        if value not in self.search.classes:
            raise LabelError(f"{value!r} is no label class{nearest(value, self.search.classes)}")
        self.search.labels.verdict(
            ids,
            value,
            annotator=self.annotator,
            round=self.search.rounds,
            ordering=page.ordering,
            probability=page.probability,
            blind_repeat=[object_id in page.repeats for object_id in ids],
        )

    def skip(self, ids: Sequence[str], page: Dealt) -> None:
        """Say that objects were seen and not decided."""
        self.search.labels.skip(
            ids, annotator=self.annotator, round=self.search.rounds, ordering=page.ordering
        )  # fmt: skip

    def flag(self, ids: Sequence[str], page: Dealt) -> None:
        """Flag objects for another look."""
        self.search.labels.flag(ids, annotator=self.annotator, round=self.search.rounds, ordering=page.ordering)

    def note(self, object_id: str, text: str) -> None:
        """Write a note to an object."""
        self.search.labels.note([object_id], text, annotator=self.annotator, round=self.search.rounds)

    def clear(self, ids: Sequence[str], page: Dealt) -> None:
        """Take back one's own word on objects; of hidden ones only what was said since the page was dealt."""
        after = page.since if any(self.is_hidden(object_id, page) for object_id in ids) else 0
        self.search.labels.clear(ids, annotator=self.annotator, round=self.search.rounds, after=after)

    def undo(self) -> int | None:
        """Take back one's own latest action; return its batch, None when nothing is left."""
        return self.search.labels.undo(annotator=self.annotator, round=self.search.rounds)
