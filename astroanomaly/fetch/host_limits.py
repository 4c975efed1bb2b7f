"""Limits of a host, for all threads and processes of a computer: at most so many requests at once, with pauses."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from astroanomaly.errors import BusyError, StorageError
from astroanomaly.fetch.context import cache_folder, current, wait
from astroanomaly.files import FileLock, locked

__all__ = ["delay_requests", "host_folder", "host_name", "limit_requests"]

_POLL_S = 0.02  # between two looks whether another request has ended


def host_name(host: str) -> str:
    """Return the host of an address, or the host itself: ``name:port`` without user and path."""
    return (urlsplit(host).netloc if "://" in host else host.split("/")[0]).rpartition("@")[2].lower()


@contextlib.contextmanager
def limit_requests(host: str) -> Iterator[None]:
    """Wait until a request to the host may begin, and count it among the parallel ones until the block ends.

    Each parallel request holds the lock of one file. Where files cannot be locked, each process has the limits for
    itself.
    """
    folder = host_folder(host)
    numbers = list(range(current().requests))
    while True:
        random.shuffle(numbers)
        for number in numbers:
            try:
                lock = _locked(folder / f"slot-{number}", wait=False)
            except BusyError:
                continue
            with lock:
                _await_pause(folder)
                yield
                return
        wait(_POLL_S * random.uniform(0.5, 1.5))


def delay_requests(host: str, seconds: float) -> None:
    """Let no request to the host begin for some time, in any process: the service asked for it."""
    path = _next_request(host_folder(host))
    with _locked(path):
        _write_time(path, max(_read_time(path), time.time() + seconds))


def _await_pause(folder: Path) -> None:
    """Wait until the next request may begin, and note when the one after it may."""
    config = current()
    path = _next_request(folder)
    while True:
        with _locked(path):
            now = time.time()
            left = min(_read_time(path) - now, max(config.pause_s, config.longest_wait_s))  # a clock may be set back
            if left <= 0:
                if config.pause_s:
                    _write_time(path, now + config.pause_s)
                return
        wait(left)


def host_folder(host: str) -> Path:
    """Return the folder of what all processes know of a host; made if there is none."""
    return cache_folder("hosts/" + (re.sub(r"[^\w.-]", "_", host_name(host)) or "unnamed"))


def _next_request(folder: Path) -> Path:
    """Return the file with the time at which the next request may begin, in seconds since 1970."""
    return folder / "next"


def _locked(path: Path, *, wait: bool = True) -> FileLock:
    try:
        return locked(path, wait=wait)
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror or error}; choose another --keep") from error


def _read_time(path: Path) -> float:
    with path.open("rb") as file:
        try:
            return float(file.read(64) or 0)
        except ValueError:  # killed while writing
            return 0.0


def _write_time(path: Path, moment: float) -> None:
    try:
        path.write_text(f"{moment:.6f}", encoding="ascii")
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; free some space, or choose another --keep"
        ) from error
