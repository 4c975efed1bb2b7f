"""Workers of a Dask cluster: one that is running already, or processes on this machine."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from astroanomaly._version import __version__
from astroanomaly.arguments import as_text, as_whole
from astroanomaly.errors import ClusterError, ConfigError
from astroanomaly.parallel.cores import available_cores

if TYPE_CHECKING:
    from distributed import Client, Future

__all__ = ["LOCAL", "Cluster", "connect", "need"]

LOCAL = "local"
_CONNECT_S = 10  # a scheduler that does not answer for so long is not there
_ITEMS_PER_THREAD = 2  # items handed out for every thread of the cluster: the next one is there when one ends

_IGNORE_INTERRUPTS = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # Ctrl-C is for the command
_UNPACKING = "Error during deserialization"  # how Dask's message begins

Item = TypeVar("Item")
Result = TypeVar("Result")

_one_at_a_time = threading.Lock()


@contextlib.contextmanager
def connect(scheduler: str | None, workers: int | None = None) -> Iterator[Cluster | None]:
    """Give the workers of a cluster while the block runs; None without a scheduler.

    Parameters
    ----------
    scheduler
        Address of a Dask scheduler, such as ``tcp://host:8786``; or ``local``: a cluster of processes on this machine,
        which ends with the block.
    workers
        Number of processes of a local cluster; None: as many as there are cores.

    Raises
    ------
    ConfigError
        If that is no address, or Dask is not installed.
    ClusterError
        If there is no scheduler at that address.
    """
    if workers is not None:
        as_whole(workers, "workers", 1)
    if scheduler is None:
        yield None
        return
    if as_text(scheduler, "scheduler") != LOCAL and "://" not in scheduler:
        raise ConfigError(f"scheduler {scheduler!r}: expected {LOCAL}, or an address such as tcp://host:8786")
    try:
        import distributed
    except ImportError as error:
        raise ConfigError(
            f"a scheduler needs the package distributed, which cannot be imported ({error}): "
            "pip install 'astroanomaly[dask]'"
        ) from error
    with contextlib.ExitStack() as stack:
        where: Any = scheduler
        if scheduler == LOCAL:
            where = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers or available_cores(),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    memory_limit=0,  # memory-mapped pixels would count
                    silence_logs=logging.ERROR,
                    preload=_IGNORE_INTERRUPTS,
                )
            )
        try:
            client = distributed.Client(where, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"there is no Dask scheduler at {scheduler}: {error}. Start one with `dask scheduler`, or use "
                f"--scheduler {LOCAL}"
            ) from error
        with client:
            yield Cluster(client)


class Cluster:
    """The workers of a cluster; `astroanomaly.parallel.processes.run` hands them their items. Made by `connect`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._announced = False

    @property
    def threads(self) -> int:
        """How many items the workers can do at once now; workers may come and go."""
        return sum(self._client.nthreads().values())

    def announce(self) -> str:
        """Say where the cluster is, the first time; afterwards an empty text."""
        if self._announced:
            return ""
        self._announced = True
        count = len(self._client.nthreads())
        scheduler: Any = self._client.scheduler
        found = f"cluster {scheduler.address}, {count} worker{'' if count == 1 else 's'}"
        if not count:
            found += "; work begins when the first one joins"
        link = self._client.dashboard_link
        return f"{found}; dashboard {link}" if link else found

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply a function to every item on the workers; yield each item's result once, as they are done.

        An item whose worker is lost is done again by another one, even if it was finished before its result arrived;
        and a worker that is lost to the scheduler may still be at it. So the function must not mind being called twice.

        Raises
        ------
        ClusterError
            If several workers died of one item, the scheduler is lost, or a worker has another version of this package.
        """
        from distributed import as_completed

        call = functools.partial(_call, __version__, function)
        waiting = iter(items)
        running: set[Future] = set()
        done = as_completed(loop=self._client.loop, raise_errors=False)
        try:
            while True:
                wanted = max(1, _ITEMS_PER_THREAD * self._threads_or_lost())
                for item in itertools.islice(waiting, max(0, wanted - len(running))):
                    future = self._client.submit(call, item, pure=False)
                    running.add(future)
                    done.add(future)
                if not running:
                    return
                future = next(done)
                running.discard(future)
                yield _result(future)
        finally:
            with contextlib.suppress(OSError):  # the scheduler may be gone
                self._client.cancel(list(running))

    def _threads_or_lost(self) -> int:
        try:
            return self.threads
        except OSError as error:
            raise _lost() from error


def need(path: Path) -> None:
    """Check, in a worker, that it sees a file or folder.

    Raises
    ------
    ClusterError
        If it does not.
    """
    if not path.exists():
        raise ClusterError(
            f"a worker on {socket.gethostname()} does not see {path}: all workers must see the same folders under the "
            "same paths"
        )


def _call(version: str, function: Callable[[Item], Result], item: Item) -> Result:
    """Do one item in a worker: one at a time, whatever threads it has."""
    if version != __version__:
        raise ClusterError(
            f"a worker of the cluster has astroanomaly {__version__}, here it is {version}: install the same version "
            "everywhere"
        )
    with _one_at_a_time:
        return function(item)


def _result(future: Future) -> Any:
    """Return what a worker made of an item, or raise what it raised there."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise ClusterError(
            "several workers were killed by the same item of work, most likely for want of memory; what was finished "
            "is kept: give the workers more memory, or start fewer of them, and run the same command again"
        ) from error
    except RuntimeError as error:
        if not str(error).startswith(_UNPACKING):
            raise
        raise ClusterError(
            "the cluster cannot read what it is to do: the same versions of astroanomaly, of Dask and of the plugins "
            f"must be installed for its scheduler, its workers and here ({error.__cause__ or error})"
        ) from error
    except (OSError, concurrent.futures.CancelledError) as error:
        if future.status == "error":  # it happened in the work itself
            raise
        raise _lost() from error


def _lost() -> ClusterError:
    return ClusterError(
        "the scheduler of the cluster is lost; what was finished is kept: run the same command again with a scheduler "
        "that is there"
    )
