"""Addresses of the app: the path below which it is served, what to show in the terminal, who may open a websocket."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Sequence
from urllib.parse import quote, unquote

from astroanomaly.errors import ConfigError

__all__ = ["LOOPBACK", "Prefix", "allowed_origins", "frame_sources", "visible_host"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEFT_ALONE = "-._~!$&'()*+,=:@"  # what browsers do not escape in a path, but ; which ends the path of a cookie
_ALLOWED = f"{_LEFT_ALONE}/ "
_ORIGIN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s/:@\[\]?#]+)(:(\d{1,5}))?")
_FRAME = re.compile(r"https?://(\*\.)?(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:(\d{1,5}|\*))?", re.ASCII)
_log = logging.getLogger(__name__)


class Prefix:
    """Path below which a reverse proxy serves the app; browsers may escape its characters or not.

    Parameters
    ----------
    text
        As in ``/user/ann/proxy/5006``, or with escapes as in ``/user/ann%40host.org``.

    Attributes
    ----------
    path
        As it stands in an address, without the slash at its end; empty for no prefix.

    Raises
    ------
    ConfigError
        If it has what no path may have.
    """

    def __init__(self, text: str) -> None:
        try:
            plain = unquote(text.strip("/"), errors="strict")
        except UnicodeDecodeError:
            raise ConfigError(f"--prefix {text!r}: its escapes are not UTF-8") from None
        self._parts = plain.split("/") if plain else []
        wrong = sorted({c for c in plain if not (c.isprintable() if c > "\x7f" else c.isalnum() or c in _ALLOWED)})
        if wrong or any(part in ("", ".", "..") for part in self._parts):
            raise ConfigError(
                f"--prefix {text!r}: "
                + (f"{' '.join(map(repr, wrong))} cannot be part of it; " if wrong else "a part is empty, . or ..; ")
                + f"expected names between slashes, of letters, digits, blanks and {_LEFT_ALONE}"
            )
        self.path = "".join(f"/{quote(part, safe=_LEFT_ALONE)}" for part in self._parts)

    def split(self, path: str) -> tuple[str, str] | None:
        """Split the path of a request into the prefix, as the browser wrote it, and the rest; None if it is another."""
        count = len(self._parts) + 1
        parts = path.split("/")
        if [unquote(part) for part in parts[:count]] != ["", *self._parts]:
            return None
        return "/".join(parts[:count]), "".join(f"/{part}" for part in parts[count:])


def allowed_origins(address: str, port: int, origins: Sequence[str]) -> list[str]:
    """Return the hosts, with ports, whose pages may open a websocket.

    A host without a port means the usual one, that of a proxy; where browsers reach the server itself, also its own.

    Raises
    ------
    ConfigError
        If something given is no ``HOST`` or ``HOST:PORT``.
    """
    allowed = []
    for origin in origins:
        found = _ORIGIN.fullmatch(origin)
        if found is None or int(found[3] or 0) > 65535:
            raise ConfigError(
                f"--allow-websocket-origin {origin!r}: expected HOST or HOST:PORT, as in myhost.org:{port or 5006}"
            )
        if "*" in origin:
            _log.warning("the origin %r lets in pages of many addresses", origin)
        host = found[1].lower()
        if found[2] or host == "*":
            allowed.append(origin.lower())
        else:
            allowed += [f"{host}:80", *([host] if host.startswith("[") else [])]  # as `check_allowlist` calls them
            allowed += [] if address in LOOPBACK else [f"{host}:{port}"]
    if address in LOOPBACK:
        allowed += [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    return allowed


def frame_sources(origins: Sequence[str]) -> list[str]:
    """Return the addresses whose pages may show the app in a frame, as a policy names them.

    Raises
    ------
    ConfigError
        If one is no ``https://HOST`` or ``https://HOST:PORT``.
    """
    for origin in origins:
        if not _FRAME.fullmatch(origin):
            raise ConfigError(
                f"--allow-frame {origin!r}: expected the address of a server without a path, as in https://hub.org"
            )
    return [origin.lower() for origin in origins]


def visible_host(address: str, port: int, origins: Sequence[str]) -> str:
    """Return the host and port that lead a browser to the server: its own, or the first that was given."""
    named = [origin for origin in origins if "*" not in origin]
    if address not in LOOPBACK and named:
        found = _ORIGIN.fullmatch(named[0])
        return named[0] if found is not None and found[2] else f"{named[0]}:{port}"
    host = {"localhost": "127.0.0.1", "0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(address, address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
