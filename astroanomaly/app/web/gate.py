"""Who may come in: the one place that every request passes before anything of Bokeh hears of it."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlparse
from weakref import WeakKeyDictionary

from bokeh.server.util import check_allowlist
from bokeh.util.token import check_token_signature
from tornado.httputil import HTTPServerRequest

from astroanomaly.app.web.passes import Passes, is_same
from astroanomaly.app.web.token import new_secret

__all__ = ["GONE_STATUS", "PAGE", "Admission", "Gate", "RefusedError"]

PAGE = "/"
GONE_STATUS = 410  # the answer to pages of an earlier run of the server
_SOCKET = "/ws"
_STATIC = "/static/js/"
_ICON = "/favicon.ico"
_TOKEN_PARAMETER = "token"
_STATIC_PARAMETER = "key"
_AROUND_PARAMETER = "from"
_SIGNED_VALUE = re.compile(r"[\w-]+\.[\w-]+", re.ASCII)  # the form of what a page of ours brings
_WEB_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.ASCII)
_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request is not answered; ``status`` is that of the reply."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True)
class Admission:
    """How a page was let in, and what it is given.

    Attributes
    ----------
    nonce
        What scripts of the page bear, so that no others run.
    cookie
        The pass for the browser to keep; empty: none.
    carried
        The pass for the page itself, where its address let it in and there may be no cookies; empty: none.
    tells_frame
        Whether the page may hand its pass to the page around it, which has let it in.
    frames
        Sources of ``frame-ancestors``: whose pages may show it; None: anybody's.
    """

    nonce: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    cookie: str = field(default="", repr=False)
    carried: str = field(default="", repr=False)
    tells_frame: bool = False
    frames: tuple[str, ...] | None = ("'self'",)


class Gate:
    """Lets requests in or not.

    * The page itself wants the token or a pass in its address, or its cookie, which holds a pass. In a notebook it
      wants a key that is good once, since what a cell shows is written into a file.
    * A websocket brings what a page was given: a session signed by this run of the server. So it needs no cookie,
      which frames of another site's page would not get. It has to come from a page of an allowed address.
    * The parts of BokehJS want the cookie, or what stands in the addresses that the page has for them.
    * Everything else that Bokeh would serve is not there: its ``autoload.js`` gives sessions to pages of any address.

    Secrets are taken out of the request here, so that they get into no log, and not into Bokeh's own tokens.

    Parameters
    ----------
    token
        The token; empty: whoever names the server by one of the ``origins`` may come in. A name server can point any
        name at this computer (DNS rebinding), but not one of those.
    origins
        ``HOST:PORT`` of the pages that may open a websocket; None: any, since a signed session is asked for anyway.
    frames
        Whose pages may show the app in a frame, besides its own: sources of ``frame-ancestors``.
    lifetime_s
        How long a pass is good for, in seconds.
    connects
        What else than the server the script of the page may connect to: sources of ``connect-src``.
    """

    def __init__(
        self,
        token: str,
        *,
        origins: Sequence[str] | None,
        frames: Sequence[str] = (),
        lifetime_s: int,
        connects: Sequence[str] = (),
    ) -> None:
        self.connects = tuple(connects)
        self.session_key = secrets.token_bytes(32)  # a new one for every run
        self._token = token
        self._passes = Passes(token or new_secret(), lifetime_s)
        self.cookie = f"astroanomaly-{self._passes.name}"
        self._origins = None if origins is None else list(origins)
        self._frames = tuple(frames)
        self._around: set[str] = set()  # addresses of the pages that brought a key
        self._anybody_around = False
        self._keys: set[bytes] = set()
        self._admitted: WeakKeyDictionary[HTTPServerRequest, Admission] = WeakKeyDictionary()

    @property
    def lifetime_s(self) -> int:
        """How long a pass is good for, in seconds."""
        return self._passes.lifetime_s

    @property
    def query(self) -> str:
        """What the address of the page has to have behind it; empty without a token."""
        return f"?{urlencode({_TOKEN_PARAMETER: self._token})}" if self._token else ""

    def key_query(self) -> str:
        """Return what the address has to have behind it, once: a new key, which is void when it has been used."""
        key = new_secret()
        self._keys.add(_digest(key))
        return f"?{urlencode({_TOKEN_PARAMETER: key})}"

    def static_path(self, path: str) -> str:
        """Return the path of a part of BokehJS, with what opens it."""
        return f"{path}{'&' if '?' in path else '?'}{_STATIC_PARAMETER}={self._passes.static}"

    def admission(self, request: HTTPServerRequest) -> Admission | None:
        """Return how the page of a request was let in; None for anything else."""
        return self._admitted.get(request)

    def sign_in(self, token: str) -> str | None:
        """Return a pass for somebody who brings the token; None if it is another."""
        return self._passes.issue() if self._token and is_same(token, self._token) else None

    def admit(self, request: HTTPServerRequest, path: str) -> None:
        """Let a request in, or not.

        Parameters
        ----------
        request
            The request. The token, keys and passes are taken out of its address.
        path
            Its path, without that of a proxy.

        Raises
        ------
        RefusedError
            If it is not let in.
        """
        brought = _take_out(request, path)
        if request.method != "GET":  # nothing is sent here but the token, by those who are not in yet
            raise RefusedError(405)
        if _is_foreign(request):
            raise RefusedError(403)
        if path == _SOCKET:
            self._check_socket(request)
        elif path == PAGE:
            self._admitted[request] = self._admit_page(request, brought)
        else:
            is_static = path.startswith(_STATIC)
            opened = is_static and any(is_same(given, self._passes.static) for given in brought[_STATIC_PARAMETER])
            if not opened and not self._is_known(request):
                raise RefusedError(403)
            if not is_static and path != _ICON:
                raise RefusedError(404)

    def _admit_page(self, request: HTTPServerRequest, brought: dict[str, list[str]]) -> Admission:
        given = brought[_TOKEN_PARAMETER]
        keys = self._keys & {_digest(text) for text in given}
        self._keys -= keys
        with_key = bool(keys)
        if with_key:
            self._remember_around(brought[_AROUND_PARAMETER])
        frames = ("'self'", *self._frames, *sorted(self._around))
        if with_key or any(self._opens(text) for text in given):
            return Admission(
                cookie=self._passes.issue(), carried=self._passes.issue(), tells_frame=with_key,
                frames=None if self._anybody_around else frames,
            )  # fmt: skip
        if self._is_known(request):
            return Admission(cookie=self._passes.issue() if self._token else "", frames=frames)
        raise RefusedError(403)

    def _check_socket(self, request: HTTPServerRequest) -> None:
        origin = urlparse(request.headers.get("Origin", "")).netloc.lower()
        if self._origins is not None and not check_allowlist(origin, self._origins):
            _log.error("a websocket from %r is refused: see --allow-websocket-origin", origin)
            raise RefusedError(403)
        session = request.headers.get("Sec-WebSocket-Protocol", "").split(",")[-1].strip()
        if not _SIGNED_VALUE.fullmatch(session):
            raise RefusedError(403)
        if not _is_signed(session, self.session_key):
            raise RefusedError(GONE_STATUS)

    def _is_known(self, request: HTTPServerRequest) -> bool:
        """Whether a request brings the cookie or, where no token is asked for, names the server by an allowed name."""
        if not self._token:
            return check_allowlist(request.host.lower(), self._origins or [])
        return self.cookie in request.cookies and self._passes.is_valid(request.cookies[self.cookie].value)

    def _opens(self, text: str) -> bool:
        return bool(self._token) and (is_same(text, self._token) or self._passes.is_valid(text))

    def _remember_around(self, origins: Sequence[str]) -> None:
        """Let the pages that showed a key show the app again, when its cookie lets it in."""
        web = [origin for origin in origins if _WEB_ORIGIN.fullmatch(origin)]
        self._around.update(web)
        self._anybody_around |= len(web) < len(origins)  # as in VS Code, whose pages are of no web address


def _take_out(request: HTTPServerRequest, path: str) -> dict[str, list[str]]:
    """Take all out of an address that might be a secret, or choose a session of Bokeh, and return what it was."""
    names = (_TOKEN_PARAMETER, _STATIC_PARAMETER, _AROUND_PARAMETER)
    brought = {
        name: [value.decode("utf-8", "replace") for value in request.query_arguments.get(name, [])] for name in names
    }
    version = request.query_arguments.get("v", [])[:1] if path.startswith(_STATIC) else []
    request.query_arguments = {"v": version} if version else {}
    request.arguments = dict(request.query_arguments)
    request.query = urlencode(request.query_arguments, doseq=True)
    request.uri = (request.uri or "").partition("?")[0] + (f"?{request.query}" if request.query else "")
    request.headers.pop("Bokeh-Session-Id", None)
    return brought


def _is_foreign(request: HTTPServerRequest) -> bool:
    """Whether a browser says that a page of another origin asks, and not by leading the browser here."""
    site = request.headers.get("Sec-Fetch-Site", "")
    return site in ("same-site", "cross-site") and request.headers.get("Sec-Fetch-Mode", "") != "navigate"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def _is_signed(session: str, key: bytes) -> bool:
    try:
        return bool(check_token_signature(session, secret_key=key, signed=True))
    except (ValueError, TypeError, KeyError, RecursionError):  # no token at all
        return False
