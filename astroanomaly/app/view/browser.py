"""Traffic between browser and Python: keys, clicks and sizes come in, files go out.

Bokeh has no key event of its own, and its clicks do not say which layout of the page they belong to.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bokeh.core.properties import Any, Float, Int, String
from bokeh.document import Document
from bokeh.events import DoubleTap, Tap
from bokeh.model import DataModel
from bokeh.models import ColumnDataSource, CustomJS, UIElement

from astroanomaly.app.assets import asset
from astroanomaly.app.view.keys import KEYS

__all__ = ["NAME_COOKIE", "Bus", "Click", "connect", "remembered_name"]

NAME_COOKIE = "astroanomaly-name"  # of no secret


class Bus(DataModel):
    """Messages between browser and Python beside the widgets.

    ``key``, with a counter ``n`` so that a repeat arrives; the ``zoom`` of the page, the ``area`` (width and height)
    for what is inspected, and the ``annotator``, which the browser remembers; a ``file`` to save, with a counter
    ``files``.

    The browser tells the ``room`` for the mosaic (width, height, and the number of this size). Python answers with
    ``laid`` (that number, and the number of the layout), None while there is no layout to be seen. A ``tap`` brings the
    number of the layout it was made on, the id of the object, whether it is the second of a double click, shift, ctrl,
    and a counter. ``marking`` says what clicks label objects as.

    ``asked`` is the number of a click on a tab, and the view it asks for; ``opened`` the number of the last click that
    was answered, and the view that is laid out.

    Where the browser speaks to a SAMP hub: ``samp_heard`` (RA and Dec as text, a counter) is what was pointed at there,
    ``samp_told`` the same of what is selected here, ``samp_state`` how it stands.
    """

    key = String(default="")
    n = Int(default=0)
    zoom = Float(default=1.0)
    area = Any(default=None)
    room = Any(default=None)
    laid = Any(default=None)
    tap = Any(default=None)
    marking = String(default="")
    asked = Any(default=(0, ""))
    opened = Any(default=(0, ""))
    annotator = String(default="")
    samp_heard = Any(default=None)
    samp_told = Any(default=None)
    samp_state = String(default="")
    file = Any(default=None)
    files = Int(default=0)

    def save(self, name: str, mime: str, content: bytes) -> None:
        """Let the browser save a file, and forget it."""
        self.file = {"name": name, "mime": mime, "data": content}
        self.files += 1
        self.file = None


@dataclass(frozen=True)
class Click:
    """A click on an object of the mosaic, and the number of the layout it was made on."""

    layout: int
    object_id: str
    double: bool
    shift: bool
    ctrl: bool


def connect(
    document: Document,
    inspector: UIElement,
    mosaic: UIElement,
    cells: ColumnDataSource,
    press: Callable[[str], None],
    zoom: Callable[[float], None],
    area: Callable[[float, float], None],
    room: Callable[[float, float, int], None],
    click: Callable[[Click], None],
    *,
    annotator: str,
    more_keys: Iterable[str] = (),
) -> Bus:
    """Listen to the keys, the clicks and the sizes of a page.

    Parameters
    ----------
    document
        The page; the bus becomes a root of it.
    inspector, mosaic
        The parts of the page whose sizes are reported.
    cells
        Where each object of the mosaic is; clicks are looked up in it.
    press
        Called with each key that has a meaning, unless somebody is typing in a field.
    annotator
        Name that the server was started with.
    zoom
        Called with how much larger than usual text has to be on a large screen.
    area
        Called with width and height of the inspector, while it is open.
    room
        Called with width and height of the mosaic, while it is in sight, and the number of this size.
    click
        Called with each click on an object.
    more_keys
        Keys with a meaning beside `KEYS`.
    """
    bus = Bus(name="bus", annotator=annotator)
    known = [*(key for names, _, _ in KEYS for key in names), *more_keys]
    document.add_root(bus)
    document.js_on_event(
        "document_ready",
        CustomJS(
            args={"bus": bus, "keys": known, "inspector": inspector},
            code=asset("keys.js"),
        ),
    )
    document.js_on_event(
        "document_ready",
        CustomJS(args={"bus": bus, "figure": mosaic, "cells": cells}, code=asset("mosaic.js")),
    )
    for event in (Tap, DoubleTap):
        mosaic.js_on_event(event, CustomJS(args={"bus": bus}, code="if (bus.tapped) bus.tapped(cb_obj)"))
    document.template = asset("page.html")
    document.config.notify_connection_status = False  # reconnect.js says it, and loads the page again
    document.config.reconnect_session = False
    document.js_on_event("connection_lost", CustomJS(code=asset("reconnect.js")))
    bus.js_on_change(
        "annotator", CustomJS(args={"bus": bus, "usual": annotator, "name": NAME_COOKIE}, code=asset("remember.js"))
    )
    bus.js_on_change("files", CustomJS(args={"bus": bus}, code=asset("save.js")))
    bus.on_change("n", lambda attr, old, new: press(bus.key))
    bus.on_change("zoom", lambda attr, old, new: zoom(new))
    bus.on_change("area", lambda attr, old, new: area(*new))
    bus.on_change("room", lambda attr, old, new: room(*new))
    bus.on_change("tap", lambda attr, old, new: click(Click(*new[:5])))
    return bus


def remembered_name(document: Document, usual: str) -> str:
    """Return the name that this browser gave on an earlier visit to a server started with the same name, or that."""
    context = document.session_context
    cookies = getattr(context.request, "cookies", None) if context is not None else None
    try:
        kept = json.loads(urllib.parse.unquote(dict(cookies or {}).get(NAME_COOKIE, "")))
    except (ValueError, RecursionError, TypeError):
        return usual
    if isinstance(kept, list) and len(kept) == 2 and kept[0] == usual and isinstance(kept[1], str):
        return kept[1]
    return usual
