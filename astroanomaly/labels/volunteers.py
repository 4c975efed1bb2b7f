"""Classifications of Zooniverse volunteers: read from an export, and counted by a retirement rule."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astroanomaly.errors import ConfigError, LabelError, UnreadableError
from astroanomaly.files import parse_json
from astroanomaly.labels.event_values import to_utc
from astroanomaly.labels.foreign import subject_name

__all__ = ["Answer", "RetirementRule", "SubjectVotes", "count_votes", "read_answers"]

_COLUMNS = ("user_name", "workflow_id", "created_at", "annotations", "subject_data")
_MOST_ROWS = 5_000_000
_MAX_FIELD = 16 * 2**20  # characters of one field: drawings take some, JSON of a question a few hundred
_SHOWN = 8  # answers, tasks or workflows in a message
_SHOWN_LETTERS = 60  # of each of them
_PICTURES = re.compile(r"!\[[^\]]*\]\([^)]*\)")  # in Markdown, which answers may hold
_REMEDY = "give the classification export of a Zooniverse project; no label was written"


@dataclass(frozen=True)
class RetirementRule:
    """When enough volunteers have classified a subject.

    Attributes
    ----------
    count
        Once so many have; None: never for that.
    share
        Once this share of them gives the same answer, more than half, up to 1; None: never for that.
    least
        The fewest classifications with which a share retires.
    """

    count: int | None = None
    share: float | None = None
    least: int = 5

    def __post_init__(self) -> None:
        if self.count is None and self.share is None:
            raise ConfigError(
                "when is a subject retired? give a number of classifications, a share of agreement, or both"
            )
        if self.count is not None and self.count < 1:
            raise ConfigError(f"retirement after {self.count} classifications: expected 1 or more")
        if self.share is not None and not 0.5 < self.share <= 1:
            raise ConfigError(f"retirement at a share of {self.share:g}: expected more than 0.5, up to 1")
        if self.least < 1 or (self.count is not None and self.share is not None and self.least > self.count):
            raise ConfigError(f"at least {self.least} classifications: expected 1 to {self.count or 'any number'}")

    def __str__(self) -> str:
        """Say it in words."""
        words = [] if self.count is None else [f"after {self.count} classifications"]
        if self.share is not None:
            words.append(f"when {self.share:.0%} of at least {self.least} agree")
        return "retired " + ", or ".join(words)

    def apply(self, answers: Sequence[str]) -> tuple[int, str]:
        """Return how many classifications count, 0 for a subject that is not retired, and the label they give.

        Parameters
        ----------
        answers
            Label of each classification, in the order in which they were made; empty for an answer that says nothing.
            It counts as a classification all the same.

        Returns
        -------
        tuple
            The label is that of most answers; with a share, only if these have it. Empty where there is none.
        """
        counts: Counter[str] = Counter()
        for number, answer in enumerate(answers, 1):
            counts[answer] += 1
            ranked = counts.most_common(2)
            first = ranked[0][1]
            agreed = self.share is not None and first >= self.share * number - 1e-9
            if number == self.count or (agreed and number >= self.least):
                clear = agreed if self.share is not None else len(ranked) == 1 or first > ranked[1][1]
                return number, ranked[0][0] if clear else ""
        return 0, ""


@dataclass(frozen=True)
class Answer:
    """One classification: what the file calls the object, who made it, when (ISO, UTC), and the answer as it stands."""

    name: str
    volunteer: str
    time: str
    text: str


@dataclass(frozen=True)
class SubjectVotes:
    """What volunteers said of one object.

    Attributes
    ----------
    object_id
        The object.
    classifications
        How many volunteers have classified it.
    counted
        How many of these, the first ones, count; 0: it is not retired.
    label
        The label they give; empty where they do not agree, or it is not retired.
    counts
        Number of each label among those that count, of all where it is not retired; an empty word: no label.
    time
        Of the last one that counts.
    """

    object_id: str
    classifications: int
    counted: int
    label: str
    counts: Mapping[str, int] = field(default_factory=dict)
    time: str = ""

    @property
    def share(self) -> float:
        """Share of the most frequent answer."""
        return max(self.counts.values()) / sum(self.counts.values())

    def words(self) -> str:
        """Say the votes: ``9 anomaly, 3 nominal, 1 no label``."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{number} {label or 'no label'}" for label, number in ranked)


