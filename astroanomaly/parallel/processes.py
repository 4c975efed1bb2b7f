"""One map over independent items of work: in this process, in several, or on a cluster."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from astroanomaly.errors import StorageError

__all__ = ["Mapper", "run", "workers_end_at_interrupt"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Mapper(Protocol):
    """Protocol of what applies a function to many items, such as the workers of a cluster."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply a function to every item; yield each item's result once, as they are done."""
        ...


def run(function: Callable[[Item], Result], items: Iterable[Item], workers: int | Mapper = 1) -> Iterator[Result]:
    """Apply a function to every item; yield results as they are done, in any order.

    Parameters
    ----------
    function
        For more than one worker it has to be importable by name, and so do its arguments' types. On a cluster it may be
        called twice for the same item, but each item has one result.
    workers
        Number of processes; 1 runs everything here, in order. Or a cluster, or whatever else has ``map``.

    Raises
    ------
    StorageError
        If a worker process was killed from outside (for instance for want of memory).
    ClusterError
        If the cluster is lost.
    """
    if not isinstance(workers, int):
        yield from workers.map(function, items)
        return
    if workers <= 1:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("spawn")  # threads of torch and HDF5 do not survive a fork
    pool = concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
    waiting = iter(items)
    try:
        running = {pool.submit(function, item) for item in itertools.islice(waiting, 2 * workers)}
        while running:
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                yield future.result()
            running |= {pool.submit(function, item) for item in itertools.islice(waiting, len(done))}
    except concurrent.futures.process.BrokenProcessPool as error:
        raise StorageError(
            "a worker process was killed, most likely for want of memory; what was finished is kept: "
            "run the same command again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, which lets running items finish and starts no more; end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, however that happened."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@contextlib.contextmanager
def workers_end_at_interrupt() -> Iterator[None]:
    """On Ctrl-C, end worker processes that wait for an archive: what they have not committed is done again."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield  # somebody else decides what Ctrl-C does
        return

    others = set(multiprocessing.active_children())

    def end(*_: Any) -> None:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
