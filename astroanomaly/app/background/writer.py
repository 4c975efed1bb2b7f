"""Write verdicts beside the event loop: a page waits for its own, and no page for those of another process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Writer"]

_AnswerT = TypeVar("_AnswerT")


class Writer:
    """One thread that writes to the label log, for all pages of a session, one thing after another."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="labels")

    def write(self, function: Callable[[], _AnswerT]) -> Future[_AnswerT]:
        """Have something written; it is on disk when the future has a result, and not written when it has an error."""
        return self._thread.submit(function)

    def close(self) -> None:
        """Write what was asked for, then stop."""
        self._thread.shutdown(wait=True)
