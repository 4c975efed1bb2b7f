"""Number of cores that this process may use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

__all__ = ["available_cores", "own_cores", "sharing_cores"]

_processes: ContextVar[int] = ContextVar("processes", default=1)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_cores() -> int:
    """Cores for this process where it shares them with others, at least 1; see `sharing_cores`."""
    return max(1, available_cores() // _processes.get())


@contextlib.contextmanager
def sharing_cores(processes: int) -> Iterator[None]:
    """Let `own_cores` know how many processes, this one among them, do the same work at once."""
    token = _processes.set(max(1, processes))
    try:
        yield
    finally:
        _processes.reset(token)
