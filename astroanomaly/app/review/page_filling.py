"""How the pages of one browser are filled: at once or row by row, each choice from the newest ranking."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.paging import (
    ASSIGNED,
    ORDERINGS,
    ObjectPage,
    choose_objects,
    fills_by_rows,
    follows_verdicts,
    objects_wanted,
)
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.review.verdicts import Verdicts
from astroanomaly.labels.consensus import AUDIT

__all__ = ["PageFilling"]

_PATIENCE_S = 1.0  # how long somebody without an object to label waits for a ranking that is under way
_EASY_PATIENCE_S = 3.0  # how long a row waits for it while there are others to label


class PageFilling(ABC):
    """The pages of one browser. Objects are added to a page; none is moved or taken away.

    Attributes
    ----------
    pages, number
        All pages so far, and which of them is shown.
    is_ranking_behind
        Tells whether a ranking is under way that will know more verdicts than the newest one: rows wait for it.
    """

    shared: SharedState
    verdicts: Verdicts
    rng: np.random.Generator
    ordering: str
    column: str
    by: str
    filters: Filters
    audit: bool
    assigned: bool
    page_size: int
    row_by_row: bool
    repeat_share: float
    columns: int
    pages: list[ObjectPage]
    number: int
    dirty: set[str]
    is_ranking_behind: Callable[[], bool]
    _due_since: float | None  # when rows were due that wait for a ranking, on the monotonic clock

    @abstractmethod
    def _lay_out(self) -> None:
        """Fit columns and rows to the cells of the page."""

    @property
    def page(self) -> ObjectPage:
        """The page shown."""
        return self.pages[self.number] if self.pages else ObjectPage()

    @property
    def by_name(self) -> str:
        """Name of the scores that order the next page."""
        fixed = ORDERINGS[self.ordering][2]
        return fixed or (self.by if self.by in self.shared.scores else self.shared.best_scores())

    @property
    def _order(self) -> str:
        return AUDIT if self.audit else ASSIGNED if self.assigned else self.ordering

    def _add_page(self, *, wait: bool) -> bool:
        """Add a page of objects that were not shown yet, or its first rows; return whether there were any.

        Parameters
        ----------
        wait
            Whether they may come later, from a ranking that is under way.
        """
        by_rows = self.row_by_row and fills_by_rows(self.shared, self._order, self.by)
        wait = wait and follows_verdicts(self.shared, self._order, self.by)
        before = self.number
        self.pages.append(ObjectPage(cells=self.page_size, waiting=self.page_size, at_once=not by_rows))
        self.number, self._due_since = len(self.pages) - 1, None
        try:
            self._lay_out()
            self._fill(now=not wait)
        except Exception:
            self.pages.pop()
            self.number = before
            raise
        there = bool(self.page.ids or self.page.waiting)
        if not there and len(self.pages) > 1:
            self.pages.pop()
            self.number = before
        self._lay_out()
        return there

    @property
    def is_held_up(self) -> bool:
        """Whether there is nothing to label on the page until a ranking comes that is under way."""
        return self._due_since is not None and all(self._marked())

    def _marked(self) -> list[bool]:
        return [bool(self.verdicts.mark(object_id, self.page).label) for object_id in self.page.ids]

    def _fill(self, *, now: bool = False) -> None:
        """Choose the rows of the page that are due, from the newest ranking.

        Parameters
        ----------
        now
            Whether not to wait for a ranking that is under way.
        """
        while self.page.waiting:
            page = self.page
            wanted = page.cells if page.at_once else objects_wanted(self.columns, self._marked(), page.cells)
            if wanted <= len(page.ids):
                break
            if not now and self._waits_for_ranking():
                return
            self._choose(wanted - len(page.ids))
        self._due_since = None

    def _waits_for_ranking(self) -> bool:
        """Whether rows that are due wait for the ranking that is under way; not for ever."""
        if not self.is_ranking_behind():
            return False
        now = time.monotonic()
        self._due_since = now if self._due_since is None else self._due_since
        return now - self._due_since < (_PATIENCE_S if self.is_held_up else _EASY_PATIENCE_S)

    def _choose(self, count: int) -> None:
        """Choose objects for the first waiting cells of the page, from the ranking as it is."""
        page = self.page
        others = [other for number, other in enumerate(self.pages) if number != self.number]
        choice = choose_objects(
            self.shared,
            [*others, page],
            count,
            annotator=self.verdicts.annotator,
            ordering=self._order,
            by=self.by_name,
            filters=self.filters,
            repeat_share=self.repeat_share,
            rng=self.rng,
            column=self.column,
        )
        self.pages[self.number] = page.with_choice(choice, count)
        self._due_since = None
        self.dirty |= {"page", "marks", "cursor"}
