"""Paging: which objects come next, from the latest ranking, without those that were shown already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from astroanomaly.app.review.filters import NOT_MINE, UNLABELLED, Filters
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE, SharedState
from astroanomaly.labels.consensus import AUDIT

__all__ = [
    "ASSIGNED",
    "COLUMN_ORDERINGS",
    "ORDERINGS",
    "ROWS_AHEAD",
    "ObjectChoice",
    "ObjectPage",
    "choose_objects",
    "fills_by_rows",
    "follows_verdicts",
    "objects_wanted",
]

ORDERINGS = {  # what the page offers: text, order of `ranking`, scores it always takes
    "score": ("most anomalous", "score", ""),
    "uncertain": ("most uncertain", "uncertain", ""),
    "diverse": ("anomalous and diverse", "diverse", ""),
    "novel": ("unlike any labelled object", "novel", ""),
    "mixed": ("mixed: candidates and informative objects", "mixed", ""),
    "random": ("random", "random", ""),
    "median": ("near the median score", "median", ""),
    "mean": ("near the mean score", "mean", ""),
    "nominal": ("most nominal", "nominal", ""),
    "cold": ("outliers, without labels", "score", COLD),
    "ascending": ("catalogue column, lowest first", "nominal", ""),
    "descending": ("catalogue column, highest first", "score", ""),
}
COLUMN_ORDERINGS = ("ascending", "descending")  # by a column of the catalogue, whatever the scores
ASSIGNED = "assigned"  # ordering of verdicts on the objects of one's own list, see `astroanomaly.session.campaign`
ROWS_AHEAD = 1  # rows without verdicts that a page has where it is chosen row by row
_ORDERS_OF_EACH_ALONE = ("score", "uncertain", "nominal")
_PAGES_BEFORE_REPEAT = 2  # pages before a labelled object may come back as a blind repeat


@dataclass(frozen=True)
class ObjectChoice:
    """Objects that were chosen at once, from one ranking.

    Attributes
    ----------
    ids
        The objects.
    ordering, probability
        Recorded with every verdict on them; the ordering names the scores and what these came from.
    repeats
        Objects that their annotator has labelled before, shown as if not.
    left
        Objects there were to choose from; 0 where they were chosen by hand.
    by, ranked
        Name of the scores, and what they came from, in words, when the choice was made; empty without.
    scores
        ``(n,)`` these scores, NaN where there was none: what is shown, since a ranking goes on changing.
    since
        Number of the last event of the log when the choice was made.
    blind
        Whether earlier verdicts, scores and the catalogue of the objects are hidden.
    """

    ids: tuple[str, ...] = ()
    ordering: str = ""
    probability: float | None = None
    repeats: frozenset[str] = frozenset()
    left: int = 0
    by: str = ""
    ranked: str = ""
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), compare=False)
    since: int = 0
    blind: bool = False

    @classmethod
    def of(cls, shared: SharedState, ids: Sequence[str], ordering: str, by: str, **more: Any) -> ObjectChoice:
        """Choose given objects, with the scores as they are now."""
        return cls(
            tuple(ids), ordering, more.pop("probability", None), by=by, ranked=shared.describe_scores(by),
            scores=shared.score_of(ids, by), since=shared.consensus.last, **more,
        )  # fmt: skip


@dataclass(frozen=True)
class ObjectPage:
    """The objects of one page, chosen at once or row by row. What is on it never changes; rows may follow.

    Attributes
    ----------
    choices
        Its objects, in the order in which they were chosen.
    cells
        Cells of the page, also those that stay empty: the layout follows it, so that no image moves.
    waiting
        Cells after the objects for which others are still to be chosen.
    at_once
        Whether those are wanted whatever verdicts are given.
    """

    choices: tuple[ObjectChoice, ...] = ()
    cells: int = 0
    waiting: int = 0
    at_once: bool = False

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Its objects, those in the first cell first."""
        return tuple(object_id for choice in self.choices for object_id in choice.ids)

    @cached_property
    def _by_id(self) -> dict[str, tuple[ObjectChoice, int]]:
        return {object_id: (choice, number) for choice in self.choices for number, object_id in enumerate(choice.ids)}

    @property
    def blind(self) -> bool:
        """Whether earlier verdicts, scores and the catalogue of any of its objects are hidden."""
        return any(choice.blind for choice in self.choices)

    @property
    def last(self) -> ObjectChoice:
        """The latest choice."""
        return self.choices[-1] if self.choices else ObjectChoice()

    def choice_of(self, object_id: str) -> ObjectChoice:
        """Return the choice that an object came with; the latest one for an object that is not on the page."""
        found = self._by_id.get(object_id)
        return found[0] if found is not None else self.last

    def score(self, object_id: str) -> float:
        """Score of one of its objects when it was chosen, NaN where there was none."""
        found = self._by_id.get(object_id)
        return float(found[0].scores[found[1]]) if found is not None else float("nan")

    def with_choice(self, choice: ObjectChoice, asked: int) -> ObjectPage:
        """Return the page with more objects in the first of its waiting cells.

        Parameters
        ----------
        choice
            The objects.
        asked
            How many were asked for; where there were fewer, nothing is left, and the other cells stay empty.
        """
        waiting = self.waiting - len(choice.ids) if len(choice.ids) == asked else 0
        cells = self.cells if self.choices or waiting else len(choice.ids)  # nothing was in sight yet
        choices = (*self.choices, choice) if choice.ids or not self.choices else self.choices
        return replace(self, choices=choices, cells=cells, waiting=waiting)


