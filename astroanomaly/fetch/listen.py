"""Capture what a client logs and prints, for those that return None instead of raising an error."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

from astroanomaly.errors import FetchError
from astroanomaly.fetch.classify_errors import classify_error, clean

__all__ = ["ClientOutput", "answer", "expect"]

_LIBRARIES = ("astroquery", "astropy", "pyvo")
_TRANSIENT_WORDS = (  # words of clients that log an error as text only
    "timed out",
    "timeout",
    "time-out",
    "connection reset",
    "connection refused",
    "connection aborted",
    "remote end closed",
    "incompleteread",
    "too many requests",
    "error 429",
    "error 500",
    "error 502",
    "error 503",
    "error 504",
    "internal server error",
    "bad gateway",
    "service unavailable",
)
_log = logging.getLogger(__name__)
T = TypeVar("T")


class ClientOutput:
    """What a client logged and printed while it was called.

    Attributes
    ----------
    what
        What was asked for.
    reason
        The errors it logged; else its warnings; else what it printed; else empty. On one line, without secrets.
    error
        The last exception it logged with its traceback, or None.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.error: BaseException | None = None
        self._records: list[tuple[int, str]] = []
        self._printed = io.StringIO()

    @property
    def reason(self) -> str:
        """The errors it logged; else its warnings; else what it printed."""
        for level in (logging.ERROR, logging.WARNING):
            texts = [text for its_level, text in self._records if its_level >= level]
            if texts:
                return clean("; ".join(dict.fromkeys(texts)))
        return clean(self._printed.getvalue() or "; ".join(text for _, text in self._records))


@contextlib.contextmanager
def answer(what: str) -> Iterator[ClientOutput]:
    """Collect what the libraries of archives log and print in this thread while the block runs; none of it is shown.

    Import the client before: what it logs while it is imported for the first time is not collected.

    Examples
    --------
    ::

        with fetch.answer("the job") as output:
            job = service.launch_job(query)
        job = fetch.expect(job, output)
    """
    output = ClientOutput(what)
    thread = threading.get_ident()

    def collect(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        output._records.append((record.levelno, record.getMessage()))
        output.error = (record.exc_info or (None, None))[1] or output.error
        _log.debug("%s says: %s", record.name, clean(record.getMessage()))
        return False

    loggers = [  # those there are: astroquery cannot be imported once somebody else has made its logger
        logger
        for name, logger in logging.root.manager.loggerDict.copy().items()
        if name.split(".")[0] in _LIBRARIES and isinstance(logger, logging.Logger)
    ]
    for logger in loggers:
        logger.addFilter(collect)
    _stdout.collect(thread, output._printed)
    try:
        yield output
    finally:
        _stdout.leave(thread)
        for logger in loggers:
            logger.removeFilter(collect)


def expect(value: T | None, output: ClientOutput, what: str = "") -> T:
    """Return what a client gave, or raise the reason it gave nothing.

    Raises
    ------
    FetchError
        If the value is None. Worth another try are the same reasons as in `attempt`, where the client tells them.
    """
    if value is not None:
        return value
    reason = output.reason or "the service's client gave nothing and no reason"
    problem = classify_error(output.error) if output.error is not None else None
    transient = any(words in reason.lower() for words in _TRANSIENT_WORDS)
    raise FetchError(
        f"{what or output.what}: {reason}", retryable=transient or bool(problem and problem.retryable), reason=reason
    )


class _ThreadStdout:
    """Replaces standard output while what some threads print is collected; other threads print as before."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._collected: dict[int, list[io.StringIO]] = {}
        self._real: Any = None

    def collect(self, thread: int, into: io.StringIO) -> None:
        with self._lock:
            if sys.stdout is not self:
                self._real, sys.stdout = sys.stdout, self
            self._collected.setdefault(thread, []).append(into)

    def leave(self, thread: int) -> None:
        with self._lock:
            self._collected[thread].pop()
            if not self._collected[thread]:
                del self._collected[thread]
            if not self._collected and sys.stdout is self:
                sys.stdout = self._real

    def write(self, text: str) -> int:
        collected = self._collected.get(threading.get_ident())
        return collected[-1].write(text) if collected else self._real.write(text)

    def __getattr__(self, name: str) -> Any:  # flush, isatty, encoding ...
        return getattr(self._real, name)


_stdout = _ThreadStdout()
