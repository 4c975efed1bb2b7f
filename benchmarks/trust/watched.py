"""Read inputs in child processes that are watched: what comes of each is noted, even where the child dies of it."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil

from astroanomaly.errors import AstroAnomalyError
from astroanomaly.parallel.watch import MARK_BYTES, Marks, is_watched
from edits import Edit, apply_edits
from kind import Kind, OutsideReadError

__all__ = ["FAULTS", "OUTCOMES", "Fault", "Job", "Seeds", "Worker", "draw"]

FINE = ("same", "changed", "failed", "refused", "contained")
FAULTS = ("traceback", "crash", "hang", "memory", "silent", "request", "outside", "code")
OUTCOMES = (*FINE, *FAULTS)  # as the bytes 1, 2 ... of the shared memory
_MAX_HANG_S = 10.0  # of processor time; six times as long by the clock, for what waits
_MORE_MEMORY = 3 * 2**30  # bytes that reading an input may need beside the libraries
_HEADER = struct.Struct("<q")  # number of the input
_ENDED = -1
_WATCHED = {
    "request": ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"),
    "code": ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class"),
    "outside": ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"),
}
_PURPOSES = {event: outcome for outcome, events in _WATCHED.items() for event in events}
_SYSTEM = tuple(
    str(Path(place).resolve())
    for place in (
        sys.prefix,
        sys.base_prefix,
        Path(__file__).parents[2],
        "/usr",
        "/lib",
        "/proc",
        "/sys",
        "/dev/null",
        "/etc/machine-id",  # which process holds a lock
    )
)


@dataclass(frozen=True)
class Seeds:
    """The seeds of a kind, and the folder that its door wants."""

    contents: dict[str, bytes]
    folder: Path


@dataclass(frozen=True)
class Fault:
    """An input that came to something it must not come to."""

    kind: str
    number: int
    seed: str
    edits: list[Edit]
    outcome: str
    message: str

    @property
    def signature(self) -> str:
        """Equal for what looks like the same fault."""
        return f"{self.kind}: {self.outcome}: {self.message.partition(' | ')[0]}"


@dataclass
class Job:
    """Inputs of one kind, from a number to another, and what came of them."""

    kind: Kind
    start: int
    stop: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0
    peak_mb: float = 0.0


def draw(kind: Kind, seeds: Seeds, run: int, number: int) -> tuple[str, list[Edit]]:
    """Draw the name of a seed and the edits of an input: the same for the same number of the same run."""
    rng = Random(f"{run} {kind.name} {number}")
    name = rng.choice(sorted(seeds.contents))
    return name, kind.edit(rng, name, seeds.contents[name])


class Worker:
    """A child process at one job. `look` says whether it has ended; whatever ends it, the job is carried on.

    Parameters
    ----------
    job
        What is to be done.
    seeds
        Of its kind.
    run
        Seed of the run.
    given
        One input in the place of those that would be drawn: name of its seed, and its edits.
    """

    def __init__(self, job: Job, seeds: Seeds, run: int, given: tuple[str, list[Edit]] | None = None) -> None:
        self.job, self._seeds, self._run, self._given = job, seeds, run, given
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_quick_folder()))
        self._next = job.start
        self._start()

    def _start(self) -> None:
        self._notes = mmap.mmap(-1, _HEADER.size + self.job.stop - self._next)
        self._first = self._next
        self._note(self._next - 1)
        self._seen, self._since, self._cpu = _ENDED, time.monotonic(), 0.0  # number, and when it was first seen
        sys.stdout.flush()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._work()
            except BaseException:
                (self._folder / "harness").write_text(traceback.format_exc())
                os._exit(1)
            os._exit(0)

    # ------------------------------------------------------------------------------------------------ in the child

    def _work(self) -> None:
        work = self._prepare()
        seen = _listen(self._folder)
        seeds = self._seeds.contents
        names = [self._given[0]] if self._given else sorted(seeds)
        expected = {name: self.job.kind.door(work, name, seeds[name]) for name in names}
        del seen[:]
        for number in range(self._next, self.job.stop):
            if os.getppid() == 1:  # nobody waits for it
                os._exit(0)
            self._note(number)
            name, edits = self._given or draw(self.job.kind, self._seeds, self._run, number)
            content = apply_edits(seeds[name], edits)
            outcome, message = "same", ""
            try:
                found = self.job.kind.door(work, name, content)
            except AstroAnomalyError as error:
                outcome = "refused" if str(error).strip() else "traceback"
            except OutsideReadError as error:
                outcome, message = "outside", str(error)
            except MemoryError as error:
                outcome, message = "memory", _told(error)
            except BaseException as error:
                outcome, message = "traceback", _told(error)
            else:
                if found.data != expected[name].data:
                    outcome = "silent" if found.covered else "failed" if found.failures else "changed"
                elif found.failures > expected[name].failures:
                    outcome = "failed"
            if seen:
                outcome, message = seen[0]
                del seen[:]
            if outcome in FAULTS:
                with (self._folder / "faults").open("a") as handle:
                    handle.write(json.dumps([number, name, edits, outcome, message]) + "\n")
            self._notes[_HEADER.size + number - self._first] = 1 + OUTCOMES.index(outcome)
        left = [path.name for place in ("cwd", "tmp") for path in (self._folder / place).iterdir()]
        if left:
            raise AssertionError(f"files were left in the current folder, or among temporary files: {left[:3]}")
        self._note(_ENDED)

    def _prepare(self) -> Path:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in (0, 1, 2):  # libraries in C complain there
            os.dup2(nowhere, handle)
        warnings.simplefilter("ignore")
        shutil.rmtree(self._folder / "work", ignore_errors=True)
        for place in ("cwd", "tmp"):
            shutil.rmtree(self._folder / place, ignore_errors=True)
            (self._folder / place).mkdir()
        shutil.copytree(self._seeds.folder, self._folder / "work")
        outside = self._folder / "work" / "outside"
        if outside.is_dir() and not (self._folder / "outside").exists():
            outside.rename(self._folder / "outside")
        os.chdir(self._folder / "cwd")
        tempfile.tempdir = str(self._folder / "tmp")
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + _MORE_MEMORY, used + _MORE_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        is_watched(Marks(mmap.mmap(-1, MARK_BYTES), {}))  # files are read in this process, where they are seen
        return self._folder / "work"

    def _note(self, number: int) -> None:
        _HEADER.pack_into(self._notes, 0, number)

    # ------------------------------------------------------------------------------------------------ in the parent

    def look(self) -> bool:
        """Look after the child; True once the job is done."""
        (number,) = _HEADER.unpack_from(self._notes, 0)
        ended, status, usage = os.wait4(self._pid, os.WNOHANG)
        if not ended:
            if self._hangs(number):
                os.kill(self._pid, signal.SIGKILL)
                _, _, usage = os.wait4(self._pid, 0)
                self._take(usage, number, "hang", f"more than {_MAX_HANG_S:g} s")
            return False
        code = os.waitstatus_to_exitcode(status)
        (number,) = _HEADER.unpack_from(self._notes, 0)
        if code > 0:
            raise RuntimeError(f"{self.job.kind.name}: {(self._folder / 'harness').read_text()}")
        if code < 0 and number >= self._first:
            self._take(usage, number, "crash", signal.Signals(-code).name)
            return False
        if code < 0:
            raise RuntimeError(f"{self.job.kind.name}: ended by {signal.Signals(-code).name} before its first input")
        self._take(usage, self.job.stop, "", "")
        shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def close(self) -> None:
        """End the child, if it has not ended, and forget what it did."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _hangs(self, number: int) -> bool:
        """Whether the child has been at one input for too long, as seen from here: a note may be half written."""
        times = psutil.Process(self._pid).cpu_times()
        cpu = times.user + times.system
        if number != self._seen:
            self._seen, self._since, self._cpu = number, time.monotonic(), cpu
        waits = time.monotonic() - self._since
        return number >= self._first and (cpu - self._cpu > _MAX_HANG_S or waits > 6 * _MAX_HANG_S)

    def _take(self, usage: Any, number: int, outcome: str, message: str) -> None:
        """Take in what the child has noted, and how it ended; begin another one where there is work left."""
        job = self.job
        job.seconds += usage.ru_utime + usage.ru_stime
        job.peak_mb = max(job.peak_mb, usage.ru_maxrss / 1024)
        notes = self._notes[_HEADER.size : _HEADER.size + number - self._first]
        job.counts.update(OUTCOMES[byte - 1] for byte in notes)
        faults = self._folder / "faults"
        if faults.exists():
            for line in faults.read_text().splitlines():
                at, name, edits, what, told = json.loads(line)
                job.faults.append(Fault(job.kind.name, at, name, edits, what, told))
            faults.unlink()
        if outcome:
            name, edits = self._given or draw(job.kind, self._seeds, self._run, number)
            job.counts[outcome] += 1
            job.faults.append(Fault(job.kind.name, number, name, edits, outcome, message))
            self._next = number + 1
            self._start()


