"""The fetch configuration in force, for everything that runs inside a ``with`` block."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from astroanomaly.config import FetchConfig
from astroanomaly.errors import FetchError, StorageError
from astroanomaly.fetch.recording.active import as_configured
from astroanomaly.files import user_cache

__all__ = ["cache_folder", "current", "run_began", "stopping", "using", "wait"]


@dataclass(frozen=True)
class _Run:
    """The configuration in force, and when the run began, in seconds since 1970."""

    config: FetchConfig = field(default_factory=FetchConfig)
    began: float = 0.0


_run: ContextVar[_Run] = ContextVar("astroanomaly_fetch", default=_Run())  # noqa: B039 - it is frozen
_stop: ContextVar[threading.Event | None] = ContextVar("astroanomaly_fetch_stop", default=None)


@contextlib.contextmanager
def using(config: FetchConfig, began: float | None = None) -> Iterator[None]:
    """Fetch as a configuration says while the block runs, here and in the threads of `each`.

    Where it names a folder to record to or to replay, this goes for all requests of the process.

    Parameters
    ----------
    began
        When the run began, in seconds since 1970, where it has several processes: with ``refresh``, files fetched since
        then are fresh. Default: now.
    """
    token = _run.set(_Run(config, time.time() if began is None else began))
    try:
        with as_configured(config):
            yield
    finally:
        _run.reset(token)


def current() -> FetchConfig:
    """Return the configuration in force; outside of `using`, the default one."""
    return _run.get().config


def run_began() -> float:
    """Return when the run in force began, in seconds since 1970."""
    return _run.get().began


def cache_folder(name: str) -> Path:
    """Return a folder below that of the cached files; made if there is none.

    Raises
    ------
    StorageError
        If it cannot be made.
    """
    chosen = current().keep
    if chosen:
        base = Path(chosen).expanduser()
    else:
        base = user_cache("fetched")
    path = base / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the folder {base} for what is fetched cannot be used: {error.strerror or error}; "
            "choose another with --keep"
        ) from error
    return path


@contextlib.contextmanager
def stopping(event: threading.Event) -> Iterator[None]:
    """End waits inside the block once the event is set."""
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def wait(seconds: float) -> None:
    """Sleep, but not on when the work has been stopped.

    Raises
    ------
    FetchError
        If it has been stopped.
    """
    event = _stop.get()
    if event is None:
        time.sleep(seconds)
    elif event.wait(seconds):
        raise FetchError("stopped before it was fetched")
