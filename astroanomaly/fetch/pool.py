"""Ask for many independent things at once."""

from __future__ import annotations

import concurrent.futures
import contextvars
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from astroanomaly.errors import FetchError
from astroanomaly.fetch.setting import current, stopping

__all__ = ["each"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result | FetchError]]:
    """Apply a function to items in as many threads as parallel requests are allowed; yield as they are done.

    A `FetchError` is yielded in place of the result; any other exception ends the whole. On Ctrl-C, or when the caller
    stops, what has not begun is left and waits end.

    Yields
    ------
    tuple
        ``(item, result)`` in the order in which they are done.
    """
    waiting = iter(items)
    stop = threading.Event()
    threads = current().requests

    def work(item: Item) -> Result | FetchError:
        with stopping(stop):
            try:
                return function(item)
            except FetchError as error:
                return error

    def submit(count: int) -> dict[concurrent.futures.Future[Result | FetchError], Item]:
        return {
            pool.submit(contextvars.copy_context().run, work, item): item for item in itertools.islice(waiting, count)
        }

    pool = concurrent.futures.ThreadPoolExecutor(threads, thread_name_prefix="fetch")
    try:
        running = submit(2 * threads)
        while running:
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future.result()
            running |= submit(len(done))
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
