"""The frame of the page: header with the views, the line of messages, and the table of keys."""

from __future__ import annotations

from html import escape
from typing import Any

from bokeh.models import Button, Column, CustomJS, Div, RadioButtonGroup, Row, Spacer, TextInput

from astroanomaly.app.assets import asset
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.keys import KEYS, grade_keys, verdict_keys
from astroanomaly.app.view.theme import marked_up

__all__ = ["Footer", "Header", "KeyTable"]


class Header:
    """Name of the session, the views, the annotator, theme and help."""

    def __init__(self, state: ViewState, act: Any, views: list[str], vouched_by: str = "") -> None:
        self.state = state
        title = escape(state.shared.session.path.name)
        self.title = Div(
            text=f"<b style='font-size:15px'>AstroAnomaly</b> <span class=muted>{title}</span>",
            disable_math=True, margin=(8, 10, 0, 10), css_classes=["aa-shrinks"],
            html_attributes={"title": state.shared.session.path.name},
        )  # fmt: skip
        self.views = RadioButtonGroup(labels=views, active=0, margin=(6, 0, 0, 0), name="views")
        self.annotator = TextInput(
            value=state.annotator, placeholder="your name", width=120, margin=(6, 0, 0, 0), name="annotator"
        )
        if vouched_by:  # what a browser says of the field is not heard
            self.annotator.update(
                disabled=True, html_attributes={"title": f"{state.annotator}: this name comes from {vouched_by}"}
            )
        else:
            self.annotator.on_change("value", lambda attr, old, new: act(lambda: state.set_annotator(new))())
        self.theme = Button(label="◐", width=34, margin=(6, 0, 0, 6))
        self.theme.js_on_click(CustomJS(code=asset("theme.js")))
        self.help = Button(label="? keys", width=60, margin=(6, 8, 0, 4))
        self.help.on_click(act(state.help))
        self.progress = Div(disable_math=True, margin=(10, 10, 0, 10), css_classes=["aa-shrinks"], name="progress")
        self.root = Row(
            self.title, self.views, Spacer(sizing_mode="stretch_width"), self.progress,
            Div(text="<span class=muted>annotator</span>", margin=(10, 6, 0, 0), css_classes=["aa-optional"]),
            self.annotator, self.theme, self.help,
            css_classes=["aa-header", "aa-zoom"], height=42, sizing_mode="stretch_width", spacing=0,
        )  # fmt: skip

    def update(self, dirty: set[str]) -> None:
        """Show who sits here."""
        if "options" in dirty and self.annotator.value != self.state.annotator:
            self.annotator.value = self.state.annotator

    def show_progress(self, learner: Learner) -> None:
        """Say how far the work in the background is."""
        total = len(self.state.shared.cache)
        parts = []
        if learner.computed < total:
            parts.append(f"features {learner.computed:,} / {total:,}")
        if learner.fitted_on and not self.state.page.blind:  # whether it grows would tell blind repeats
            parts.append(f"{self.state.shared.instant_ranker}: {learner.fitted_on}")
        job = learner.training
        if job is not None and job.state == "running":
            last = job.last
            parts.append(f"{last.stage} {last.done:,} / {last.total:,}" if last and last.total else "training starts")
        text = f"<span class=muted>{escape(' · '.join(parts))}</span>"
        wrong = " ".join(filter(None, (learner.problem, "" if self.state.page.blind else learner.warning)))
        if wrong:
            text += f" <span class=bad title='{escape(wrong, quote=True)}'>!</span>"
        if self.progress.text != text:
            self.progress.text = text


class Footer:
    """One line: what is under the cursor, what happened, what the model sees; errors stand above it, whole."""

    def __init__(self, state: ViewState, seen: str) -> None:
        self.state = state
        self.message = Div(disable_math=True, margin=(3, 10, 0, 10), sizing_mode="stretch_width", name="message")
        self.seen = Div(text=f"<span class=muted>{escape(seen)}</span>", disable_math=True, margin=(3, 10, 0, 10))
        self.error = Div(disable_math=True, visible=False, css_classes=["aa-error", "aa-zoom"], name="error")
        self.root = Row(
            self.message, self.seen, css_classes=["aa-foot", "aa-zoom"], height=25, sizing_mode="stretch_width"
        )
        self._stale = False
        self._show()

    def update(self, dirty: set[str]) -> None:
        """Show a message at once; the object under the cursor can wait for `settle`."""
        if "message" in dirty:
            self._show()
        elif dirty & {"cursor", "page", "marks"}:
            self._stale = True

    def settle(self) -> None:
        """Show the object under the cursor; called now and then, since each change of text moves the whole page."""
        if self._stale:
            self._show()

    def _show(self) -> None:
        self._stale = False
        message, current = self.state.message, self.state.current
        parts = []
        if current:
            mark = self.state.mark(current)
            label = f" · {self.state.called(mark.label, meaning=True)}" if mark.label else ""
            parts.append(
                f"<span class=mono>{escape(self.state.name_of(current))}</span><span class=muted>{escape(label)}</span>"
            )
        wrong = message.kind == "error" and bool(message.text)
        if message.text and not wrong:
            parts.append(f"<span class=good>{marked_up(message.text)}</span>")
        self.message.text = f"<div class=line>{' &nbsp; '.join(parts)}</div>"
        self.error.text = marked_up(message.text) if wrong else ""
        self.error.visible = wrong


class KeyTable:
    """What the keys do, over the page."""

    def __init__(self, state: ViewState, act: Any) -> None:
        self.state = state
        shared, grades = state.shared, grade_keys(state.shared.grades)
        rows = "".join(
            f"<tr><td><kbd>{escape(shown)}</kbd></td><td>{escape(meaning)}</td></tr>" for _, shown, meaning in KEYS
        )
        given = verdict_keys(shared.classes, shared.grades)
        listed = [key for key in given if key not in grades and key.isdigit()] + list(grades)
        named = ", ".join(
            f"<kbd>{escape(key)}</kbd> {escape(state.called(given[key], meaning=key in grades))}" for key in listed
        )
        mouse = (
            "A click selects, a double click opens the inspector, shift-click selects up to there, Ctrl-click adds "
            "one or takes it out. While <i>mark by click</i> is on, a click labels, and one on your own mark clears it."
        )
        text = f"<h3>keys</h3><table>{rows}</table><p>{named}</p><p class=muted>{mouse}</p>"
        close = Button(label="close", width=70)
        close.on_click(act(state.escape))
        self.root = Column(
            Div(text=text, disable_math=True, width=400),
            close,
            visible=False, css_classes=["aa-over", "aa-zoom"],
            styles={
                "position": "absolute", "right": "16px", "top": "52px", "z-index": "50", "padding": "10px 16px 14px",
                "background": "var(--aa-surface)", "border": "1px solid var(--aa-line)", "border-radius": "8px",
                "box-shadow": "0 8px 30px rgba(0,0,0,.5)",
            },
            name="keys",
        )  # fmt: skip

    def update(self, dirty: set[str]) -> None:
        """Show or hide it."""
        if "view" in dirty:
            self.root.visible = self.state.helping
