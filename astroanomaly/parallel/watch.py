"""Say which file is being read, so that a process that reads too long can be ended and the file named."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from astroanomaly.errors import BudgetError
from astroanomaly.parallel.limits import ReadLimits

__all__ = ["MARK_BYTES", "NO_MEMORY", "Marks", "alone", "is_watched", "reading", "written_marks"]

_ErrorT = TypeVar("_ErrorT", bound=BaseException)
NO_MEMORY = "it needs more memory than there is, or than a process that reads may take (--memory-gb sets the limit)"
MARK_BYTES = 65_536  # of the memory that a watched process shares with the one that started it
_SECONDS_PER_BYTE = 1e-6  # more for larger files: a megabyte a second, a hundredth of what a slow disk gives


class Marks:
    """Marks of a watched process: what it reads at the moment, in memory that is shared with who started it.

    The system ends the process when the earliest deadline has passed, whatever it is busy with: a library written in C
    lets no thread of Python have a look.

    Parameters
    ----------
    memory
        Shared memory of `MARK_BYTES`.
    barred
        What must not be read again, and why.
    """

    def __init__(self, memory: mmap.mmap, barred: Mapping[str, str]) -> None:
        self.barred = dict(barred)
        self._memory = memory
        self._stacks: dict[int, list[tuple[str, float, float]]] = {}  # by thread: name, seconds, deadline
        self._lock = threading.Lock()

    def begin(self, name: str, seconds: float) -> None:
        """Begin to read something in this thread; what it was reading before waits for it."""
        with self._lock:
            self._stacks.setdefault(threading.get_ident(), []).append((name, seconds, _deadline(seconds)))
            self._tell()

    def end(self) -> None:
        """End what was begun last in this thread; what waited for it has its whole time again."""
        with self._lock:
            stack = self._stacks[threading.get_ident()]
            stack.pop()
            if stack:
                name, seconds, _ = stack[-1]
                stack[-1] = (name, seconds, _deadline(seconds))
            else:
                del self._stacks[threading.get_ident()]
            self._tell()

    def _tell(self) -> None:
        tops = sorted((stack[-1] for stack in self._stacks.values()), key=lambda mark: mark[2])
        text = json.dumps([name for name, _, _ in tops]).encode()[: MARK_BYTES - 8]
        self._memory[: 8 + len(text)] = len(text).to_bytes(8, "little") + text
        soonest = tops[0][2] if tops else float("inf")
        left = 0.0 if soonest == float("inf") else max(1e-3, soonest - time.monotonic())
        signal.setitimer(signal.ITIMER_REAL, left)  # 0 takes it back


def _deadline(seconds: float) -> float:
    return time.monotonic() + seconds if seconds else float("inf")


def written_marks(memory: mmap.mmap) -> list[str]:
    """Return what a process that has ended was reading, the one with the earliest deadline first."""
    length = int.from_bytes(memory[:8], "little")
    try:
        names = json.loads(memory[8 : 8 + length]) if 0 < length <= MARK_BYTES - 8 else []
    except ValueError:  # it ended while it wrote, or had more to tell than there is room for
        return []
    return [str(name) for name in names]


_marks: Marks | None = None


def alone(error: _ErrorT) -> _ErrorT:
    """Return an error without those that led to it, which may be of a library and unfit to be sent to another process.

    They are sent along where tblib, which `distributed` uses, has taught Python to pickle causes and tracebacks.
    """
    error.__cause__ = error.__context__ = error.__traceback__ = None
    return error


def is_watched(marks: Marks | None = None) -> bool:
    """Whether this process is watched; with marks, begin to watch it."""
    global _marks
    if marks is not None:
        _marks = marks
    return _marks is not None


@contextlib.contextmanager
def reading(path: str | Path, *, nbytes: int | None = None) -> Iterator[None]:
    """Say that a file is read while the block runs.

    In a process that is watched, as the workers of an ingest are, the block has the time that
    `astroanomaly.ReadLimits` give a file. Where it takes longer, the process is ended, and the same block of the next
    process is refused.

    Parameters
    ----------
    path
        The file; or text that names what is read, such as one picture of an archive.
    nbytes
        Its size. Default: that of the file.

    Raises
    ------
    BudgetError
        If an earlier attempt to read it had to be ended.
    """
    marks = _marks
    if marks is None:
        yield
        return
    name = str(path)
    if name in marks.barred:
        raise BudgetError(f"{name}: {marks.barred[name]}")
    seconds = ReadLimits.current().file_seconds
    if seconds:
        if nbytes is None:
            with contextlib.suppress(OSError, ValueError):
                nbytes = os.stat(path).st_size
        seconds += (nbytes or 0) * _SECONDS_PER_BYTE
    marks.begin(name, seconds)
    try:
        yield
    finally:
        marks.end()
