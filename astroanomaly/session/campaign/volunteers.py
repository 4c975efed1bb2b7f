"""Zooniverse: take what volunteers said of a session's objects, as votes of one annotator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.labels.log import IMPORTED
from astroanomaly.labels.matching import match_ids
from astroanomaly.labels.volunteers import RetirementRule, SubjectVotes, count_votes, read_answers
from astroanomaly.session.campaign.lists import annotator_name
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.label_table import known_positions
from astroanomaly.tables.names import find_rows
from astroanomaly.tables.write import build_columns

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["VolunteerReport", "import_classifications", "votes_table"]


@dataclass(frozen=True)
class VolunteerReport:
    """Result of an import of classifications.

    Attributes
    ----------
    votes
        Of each object that volunteers have classified.
    added
        Labels written; those that were there already are left out.
    cleared
        Earlier labels of this import that were taken back: the object is not retired, or there is no agreement.
    skipped
        Names in the file that match no object.
    rule
        When an object is retired.
    """

    votes: tuple[SubjectVotes, ...]
    added: int
    cleared: int
    skipped: int
    rule: RetirementRule

    def __str__(self) -> str:
        """Say in words what was counted."""
        retired = [one for one in self.votes if one.counted]
        labelled = sum(bool(one.label) for one in retired)
        counted = sum(one.counted for one in retired)
        late = sum(one.classifications - one.counted for one in retired)
        text = (
            f"{len(self.votes):,} objects classified, {len(retired):,} of them {self.rule}: {labelled:,} with a label, "
            f"{len(retired) - labelled:,} without agreement; {counted:,} classifications count"
        )
        return text + (f", {late:,} came after retirement" if late else "")


def import_classifications(
    session: SessionFolder,
    path: Path,
    rule: RetirementRule,
    *,
    task: str = "",
    workflow: str = "",
    words: Mapping[str, str] | None = None,
    annotator: str = "zooniverse",
    skip_unmatched: bool = False,
) -> VolunteerReport:
    """Count the classifications of volunteers, and keep their labels; see `Session.import_classifications`."""
    who = annotator_name(annotator)
    answers = read_answers(path, task=task, workflow=workflow)
    names = list(dict.fromkeys(answer.name for answer in answers))
    matched = {name: i for name, i in match_ids(names, session.objects.ids, skip=skip_unmatched).items() if i}
    votes = count_votes(answers, rule, matched, words or {}, session.labels.words)
    new: list[SubjectVotes] = []
    gone: list[str] = []
    more: dict[str, Any] = {"annotator": who, "round": len(session.rounds)}
    with session.labels.transaction():
        before = session.labels.current()
        for one in votes:
            known = before.get(one.object_id)
            said = "" if known is None else known.votes.get(who, "")
            note = f"{who}: {one.words()}"
            if one.counted and (known is None or note not in known.notes):  # first: one undo takes back the verdicts
                session.labels.note([one.object_id], note, ordering=IMPORTED, **more)
            if one.label and one.label != said:
                new.append(one)
            elif said and not one.label:
                gone.append(one.object_id)
        if gone:
            session.labels.clear(gone, **more)
        if new:
            session.labels.verdict(
                [one.object_id for one in new], [one.label for one in new], time=[one.time for one in new],
                ordering=IMPORTED, **more,
            )  # fmt: skip
    return VolunteerReport(tuple(votes), len(new), len(gone), len(names) - len(matched), rule)


def votes_table(session: SessionFolder, votes: tuple[SubjectVotes, ...]) -> QTable:
    """Make a table of what volunteers said: one row for each object, with the number of each answer."""
    known, (ra, dec) = known_positions(session)
    rows = find_rows([one.object_id for one in votes], known).tolist()
    labels = [name for name in session.classes if any(name in one.counts for one in votes)]
    nan = float("nan")
    table = build_columns(
        {
            "object_id": np.array([one.object_id for one in votes], dtype=str),
            "ra": [float(ra[k]) if k >= 0 else nan for k in rows],
            "dec": [float(dec[k]) if k >= 0 else nan for k in rows],
            "label": np.array([one.label for one in votes], dtype=str),
            "retired": np.array([one.counted > 0 for one in votes], bool),
            "classifications": np.array([one.classifications for one in votes], np.int64),
            "counted": np.array([one.counted for one in votes], np.int64),
            "share": np.array([one.share for one in votes], np.float64),
            **{f"n_{name}": np.array([one.counts.get(name, 0) for one in votes], np.int64) for name in labels},
            "n_no_label": np.array([one.counts.get("", 0) for one in votes], np.int64),
        }
    )
    for name, text in (
        ("label", "label by the volunteers; empty where they do not agree, or the object is not retired"),
        ("classifications", "volunteers who classified the object"),
        ("counted", "of these, those that count by the retirement rule"),
        ("share", "share of the most frequent answer"),
    ):
        table[name].info.description = text
    return table
