"""Headers of every reply: what a browser may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

if TYPE_CHECKING:
    from astroanomaly.app.web.gate import Gate

__all__ = ["policy", "security_headers", "set_cookie"]

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_CACHE = "Cache-Control"
# BokehJS makes functions of the texts of its callbacks and of WebGL ('unsafe-eval': else no key has an effect), gives
# elements styles of their own ('unsafe-inline': else nothing is in its place), has icons in its style sheets (data:).
_PAGE = (
    "default-src 'none'", "script-src 'nonce-{nonce}' 'unsafe-eval'", "style-src 'unsafe-inline'",
    "img-src 'self' data:", "connect-src 'self'{connects}", "base-uri 'none'", "form-action 'none'",
)  # fmt: skip
_NOTHING = ("default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'")


def policy(*directives: str, frames: tuple[str, ...] | None) -> str:
    """Return a policy for a page that may be shown in the frames of some pages, or of all (None)."""
    return "; ".join(directives if frames is None else (*directives, f"frame-ancestors {' '.join(frames)}"))


def set_cookie(gate: Gate, request: HTTPServerRequest, value: str) -> str:
    """Return the header that has a browser keep a pass.

    It names no path: so the browser takes that of the page as it sees it, whatever a proxy takes off.
    """
    by_tls = "https" in (request.protocol, request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower())
    secure = "; Secure" if by_tls else ""
    return f"{gate.cookie}={value}; Max-Age={gate.lifetime_s}; HttpOnly; SameSite=Strict{secure}"


def security_headers(gate: Gate) -> type[OutputTransform]:
    """Return what adds the headers to each reply."""

    class Headers(OutputTransform):
        def __init__(self, request: HTTPServerRequest) -> None:
            self._request = request

        def transform_first_chunk(
            self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
        ) -> tuple[int, HTTPHeaders, bytes]:
            for name, value in _ALWAYS.items():
                headers[name] = value
            admission = gate.admission(self._request)
            if admission is not None:
                connects = "".join(f" {one}" for one in gate.connects)
                page = [directive.format(nonce=admission.nonce, connects=connects) for directive in _PAGE]
                headers["Content-Security-Policy"] = policy(*page, frames=admission.frames)
                if admission.cookie:
                    headers.add("Set-Cookie", set_cookie(gate, self._request, admission.cookie))
            elif "Content-Security-Policy" not in headers:
                headers["Content-Security-Policy"] = "; ".join(_NOTHING)
            if _CACHE not in headers:
                headers[_CACHE] = "no-store"
            return status_code, headers, chunk

    return Headers