def read_answers(path: Path, *, task: str = "", workflow: str = "") -> list[Answer]:
    """Read the answers to one question of a classification export, row by row.

    Parameters
    ----------
    path
        The CSV that Zooniverse exports: ``annotations`` and ``subject_data`` are JSON.
    task
        The question, as in ``T0``; empty: the only one that was answered in words.
    workflow
        Number of the workflow; empty: the file has one only.

    Returns
    -------
    list of Answer
        In the order of their times. Rows without an answer in words to this task are left out.

    Raises
    ------
    LabelError
        If the file is no such export, damaged, or too large; or task or workflow have to be named.
    UnreadableError
        If it cannot be read.
    """
    answers: list[tuple[str, int, Answer]] = []
    tasks: dict[str, str] = {}
    workflows: Counter[str] = Counter()
    names: dict[str, str] = {}
    for number, row in enumerate(_rows(path), 2):
        where = f"{path}, row {number}"
        workflows[row["workflow_id"]] += 1
        if workflow and row["workflow_id"] != workflow:
            continue
        given = parse_json(row["annotations"], f"{where}: annotations", kind=list, error=LabelError, remedy=_REMEDY)
        said = list(_questions(given))
        for name, label, _ in () if task else said:
            tasks.setdefault(name, label)
        text = next((answer for name, _, answer in said if name == task or not task), None)
        if text is None:
            continue
        subject = row.get("subject_ids", "")
        if not subject or subject not in names:
            data = parse_json(
                row["subject_data"], f"{where}: subject_data", kind=dict, error=LabelError, remedy=_REMEDY
            )
            names[subject] = subject_name(data, where)
        who = row.get("user_id") or row["user_name"]
        answers.append((_time(row["created_at"], where), number, Answer(names[subject], who, row["created_at"], text)))
    if not workflow and len(workflows) > 1:
        raise LabelError(f"{path} holds classifications of several workflows: name one, {_some(workflows)}")
    if workflow and workflow not in workflows:
        raise LabelError(f"{path} holds no classification of workflow {workflow!r}: it has {_some(workflows)}")
    if len(tasks) > 1:
        listed = "; ".join(f"{_short(name)}: {_short(text)}" for name, text in list(tasks.items())[:_SHOWN])
        raise LabelError(f"{path} holds answers to several questions: name the task ({listed})")
    if not answers:
        raise LabelError(
            f"{path} holds no answer in words{f' to the task {task!r}' if task else ''}: expected a question task"
        )
    answers.sort(key=lambda item: item[:2])
    return [Answer(one.name, one.volunteer, time, one.text) for time, _, one in answers]


def count_votes(
    answers: Sequence[Answer],
    rule: RetirementRule,
    objects: Mapping[str, str],
    words: Mapping[str, str],
    known: Mapping[str, str],
) -> list[SubjectVotes]:
    """Count the answers of volunteers on each object.

    A volunteer counts once for an object, with the first answer.

    Parameters
    ----------
    answers
        In the order of their times.
    rule
        When an object is retired.
    objects
        Object id of each name in the answers; names that are not there are left out.
    words
        What answers mean: the label of each, or an empty text for none.
    known
        Label class by what it may be called, in lower case.

    Raises
    ------
    LabelError
        If it is not said what an answer means, or what is said is no label class.
    """
    meant: dict[str, str] = {}
    for word, label in words.items():
        if label and label.lower() not in known:
            raise LabelError(f"{word!r} is said to mean {label!r}, which is no label class")
        told = known[label.lower()] if label else ""
        if meant.setdefault(_plain(word), told) != told:
            raise LabelError(
                f"the answer {_short(word)} is said to mean {told or 'no label'!r} and "
                f"{meant[_plain(word)] or 'no label'!r}: case, blanks and pictures beside words make no difference"
            )
    unknown: Counter[str] = Counter()
    said: dict[str, dict[str, tuple[str, str]]] = {}
    for answer in answers:
        if answer.name not in objects:
            continue
        text = _plain(answer.text)
        says = meant.get(text, known.get(text))
        if says is None:
            unknown[answer.text] += 1
            continue
        said.setdefault(objects[answer.name], {}).setdefault(answer.volunteer, (says, answer.time))
    if unknown:
        listed = "; ".join(f"{_short(text)} ({number})" for text, number in unknown.most_common(_SHOWN))
        raise LabelError(
            f"it is not said what these answers mean: {listed}. Say it, as in --map Yes=anomaly; --map WORD= for an "
            "answer that is no label. No label was written"
        )
    found = []
    for object_id, given in said.items():
        labels = [label for label, _ in given.values()]
        counted, label = rule.apply(labels)
        times = [time for _, time in given.values()]
        counts = dict(Counter(labels[: counted or None]))
        found.append(SubjectVotes(object_id, len(labels), counted, label, counts, times[(counted or len(times)) - 1]))
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """Read the rows of the file, in memory of one."""
    limit = csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise LabelError(f"{path} has no column {missing[0]!r}: {_REMEDY}")
            for number, row in enumerate(reader, 2):
                if number > _MOST_ROWS:
                    raise LabelError(f"{path} has more than {_MOST_ROWS:,} rows: export one workflow at a time")
                if None in row or None in row.values():
                    raise LabelError(f"{path}, row {number}: it has more or fewer columns than the first line")
                yield row
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise LabelError(f"{path} is damaged: {error}; {_REMEDY}") from error
    finally:
        csv.field_size_limit(limit)


def _questions(answers: Sequence[Any], *, inside: bool = False) -> Iterator[tuple[str, str, str]]:
    """Return task, its text and the answer of each question that was answered in words, those in combined tasks too."""
    for one in answers:
        if not isinstance(one, Mapping):
            continue
        value = one.get("value")
        if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            yield from () if inside else _questions(value, inside=True)
            continue
        if isinstance(value, list) and len(value) == 1:  # of a question with several answers
            value = value[0]
        if isinstance(value, str) and value.strip():
            yield str(one.get("task", "")), str(one.get("task_label", "")), value.strip()


def _time(text: str, where: str) -> str:
    try:
        return to_utc(text.strip().removesuffix("UTC"))
    except LabelError:
        raise LabelError(
            f"{where}: created_at is {_short(text)}, expected a time as in 2026-01-31 12:00:00 UTC"
        ) from None


def _plain(text: str) -> str:
    """Return an answer without pictures, in lower case, with single blanks; one of pictures only as it is."""
    return " ".join(_PICTURES.sub(" ", text).split()).lower() or text.strip()


def _some(found: Mapping[str, Any]) -> str:
    return ", ".join(map(_short, list(found)[:_SHOWN])) + (" ..." if len(found) > _SHOWN else "")


def _short(text: str) -> str:
    text = " ".join(str(text).split())
    return repr(text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 1] + "…")
