"""Services of single surveys over one known sky: the Legacy Surveys' viewer, Pan-STARRS at STScI, SkyMapper.

They speak the protocols as the services' sources or pages say, odd habits included: the viewer takes all bands where it
knows one of them not, and fills with zeros what it has not seen; Pan-STARRS stores asinh magnitudes.
"""

from __future__ import annotations

import functools
import io
import math

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D, NoOverlapError

from astroanomaly.cutting import quiet, tan_grid

from .base import NOT_FOUND, Answer, Asked, Server

__all__ = ["CENTRE", "LegacyServer", "PanstarrsServer", "SkyMapperServer", "SurveySky", "asinh"]

CENTRE = (150.1, 2.2)
BOFFSET, BSOFTEN, EXPTIME = 3.0, 2.0, 500.0


def asinh(flux):
    """Asinh magnitudes of Pan-STARRS (Lupton, Gunn & Szalay 1999)."""
    return (2.5 / math.log(10) * np.arcsinh((flux - BOFFSET) / (2 * BSOFTEN))).astype(np.float32)


class SurveySky:
    """Mosaics ``(H, W)`` of several bands on one grid."""

    def __init__(self, bands, scale, shape=(300, 400), turn=0.0):
        self.bands, self.scale, self.shape = tuple(bands), scale, shape
        self.wcs = tan_grid(CENTRE, scale, shape).wcs
        if turn:
            angle = np.radians(turn)
            self.wcs.wcs.pc = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            self.wcs.wcs.set()

    @functools.cached_property
    def pixels(self):
        y, x = np.mgrid[: self.shape[0], : self.shape[1]]
        waves = 50 * np.sin(x / 7) * np.cos(y / 5) + 60
        noise = np.random.default_rng(1)
        return {
            band: (waves * (k + 1) + noise.normal(0, 1, self.shape)).astype(np.float32)
            for k, band in enumerate(self.bands)
        }

    def places(self, x, y):
        """ICRS degrees of pixels."""
        return self.wcs.all_pix2world(x, y, 0)

    def cut(self, band, ra, dec, size):
        """Whole pixels around a position, NaN outside, as a `Cutout2D`; None where there are none."""
        x, y = self.wcs.all_world2pix(ra, dec, 0)
        if not np.isfinite(x + y):  # on the other side of the sky
            return None
        try:
            return Cutout2D(
                self.pixels[band], (float(x), float(y)), size, wcs=self.wcs, mode="partial", fill_value=np.nan
            )
        except NoOverlapError:
            return None

    def sample(self, band, wcs, size):
        """Nearest pixels on another grid, 0 outside."""
        y, x = np.mgrid[:size, :size]
        px, py = (
            np.nan_to_num(part, nan=-1.0).round() for part in self.wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
        )
        inside = (px >= 0) & (py >= 0) & (px < self.shape[1]) & (py < self.shape[0])
        found = np.zeros((size, size), np.float32)
        found[inside] = self.pixels[band][py[inside].astype(int), px[inside].astype(int)]
        return found


def _file(*hdus):
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return Answer(stream.getvalue(), "image/fits")


class LegacyServer(Server):
    """``/viewer/cutout.fits``, as in legacysurvey/imagine: ``write_cutout`` and ``get_cutout`` of ``map/views.py``."""

    has_invvar = True

    def __init__(self, sky):
        super().__init__()
        self.sky = sky

    @property
    def address(self):
        return f"{self.url}/viewer/cutout.fits"

    def answer(self, asked: Asked) -> Answer:
        if asked.path != "/viewer/cutout.fits":
            return NOT_FOUND
        if self.due("no overlap", asked):
            return Answer(b"<html><body>No overlap</body></html>", "text/html", 404)
        ra, dec, size = float(asked.get("ra")), float(asked.get("dec")), min(int(asked.get("size", "256")), 3000)
        bands = list(asked.get("bands"))
        if not bands or not set(bands) <= set(self.sky.bands) or self.due("other bands", asked):
            bands = list(self.sky.bands)
        if self.due("wcs off", asked):
            dec += 0.05
        wcs = tan_grid((ra, dec), float(asked.get("pixscale", "0.262")), (size, size)).wcs
        header = wcs.to_header()
        header["SURVEY"], header["VERSION"], header["BANDS"] = "DECaLS", "DR10", "".join(bands)
        for number, band in enumerate(bands):
            header[f"BAND{number}"] = band
        planes = [self.sky.sample(band, wcs, size) for band in bands]
        cube = np.stack(planes) if len(bands) > 1 else planes[0]
        header["IMAGETYP"] = "IMAGE"
        hdus = [fits.PrimaryHDU(cube, header)]
        if "invvar" in asked.query and self.has_invvar:
            header = header.copy()
            header["IMAGETYP"] = "INVVAR"
            hdus.append(fits.ImageHDU((cube != 0) * np.float32(4.0), header))
        return _file(*hdus)


