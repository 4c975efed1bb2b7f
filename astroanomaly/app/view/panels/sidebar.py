"""The sidebar: order, filters, options of the page, and counts of labels."""

from __future__ import annotations

from html import escape
from typing import Any

from bokeh.models import Button, Column, Div, NumericInput, Row, Select, Switch, TextInput, Widget

from astroanomaly.app.review.filters import EVERYTHING, LABELLED, NOT_MINE, SPECIAL, UNLABELLED, Filters
from astroanomaly.app.review.grades import grade_filters, offered_classes
from astroanomaly.app.review.known_objects import STATES
from astroanomaly.app.review.page_state import PAGE_SIZES, ViewState
from astroanomaly.app.review.page_status import label_counts
from astroanomaly.app.review.paging import ASSIGNED, COLUMN_ORDERINGS, ORDERINGS
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE
from astroanomaly.app.view.keys import key_of_class
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import NOMINAL

__all__ = ["Sidebar"]

_WIDTH_PX = 232
_HALF_WIDTH_PX = 112
_SHORT_NAME, _SHORT_COUNT = 8, 1000  # letters of classes, and counts, that fit two in a line
_AUTOMATIC = "automatic (best informed)"
_RESTART, _NEWER = "restart from the top", "use newer ranking"
_MODES = [("candidates", "candidates"), ("list", "your list, blind"), ("audit", "the audit set, blind")]
_FILTERS = ("labels", "annotator", "lowest", "highest", "region", "expression", "known")


