"""Time of a cross-match with a large local catalogue: ``python benchmarks/crossmatch_speed.py --positions 100000``.

Positions and catalogue are drawn uniformly on the sky; a tenth of the positions are entries of the catalogue, moved by
up to an arcsecond. The catalogue is written as FITS and as Parquet, with an id, a position and a magnitude.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

from astroanomaly.tables.nearest import nearest_in_catalog

RADIUS_ARCSEC = 2.0


def sky(rng, count):
    """``(count,)`` right ascensions and declinations in degrees, uniform on the sphere."""
    return rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    catalog_ra, catalog_dec = sky(rng, arguments.entries)
    ra, dec = sky(rng, arguments.positions)
    known = arguments.positions // 10
    ra[:known], dec[:known] = (
        catalog_ra[:known],
        np.clip(catalog_dec[:known] + rng.uniform(-1, 1, known) / 3600, -90, 90),
    )
    table = Table({"source_id": np.arange(arguments.entries), "ra": catalog_ra, "dec": catalog_dec})
    table["mag"] = rng.uniform(15, 25, arguments.entries).astype("f4")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("catalog.fits", "catalog.parquet")]
        for path in paths:
            table.write(path)
        del table
        for path in paths * arguments.repeats:
            began, wall = time.process_time(), time.perf_counter()
            found = nearest_in_catalog(path, ra, dec, RADIUS_ARCSEC)
            matched = int(np.isfinite(found.separation_arcsec).sum())
            print(
                f"{path.name}: {arguments.positions} positions, {arguments.entries} entries, {matched} matched: "
                f"{time.perf_counter() - wall:.1f} s, processor {time.process_time() - began:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
