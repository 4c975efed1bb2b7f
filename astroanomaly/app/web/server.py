"""Serve the app: addresses, who may come in, and one page for each browser."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import signal
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.resources import Resources
from bokeh.server.auth_provider import AuthProvider
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets, check_allowlist
from bokeh.util.token import check_token_signature
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.web.address import LOOPBACK, Prefix, allowed_origins, visible_host
from astroanomaly.app.web.token import FILE, keep_token
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.session.session import Session

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["AppServer"]

_TOKEN_PARAMETER = "token"
_COMPONENTS = ("bokeh", "bokeh-gl", "bokeh-widgets")
_TICK_MS = 500
_UNUSED_MS = 30_000  # a closed page is forgotten after this time
_SIGNED_VALUE = re.compile(r"[\w-]+\.[\w-]+")  # the form of what a page of ours brings
_GONE_STATUS = 410  # the answer to pages of an earlier run of the server
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
        Secret that a browser has to bring; empty: that of the session, kept in its folder, when other computers can
        reach the server, else none.
    background
        Whether to compute missing features as soon as it starts.

    Attributes
    ----------
    url
        Where to point a browser, the token included.
    token_kept
        How long the token is good for, in words.

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
        local = address in LOOPBACK
        if not local and not origins:
            raise ConfigError(
                f"listening on {address} lets other computers in: name the address that browsers will use, as in "
                "--allow-websocket-origin myhost.org:5006"
            )
        below = Prefix(prefix)
        allowed_origins(address, port, origins)  # refused before anything is opened
        try:
            sockets, self.port = bind_sockets(address, port)
        except OSError as error:
            raise StorageError(
                f"cannot listen on {address}:{port}: {error.strerror or error}; try another --port"
            ) from error
        try:
            self.shared = SharedState(Session.open(session))
        except BaseException:
            for bound in sockets:
                bound.close()
            raise
        self.token, self.token_kept = token, "it is the one that was given"
        if not token and not local:
            self.token, kept = keep_token(Path(session))
            self.token_kept = (
                f"it stays the same until {Path(session) / FILE} is removed" if kept else "the next start has another"
            )
        self.learner = Learner(self.shared, background=background)
        allowed = allowed_origins(address, self.port, origins)
        application = _Application(
            {"/": Application(FunctionHandler(self._page(annotator, local and not origins)))},
            below=below,
            extra_websocket_origins=allowed,
            absolute_url=f"http://{visible_host(address, self.port, ())}",
            unused_session_lifetime_milliseconds=_UNUSED_MS,
            check_unused_sessions_milliseconds=_UNUSED_MS // 3,
            auth_provider=_Gate(self.token, allowed, below, self.port),
            use_index=False,
            sign_sessions=True,  # nobody makes up the name of somebody else's page
            secret_key=secrets.token_bytes(32),
        )
        http = HTTPServer(application)
        http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), application, http)
        query = f"?{_TOKEN_PARAMETER}={self.token}" if self.token else ""
        self.url = f"http://{visible_host(address, self.port, origins)}{below.path}/{query}"

    def _page(self, annotator: str, same_host: bool) -> Callable[[Document], None]:
        def make(document: Document) -> None:
            Page(document, self.shared, self.learner, annotator, same_host=same_host)

        return make

    def run(self) -> None:
        """Serve until stopped, by Ctrl-C or SIGTERM."""
        loop = self._server.io_loop
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda number, frame: loop.add_callback_from_signal(loop.stop))
        self._server.start()
        learning = PeriodicCallback(self.learner.tick, _TICK_MS)  # before anybody opens a page, too
        learning.start()
        try:
            loop.start()
        finally:
            learning.stop()
            self._server.stop()
            self.learner.close()
            self.shared.close()


class _Application(BokehTornado):
    """Sends browsers the parts of BokehJS that the page uses: no tables, and no MathJax to make markup of text.

    Bokeh uses a prefix both as a pattern that paths are compared with and as a part of addresses; where it has
    characters with a meaning in one of them, the two differ.
    """

    def __init__(self, applications: dict[str, Application], *, below: Prefix, **more: Any) -> None:
        super().__init__(applications, prefix=re.escape(below.path), **more)
        self._prefix = below.path
        self._below = below

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        """Find who answers, however the browser escaped the prefix."""
        found = self._below.split(request.path)
        if found is not None:
            request.path = self._below.path + found[1]
        return super().find_handler(request, **more)

    def log_request(self, handler: RequestHandler) -> None:
        """Write the log, but for pages of an earlier run: they ask every few seconds until they are loaded again."""
        if handler.get_status() != _GONE_STATUS:
            super().log_request(handler)

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Return what a page has to load."""
        found = super().resources(absolute_url)
        found.components = list(_COMPONENTS)
        return found


class _Gate(AuthProvider):
    """Checks the access token of each request.

    A browser brings the token once, in the address; afterwards its cookie stands for it. A websocket has to come from a
    page of an address that was given: Tornado itself also lets in whoever names the same host twice, which a name
    server can make any page do (DNS rebinding). Browsers keep cookies by host, whatever the port: the cookie's name
    tells servers of one host apart.
    """

    def __init__(self, token: str, origins: Sequence[str], below: Prefix, port: int) -> None:
        self._token = token
        self._origins = list(origins)
        self._below = below
        mine = hashlib.sha256(f"{port} {below.path} {token}".encode()).hexdigest()
        self._cookie = f"astroanomaly-{mine[:16]}"
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
            if not self._token or self._is_right(handler.get_cookie(self._cookie, "") or ""):
                self._refuse_old_page(handler)
                return "annotator"
            if self._is_right(handler.get_query_argument(_TOKEN_PARAMETER, "")):
                if not is_socket:
                    written = self._below.split(urlparse(handler.request.uri or "").path)
                    path = f"{written[0] if written else self._below.path}/"
                    handler.set_cookie(self._cookie, self._token, path=path, httponly=True, samesite="Strict")
                return "annotator"
            if is_socket:
                raise HTTPError(403)
            return None

        return user

    def _refuse_old_page(self, handler: RequestHandler) -> None:
        """Turn away pages that an earlier run of the server signed: they load again by themselves."""
        if isinstance(handler, WebSocketHandler):
            application: Any = handler.application
            protocols = handler.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            token = protocols[-1].strip()
            if _SIGNED_VALUE.fullmatch(token) and not _is_signed(token, application.secret_key):
                raise HTTPError(_GONE_STATUS)

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


def _is_signed(token: str, key: bytes | None) -> bool:
    try:
        return bool(check_token_signature(token, secret_key=key, signed=True))
    except (ValueError, TypeError):  # no token at all
        return False


class _NoEntry(RequestHandler):
    """The page for somebody without the token."""

    def get(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("This page needs the address with its token, which was shown when the server was started.\n")
