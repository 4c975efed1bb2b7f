"""Processes that read files from elsewhere within a budget of time and memory, and are ended when they exceed it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import mmap
import multiprocessing.connection
import multiprocessing.reduction
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from astroanomaly.errors import AstroAnomalyError, BudgetError, StorageError
from astroanomaly.parallel.limits import ReadLimits
from astroanomaly.parallel.watch import MARK_BYTES, alone, is_watched, written_marks

__all__ = ["Watch", "each_watched"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from astroanomaly.parallel.watched_process import main; main(*map(int, sys.argv[2:]))"
)
_ITEMS_PER_CALL = 64  # of `each_watched`, where it is not said
_MOST_STARTS = 3  # of a process that fails before it begins
_one_at_a_time = threading.Lock()


class _EndedError(Exception):
    """A process has ended while it worked: what it was reading, and why it ended."""

    def __init__(self, names: list[str], status: int) -> None:
        super().__init__(names, status)
        self.names = names
        self.status = status


class _NeverBeganError(Exception):
    """A process had ended before it began, as one does that has waited for long."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _CannotRunError(Exception):
    """The work cannot be handed to another process."""


class _Worker:
    """One process that waits for work; it ends when this one does, and by itself when it waits for long."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        lifeline, held = os.pipe()
        with theirs, tempfile.TemporaryFile() as shared:
            shared.truncate(MARK_BYTES)
            self._memory = mmap.mmap(shared.fileno(), MARK_BYTES)
            numbers = (theirs.fileno(), lifeline, shared.fileno())
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _CHILD, json.dumps(sys.path), *map(str, numbers)],
                    pass_fds=numbers,
                    stdin=subprocess.DEVNULL,
                )
            except OSError as error:
                raise StorageError(f"no process can be started to read files: {error.strerror or error}") from error
            finally:
                os.close(lifeline)
        self._held = held
        self._connection = multiprocessing.connection.Connection(ours.detach())
        self.waits = True

    def call(
        self, function: Callable[[Item], Result], item: Item, limits: ReadLimits, barred: dict[str, str], script: str
    ) -> Result:
        """Do one piece of work there; it knows what a script defines too, whose path is given."""
        try:
            work = multiprocessing.reduction.ForkingPickler.dumps((function, item))
        except Exception as error:
            raise _CannotRunError(f"{type(error).__name__}: {error}") from error
        self.waits = False
        try:
            self._connection.send((dict(os.environ), _folder(), sys.path, limits, barred, script))
            self._connection.send_bytes(work)
            word, value = self._connection.recv()
        except (OSError, EOFError):
            raise _NeverBeganError(self.process.wait()) from None
        if word == "begun":
            try:
                word, value = self._connection.recv()
            except (OSError, EOFError):
                raise _EndedError(written_marks(self._memory), self.process.wait()) from None
        self.waits = True
        if word == "cannot":
            raise _CannotRunError(value)
        if word == "raised":
            raise value
        return value

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._connection.close()
        with contextlib.suppress(OSError):
            os.close(self._held)
        self._held = -1
        self._memory.close()


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return os.sep


def _script() -> str:
    """Path of the script that runs; empty in a notebook, and for a command."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    return os.path.abspath(path) if path and getattr(main, "__spec__", None) is None else ""