class PanstarrsServer(Server):
    """``ps1filenames.py`` and ``fitscut.cgi``; all positions are in one sky cell."""

    def __init__(self, sky):
        super().__init__()
        self.sky = sky

    @property
    def address(self):
        return f"{self.url}/cgi-bin/"

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/cgi-bin/ps1filenames.py":
            return self.names(asked)
        if asked.path == "/cgi-bin/fitscut.cgi":
            return self.part(asked)
        return NOT_FOUND

    def names(self, asked):
        lines = ["projcell subcell ra dec filter mjd type filename shortname badflag"]
        ra, dec = float(asked.get("ra")), float(asked.get("dec"))
        if self.sky.cut(self.sky.bands[0], ra, dec, 1) is not None:
            for band in asked.get("filters"):
                for kind, end in (("stack", "unconv.fits"), ("stack.wt", "unconv.wt.fits")):
                    if band in self.sky.bands and (asked.get("type", "stack") == kind):
                        name = f"rings.v3.skycell.1236.050.stk.{band}.{end}"
                        lines.append(f"1236 50 {ra} {dec} {band} 0.0 {kind} /rings.v3.skycell/1236/050/{name} {name} 0")
        return Answer(("\n".join(lines) + "\n").encode(), "text/plain")

    def part(self, asked):
        band = asked.get("red").split(".stk.")[1][0]
        if self.due("wrong band", asked):
            band = next(other for other in self.sky.bands if other != band)
        cut = self.sky.cut(band, float(asked.get("ra")), float(asked.get("dec")), int(asked.get("size")))
        if cut is None:
            return NOT_FOUND
        header = cut.wcs.to_header()
        header["CRVAL2"] += 0.05 * self.due("wcs off", asked)
        header["BOFFSET"], header["BSOFTEN"], header["EXPTIME"] = BOFFSET, BSOFTEN, EXPTIME
        header["HIERARCH FPA.FILTER"] = f"{band}.00000"
        header["FILTER"] = f"{band}.00000"
        return _file(fits.PrimaryHDU(asinh(cut.data), header))


class SkyMapperServer(Server):
    """``/public/siap/dr4/query`` with its table as CSV, and ``get_image``; each exposure is a sky of its own."""

    def __init__(self, exposures):
        super().__init__()
        self.exposures = exposures  # id -> (sky, band, seconds, air mass)

    @property
    def address(self):
        return f"{self.url}/public/siap/dr4/query"

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/public/siap/dr4/query":
            return self.query(asked)
        if asked.path == "/public/siap/dr4/get_image":
            return self.image(asked)
        return NOT_FOUND

    def query(self, asked):
        ra, dec = (float(word) for word in asked.get("POS").split(","))
        lines = ["object,unique_image_id,ra_cntr,dec_cntr,band,exptime,airmass,image_type,get_fits,get_mask"]
        host = "http://data.example.org" if self.due("elsewhere", asked) else self.url
        for name, (sky, band, seconds, air) in self.exposures.items():
            if band in asked.get("BAND").split(",") and sky.cut(band, ra, dec, 1) is not None:
                where = f"IMAGE={name}&SIZE={asked.get('SIZE')}&POS={asked.get('POS')}"
                url = f'"{host}/public/siap/dr4/get_image?{where}&FORMAT=fits"'
                lines.append(f"SkyMapper_{name},{name},{ra},{dec},{band},{seconds},{air},main,{url},{url}")
        return Answer(("\n".join(lines) + "\n").encode(), "text/csv")

    def image(self, asked):
        sky, band, seconds, _ = self.exposures[asked.get("IMAGE")]
        ra, dec = (float(word) for word in asked.get("POS").split(","))
        cut = sky.cut(band, ra, dec, math.ceil(float(asked.get("SIZE")) * 3600 / sky.scale))
        if cut is None:
            return NOT_FOUND
        with quiet():
            header = cut.wcs.to_header()
        header["CRVAL2"] += 0.05 * self.due("wcs off", asked)
        header["FILTER"], header["EXPTIME"], header["ZPAPPROX"] = band, seconds, 27.5
        return _file(fits.PrimaryHDU(cut.data, header))
