"""The threads of the numerical library (BLAS) beside our own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

__all__ = ["one_blas_thread"]

_one_at_a_time = threading.RLock()  # the limit is that of the whole process


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Multiply on the calling thread alone: for many small products, and for those that threads of our own share.

    Threads that wait for one another on a busy machine take many times as long.
    """
    from threadpoolctl import threadpool_limits

    with _one_at_a_time, threadpool_limits(1, user_api="blas"):
        yield
