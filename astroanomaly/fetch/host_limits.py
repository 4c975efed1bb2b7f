"""Slots per host, shared by all threads and processes of a computer: at most so many requests at once, with pauses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from astroanomaly.errors import StorageError
from astroanomaly.fetch.context import current, folder, wait

__all__ = ["hold_back", "locked", "name_of_host", "slot"]

_LOOK_AGAIN_S = 0.02  # between two looks for a free slot


def name_of_host(host: str) -> str:
    """Return the host of an address, or the host itself: ``name:port`` without user and path."""
    return (urlsplit(host).netloc if "://" in host else host.split("/")[0]).rpartition("@")[2].lower()


@contextlib.contextmanager
def slot(host: str) -> Iterator[None]:
    """Hold one of the host's slots; waits for a free one, and until the pause since the last start is over."""
    place = _place(host)
    numbers = list(range(current().requests))
    while True:
        random.shuffle(numbers)
        for number in numbers:
            with _open(place / f"slot-{number}") as handle:
                if _take(handle):
                    _await_start(place)
                    yield
                    return
        wait(_LOOK_AGAIN_S * random.uniform(0.5, 1.5))


def hold_back(host: str, seconds: float) -> None:
    """Let no request to the host begin for some time, in any process: the service asked for it."""
    with locked(_place(host) / "next") as handle:
        _write(handle, max(_read(handle), time.time() + seconds))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Hold a file alone, over threads and processes."""
    with _open(path) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle


def _await_start(place: Path) -> None:
    """Wait until the next request may begin, and book the time of the one after it."""
    config = current()
    while True:
        with locked(place / "next") as handle:
            now = time.time()
            left = min(_read(handle) - now, max(config.pause_s, config.longest_wait_s))  # a clock may be set back
            if left <= 0:
                if config.pause_s:
                    _write(handle, now + config.pause_s)
                return
        wait(left)


def _place(host: str) -> Path:
    return folder("hosts/" + (re.sub(r"[^\w.-]", "_", name_of_host(host)) or "unnamed"))


def _open(path: Path) -> IO[str]:
    try:
        return path.open("a+")
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror or error}; choose another --keep") from error


def _take(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(handle: IO[str]) -> float:
    handle.seek(0)
    try:
        return float(handle.read(64) or 0)
    except ValueError:  # killed while writing
        return 0.0


def _write(handle: IO[str], moment: float) -> None:
    try:
        os.ftruncate(handle.fileno(), 0)
        os.write(handle.fileno(), f"{moment:.6f}".encode())
    except OSError as error:
        raise StorageError(
            f"{handle.name} cannot be written: {error.strerror or error}; free some space, or choose another --keep"
        ) from error
