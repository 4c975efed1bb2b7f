"""Long work in processes of its own, so that pages stay quick: frozen features, training."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from astroanomaly.config import to_plain
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.hookspecs import Ranker
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.score_parts import IMAGE
from astroanomaly.records import Progress

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["BackgroundJob", "ColdScores", "FeatureMap", "compute_features", "map_features", "train"]

_NICE_INCREMENT = 10  # pages come first
_FIRST_SAMPLE = 400  # objects after which there is a first ranking without labels
_MAX_REPORTS = 20_000
_MAX_MAPPED = 3000  # objects on a feature map
_STOP_TIMEOUT_S = 15.0  # a process that is told to stop is killed after this time


@dataclasses.dataclass(frozen=True, eq=False)
class ColdScores:
    """Scores without labels, ``(N,)`` float32 in the order of the cache, how many objects they compare, and by what."""

    scores: np.ndarray
    compared: int
    origin: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureMap:
    """Objects as points of a plane, ``(n, 2)``: objects that are similar by something are near one another."""

    ids: list[str]
    points: np.ndarray
    by: str = IMAGE


class BackgroundJob:
    """Work in a process of its own, that reports and can be stopped at any time.

    Parameters
    ----------
    name
        Its name, such as ``training``.
    work
        A generator function of this module; it is given the arguments and a function that returns what was sent to it.
    arguments
        Plain values.

    Attributes
    ----------
    state
        ``running``, ``done``, ``failed`` or ``cancelled``.
    error
        Why it failed, for a person to read.
    reports
        Its progress so far.
    started
        Time on the monotonic clock.
    """

    def __init__(self, name: str, work: Callable[..., Iterator[Any]], *arguments: Any) -> None:
        self.name = name
        self.state: Literal["running", "done", "failed", "cancelled"] = "running"
        self.error = ""
        self.reports: list[Progress] = []
        self.started = time.monotonic()
        self.results: list[Any] = []
        context = multiprocessing.get_context("spawn")  # threads of torch and HDF5 do not survive a fork
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(theirs, work, arguments), daemon=True, name=f"astroanomaly-{name}"
        )
        self._process.start()
        theirs.close()
        threading.Thread(target=self._listen, daemon=True, name=f"listen-{name}").start()

    def _listen(self) -> None:
        received = None
        with contextlib.suppress(EOFError, OSError):
            while True:
                received = self._connection.recv()
                if isinstance(received, Progress):
                    if len(self.reports) >= _MAX_REPORTS:
                        del self.reports[: _MAX_REPORTS // 2]
                    self.reports.append(received)
                elif isinstance(received, _End):
                    break
                else:
                    self.results.append(received)
        self._process.join()
        if self.state == "running":
            if not isinstance(received, _End):
                code = self._process.exitcode or 0
                self.error = (
                    f"its process was killed by signal {-code}, most likely for want of memory"
                    if code < 0
                    else f"its process ended without a report (exit code {code})"
                )
                self.state = "failed"
            elif received.error:
                self.error, self.state = received.error, "failed"
            else:
                self.state = "done"

    @property
    def stage(self) -> str:
        """Name of the stage under way, known from the start."""
        return self.last.stage if self.last is not None else "starting a process"

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    @property
    def last(self) -> Progress | None:
        """The latest report."""
        return self.reports[-1] if self.reports else None

    def send(self, message: Any) -> None:
        """Tell the process something; nothing happens if it has ended."""
        with contextlib.suppress(OSError, ValueError):
            self._connection.send(message)

    def cancel(self) -> None:
        """Stop it. What it had finished stays; what it was making is taken away by itself."""
        if self.state == "running":
            self.state = "cancelled"
            self._process.terminate()
            threading.Thread(target=self._insist, daemon=True, name=f"stop-{self.name}").start()

    def _insist(self) -> None:
        """Kill the process if it does not stop: its thread may be deep in a library."""
        self._process.join(_STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait for its end."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while self.state == "running" and (end is None or time.monotonic() < end):
            time.sleep(0.02)


@dataclasses.dataclass(frozen=True)
class _End:
    error: str = ""


def _run(connection: Connection, work: Callable[..., Iterator[Any]], arguments: Sequence[Any]) -> None:
    """Do the work in the new process."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends its jobs
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE_INCREMENT)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def received() -> list[Any]:
        messages = []
        while connection.poll():
            messages.append(connection.recv())
        return messages

    try:
        with contextlib.closing(work(*arguments, received)) as reports:  # type: ignore[type-var]
            for report in reports:
                connection.send(report)
        connection.send(_End())
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the server has gone: nobody needs this any more
        return
    except AstroAnomalyError as error:
        connection.send(_End(str(error)))
    except MemoryError:
        connection.send(_End("there is not enough memory: set train.memory_gb below 6, or a smaller input.size"))
    except Exception as error:  # noqa: BLE001 - whatever happens, the page has to say it
        connection.send(_End(f"{type(error).__name__}: {error}"))


