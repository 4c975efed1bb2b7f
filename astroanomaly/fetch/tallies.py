"""Count what was asked of the network, for the summary at the end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import astuple, dataclass

__all__ = ["Tally", "Trying", "add", "count_bytes", "counted_try", "tally", "trying"]


@dataclass(frozen=True)
class Tally:
    """What was asked of the network.

    Attributes
    ----------
    requests
        Requests, each try counted.
    retries
        Tries after the first among them.
    nbytes
        Bytes that came.
    kept
        Requests that were spared, because the answer was kept.
    """

    requests: int = 0
    retries: int = 0
    nbytes: int = 0
    kept: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Tally) -> Tally:
        return Tally(*(one - two for one, two in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Trying:
    """The try that is under way in this thread: what requests inside it have counted already."""

    host: str
    requests: int = 0
    nbytes: int = 0


_lock = threading.Lock()
_total = Tally()
_trying: ContextVar[Trying | None] = ContextVar("astroanomaly_fetch_trying", default=None)


def tally() -> Tally:
    """Return what this process has asked of the network since it began."""
    return _total


def add(some: Tally) -> None:
    """Add to the count of this process, and to the try under way."""
    global _total
    with _lock:
        _total = _total + some
        under_way = _trying.get()
        if under_way is not None:
            under_way.requests += some.requests
            under_way.nbytes += some.nbytes


def count_bytes(nbytes: int) -> None:
    """Count bytes that came through a client of its own, as in reads of parts of a file."""
    add(Tally(nbytes=nbytes))


def trying() -> Trying | None:
    """Return the try under way, None outside of one."""
    return _trying.get()


@contextlib.contextmanager
def counted_try(host: str) -> Iterator[Trying]:
    """Count one request, unless what runs inside counts requests of its own."""
    outer = _trying.get()
    under_way = Trying(host)
    token = _trying.set(under_way)
    try:
        yield under_way
    finally:
        _trying.reset(token)
        if under_way.requests == 0:
            add(Tally(requests=1))
        elif outer is not None:
            with _lock:
                outer.requests += under_way.requests
        if outer is not None:
            with _lock:
                outer.nbytes += under_way.nbytes
