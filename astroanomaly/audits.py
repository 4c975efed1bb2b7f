"""The audit set: objects drawn at random and labelled blind, from which alone the pool can be judged."""

from __future__ import annotations

from collections.abc import Collection

from astroanomaly.opinions import Tally, majority

__all__ = ["AUDIT", "audit_labels"]

AUDIT = "audit"  # ordering of verdicts given when score and other verdicts were hidden


def audit_labels(tally: Tally, audit: Collection[str]) -> dict[str, str]:
    """Labels of the audit set that count, ``disputed`` ones included, by object id.

    Only verdicts given blind count, on the audit pages of the app: what somebody chose to label, having seen its score
    or in a table, is no random part of it. Once the whole set is labelled, nothing was chosen: every verdict counts.
    """
    said = {object_id: tally.opinion(object_id).label for object_id in audit}
    if not all(said.values()):
        said = {object_id: _blind(tally, object_id) for object_id in audit if said[object_id]}
    return {object_id: label for object_id, label in said.items() if label}


def _blind(tally: Tally, object_id: str) -> str:
    """Majority of what people said of an object when its score and other verdicts were hidden; empty if nobody did."""
    votes: dict[str, str] = {}
    for event in tally.standing(object_id):
        if event.kind == "verdict" and event.ordering == AUDIT:
            votes[event.annotator] = event.value
        elif event.kind == "skip":
            votes.pop(event.annotator, None)
    return majority(votes)
