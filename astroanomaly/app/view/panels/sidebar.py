"""The sidebar: order, filters, what one's own page does, and what has been found so far."""

from __future__ import annotations

from html import escape
from typing import Any

from bokeh.models import Button, Column, Div, NumericInput, Row, Select, Switch, TextInput, Widget

from astroanomaly.app.review.filters import EVERYTHING, LABELLED, NOT_MINE, UNLABELLED, Filters
from astroanomaly.app.review.marks import look_of
from astroanomaly.app.review.page_state import PAGE_SIZES, ViewState
from astroanomaly.app.review.paging import ORDERINGS
from astroanomaly.app.review.shared_state import COLD, LATEST, PROBE
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import NOMINAL

__all__ = ["Sidebar"]

_WIDTH = 232
_HALF = 112
_CLICK_NOTHING = "only the cursor"
_AUTOMATIC = "automatic: what has learnt most"
_BY_HAND = {"map": "chosen on a map", "doubted": "labels that look wrong", "disagreement": "in dispute"}


class Sidebar:
    """Controls of the page, and the counts."""

    def __init__(self, state: ViewState, act: Any) -> None:
        self.state = state
        self._syncing = False
        classes = list(state.search.classes)
        kinds = [UNLABELLED, NOT_MINE, EVERYTHING, LABELLED, *classes, DISPUTED, "skipped", "flagged"]
        self.mode = Select(
            title="show", options=[("search", "the search"), ("audit", "the audit set, blind")], width=_WIDTH
        )
        self.ordering = Select(title="order", options=[(k, v[0]) for k, v in ORDERINGS.items()], width=_WIDTH)
        self.by = Select(title="ranked by", options=[("", _AUTOMATIC)], width=_WIDTH)
        self.labels = Select(title="only", options=kinds, width=_HALF)
        self.annotator = Select(title="with a verdict of", options=[("", "anybody")], width=_HALF)
        self.lowest = NumericInput(title="score from", mode="float", width=_HALF)
        self.highest = NumericInput(title="to", mode="float", width=_HALF)
        self.region = TextInput(title="region of sky", placeholder="150.1 +2.2 0.5deg", width=_WIDTH)
        self.expression = TextInput(title="where", placeholder="mag < 22 and size > 3", width=_WIDTH)
        self.page_size = Select(title="per page", options=[str(n) for n in PAGE_SIZES], width=_HALF)
        self.click = Select(title="a click marks", options=[*classes[1:], NOMINAL, _CLICK_NOTHING], width=_HALF)
        self.advance = Switch(active=True)
        self.repeats = NumericInput(title="blind repeats, %", mode="float", low=0, high=50, width=_HALF)
        self.rest = Button(label="rest of this page: nominal", width=_WIDTH, button_type="default")
        self.again = Button(label="start again from the top", width=_WIDTH - 62, name="again")
        self.clear = Button(label="clear", width=54, disabled=True, name="clear_filters")
        self.counts = Div(width=_WIDTH, disable_math=True)
        self.where = Div(width=_WIDTH, height=34, disable_math=True)

        def on(widget: Any, what: Any, name: str = "value") -> None:
            def handle(attr: str, old: Any, new: Any) -> None:
                if not self._syncing:
                    act(lambda: what(new))()

            widget.on_change(name, handle)

        on(self.mode, lambda value: state.choose(audit=value == "audit"))
        on(self.ordering, lambda value: state.choose(ordering=value))
        on(self.by, lambda value: state.choose(by=value))
        on(self.page_size, lambda value: state.choose(page_size=int(value)))
        on(self.repeats, lambda value: state.choose(repeat_share=(value or 0) / 100))
        for name in ("labels", "annotator", "lowest", "highest", "region", "expression"):
            on(getattr(self, name), lambda value, name=name: state.set_filters(**{name: value}))
        on(self.click, self._set_click)
        on(self.advance, self._set_advance, "active")
        self.rest.on_click(act(state.rest_nominal))
        self.again.on_click(act(state.restart))
        self.clear.on_click(act(lambda: state.choose(filters=Filters())))
        goes_on = Row(self.advance, Div(text="go on after<br>a verdict"), spacing=8, styles={"align-self": "end"})
        parts = [
            self.where, self.counts, self.mode, self.ordering, self.by,
            Row(self.labels, self.annotator, spacing=8), Row(self.lowest, self.highest, spacing=8),
            self.region, self.expression, Row(self.again, self.clear, spacing=8),
            Row(self.click, self.page_size, spacing=8), Row(self.repeats, goes_on, spacing=8), self.rest,
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

    def _set_click(self, value: str) -> None:
        self.state.click_marks = "" if value == _CLICK_NOTHING else value

    def _set_advance(self, value: bool) -> None:
        self.state.auto_advance = value

    def update(self, dirty: set[str]) -> None:
        """Show the state in the controls and count again."""
        state = self.state
        if dirty & {"options", "scores"}:
            self._syncing = True
            try:
                names = {
                    PROBE: f"the live {state.search.instant_ranker}",
                    LATEST: "the latest round",
                    COLD: "no labels",
                }
                self.by.options = [("", _AUTOMATIC)] + [
                    (name, f"{names[name]} ({state.search.described[name]})")
                    for name in names
                    if name in state.search.scores
                ]
                self.by.value = state.by if state.by in state.search.scores else ""
                self.mode.value = "audit" if state.audit else "search"
                for widget in (self.ordering, self.by, self.labels, self.annotator, self.lowest, self.highest,
                               self.region, self.expression, self.repeats):  # fmt: skip
                    widget.disabled = state.audit
                self.clear.disabled = state.audit or state.filters == Filters()
                judges = {who for opinion in state.search.opinions().values() for who in opinion.votes}
                people: list[Any] = [("", "anybody"), *((who, who) for who in sorted(judges))]
                self.annotator.options = people
                self.mode.visible = bool(state.search.audit)
                self.ordering.value = state.ordering
                self.page_size.value = str(state.page_size)
                self.repeats.value = round(state.repeat_share * 100, 1)
                self.click.value = state.click_marks or _CLICK_NOTHING
                self.advance.active = state.auto_advance
                for name in ("labels", "annotator", "lowest", "highest", "region", "expression"):
                    getattr(self, name).value = getattr(state.filters, name)
            finally:
                self._syncing = False
        if dirty & {"page", "options", "scores"}:
            self.where.text = self._where()
            self.again.button_type = "primary" if state.is_outdated else "default"
            self.again.label = "deal again: newer ranking" if state.is_outdated else "start again from the top"
        if dirty & {"page", "marks", "options", "scores"}:
            self._stale = True

    def settle(self) -> None:
        """Count again if there is something new; called now and then, since each change of text moves the page."""
        if self._stale:
            self._stale = False
            self.counts.text = self._counts()

    def _where(self) -> str:
        state, page = self.state, self.state.page
        if not page.ids:
            return "<b>Nothing to show.</b>"
        total = len(state.search.cache)
        if not page.left:
            kind, _, what = page.ordering.partition(":")
            told = f"like {what}, nearest first" if kind == "like" else _BY_HAND.get(kind, kind)
            told += "; PageUp goes back"
        elif state.audit:
            told = f"audit set, blind: {page.left:,} left"
        else:
            told = f"from {page.left:,} of {total:,} objects, "
            told += f"ranked by {page.ranked}" if page.ranked else "in random order: no ranking yet"
        return f"<b>page {state.number + 1}</b> <span class=muted>{escape(told)}</span>"

    def _counts(self) -> str:
        search = self.state.search
        counts = search.counts()
        rows = []
        for word in [*search.classes, DISPUTED, "skipped", "flagged"]:
            if word in search.classes or word in counts:
                look = look_of(word, search.classes)
                rows.append(
                    f"<td style='color:{look.colour}'>{look.letter}</td><td>{escape(word)}</td>"
                    f"<td class=number>{counts.get(word, 0):,}</td>"
                )
        pairs = [f"<tr>{''.join(rows[k : k + 2])}</tr>" for k in range(0, len(rows), 2)]
        return f"<table>{''.join(pairs)}</table>"