class Sidebar:
    """Controls of the page, and the counts."""

    def __init__(self, state: ViewState, act: Any) -> None:
        self.state = state
        self._syncing = False
        classes = list(state.shared.classes)
        named = [(word, state.called(word)) for word in classes]
        kinds = [UNLABELLED, NOT_MINE, EVERYTHING, LABELLED, *named, *grade_filters(state.shared), DISPUTED, *SPECIAL]
        given = [word for word in offered_classes(state.shared) if word != NOMINAL]
        marks = [(word, state.called(word)) for word in (*given, NOMINAL)]
        self.mode = Select(title="show", options=[_MODES[0]], width=_WIDTH_PX)
        columns = list(state.shared.number_columns.names)
        offered = [(k, v[0]) for k, v in ORDERINGS.items() if columns or k not in COLUMN_ORDERINGS]
        self.ordering = Select(title="order", options=offered, width=_WIDTH_PX)
        self.column = Select(title="column", options=columns, width=_WIDTH_PX, name="order_column")
        self.by = Select(title="ranked by", options=[("", _AUTOMATIC)], width=_WIDTH_PX)
        self.labels = Select(title="show only", options=kinds, width=_HALF_WIDTH_PX)
        self.annotator = Select(title="labelled by", options=[("", "anybody")], width=_HALF_WIDTH_PX)
        self.lowest = NumericInput(title="minimum score", mode="float", width=_HALF_WIDTH_PX)
        self.highest = NumericInput(title="maximum score", mode="float", width=_HALF_WIDTH_PX)
        self.region = TextInput(title="sky region: RA Dec radius", placeholder="150.1 +2.2 0.5deg", width=_WIDTH_PX)
        self.expression = TextInput(title="catalogue columns", placeholder="mag < 22 and size > 3", width=_WIDTH_PX)
        self.known = Select(title="in catalogues", options=[("", "known or not"), *STATES], width=_WIDTH_PX)
        self.page_size = Select(title="objects per page", options=[str(n) for n in PAGE_SIZES], width=_HALF_WIDTH_PX)
        self.click = Select(title="marking labels as", options=marks, width=_HALF_WIDTH_PX - 14)
        self.marking = Switch(active=False, name="mark_by_click")
        self.advance = Switch(active=True)
        self.row_by_row = Switch(active=True)
        self.repeats = NumericInput(title="blind repeats, %", mode="float", low=0, high=50, width=_HALF_WIDTH_PX)
        self.rest_nominal = Button(label="r label rest of page nominal", width=_WIDTH_PX, button_type="default")
        self.restart = Button(label=_RESTART, width=_WIDTH_PX - 98, name="restart")
        self.clear = Button(label="clear filters", width=90, disabled=True, name="clear_filters")
        self.wrong = Div(width=_WIDTH_PX, disable_math=True, visible=False, name="rejected_filters")
        self.counts = Div(width=_WIDTH_PX, disable_math=True)
        self.summary = Div(width=_WIDTH_PX, height=34, disable_math=True)

        def on(widget: Any, what: Any, name: str = "value") -> None:
            def handle(attr: str, old: Any, new: Any) -> None:
                if not self._syncing:
                    act(lambda: what(new))()

            widget.on_change(name, handle)

        on(self.mode, lambda value: state.set_options(audit=value == "audit", assigned=value == "list"))
        on(self.ordering, lambda value: state.set_options(ordering=value))
        on(self.column, lambda value: state.set_options(column=value))
        on(self.by, lambda value: state.set_options(by=value))
        on(self.page_size, lambda value: state.set_options(page_size=int(value)))
        on(self.repeats, lambda value: state.set_options(repeat_share=(value or 0) / 100))
        for name in _FILTERS:
            on(getattr(self, name), lambda value, name=name: state.set_filters(**{name: value}))
        on(self.click, lambda value: state.set_click_marks(str(value)) if self.marking.active else None)
        on(self.marking, lambda active: state.set_click_marks(str(self.click.value) if active else ""), "active")
        on(self.advance, self._set_advance, "active")
        on(self.row_by_row, lambda value: state.set_options(row_by_row=value), "active")
        self.rest_nominal.on_click(act(state.rest_nominal))
        self.restart.on_click(act(state.restart))
        self.clear.on_click(act(state.clear_filters))
        goes_on = Row(self.advance, Div(text="advance after a verdict"), spacing=8)
        by_rows = Row(self.row_by_row, Div(text="choose rows as verdicts are given"), spacing=8)
        marks = Row(
            self.marking,
            Div(text="mark by click", styles={"white-space": "nowrap"}),
            spacing=5,
            styles={"align-self": "end"},
        )
        parts = [
            self.summary, self.counts, self.mode, self.ordering, self.column, self.by,
            Row(self.labels, self.annotator, spacing=8), Row(self.lowest, self.highest, spacing=8),
            self.region, self.expression, self.known, self.wrong, Row(self.restart, self.clear, spacing=8),
            Row(self.repeats, self.page_size, spacing=8), Row(self.click, marks, spacing=6), goes_on, by_rows,
            self.rest_nominal,
        ]  # fmt: skip
        self.root = Column(
            *parts, css_classes=["aa-side", "aa-zoom"], sizing_mode="stretch_height", spacing=8,
            styles={"padding": "8px 12px"}, name="sidebar",
        )  # fmt: skip
        for widget in self.root.references():
            if isinstance(widget, Widget):
                widget.margin = 0
        self._stale = True
        self.update({"options", "page", "marks"})
        self.settle()

    def _set_advance(self, value: bool) -> None:
        self.state.auto_advance = value

    def update(self, dirty: set[str]) -> None:
        """Show the state in the controls and count again."""
        state = self.state
        self.known.visible = bool(state.shared.known_objects.known or state.filters.known)
        if dirty & {"options", "scores"}:
            self._syncing = True
            try:
                names = {
                    PROBE: f"live {state.shared.instant_ranker}",
                    LATEST: "latest round",
                    COLD: "outliers, no labels",
                }
                self.by.options = [("", _AUTOMATIC)] + [
                    (name, f"{names[name]} ({state.shared.described[name]})")
                    for name in names
                    if name in state.shared.scores
                ]
                self.by.value = state.by if state.by in state.shared.scores else ""
                there = (True, bool(state.shared.assignments.list_of(state.annotator)), bool(state.shared.audit))
                self.mode.options = [mode for mode, shown in zip(_MODES, there, strict=True) if shown]
                self.mode.value = "audit" if state.audit else "list" if state.assigned else "candidates"
                blind = state.audit or state.assigned
                for widget in (self.ordering, self.column, self.by, self.labels, self.annotator, self.lowest,
                               self.highest, self.region, self.expression, self.known, self.repeats):  # fmt: skip
                    widget.disabled = blind
                self.clear.disabled = blind or (state.filters == Filters() and not state.rejected)
                annotators = {who for consensus in state.shared.current_consensus().values() for who in consensus.votes}
                people: list[Any] = [("", "anybody"), *((who, who) for who in sorted(annotators))]
                self.annotator.options = people
                self.mode.visible = len(self.mode.options) > 1
                self.ordering.value = state.ordering
                self.column.visible = state.ordering in COLUMN_ORDERINGS
                if self.column.visible and state.column not in self.column.options:
                    self.column.options = [*self.column.options, state.column]
                self.column.value = state.column
                self.page_size.value = str(state.page_size)
                self.repeats.value = round(state.repeat_share * 100, 1)
                self.click.value = state.click_marks or self.click.value or self.click.options[0][0]
                self.marking.active = bool(state.click_marks)
                self.advance.active = state.auto_advance
                self.row_by_row.active = state.row_by_row
                self._show_filters()
            finally:
                self._syncing = False
        if dirty & {"page", "options", "scores"}:
            self.summary.text = self._summary()
            self.restart.button_type = "primary" if state.is_outdated else "default"
            self.restart.label = _NEWER if state.is_outdated else _RESTART
        if dirty & {"page", "marks", "options", "scores"}:
            self._stale = True

    def _show_filters(self) -> None:
        """Show the filters that hold; what was rejected stays as it was typed, with the reason."""
        state = self.state
        for name in _FILTERS:
            rejected = state.rejected.get(name)
            widget = getattr(self, name)
            widget.value = rejected.value if rejected else getattr(state.filters, name)
            others = [word for word in widget.css_classes if word != "aa-wrong"]
            widget.css_classes = [*others, "aa-wrong"] if rejected else others
        self.wrong.text = "".join(
            f"<p class=bad>not in force: {escape(item.why)}</p>" for item in state.rejected.values()
        )
        self.wrong.visible = bool(state.rejected) and not (state.audit or state.assigned)

    def settle(self) -> None:
        """Count again if there is something new; called now and then, since each change of text moves the page."""
        if self._stale:
            self._stale = False
            self.counts.text = self._counts()

    def _summary(self) -> str:
        state, page = self.state, self.state.page
        if not page.ids:
            return "<b>Ranking anew ...</b>" if page.waiting else "<b>Nothing to show.</b>"
        text = "in random order: no ranking yet"
        if state.audit:
            text = "the audit set, blind, in random order"
        elif page.last.ordering == ASSIGNED:
            text = "your list, blind"
        elif not page.last.left:
            text = "objects chosen by hand"
        elif state.ordering in COLUMN_ORDERINGS:
            text = f"by {state.column}, {'lowest' if state.ordering == 'ascending' else 'highest'} first"
        elif page.last.ranked:
            text = f"ranked by {page.last.ranked}"
        return f"<b>page {state.number + 1}</b> <span class=muted>{escape(text)}</span>"

    def _counts(self) -> str:
        shared = self.state.shared
        counts = label_counts(self.state)
        rows, short = [], True
        offered = offered_classes(shared)
        for word in [*dict.fromkeys([*offered, *shared.classes]), DISPUTED, "skipped", "flagged"]:
            if word in offered or word in counts:
                style = self.state.style(word)
                key, count = key_of_class(word, shared.classes, shared.grades), counts.get(word, 0)
                name = self.state.called(word, meaning=True)
                shown = f"<kbd>{key}</kbd> " if key and key != self.state.called(word).lower() else ""
                short &= len(name) <= _SHORT_NAME and count < _SHORT_COUNT
                rows.append(
                    f"<td style='color:{style.colour}'>{style.letter}</td>"
                    f"<td class=name title='{escape(name, quote=True)}'>{shown}{escape(name)}</td>"
                    f"<td class=number>{count:,}</td>"
                )
        side_by_side = 2 if short else 1
        lines = [f"<tr>{''.join(rows[k : k + side_by_side])}</tr>" for k in range(0, len(rows), side_by_side)]
        blind = "<p class=muted>blind: your marks on this page</p>" if self.state.page.blind else ""
        return f"<table class=counts>{''.join(lines)}</table>{blind}"
