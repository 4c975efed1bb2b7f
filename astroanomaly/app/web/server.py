"""Serve the app: addresses, who may come in, and one page for each browser."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bokeh.server.server import BaseServer
from bokeh.server.util import bind_sockets
from tornado.ioloop import IOLoop, PeriodicCallback

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.background.samp import SampLink
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.view.web_samp import WEB_HUB, WebSamp
from astroanomaly.app.web.address import LOOPBACK, Prefix, allowed_origins, frame_sources, visible_host
from astroanomaly.app.web.application import WebApplication
from astroanomaly.app.web.gate import Gate
from astroanomaly.app.web.token import Token, kept_token
from astroanomaly.app.web.user_header import check_header
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.session.session import Session

if TYPE_CHECKING:
    from bokeh.document import Document

__all__ = ["AppServer"]

_TICK_MS = 500
_UNUSED_MS = 30_000  # a closed page is forgotten after this time
_PASS_S = 30 * 24 * 3600
_WAY_IN = (
    "This page needs the server's token. Open the address that the server showed when it was started, which has the "
    "token, or bring the token here."
)
_WRONG_NAME = "This server knows no such name: open the address that it showed when it was started."


class AppServer:
    """A server of one session.

    It listens on this computer alone unless told otherwise, and wants a token even so: other accounts of the computer
    reach it. When other computers can reach it, the addresses that browsers use have to be named.

    Parameters
    ----------
    session
        Folder of the session.
    address, port
        Where to listen; port 0 takes a free one.
    annotator
        Name that a page begins with.
    vouched_by
        Who vouches for that name, as in ``JupyterHub``: then nobody can enter another; empty: nobody does.
    user_header
        Name of the header in which a proxy names the user: each page has that name, and nobody can enter another; a
        page without it is refused. Empty: none.
    prefix
        Path below which a reverse proxy serves the app, as in ``/user/ann/proxy/5006``; needed where the proxy leaves
        it on.
    origins
        Further ``HOST`` or ``HOST:PORT`` as browsers see them, behind a proxy or from other computers.
    frames
        Further addresses whose pages may show the app in a frame, as in ``https://hub.org``.
    token
        What a browser has to bring; None: the token of the session, which is kept in its folder.
    background
        Whether to compute missing features as soon as it starts.
    samp
        Whether to exchange positions and rows with the programs on this desktop, by SAMP.
    web_samp
        Whether pages offer to exchange positions with the programs on the computer of the browser, by SAMP's Web
        Profile.
    showings
        Whether to keep an account of what is shown to whom.

    Attributes
    ----------
    address
        Where to point a browser that knows the token.
    url
        The same with the token.

    Raises
    ------
    ConfigError
        If an address, port, prefix, origin or frame cannot be, or SAMP is asked for where other computers come in.
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
        vouched_by: str = "",
        user_header: str = "",
        prefix: str = "",
        origins: Sequence[str] = (),
        frames: Sequence[str] = (),
        token: Token | None = None,
        background: bool = True,
        samp: bool = False,
        web_samp: bool = False,
        showings: bool = True,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigError(f"port {port}: expected 0 to 65535")
        local = address in LOOPBACK
        if not local and not origins:
            raise ConfigError(
                f"listening on {address} lets other computers in: name the address that browsers will use, as in "
                "--allow-websocket-origin myhost.org:5006"
            )
        if samp and (not local or origins):
            raise ConfigError(
                "--samp connects the page to the programs on the desktop of this computer: not together with "
                "--allow-websocket-origin or another --address, which let other computers in"
            )
        if samp and web_samp:
            raise ConfigError(
                "--samp and --web-samp exclude one another: the hub is that of this computer, or of each browser's"
            )
        below = Prefix(prefix)
        self._user_header = check_header(user_header) if user_header else ""
        allowed_origins(address, port, origins)  # refused before anything is opened
        sources = frame_sources(frames)
        try:
            sockets, self.port = bind_sockets(address, port)
        except OSError as error:
            raise StorageError(
                f"cannot listen on {address}:{port}: {error.strerror or error}; try another --port"
            ) from error
        try:
            self.shared = SharedState(Session.open(session), showings=showings)
        except BaseException:
            for bound in sockets:
                bound.close()
            raise
        self.token = kept_token(Path(session)) if token is None else token
        self.learner = Learner(self.shared, background=background)
        self.desktop = SampLink() if samp else None
        self._annotator = annotator
        self._vouched_by = f"the proxy ({user_header})" if user_header else vouched_by
        self._same_host = local and not origins
        self._web_samp = web_samp
        gate = Gate(
            self.token.text, origins=allowed_origins(address, self.port, origins), frames=sources, lifetime_s=_PASS_S,
            connects=(WEB_HUB,) if web_samp else (),
        )  # fmt: skip
        shown = visible_host(address, self.port, origins)
        application = WebApplication(
            self._make_page,
            gate=gate,
            below=below,
            way_in=_WAY_IN if self.token.text else _WRONG_NAME,
            asks=bool(self.token.text),
            user_header=self._user_header,
            absolute_url=f"http://{visible_host(address, self.port, ())}",
            unused_session_lifetime_milliseconds=_UNUSED_MS,
            check_unused_sessions_milliseconds=_UNUSED_MS // 3,
        )
        http = application.http_server()
        http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), application, http)
        self.address = f"http://{shown}{below.path}/"
        self.url = self.address + gate.query

    def _make_page(self, document: Document) -> None:
        annotator = document.session_context.token_payload["user"] if self._user_header else self._annotator
        Page(document, self.shared, self.learner, annotator, same_host=self._same_host,
             desktop=WebSamp() if self._web_samp else self.desktop, vouched_by=self._vouched_by)  # fmt: skip

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
            if self.desktop is not None:
                self.desktop.close()
            self.learner.close()
            self.shared.close()
