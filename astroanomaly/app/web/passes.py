"""Passes: what stands for the token in cookies and in the addresses of frames, for a time."""

from __future__ import annotations

import hashlib
import hmac
import re
import time

__all__ = ["Passes", "is_same"]

_PASS = re.compile(r"(\d{1,12})~([0-9a-f]{64})", re.ASCII)


class Passes:
    """Issue passes and check them.

    A pass says until when it is good, and is signed with what follows from the token: nobody finds the token from it,
    a server that is started again with the same token knows it, and with another token all passes are void.

    Parameters
    ----------
    token
        The token.
    lifetime_s
        How long a pass is good for, in seconds.

    Attributes
    ----------
    name
        Differs from token to token, and tells nothing of it.
    static
        Opens the parts of BokehJS, and nothing else.
    """

    def __init__(self, token: str, lifetime_s: int) -> None:
        self._token = token
        self.lifetime_s = lifetime_s
        self.name = self._sign("name")[:12]
        self.static = self._sign("static")[:32]

    def issue(self) -> str:
        """Return a new pass."""
        end = str(int(time.time()) + self.lifetime_s)
        return f"{end}~{self._sign(f'pass {end}')}"

    def is_valid(self, text: str) -> bool:
        """Whether a text is a pass, and still good."""
        found = _PASS.fullmatch(text)
        return found is not None and is_same(found[2], self._sign(f"pass {found[1]}")) and time.time() < int(found[1])

    def _sign(self, text: str) -> str:
        return hmac.new(self._token.encode(), f"astroanomaly {text}".encode(), hashlib.sha256).hexdigest()


def is_same(given: str, right: str) -> bool:
    """Whether two texts are the same, found out in a time that tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())
