"""Export: a catalogue of a selection, downloaded by the browser or sent to the programs on the desktop."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from bokeh.models import Button, Div, NumericInput, Row, Select

from astroanomaly.app.background.samp import send_by_samp
from astroanomaly.app.review.exports import FORMATS, SELECTIONS, catalogue, file_content, select
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.desktop import Desktop
from astroanomaly.app.view.theme import palette, view

__all__ = ["Export"]

_SHOWN_ROWS = 12


class Export:
    """Controls; ``save`` is called with name, type and content of a file, ``desktop`` with each table that was sent."""

    def __init__(self, state: ViewState, act: Any, save: Any, desktop: Desktop, *, same_host: bool) -> None:
        self.state = state
        self._save = save
        self._sent = desktop.sent
        classes = [(name, f"all labelled {name}") for name in state.shared.classes]
        self.which = Select(
            title="objects", options=[*SELECTIONS.items(), *classes], value="anomalies", width=300, name="export_which"
        )
        self.top = NumericInput(title="number of objects", value=100, low=1, high=1_000_000, width=110)
        self.suffix = Select(
            title="format",
            options=[(s, n) for s, (n, _) in FORMATS.items()],
            value=".vot",
            width=250,
            name="export_format",
        )
        self.merge = NumericInput(title="merge duplicates within [arcsec]", mode="float", value=1.0, low=0, width=170)
        self.get = Button(label="download", button_type="primary", width=110, name="download")
        self.samp = Button(label="send to TOPCAT, Aladin, DS9 (SAMP)", width=250, visible=same_host, name="samp")
        self.words = Div(disable_math=True, sizing_mode="stretch_width", name="export_words")
        self.get.on_click(act(self._download))
        self.samp.on_click(act(self._send))
        hint = (
            "Coordinates are ICRS degrees, with units, UCDs and provenance. DS9 regions leave out objects without a "
            "position. The report is one HTML file with pictures, rendered as they are here; a browser prints it into "
            "a PDF. FITS cutouts have the WCS, bands and units of the images; a bundle has all of it, with checksums."
        )
        if same_host:
            hint += " Sending uses SAMP and reaches programs on the computer of the server."
        self.preview = Div(
            disable_math=True, sizing_mode="stretch_width", name="export_preview", css_classes=["aa-wide"],
            styles={"max-width": "1000px"},
        )  # fmt: skip
        self.root = view(
            Div(text="<h3>export</h3>"),
            Row(self.which, self.top, self.suffix, self.merge, spacing=8),
            Row(self.get, self.samp, spacing=8), self.words, *desktop.controls,
            Div(text=f"<p class=muted>{hint}</p>", width=620), self.preview,
            name="export",
        )  # fmt: skip
        for widget in (self.which, self.top):
            widget.on_change("value", lambda attr, old, new: act(self._sync)())
        self._sync()

    def _sync(self) -> None:
        self.top.visible = self.which.value == "top"
        self._preview()

    def _ids(self) -> list[str]:
        state = self.state
        by = state.by_name
        free = state.shared.matching(state.filters, by)
        selected = [state.page.ids[cell] for cell in sorted(state.selection)]
        top = int(self.top.value or 100)
        return select(
            state.shared, str(self.which.value), state.page.ids, free, by, top, selected, float(self.merge.value or 0)
        )

    def _table(self) -> Any:
        return catalogue(self.state.shared, self._ids(), self.state.by_name, float(self.merge.value or 0))

    def _preview(self) -> None:
        """Say what the file will hold, or why it would be empty and what to do."""
        shared, which = self.state.shared, str(self.which.value)
        ids = self._ids()
        if not ids:
            self.preview.text = f"<h3>nothing to export yet</h3><p class=muted>{escape(_why_none(which))}</p>"
            return
        first = ids[:_SHOWN_ROWS]
        rows = shared.cache.rows(first)
        ra, dec = shared.cache.positions
        scores = shared.score_of(first, self.state.by_name)
        lines = "".join(
            f"<tr><td class=mono>{escape(object_id)}</td><td class=number>{_number(ra[row], '.6f')}</td>"
            f"<td class=number>{_number(dec[row], '+.6f')}</td><td>{escape(shared.consensus_of(object_id).label)}</td>"
            f"<td class=number>{_number(score, '+.3f')}</td></tr>"
            for object_id, row, score in zip(first, rows, scores, strict=True)
        )
        more = f"<p class=muted>and {len(ids) - len(first):,} more</p>" if len(ids) > len(first) else ""
        self.preview.text = (
            f"<h3>{len(ids):,} object{'s' if len(ids) != 1 else ''} in this selection</h3>"
            f"<table><tr><th>object_id</th><th class=number>ra</th><th class=number>dec</th><th>label</th>"
            f"<th class=number>score</th></tr>{lines}</table>{more}"
            "<p class=muted>The file has these columns, rank and votes, and the columns of the catalogue.</p>"
        )

    def _download(self) -> None:
        self.words.text = ""
        table = self._table()
        suffix = str(self.suffix.value)
        content = file_content(self.state.shared, table, suffix, self.state.display, palette)
        name = f"{self.state.shared.session.path.name}-{self.which.value}{suffix}"
        self._save(name, FORMATS[suffix][1], content)
        self.words.text = f"<span class=good>{len(table):,} objects in {escape(name)}</span>"

    def _send(self) -> None:
        self.words.text = ""
        table = self._table()
        reached, table_id = send_by_samp(table, self.state.shared.session.path.name)
        self._sent(table_id, [str(object_id) for object_id in table["object_id"]])
        self.words.text = (
            f"<span class=good>{len(table):,} objects sent to {reached} program{'s' if reached != 1 else ''}</span>"
        )

    def update(self, dirty: set[str]) -> None:
        """Show what a selection holds by now."""
        if self.root.visible and dirty & {"view", "marks", "scores", "page"}:
            self._preview()


def _number(value: float, how: str) -> str:
    return format(float(value), how) if np.isfinite(value) else ""


def _why_none(which: str) -> str:
    """Say what makes an empty selection a full one."""
    return {
        "anomalies": "Objects that you label as an anomaly, or as a class of your own, are listed here, ready to be "
        "downloaded. Label some on the view candidates, or choose the highest scores above.",
        "page": "The page of the view candidates is empty, or holds objects of the audit set, which stay unseen.",
        "selection": "Click an object on the view candidates; shift-click and Ctrl-click select more.",
        "filter": "No object passes the filters: widen or clear them on the view candidates.",
        "top": "There is no object outside the audit set.",
    }.get(which, f"No object is labelled {which} yet: label some on the view candidates.")
