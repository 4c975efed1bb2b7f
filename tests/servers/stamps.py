"""A service that gives a FITS image for a position: the one that the plugin guide writes a source for."""

import io

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from servers.base import NOT_FOUND, Answer, Server

__all__ = ["StampServer"]


class StampServer(Server):
    """``/stamp?ra=..&dec=..&pixels=..``; south of ``edge`` there is nothing (404)."""

    edge = -30.0

    def answer(self, asked):
        if asked.path != "/stamp" or float(asked.get("dec")) < self.edge:
            return NOT_FOUND
        ra, dec, pixels = float(asked.get("ra")), float(asked.get("dec")), int(asked.get("pixels"))
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.crval = ra, dec
        wcs.wcs.crpix = (pixels + 1) / 2, (pixels + 1) / 2
        wcs.wcs.cdelt = -1e-4, 1e-4
        seed = int(ra * 1e6) * 1000 + int((dec + 90) * 1e6)
        data = np.random.default_rng(seed).normal(size=(pixels, pixels)).astype(np.float32)
        made = io.BytesIO()
        fits.PrimaryHDU(data, wcs.to_header()).writeto(made)
        return Answer(made.getvalue(), "application/fits")
