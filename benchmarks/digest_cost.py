"""What digests cost: ``python benchmarks/digest_cost.py``.

The seconds that hashing takes within an ingest of memory-mapped mosaics, within pages of 100 cutouts and within reading
all cutouts in order, as a share of all the rest of the same run: of the wall's time and of the processor's. A share of
one run hardly depends on what else the machine does.
"""

import argparse
import contextlib
import mmap
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
from ingest_speed import make_catalog, make_mosaics

from astroanomaly import Cache, ingest
from astroanomaly.cache import encoding, schema, shard
from astroanomaly.parallel.watch import MARK_BYTES, Marks, is_watched


class Watch:
    """Adds up the seconds that calls of a function take: of the wall, and of the processor."""

    def __init__(self):
        self.seconds = np.zeros(2)

    def around(self, function):
        """Return a function that does the same, and is timed."""

        def timed(*arguments, **keywords):
            before = now()
            try:
                return function(*arguments, **keywords)
            finally:
                self.seconds += now() - before

        return timed


def now():
    return np.array([time.perf_counter(), time.thread_time()])


@contextlib.contextmanager
def watching(watch):
    """Time whatever hashes."""
    with contextlib.ExitStack() as stack:
        for module, name in ((encoding, "cutout_checksums"), (schema, "append_digest"), (shard, "cutout_checksums")):
            stack.enter_context(mock.patch.object(module, name, watch.around(getattr(module, name))))
        yield


def share(name, work, repeats):
    """Print the share of hashing in some work."""
    shares, taken = [], []
    for _ in range(repeats + 1):
        watch, before = Watch(), now()
        with watching(watch):
            work()
        whole = now() - before
        shares.append(100 * watch.seconds / (whole - watch.seconds))
        taken.append(whole[0])
    shares = np.array(shares[1:])  # the first one warms up
    texts = [f"{statistics.median(one):.2f} % ({one.min():.2f} to {one.max():.2f})" for one in shares.T]
    print(f"| {name} | {statistics.median(taken[1:]):.3f} | {texts[0]} | {texts[1]} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="pixels of a mosaic's side")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where there is room (default: the temporary folder)")
    arguments = parser.parse_args()
    is_watched(Marks(mmap.mmap(-1, MARK_BYTES), {}))  # mosaics are read in this process, where the clock is
    folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
    print("| | seconds | hashing, of the wall's time | of the processor's |\n|---|---|---|---|")
    try:
        for bands, size in ((1, 64), (3, 64), (1, 150)):
            paths, wcs = make_mosaics(folder, arguments.side, bands)
            catalog, _, _ = make_catalog(folder, wcs, arguments.side, arguments.objects)

            def cut(paths=paths, catalog=catalog, size=size):
                shutil.rmtree(folder / "cache", ignore_errors=True)
                ingest("fits", paths, catalog=catalog, size=str(size), out=folder / "cache")

            share(f"ingest, {bands} x {size} px", cut, arguments.repeats)
            cache = Cache.open(folder / "cache")
            pages = [cache.sample(100, np.random.default_rng(page)) for page in range(50)]
            share(f"50 pages of 100, {bands} x {size} px", lambda: [cache.read(p) for p in pages], arguments.repeats)  # noqa: B023
            before = time.perf_counter()
            found = cache.check()
            rate = found.nbytes / 1e9 / (time.perf_counter() - before)
            print(f"| `check`, {bands} x {size} px: {rate:.1f} GB/s | | | |", flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
