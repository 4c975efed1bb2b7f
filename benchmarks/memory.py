"""Peak memory of training and of scoring, each in a fresh process: ``python benchmarks/memory.py``.

Training at 224 px under several settings of ``train.memory_gb``; scoring of 10^4 and 10^5 small stamps. What the
process asked for (anonymous memory) is told apart from pages of the memory-mapped cache, which the system takes back
at will.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

CHILD = "--child"


def make_cache(folder, objects, side):
    """Write a cache of noise: memory does not care what the pixels show."""
    from astroanomaly.cache.writer import ShardWriter, create_cache
    from astroanomaly.records import CutoutBlock, Layout, Task

    layout = Layout(("R", "G", "B"), side, side, dtype="uint8", pixel_kind="display")
    step = 5000
    tasks = [Task(f"t{start}") for start in range(0, objects, step)]
    create_cache(folder, layout, tasks, {})
    rng = np.random.default_rng(0)
    with ShardWriter(folder, layout) as writer:
        for number, start in enumerate(range(0, objects, step)):
            count = min(step, objects - start)
            writer.begin(number, f"t{start}")
            images = rng.integers(0, 255, (count, 3, side, side), dtype=np.uint8)
            writer.add(CutoutBlock([f"o{start + i}" for i in range(count)], images, layout.bands))
            writer.commit()


class Watch(threading.Thread):
    """Looks at the memory of this process every 10 ms (Linux)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = {"RssAnon": 0.0, "RssFile": 0.0}
        self.done = threading.Event()

    def run(self):
        """Look until told to stop."""
        while not self.done.wait(0.01):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in self.peak:
                    self.peak[name] = max(self.peak[name], int(value.split()[0]) / 1e6)


def child(work):
    """Do one piece of work and print the peak memory of this process in GB."""
    from astroanomaly import Session
    from astroanomaly.learn.engine.device import tune_allocator

    tune_allocator()
    watch = Watch()
    watch.start()
    session = Session.open(work["session"])
    options = {"iterations": 1, "unlabelled_weight": 0.0}
    if work["what"] == "train":
        options = {"iterations": work["iterations"], "memory_gb": work["memory_gb"]}
    fitted = session.ranker("fixmatch", **options)
    for _ in fitted.fit(session.cache, session.labels.labelled()):
        pass
    if work["what"] == "score":
        for _ in fitted.score(session.cache):
            pass
    watch.done.set()
    print(json.dumps(watch.peak))


def tell(what, peak):
    print(f"{what}: peak {peak['RssAnon']:.2f} GB, mapped files {peak['RssFile']:.2f} GB", flush=True)


def measure(**work):
    done = subprocess.run([sys.executable, __file__, CHILD, json.dumps(work)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def make_session(folder, objects, side, size):
    from astroanomaly import Session

    make_cache(folder / "cache", objects, side)
    session = Session.create(folder / "session", folder / "cache", settings={"input": {"size": size}})
    session.label([f"o{i}" for i in range(10)], "anomaly")
    session.label([f"o{i}" for i in range(10, 60)], "nominal")
    return str(folder / "session")


def main():
    if CHILD in sys.argv:
        child(json.loads(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--objects", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--memory-gb", type=float, nargs="*", default=[4.0, 6.0, 8.0])
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="astroanomaly-"))
    try:
        session = make_session(folder / "train", 500, 128, 224)
        for memory in arguments.memory_gb:
            found = measure(what="train", session=session, iterations=arguments.iterations, memory_gb=memory)
            tell(f"training at 224 px, memory_gb={memory:g}", found)
        for objects in arguments.objects:
            session = make_session(folder / f"score{objects}", objects, 32, 32)
            found = measure(what="score", session=session)
            tell(f"scoring {objects} stamps of 32 px", found)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
