"""What somebody sees who has not been let in: what to do, and a field for the token."""

from __future__ import annotations

import secrets
from string import Template

from tornado.web import RequestHandler

from astroanomaly.app.assets import asset
from astroanomaly.app.web.gate import PAGE, Gate
from astroanomaly.app.web.headers import policy, set_cookie

__all__ = ["SignIn"]

_FORM = (
    '<form method="post"><input name="token" type="password" placeholder="token" autocomplete="current-password" '
    "autofocus required><button>open</button></form>"
)
# a link of another site leads here without the cookie: no page can have keys pressed in the app that were meant for it
_GO_ON = '<p>Signed in already? <a href="./">Go on</a></p>'


class SignIn(RequestHandler):
    """Says what to do, and takes the token, which so does not have to stand in an address.

    Parameters
    ----------
    gate
        Who knows the token.
    path, status
        What was asked for, and the status of the reply.
    way_in
        What to do.
    asks
        Whether those who come know the token, and may bring it.
    """

    def initialize(self, gate: Gate, path: str, status: int, way_in: str, asks: bool) -> None:
        """Take what this reply is about."""
        self._gate = gate
        self._path = path
        self._status = status
        self._way_in = way_in
        self._asks = asks

    def get(self) -> None:
        """Say what to do."""
        self._say(self._way_in, self._status)

    def post(self) -> None:
        """Take the token."""
        if self._path != PAGE or not self._asks:
            self._say(self._way_in, 405)
            return
        found = self._gate.sign_in(self.get_body_argument("token", "").strip())
        if found is None:
            self._say(f"That is not the token. {self._way_in}", 403)
            return
        self.add_header("Set-Cookie", set_cookie(self._gate, self.request, found))
        self.set_header("Location", "./")
        self.set_status(303)

    def _say(self, text: str, status: int) -> None:
        self.set_status(status)
        if self._path != PAGE:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{text}\n")
            return
        nonce = secrets.token_urlsafe(18)
        frames = ("'self'",) if self._asks else None  # nothing to click on where nothing is asked
        directives = ("default-src 'none'", f"style-src 'nonce-{nonce}'", "form-action 'self'", "base-uri 'none'")
        self.set_header("Content-Security-Policy", policy(*directives, frames=frames))
        more = _FORM if self._asks else ""
        if self.request.headers.get("Sec-Fetch-Site") == "cross-site":
            more += _GO_ON
        self.finish(Template(asset("sign_in.html")).substitute(nonce=nonce, text=text, more=more))
