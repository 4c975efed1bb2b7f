"""Time from a new cache to the first page in an order without labels: ``python benchmarks/first_order.py``.

A session is begun in a cache of stamps of 32 px (three bands of 8 bit). Then the state of its pages is made, and the
work of the app's background process is done until there are some orders, each in a fresh process. Told are the seconds
since the process began and its processor time.
"""

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from growth import make_cache

CHILD = "--child"


def pages(session):
    """Make what all pages of the app share."""
    from astroanomaly import Session
    from astroanomaly.app.review.shared_state import SharedState

    SharedState(Session.open(session), showings=False)
    yield "pages can be shown"


def orders(session):
    """Compute features as the app's background process does; give what each order rests on."""
    from astroanomaly.app.background.jobs import ColdScores, compute_features

    for report in compute_features(Path(session), list):
        if isinstance(report, ColdScores):
            yield f"order by outliers among {report.compared} objects"


def child(work, session, count):
    """Do one piece of work; print a line of JSON for each result."""
    began = time.perf_counter()
    for result in itertools.islice(work(session), count):
        print(json.dumps([result, time.perf_counter() - began, time.process_time()]), flush=True)


WORK = {"pages": pages, "orders": orders}


def main():
    if CHILD in sys.argv:
        child(WORK[sys.argv[-3]], sys.argv[-2], int(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--orders", type=int, default=2, help="how many orders are waited for")
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
            for work in WORK:
                words = [sys.executable, __file__, CHILD, work, session, str(arguments.orders)]
                with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
                    for line in process.stdout:
                        what, seconds, processor = json.loads(line)
                        print(f"| {objects} | {what} | {seconds:.1f} | {processor:.1f} |", flush=True)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
