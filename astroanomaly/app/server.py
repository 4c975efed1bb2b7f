"""Serve the app: addresses, who may come in, and one page for each browser."""

from __future__ import annotations

import hmac
import logging
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.resources import Resources
from bokeh.server.auth_provider import AuthProvider
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets, check_allowlist, create_hosts_allowlist
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from astroanomaly.app.learner import Learner
from astroanomaly.app.page import Page
from astroanomaly.app.search import Search
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.session import Session

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["AppServer"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_COOKIE = "astroanomaly-token"
_PARAMETER = "token"
_COMPONENTS = ("bokeh", "bokeh-gl", "bokeh-widgets")
_UNUSED_MS = 30_000  # a closed page is forgotten after this time
_log = logging.getLogger(__name__)


class AppServer:
    """A server of one session.

    It listens on this computer alone unless told otherwise. When other computers can reach it, it wants a token, and
    the addresses that browsers use have to be named.

    Parameters
    ----------
    session
        Folder of the session.
    address, port
        Where to listen; port 0 takes a free one.
    annotator
        Name that a page begins with.
    prefix
        Path below which a reverse proxy serves the app, as in ``/user/ann/proxy/5006``.
    origins
        Further ``HOST`` or ``HOST:PORT`` as browsers see them, behind a proxy or from other computers.
    token
        Secret that a browser has to bring; empty: a new one when other computers can reach the server, else none.
    background
        Whether to compute missing features as soon as it starts.

    Attributes
    ----------
    url
        Where to point a browser, the token included.

    Raises
    ------
    ConfigError
        If an address, port, prefix or origin cannot be.
    StorageError
        If the port is taken.
    """

    def __init__(
        self,
        session: str | Path,
        *,
        address: str = "127.0.0.1",
        port: int = 5006,
        annotator: str = "",
        prefix: str = "",
        origins: Sequence[str] = (),
        token: str = "",
        background: bool = True,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigError(f"port {port}: expected 0 to 65535")
        local = address in _LOOPBACK
        if not local and not origins:
            raise ConfigError(
                f"listening on {address} lets other computers in: name the address that browsers will use, as in "
                "--allow-websocket-origin myhost.org:5006"
            )
        self.token = token or ("" if local else secrets.token_urlsafe(24))
        prefix = prefix.strip("/")
        try:
            sockets, self.port = bind_sockets(address, port)
        except OSError as error:
            raise StorageError(
                f"cannot listen on {address}:{port}: {error.strerror or error}; try another --port"
            ) from error
        try:
            self.search = Search(Session.open(session))
        except BaseException:
            for bound in sockets:
                bound.close()
            raise
        self.learner = Learner(self.search, background=background)
        allowed = create_hosts_allowlist(list(origins), self.port) if origins else []
        if local:
            allowed += [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")]
        application = _Application(
            {"/": Application(FunctionHandler(self._page(annotator, local and not origins)))},
            prefix=prefix,
            extra_websocket_origins=allowed,
            absolute_url=f"http://{address}:{self.port}",
            unused_session_lifetime_milliseconds=_UNUSED_MS,
            check_unused_sessions_milliseconds=_UNUSED_MS // 3,
            auth_provider=_Gate(self.token, allowed, prefix),
            use_index=False,
            sign_sessions=True,  # nobody makes up the name of somebody else's page
            secret_key=secrets.token_bytes(32),
        )
        http = HTTPServer(application)
        http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), application, http)
        shown = "127.0.0.1" if local else address
        path = f"/{prefix}/" if prefix else "/"
        query = f"?{_PARAMETER}={self.token}" if self.token else ""
        self.url = f"http://{shown}:{self.port}{path}{query}"

    def _page(self, annotator: str, same_host: bool) -> Callable[[Document], None]:
        def make(document: Document) -> None:
            Page(document, self.search, self.learner, annotator, same_host=same_host)

        return make

    def run(self) -> None:
        """Serve until stopped, by Ctrl-C or SIGTERM."""
        loop = self._server.io_loop
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda number, frame: loop.add_callback_from_signal(loop.stop))
        self._server.start()
        try:
            loop.start()
        finally:
            self._server.stop()
            self.learner.close()
            self.search.close()


class _Application(BokehTornado):
    """Sends browsers the parts of BokehJS that the page uses: no tables, and no MathJax to make markup of text."""

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Return what a page has to load."""
        found = super().resources(absolute_url)
        found.components = list(_COMPONENTS)
        return found


class _Gate(AuthProvider):
    """Decides who comes in.

    A browser brings the token once, in the address; afterwards its cookie stands for it. A websocket has to come from a
    page of an address that was given: Tornado itself also lets in whoever names the same host twice, which a name
    server can make any page do (DNS rebinding).
    """

    def __init__(self, token: str, origins: Sequence[str], prefix: str) -> None:
        self._token = token
        self._origins = list(origins)
        self._path = f"/{prefix}/" if prefix else "/"
        super().__init__()

    @property
    def get_user(self) -> None:
        return None

    @property
    def get_user_async(self) -> Callable[[RequestHandler], Awaitable[str | None]]:
        async def user(handler: RequestHandler) -> str | None:
            is_socket = isinstance(handler, WebSocketHandler)
            origin = urlparse(handler.request.headers.get("Origin", "")).netloc.lower()
            if is_socket and not check_allowlist(origin, self._origins):
                _log.error("a websocket from %r is refused: see --allow-websocket-origin", origin)
                raise HTTPError(403)  # before the connection is made
            if not self._token or self._is_right(handler.get_cookie(_COOKIE, "") or ""):
                return "annotator"
            if self._is_right(handler.get_query_argument(_PARAMETER, "")):
                if not is_socket:
                    handler.set_cookie(_COOKIE, self._token, path=self._path, httponly=True, samesite="Strict")
                return "annotator"
            if is_socket:
                raise HTTPError(403)
            return None

        return user

    def _is_right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())

    @property
    def login_url(self) -> str:
        return "/no-entry"

    @property
    def get_login_url(self) -> None:
        return None

    @property
    def login_handler(self) -> type[RequestHandler]:
        return _NoEntry


class _NoEntry(RequestHandler):
    """What somebody without the token sees."""

    def get(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("This page needs the address with its token, which was shown when the server was started.\n")
