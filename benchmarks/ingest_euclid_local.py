"""Cutouts per second from a Euclid mosaic in place, as on ESA Datalabs, planning and the written cache included.

A mosaic of the MER pipeline's size (19,200 x 19,200 pixels, float32, 1.5 GB) is made in the folder that is given, and a
local server answers the queries: ``python benchmarks/ingest_euclid_local.py FOLDER``. What was made is removed.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # the local archive of the tests
from astroanomaly import ingest
from astroanomaly_plugins.euclid.source import EuclidSource
from servers.euclid import EuclidServer
from servers.mer import Survey, product_of, write_header

_SIDE, _TILE, _REPEATED = 19_200, 102018211, 1_200


def make_mosaic(folder, objects, seed=0):
    """Write one mosaic of VIS, of one piece of noise repeated, and positions on it."""
    rng = np.random.default_rng(seed)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [269.7, 66.0]
    wcs.wcs.crpix = [_SIDE / 2, _SIDE / 2]
    wcs.wcs.cdelt = [-0.1 / 3600, 0.1 / 3600]
    name = f"EUC_MER_BGSUB-MOSAIC-VIS_TILE{_TILE}-ACBD03_20241018T142710.276838Z_00.00.fits"
    path = folder / str(_TILE) / "VIS" / name
    path.parent.mkdir(parents=True)
    strip = np.tile(rng.normal(size=(_REPEATED, _REPEATED)).astype(">f4"), (1, _SIDE // _REPEATED))
    header = write_header(wcs, "VIS")
    header["NAXIS1"] = header["NAXIS2"] = _SIDE
    stream = fits.StreamingHDU(path, header)
    for _ in range(_SIDE // _REPEATED):
        stream.write(strip)
    stream.close()
    x, y = rng.uniform(0, _SIDE - 1, (2, objects))
    ra, dec = wcs.wcs_pix2world(x, y, 0)
    catalog = folder / "catalog.fits"
    Table({"object_id": np.arange(objects).astype(str), "ra": ra, "dec": dec}).write(catalog)
    product = product_of(path, wcs, (_SIDE, _SIDE), _TILE, "VIS", 1)
    return Survey(
        folder, (product,), Table({"object_id": [0], "right_ascension": [0.0], "declination": [0.0]})
    ), catalog


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an empty folder with room for 5 GB")
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    folder = arguments.folder / "euclid-benchmark"
    folder.mkdir(parents=True)
    try:
        survey, catalog = make_mosaic(folder, arguments.objects)
        with EuclidServer(survey) as server:
            os.environ["ASTROANOMALY_EUCLID_SERVER"] = server.url
            server.datalabs = str(folder)
            for workers in (1, 2):
                rates = []
                for number in range(arguments.repeats):
                    start = time.perf_counter()
                    cache = ingest(
                        EuclidSource(),
                        out=folder / "cache",
                        catalog=catalog,
                        size=str(arguments.size),
                        bands=("VIS",),
                        via="datalabs",
                        workers=workers,
                        fetch={"keep": str(folder / f"kept-{workers}-{number}")},
                    )
                    rates.append(arguments.objects / (time.perf_counter() - start))
                    middle = cache[cache.ids[0]]
                    sky = middle.wcs.pixel_to_world((arguments.size - 1) / 2, (arguments.size - 1) / 2)
                    assert len(cache) == arguments.objects
                    assert sky.separation(middle.coord).arcsec < 0.1
                    del cache
                    shutil.rmtree(folder / "cache")
                print(
                    f"{workers} process{'es' * (workers > 1)}: {np.median(rates):,.0f} cutouts/s "
                    f"({min(rates):,.0f} to {max(rates):,.0f}), {arguments.size} px"
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
