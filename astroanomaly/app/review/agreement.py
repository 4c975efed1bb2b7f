"""Agreement of annotators: self-agreement on blind repeats, kappa of pairs, and objects they disagree on."""

from __future__ import annotations

import datetime
import itertools
from dataclasses import dataclass

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.metrics import cohen_kappa

__all__ = ["Annotator", "Pair", "annotators", "disagreements", "pairs"]

_SAME_SHOWING_S = 300.0  # a blind verdict within this time of the last corrects it


@dataclass(frozen=True)
class Annotator:
    """One annotator: objects with a verdict, blind repeats, how many of these agreed, and kappa of self-agreement."""

    name: str
    verdicts: int
    repeats: int
    repeated_alike: int
    self_kappa: float


@dataclass(frozen=True)
class Pair:
    """Two people: objects both gave a verdict on, how many alike, and Cohen's kappa."""

    first: str
    second: str
    shared: int
    alike: int
    kappa: float


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
            if event.kind != "verdict":
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


def pairs(shared: SharedState) -> list[Pair]:
    """Return all pairs of people who gave verdicts on the same objects."""
    votes = [consensus.votes for consensus in shared.current_consensus().values() if len(consensus.votes) > 1]
    names = sorted({who for both in votes for who in both})
    found = []
    for first, second in itertools.combinations(names, 2):
        both = [(vote[first], vote[second]) for vote in votes if first in vote and second in vote]
        if both:
            alike = sum(a == b for a, b in both)
            found.append(Pair(first, second, len(both), alike, cohen_kappa([a for a, _ in both], [b for _, b in both])))
    return found


def disagreements(shared: SharedState) -> list[str]:
    """Return the objects on which people differ, the most divided first; those of the audit set stay hidden."""
    divided = {
        object_id: len(set(consensus.votes.values()))
        for object_id, consensus in shared.current_consensus().items()
        if len(set(consensus.votes.values())) > 1 and object_id not in shared.audit
    }
    return shared.known(sorted(divided, key=lambda object_id: (-divided[object_id], object_id)))
