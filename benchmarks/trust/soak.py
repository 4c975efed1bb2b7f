"""Label, train, score, list and export for an hour: memory, open files and threads must not grow.

    python benchmarks/trust/soak.py --minutes 60

One process goes through the rounds of a session on a small simulated sky; a row of the table is printed now and then.
What grows from round to round on disk, the labels and the rounds, is shown beside it. The last line is the slope of the
memory over the second half.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from astroanomaly import Session, ingest
from astroanomaly.demo.simulate import simulate

_MAX_GROWTH = 0.05  # of the memory, over the second half


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--ranker", default="probe")
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--rows", type=int, default=30, help="of the table (default: 30)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return soak(Path(folder), arguments.ranker, arguments.objects, 60 * arguments.minutes, arguments.rows)


def soak(folder: Path, ranker: str, objects: int, seconds: float, rows: int) -> int:
    """Go through rounds for so long, and print what they need."""
    made = simulate(folder / "sky", n_objects=objects, anomaly_rate=0.1, seed=1)
    ingest("fits", made.mosaics, out=folder / "cache", catalog=made.catalog, size="32")
    settings = {"input": {"size": 32}, "backbone": {"name": "test_efficientnet", "weights": "random"}}
    session = Session.create(folder / "s", folder / "cache", settings=settings)
    process, rng = psutil.Process(), random.Random(0)
    ids = list(session.cache.ids)
    session.label(ids[:4], ["anomaly", "nominal"] * 2, annotator="ann")
    began, shown, number = time.monotonic(), 0.0, 0
    curve: list[tuple[float, float, int, int]] = []
    print("| s | rounds | MB | open files | threads | MB on disk |")
    print("|---|---|---|---|---|---|")
    while (now := time.monotonic() - began) < seconds or number < 2 * rows:
        session.label(rng.sample(ids, 3), rng.choice(("nominal", "anomaly")), annotator=f"person {number % 5}")
        session.train(ranker)
        session.score()
        session.candidates(20)
        session.export(folder / "top.fits", top=20, overwrite=True)
        number += 1
        curve.append((now, process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()))
        if now >= shown:
            on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
            print(
                f"| {now:.0f} | {number} | {curve[-1][1]:.0f} | {curve[-1][2]} | {curve[-1][3]} | {on_disk:.1f} |",
                flush=True,
            )
            shown += seconds / rows
    session.labels.close()
    half = np.array(curve[len(curve) // 2 :])
    slope = np.polyfit(half[:, 0], half[:, 1], 1)[0]
    growth = slope * (half[-1, 0] - half[0, 0]) / half[0, 1]
    more_files, more_threads = (int(half[-1, column] - half[0, column]) for column in (2, 3))
    print(f"\nsecond half: {3600 * slope:+.1f} MB an hour, {more_files:+d} open files, {more_threads:+d} threads")
    return 1 if growth > _MAX_GROWTH or more_files > 0 or more_threads > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
