"""SAMP by the Web Profile: the browser of a page speaks to the hub of its own computer, after a click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from bokeh.models import Button, CustomJS, Div, Row

from astroanomaly.app.assets import asset
from astroanomaly.app.review.pointed import POINT, Pointed, read_message
from astroanomaly.app.view.browser import Bus

__all__ = ["WEB_HUB", "WebSamp"]

WEB_HUB = "http://localhost:21012"  # of every hub with a Web Profile, as the standard has it
_CONNECT, _LEAVE = "connect to the programs on my desktop (SAMP)", "disconnect from the programs on my desktop"
_WORDS = {
    "": "Positions go to and from Aladin and TOPCAT on the computer of your browser. Its SAMP hub asks you first.",
    "asking": "asking the SAMP hub on the computer of your browser, which asks you ...",
    "connected": "<span class=good>connected</span>: an object that you select is shown there, and a position that is "
    "pointed at there opens the nearest object here",
    "refused": "<span class=bad>the SAMP hub on the computer of your browser has refused</span>",
    "none": "<span class=bad>no SAMP hub answers on the computer of your browser, or the browser does not let this "
    "page ask it</span>: start TOPCAT or Aladin",
    "lost": "<span class=bad>the SAMP hub is gone</span>",
}  # fmt: skip


class WebSamp:
    """What passes between one page and the hub on the computer of its browser; as `SampLink` for `Desktop`.

    Only positions do: a program there cannot read tables of a server that asks for a token.
    """

    def __init__(self) -> None:
        self._bus: Bus | None = None
        self._pointed: Pointed | None = None
        self._count = 0
        self.button = Button(label=_CONNECT, width=330, name="web_samp")
        self.words = Div(disable_math=True, text=_WORDS[""], sizing_mode="stretch_width", name="web_samp_words")
        arguments = {"hub": f"{WEB_HUB}/", "point": POINT}  # not the bus, which the whole page hangs on
        self.button.js_on_click(CustomJS(args=arguments, code=asset("web_samp.js")))
        self.root = Row(self.button, self.words, spacing=8)

    def connect(self, bus: Bus) -> None:
        """Listen to what the browser says, which the button of this page lets begin and end."""
        self._bus = bus
        bus.on_change("samp_heard", lambda attr, old, new: self._hear(new))
        bus.on_change("samp_state", lambda attr, old, new: self._say(new))

    def _hear(self, heard: object) -> None:
        """Take the position of a message, as a stranger's."""
        if isinstance(heard, list) and len(heard) == 3:
            self._pointed = read_message(POINT, {"ra": heard[0], "dec": heard[1]}, {}) or self._pointed

    def _say(self, state: object) -> None:
        self.words.text = _WORDS.get(str(state), "")
        self.button.label = _LEAVE if state in ("asking", "connected") else _CONNECT

    def used(self, page: object) -> None:
        """Nothing: the hub knows this page alone."""

    def left(self, page: object) -> None:
        """Nothing: the browser leaves the hub."""

    def remember(self, table_id: str, ids: Sequence[str]) -> None:
        """Nothing: no table is sent this way."""

    def take(self, page: object) -> Pointed | None:
        """Return what has arrived, once."""
        found, self._pointed = self._pointed, None
        return found

    def tell(self, object_id: str, ra: float, dec: float) -> None:
        """Have the browser tell where the selected object is (ICRS degrees, NaN where unknown)."""
        if self._bus is not None and np.isfinite(ra + dec):
            self._count += 1
            self._bus.samp_told = [f"{ra:.8f}", f"{dec:.8f}", self._count]
