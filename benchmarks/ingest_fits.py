"""Cutouts per second of the FITS source, written cache included, beside a plain loop of `Cutout2D` on the same file.

Both run in this process, turn by turn, on the same memory-mapped mosaic: ``python benchmarks/ingest_fits.py``.
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
    return path, catalog, wcs, x, y


def loop(path, x, y, size):
    """Do what one would write by hand: every cutout with its WCS, kept in a list."""
    stamps = []
    with fits.open(path, memmap=True) as hdus:
        data, wcs = hdus[0].data, WCS(hdus[0].header)
        for px, py in zip(x, y, strict=True):
            stamps.append(Cutout2D(data, (px, py), size, wcs=wcs, mode="partial", fill_value=np.nan, copy=True))
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
        path, catalog, _, x, y = make_mosaic(folder, arguments.side, arguments.objects)
        ours, theirs = [], []
        for _ in range(arguments.repeats):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            start = time.perf_counter()
            cache = ingest(
                "fits",
                [path],
                catalog=catalog,
                size=str(arguments.size),
                out=folder / "cache",
                workers=arguments.workers,
            )
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            stamps = loop(path, x, y, arguments.size)
            theirs.append(time.perf_counter() - start)
            assert len(stamps) == len(cache) == arguments.objects
        ratios = np.array(theirs) / np.array(ours)
        for name, seconds in (("fits source, cache written", ours), ("loop of Cutout2D", theirs)):
            rate = arguments.objects / np.array(seconds)
            print(f"{name:28s} {np.median(rate):9.0f} cutouts/s  ({rate.min():.0f} to {rate.max():.0f})")
        print(f"{'ratio':28s} {np.median(ratios):9.1f}  ({ratios.min():.1f} to {ratios.max():.1f})")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
