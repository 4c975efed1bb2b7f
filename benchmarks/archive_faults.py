"""Nothing is lost between an archive that fails and a process that is killed.

``python benchmarks/archive_faults.py FOLDER``: a local server gives cutouts of 1,000 positions on four mosaics (two
tiles, two bands), one request each. Of the requests for cutouts, 5 % fail in ways drawn at random. Then the same with a
process that is killed at random moments. What was made is removed.
"""

import argparse
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the local archive of the tests
from astroanomaly import Cache
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.records import drain
from astroanomaly_plugins.euclid.source import EuclidSource
from servers.euclid import EuclidServer
from servers.mer import make_survey

_FAULTS = ("500", "dropped", "truncated", "html", "429", "empty")
_CUTOUT = "sas-cutout"


def run(catalog, out, *, retry_failed=False):
    """Ingest everything, as a command would, in a hurry: two tries, short waits. Return the report."""
    options = {"catalog": catalog, "size": "32", "bands": ("VIS", "Y"), "via": "esa"}
    fetch = {"attempts": 2, "first_wait_s": 0.05, "timeout_s": 20, "keep": f"{out}-fetched"}
    request = SourceRequest.of(EuclidSource(), options=options, fetch=fetch, retry_failed=retry_failed)
    return drain(ingest_steps(request, out, workers=2))


def spoil(server, share, seed):
    """Let a share of the requests for cutouts fail, each in one of several ways."""
    for number, kind in enumerate(_FAULTS):
        server.misbehave(kind, times=math.inf, where=_CUTOUT, share=share / len(_FAULTS), seed=seed + number)


def account(server, name, report, cache, total, least):
    """Print what came of a run."""
    asked = server.count(_CUTOUT)
    print(
        f"{name}: {len(cache)} cut + {report.no_coverage} no coverage + {report.failed.total()} failed = "
        f"{len(cache) + report.no_coverage + report.failed.total()} of {total}; {asked} requests for cutouts, "
        f"{least} at least ({asked / least:.3f}); digest {cache.digest()[:12]}"
    )
    for reason, count in report.failed.most_common():
        print(f"    {count} x {reason}")


def twice(server):
    """Count cutouts that were given more than once."""
    return sum(count - 1 for count in Counter(server.cutouts).values())


def killed(folder, catalog, server, kills, rng, seconds):
    """Ingest in a process of its own and kill it; return how often, and the cache when all is done."""
    out, done = folder / "killed", 0
    while True:
        process = subprocess.Popen([sys.executable, __file__, str(folder), "--child", str(catalog), str(out)])
        if done < kills:
            time.sleep(rng.uniform(0.2, 0.9) * seconds / (kills + 1) + 3)  # Python has to start
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                time.sleep(1)  # its workers notice
                continue
        process.wait()
        return done, Cache.open(out)


def main():
    """Run all of it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs=2, type=Path, metavar=("CATALOGUE", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run(*arguments.child)
        return
    folder = arguments.folder / "archive-faults"
    shutil.rmtree(folder, ignore_errors=True)
    survey = make_survey(folder, n_objects=arguments.objects)
    catalog = folder / "positions.vot"
    table = survey.catalogue["object_id", "right_ascension", "declination"]
    table.rename_columns(["right_ascension", "declination"], ["ra", "dec"])
    table.write(catalog, format="votable")
    total, least = len(table), 2 * len(table)
    rng = random.Random(arguments.seed)

    def serve():
        server = EuclidServer(survey)
        os.environ["ASTROANOMALY_EUCLID_SERVER"] = server.url
        return server

    with serve() as server:
        started = time.monotonic()
        report = run(catalog, folder / "plain")
        seconds = time.monotonic() - started
        plain = Cache.open(folder / "plain")
        account(server, f"without faults, {seconds:.0f} s", report, plain, total, least)
        print(f"    {twice(server)} cutouts given twice")
    with serve() as server:
        spoil(server, arguments.share, arguments.seed)
        report = run(catalog, folder / "faults")
        account(server, f"{arguments.share:.0%} of requests fail", report, Cache.open(folder / "faults"), total, least)
        server.behave()
        report = run(catalog, folder / "faults", retry_failed=True)
        cache = Cache.open(folder / "faults")
        account(server, "then --retry-failed", report, cache, total, least)
        print(f"    digest as without faults: {cache.digest() == plain.digest()}")
    with serve() as server:
        count, cache = killed(folder, catalog, server, arguments.kills, rng, seconds)
        asked = server.count(_CUTOUT)
        print(
            f"killed {count} times (SIGKILL): {len(cache)} of {total} cut, {asked} requests for cutouts, {least} at "
            f"least; {twice(server)} cutouts given twice, under way when it was killed; digest as without: "
            f"{cache.digest() == plain.digest()}"
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
