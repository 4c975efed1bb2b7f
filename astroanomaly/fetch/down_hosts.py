"""Hosts that are down: after many failed tries in a row a host is left alone for a while, in all processes of a run.

That a host is down is said once. As long as other hosts answer, requests to it fail at once, so that the rest goes on;
where there is nothing else to do, they wait. When the host's rest is over, one request tries again: if it is answered,
all go on; else the next rest is twice as long. After a few such tries the host is given up until the next run. Marks
are files, so that the processes of a run know of one another; what an earlier run has marked does not count.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from astroanomaly.errors import FetchError, StorageError, UnreadableError
from astroanomaly.fetch.context import cache_folder, current, run_began, wait
from astroanomaly.fetch.host_limits import host_folder
from astroanomaly.files import locked, read_json

__all__ = ["DownHost", "await_host", "down_hosts", "note_answer", "note_failure"]

_log = logging.getLogger(__name__)
_ROUNDS = 4  # of all tries of a request, that fail in a row before a host counts as down
_MOST_RETURNS = 3  # tries at a host that is down, before it is given up
_MAX_MARK_BYTES = 65_536
_lock = threading.Lock()
_failed: dict[tuple[str, float], int] = {}  # (host, begin of the run) -> tries that failed in a row, in this process
_answered: dict[str, float] = {}  # when hosts answered last in this process, in seconds since 1970


@dataclass(frozen=True)
class DownHost:
    """What is known of a host that was down in this run.

    Attributes
    ----------
    host
        Its name.
    reason
        Why the last try failed.
    since, until
        When it was found to be down, and when it is tried again, in seconds since 1970.
    rest_s
        How long it is left alone.
    returns
        How often it was tried again.
    up
        Whether it answers again.
    """

    host: str
    reason: str
    since: float
    until: float
    rest_s: float
    returns: int = 0
    up: bool = False

    @property
    def given_up(self) -> bool:
        """Whether it is not tried again in this run."""
        return not self.up and self.returns >= _MOST_RETURNS and self.rested

    @property
    def rested(self) -> bool:
        """Whether its rest is over; a clock that was set back ends it too."""
        return not 0 < self.until - time.time() <= self.rest_s


def down_hosts() -> list[DownHost]:
    """Return the hosts that are or were down in the run in force, in all its processes."""
    marks = (_read(path) for path in sorted(cache_folder("hosts").glob("*/down")))
    return [mark for mark in marks if mark is not None]


def await_host(host: str, what: str) -> None:
    """Let a request to a host begin, at once where it is not known to be down.

    Raises
    ------
    FetchError
        If the host is down and other hosts answer, or if it was given up.
    """
    if not run_began():
        return
    path = _mark_path(host)
    while True:
        mark = _read(path)
        if mark is None or mark.up:
            return
        with _locked(path):
            mark = _read(path)
            if mark is None or mark.up:
                return
            if mark.rested and not mark.given_up:  # this request is the one that tries again
                rest = 2 * mark.rest_s
                _write(path, replace(mark, until=time.time() + rest, rest_s=rest, returns=mark.returns + 1))
                return
        if mark.given_up or _others_answer(host, mark.rest_s):
            reason = f"{mark.reason} ({host})"
            raise FetchError(f"{what}: {reason}; the host is down", retryable=True, reason=reason, down=True)
        wait(min(max(mark.until - time.time(), 0.01), max(mark.rest_s / 20, 0.01)))


def note_answer(host: str) -> None:
    """Note that a host has answered, whatever it said."""
    if not run_began():
        return
    with _lock:
        _answered[host] = time.time()
        _failed.pop((host, run_began()), None)
    path = _mark_path(host)
    mark = _read(path)
    if mark is None or mark.up:
        return
    with _locked(path):
        mark = _read(path)
        if mark is None or mark.up:
            return
        _write(path, replace(mark, up=True))
    _log.warning("%s answers again", host)


def note_failure(host: str, reason: str) -> None:
    """Note that a try at a host has failed because the host did not answer; after many in a row it counts as down."""
    if not run_began():
        return
    config, key = current(), (host, run_began())
    with _lock:
        _failed[key] = count = _failed.get(key, 0) + 1
    if count < _ROUNDS * config.attempts:
        return
    path = _mark_path(host)
    with _locked(path):
        mark = _read(path)
        if mark is not None and not mark.up:
            return
        now, rest = time.time(), min(config.longest_wait_s, config.first_wait_s * 2**config.attempts)
        _write(path, DownHost(host, reason, now, now + rest, rest))
    _log.warning(
        "%s is down: %s, %d tries in a row. What does not need it goes on; it is tried again in %.3g s",
        host,
        reason,
        count,
        rest,
    )


def _others_answer(host: str, within_s: float) -> bool:
    """Whether another host has answered within some time."""
    now = time.time()
    with _lock:
        return any(other != host and now - moment < within_s for other, moment in _answered.items())


def _mark_path(host: str) -> Path:
    return host_folder(host) / "down"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        lock = locked(path.with_name("down-lock"))
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror or error}; choose another --keep") from error
    with lock:
        yield


def _read(path: Path) -> DownHost | None:
    """Return the mark of the run in force; None where there is none, or that of an earlier run."""
    try:
        mark = DownHost(**read_json(path, max_bytes=_MAX_MARK_BYTES))
        return mark if mark.since >= run_began() else None
    except (FileNotFoundError, UnreadableError, ValueError, TypeError):  # killed while writing
        return None


def _write(path: Path, mark: DownHost) -> None:
    try:
        path.write_text(json.dumps(asdict(mark)), encoding="utf-8")
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; free some space, or choose another --keep"
        ) from error
