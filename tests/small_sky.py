"""A small sky of stars in two bands on one grid, and the true positions of the stars."""

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

SHAPE = (120, 140)


def header(ra=150.0, dec=2.0, shape=SHAPE, scale=0.2, rotate=0.3, **more):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    c, s = np.cos(rotate), np.sin(rotate)
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale / 3600
    found = wcs.to_header()
    found.update(more)
    return found


def stars(n=20, shape=SHAPE, seed=0):
    """Pixel positions, zero-based, at least ten pixels from the edge."""
    rng = np.random.default_rng(seed)
    return rng.uniform(10, shape[1] - 10, n), rng.uniform(10, shape[0] - 10, n)


def image(x, y, shape=SHAPE):
    """Each star is one pixel of its own height on a flat sky."""
    pixels = np.zeros(shape, np.float32)
    for number, (a, b) in enumerate(zip(np.round(x).astype(int), np.round(y).astype(int), strict=True)):
        pixels[b, a] = 100 + number
    return pixels


def make_sky(folder, n=20, **more):
    """Write ``m_g.fits`` and ``m_r.fits``; return the files, the sky positions, and x and y of the stars."""
    x, y = stars(n)
    files = []
    for band in "gr":
        head = header(FILTER=band, BUNIT="nJy", **more)
        files.append(folder / f"m_{band}.fits")
        fits.PrimaryHDU(image(x, y), head).writeto(files[-1])
    return files, WCS(header(**more)).pixel_to_world(x, y), x, y
