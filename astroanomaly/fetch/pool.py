"""Fetch many independent things at once, in threads."""

from __future__ import annotations

import contextvars
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from astroanomaly.errors import FetchError
from astroanomaly.fetch.context import current, stopping

__all__ = ["each"]

_GRACE_S = 1.0  # for requests under way when the work is stopped
Item = TypeVar("Item")
Result = TypeVar("Result")


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result | FetchError]]:
    """Apply a function to items in as many threads as parallel requests are allowed; yield as they are done.

    A `FetchError` is yielded in place of the result; any other exception ends the whole. On Ctrl-C, or when the caller
    stops, what has not begun is left and waits end; an answer that does not come is not waited for.

    Yields
    ------
    tuple
        ``(item, result)`` in the order in which they are done.
    """
    waiting = iter(items)
    stop = threading.Event()
    count = current().requests
    todo: queue.SimpleQueue[tuple[contextvars.Context, Item] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Item, Result | BaseException]] = queue.SimpleQueue()

    def call(item: Item) -> Result:
        with stopping(stop):
            return function(item)

    def work() -> None:
        while (given := todo.get()) is not None and not stop.is_set():
            context, item = given
            try:
                done.put((item, context.run(call, item)))
            except BaseException as error:  # noqa: BLE001 - it is raised where the items are asked for
                done.put((item, error))

    def submit(number: int) -> int:
        taken = list(itertools.islice(waiting, number))
        for item in taken:
            todo.put((contextvars.copy_context(), item))
        return len(taken)

    # Daemons: the threads of concurrent.futures would hold up the end of the process until their sockets time out.
    threads = [threading.Thread(target=work, name=f"fetch-{number}", daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        running = submit(2 * count)
        while running:
            item, result = done.get()
            if isinstance(result, BaseException) and not isinstance(result, FetchError):
                raise result
            yield item, result
            running += submit(1) - 1
    finally:
        stop.set()
        for _ in threads:
            todo.put(None)
        until = time.monotonic() + _GRACE_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
