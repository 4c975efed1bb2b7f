"""Count requests and bytes, for the summary at the end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import astuple, dataclass

__all__ = ["Attempt", "Traffic", "add_traffic", "count_attempt", "count_bytes", "current_attempt", "traffic"]


@dataclass(frozen=True)
class Traffic:
    """Requests to archives and what came of them.

    Attributes
    ----------
    requests
        Requests, each try counted.
    retries
        Tries after the first among them.
    nbytes
        Bytes that came.
    cached
        Requests that were spared, because the answer was in the cache of files.
    """

    requests: int = 0
    retries: int = 0
    nbytes: int = 0
    cached: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(*(one - two for one, two in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Attempt:
    """The try under way in this thread, and what requests inside it have counted already."""

    host: str
    requests: int = 0
    nbytes: int = 0


_lock = threading.Lock()
_total = Traffic()
_attempt: ContextVar[Attempt | None] = ContextVar("astroanomaly_fetch_trying", default=None)


def traffic() -> Traffic:
    """Return the traffic of this process since it began."""
    return _total


def add_traffic(some: Traffic) -> None:
    """Add to the traffic of this process, and to that of the try under way."""
    global _total
    with _lock:
        _total = _total + some
        attempt = _attempt.get()
        if attempt is not None:
            attempt.requests += some.requests
            attempt.nbytes += some.nbytes


def count_bytes(nbytes: int) -> None:
    """Count bytes that a client of its own has read, as parts of a file."""
    add_traffic(Traffic(nbytes=nbytes))


def current_attempt() -> Attempt | None:
    """Return the try under way, None outside of one."""
    return _attempt.get()


@contextlib.contextmanager
def count_attempt(host: str) -> Iterator[Attempt]:
    """Count one request, unless what runs inside counts requests of its own."""
    outer = _attempt.get()
    attempt = Attempt(host)
    token = _attempt.set(attempt)
    try:
        yield attempt
    finally:
        _attempt.reset(token)
        if attempt.requests == 0:
            add_traffic(Traffic(requests=1))
        elif outer is not None:
            with _lock:
                outer.requests += attempt.requests
        if outer is not None:
            with _lock:
                outer.nbytes += attempt.nbytes