def follows_verdicts(shared: SharedState, ordering: str, by: str) -> bool:
    """Tell whether verdicts change what an order shows next: the instant ranker ranks, or will as soon as it can.

    Parameters
    ----------
    shared
        What all pages share.
    ordering
        One of `ORDERINGS`, or ``audit`` or ``assigned``.
    by
        Name of the scores that somebody chose; empty: the best ones.
    """
    if ordering in (AUDIT, ASSIGNED, "random", *COLUMN_ORDERINGS) or ORDERINGS[ordering][2]:
        return False
    return by == PROBE or (by not in shared.scores and shared.best_scores() != LATEST)


def fills_by_rows(shared: SharedState, ordering: str, by: str) -> bool:
    """Tell whether a page is chosen row by row: where verdicts change the order, and it looks at each object alone.

    Until there is a nominal object and an anomaly to learn from the order stays what it is, and pages come whole.
    Chosen from one ranking, such rows are the page that would have been chosen at once. An order that compares the
    objects of a page with one another is chosen at once.
    """
    learns = PROBE in shared.scores or shared.has_both_kinds
    return learns and ordering in _ORDERS_OF_EACH_ALONE and follows_verdicts(shared, ordering, by)


def objects_wanted(columns: int, marked: Sequence[bool], cells: int) -> int:
    """Return how many objects a page should have: so many that `ROWS_AHEAD` of its rows lack verdicts.

    Parameters
    ----------
    columns
        Its columns.
    marked
        Which of its objects have a verdict, or were skipped.
    cells
        Its cells, with those that wait.
    """
    rows = math.ceil(len(marked) / columns)
    open_rows = {cell // columns for cell, done in enumerate(marked) if not done}
    return max(len(marked), min(cells, columns * (rows + max(0, ROWS_AHEAD - len(open_rows)))))


def choose_objects(
    shared: SharedState,
    pages: Sequence[ObjectPage],
    size: int,
    *,
    annotator: str,
    ordering: str,
    by: str,
    filters: Filters,
    repeat_share: float,
    rng: np.random.Generator,
    column: str = "",
) -> ObjectChoice:
    """Choose the objects that come next, from the ranking as it is.

    Parameters
    ----------
    shared
        What all pages share.
    pages
        Those made before, and the one that the objects are for; their objects do not come again.
    size
        Objects wanted.
    annotator
        For whom: whose labels may come back as blind repeats, and which objects of the audit set are left.
    ordering
        One of `ORDERINGS`; or ``audit``: the audit set in random order; or ``assigned``: one's own list.
    by
        Name of the scores.
    filters
        What objects must be; the audit set and lists are not filtered.
    repeat_share
        Probability of each cell to be a blind repeat.
    rng
        For all that is random.
    column
        The catalogue column that one of `COLUMN_ORDERINGS` goes by.

    Raises
    ------
    ConfigError
        If a filter cannot be read, or the column is no column of numbers.
    """
    seen = [object_id for page in pages for object_id in page.ids]
    if ordering == AUDIT:
        free = [i for i in sorted(shared.audit.difference(seen)) if annotator not in shared.consensus_of(i).votes]
        ids = [str(i) for i in rng.permutation(free)[:size]]
        chance = len(ids) / len(free) if free else None
        return ObjectChoice.of(shared, ids, AUDIT, "", probability=chance, left=len(free), blind=True)
    if ordering == ASSIGNED:
        shown = set(seen)
        free = [object_id for object_id in shared.assignments.left(annotator) if object_id not in shown]
        return ObjectChoice.of(shared, free[:size], ASSIGNED, "", left=len(free), blind=True)
    seen += shared.assignments.withheld(annotator)  # what others said of them would tell by where they are
    alone = filters.labels == NOT_MINE
    if alone:
        filters = replace(filters, without=annotator)
    among = repeat_share if filters.labels == UNLABELLED else 0.0  # where everything else has no mark either
    repeats = _draw_repeats(shared, pages, size, annotator, among, rng)
    column = column if ordering in COLUMN_ORDERINGS else ""
    how = ORDERINGS[ordering][1] if column or by in shared.scores else "random"  # until there is a first ranking
    ids, left = shared.choose(size - len(repeats), how, by, filters, column=column, seen=[*seen, *repeats], rng=rng)
    probability = min(1.0, len(ids) / left) if left and how == "random" else None
    if ids and repeats:
        ids = [str(i) for i in rng.permutation([*ids, *repeats])]
    source = column or f"{by}, {shared.described.get(by, '')}"
    recorded = how if how == "random" else f"{ordering}:{source}"
    return ObjectChoice.of(
        shared, ids, recorded, by, probability=probability, repeats=frozenset(repeats) & set(ids), left=left,
        blind=bool(among) or alone,
    )  # fmt: skip


def _draw_repeats(
    shared: SharedState, pages: Sequence[ObjectPage], size: int, annotator: str, share: float, rng: np.random.Generator
) -> list[str]:
    """Draw objects of somebody's own to show again, a random share of a page, none from the last pages."""
    count = int(rng.binomial(size, share)) if share else 0
    if not count:
        return []
    recent = {object_id for page in pages[-_PAGES_BEFORE_REPEAT - 1 :] for object_id in page.ids}
    labelled = {i for i, consensus in shared.current_consensus().items() if annotator in consensus.votes}
    free = shared.known(sorted(labelled - recent - shared.audit))
    return [str(i) for i in rng.permutation(free)[:count]]
