"""A campaign of several people: who judges which objects of a session, in which order; and how far each of them is."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache.file_digest import read_signed_json, signed_json
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.files import locked, write_json
from astroanomaly.labels.agreement import Agreement, agreement, disagreed
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.labels.grades import Grades
from astroanomaly.session.candidates import next_objects
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.label_table import known_positions
from astroanomaly.tables.names import find_rows
from astroanomaly.tables.write import build_columns

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = [
    "CAMPAIGN_FILE",
    "Campaign",
    "PersonProgress",
    "agreement_in",
    "annotator_name",
    "assign",
    "declare_grades",
    "disagreements_table",
    "progress_of",
    "read_campaign",
]

CAMPAIGN_FILE = "campaign.json"
_FORMAT, _VERSION = "astroanomaly-campaign", 1
_MAX_BYTES = 2**30
_REMEDY = "restore it from a copy; or move it aside, and `astroanomaly campaign assign` again"
_LOCK = ".campaign.lock"
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Campaign:
    """Who judges which objects.

    Attributes
    ----------
    lists
        By the name of each annotator: the ids of the objects to judge, in the order in which they are shown.
    shared
        Ids of the objects that are on every list.
    chosen
        In words, which objects were divided.
    created
        When (ISO 8601, UTC).
    """

    lists: Mapping[str, tuple[str, ...]]
    shared: tuple[str, ...]
    chosen: str = ""
    created: str = ""

    def __str__(self) -> str:
        """Say in words who judges how many objects."""
        ids = {object_id for own in self.lists.values() for object_id in own}
        names = list(self.lists)
        who = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
        text = f"{len(ids):,} objects ({self.chosen}) for {who}"
        if len(names) > 1:
            rest = len(ids) - len(self.shared)
            text += f"; {len(self.shared):,} of them for each, the other {rest:,} divided" if rest else ", all for each"
        return text


@dataclass(frozen=True)
class PersonProgress:
    """How far one annotator is: objects on the list, with a verdict, skipped, and those left; how many are shared."""

    annotator: str
    objects: int
    judged: int
    skipped: int
    left: int
    shared_left: int


def annotator_name(text: str) -> str:
    """Return the name of an annotator with single blanks.

    Raises
    ------
    ConfigError
        If it is none.
    """
    name = " ".join(text.split())
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ConfigError(f"annotator {text!r}: expected a name of 1 to {_LONGEST_NAME} printable characters")
    return name


def read_campaign(session: Path) -> Campaign | None:
    """Read the campaign of a session; None where there is none.

    Raises
    ------
    SessionError
        If the file is damaged, or of a newer version.
    """
    path = session / CAMPAIGN_FILE
    if not path.is_file():
        return None
    content = read_signed_json(
        path, _FORMAT, _VERSION, "a campaign", error=SessionError, remedy=_REMEDY, max_bytes=_MAX_BYTES
    )
    try:
        lists = {annotator_name(name): _texts(ids) for name, ids in content["lists"]}
        shared, chosen, created = _texts(content["shared"]), str(content["chosen"]), str(content["created"])
        if not lists or any(not set(own).issuperset(shared) for own in lists.values()):
            raise ValueError("shared objects that are not on every list")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SessionError(f"{path} is damaged: {error!r}; {_REMEDY}") from error
    return Campaign(lists, shared, chosen, created)


def assign(
    session: SessionFolder,
    annotators: Sequence[str],
    *,
    shared: int = 0,
    top: int | None = None,
    random: int | None = None,
    ids: Sequence[str] | None = None,
    replace: bool = False,
) -> Campaign:
    """Divide objects among annotators, and keep who judges which; see `Session.assign`."""
    names = [annotator_name(name) for name in annotators]
    twice = {name for name in names if names.count(name) > 1}
    if not names or twice:
        raise ConfigError(f"annotator {min(twice)!r} is named twice" if twice else "no annotator was named")
    if sum(choice is not None for choice in (top, random, ids)) != 1:
        raise ConfigError("which objects are judged? give one of top, random and ids")
    rng = np.random.default_rng((session.section("session")["seed"], 4, session.labels.last_event))
    objects, chosen = _chosen(session, top, random, ids, rng)
    if not 0 <= shared <= len(objects):
        raise ConfigError(f"shared={shared}: expected 0 to {len(objects)}, the objects to divide")
    drawn = [objects[k] for k in rng.permutation(len(objects))]
    common, rest = drawn[:shared], drawn[shared:]
    lists = {}
    for number, name in enumerate(names):
        own = [*common, *rest[number :: len(names)]]
        lists[name] = tuple(own[k] for k in rng.permutation(len(own)))  # nobody can tell which are shared
    made = Campaign(lists, tuple(sorted(common)), chosen, _now())
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": _VERSION,
        "created": made.created,
        "chosen": made.chosen,
        "shared": list(made.shared),
        "lists": [[name, list(own)] for name, own in lists.items()],  # in this order
    }
    with locked(session.path / _LOCK):
        if not replace and read_campaign(session.path) is not None:
            raise SessionError(
                f"{session.path} has a campaign: `astroanomaly campaign status {session.path}` says how far it is; "
                "--replace (in Python `replace=True`) gives its lists up, while all verdicts stay"
            )
        write_json(session.path / CAMPAIGN_FILE, signed_json(content))
    return made


def declare_grades(session: SessionFolder, given: Any) -> Grades:
    """Say which label classes of a session are grades; see `Session.declare_grades`."""
    grades = Grades.of(given)
    session.put_grades(grades)
    return grades


def progress_of(
    campaign: Campaign, consensus: Mapping[str, ObjectConsensus], audit: Collection[str] = ()
) -> list[PersonProgress]:
    """Say how far everybody is, in the order in which they were named.

    Objects of an audit set that was drawn since are on no list any more.
    """
    found, nothing, shared = [], ObjectConsensus("", {}), set(campaign.shared)
    for name, whole in campaign.lists.items():
        own = [object_id for object_id in whole if object_id not in audit]
        judged = {i for i in own if name in consensus.get(i, nothing).votes}
        skipped = {i for i in own if name in consensus.get(i, nothing).skipped_by}
        left = set(own) - judged - skipped
        found.append(PersonProgress(name, len(own), len(judged), len(skipped), len(left), len(left & shared)))
    return found


def agreement_in(
    campaign: Campaign | None,
    consensus: Mapping[str, ObjectConsensus],
    classes: Sequence[str],
    grades: Grades | None = None,
    weights: str = "quadratic",
) -> Agreement:
    """Say how far people agree: on the objects that all of a campaign share, else on all that several judged."""
    if campaign is None or not campaign.shared:
        return agreement(consensus, classes, grades=grades, weights=weights)
    return agreement(consensus, classes, people=campaign.lists, only=campaign.shared, grades=grades, weights=weights)


def disagreements_table(session: SessionFolder) -> QTable:
    """Make the table of what annotators disagree on; see `Session.disagreements`."""
    consensus = session.labels.current()
    audit = session.labels.audit
    ids = [object_id for object_id in disagreed(consensus) if object_id not in audit]
    known, (ra, dec) = known_positions(session)
    rows = find_rows(ids, known).tolist()
    columns = {
        "object_id": ids,
        "ra": [float(ra[k]) if k >= 0 else float("nan") for k in rows],
        "dec": [float(dec[k]) if k >= 0 else float("nan") for k in rows],
        "label": [""] * len(ids),
        "consensus": [consensus[i].label for i in ids],
        "verdicts": ["; ".join(f"{who}: {what}" for who, what in sorted(consensus[i].votes.items())) for i in ids],
        "note": [" | ".join(consensus[i].notes) for i in ids],
    }
    texts = ("object_id", "label", "consensus", "verdicts", "note")
    table = build_columns(
        {name: np.array(values, dtype=str) if name in texts else values for name, values in columns.items()}
    )
    table["label"].info.description = "the decision: empty, to be filled in"
    table["consensus"].info.description = "label by the majority of annotators, or their median grade"
    table["verdicts"].info.description = "verdict of each annotator"
    return table


def _chosen(
    session: SessionFolder,
    top: int | None,
    random: int | None,
    ids: Sequence[str] | None,
    rng: np.random.Generator,
) -> tuple[list[str], str]:
    """Return the objects to divide, and in words which they are."""
    audit = session.labels.audit
    if ids is not None:
        given = list(dict.fromkeys(ids))
        session.objects.rows(given)
        hidden = [object_id for object_id in given if object_id in audit]
        if hidden:
            raise ConfigError(
                f"object {hidden[0]!r} is of the audit set, which everybody labels blind (*show: the audit set, blind*)"
                f": leave out {'it' if len(hidden) == 1 else f'the {len(hidden)} such objects'}"
            )
        return given, "chosen by id"
    if top is not None:
        found = list(next_objects(session, top, "score").ids)
        last = session.last_round
        return found, f"the {len(found):,} highest scores of round {last.number} ({last.ranker}) without a label"
    labelled = {i for i, one in session.labels.current().items() if one.label}
    free = [object_id for object_id in session.objects.ids if object_id not in labelled and object_id not in audit]
    if random is None or random > len(free):
        raise ConfigError(f"random={random}: expected 1 to {len(free)}, the objects without a label")
    drawn = np.sort(rng.choice(len(free), random, replace=False))
    return [free[k] for k in drawn], f"drawn at random from the {len(free):,} without a label"


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise TypeError("expected a list of ids")
    return tuple(values)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
