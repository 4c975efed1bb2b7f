"""Commands of ours as child processes: started from a process that has everything loaded, and killed."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Command", "Ending", "load_everything", "names_of"]

_MAX_END_S = 30.0  # a process that was asked to end, and its children, must have ended by then
_LOADED = (
    "astroanomaly.app.web.server", "astroanomaly.benchmark.run", "astroanomaly.figures.curves",
    "astroanomaly.ingestion.ingest", "astroanomaly.labels.tables", "astroanomaly.learn.rankers.register",
    "astroanomaly.session.export", "astroanomaly.session.survey.score", "astropy.coordinates", "astropy.io.fits",
    "astropy.io.votable", "astropy.table", "astropy.wcs", "PIL.Image", "sklearn.linear_model", "timm", "torch",
)  # fmt: skip


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes
    ----------
    code
        Its exit status; minus the number of the signal that ended it.
    killed
        Whether it was still running when the signal came.
    orphans
        How many of its processes were still there long after.
    seconds
        How long it ran.
    """

    code: int
    killed: bool
    orphans: int
    seconds: float


def load_everything() -> None:
    """Load what commands need, so that a kill meets their work and not their start. No thread may be running."""
    import torch

    torch.set_num_threads(1)
    for name in _LOADED:
        importlib.import_module(name)
    from astroanomaly.cli import COMMANDS
    from astroanomaly.plugins import load_plugins

    for name in COMMANDS:
        importlib.import_module(f"astroanomaly.cli.{name}")
    load_plugins()


class Command:
    """A command in a process of its own, in a group of its own.

    Parameters
    ----------
    words
        What would be typed after ``astroanomaly``.
    log
        File that takes what it says.
    prepare
        Called in the new process before the command.
    """

    def __init__(self, words: Sequence[str], log: Path, prepare: Callable[[], object] = lambda: None) -> None:
        self.words = list(words)
        self.log = log
        self._began = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(self._work(prepare))

    def _work(self, prepare: Callable[[], object]) -> int:
        try:
            os.setsid()
            handle = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
            for stream in (1, 2):
                os.dup2(handle, stream)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            prepare()
            from astroanomaly.cli import main

            code = main(self.words)
            sys.stdout.flush()
        except SystemExit as error:
            return error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            return 99
        else:
            return code

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return psutil.pid_exists(self.pid) and psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE

    def finish(self, timeout_s: float = 300.0) -> Ending:
        """Wait for the end, without a signal; what takes too long is ended."""
        end = time.monotonic() + timeout_s
        while self.running() and time.monotonic() < end:
            time.sleep(0.005)
        if self.running():
            return self.kill(signal.SIGKILL, group=True)
        return self._ending(False, [])

    def kill(self, number: int, *, group: bool) -> Ending:
        """Send a signal, wait until it has ended, and count what stays behind."""
        killed = self.running()
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)
        end = time.monotonic() + _MAX_END_S
        while self.running() and time.monotonic() < end:
            time.sleep(0.005)
        stays = self.running()
        if stays:
            os.kill(self.pid, signal.SIGKILL)
        ending = self._ending(killed, family)
        return Ending(ending.code, killed, ending.orphans + stays, ending.seconds)

    def _ending(self, killed: bool, family: list[psutil.Process]) -> Ending:
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - self._began
        left = psutil.wait_procs(family, timeout=_MAX_END_S)[1]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return Ending(os.waitstatus_to_exitcode(status), killed, len(left), seconds)

    def said(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text(errors="replace")[-600:] if self.log.exists() else ""


def names_of(folder: Path) -> set[str]:
    """Return the paths of the files below a folder, with their random and counting parts made alike."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {re.sub(r"[0-9]+", "0", re.sub(r"[0-9a-f]{8,}", "x", path)) for path in paths}
