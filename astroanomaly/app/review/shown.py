"""What one page has shown since this was last asked, for the account of the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from astroanomaly.app.review.page_state import CANDIDATES, ViewState
from astroanomaly.labels.event_values import utc_now
from astroanomaly.session.campaign.showings import INSPECTOR, PAGE, Showing

__all__ = ["ShownObjects"]

_MOMENTS = {"page", "cursor", "view", "options"}  # what a change of may bring other objects into sight


class ShownObjects:
    """Follows one page as a panel does, and hands on what comes into sight.

    Parameters
    ----------
    state
        The page.
    write
        Called with a function that writes, to be called beside the event loop.
    """

    def __init__(self, state: ViewState, write: Callable[[Callable[[], None]], Any]) -> None:
        self.state = state
        self._write = write
        self._page: tuple[str, int] = ("", -1)
        self._ids: tuple[str, ...] = ()
        self._inspected: tuple[str, str] = ("", "")

    def update(self, dirty: set[str]) -> None:
        """Have written down what is shown that was not before."""
        log = self.state.shared.showings
        if log is None or not dirty & _MOMENTS:
            return
        news = self.news()
        if news:
            self._write(lambda: log.append(news))

    def news(self) -> list[Showing]:
        """Return what is in sight, and was not when this was last asked."""
        state = self.state
        if state.view != CANDIDATES or state.unreadable:
            return []
        if state.inspecting:
            return self._inspected_object()
        self._inspected = ("", "")
        page, ids = (state.annotator, state.number), state.page.ids
        known = len(self._ids) if self._page == page and ids[: len(self._ids)] == self._ids else 0
        self._page, self._ids = page, ids
        now, first, found = utc_now(), 0, []
        for choice in state.page.choices:
            new = choice.ids[max(0, known - first) :]
            start = first + len(choice.ids) - len(new)
            first += len(choice.ids)
            for hidden, some in groupby(enumerate(new, start + 1), lambda item: state.is_hidden(item[1])):
                cells, shown = zip(*some, strict=True)
                found.append(
                    Showing(now, state.annotator, PAGE, state.number + 1, cells[0], choice.ordering,
                            choice.probability, hidden, shown)
                )  # fmt: skip
        return self._seen(found)

    def _inspected_object(self) -> list[Showing]:
        state = self.state
        now = (state.annotator, state.current)
        if not state.current or now == self._inspected:
            return []
        self._inspected = now
        choice = state.page.choice_of(state.current)
        return self._seen([
            Showing(utc_now(), state.annotator, INSPECTOR, state.number + 1, state.cursor + 1, choice.ordering,
                    choice.probability, state.is_hidden(state.current), (state.current,))
        ])  # fmt: skip

    def _seen(self, showings: Sequence[Showing]) -> list[Showing]:
        """Leave out what cannot be seen, as its file is damaged; cells stay numbered as they are."""
        damaged = self.state.damaged
        if not damaged:
            return list(showings)
        found = []
        for one in showings:
            for place, object_id in enumerate(one.ids):
                if object_id not in damaged:
                    found.append(
                        Showing(one.time, one.annotator, one.view, one.page, one.first + place, one.ordering,
                                one.probability, one.blind, (object_id,))
                    )  # fmt: skip
        return found
