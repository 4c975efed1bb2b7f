"""Who may come in: the token, the cookie that stands for it, and the pages that may open a websocket."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlparse

from bokeh.server.auth_provider import AuthProvider
from bokeh.server.util import check_allowlist
from bokeh.server.views.doc_handler import DocHandler
from bokeh.util.token import check_token_signature
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from astroanomaly.app.web.address import Prefix

__all__ = ["GONE_STATUS", "TOKEN_PARAMETER", "AddressGate", "CookieGate"]

TOKEN_PARAMETER = "token"
GONE_STATUS = 410  # the answer to pages of an earlier run of the server
_SIGNED_VALUE = re.compile(r"[\w-]+\.[\w-]+")  # the form of what a page of ours brings
_log = logging.getLogger(__name__)


class _TokenGate(AuthProvider, ABC):
    """Lets a request in or not; somebody without the token gets a page that says so."""

    def __init__(self, token: str) -> None:
        self._token = token
        super().__init__()

    @abstractmethod
    def admit(self, handler: RequestHandler) -> bool:
        """Return whether a request may be answered.

        Raises
        ------
        HTTPError
            For a websocket that may not be opened.
        """

    @property
    def get_user(self) -> None:
        return None

    @property
    def get_user_async(self) -> Callable[[RequestHandler], Awaitable[str | None]]:
        async def user(handler: RequestHandler) -> str | None:
            if self.admit(handler):
                return "annotator"
            if isinstance(handler, DocHandler):  # is shown the page for somebody without the token
                return None
            raise HTTPError(403)

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


class CookieGate(_TokenGate):
    """Checks the origin of websockets and, if there is a token, that each request brings it.

    A browser brings the token once, in the address; afterwards its cookie stands for it. A websocket has to come from a
    page of an address that was given: Tornado itself also lets in whoever names the same host twice, which a name
    server can make any page do (DNS rebinding). Browsers keep cookies by host, whatever the port: the cookie's name
    tells servers of one host apart.
    """

    def __init__(self, token: str, origins: Sequence[str], below: Prefix, port: int) -> None:
        super().__init__(token)
        self._origins = list(origins)
        self._below = below
        mine = hashlib.sha256(f"{port} {below.path} {token}".encode()).hexdigest()
        self._cookie = f"astroanomaly-{mine[:16]}"

    def admit(self, handler: RequestHandler) -> bool:
        """Return whether a request may be answered."""
        is_socket = isinstance(handler, WebSocketHandler)
        origin = urlparse(handler.request.headers.get("Origin", "")).netloc.lower()
        if is_socket and not check_allowlist(origin, self._origins):
            _log.error("a websocket from %r is refused: see --allow-websocket-origin", origin)
            raise HTTPError(403)  # before the connection is made
        if not self._token or self._is_right(handler.get_cookie(self._cookie, "") or ""):
            if is_socket and _signature(handler) is False:  # of an earlier run of the server: it loads again by itself
                raise HTTPError(GONE_STATUS)
            return True
        if self._is_right(handler.get_query_argument(TOKEN_PARAMETER, "")):
            if not is_socket:
                written = self._below.split(urlparse(handler.request.uri or "").path)
                path = f"{written[0] if written else self._below.path}/"
                handler.set_cookie(self._cookie, self._token, path=path, httponly=True, samesite="Strict")
            return True
        if is_socket:
            raise HTTPError(403)
        return False


class AddressGate(_TokenGate):
    """Wants the token in the address of each page, and no cookie: frames of another site's page get none.

    A websocket has to bring what such a page was given: a session signed by this server. So it does not matter what
    site the page around the frame is of, and other accounts of this computer stay out.
    """

    def admit(self, handler: RequestHandler) -> bool:
        """Return whether a request may be answered."""
        if not isinstance(handler, WebSocketHandler):
            return self._is_right(handler.get_query_argument(TOKEN_PARAMETER, ""))
        if not _signature(handler):
            raise HTTPError(403)
        return True


def _signature(handler: RequestHandler) -> bool | None:
    """Whether this server signed the session that a websocket asks for; None if it names none."""
    application: Any = handler.application
    token = handler.request.headers.get("Sec-WebSocket-Protocol", "").split(",")[-1].strip()
    return _is_signed(token, application.secret_key) if _SIGNED_VALUE.fullmatch(token) else None


def _is_signed(token: str, key: bytes | None) -> bool:
    try:
        return bool(check_token_signature(token, secret_key=key, signed=True))
    except (ValueError, TypeError, KeyError, RecursionError):  # no token at all
        return False


class _NoEntry(RequestHandler):
    """The page for somebody without the token."""

    def get(self) -> None:
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("This page needs the address with its token, which was shown when the server was started.\n")
