"""Serve the app: addresses, who may come in, and one page for each browser."""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.server.server import BaseServer
from bokeh.server.util import bind_sockets
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop, PeriodicCallback

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.web.address import LOOPBACK, Prefix, allowed_origins, visible_host
from astroanomaly.app.web.application import WebApplication
from astroanomaly.app.web.gate import TOKEN_PARAMETER, CookieGate
from astroanomaly.app.web.token import FILE, keep_token
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.session.session import Session

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["AppServer"]

_TICK_MS = 500
_UNUSED_MS = 30_000  # a closed page is forgotten after this time


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
        Path below which a reverse proxy serves the app, as in ``/user/ann/proxy/5006``; needed where the proxy leaves
        it on.
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
        application = WebApplication(
            {"/": Application(FunctionHandler(self._page(annotator, local and not origins)))},
            below=below,
            extra_websocket_origins=allowed,
            absolute_url=f"http://{visible_host(address, self.port, ())}",
            unused_session_lifetime_milliseconds=_UNUSED_MS,
            check_unused_sessions_milliseconds=_UNUSED_MS // 3,
            auth_provider=CookieGate(self.token, allowed, below, self.port),
            use_index=False,
            sign_sessions=True,  # nobody makes up the name of somebody else's page
            secret_key=secrets.token_bytes(32),
        )
        http = HTTPServer(application)
        http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), application, http)
        query = f"?{TOKEN_PARAMETER}={self.token}" if self.token else ""
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
