"""Record or replay in this process, as the configuration in force says."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path

from astroanomaly.config import FetchConfig
from astroanomaly.errors import ConfigError
from astroanomaly.fetch.recording.answering import answer
from astroanomaly.fetch.recording.listening import listen
from astroanomaly.fetch.recording.recorder import Recorder
from astroanomaly.fetch.recording.replayer import Replayer

__all__ = ["as_configured"]


class _UnderWay:
    """What this process records or replays, and how many blocks are inside."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.what = ""
        self.users = 0
        self.stack = contextlib.ExitStack()


_under_way = _UnderWay()


@contextlib.contextmanager
def as_configured(config: FetchConfig) -> Iterator[None]:
    """Record to, or replay, the folder that a configuration names while the block runs: all requests of the process.

    Raises
    ------
    ConfigError
        If another folder is in use.
    """
    if not config.record and not config.replay:
        yield
        return
    what = f"{'record' if config.record else 'replay of'} {config.record or config.replay}"
    with _under_way.lock:
        if _under_way.users and _under_way.what != what:
            raise ConfigError(
                f"{what}: this process is at the {_under_way.what}; one run at a time is recorded or replayed"
            )
        if not _under_way.users:
            _begin(config, _under_way.stack)
            _under_way.what = what
        _under_way.users += 1
    try:
        yield
    finally:
        with _under_way.lock:
            _under_way.users -= 1
            if not _under_way.users:
                _under_way.stack.close()


def _begin(config: FetchConfig, stack: contextlib.ExitStack) -> None:
    if config.record:
        stack.enter_context(listen(_recorder(config.record, config.record_mb)))
    else:
        stack.enter_context(answer(_replayer(config.replay, config.keep)))


@functools.lru_cache(maxsize=1)
def _recorder(folder: str, most_mb: float) -> Recorder:
    """Make the recorder of this process; it knows the secrets of earlier blocks of the run."""
    return Recorder(Path(folder), int(most_mb * 1e6))


@functools.lru_cache(maxsize=1)
def _replayer(folder: str, notes: str) -> Replayer:
    """Read a record once for all blocks of a run in this process."""
    return Replayer(Path(folder), Path(notes))