def _leave(number: int, frame: Any) -> NoReturn:
    """Make an exception of SIGTERM, so that what is unfinished is cleared away; a second one changes nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + number)


def _end_with_parent() -> None:
    """End this process when the server is gone, however it went: nobody needs the work any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def compute_features(path: Path, received: Callable[[], list[Any]]) -> Iterator[Progress | ColdScores]:
    """Compute the frozen features that are missing, in random order, and rank without labels as they come.

    Messages are lists of ids whose features are wanted at once.
    """
    from astroanomaly.session.export import ranker_origin
    from astroanomaly.session.instant import cold_start_ranker, instant_ranker, instant_ranker_name
    from astroanomaly.session.session import Session

    tune_allocator()
    session = Session.open(path)
    cache = session.cache
    store = FeatureStore.of(cache, session.context)
    exclude = frozenset(session.labels.audit)

    def rank(sample: int | None = None) -> Iterator[Progress | ColdScores]:
        ranker = cold_start_ranker(session, sample)
        ranker.share(store, complete=False)
        steps = ranker.fit(cache, session.labels.labelled(), exclude)
        yield from (step for step in steps if step.stage == "features")
        yield ColdScores(_scores(ranker, cache), store.done, _origin(ranker))
        rankers.append(ranker)

    def _scores(ranker: Ranker, cache: Cache) -> np.ndarray:
        return np.concatenate([-part.log_odds[:, 0] for part in ranker.score(cache)]).astype(np.float32)

    def _origin(ranker: Ranker) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return ranker_origin(ranker.name, to_plain(ranker.options), {}, now, 0)

    def compute_wanted() -> None:
        for wanted in received():
            for _ in store.compute(first=wanted, only=()):
                pass

    rankers: list[Ranker] = []
    enough = len(cache) >= 10
    if enough and store.done < len(cache):
        yield from rank(_FIRST_SAMPLE)
    yield Progress("features", store.done, len(cache))
    instant = instant_ranker(session, instant_ranker_name(session))
    instant.share(store, complete=False)
    for step in instant.prepare(cache, exclude):
        yield step
        compute_wanted()
    again = 2 * store.done
    for step in store.compute(first=session.labels.labelled().ids):
        yield step
        compute_wanted()
        if rankers and store.done >= again and store.done < len(cache):
            yield ColdScores(_scores(rankers[0], cache), store.done, _origin(rankers[0]))
            again = 2 * store.done
    yield Progress("features", store.done, len(cache))
    if enough:
        yield from rank()
    store.close()


def train(path: Path, ranker: str, options: dict[str, Any], received: Callable[[], list[Any]]) -> Iterator[Progress]:
    """Train a ranker and score everything: one round."""
    yield Progress("loading the libraries", 0)
    from astroanomaly.session.session import Session

    tune_allocator()
    yield Progress("loading the session", 0)
    session = Session.open(path)
    len(session.cache)
    yield Progress("preparing the ranker", 0)
    yield from session.train_steps(ranker, **options)


def map_features(
    path: Path, method: str, by: str, labelled: list[str], received: Callable[[], list[Any]]
) -> Iterator[FeatureMap]:
    """Project the points of a sample, and of some labelled objects, on a plane; see `Comparison` for what they are."""
    from astroanomaly.session.feature_map import on_a_plane
    from astroanomaly.session.session import Session

    session = Session.open(path)
    cache = session.cache
    store = FeatureStore.of(cache, session.context)
    rng = np.random.default_rng(0)
    known = [object_id for object_id in labelled if cache.find([object_id])[0] >= 0]
    ids = list(dict.fromkeys([*known[:_MAX_MAPPED], *cache.sample(_MAX_MAPPED, rng, session.labels.audit)]))
    found, points = on_a_plane(session, store, ids, method, by)
    yield FeatureMap(found, points, by)
