"""Annotators: who labelled how much, how far a campaign is, how far people agree, and where they do not."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from bokeh.models import Button, Column, Div, Row

from astroanomaly.app.review import agreement
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.theme import view
from astroanomaly.labels.agreement import Agreement
from astroanomaly.labels.consensus import DECISION
from astroanomaly.session.campaign.lists import agreement_in, progress_of

__all__ = ["Annotators"]

_NOBODY = (
    "<p class=muted>Nobody has labelled an object yet. Here will stand who labelled how many objects, and how often "
    "each person gives the same verdict again. Label some on the view <i>candidates</i>: one key is one verdict.</p>"
)
_REPEATS = (
    "<p class=muted>Self-agreement is measured on objects that come back unmarked: set <i>blind repeats, %</i> beside "
    "the candidates.</p>"
)
_ALONE = (
    "<p class=muted>Agreement is measured on objects that two people labelled. Everybody needs a name of their own, at "
    "the top right.</p>"
)
_NO_DISAGREEMENT = (
    "<p class=muted>None is open. Objects that two people label differently are listed here, the most divided first, "
    "and one button shows them as a page. A tie is not learnt from until somebody decides.</p>"
)
_DECIDE = (
    "<p class=muted><i>decide these</i> shows them as pages on which your verdict closes the case: it counts whatever "
    "the others said, under your name.</p>"
)


class Annotators:
    """Tables of annotators, of their agreement, and of the objects they disagree on."""

    def __init__(self, state: ViewState, act: Any, go: Any) -> None:
        self.state = state
        self._seen: Any = None
        self._ids: list[str] = []
        self.people = Div(disable_math=True, sizing_mode="stretch_width", name="annotators")
        self.campaign = Div(disable_math=True, sizing_mode="stretch_width", name="campaign")
        self.pairs = Div(disable_math=True, sizing_mode="stretch_width", name="pairs")
        self.divided = Div(disable_math=True, sizing_mode="stretch_width", name="divided")
        self.show = Button(label="show these objects", width=140)
        self.show.on_click(act(lambda: go(self._ids, "disagreement")))
        self.decide = Button(label="decide these", width=140, name="decide")
        self.decide.on_click(act(lambda: go(self._ids, DECISION)))
        self.root = view(
            Row(
                Column(Div(text="<h3>annotators</h3>"), self.people, self.campaign, sizing_mode="stretch_width"),
                Column(Div(text="<h3>agreement</h3>"), self.pairs, sizing_mode="stretch_width"),
                sizing_mode="stretch_width", spacing=24,
            ),
            Div(text="<h3>disagreements</h3>"), self.divided, Row(self.show, self.decide, spacing=8),
            name="annotators_view",
        )  # fmt: skip

    def update(self, dirty: set[str]) -> None:
        """Count again while the view is open."""
        shared = self.state.shared
        now = (shared.consensus.last, shared.assignments.version, self.state.annotator)
        if not self.root.visible or self._seen == now:
            return
        self._seen = now
        rows = "".join(
            f"<tr><td>{escape(a.name)}</td><td class=number>{a.verdicts:,}</td><td class=number>{a.repeats}</td>"
            f"<td class=number>{f'{a.repeated_alike / a.repeats:.0%}' if a.repeats else ''}</td>"
            f"<td class=number>{_kappa(a.self_kappa)}</td></tr>"
            for a in agreement.annotators(shared)
        )
        head = _heading("name", "objects", "blind repeats", "same verdict", "self-agreement κ")
        self.people.text = f"<table>{head}{rows}</table>{_REPEATS}" if rows else _NOBODY
        self.campaign.text = self._campaign()
        campaign = shared.assignments.campaign
        found = agreement_in(campaign, shared.current_consensus(), shared.classes, shared.grades)
        self.pairs.text = _agreement(found, campaign is not None and bool(campaign.shared)) if found.pairs else _ALONE
        self._ids = agreement.disagreements(shared, self.state.annotator)
        rows = "".join(
            f"<tr><td class=mono>{escape(object_id)}</td><td>"
            + ", ".join(
                f"{escape(who)}: {escape(self.state.called(vote))}"
                for who, vote in shared.consensus_of(object_id).votes.items()
            )
            + "</td></tr>"
            for object_id in self._ids[:50]
        )
        self.divided.text = f"<table>{rows}</table>{_DECIDE}" if rows else _NO_DISAGREEMENT
        self.show.visible = self.decide.visible = bool(self._ids)

    def _campaign(self) -> str:
        shared = self.state.shared
        if shared.assignments.problem:
            return f"<p class=bad>{escape(shared.assignments.problem)}</p>"
        campaign = shared.assignments.campaign
        if campaign is None:
            return ""
        rows = "".join(
            f"<tr><td>{escape(one.annotator)}</td>"
            + "".join(
                f"<td class=number>{number:,}</td>"
                for number in (one.objects, one.judged, one.skipped, one.left, one.shared_left)
            )
            + "</tr>"
            for one in progress_of(campaign, shared.current_consensus(), shared.audit)
        )
        head = _heading("name", "on the list", "judged", "skipped", "left", "shared left")
        return f"<h3>campaign</h3><table>{head}{rows}</table><p class=muted>{escape(str(campaign))}</p>"


def _agreement(found: Agreement, of_campaign: bool) -> str:
    """Say how far people agree: pairs, then all of them and each class."""
    rows = "".join(
        f"<tr><td>{escape(p.first)} and {escape(p.second)}</td><td class=number>{p.objects:,}</td>"
        f"<td class=number>{p.alike / p.objects:.0%}</td><td class=number>{p.kappa}</td></tr>"
        for p in found.pairs
    )
    text = f"<table>{_heading('pair', 'objects in common', 'same verdict', 'κ (Cohen)')}{rows}</table>"
    rows = "".join(
        f"<tr><td>{escape(p.first)} and {escape(p.second)}</td><td class=number>{p.graded:,}</td>"
        f"<td class=number>{p.weighted}</td></tr>"
        for p in found.pairs
        if p.graded
    )
    if rows:
        rows += f"<tr><td>mean of the pairs</td><td></td><td class=number>{_kappa(found.mean_weighted)}</td></tr>"
        text += f"<table>{_heading('pair', 'graded by both', 'weighted κ (quadratic)')}{rows}</table>"
    if found.by_all and len(found.people) > 2:
        rows = "".join(
            f"<tr><td>{escape(one.label)}</td><td class=number>{one.verdicts:,}</td>"
            f"<td class=number>{one.kappa}</td></tr>"
            for one in found.classes
            if len(found.classes) > 2  # two classes are one question
        )
        whole = f"<tr><td>all classes</td><td></td><td class=number>{found.kappa}</td></tr>"
        text += f"<table>{_heading('class', 'verdicts', 'κ (Fleiss)')}{whole}{rows}</table>"
        which = "shared objects" if of_campaign else "objects"
        text += (
            f"<p class=muted>κ (Fleiss) on the {found.by_all:,} {which} that all {len(found.people)} have judged.</p>"
        )
    return f"{text}<p class=muted>In brackets: 90 % intervals.</p>"


def _heading(name: str, *numbers: str) -> str:
    """Name the columns of a table: words on the left, numbers above their last digits."""
    return f"<tr><th>{name}</th>{''.join(f'<th class=number>{number}</th>' for number in numbers)}</tr>"


def _kappa(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
