"""Nothing is lost of 1,000 positions while the service of a survey fails now and then.

``python benchmarks/survey_faults.py legacy panstarrs skymapper``: a local server speaks the protocol of each survey. Of
its answers, 5 % are faults drawn at random, time-outs included. It prints what came of the positions, how many requests
that took, how many of these answered with a fault, and how many were made without a need: more than the least and one
for each fault. Nothing is kept.

``python benchmarks/survey_faults.py --draw 200`` asks nothing, and draws the faults of so many seeds as the server
does, where each costs one request more.
"""

import argparse
import math
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the local services of the tests
from astroanomaly import FetchConfig, ingest
from astroanomaly_plugins.surveys.legacy import LegacySource
from astroanomaly_plugins.surveys.panstarrs import PanstarrsSource
from astroanomaly_plugins.surveys.skymapper import SkyMapperSource
from servers.base import FAULTS
from servers.surveys import LegacyServer, PanstarrsServer, SkyMapperServer, SurveySky

_BANDS = ("g", "r")
_SOURCES = {"legacy": LegacySource, "panstarrs": PanstarrsSource, "skymapper": SkyMapperSource}
_KINDS = [kind for kind in FAULTS if kind != "votable error"]


def serve(name, sky):
    """Make the local server of a survey."""
    if name == "skymapper":
        return SkyMapperServer({band: (sky, band, 100.0, 1.0) for band in _BANDS})
    return {"legacy": LegacyServer, "panstarrs": PanstarrsServer}[name](sky)


def run(name, objects, share, seed, timeout_s):
    """Ingest from one survey and print what came of it."""
    source = _SOURCES[name]()
    sky = SurveySky(_BANDS, source.service.scale)
    rng = np.random.default_rng(seed)
    ra, dec = sky.places(rng.uniform(20, 380, objects), rng.uniform(20, 280, objects))
    table = Table({"id": [f"o{number}" for number in range(objects)], "ra": ra, "dec": dec})
    with serve(name, sky) as server, tempfile.TemporaryDirectory() as folder:
        server.slow_s = timeout_s + 0.4
        for number, kind in enumerate(_KINDS):
            server.misbehave(kind, times=math.inf, share=share / len(_KINDS), seed=seed * len(_KINDS) + number)
        hasty = {
            "first_wait_s": 0.02,
            "longest_wait_s": 0.5,
            "timeout_s": timeout_s,
            "requests": 8,
            "keep": f"{folder}/kept",
        }
        options = {"catalog": table, "size": "16", "bands": _BANDS, "server": server.address}
        began = time.monotonic()
        cache = ingest(source, out=Path(folder) / "cache", fetch=FetchConfig(**hasty), **options)
        once, each = source.service.requests
        least, asked = objects * (once + each * len(_BANDS)), server.count()
        lost = objects - len(cache) - len(cache.failures)
        faults = server.done.total()
        print(
            f"{name}, seed {seed}: {len(cache)} cut, {len(cache.failures)} failed, {lost} lost; {asked} requests, "
            f"{least} at least ({asked / least:.3f}), {faults} faults, {asked - least - faults} without need; "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )


def drawn(requests, share, seed):
    """Ratio of requests to the least, where a request is repeated until it has no fault."""
    generators = [random.Random(seed * len(_KINDS) + number) for number in range(len(_KINDS))]
    asked = answered = 0
    while answered < requests:
        asked += 1
        answered += not any(generator.random() < share / len(_KINDS) for generator in generators)
    return asked / requests


def main():
    """Run the surveys that were named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surveys", nargs="*", metavar="SURVEY", help=f"of {', '.join(sorted(_SOURCES))}")
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--timeout", type=float, default=0.6, help="seconds until an answer is given up")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="only draw the faults of N seeds")
    arguments = parser.parse_args()
    for requests in (1000, 3000) if arguments.draw else ():
        found = np.array([drawn(requests, arguments.share, seed) for seed in range(arguments.draw)])
        print(
            f"{requests} requests at the least: ratio {found.mean():.4f}, scatter {found.std(ddof=1):.4f}, "
            f"at most 1.06 for {(found <= 1.06).mean():.0%}, seed 0 {found[0]:.3f}"
        )
    unknown = [name for name in arguments.surveys if name not in _SOURCES]
    if unknown or not (arguments.surveys or arguments.draw):
        parser.error(
            f"expected surveys ({', '.join(sorted(_SOURCES))}) or --draw, not {' '.join(unknown) or 'nothing'}"
        )
    for name in arguments.surveys:
        for seed in arguments.seeds:
            run(name, arguments.objects, arguments.share, seed, arguments.timeout)


if __name__ == "__main__":
    main()
