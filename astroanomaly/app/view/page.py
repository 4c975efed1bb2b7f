"""One page: panels around one state, and the rule by which they follow it."""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable
from concurrent import futures
from typing import Any

from bokeh.document import Document
from bokeh.models import Column, CustomJS, Row

from astroanomaly.app.assets import asset
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.page_state import CANDIDATES, ViewState
from astroanomaly.app.review.page_status import model_input
from astroanomaly.app.review.shared_state import LATEST, SharedState
from astroanomaly.app.review.shown import ShownObjects
from astroanomaly.app.review.view_preferences import ViewPreferences
from astroanomaly.app.view.browser import Click, connect, remembered_name
from astroanomaly.app.view.desktop import Desktop, Link
from astroanomaly.app.view.keys import grade_keys, press
from astroanomaly.app.view.panels.annotators import Annotators
from astroanomaly.app.view.panels.chrome import Footer, Header, KeyTable
from astroanomaly.app.view.panels.export import Export
from astroanomaly.app.view.panels.inspector import Inspector
from astroanomaly.app.view.panels.learning import Learning
from astroanomaly.app.view.panels.maps import Maps
from astroanomaly.app.view.panels.mosaic import Mosaic
from astroanomaly.app.view.panels.page_bar import PageBar
from astroanomaly.app.view.panels.performance import Performance
from astroanomaly.app.view.panels.sidebar import Sidebar
from astroanomaly.app.view.panels.stretch_bar import StretchBar
from astroanomaly.app.view.theme import dress, dress_page, scale_text
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.plugins import load_plugins

__all__ = ["Page"]

_TICK_MS = 500
_LOOK_MS = 80  # somebody waits for a ranking
_WRITE_S = 0.05  # the event loop waits no longer for a verdict to be on disk
_log = logging.getLogger(__name__)


