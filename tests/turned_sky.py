"""One patch of sky, taken by telescopes that stood in different ways; a bright block lies in its north-west."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly import ingest

SIDE = 100
BLOCK = (slice(85, 95), slice(60, 70))  # rows and columns of a north-up image
UPPER_RIGHT = (0.65, 0.10)  # its middle, from the left and from the top
WAYS = {  # name -> degrees from up to north, counter-clockwise, and whether east is to the right of it
    "plain": (0, False),
    "quarter": (90, False),
    "half": (180, False),
    "slanting": (33, False),
    "mirrored": (0, True),
    "mirrored and slanting": (-70, True),
}


def header(angle, mirrored, ra):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, 40.0]
    wcs.wcs.crpix = [SIDE / 2 + 0.5] * 2
    wcs.wcs.cd = np.array([(c, s) if mirrored else (-c, -s), (-s, c)]) / 3600
    return wcs.to_header()


def sky_image(head):
    """One patch of sky, as an image with this WCS has it: a block to the north-west of the middle."""
    plain = WCS(header(0, False, head["CRVAL1"]))
    y, x = np.mgrid[:SIDE, :SIDE]
    px, py = plain.world_to_pixel(WCS(head).pixel_to_world(x, y))
    rows, columns = BLOCK
    inside = (px > columns.start - 0.5) & (px < columns.stop - 0.5) & (py > rows.start - 0.5) & (py < rows.stop - 0.5)
    return np.where(inside, 1000.0, 0.0).astype(np.float32)


def make_cache(folder):
    """Write FITS files of the patch, one for each way, and a cache of them."""
    (folder / "images").mkdir()
    rows = []
    for number, (name, (angle, mirrored)) in enumerate(WAYS.items()):
        head = header(angle, mirrored, 150.0 + number)
        image = sky_image(head)
        if name == "plain":
            assert (np.argwhere(image).min(0).tolist(), np.argwhere(image).max(0).tolist()) == ([85, 60], [94, 69])
        fits.PrimaryHDU(image, head).writeto(folder / "images" / f"{number}.fits")
        at = WCS(head).pixel_to_world(49.6, 49.6)
        rows.append((name, at.ra.deg, at.dec.deg))
    Table(rows=rows, names=["id", "ra", "dec"]).write(folder / "c.csv")
    ingest("fits", folder / "images", out=folder / "cache", catalog=folder / "c.csv", size=str(SIDE))
    return folder / "cache"


def where(picture):
    """Middle of what is bright, in shares of the picture from the left and from the top."""
    bright = np.argwhere(np.asarray(picture).reshape(*np.shape(picture)[:2], -1)[..., :3].min(-1) > 200)
    if not len(bright):
        return (np.nan, np.nan)
    return tuple(np.round((bright.mean(0)[::-1] + 0.5) / np.shape(picture)[1::-1], 3))


def upper_right(picture):
    return where(picture) == pytest.approx(UPPER_RIGHT, abs=0.011)
