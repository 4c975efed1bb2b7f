"""Cutouts per second of the FITS source, written cache included, beside a plain loop of `Cutout2D` on the same file.

All run in this process, turn by turn, on the same memory-mapped mosaic: ``python benchmarks/ingest_fits.py``. The
source and the first loop start from sky positions; the second is given pixel positions; the third does
without the WCS as well.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly import ingest


def make_mosaic(folder, side, objects, seed=0):
    rng = np.random.default_rng(seed)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [side / 2, side / 2]
    wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
    header = wcs.to_header()
    header["FILTER"] = "r"
    path = folder / "mosaic_r.fits"
    fits.writeto(path, rng.normal(size=(side, side)).astype(np.float32), header)
    x, y = rng.uniform(40, side - 40, (2, objects))
    sky = wcs.pixel_to_world(x, y)
    catalog = folder / "catalog.fits"
    Table({"object_id": np.arange(objects).astype(str), "ra": sky.ra.deg, "dec": sky.dec.deg}).write(catalog)
    return path, catalog, sky, list(zip(x, y, strict=True))


def loop(path, positions, size, *, with_wcs=True):
    """Cut every object out by hand and keep the cutouts in a list."""
    stamps = []
    with fits.open(path, memmap=True) as hdus:
        data, wcs = hdus[0].data, WCS(hdus[0].header) if with_wcs else None
        for position in positions:
            stamps.append(Cutout2D(data, position, size, wcs=wcs, mode="partial", fill_value=np.nan, copy=True))
    return stamps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="astroanomaly-"))
    try:
        path, catalog, sky, pixels = make_mosaic(folder, arguments.side, arguments.objects)
        ways = {
            "fits source, cache written": lambda: ingest(
                "fits",
                [path],
                catalog=catalog,
                size=str(arguments.size),
                out=folder / "cache",
                workers=arguments.workers,
            ),
            "loop, sky positions": lambda: loop(path, sky, arguments.size),
            "loop, pixel positions": lambda: loop(path, pixels, arguments.size),
            "loop, pixel positions, no WCS": lambda: loop(path, pixels, arguments.size, with_wcs=False),
        }
        seconds = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for name, way in ways.items():
                start = time.perf_counter()
                cutouts = way()
                seconds[name].append(time.perf_counter() - start)
                assert len(cutouts) == arguments.objects
                del cutouts
        ours = np.array(next(iter(seconds.values())))
        for name, taken in seconds.items():
            rate, ratio = arguments.objects / np.array(taken), np.array(taken) / ours
            print(
                f"{name:30s} {np.median(rate):8.0f} cutouts/s ({rate.min():.0f} to {rate.max():.0f}), "
                f"{np.median(ratio):5.1f} times the time of the first ({ratio.min():.1f} to {ratio.max():.1f})"
            )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
