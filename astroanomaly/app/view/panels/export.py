"""Export: a catalogue of a selection, downloaded by the browser or sent to the programs on the desktop."""

from __future__ import annotations

from html import escape
from typing import Any

from bokeh.models import Button, Div, NumericInput, Row, Select

from astroanomaly.app.review.exports import FORMATS, SELECTIONS, catalogue, file_content, select, send_by_samp
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.theme import palette, view

__all__ = ["Export"]


class Export:
    """Controls; ``save`` is called with name, type and content of a file."""

    def __init__(self, state: ViewState, act: Any, save: Any, *, same_host: bool) -> None:
        self.state = state
        self._save = save
        classes = [(name, f"all labelled {name}") for name in state.shared.classes]
        self.which = Select(
            title="objects", options=[*SELECTIONS.items(), *classes], value="anomalies", width=300, name="export_which"
        )
        self.top = NumericInput(title="number of objects", value=100, low=1, high=1_000_000, width=110)
        self.suffix = Select(
            title="format",
            options=[(s, n) for s, (n, _) in FORMATS.items()],
            value=".vot",
            width=180,
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
            "position. The report is one HTML file with thumbnails, stretched as they are here."
        )
        if same_host:
            hint += " Sending uses SAMP and reaches programs on the computer of the server."
        self.root = view(
            Div(text="<h3>export</h3>"),
            Row(self.which, self.top, self.suffix, self.merge, spacing=8),
            Row(self.get, self.samp, spacing=8), self.words,
            Div(text=f"<p class=muted>{hint}</p>", width=620),
            name="export",
        )  # fmt: skip
        self.which.on_change("value", lambda attr, old, new: self._sync())
        self._sync()

    def _sync(self) -> None:
        self.top.visible = self.which.value == "top"

    def _table(self) -> Any:
        state = self.state
        by = state.by_name
        free = state.shared.matching(state.filters, by)
        selected = [state.page.ids[cell] for cell in sorted(state.selection)]
        top = int(self.top.value or 100)
        radius = float(self.merge.value or 0)
        ids = select(state.shared, str(self.which.value), state.page.ids, free, by, top, selected, radius)
        return catalogue(state.shared, ids, by, radius)

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
        reached = send_by_samp(table, self.state.shared.session.path.name)
        self.words.text = (
            f"<span class=good>{len(table):,} objects sent to {reached} program{'s' if reached != 1 else ''}</span>"
        )

    def update(self, dirty: set[str]) -> None:
        """Follow nothing: a selection is made when it is asked for."""
