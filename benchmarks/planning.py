"""Memory and time of a plan of many positions: a HATS catalogue by partitions, and the same rows as one FITS table.

``python benchmarks/planning.py FOLDER --objects 1000000``: positions on a square of tiles of Euclid's size. Their
files are headers with nothing behind them (the file system keeps no room for it); a local server lists them. Each plan
is made and written in a process of its own, up to the first cutout. What was made is removed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from astropy.wcs import WCS
from astropy_healpix import HEALPix

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the local archive of the tests
from astroanomaly.cache.plan import read_plan
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from servers.euclid import EuclidServer
from servers.mer import Survey, product_of, write_header

_SIDE = 19_200  # pixels of a tile
_STEP_DEG = 0.5
_ORDER = 6  # of the partitions of the catalogue: 0.8 square degrees
_CENTRE = (60.0, -45.0)


def make_tiles(folder, across):
    """Write the headers of the mosaics of a square of tiles."""
    products = []
    for number in range(across**2):
        tile = 102_000_000 + number
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        dec = _CENTRE[1] + (number // across - across / 2) * _STEP_DEG
        ra = _CENTRE[0] + (number % across - across / 2) * _STEP_DEG / np.cos(np.radians(dec))
        wcs.wcs.crval, wcs.wcs.crpix = [ra, dec], [_SIDE / 2, _SIDE / 2]
        wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
        name = f"EUC_MER_BGSUB-MOSAIC-VIS_TILE{tile}-ACBD03_20241018T142710.276838Z_00.00.fits"
        path = folder / "mer" / str(tile) / "VIS" / name
        path.parent.mkdir(parents=True)
        header = write_header(wcs, "VIS")
        header["NAXIS1"] = header["NAXIS2"] = _SIDE
        path.write_bytes(header.tostring().encode("ascii"))
        os.truncate(path, path.stat().st_size + -(-(_SIDE**2 * 4) // 2880) * 2880)
        products.append(product_of(path, wcs, (_SIDE, _SIDE), tile, "VIS", number + 1))
    empty = Table({"object_id": [0], "right_ascension": [0.0], "declination": [0.0]})
    return Survey(folder, tuple(products), empty)


def make_catalogues(folder, objects, across, seed=0):
    """Write positions as a HATS catalogue and as a FITS table."""
    rng = np.random.default_rng(seed)
    half = (across / 2 - 0.5) * _STEP_DEG
    dec = _CENTRE[1] - 0.25 + rng.uniform(-half, half, objects)
    ra = _CENTRE[0] + rng.uniform(-half, half, objects) / np.cos(np.radians(dec))
    ids = rng.permutation(objects) + 2_694_000_000_000_000_000
    rows = Table({"object_id": ids, "ra": ra, "dec": dec, "flux": rng.lognormal(size=objects)})
    rows.write(folder / "catalogue.fits")
    cells = HEALPix(nside=2**_ORDER, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    order = np.argsort(cells, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        cell = int(cells[part[0]])
        inside = folder / "hats" / "dataset" / f"Norder={_ORDER}" / f"Dir={cell // 10000 * 10000}"
        inside.mkdir(parents=True, exist_ok=True)
        rows[part].write(inside / f"Npix={cell}.parquet")
    (folder / "hats" / "hats.properties").write_text("hats_col_ra=ra\nhats_col_dec=dec\n")


def memory_kb(name):
    """Memory of this process, as Linux says: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def plan(source, catalogue, out):
    """Make and write a plan, up to the first cutout; print what it took as JSON."""
    options = {"catalog": Path(catalogue), "size": "64", "bands": ("VIS",), "via": "datalabs"}
    if source == "hips":
        options = {"catalog": Path(catalogue), "size": "10arcsec", "survey": ("CDS/P/a",), "kind": "flux"}
    request = SourceRequest.of(source, options=options, fetch={"keep": f"{out}-kept"})
    before = memory_kb("VmRSS")
    began, cpu = time.perf_counter(), time.process_time()
    steps = ingest_steps(request, out)
    for report in steps:
        if report.stage == "cutting":
            break
    steps.close()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = memory_kb("VmHWM")
    tiles = Counter()
    objects = tasks = 0
    last = None
    for _, task in read_plan(Path(out)):
        objects, tasks = objects + len(task), tasks + 1
        if task.payload["kind"] == "tile":
            tile = str(task.payload["tiles"][0]["columns"]["tile"])
            tiles[tile] += tile != last  # pieces of one tile that follow one another count as one
            last = tile
    print(
        json.dumps(
            {
                "seconds": round(seconds, 1),
                "cpu_s": round(cpu, 1),
                "more_MB": round((peak - before) / 1024),
                "peak_MB": round(peak / 1024),
                "objects": objects,
                "tasks": tasks,
                "tiles": len(tiles),
                "opened": sum(tiles.values()),
                "plan_MB": round((Path(out) / "plan.h5").stat().st_size / 1e6),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty folder with room for 2 GB")
    parser.add_argument("--objects", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--across", type=int, default=16, help="tiles of a side of the square")
    parser.add_argument("--sources", nargs="+", default=["euclid", "hips"])
    parser.add_argument("--forms", nargs="+", default=["hats", "catalogue.fits"])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        plan(*arguments.one)
        return
    folder = arguments.folder / "planning-benchmark"
    folder.mkdir(parents=True)
    try:
        with EuclidServer(make_tiles(folder, arguments.across)) as server:
            server.datalabs, server.sleepy = str(folder / "mer"), 0
            environment = {**os.environ, "ASTROANOMALY_EUCLID_SERVER": server.url}
            for objects in arguments.objects:
                make_catalogues(folder, objects, arguments.across)
                for source in arguments.sources:
                    for form in arguments.forms:
                        command = [sys.executable, __file__, str(folder), "--one", source, str(folder / form)]
                        done = subprocess.run(
                            [*command, str(folder / "cache")], env=environment, capture_output=True, text=True
                        )
                        print(f"{source} {form} {objects}: {done.stdout.strip() or done.stderr[-600:]}", flush=True)
                        shutil.rmtree(folder / "cache", ignore_errors=True)
                        shutil.rmtree(folder / "cache-kept", ignore_errors=True)
                (folder / "catalogue.fits").unlink()
                shutil.rmtree(folder / "hats")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
