"""Count what was asked of the network, for the summary at the end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import astuple, dataclass

__all__ = ["Traffic", "Trying", "add", "count_bytes", "counted_try", "traffic", "trying"]


@dataclass(frozen=True)
class Traffic:
    """What was asked of the network.

    Attributes
    ----------
    requests
        Requests, each try counted.
    retries
        Tries after the first among them.
    nbytes
        Bytes that came.
    cached
        Requests that were spared, because the answer was kept.
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
class Trying:
    """The try that is under way in this thread: what requests inside it have counted already."""

    host: str
    requests: int = 0
    nbytes: int = 0


_lock = threading.Lock()
_total = Traffic()
_trying: ContextVar[Trying | None] = ContextVar("astroanomaly_fetch_trying", default=None)


def traffic() -> Traffic:
    """Return what this process has asked of the network since it began."""
    return _total


def add(some: Traffic) -> None:
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
    add(Traffic(nbytes=nbytes))


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
            add(Traffic(requests=1))
        elif outer is not None:
            with _lock:
                outer.requests += under_way.requests
        if outer is not None:
            with _lock:
                outer.nbytes += under_way.nbytes
