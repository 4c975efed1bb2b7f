"""Which process wrote something, and whether it is known to be gone."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["ProcessId"]

_LETTERS = 8
_START_FIELD = 19  # of /proc/PID/stat, counted from the state, which comes after the name in brackets


@dataclass(frozen=True)
class ProcessId:
    """A process as others know it again, on this machine or elsewhere.

    Attributes
    ----------
    host
        Digest of its machine, and of its container: numbers of processes mean the same where this is the same.
    pid
        Its number.
    started
        Digest of when it started; zeros where the system does not tell.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> Self:
        """Return that of this process."""
        pid = os.getpid()
        return cls(_host(), pid, _start_of(pid) or "0" * _LETTERS)

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be gone: it was of this host, and it is not there any more, or its number is reused.

        False where that cannot be known: of another host or container, and on Windows.
        """
        if self.host != _host() or sys.platform == "win32" or self.pid < 1:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # of another user
            pass
        now = _start_of(self.pid)
        return bool(now and self.started.strip("0")) and now != self.started


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:_LETTERS]


@functools.cache
def _host() -> str:
    """Name the machine, and the container whose numbers of processes and sockets these are.

    A machine that has no id of its own is another one after each start.
    """
    machine = _read("/etc/machine-id") or _read("/proc/sys/kernel/random/boot_id")
    spaces = []
    for name in ("pid", "net"):
        with contextlib.suppress(OSError):
            spaces.append(os.readlink(f"/proc/self/ns/{name}"))
    return _digest(socket.gethostname(), machine, *spaces)


def _start_of(pid: int) -> str:
    """Digest of when a process started; empty where the system does not tell."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return _digest(_read("/proc/sys/kernel/random/boot_id"), fields[_START_FIELD]) if len(fields) > _START_FIELD else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""