def _quick_folder() -> str | None:
    """Return a folder in memory, where there is one: files are written and synced a million times."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _listen(folder: Path) -> list[tuple[str, str]]:
    """Note, from now on, what Python is about to do that reading a file of ours must not do."""
    seen: list[tuple[str, str]] = []
    allowed = (str(folder / "work"), str(folder / "tmp"), str(folder / "faults"), *_SYSTEM)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        purpose = _PURPOSES.get(event)
        if purpose is None:
            return
        if purpose == "outside":
            path = arguments[0]
            if isinstance(path, int):
                return
            name = os.fsdecode(path)
            by_handle = event in ("os.remove", "os.rmdir") and arguments[1] != -1
            if (by_handle or arguments[1] is None) and os.sep not in name and name != os.pardir:
                return  # in a folder that was opened, and heard of; or in the current one, which is empty
            place = os.path.abspath(name)
            if place.startswith(allowed):
                return
        seen.append((purpose, f"{event} {arguments[0]!r}"[:200]))

    sys.addaudithook(hear)
    return seen


def _told(error: BaseException) -> str:
    """Say what was raised and where, then after a bar what it said."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "astroanomaly" in frame.filename]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in (*own[-1:], frames[-1])]
    where = " < ".join(dict.fromkeys(places))
    return f"{type(error).__name__} at {where} | {str(error)[:200]}"


def run_one(kind: Kind, seeds: Seeds, name: str, edits: Sequence[Edit]) -> Fault | None:
    """Read one input and return the fault that comes of it, if one does."""
    job = Job(kind, 0, 1)
    worker = Worker(job, seeds, 0, (name, list(edits)))
    while not worker.look():
        time.sleep(0.005)
    return job.faults[0] if job.faults else None
