"""One map over independent items of work: one after another, several at once, or on a cluster."""

from __future__ import annotations

import concurrent.futures
import contextvars
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

__all__ = ["Mapper", "run"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Mapper(Protocol):
    """Protocol of what applies a function to many items, such as the workers of a cluster."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply a function to every item; yield each item's result once, as they are done."""
        ...


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | Mapper = 1,
    *,
    stop: Callable[[], None] = lambda: None,
    alone_s: float = 0.0,
) -> Iterator[Result]:
    """Apply a function to every item; yield results as they are done, in any order.

    Parameters
    ----------
    function
        For more than one worker it is called in several threads, to hand its work to processes (`watched.Watch`). On a
        cluster it has to be importable by name, and so do its arguments' types, and it may be called twice for the same
        item, but each item has one result.
    workers
        How many items are worked on at once; 1 runs everything in this thread, in order. Or a cluster, or whatever else
        has ``map``.
    stop
        Called where the work is broken off, by an error or Ctrl-C: ends what other threads wait for.
    alone_s
        Seconds for which one item is worked on at a time: short work ends before other workers would be ready.

    Raises
    ------
    ClusterError
        If the cluster is lost.
    """
    if not isinstance(workers, int):
        yield from workers.map(function, items)
        return
    if workers <= 1:
        yield from map(function, items)
        return
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="worker")
    waiting = iter(items)

    def begin(item: Item) -> concurrent.futures.Future[Any]:
        return pool.submit(contextvars.copy_context().run, function, item)

    finished = False
    until = time.monotonic() + alone_s
    try:
        running = {begin(item) for item in itertools.islice(waiting, 1 if alone_s else 2 * workers)}
        while running:
            left = until - time.monotonic()
            done, running = concurrent.futures.wait(
                running, timeout=left if left > 0 else None, return_when=concurrent.futures.FIRST_COMPLETED
            )
            alone = until > time.monotonic()
            running |= {begin(item) for item in itertools.islice(waiting, (1 if alone else 2 * workers) - len(running))}
            for future in done:
                yield future.result()
        finished = True
    finally:
        if not finished:
            stop()
        pool.shutdown(wait=True, cancel_futures=True)
