"""How Bokeh's pages are served: behind the gate, at any path a proxy gives them, with no more than they need."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.resources import Resources
from bokeh.server.tornado import BokehTornado
from bokeh.server.views.static_handler import StaticHandler
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import RedirectHandler, RequestHandler

from astroanomaly.app.view.browser import NAME_COOKIE
from astroanomaly.app.web.address import Prefix
from astroanomaly.app.web.gate import GONE_STATUS, PAGE, Gate, RefusedError
from astroanomaly.app.web.headers import security_headers
from astroanomaly.app.web.sign_in import SignIn
from astroanomaly.app.web.user_header import named_user

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["WebApplication"]

_COMPONENTS = ("bokeh", "bokeh-gl", "bokeh-widgets")
_NOBODY = (
    "This server takes the names of annotators from the header {}, which its proxy sets. This request has none, or not "
    "one: open the page through the proxy, signed in there."
)
_MAX_BODY_BYTES = 10_000  # nobody has to send more than a token


class WebApplication(BokehTornado):
    """Sends browsers the parts of BokehJS that the page uses: no tables, and no MathJax to make markup of text.

    What a page loads is named relative to its own address, so that a proxy may serve it below any path, and take that
    path off. One that leaves it on needs a prefix. Bokeh uses a prefix both as a pattern that paths are compared with
    and as a part of addresses; where it has characters with a meaning in one of them, the two differ.

    Parameters
    ----------
    make_page
        Fills the document of a page.
    gate
        Who may come in.
    below
        The path that a proxy may leave on.
    way_in
        What is said to those who may not come in.
    asks
        Whether they may bring the token.
    user_header
        Name of the header in which a proxy names the user; empty: none.
    more
        As for `bokeh.server.tornado.BokehTornado`.
    """

    def __init__(
        self,
        make_page: Callable[[Document], None],
        *,
        gate: Gate,
        below: Prefix,
        way_in: str,
        asks: bool,
        user_header: str = "",
        **more: Any,
    ) -> None:
        super().__init__(
            {PAGE: Application(_PageHandler(make_page, gate, user_header))},
            prefix=re.escape(below.path),
            use_index=False,
            sign_sessions=True,  # nobody makes up the name of somebody else's page
            secret_key=gate.session_key,
            extra_websocket_origins=["*"],  # the gate has looked
            include_headers=[],  # of what a page is told about its request, which it hands back in plain text
            include_cookies=[NAME_COOKIE],
            **more,
        )
        self.add_transform(security_headers(gate))
        self._prefix = below.path
        self._below = below
        self._gate = gate
        self._refusal = {"gate": gate, "way_in": way_in, "asks": asks}
        self._user_header = user_header

    def http_server(self) -> HTTPServer:
        """Return a server for this application, which listens nowhere yet."""
        return HTTPServer(self, max_body_size=_MAX_BODY_BYTES)

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        """Find who answers, with the prefix or without, however the browser escaped it, if the gate lets it in."""
        found = self._below.split(request.path)
        path = request.path if found is None else found[1]
        if not path:  # what the page loads is relative to its folder
            last = (request.uri or "").partition("?")[0].rpartition("/")[2]
            request.uri = request.path  # the log tells no token
            return self.get_handler_delegate(request, RedirectHandler, {"url": f"./{last}/", "permanent": False})
        try:
            self._gate.admit(request, path)
        except RefusedError as refused:
            return self.get_handler_delegate(request, SignIn, {"path": path, "status": refused.status, **self._refusal})
        if path == PAGE and self._user_header:
            try:
                named_user(request, self._user_header)
            except RefusedError as refused:
                said = {"way_in": _NOBODY.format(self._user_header), "asks": False}
                more = {"path": path, "status": refused.status, **self._refusal, **said}
                return self.get_handler_delegate(request, SignIn, more)
        request.path = self._below.path + path
        return super().find_handler(request, **more)

    def log_request(self, handler: RequestHandler) -> None:
        """Write the log, but for pages of an earlier run: they ask every few seconds until they are loaded again."""
        if handler.get_status() != GONE_STATUS:
            super().log_request(handler)

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Return what a page has to load."""
        found = Resources(mode="server", root_url="./", path_versioner=self._versioned)
        found.components = list(_COMPONENTS)
        return found

    def _versioned(self, path: str) -> str:
        return self._gate.static_path(StaticHandler.append_version(path))


class _PageHandler(FunctionHandler):
    """Tells a page what its request was admitted with, and who asks."""

    def __init__(self, make_page: Callable[[Document], None], gate: Gate, user_header: str) -> None:
        def make(document: Document) -> None:
            document.template_variables["admission"] = document.session_context.token_payload["admission"]
            make_page(document)

        super().__init__(make)
        self._gate = gate
        self._user_header = user_header

    def process_request(self, request: HTTPServerRequest) -> dict[str, Any]:
        """Return what `make` finds in the payload of the page's session."""
        found = self._gate.admission(request)
        if found is None:
            return {}
        admission = {"nonce": found.nonce, "pass": found.carried, "tells_frame": found.tells_frame}
        user = {"user": named_user(request, self._user_header)} if self._user_header else {}
        return {"admission": admission, **user}  # signed: the websocket brings it back unchanged