class Page:
    """Everything one browser shows.

    A handler changes the state, and only the state; then every panel is given the words for what changed and draws
    that.

    Parameters
    ----------
    document
        The Bokeh document to fill.
    shared, learner
        What all pages share.
    annotator
        Who sits here, until they say otherwise.
    vouched_by
        Who vouches for the name of the annotator, in words: then nobody can enter another; empty: nobody does.
    same_host
        Whether the browser may be on the computer of the server, so that programs there can be reached.
    desktop
        The connection to those programs, or to those on the computer of the browser, if somebody asked for one.
    """

    def __init__(
        self,
        document: Document,
        shared: SharedState,
        learner: Learner,
        annotator: str,
        *,
        same_host: bool = True,
        desktop: Link | None = None,
        vouched_by: str = "",
    ) -> None:
        self.document = document
        self.shared = shared
        self.learner = learner
        self.state = ViewState(shared, annotator)
        self.desktop = Desktop(self.state, desktop)
        if not vouched_by:
            self.state.set_annotator(remembered_name(document, annotator))
        self.state.is_ranking_behind = lambda: learner.is_behind
        if document.session_context is not None:  # there is an event loop that others wait for
            self.state.perform = self._perform
        self._written: Callable[[], None] | None = None  # goes on with what is being written
        self._held: list[Callable[[], None]] = []  # what was done on this page meanwhile
        self._looking, self._revision = False, shared.revision
        self._scores = dict(shared.described)
        self._audit_draws = shared.audit_draws
        self._zoom, self._room_number, self._answered = 1.0, 0, 0
        self._pending: dict[Any, set[str]] = {}
        self._asked: list[tuple[futures.Future[Any], Callable[[Any], None]]] = []
        state = self.state
        self._preferences = ViewPreferences(state)
        self.mosaic = Mosaic(state)
        self.page_bar = PageBar(state, self.act)
        self.stretch_bar = StretchBar(state, self.act)
        self.sidebar = Sidebar(state, self.act)
        self.inspector = Inspector(state, self.act, self.later, learner)
        self._panels_of_views: dict[str, Callable[[], Any]] = {
            "learning": lambda: Learning(state, self.act, learner, load_plugins("ranker").rankers),
            "performance": lambda: Performance(state, self.act, self.later, self._show_objects),
            "maps": lambda: Maps(state, self.act, self.later, self._show_objects, learner),
            "annotators": lambda: Annotators(state, self.act, self._show_objects),
            "export": lambda: Export(state, self.act, self._save_file, self.desktop, same_host=same_host),
        }
        self.views: dict[str, Any] = {}
        self.header = Header(state, self.act, [CANDIDATES, *self._panels_of_views], vouched_by)
        self.footer = Footer(state, model_input(shared))
        self.keys = KeyTable(state, self.act)
        self.panels: list[Any] = [
            self.mosaic, self.inspector, self.stretch_bar, self.page_bar, self.sidebar, self.header, self.footer,
            self.keys, ShownObjects(state, learner.writer.write),
        ]  # fmt: skip
        self.pages = Column(
            self.stretch_bar.root, self.page_bar.above, self.mosaic.root, self.inspector.root, self.page_bar.below,
            sizing_mode="stretch_both", spacing=0,
        )  # fmt: skip
        self.center = Column(self.pages, sizing_mode="stretch_both", spacing=0)
        self.body = Row(
            self.sidebar.root, self.center, sizing_mode="stretch_both", spacing=0, css_classes=["aa-body"], name="body"
        )
        self.root = Column(
            self.header.root, self.body, self.footer.root, self.footer.error, self.keys.root,
            css_classes=["aa-app"], sizing_mode="stretch_both", spacing=0, styles={"width": "100vw", "height": "100vh"},
        )  # fmt: skip
        dress_page(self.root)
        document.title = f"{shared.session.path.name} · AstroAnomaly"
        with document.models.freeze():  # else Bokeh walks through all models again after each of these
            document.add_root(self.root)
            self.bus = connect(
                document,
                self.inspector.root,
                self.mosaic.root,
                self.mosaic.cells,
                lambda key: self.act(lambda: press(state, key))(),
                lambda zoom: self.act(lambda: state.set_zoom(zoom))(),
                lambda width, height: self.act(lambda: state.set_area(width, height))(),
                lambda width, height, number: self.act(lambda: self._measured(width, height, number))(),
                lambda click: self.act(lambda: self._clicked(click))(),
                annotator=annotator, more_keys=grade_keys(shared.grades),
            )  # fmt: skip
            self.desktop.connect(self.bus)
            parts = {"bus": self.bus, "views": self.header.views, "body": self.body}
            self.header.views.js_on_change("active", CustomJS(args=parts, code=asset("views.js")))
            self.bus.js_on_change("opened", CustomJS(args=parts, code=asset("views.js")))
            self.bus.on_change("asked", lambda attr, old, new: self.act(lambda: self._open(*new))())
        document.on_session_destroyed(lambda context: self._preferences.follow())
        document.on_session_destroyed(lambda context: self.desktop.close())
        document.add_periodic_callback(self.act(self._tick), _TICK_MS)
        self.flush()

    def act(self, what: Callable[..., Any]) -> Callable[..., None]:
        """Wrap a handler: run it, then let the panels follow. What goes wrong is said on the page."""
        wanted = len(inspect.signature(what).parameters)  # a button's handler may or may not care for the event

        def handler(*arguments: Any) -> None:
            if what != self._tick:
                self.desktop.used()
            if self._written is not None:
                if what != self._tick:  # there will be others
                    self._held.append(lambda: handler(*arguments))
                return
            try:
                what(*arguments[:wanted])
            except AstroAnomalyError as error:
                self.state.say(str(error), "error")
            except Exception as error:  # noqa: BLE001 - the page must stay alive, and say what happened
                _log.exception("a handler failed")
                self.state.say(f"something went wrong: {type(error).__name__}: {error}", "error")
            self.flush()

        return handler

    def _perform(self, write: Callable[[], Any], written: Callable[[Callable[[], Any]], None]) -> None:
        """Have something written, without keeping the other pages waiting; this one does nothing else meanwhile."""
        future = self.learner.writer.write(write)
        with contextlib.suppress(futures.TimeoutError):
            future.exception(_WRITE_S)
        if future.done():
            written(future.result)
            return
        self.state.say("waiting for another process that is writing labels ...")
        self._written = lambda: written(future.result)
        future.add_done_callback(lambda _: self._call_back(self._go_on))

    def _call_back(self, function: Callable[[], None]) -> None:
        """Have the event loop call something, from any thread; a page that is closed needs nothing any more."""
        try:
            self.document.add_next_tick_callback(function)
        except (RuntimeError, ValueError) as error:
            _log.info("a page was closed while labels were written: %s", error)

    def _go_on(self) -> None:
        """Go on after something was written, then with what was done on this page meanwhile, in its order."""
        written, self._written = self._written, None
        if written is not None:
            self.act(written)()
        while self._held and self._written is None:
            self._held.pop(0)()

    def later(self, then: Callable[[Any], None], function: Callable[..., Any], *arguments: Any) -> None:
        """Have something found out without keeping the page waiting, and go on with what came of it."""
        self._asked.append((self.learner.ask(function, *arguments), then))

    def _answers(self) -> None:
        """Take the answers that have come."""
        done = [(future, then) for future, then in self._asked if future.done()]
        self._asked = [item for item in self._asked if item not in done]
        for future, then in done:
            self.act(lambda future=future, then=then: then(future.result()))()

    def _open(self, number: int, name: str) -> None:
        """Open the view of a tab that was clicked; the browser lights the tab of the view that is opened."""
        self._answered = number
        if name in self.header.views.labels and name != self.state.view:
            self.state.open_view(name)
        else:
            self.bus.opened = [number, self.state.view]

    def _measured(self, width: float, height: float, number: int) -> None:
        """Take the size of the mosaic on the screen; the answer is given once it is laid out for that."""
        self._room_number = number
        self.state.set_shape(width, height)
        self.state.dirty.add("shape")

    def _clicked(self, click: Click) -> None:
        """Take a click, unless it was made on another layout than the one there is: its object may be elsewhere."""
        state = self.state
        there = state.view == CANDIDATES and not state.inspecting and click.object_id in state.page.ids
        if not there or click.layout != self.mosaic.layout:
            return
        cell = state.page.ids.index(click.object_id)
        if click.double and not state.click_marks:
            state.open(cell)
        else:
            state.click(cell, extend=click.shift, toggle=click.ctrl)

    def flush(self) -> None:
        """Let the panels follow the state."""
        if self.state.is_held_up and not self._looking:
            self._looking = True
            self.document.add_timeout_callback(self._look, _LOOK_MS)
        dirty, self.state.dirty = self.state.dirty, set()
        if dirty and self.mosaic.has_to_move(dirty):
            self.bus.laid = None  # not to be seen before it is complete
        if "zoom" in dirty:
            scale_text(self.root, self.state.zoom / self._zoom)
            self._zoom = self.state.zoom
        if "view" in dirty:
            self._arrange()
        if not dirty:
            return
        self.bus.update(annotator=self.state.annotator, marking=self.state.click_marks)
        for panel in self.panels:
            self._follow(panel, dirty)
        if self.state.view in self.views:
            self._follow(self.views[self.state.view], dirty | ({"scores", "marks"} if "view" in dirty else set()))
        if not self.state.inspecting:
            laid = [self._room_number, self.mosaic.layout]
            if self.bus.laid != laid:
                self.bus.laid = laid
        self.bus.opened = [self._answered, self.state.view]
        if self.state.dirty:  # a panel had something to say
            self.footer.update(self.state.dirty)
            self.state.dirty = set()

    def _follow(self, panel: Any, dirty: set[str]) -> None:
        """Let one panel follow; what goes wrong there is said, tried again next time, and stops no other panel."""
        dirty = dirty | self._pending.pop(panel, set())
        try:
            panel.update(dirty)
        except Exception as error:  # noqa: BLE001 - the other panels must follow, and the page must say it
            if not isinstance(error, AstroAnomalyError):
                _log.exception("a panel failed")
            self._pending[panel] = dirty
            self.state.say(f"the page could not be drawn: {error}", "error")

    def _look(self) -> None:
        """Look for the ranking that somebody waits for, again and again until it is there."""
        self._looking = False

        def look() -> None:
            self.learner.tick(hurry=True)
            self.state.fill_rows()

        self.act(look)()

    def _tick(self) -> None:
        """Take in what others said and what was computed meanwhile; the objects on show stay as they are."""
        shared = self.shared
        shared.refresh(at_most_every_s=_TICK_MS / 2000)
        shared.read_round()
        self.learner.tick()
        self.state.fill_rows()
        if shared.revision != self._revision:
            self._revision = shared.revision
            self.state.dirty.add("marks")
        if shared.audit_draws != self._audit_draws:
            self._audit_draws = shared.audit_draws
            self.state.take_audit()
        self.state.follow_lists()
        if shared.described != self._scores:
            if shared.described.get(LATEST) != self._scores.get(LATEST):
                self.state.take_round()
            self._scores = dict(shared.described)
            self.state.dirty |= {"scores", "options"}
        self._answers()
        self.desktop.follow()
        self.header.show_progress(self.learner)
        self.sidebar.settle()
        self.page_bar.settle()
        self.footer.settle()
        if self.state.view in self.views:
            self._follow(self.views[self.state.view], self.state.dirty)
        self._preferences.follow()

    def _save_file(self, name: str, mime: str, content: bytes) -> None:
        """Let the browser save a file."""
        self.bus.save(name, mime, content)

    def _show_objects(self, ids: list[str], ordering: str) -> None:
        """Show objects on the first view."""
        self.state.show(ids, ordering)

    def _arrange(self) -> None:
        """Show the view that was chosen, made when it is first asked for, and hide the others."""
        chosen = self.state.view
        if chosen in self._panels_of_views and chosen not in self.views:
            panel = self.views[chosen] = self._panels_of_views[chosen]()
            dress(panel.root)
            scale_text(panel.root, self._zoom)
            self.center.children = [*self.center.children, panel.root]
        for name, panel in self.views.items():  # what goes makes room before anything comes
            if name != chosen:
                panel.root.visible = False
        if self.state.inspecting:
            self.mosaic.root.visible = False
        self.sidebar.root.visible = chosen == CANDIDATES
        self.pages.visible = chosen == CANDIDATES
        if chosen in self.views:
            self.views[chosen].root.visible = True
        self.inspector.root.visible = self.state.inspecting
        self.mosaic.root.visible = not self.state.inspecting
