"""Annotators of a session: how far they agree with themselves, on blind repeats, and where they differ."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.labels.agreement import disagreed
from astroanomaly.labels.consensus import DECISION, IMPORTED_DECISION
from astroanomaly.metrics import cohen_kappa

__all__ = ["Annotator", "annotators", "disagreements"]

_SAME_SHOWING_S = 300.0  # a blind verdict within this time of the last corrects it


@dataclass(frozen=True)
class Annotator:
    """One annotator: objects with a verdict, blind repeats, how many of these agreed, and kappa of self-agreement."""

    name: str
    verdicts: int
    repeats: int
    repeated_alike: int
    self_kappa: float


def annotators(shared: SharedState) -> list[Annotator]:
    """Return everybody who gave a verdict that was not taken back, the most diligent first."""
    labelled_by: dict[str, set[str]] = {}
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for object_id, consensus in shared.current_consensus().items():
        for who in consensus.votes:
            labelled_by.setdefault(who, set()).add(object_id)
        showings: dict[str, list[tuple[str, bool, float]]] = {}  # label, blind, when; the last of each showing
        for event in shared.consensus.valid_events(object_id):
            if event.kind != "verdict" or event.ordering in (DECISION, IMPORTED_DECISION):
                continue
            known = showings.setdefault(event.annotator, [])
            now = datetime.datetime.fromisoformat(event.time).timestamp()
            same = known and known[-1][1] == event.blind_repeat
            if same and not (event.blind_repeat and now - known[-1][2] > _SAME_SHOWING_S):
                known.pop()
            known.append((event.value, event.blind_repeat, now))
        for who, known in showings.items():
            for (label, _, _), (again, blind, _) in itertools.pairwise(known):
                if blind:
                    before.setdefault(who, []).append(label)
                    after.setdefault(who, []).append(again)
    found = []
    for who, ids in labelled_by.items():
        first, second = before.get(who, []), after.get(who, [])
        alike = sum(a == b for a, b in zip(first, second, strict=True))
        found.append(Annotator(who, len(ids), len(first), alike, cohen_kappa(first, second)))
    return sorted(found, key=lambda item: (-item.verdicts, item.name))


def disagreements(shared: SharedState, annotator: str = "") -> list[str]:
    """Return the objects on which people differ and nobody has decided, the most divided first.

    Those of the audit set stay hidden, and those on the list of the annotator who asks, until it is done.
    """
    hidden = shared.blind_for(annotator)
    return shared.known([object_id for object_id in disagreed(shared.current_consensus()) if object_id not in hidden])
