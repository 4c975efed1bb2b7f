"""How Bokeh's pages are served: at any path a proxy gives them, with no more than they need."""

from __future__ import annotations

import re
from typing import Any

from bokeh.application import Application
from bokeh.resources import Resources
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.static_handler import StaticHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from astroanomaly.app.web.address import Prefix
from astroanomaly.app.web.gate import GONE_STATUS

__all__ = ["WebApplication"]

_COMPONENTS = ("bokeh", "bokeh-gl", "bokeh-widgets")


class WebApplication(BokehTornado):
    """Sends browsers the parts of BokehJS that the page uses: no tables, and no MathJax to make markup of text.

    What a page loads is named relative to its own address, so that a proxy may serve it below any path, and take that
    path off. One that leaves it on needs a prefix. Bokeh uses a prefix both as a pattern that paths are compared with
    and as a part of addresses; where it has characters with a meaning in one of them, the two differ.

    Parameters
    ----------
    applications
        By path, as for `bokeh.server.tornado.BokehTornado`.
    below
        The path that a proxy may leave on.
    """

    def __init__(self, applications: dict[str, Application], *, below: Prefix, **more: Any) -> None:
        super().__init__(applications, prefix=re.escape(below.path), **more)
        self._prefix = below.path
        self._below = below

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        """Find who answers, with the prefix or without, however the browser escaped it."""
        found = self._below.split(request.path)
        request.path = self._below.path + (request.path if found is None else found[1])
        return super().find_handler(request, **more)

    def log_request(self, handler: RequestHandler) -> None:
        """Write the log, but for pages of an earlier run: they ask every few seconds until they are loaded again."""
        if handler.get_status() != GONE_STATUS:
            super().log_request(handler)

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Return what a page has to load."""
        found = Resources(mode="server", root_url="./", path_versioner=StaticHandler.append_version)
        found.components = list(_COMPONENTS)
        return found