class _Waiting:
    """Processes that wait for work: starting one takes a second."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()

    def take(self) -> _Worker:
        """Give one that waits, or a new one."""
        with self._lock:
            if self._owner != os.getpid():  # after a fork they belong to the other process
                self._workers, self._owner = [], os.getpid()
            while self._workers:
                worker = self._workers.pop()
                if worker.process.poll() is None:
                    return worker
                worker.end()
        return _Worker()

    def give_back(self, worker: _Worker) -> None:
        """Let one wait."""
        with self._lock:
            self._workers.append(worker)

    def end(self) -> None:
        """End all that wait."""
        with self._lock:
            while self._workers and self._owner == os.getpid():
                self._workers.pop().end()


_waiting = _Waiting()
atexit.register(_waiting.end)


class Watch:
    """Work on files from elsewhere, done by processes that are ended when a file takes too long or crashes them.

    What a process was reading when it ended is not read again: the work is done once more, and is refused the file
    (`astroanomaly.reading`). One object for all work of a run, used by any number of threads.

    Attributes
    ----------
    barred
        What is not read any more in this run, and why.
    several
        Whether a source that a script defines is read by other processes too. They import the script, which has to be
        written for that: what it does stands below ``if __name__ == "__main__":``.
    here
        Whether the work is done in this process after all, without a budget.
    """

    def __init__(self) -> None:
        self.several = False
        self.here = False
        self.barred: dict[str, str] = {}
        self._busy: set[_Worker] = set()
        self._lock = threading.Lock()
        self._over = False

    def call(self, function: Callable[[Item], Result], item: Item) -> Result:
        """Do one piece of work in another process.

        Where that cannot be, since function or item cannot be sent there (a source that a script or a notebook
        defines), it is done here, without a budget.

        Parameters
        ----------
        function
            Importable by name; says what it reads by `astroanomaly.reading`.

        Raises
        ------
        BudgetError
            If a process ended that did not say what it was reading.
        StorageError
            If a process was killed from outside, for instance for want of memory.
        """
        if self.here or is_watched():
            return function(item)
        limits, starts = ReadLimits.current(), 0
        while True:
            try:
                return self._attempt(function, item, limits)
            except _CannotRunError as error:
                _log.info("files are read in this process, without a budget: %s", error)
                with _one_at_a_time:
                    return function(item)
            except _NeverBeganError as ended:
                starts += ended.status != 0
                if starts == _MOST_STARTS:
                    raise StorageError(
                        f"the processes that read files end at once (status {ended.status}): what they say stands above"
                    ) from None
            except _EndedError as ended:
                self._blame(ended, limits)

    def _attempt(self, function: Callable[[Item], Result], item: Item, limits: ReadLimits) -> Result:
        worker = _waiting.take()
        with self._lock:
            if self._over:
                _waiting.give_back(worker)
                raise StorageError("reading was ended")
            self._busy.add(worker)
        try:
            return worker.call(function, item, limits, self.barred, _script() if self.several else "")
        finally:
            with self._lock:
                self._busy.discard(worker)
            if worker.waits:
                _waiting.give_back(worker)
            else:
                worker.end()

    def _blame(self, ended: _EndedError, limits: ReadLimits) -> None:
        """Bar what a process was reading when it ended.

        Raises
        ------
        BudgetError, StorageError
            If that is unknown, or nothing that was read is to blame.
        """
        if self._over or ended.status == -signal.SIGKILL:
            raise StorageError(
                "a worker process was killed, most likely for want of memory; what was finished is kept: "
                "run the same command again with fewer --workers"
            ) from None
        reason = _reason(ended.status, limits)
        names = [name for name in ended.names if name and name not in self.barred]
        if ended.status == -signal.SIGALRM:
            names = names[:1]  # of a crash any of several threads may be the cause
        if not names:
            raise BudgetError(f"a process that reads files was ended: {reason}") from None
        _log.warning("%s: %s", ", ".join(names), reason)
        self.barred.update(dict.fromkeys(names, reason))

    def __reduce__(self) -> tuple[type[Watch], tuple[()]]:
        return Watch, ()  # a worker of a cluster watches its own

    def end(self) -> None:
        """End the processes that work for this run, as at Ctrl-C; threads that wait for them get an error."""
        with self._lock:
            self._over = True
            for worker in self._busy:
                worker.process.kill()


def _reason(status: int, limits: ReadLimits) -> str:
    """Say why a process has ended."""
    if status == -signal.SIGALRM:
        return (
            f"reading took longer than {limits.file_seconds:g} s and one for each megabyte, and was ended "
            "(--file-seconds sets the limit)"
        )
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"reading crashed a library ({signal.Signals(-status).name})"
    return f"reading ended its process (status {status})"


def each_watched(
    function: Callable[[Item], Result], items: Sequence[Item], *, together: int = _ITEMS_PER_CALL
) -> Iterator[Result | AstroAnomalyError]:
    """Apply a function to every item, in order, in a process that is watched: for planning, which opens many files.

    Parameters
    ----------
    function
        Importable by name, as are the types of items and results; says what it reads by `astroanomaly.reading`.
    items
        Such as paths.
    together
        How many are handed over in one call; their results are in memory together.

    Yields
    ------
    object
        The result for each item; or the `AstroAnomalyError` that it raised, a `BudgetError` where its process had to be
        ended.
    """
    watch = Watch()
    for start in range(0, len(items), together):
        yield from watch.call(functools.partial(_each, function), items[start : start + together])


def _each(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result | AstroAnomalyError]:
    found: list[Result | AstroAnomalyError] = []
    for item in items:
        try:
            found.append(function(item))
        except AstroAnomalyError as error:
            found.append(alone(error))
    return found
