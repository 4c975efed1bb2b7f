"""Around the images: a line that says what is shown, above, and buttons for pages and verdicts, below."""

from __future__ import annotations

from html import escape
from typing import Any

from bokeh.models import Button, Div, InlineStyleSheet, Row

from astroanomaly.app.review.filters import Filters
from astroanomaly.app.review.grades import offered_classes
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.page_status import page_name, progress, showing
from astroanomaly.app.view.keys import key_of_class

__all__ = ["PageBar"]

_PAGE_BUTTONS = (("◀ PageUp", "previous page"), ("PageDown ▶", "next page"))
_REST_BUTTONS = (_PAGE_BUTTONS[0], ("PageDown ▼", "the rest of this page"))
_OBJECT_BUTTONS = (("◀ ←", "previous object"), ("→ ▶", "next object"))
_TOUCH_PX = 40  # pixels, height of buttons that a finger finds


class PageBar:
    """``above`` says what is shown, ``below`` has a button for each key that turns, labels or opens."""

    def __init__(self, state: ViewState, act: Any) -> None:
        self.state = state
        self._act = act
        self.words = Div(disable_math=True, name="showing", css_classes=["aa-shrinks", "aa-grows"])
        self.clear = Button(label="clear filters", name="clear_filters_above", visible=False)
        self.clear.on_click(act(state.clear_filters))
        self.banner = Div(disable_math=True, visible=False, name="marking", css_classes=["aa-banner"])
        self.stop = Button(label="Esc stop marking", visible=False, button_type="warning", name="stop_marking")
        self.stop.on_click(act(lambda: state.set_click_marks("")))
        self.above = Row(
            self.words, self.clear, self.banner, self.stop,
            css_classes=["aa-bar", "aa-line-bar", "aa-zoom"], sizing_mode="stretch_width", height=30, spacing=8,
            styles={"padding": "1px 8px", "align-items": "center"}, name="page_line",
        )  # fmt: skip
        self.back = self._button("", "previous page", lambda: state.move(-1) if state.inspecting else state.turn(-1))
        self.on = self._button("", "next page", lambda: state.move(1) if state.inspecting else state.turn(1))
        self.number = Div(disable_math=True, name="page_number", styles={"text-align": "center", "min-width": "46px"})
        self.classes = [self._class_button(word) for word in offered_classes(state.shared)]
        self.inspect = self._button("", "open or close the inspector on the object under the cursor", state.inspect)
        others = [
            self._button("s skip", "seen, no verdict", state.skip),
            self._button("f flag", "flag for a second look", state.flag),
            self._button("u undo", "take back your latest action", state.undo),
        ]
        self.below = Row(
            self.back, self.number, self.on, *self.classes, *others, self.inspect,
            css_classes=["aa-bar", "aa-buttons", "aa-zoom"], sizing_mode="stretch_width", spacing=4,
            styles={"padding": "3px 6px", "align-items": "center"}, name="page_buttons",
        )  # fmt: skip
        for item in (*self.above.children, *self.below.children):
            item.margin = 0
        self._stale = True
        self.update({"page", "view", "options"})
        self.settle()

    def _button(self, label: str, title: str, what: Any) -> Button:
        button = Button(label=label, height=_TOUCH_PX, html_attributes={"title": title}, css_classes=["aa-tight"])
        button.on_click(self._act(what))
        return button

    def _class_button(self, word: str) -> Button:
        state = self.state
        style = state.style(word)
        key = key_of_class(word, state.shared.classes, state.shared.grades)
        name, whole = (state.called(word, meaning=told) for told in (False, True))
        words = [style.letter, *([key] if key and key != name.lower() else []), name]
        button = self._button(
            " ".join(words),
            f"label as {whole}: key {key}" if key else f"label as {whole}",
            lambda: state.verdict(word),
        )
        rule = f".bk-btn {{ border-bottom: 3px solid {style.colour}; }}"
        button.stylesheets = [InlineStyleSheet(css=rule)]
        return button

    def update(self, dirty: set[str]) -> None:
        """Name the page and what clicks do; the rest can wait for `settle`."""
        state = self.state
        if dirty & {"page", "view", "cursor", "options"}:
            text = f"<b>{escape(page_name(state))}</b>"
            if self.number.text != text:
                self.number.text = text
        if dirty & {"page", "view"}:
            names = _OBJECT_BUTTONS if state.inspecting else _REST_BUTTONS if state.page.waiting else _PAGE_BUTTONS
            for button, (label, title) in zip((self.back, self.on), names, strict=True):
                if button.label != label:
                    button.update(label=label, html_attributes={"title": title})
        if "view" in dirty or not self.inspect.label:
            self.inspect.label = "Enter back" if state.inspecting else "Enter inspect"
        if "options" in dirty:
            self.clear.visible = not (state.audit or state.assigned) and (
                state.filters != Filters() or bool(state.rejected)
            )
            self.banner.visible = self.stop.visible = bool(state.click_marks)
            if state.click_marks:
                label = escape(state.called(state.click_marks))
                self.banner.text = f"marking: a click labels as <b>{label}</b>, a second one clears"
        if dirty & {"page", "view", "options", "scores"}:
            self._stale = True
            self.settle()
        elif dirty & {"marks", "cursor"}:
            self._stale = True

    def settle(self) -> None:
        """Count again if there is something new; called now and then, since each change of text moves the page."""
        if not self._stale:
            return
        self._stale = False
        state = self.state
        done = progress(state)
        text = f"showing: {escape(showing(state))}"
        text += f" <span class=muted>· {escape(done)}</span>" if done else ""
        if self.words.text != text:
            self.words.text = text
