"""One page and the programs on the desktop: it opens what they point at, and tells them what is selected on it."""

from __future__ import annotations

from bokeh.models import UIElement

from astroanomaly.app.background.samp import SampLink
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.pointed import open_pointed, selected_object
from astroanomaly.app.view.browser import Bus
from astroanomaly.app.view.web_samp import WebSamp

__all__ = ["Desktop", "Link"]

Link = SampLink | WebSamp  # the hub of the server's desktop, or of the browser's


class Desktop:
    """What passes between a page and the SAMP hub; nothing without a connection.

    Parameters
    ----------
    state
        The page.
    link
        The connection that all pages share, or that of this page's browser; None unless somebody asked for one.
    """

    def __init__(self, state: ViewState, link: Link | None) -> None:
        self.state = state
        self._link = link
        self._told = ""  # which object the other programs know to be selected
        self.used()

    @property
    def controls(self) -> tuple[UIElement, ...]:
        """What the page shows of the connection."""
        return (self._link.root,) if isinstance(self._link, WebSamp) else ()

    def connect(self, bus: Bus) -> None:
        """Let the browser of this page make the connection, if it is its own."""
        if isinstance(self._link, WebSamp):
            self._link.connect(bus)

    def used(self) -> None:
        """Take note that somebody uses this page: what arrives is for it."""
        if self._link is not None:
            self._link.used(self)

    def follow(self) -> None:
        """Open what another program points at, and tell the others what is selected here since the last look."""
        if self._link is None:
            return
        state = self.state
        pointed = self._link.take(self)
        if pointed is not None:
            open_pointed(state, pointed)
            self._told = selected_object(state)  # they know
        selected = selected_object(state)
        if selected and selected != self._told:
            self._told = selected
            row = state.shared.cache.rows([selected])[0]
            self._link.tell(selected, *(float(values[row]) for values in state.shared.cache.positions))

    def sent(self, table_id: str, ids: list[str]) -> None:
        """Keep in mind which objects are in the rows of a table that was sent."""
        if self._link is not None:
            self._link.remember(table_id, ids)

    def close(self) -> None:
        """Leave: nothing that arrives is for this page any more."""
        if self._link is not None:
            self._link.left(self)
