"""Time from a new cache to the first page in an order without labels: ``python benchmarks/first_order.py``.

A session is begun in a cache of stamps of 32 px (three bands of 8 bit), then its app is started as ``serve`` does it,
each in a fresh process. Told are the seconds since the process began until the pages can be shown, until there is an
order, and until it was made again with twice as many objects; and the processor time of both processes up to then.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from growth import make_cache

CHILD = "--child"
TICKS = os.sysconf("SC_CLK_TCK")


def used(process):
    """Return the processor time of this process and of one that it has started, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / TICKS


def child(session, most_s):
    """Start what the app starts; print a line of JSON for each order."""
    began = time.perf_counter()
    from astroanomaly import Session
    from astroanomaly.app.background.learner import Learner
    from astroanomaly.app.review.shared_state import COLD, SharedState
    from astroanomaly.learn.engine.device import tune_allocator

    tune_allocator()
    shared = SharedState(Session.open(session), showings=False)
    learner = Learner(shared)
    process = learner._features._process.pid
    print(json.dumps(["pages", time.perf_counter() - began, used(process)]), flush=True)
    said = ""
    while time.perf_counter() - began < most_s and learner.computing:
        learner.tick()
        if COLD in shared.scores and shared.described[COLD] != said:
            said = shared.described[COLD]
            print(json.dumps([said, time.perf_counter() - began, used(process)]), flush=True)
        time.sleep(0.05)
    learner.close()


def main():
    if CHILD in sys.argv:
        child(sys.argv[-2], float(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--most-s", type=float, default=60.0, help="seconds after which the app is stopped")
    parser.add_argument("--folder", type=Path, help="where caches are made (default: the system's temporary folder)")
    arguments = parser.parse_args()
    print("| objects | what | seconds | processor, s |\n|---|---|---|---|")
    for objects in arguments.objects:
        folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
        try:
            make_cache(folder / "cache", objects)
            session, before, began = str(folder / "session"), resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
            init = [sys.executable, "-m", "astroanomaly", "init", session, "--cache", str(folder / "cache")]
            subprocess.run(init, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds, after = time.time() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"| {objects} | `init` | {seconds:.1f} | {processor:.1f} |", flush=True)
            words = [sys.executable, __file__, CHILD, session, str(arguments.most_s)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
                for line in process.stdout:
                    what, seconds, processor = json.loads(line)
                    print(f"| {objects} | {what} | {seconds:.1f} | {processor:.1f} |", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
