"""Work that overlaps: the next items are fetched while one is used, and several generators run at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Generic, TypeVar

__all__ = ["SharedIterator", "merged", "prefetch"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_END_MARKER: Any = object()


def prefetch(
    fetch: Callable[[Item], Result], items: Iterable[Item], depth: int = 2, threads: int = 1
) -> Iterator[tuple[Item, Result]]:
    """Fetch something for each item in other threads, while the caller is busy with what was fetched before.

    Parameters
    ----------
    fetch
        Called in the other threads, for one item after another.
    items
        Taken in the caller's thread, at most ``depth`` before they are needed.
    depth
        How many results may wait.
    threads
        How many there are.

    Yields
    ------
    tuple
        An item and what was fetched for it, in order. An error of `fetch` is raised in its place. When the generator
        ends, or is closed, the threads have ended.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(fetch, item)))
                if len(waiting) > depth:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


class SharedIterator(Generic[Item]):
    """An iterator that several threads take from: every item is given once, to whoever asks first."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._lock:
            return next(self._items)


def merged(generators: Sequence[Iterator[Result]]) -> Iterator[Result]:
    """Run several generators at once, each in a thread, and give their results as they come.

    Each is at most one result ahead of the caller, and works on the next one while the caller uses the last. The first
    error ends all of them. When this generator ends, or is closed, all of them are closed and the threads have ended.
    """
    with ThreadPoolExecutor(len(generators), thread_name_prefix="merged") as threads:
        running = {threads.submit(next, generator, _END_MARKER): generator for generator in generators}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    generator = running.pop(future)
                    result = future.result()
                    if result is _END_MARKER:
                        continue
                    running[threads.submit(next, generator, _END_MARKER)] = generator
                    yield result
        finally:
            wait(running)
            for generator in generators:
                close: Callable[[], None] | None = getattr(generator, "close", None)
                if close is not None:
                    close()
