"""Ordered grades, as lens searches give them: which there are, what they mean, and what several people agree on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from astroanomaly.errors import ConfigError
from astroanomaly.records import ANOMALY, NOMINAL

__all__ = ["OR_BETTER", "Grades"]

OR_BETTER = " or better"  # after a grade: it, and those before it
_FEWEST, _MOST = 3, 10  # grades, the last of which is nominal
_LONGEST_NAME, _LONGEST_MEANING = 8, 80  # letters
_KEYS = frozenset("sfurio?")  # of the app, with another meaning
_SEPARATORS = "=,;:"  # which tables and the command line put between grades


@dataclass(frozen=True)
class Grades:
    """Grades, the most certain first. The last one says that an object is no candidate: it is the class ``nominal``.

    Attributes
    ----------
    names
        As in ``("A", "B", "C", "X")``. All but the last are label classes of the session.
    meanings
        What each says, as in ``certain``; may be empty.
    """

    names: tuple[str, ...]
    meanings: tuple[str, ...]

    @classmethod
    def of(cls, given: Any) -> Self:
        """Check grades that somebody gave: a mapping of each name to its meaning, or names.

        Raises
        ------
        ConfigError
            If they are no grades.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, Mapping):
            pairs = list(given.items())
        elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
            pairs = [(name, "") for name in given]
        else:
            raise ConfigError(f"grades={given!r}: expected names, the most certain first, or a meaning for each name")
        if not _FEWEST <= len(pairs) <= _MOST:
            raise ConfigError(
                f"{len(pairs)} grades: expected {_FEWEST} to {_MOST}, the most certain first, the last one for what is "
                "no candidate, as in A, B, C, X"
            )
        known: set[str] = set()
        for number, (name, meaning) in enumerate(pairs, 1):
            _check(name, meaning, last=number == len(pairs))
            if name.lower() in known:
                raise ConfigError(f"the grade {name!r} is there twice; letters differ by more than their case")
            known.add(name.lower())
        return cls(tuple(str(name) for name, _ in pairs), tuple(" ".join(text.split()) for _, text in pairs))

    def __str__(self) -> str:
        """Say them in words: ``A (certain) > B (probable) > X (not a candidate)``."""
        return " > ".join(f"{n} ({text})" if text else n for n, text in zip(self.names, self.meanings, strict=True))

    def to_plain(self) -> list[list[str]]:
        """Return names and meanings as plain values."""
        return [[name, meaning] for name, meaning in zip(self.names, self.meanings, strict=True)]

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        """Take what `to_plain` has made.

        Raises
        ------
        ConfigError
            If it is anything else.
        """
        rows = plain if isinstance(plain, list) else []
        if not rows or not all(isinstance(row, list) and len(row) == 2 for row in rows):
            raise ConfigError("no grades: expected a list of names with their meanings")
        found = cls.of(dict(map(tuple, rows)) if all(isinstance(row[0], str) for row in rows) else None)
        if len(found.names) != len(rows):
            raise ConfigError("no grades: a name is there twice")
        return found

    # ------------------------------------------------------------------------------------------------------ one grade

    @property
    def labels(self) -> tuple[str, ...]:
        """Their label classes in the same order: the last one is ``nominal``."""
        return (*self.names[:-1], NOMINAL)

    def label_of(self, name: str) -> str:
        """Return the label class of a grade; any other word stays as it is."""
        return NOMINAL if name == self.names[-1] else name

    def name_of(self, label: str) -> str:
        """Return the grade of a label class; empty for one without."""
        return self.names[self.labels.index(label)] if label in self.labels else ""

    def meaning_of(self, label: str) -> str:
        """Return what the grade of a label class means; empty where nothing was said."""
        return self.meanings[self.labels.index(label)] if label in self.labels else ""

    def points_of(self, label: str) -> int | None:
        """Return the points of a label class: 0 for the last grade, one more for each better one; None: no grade."""
        return len(self.names) - 1 - self.labels.index(label) if label in self.labels else None

    def learnt(self, labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Return classes and ranks that rankers learn from, see `astroanomaly.records.Labelled`.

        Grades are kinds of certainty, not of anomalies: taken as classes they would divide few labels further.
        """
        graded = self.names[:-1]
        classes = tuple(ANOMALY if label in graded else label for label in labels)
        return classes, tuple(graded.index(label) if label in graded else 0 for label in labels)

    def or_better(self, text: str) -> tuple[str, ...]:
        """Return the label classes that ``B or better`` means; none where the text does not say so."""
        name = text.removesuffix(OR_BETTER)
        there = text.endswith(OR_BETTER) and name in self.names[:-1]
        return self.names[: self.names.index(name) + 1] if there else ()

    # ------------------------------------------------------------------------------------------------- several people

    def median(self, labels: Sequence[str]) -> str | None:
        """Return the label class of the median grade of several people.

        Between two grades it is the less certain one. Between the last grade and a better one there is none: half of
        the people see a candidate, and half do not.

        Parameters
        ----------
        labels
            The label class by each of them, all of which have grades; at least one.

        Returns
        -------
        str or None
            None where there is no such grade.
        """
        ranks = sorted(self.labels.index(label) for label in labels)
        low, high = ranks[(len(ranks) - 1) // 2], ranks[len(ranks) // 2]
        return None if high == len(self.names) - 1 != low else self.labels[high]

    def mean_points(self, labels: Iterable[str]) -> float:
        """Return the mean of the points that several people gave, of those who gave a grade; NaN where nobody did."""
        points = [value for value in map(self.points_of, labels) if value is not None]
        return sum(points) / len(points) if points else float("nan")


def _check(name: Any, meaning: Any, *, last: bool) -> None:
    if not isinstance(name, str) or not isinstance(meaning, str):
        raise ConfigError(f"grade {name!r}: {meaning!r}: expected a name and what it means, both as text")
    if not name or name != name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ConfigError(f"{name!r} cannot name a grade: expected 1 to {_LONGEST_NAME} printable letters, as in A")
    if any(sign in name for sign in _SEPARATORS) or name.endswith(OR_BETTER):
        raise ConfigError(f"{name!r} cannot name a grade: it holds one of {' '.join(_SEPARATORS)}")
    if name.lower() in (NOMINAL, ANOMALY):
        raise ConfigError(f"{name!r} cannot name a grade: it is a label class of every session")
    if name.lower() in _KEYS or (name.lower() == "n" and not last):
        raise ConfigError(
            f"{name!r} cannot name a grade: the key {name.lower()} of the app "
            + ("is nominal, which only the last grade is" if name.lower() == "n" else "does something else")
            + ". Choose another letter, or a longer name"
        )
    if not meaning.isprintable() or len(meaning) > _LONGEST_MEANING:
        raise ConfigError(f"the meaning of grade {name}: expected at most {_LONGEST_MEANING} printable letters")
