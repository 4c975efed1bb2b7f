"""Annotators: who labelled how much, how far they agree, and where they do not."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from bokeh.models import Button, Column, Div, Row

from astroanomaly.app.review import agreement
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.theme import view

__all__ = ["Annotators"]

_NOBODY = (
    "<p class=muted>Nobody has labelled an object yet. Here will stand who labelled how many objects, and how often "
    "each person gives the same verdict again. Label some on the view <i>candidates</i>: one key is one verdict.</p>"
)
_REPEATS = (
    "<p class=muted>Self-agreement is measured on objects that come back unmarked: set <i>blind repeats, %</i> beside "
    "the candidates.</p>"
)
_NO_DISAGREEMENT = (
    "<p class=muted>None. Objects that two people label differently are listed here, the most divided first, and one "
    "button shows them as a page. A tie is not learnt from until somebody settles it.</p>"
)


class Annotators:
    """Tables of annotators, of pairs, and of the objects they disagree on."""

    def __init__(self, state: ViewState, act: Any, go: Any) -> None:
        self.state = state
        self._seen: Any = None
        self._ids: list[str] = []
        self.people = Div(disable_math=True, sizing_mode="stretch_width", name="annotators")
        self.pairs = Div(disable_math=True, sizing_mode="stretch_width", name="pairs")
        self.divided = Div(disable_math=True, sizing_mode="stretch_width", name="divided")
        self.show = Button(label="show these objects", width=140)
        self.show.on_click(act(lambda: go(self._ids, "disagreement")))
        self.root = view(
            Row(
                Column(Div(text="<h3>annotators</h3>"), self.people, sizing_mode="stretch_width"),
                Column(Div(text="<h3>agreement</h3>"), self.pairs, sizing_mode="stretch_width"),
                sizing_mode="stretch_width", spacing=24,
            ),
            Div(text="<h3>disagreements</h3>"), self.divided, self.show,
            name="annotators_view",
        )  # fmt: skip

    def update(self, dirty: set[str]) -> None:
        """Count again while the view is open."""
        shared = self.state.shared
        if not self.root.visible or self._seen == shared.verdicts:
            return
        self._seen = shared.verdicts
        rows = "".join(
            f"<tr><td>{escape(a.name)}</td><td class=number>{a.verdicts:,}</td><td class=number>{a.repeats}</td>"
            f"<td class=number>{f'{a.repeated_alike / a.repeats:.0%}' if a.repeats else ''}</td>"
            f"<td class=number>{_kappa(a.self_kappa)}</td></tr>"
            for a in agreement.annotators(shared)
        )
        head = _heading("name", "objects", "blind repeats", "same verdict", "self-agreement κ")
        self.people.text = f"<table>{head}{rows}</table>{_REPEATS}" if rows else _NOBODY
        rows = "".join(
            f"<tr><td>{escape(p.first)} and {escape(p.second)}</td><td class=number>{p.shared:,}</td>"
            f"<td class=number>{p.alike / p.shared:.0%}</td><td class=number>{_kappa(p.kappa)}</td></tr>"
            for p in agreement.pairs(shared)
        )
        head = _heading("pair", "objects in common", "same verdict", "κ (Cohen)")
        self.pairs.text = f"<table>{head}{rows}</table>" if rows else (
            "<p class=muted>Agreement is measured on objects that two people labelled. Everybody needs a name of their "
            "own, at the top right.</p>"
        )  # fmt: skip
        self._ids = agreement.disagreements(shared)
        rows = "".join(
            f"<tr><td class=mono>{escape(object_id)}</td><td>"
            + ", ".join(f"{escape(who)}: {escape(vote)}" for who, vote in shared.consensus_of(object_id).votes.items())
            + "</td></tr>"
            for object_id in self._ids[:50]
        )
        self.divided.text = f"<table>{rows}</table>" if rows else _NO_DISAGREEMENT
        self.show.visible = bool(self._ids)


def _heading(name: str, *numbers: str) -> str:
    """Name the columns of a table: words on the left, numbers above their last digits."""
    return f"<tr><th>{name}</th>{''.join(f'<th class=number>{number}</th>' for number in numbers)}</tr>"


def _kappa(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
