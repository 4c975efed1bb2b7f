"""What a HiPS of single cutouts takes: tiles, bytes and seconds of each, 64 pixels of 0.1 arcsec, far apart.

python benchmarks/hips_of_cutouts.py --cutouts 3
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from reproject import reproject_interp
from reproject.hips import reproject_to_hips

SIDE, SCALE_ARCSEC = 64, 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutouts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    print("| cutout | orders | tiles | MB | s |\n|---|---|---|---|---|")
    for number in range(arguments.cutouts):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [rng.uniform(150, 152), rng.uniform(0, 2)]
        wcs.wcs.crpix, wcs.wcs.cdelt = [SIDE / 2 + 0.5] * 2, [-SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600]
        image = rng.normal(size=(SIDE, SIDE)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            out, began = Path(folder) / "hips", time.perf_counter()
            reproject_to_hips(
                (image, wcs), coord_system_out="equatorial", reproject_function=reproject_interp, output_directory=out
            )
            seconds = time.perf_counter() - began
            tiles = list(out.glob("Norder*/Dir*/Npix*"))
            orders = {int(tile.parts[-3].removeprefix("Norder")) for tile in tiles}
            size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        print(f"| {number} | {min(orders)} to {max(orders)} | {len(tiles)} | {size / 1e6:.1f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
