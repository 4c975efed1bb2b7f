"""Keys from the browser to Python, and files from Python to the browser: Bokeh has no key event of its own."""

from __future__ import annotations

from collections.abc import Callable

from bokeh.core.properties import Any, Float, Int, String
from bokeh.document import Document
from bokeh.model import DataModel
from bokeh.models import CustomJS, UIElement

from astroanomaly.app.state import KEYS
from astroanomaly.app.theme import asset

__all__ = ["Bus", "connect"]


class Bus(DataModel):
    """What travels beside the widgets.

    ``key``, with a counter ``n`` so that a repeat arrives; ``zoom`` of the page; a ``file`` to save.
    """

    key = String(default="")
    n = Int(default=0)
    zoom = Float(default=1.0)
    file = Any(default=None)


def connect(
    document: Document,
    root: UIElement,
    press: Callable[[str], None],
    zoom: Callable[[float], None],
    *,
    alone: bool,
) -> Bus:
    """Listen to the keys and the size of a page.

    Parameters
    ----------
    document
        The page; the bus becomes a root of it.
    root
        The app within the page, of the class ``aa-app``.
    press
        Called with each key that has a meaning, unless somebody is typing in a field.
    zoom
        Called with how much larger than usual text has to be on a large screen.
    alone
        Whether the app is the whole page; else keys count only after a click into it.
    """
    bus = Bus(name="bus")
    known = [key for names, _, _ in KEYS for key in names]
    document.add_root(bus)
    document.js_on_event(
        "document_ready", CustomJS(args={"bus": bus, "keys": known, "alone": alone}, code=asset("keys.js"))
    )
    if alone:
        document.template = asset("page.html")
        document.config.notify_connection_status = False  # reconnect.js says it, and loads the page again
        document.config.reconnect_session = False
        document.js_on_event("connection_lost", CustomJS(code=asset("reconnect.js")))
    bus.js_on_change("file", CustomJS(args={"bus": bus}, code=asset("save.js")))
    bus.on_change("n", lambda attr, old, new: press(bus.key))
    bus.on_change("zoom", lambda attr, old, new: zoom(new))
    return bus
