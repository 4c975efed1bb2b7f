"""Ingest and scoring on Dask workers beside one process: ``python benchmarks/dask_workers.py``.

Four ways take turns, ``--repeats`` times: this process alone, with all threads it may have; a cluster of one worker
process with one thread; of two; and of two of which one is killed (SIGKILL) when half of the work is done, and started
again by Dask. Clusters are up, and have imported what they need, before the clock runs. Every cache must have the same
digest, and every score must be within 1e-4 of the first one.
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster
from ingest_speed import make_catalog, make_mosaics

import astroanomaly.ingestion.workers
from astroanomaly import Cache, Session
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.learn.engine.device import tune_allocator

ALONE, ONE, TWO, KILLED = "this process", "1 worker", "2 workers", "2 workers, one killed half-way"


@contextlib.contextmanager
def workers(way):
    """Give the cluster of a way, None for none."""
    if way == ALONE:
        yield None
        return
    count = 1 if way == ONE else 2
    with LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs="CRITICAL",
    ) as cluster:
        with Client(cluster, set_as_default=False) as client:
            client.run(get_ready)
        yield cluster


def get_ready():
    """Import what a worker needs."""
    import timm  # noqa: F401
    import torch  # noqa: F401

    from astroanomaly.plugins import load_plugins

    load_plugins()


def timed(steps, cluster, kill, stage):
    """Run a generator of reports; return its seconds. Kill one worker when half of a stage is done."""
    began = time.perf_counter()
    for step in steps:
        if kill and step.stage == stage and step.done >= step.total / 2:
            os.kill(cluster.workers[0].process.pid, signal.SIGKILL)
            kill = False
    seconds = time.perf_counter() - began
    if kill:
        raise SystemExit("no worker was killed: there was too little to do")
    return seconds


def run_ingest(way, folder, made):
    """Cut the mosaic; return seconds and the digest of the cache."""
    paths, catalog = made
    shutil.rmtree(folder / "cache", ignore_errors=True)
    with workers(way) as cluster:
        request = SourceRequest.of("fits", paths, options={"catalog": catalog, "size": "64"})
        steps = ingest_steps(request, folder / "cache", scheduler=cluster and cluster.scheduler_address)
        seconds = timed(steps, cluster, way == KILLED, "cutting")
    return seconds, Cache.open(folder / "cache").digest()


def run_scoring(way, path):
    """Score a whole session anew; return seconds and log-odds."""
    shutil.rmtree(Session.open(path).rounds[-1].scores, ignore_errors=True)
    with workers(way) as cluster:
        steps = Session.open(path).score_steps(scheduler=cluster and cluster.scheduler_address)
        seconds = timed(steps, cluster, way == KILLED, "scoring")
    return seconds, Session.open(path).scores()[1]


def make_session(folder):
    """Train a small round on the cache, on labels that mean nothing: only the time of scoring matters."""
    session = Session.create(folder / "session", folder / "cache")
    ids = session.cache.sample(20, np.random.default_rng(0))
    session.label(ids[:10], "anomaly", annotator="nobody")
    session.label(ids[10:], "nominal", annotator="nobody")
    session.train("supervised", iterations=2)
    return session.path


def compare(what, objects, repeats, run, same):
    """Let all ways take turns; print what they took."""
    taken = {way: [] for way in (ALONE, ONE, TWO, KILLED)}
    expected = run(ALONE)[1]  # what is imported and read for the first time is so before the clock runs
    for _ in range(repeats):
        for way, seconds in taken.items():
            found, result = run(way)
            if not same(result, expected):
                raise SystemExit(f"{what}, {way}: another result")
            seconds.append(found)
    print(f"{what} of {objects} cutouts: {repeats} times each, the same result every time")
    print("| way | cutouts/s | time over that of this process, median (range) |")
    print("|---|---|---|")
    for way, seconds in taken.items():
        ratios = [mine / alone for mine, alone in zip(seconds, taken[ALONE], strict=True)]
        rate = objects / statistics.median(seconds)
        print(f"| {way} | {rate:.0f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--batch-mb", type=float, default=8, help="pixels of one piece of work of the ingest")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    tune_allocator()
    astroanomaly.ingestion.workers._BATCH_BYTES = int(arguments.batch_mb * 2**20)
    folder = Path(tempfile.mkdtemp(prefix="astroanomaly-"))
    try:
        paths, wcs = make_mosaics(folder, arguments.side, 1)
        made = paths, make_catalog(folder, wcs, arguments.side, arguments.objects)[0]
        compare(
            "Ingest",
            arguments.objects,
            arguments.repeats,
            lambda way: run_ingest(way, folder, made),
            lambda a, b: a == b,
        )
        session = make_session(folder)
        compare(
            "Scoring",
            arguments.objects,
            arguments.repeats,
            lambda way: run_scoring(way, session),
            lambda a, b: np.allclose(a, b, rtol=0, atol=1e-4),
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
