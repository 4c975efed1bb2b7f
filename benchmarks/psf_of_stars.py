"""How close a PSF measured on stars is to the true one: ``python benchmarks/psf_of_stars.py``.

A simulated image has 150 stars of a Moffat profile (beta = 3.2), integrated over the pixels, on a flat noisy sky, and
300 cutouts of 64 pixels at random places. `inject --psf-stars` measures the PSF on the stars in them. The error is the
largest difference of a pixel to the true image, as a share of the true peak.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly import Cache, ingest
from astroanomaly.session.injection.measured_psf import measure_psf
from astroanomaly.session.injection.render import moffat

BETA, SIDE, STARS, CUTOUTS, EDGE = 3.2, 900, 150, 300, 40
STEPS = np.linspace(-0.4, 0.4, 5)  # points of a pixel


def star(x, y, fwhm):
    """Return the share of the flux of a star in pixels at ``x``, ``y`` from its centre."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    total = np.pi * alpha**2 / (BETA - 1)
    return sum(moffat(x + dx, y + dy, fwhm) for dx in STEPS for dy in STEPS) / len(STEPS) ** 2 / total


def simulated(folder, fwhm, seed):
    """Write an image, tables of stars and objects, and the cache of the cutouts."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(EDGE, SIDE - EDGE, (2, STARS))
    flux = np.exp(rng.uniform(np.log(3e3), np.log(1e5), STARS))
    image = rng.normal(10, 1, (SIDE, SIDE))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for x0, y0, total in zip(x, y, flux, strict=True):
        part = np.s_[max(0, int(y0) - 45) : int(y0) + 45, max(0, int(x0) - 45) : int(x0) + 45]
        image[part] += total * star(columns[part] - x0, rows[part] - y0, fwhm)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150, 2]
    wcs.wcs.crpix, wcs.wcs.cdelt = [SIDE / 2] * 2, [-0.2 / 3600, 0.2 / 3600]
    fits.PrimaryHDU(np.float32(image), wcs.to_header()).writeto(folder / "sky.fits")
    for name, places in (("stars", (x, y)), ("objects", rng.uniform(EDGE, SIDE - EDGE, (2, CUTOUTS)))):
        ra, dec = wcs.wcs_pix2world(*places, 0)
        table = Table({"id": [f"{name}-{number}" for number in range(len(ra))], "ra": ra, "dec": dec})
        table.write(folder / f"{name}.csv")
    ingest(
        "fits",
        [folder / "sky.fits"],
        out=folder / "cache",
        catalog=folder / "objects.csv",
        size=64,
        bands={"r": "sky.fits"},
    )
    return Cache.open(folder / "cache")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fwhm", type=float, nargs="+", default=[1.2, 1.6, 2.0, 2.5, 3.5, 6.0], help="in pixels")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| FWHM | measured | stars | largest error | peak |\n|---|---|---|---|---|")
    for fwhm in arguments.fwhm:
        with tempfile.TemporaryDirectory() as name:
            cache = simulated(Path(name), fwhm, arguments.seed)
            measured = measure_psf(cache, Path(name) / "stars.csv")
        found = measured.psfs[0]
        axis = np.arange(-found.radius, found.radius + 1)
        true = star(axis[None], axis[:, None], fwhm)
        true /= true.sum()
        error = np.abs(found.image - true).max() / true.max()
        peak = found.image.max() / true.max()
        print(f"| {fwhm:g} | {found.fwhm:.3g} | {measured.stars[0]} | {error:.1%} | {peak:.3f} |", flush=True)


if __name__ == "__main__":
    main()
