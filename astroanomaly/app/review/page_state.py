"""The state of one page: cursor, pages, selection, and the verdicts that its keys give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from astroanomaly.app.review.filters import Filters, RejectedFilter, change_filters
from astroanomaly.app.review.grades import shown_label, shown_style
from astroanomaly.app.review.grid_layout import grid_shape
from astroanomaly.app.review.page_filling import PageFilling
from astroanomaly.app.review.paging import COLUMN_ORDERINGS, ORDERINGS, ObjectChoice, ObjectPage
from astroanomaly.app.review.scatter import OWN_AXES, ScatterAxes
from astroanomaly.app.review.shared_state import LATEST, SharedState
from astroanomaly.app.review.verdicts import Mark, Verdicts
from astroanomaly.config import nearest
from astroanomaly.errors import AstroAnomalyError, ConfigError
from astroanomaly.imaging.class_marks import MarkStyle
from astroanomaly.imaging.orientation import OrientationChoice
from astroanomaly.labels.consensus import DECISION
from astroanomaly.records import NOMINAL
from astroanomaly.session.campaign.lists import annotator_name

__all__ = ["CANDIDATES", "PAGE_SIZES", "Message", "ViewState"]

CANDIDATES = "candidates"  # the view with the mosaic
PAGE_SIZES = (9, 12, 16, 20, 25, 30, 36, 49, 64, 81, 100)


@dataclass(frozen=True)
class Message:
    """Something to tell the person at the page."""

    text: str = ""
    kind: Literal["info", "error"] = "info"


def _at_once(write: Callable[[], Any], written: Callable[[Callable[[], Any]], None]) -> None:
    written(write)


class ViewState(PageFilling):
    """One page in one browser.

    Every public method notes in `dirty` what it changed, in words the panels know: ``page`` (other objects), ``marks``,
    ``cursor``, ``display``, ``options``, ``view``, ``zoom``, ``shape``, ``area``, ``message``.

    Parameters
    ----------
    shared
        What all pages share.
    annotator
        Who sits at this page.
    seed
        Seed of random orders and repeats; None: another one each time.

    Attributes
    ----------
    is_ranking_behind
        Tells whether a ranking is under way that will know more verdicts than the newest one: rows wait for it.
    perform
        Writes something, the first argument, and goes on with the second, which is given what returns the result or
        raises the error; at once, unless a server has it done beside its event loop.
    column
        The catalogue column that one of `COLUMN_ORDERINGS` goes by; empty until somebody orders so.
    scatter
        What the scatter plot has on its axes.
    shape, area
        Width and height on the screen of the place for the mosaic, and of that for the inspector, in CSS pixels.
    click_marks
        What a click labels an object as; empty, as at the start of every visit: a click selects.
    rejected
        By the name of the field: filters that cannot be, which are not in force, kept until they are put right.
    damaged
        Objects of the page whose pixels cannot be read.
    unreadable
        Why the cutouts of the page cannot be shown; while they are not seen, no verdict is taken.
    """

    def __init__(self, shared: SharedState, annotator: str, seed: int | None = None) -> None:
        self.shared = shared
        self.verdicts = Verdicts(shared, annotator)
        self.rng = np.random.default_rng(seed)
        self.ordering = "score"
        self.column = ""
        self.by = ""
        self.filters = Filters()
        self.rejected: dict[str, RejectedFilter] = {}
        self.audit = False
        self.assigned = bool(shared.assignments.left(annotator))
        self._lists = shared.assignments.version
        self.page_size = 25
        self.row_by_row = True
        self.is_ranking_behind: Callable[[], bool] = lambda: False
        self.perform: Callable[[Callable[[], Any], Callable[[Callable[[], Any]], None]], None] = _at_once
        self.columns, self.rows = grid_shape(self.page_size, 1.5, 1)
        self.shape = self.area = (1.5, 1.0)
        self.auto_advance = True
        self.click_marks = ""
        self.repeat_share = 0.0
        self.display = shared.cache.pictures.usual_display
        self.scatter = ScatterAxes.usual(shared)
        self._north: OrientationChoice = "north"  # how north is brought up, when it is
        self.pages: list[ObjectPage] = []
        self.number = -1
        self.cursor = 0
        self.selection: frozenset[int] = frozenset()
        self._anchor = 0  # where a range that is selected begins
        self.view = CANDIDATES
        self.zoom = 1.0
        self.inspecting = False
        self.helping = False
        self.message = Message()
        self.dirty: set[str] = set()
        self.unreadable = ""
        self.damaged: frozenset[str] = frozenset()
        self._due_since: float | None = None  # when rows were due that wait for a ranking, on the monotonic clock
        self.restart()

    # ------------------------------------------------------------------------------------------------- what is shown

    @property
    def current(self) -> str:
        """Id of the object under the cursor; empty on an empty page, and where none is chosen yet."""
        return self.page.ids[self.cursor] if self.cursor < len(self.page.ids) else ""

    @property
    def annotator(self) -> str:
        """Who sits at this page."""
        return self.verdicts.annotator

    @property
    def is_outdated(self) -> bool:
        """Whether there is another ranking than the one that the page's last objects were chosen from."""
        page = self.page.last
        if self.audit or self.assigned or not page.left or self.ordering in COLUMN_ORDERINGS:
            return False
        return (page.by, page.ranked) != (self.by_name, self.shared.describe_scores(self.by_name))

    def why_empty(self) -> str:
        """Say why there is no object on the page, and what to do."""
        if self.audit:
            return "You have labelled the whole audit set: see *performance*, or choose *show: candidates*."
        if self.assigned:
            return "You have judged all objects on your list: choose *show: candidates*."
        if self.filters == Filters():
            return "Every object has a verdict. Choose *show only: everything* to see them again."
        return "No object passes the filters: clear them, or widen them."

    def mark(self, object_id: str) -> Mark:
        """Return what to draw on an object."""
        return self.verdicts.mark(object_id, self.page)

    def is_hidden(self, object_id: str) -> bool:
        """Whether scores, catalogue and earlier verdicts of an object must not be shown."""
        return self.verdicts.is_hidden(object_id, self.page)

    def tally(self, object_id: str) -> str:
        """Say how many people gave which verdict, where a page is of decisions; else nothing."""
        if self.page.choice_of(object_id).ordering != DECISION or self.is_hidden(object_id):
            return ""
        votes = Counter(self.shared.consensus_of(object_id).votes.values())
        return " · ".join(f"{number} {self.called(label)}" for label, number in votes.most_common())

    def called(self, label: str, *, meaning: bool = False) -> str:
        """Return what a label is called on the page, see `shown_label`."""
        return shown_label(self.shared, label, meaning=meaning)

    def style(self, label: str) -> MarkStyle:
        """Return how a label is marked on the page, see `shown_style`."""
        return shown_style(self.shared, label)

    def name_of(self, object_id: str) -> str:
        """Return what an object is called on the page: its id, without folders while it is shown blind.

        Pictures are often sorted into folders by their class.
        """
        return object_id.rpartition("/")[2] or object_id if self.is_hidden(object_id) else object_id

    # ---------------------------------------------------------------------------------------------------------- pages

    def restart(self) -> None:
        """Begin again with a first page from the latest ranking."""
        before = (self.pages, self.number, self.cursor)
        self.pages, self.number, self.cursor = [], -1, 0
        try:
            self._add_page(wait=False)
        except Exception:
            self.pages, self.number, self.cursor = before
            raise
        self._deselect()
        self.dirty |= {"page", "marks", "cursor", "options"}

    def turn(self, step: int) -> None:
        """Go to the next or to an earlier page. Earlier pages stay as they were.

        From a page with rows that wait for verdicts, the first step on has them chosen without.
        """
        self.say("")
        page = self.page
        if step > 0 and page.waiting:
            self.pages[self.number] = replace(page, at_once=True)
            self._deselect()
            self.move_cursor_to(len(page.ids))
            self._fill(now=page.at_once)
            if self.page.waiting or self.page != page:
                return
        self._open_page(self.number + step)

    def _open_page(self, wanted: int) -> None:
        """Go to a page by its number, which may be the next one that there is not yet."""
        if wanted < 0:
            self.say("this is the first page")
            return
        if wanted >= len(self.pages) and not self._add_page(wait=True):
            self._say_nothing_more()
            return
        self.number = min(wanted, len(self.pages) - 1)
        self._lay_out()
        self.cursor = 0
        self._deselect()
        self._due_since = None
        self.dirty |= {"page", "marks", "cursor"}

    def _say_nothing_more(self) -> None:
        if self.assigned:
            left = len(self.shared.assignments.left(self.annotator))
            self.say(
                f"this is the end of your list, but {left:,} before it are left to judge: `restart from the top`"
                if left
                else "your list is done, thank you: choose `show: candidates`"
            )
            return
        self.say(
            "the audit set is complete: see *performance*"
            if self.audit
            else "there is nothing more to show in this order and with these filters"
        )

    def show(self, ids: Sequence[str], ordering: str) -> None:
        """Show given objects as a page of their own: a selection on a map, the nearest to another object."""
        for start in range(0, len(ids), self.page_size):
            choice = ObjectChoice.of(self.shared, ids[start : start + self.page_size], ordering, self.by_name)
            page = ObjectPage((choice,), len(choice.ids))
            self.pages.insert(self.number + 1 + start // self.page_size, page)
        if ids:
            self.inspecting = False
            self.say("")
            self.open_view(CANDIDATES)
            self._open_page(self.number + 1)

    def fill_rows(self) -> None:
        """Choose the rows of the page that are due, unless a ranking is under way that is worth waiting for."""
        self._fill()
        page = self.page
        if not page.waiting and self.cursor >= len(page.ids) > 0:
            self.move_cursor_to(len(page.ids) - 1)
            self._say_nothing_more()
        elif not page.cells and self.number > 0:  # opened for a ranking to come, which has nothing more to show
            self.pages.pop(self.number)
            self._open_page(self.number - 1)
            self._say_nothing_more()

    def set_shape(self, width: float, height: float) -> None:
        """Set how much room there is for the mosaic on the screen; the grid follows."""
        if width > 0 and height > 0 and self.shape != (width, height):
            self.shape = (width, height)
            self.dirty.add("shape")
            self._lay_out()

    def set_area(self, width: float, height: float) -> None:
        """Set how much room there is for the inspector."""
        if width > 0 and height > 0 and self.area != (width, height):
            self.area = (width, height)
            self.dirty.add("area")

    def _lay_out(self) -> None:
        layout = self.shared.cache.layout
        width, height = self.shape[0] / layout.width, self.shape[1] / layout.height  # in cutouts, which may be oblong
        grid = grid_shape(self.page.cells or self.page_size, width, height)
        if grid != (self.columns, self.rows):
            self.columns, self.rows = grid
            self.dirty |= {"page", "marks", "cursor"}

    def take_round(self) -> None:
        """Order by a round that has just been scored, from the next page on."""
        if self.by:
            self.by = LATEST
        described = self.shared.described.get(LATEST, "")
        self.say(f"{described}: trained and scored; the next pages are ranked by it")
        self.dirty.add("options")

    def take_audit(self) -> None:
        """Begin again without the objects of an audit set that has just been drawn."""
        self.restart()
        self.say(f"there is an audit set of {len(self.shared.audit)} objects: see *show: the audit set, blind*")

    def follow_lists(self) -> None:
        """Take a list that was made, or given up, since this was last asked."""
        if self._lists != self.shared.assignments.version:
            self._lists = self.shared.assignments.version
            self.take_list()
            self.dirty.add("options")

    def take_list(self) -> None:
        """Begin with the list of whoever sits here, if there is something left on it; else with the candidates."""
        left = len(self.shared.assignments.left(self.annotator))
        if left or self.assigned:
            self.set_options(assigned=bool(left), audit=False)
        if left:
            self.say(f"{left:,} objects on your list are left to judge; what others say of them is hidden until then")

    def set_zoom(self, zoom: float) -> None:
        """Tell by how much text and marks are larger than usual, on a large screen."""
        if zoom != self.zoom and 1 <= zoom <= 3:
            self.zoom = zoom
            self.dirty |= {"zoom", "marks", "cursor", "view"}

    def open_view(self, name: str) -> None:
        """Go to the candidates or to another view, where keys give no verdicts."""
        self.view = name
        self.dirty.add("view")

    # ------------------------------------------------------------------------------------------------------- options

    def set_options(self, **changes: Any) -> None:
        """Change the order, what is shown, or the size of the page, by the names of the attributes.

        ``ordering``, ``column``, ``by``, ``audit``, ``assigned``, ``page_size``, ``row_by_row``, ``repeat_share`` or
        ``filters``. All begins again with a first page. An order by a column begins with the first column of numbers.

        Nothing changes where a value cannot be, and a message says why.
        """
        if changes.get("ordering") in COLUMN_ORDERINGS and not self.column:
            changes = {"column": next(iter(self.shared.number_columns.names), ""), **changes}
        before = {name: getattr(self, name) for name in changes}
        try:
            for name, value in changes.items():
                self._check(name, value)
                setattr(self, name, value)
            self._lay_out()
            self.restart()
            self.say("")
        except AstroAnomalyError as error:
            self._restore(before)
            if "filters" not in changes:  # what was typed stays, to be put right
                self.dirty.add("options")
            self.say(str(error), "error")
        except Exception:
            self._restore(before)
            raise

    def _restore(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self._lay_out()

    def _check(self, name: str, value: Any) -> None:
        known: dict[str, Iterable[Any]] = {"ordering": ORDERINGS, "page_size": PAGE_SIZES, "audit": (False, True)}
        known["row_by_row"] = known["assigned"] = (False, True)
        if name in known and value not in known[name]:
            raise ConfigError(f"{name}={value!r}: expected one of {', '.join(map(str, known[name]))}")
        if name == "column" and value:
            self.shared.number_columns.values(value)  # raises an error unless it is one
        if name == "ordering" and value in COLUMN_ORDERINGS and not self.column:
            raise ConfigError("there is no column of numbers to order by in the catalogue of this session")
        if name == "repeat_share" and not 0 <= value <= 0.5:
            raise ConfigError(f"a share of {value} blind repeats: expected 0 to 0.5")
        if name == "audit" and value and not self.shared.audit:
            raise ConfigError(
                "this session has no audit set: draw one under performance, or with `astroanomaly audit SESSION N`"
            )

    def set_filters(self, **changes: Any) -> None:
        """Change some of the filters; those that cannot be are kept aside, and a message says why."""
        self.dirty.add("options")
        holding, self.rejected = change_filters(
            self.filters, self.rejected, changes, lambda filters: self.shared.matching(filters, self.by_name)
        )
        if holding != self.filters:
            self.set_options(filters=holding)
        wrong = [self.rejected[name].why for name in changes if name in self.rejected]
        if wrong:
            self.say(wrong[0], "error")
        elif not self.rejected:
            self.say("")

    def clear_filters(self) -> None:
        """Show all unlabelled objects again."""
        self.rejected = {}
        self.dirty.add("options")
        self.set_options(filters=Filters())

    def set_click_marks(self, value: str) -> None:
        """Let clicks label objects as a class; an empty value lets them select."""
        if value and value not in self.shared.classes:
            raise ConfigError(f"a click cannot label as {value!r}: expected one of {', '.join(self.shared.classes)}")
        self.click_marks = value
        self.dirty.add("options")

    def set_display(self, **changes: Any) -> None:
        """Change how cutouts are displayed, see `Display.changed`.

        A manual interval without levels begins at the range of the data.
        """
        begins = changes.get("interval") == "manual" != self.display.stretch.interval
        try:
            if begins and not {"black", "white"} & set(changes):
                black, white = self.shared.cache.pictures.data_range(self.display)
                changes = {**changes, "black": black, "white": white}
            display = self.display.changed(**changes)
            display.rows(self.shared.cache.bands)
        except AstroAnomalyError as error:
            self.say(str(error), "error")
            return
        self.say("")
        if display != self.display:
            self.display = display
            self.dirty |= {"display", "options"}

    def set_scatter(self, **changes: Any) -> None:
        """Change what the scatter plot has on its axes, see `ScatterAxes`."""
        axes = replace(self.scatter, **changes)
        known = (*self.shared.number_columns.names, *OWN_AXES)
        for name in (axes.x, axes.y):
            if name not in known:
                raise ConfigError(f"there is no axis {name!r}{nearest(name, known)} (known: {', '.join(known)})")
        self.scatter = axes
        self.dirty.add("options")

    def toggle_north(self) -> None:
        """Show cutouts as their pixels are stored, or north up again, in the way it was before."""
        before = self.display.orientation
        self.set_display(orientation=self._north if before == "stored" else "stored")
        self._north = self._north if before == "stored" else before
        stored = self.display.orientation == "stored"
        self.say("as the pixels are stored" if stored else "north up, east to the left, where there is a WCS")

    def set_annotator(self, name: str) -> None:
        """Say who sits at this page."""
        try:
            name = annotator_name(name)
        except ConfigError as error:
            self.dirty.add("options")
            self.say(str(error), "error")
            return
        if name != self.annotator:
            self.verdicts.annotator = name
            self.say("")
            self.dirty |= {"marks", "options"}
            self.take_list()

    def say(self, text: str, kind: Literal["info", "error"] = "info") -> None:
        """Show a message; an empty one takes the last away."""
        message = Message(text, kind)
        if message != self.message:
            self.message = message
            self.dirty.add("message")

    # ------------------------------------------------------------------------------------------------------ verdicts

    def move(self, step: int) -> None:
        """Move the cursor by some cells; in the inspector one by one, over the ends of the page."""
        if not self.page.ids:
            return
        if self.inspecting:
            step = 1 if step > 0 else -1
        wanted = self.cursor + step
        if wanted >= len(self.page.ids) and self.page.waiting:  # beyond what was chosen: that row, without verdicts
            self._choose(min(self.page.waiting, self.columns - len(self.page.ids) % self.columns))
        last = len(self.page.ids) - 1
        if self.inspecting and not 0 <= wanted <= last:
            self.turn(step)
            self.cursor = 0 if step > 0 else max(0, len(self.page.ids) - 1)
            self._deselect()
            return
        if 0 <= wanted <= last:
            self.move_cursor_to(wanted)
        elif step > 1:  # down from the row above the last, where there is nothing below
            self.move_cursor_to(last)

    def inspect(self) -> None:
        """Open the inspector on the object under the cursor, or close it."""
        self.inspecting = not self.inspecting and bool(self.current)
        self.dirty.add("view")

    def help(self) -> None:
        """Show or hide the table of keys."""
        self.helping = not self.helping
        self.dirty.add("view")

    def escape(self) -> None:
        """Close what is open: the table of keys, another view, or inspector and selection."""
        if self.helping:
            self.helping = False
        elif self.view != CANDIDATES:
            self.open_view(CANDIDATES)
        elif self.inspecting or len(self.selection) > 1:
            self.inspecting = False
            self._deselect()
        else:
            self._deselect()
            self.set_click_marks("")
        self.say("")
        self.dirty |= {"view", "cursor"}

    def move_cursor_to(self, cell: int) -> None:
        """Move the cursor to a cell; nothing else stays selected."""
        self.say("")
        self.cursor = cell
        self._deselect()

    def _deselect(self) -> None:
        self.selection = frozenset()
        self._anchor = self.cursor
        self.dirty.add("cursor")

    def click(self, cell: int, *, extend: bool = False, toggle: bool = False) -> None:
        """Select a cell; while clicks mark, label it, or clear one's own mark.

        Parameters
        ----------
        cell
            Its number on the page; others are left out.
        extend
            Select from the last cell that was clicked, else from the cursor, to this one.
        toggle
            Add the cell to the selection, or take it out; with ``extend`` the whole range is added.
        """
        if not 0 <= cell < len(self.page.ids):
            return
        if extend:
            first, last = sorted((self._anchor, cell))
            self.selection = frozenset(range(first, last + 1)) | (self.selection if toggle else frozenset())
            self.dirty.add("cursor")
            return
        if toggle:
            selection = self.selection ^ {cell}
            self.move_cursor_to(cell)
            self.selection = selection
            return
        self.move_cursor_to(cell)
        if not self.click_marks:
            self.selection = frozenset({cell})
            return
        mark = self.mark(self.current)
        if mark.own and mark.label:
            self.clear()
        else:
            self._give([self.current], self.click_marks)

    def open(self, cell: int) -> None:
        """Open the inspector on a cell."""
        if 0 <= cell < len(self.page.ids):
            self.move_cursor_to(cell)
            self.inspecting = True
            self.dirty.add("view")

    def targets(self) -> list[str]:
        """Objects that a key applies to: the selection, else, and in the inspector, the one under the cursor."""
        if self.selection and not self.inspecting:
            return [self.page.ids[cell] for cell in sorted(self.selection)]
        return [self.current] if self.current else []

    def verdict(self, value: str) -> None:
        """Give a verdict on the selection, or on the object under the cursor."""
        self._give(self.targets(), value, self._advance)

    def rest_nominal(self) -> None:
        """Label all objects of this page nominal that have no mark yet; one action, undone as one."""
        unmarked = (object_id for object_id in self.page.ids if not self.mark(object_id).label)
        rest = [object_id for object_id in unmarked if object_id not in self.damaged]
        if not rest:
            self.say("every object on this page has a verdict or is skipped")
            return
        first_waiting = len(self.page.ids) if self.page.waiting else None

        def done() -> None:
            if first_waiting is not None and self.auto_advance:
                self.move_cursor_to(first_waiting)
            self.say(f"{len(rest)} objects labelled nominal; u undoes all of them")

        self._give(rest, NOMINAL, done)

    def skip(self) -> None:
        """Say that these objects were seen and not decided."""
        ids = self.targets()
        self._write("skip", ids, lambda: self.verdicts.skip(ids, self.page), self._advance)

    def flag(self) -> None:
        """Flag objects for another look; the cursor stays."""
        ids = self.targets()
        self._write("flag", ids, lambda: self.verdicts.flag(ids, self.page))

    def note(self, text: str) -> None:
        """Write a note to the object under the cursor."""
        ids = [self.current] if self.current and text.strip() else []
        self._write("note", ids, lambda: self.verdicts.note(self.current, text.strip()))

    def clear(self) -> None:
        """Take back one's own word on the selection, or on the object under the cursor."""
        ids = self.targets()
        self._write("clear", ids, lambda: self.verdicts.clear(ids, self.page))

    def undo(self) -> None:
        """Take back one's own latest action, wherever it was, and go there."""
        taken: list[int | None] = []

        def done() -> None:
            if taken[0] is None:
                self.say("there is nothing left to undo")
                return
            ids = self.shared.consensus.members(taken[0])
            self._go_to(ids)
            self._deselect()
            self.say(f"undid your action on {self.name_of(ids[0]) if len(ids) == 1 else f'{len(ids)} objects'}")

        self._write("undo", None, lambda: taken.append(self.verdicts.undo()), done)

    def _go_to(self, ids: Sequence[str]) -> None:
        """Put the cursor on the first of some objects, on the latest page that shows it."""
        for number in range(len(self.pages) - 1, -1, -1):
            shown = [cell for cell, object_id in enumerate(self.pages[number].ids) if object_id in ids[:1]]
            if shown:
                if number != self.number:
                    self.number = number
                    self._lay_out()
                    self.dirty |= {"page", "marks"}
                self.move_cursor_to(shown[0])
                return

    def _give(self, ids: Sequence[str], value: str, then: Callable[[], None] | None = None) -> None:
        self._write("verdict", ids, lambda: self.verdicts.verdict(ids, value, self.page), then)

    def _write(
        self,
        what: str,
        ids: Sequence[str] | None,
        write: Callable[[], Any],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Write something to the log; only what is on disk is shown.

        Parameters
        ----------
        ids
            The objects it is said of; None where it is not about objects on the page.
        write
            Writes it; it may run beside the event loop, while nothing else happens to this page.
        then
            What follows once it is on disk.
        """
        if ids is not None and not ids:
            return
        if ids is not None and self.unreadable:
            self.say(f"no {what} on cutouts that cannot be shown: {self.unreadable}", "error")
            return
        hidden = self.damaged.intersection(ids or ())
        if hidden and what == "verdict":
            self.say(f"no {what} on what cannot be shown, as its file is damaged: {', '.join(sorted(hidden))}", "error")
            return

        def written(outcome: Callable[[], Any]) -> None:
            try:
                outcome()
            except AstroAnomalyError as error:
                self.say(f"this {what} was NOT saved: {error}", "error")
                return
            self.say("")
            self.dirty |= {"marks"}
            try:
                self.shared.refresh()
                self._fill()
            except AstroAnomalyError as error:
                self.say(f"this {what} is saved, but cannot be read back yet: {error}", "error")
            if then is not None:
                then()

        self.perform(write, written)

    def _advance(self) -> None:
        """Go on after a verdict: to the next object, or from the last one to the next page."""
        cell = max(self.selection) if self.selection and not self.inspecting else self.cursor
        self._deselect()
        if not self.auto_advance:
            return
        if cell + 1 < len(self.page.ids) + bool(self.page.waiting):
            self.move_cursor_to(cell + 1)
        else:
            inspecting = self.inspecting
            self.turn(1)
            self.inspecting = inspecting
