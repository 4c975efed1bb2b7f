"""The app inside a notebook: the kernel serves it, a frame in the notebook shows it."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

from bokeh.server.server import BaseServer
from bokeh.server.util import bind_sockets
from tornado.ioloop import IOLoop

from astroanomaly.app.assets import asset
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.view.web_samp import WEB_HUB, WebSamp
from astroanomaly.app.web.address import Prefix
from astroanomaly.app.web.application import WebApplication
from astroanomaly.app.web.gate import Gate
from astroanomaly.app.web.token import new_secret
from astroanomaly.app.web.user_header import hub_user
from astroanomaly.errors import ConfigError
from astroanomaly.session.folder import user_name

if TYPE_CHECKING:
    from bokeh.document import Document

    from astroanomaly.session.session import Session

__all__ = ["NotebookApp", "proxied_address"]

_HOST = "127.0.0.1"
_PASS_S = 24 * 3600  # renewed whenever the app is loaded
_WAY_IN = "What a cell shows opens the app once: run the cell with app() again."
_PORT_WORDS = ("{{port}}", "{port}")  # as code-server writes it, and as Python does


class NotebookApp:
    """The server of a kernel, and what the cells of a notebook share: however often the app is shown, its state is one.

    It listens on this computer only. Its token is made anew with every kernel and stands nowhere: what a cell shows is
    kept in the notebook's file, which others may be able to read, and so has a key that is good once.

    Parameters
    ----------
    session
        The session.
    annotator
        Name that verdicts are given under; empty: that of the JupyterHub, which nobody can change on the page, else of
        the account.
    showings
        Whether to keep an account of what is shown to whom.
    """

    def __init__(self, session: Session, annotator: str, *, showings: bool = True) -> None:
        self.shared = SharedState(session, showings=showings)
        self.learner = Learner(self.shared)
        self._gate = Gate(new_secret(), origins=None, lifetime_s=_PASS_S)
        self._set_name(annotator)
        self._same_host = True
        sockets, self.port = bind_sockets(_HOST, 0)
        application = WebApplication(self._make_page, gate=self._gate, below=Prefix(""), way_in=_WAY_IN, asks=False)
        http = application.http_server()
        http.add_sockets(sockets)
        self._server = BaseServer(IOLoop.current(), application, http)
        self._server.start()

    def _make_page(self, document: Document) -> None:
        Page(
            document, self.shared, self.learner, self._annotator, same_host=self._same_host,
            desktop=WebSamp() if self._gate.connects else None, vouched_by=self._vouched_by,
        )  # fmt: skip

    def _set_name(self, annotator: str) -> None:
        hub = "" if annotator else hub_user(os.environ)
        self._annotator, self._vouched_by = annotator or hub or user_name(), "JupyterHub" if hub else ""

    def show(self, annotator: str, url: str, height: int, *, samp: bool = False) -> None:
        """Show the app below the current cell.

        Parameters
        ----------
        annotator
            Name that the page begins with; empty: as above.
        url
            Address under which the browser reaches the kernel's port, with ``{port}`` in it; empty: found out.
        height
            Height of the frame, in pixels of the page.
        samp
            Whether the page offers to connect the browser to the programs on its computer.

        Raises
        ------
        ConfigError
            If the address or the height cannot be, or this is no notebook.
        """
        interactive = sys.modules.get("IPython")  # a kernel has loaded it
        if interactive is None or getattr(interactive.get_ipython(), "kernel", None) is None:
            raise ConfigError(
                f"this is no notebook: `astroanomaly serve {self.shared.session.path}` opens the app in a browser"
            )
        if not 200 <= height <= 10_000:
            raise ConfigError(f"height={height}: expected 200 to 10000 pixels")
        self._set_name(annotator)
        self._gate.connects = (WEB_HUB,) if samp else ()
        interactive.display.display({"text/html": self.html(url, height), "text/plain": "AstroAnomaly"}, raw=True)

    def html(self, url: str = "", height: int = 800) -> str:
        """Return the frame, as markup. Its script finds the address: what the browser sees, the kernel cannot know."""
        fixed = _with_port(url, self.port) if url else proxied_address(self.port, os.environ)
        self._same_host = not fixed
        values = {"port": self.port, "query": self._gate.key_query(), "fixed": fixed}
        frame = f"astroanomaly-{secrets.token_hex(8)}"
        direct = f"http://{_HOST}:{self.port}/"
        script = asset("frame.js").replace("__FRAME__", json.dumps(frame)).replace("__VALUES__", json.dumps(values))
        return (
            f'<div id="{frame}"><iframe style="width:100%;height:{height:d}px;border:0;border-radius:6px" '
            f'title="AstroAnomaly" allow="clipboard-write; fullscreen"></iframe>'
            f'<div style="font-size:12px">AstroAnomaly: <a href="{escape(fixed or direct)}" target="_blank" '
            f'rel="noopener">open in a tab of its own</a></div></div><script>{script}</script>'
        )


def proxied_address(port: int, environment: Mapping[str, str]) -> str:
    """Return the address under which a proxy that the environment names reaches a port; empty if it names none.

    ``JUPYTER_BOKEH_EXTERNAL_URL``, the address of a JupyterHub as Bokeh's documentation has it, together with
    ``JUPYTERHUB_SERVICE_PREFIX``; ``VSCODE_PROXY_URI``, which VS Code on a server and code-server set. On a hub without
    the first, the page itself knows its address.

    Raises
    ------
    ConfigError
        If one of them is no address.
    """
    hub = environment.get("JUPYTER_BOKEH_EXTERNAL_URL", "")
    if hub:
        prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX", "/")
        return _with_port(f"{hub.rstrip('/')}/{prefix.strip('/')}".rstrip("/") + "/proxy/{port}/", port)
    proxy = environment.get("VSCODE_PROXY_URI", "")
    return _with_port(proxy, port) if proxy else ""


def _with_port(url: str, port: int) -> str:
    if not url.startswith(("http://", "https://")) or not any(word in url for word in _PORT_WORDS):
        raise ConfigError(
            f"url={url!r}: expected the address under which the browser reaches a port of this computer, with {{port}} "
            "in its place, as in https://hub.org/user/ann/proxy/{port}/"
        )
    for word in _PORT_WORDS:
        url = url.replace(word, str(port))
    return url if url.endswith("/") else f"{url}/"
