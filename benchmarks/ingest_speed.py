"""Cutouts per second of the FITS source, written cache included: ``python benchmarks/ingest_speed.py``.

Beside it, turn by turn on the same memory-mapped mosaics: the disk alone, which writes and syncs as many bytes, and
plain loops of `Cutout2D`, which keep their cutouts in memory. The source and the first loop start from sky positions;
the second loop is given pixel positions; the third does without the WCS as well. One cutout is all bands of an object.
"""

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly import ingest

BANDS = ("r", "i", "z", "g", "u")
NOISE = 1024  # pixels of the noise that is repeated over a mosaic
PIECE = 64 * 2**20  # bytes written together


def make_mosaics(folder, side, bands):
    """Write one float32 mosaic a band, all on one grid; return their paths and WCS. Those of before are replaced."""
    rng = np.random.default_rng(0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [side / 2, side / 2]
    wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
    paths = []
    for band in BANDS[:bands]:
        paths.append(folder / f"mosaic_{band}.fits")
        noise = rng.normal(size=(min(NOISE, side), NOISE)).astype(">f4")
        strip = np.tile(noise, (1, -(-side // NOISE)))[:, :side]
        header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", side), ("NAXIS2", side)])
        header.update(wcs.to_header())
        header["FILTER"] = band
        paths[-1].unlink(missing_ok=True)  # StreamingHDU would append
        stream = fits.StreamingHDU(paths[-1], header)
        for start in range(0, side, len(strip)):
            stream.write(strip[: side - start])
        stream.close()
    return paths, wcs


def make_catalog(folder, wcs, side, objects):
    """Write positions drawn at random; return the file, the sky positions and the pixel positions."""
    x, y = np.random.default_rng(1).uniform(80, side - 80, (2, objects))
    ra, dec = wcs.wcs_pix2world(x, y, 0)
    path = folder / "catalog.fits"
    Table({"object_id": np.arange(objects).astype(str), "ra": ra, "dec": dec}).write(path, overwrite=True)
    return path, SkyCoord(ra, dec, unit="deg"), list(zip(x, y, strict=True))


def loop(paths, positions, size, *, with_wcs=True):
    """Cut every object out by hand and keep the cutouts in a list."""
    stamps = []
    for path in paths:
        with fits.open(path, memmap=True) as hdus:
            data, wcs = hdus[0].data, WCS(hdus[0].header) if with_wcs else None
            for position in positions:
                stamps.append(Cutout2D(data, position, size, wcs=wcs, mode="partial", fill_value=np.nan, copy=True))
    return len(stamps) // len(paths)


def write(path, total):
    """Write so many bytes and wait until they are on the disk."""
    piece = np.random.default_rng(2).bytes(min(PIECE, total))
    with path.open("wb") as handle:
        for start in range(0, total, len(piece)):
            handle.write(piece[: total - start])
        handle.flush()
        os.fsync(handle.fileno())
    path.unlink()


def ways_of(folder, side, bands, size, objects, some, processes):
    """Name the ways; each returns how many objects it did: loops only some of them."""
    paths, wcs = make_mosaics(folder, side, bands)
    catalog, sky, pixels = make_catalog(folder, wcs, side, objects)

    def source(workers):
        cut = ingest("fits", paths, catalog=catalog, size=str(size), out=folder / "cache", workers=workers)
        return len(cut)

    def disk():
        write(folder / "bytes", objects * bands * size * size * 4)
        return objects

    return {
        **{f"source, {n} process{'es' * (n > 1)}": (lambda n=n: source(n)) for n in processes},
        "disk alone": disk,
        "loop, sky positions": lambda: loop(paths, sky[:some], size),
        "loop, pixel positions": lambda: loop(paths, pixels[:some], size),
        "loop, pixel positions, no WCS": lambda: loop(paths, pixels[:some], size, with_wcs=False),
    }


def measure(folder, ways, repeats):
    """Give the seconds that each way took for one object, in each of the repeats."""
    seconds = {name: [] for name in ways}
    for _, (name, way) in itertools.product(range(repeats), ways.items()):
        start = time.perf_counter()
        count = way()
        seconds[name].append((time.perf_counter() - start) / count)
        shutil.rmtree(folder / "cache", ignore_errors=True)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[8192, 19_200], help="pixels of a mosaic's side")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 150], help="pixels of a cutout's side")
    parser.add_argument("--bands", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="processes of the source")
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--loop-objects", type=int, default=4000, help="so many of them for the loops")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where there is room for 10 GB (default: the temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
    try:
        measure(folder, ways_of(folder, 1024, 1, 32, 100, 100, [1]), 1)  # imports
        for side, bands, size in itertools.product(arguments.sides, arguments.bands, arguments.sizes):
            some = min(arguments.loop_objects, arguments.objects)
            ways = ways_of(folder, side, bands, size, arguments.objects, some, arguments.workers)
            seconds = measure(folder, ways, arguments.repeats)
            first = next(iter(seconds))
            print(f"\nmosaic of {side} px, {bands} band{'s' * (bands > 1)}, cutouts of {size} px")
            print(f"| | cutouts a second | time as a ratio to that of {first} |\n|---|---|---|")
            for name, taken in seconds.items():
                rates = [1 / one for one in taken]
                ratios = [one / ours for one, ours in zip(taken, seconds[first], strict=True)]
                print(
                    f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
                    f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                    flush=True,
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
