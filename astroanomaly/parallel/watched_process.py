"""What a process does that reads files from elsewhere for another one; see `watched`."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing.connection
import multiprocessing.reduction
import multiprocessing.spawn
import os
import signal
import sys
import threading
from typing import Any

from astroanomaly.errors import PluginError
from astroanomaly.parallel.limits import limited
from astroanomaly.parallel.watch import MARK_BYTES, Marks, alone, is_watched

__all__ = ["main"]

_WAIT_S = 30.0  # for more work, before it ends


def main(connection: int, lifeline: int, memory: int) -> None:
    """Do the work that comes, until none comes for a while or who started this process has ended.

    Parameters
    ----------
    connection
        Number of the open socket that work comes from.
    lifeline
        Number of the open pipe that closes when the other process ends.
    memory
        Number of the open file whose memory both share.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started this process
    threading.Thread(target=_end_with, args=(lifeline,), name="end with parent", daemon=True).start()
    shared = mmap.mmap(memory, MARK_BYTES)
    os.close(memory)
    with multiprocessing.connection.Connection(connection) as work, contextlib.suppress(EOFError, OSError):
        while work.poll(_WAIT_S):
            _do(work, shared)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


def _do(work: multiprocessing.connection.Connection[Any, Any], shared: mmap.mmap) -> None:
    environment, folder, path, limits, barred, script = work.recv()
    content = work.recv_bytes()
    try:
        if environment != dict(os.environ):
            os.environ.clear()
            os.environ.update(environment)
        if folder != os.getcwd():
            os.chdir(folder)
        sys.path[:] = path
        if script and b"__main__" in content:
            multiprocessing.spawn.prepare({"init_main_from_path": script})
        function, item = multiprocessing.reduction.ForkingPickler.loads(content)
    except Exception as error:  # noqa: BLE001 - whatever importing a plugin raises
        work.send(("cannot", f"{type(error).__name__}: {error}"))
        return
    _limit_memory(limits.memory_bytes)
    marks = Marks(shared, barred)
    is_watched(marks)
    work.send(("begun", None))
    try:
        with limited(limits):
            answer = "done", function(item)
    except BaseException as error:  # noqa: BLE001 - it is raised on the other side
        answer = "raised", alone(error)
    try:
        packed = multiprocessing.reduction.ForkingPickler.dumps(answer)
        if answer[0] == "raised":
            multiprocessing.reduction.ForkingPickler.loads(packed)  # an error of a plugin may lack what makes it again
    except Exception as error:  # noqa: BLE001 - whatever the objects of a plugin raise when they are packed
        what = answer[1] if answer[0] == "raised" else error
        packed = multiprocessing.reduction.ForkingPickler.dumps(
            ("raised", PluginError(f"{type(what).__name__}: {what}"))
        )
    work.send_bytes(packed)


def _limit_memory(nbytes: int) -> None:
    """Let requests for more memory fail, so that the file that needs it is a failure, and the system does not stall.

    Counted is what can be written to: memory-mapped images, which may be larger than the memory, are not.
    """
    if sys.platform != "linux" or not nbytes:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (nbytes if hard == resource.RLIM_INFINITY else min(nbytes, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
