"""Hubble products to serve: one sky of Gaussian sources, seen by several instruments, as drizzled files."""

import functools
import gzip
import io
from dataclasses import dataclass

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

CENTER = (150.4, 2.0)
SOURCES = [  # offsets east and north in arcsec, electrons per second, width in arcsec
    (dx, dy, flux, width)
    for (dx, dy), flux, width in zip(
        [(-9, -7), (-3, 6), (0, 0), (4, -5), (8, 7), (11, -2), (-12, 3), (2, 11)],
        [40.0, 25.0, 90.0, 30.0, 60.0, 20.0, 35.0, 50.0],
        [0.12, 0.16, 0.2, 0.12, 0.15, 0.1, 0.2, 0.14],
        strict=True,
    )
]


def place(dx, dy):
    """ICRS degrees of an offset in arcsec from the middle of the sky."""
    return CENTER[0] + dx / 3600 / np.cos(np.radians(CENTER[1])), CENTER[1] + dy / 3600


@dataclass
class Product:
    """One drizzled image and what the archives list of it."""

    name: str  # the file's name without its ending
    dataset: str  # the observation it belongs to
    filter: str
    project: str = "HAP"
    instrument: str = "ACS/WFC"
    proposal: str = "9822"
    date: str = "2003-12-22"
    start: float = 52995.86
    exptime: float = 2028.0
    scale: float = 0.04
    shape: tuple = (800, 800)
    turn: float = 0.0
    center: tuple = CENTER
    unit: str = "ELECTRONS/S"
    blind: tuple = ()  # (y0, y1, x0, x1): pixels without weight
    listed: bool = True

    def __post_init__(self):
        self.hdulist = self.make()
        self.wcs = WCS(self.hdulist["SCI"].header)

    @property
    def file(self):
        return f"{self.name}.fits"

    @functools.cached_property
    def content(self):
        buffer = io.BytesIO()
        self.hdulist.writeto(buffer)
        return buffer.getvalue()

    @functools.cached_property
    def packed(self):
        return gzip.compress(self.content, 1)

    @property
    def key(self):
        if self.project == "JWST":
            return f"jwst/public/{self.dataset[:7]}/L3/t/{self.file}"
        return f"hst/public/hap/{self.dataset}/{self.file}"

    @property
    def uri(self):
        return f"mast:{'JWST' if self.project == 'JWST' else 'HST'}/product/{self.file}"

    @property
    def region(self):
        corners = self.wcs.calc_footprint()
        return "POLYGON ICRS " + " ".join(f"{value:.8f}" for value in corners.ravel())

    def make(self):
        if self.project == "JWST":
            return self.of_jwst()
        header = _grid(self.scale, self.shape, self.turn, self.center)
        header["BUNIT"] = self.unit
        header["PHOTFLAM"], header["PHOTPLAM"] = 7.0e-20, 8045.0
        pixels = _draw(self.filter, self.scale, self.shape, self.turn, self.center).copy()
        if self.unit == "ELECTRONS":
            pixels = pixels * self.exptime
        weights = np.full(self.shape, self.exptime, np.float32)
        if self.blind:
            y0, y1, x0, x1 = self.blind
            weights[y0:y1, x0:x1] = 0
            pixels[y0:y1, x0:x1] = 0
        primary = fits.Header()
        primary["TELESCOP"] = "HST"
        primary["INSTRUME"], _, primary["DETECTOR"] = self.instrument.partition("/")
        if self.instrument.startswith("ACS"):
            primary["FILTER1"], primary["FILTER2"] = "CLEAR1L", self.filter
        else:
            primary["FILTER"] = self.filter
        primary["PROPOSID"], primary["DATE-OBS"], primary["EXPTIME"] = int(self.proposal), self.date, self.exptime
        primary["FILENAME"] = self.file
        return fits.HDUList(
            [
                fits.PrimaryHDU(header=primary),
                fits.ImageHDU(pixels.astype(np.float32), header, name="SCI"),
                fits.ImageHDU(weights, header, name="WHT"),
            ]
        )

    def of_jwst(self):
        """An i2d image: surface brightness, its errors and weights; what it is in the primary header."""
        header = _grid(self.scale, self.shape, self.turn, self.center)
        header["BUNIT"], header["PIXAR_SR"] = "MJy/sr", (self.scale / 206264.8) ** 2
        pixels = (_draw(self.filter, self.scale, self.shape, self.turn, self.center) / self.scale**2).astype(np.float32)
        weights = np.full(self.shape, self.exptime, np.float32)
        if self.blind:
            y0, y1, x0, x1 = self.blind
            weights[y0:y1, x0:x1] = 0
            pixels[y0:y1, x0:x1] = np.nan
        primary = fits.Header()
        primary["TELESCOP"], primary["INSTRUME"], primary["DETECTOR"] = (
            "JWST",
            self.instrument.split("/")[0],
            "MULTIPLE",
        )
        primary["FILTER"], primary["PUPIL"] = self.filter.partition(";")[0], self.filter.partition(";")[2] or "CLEAR"
        primary["PROGRAM"], primary["DATE-OBS"], primary["EFFEXPTM"] = (
            f"{int(self.proposal):05d}",
            self.date,
            self.exptime,
        )
        primary["FILENAME"] = self.file
        return fits.HDUList(
            [
                fits.PrimaryHDU(header=primary),
                fits.ImageHDU(pixels, header, name="SCI"),
                fits.ImageHDU(np.ones(self.shape, np.float32), header, name="ERR"),
                fits.ImageHDU(weights, header, name="WHT"),
            ]
        )


@functools.cache
def _draw(filter, scale, shape, turn, center):
    """The sky in electrons per second and pixel; no noise, so that tests can tell every pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    ra, dec = WCS(_grid(scale, shape, turn, center)).all_pix2world(x, y, 0)
    east = (ra - CENTER[0]) * np.cos(np.radians(CENTER[1])) * 3600
    north = (dec - CENTER[1]) * 3600
    sky = np.full(shape, 0.01)
    for dx, dy, flux, width in SOURCES:
        form = np.exp(-((east - dx) ** 2 + (north - dy) ** 2) / (2 * width**2))
        sky += flux * form * scale**2 / (2 * np.pi * width**2)
    return sky * (1.5 if filter == "F606W" else 1.0)


def _grid(scale, shape, turn, center):
    """A TAN grid, north rotated by an angle in degrees."""
    angle = np.radians(turn)
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = center
    header["CRPIX1"], header["CRPIX2"] = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    step = scale / 3600
    header["CD1_1"], header["CD1_2"] = -step * np.cos(angle), step * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = step * np.sin(angle), step * np.cos(angle)
    header["RADESYS"] = "ICRS"
    return header


def visits():
    """Two visits in F814W, the later one deeper and rotated, the first in F606W too; and a product of the pipeline."""
    return [
        Product("hst_9822_25_acs_wfc_f814w_j8pu25_drc", "hst_9822_25_acs_wfc_f814w_j8pu25", "F814W"),
        Product("hst_9822_25_acs_wfc_f606w_j8pu25_drc", "hst_9822_25_acs_wfc_f606w_j8pu25", "F606W", exptime=1500.0),
        Product(
            "hst_13641_01_acs_wfc_f814w_jcoy01_drc",
            "hst_13641_01_acs_wfc_f814w_jcoy01",
            "F814W",
            proposal="13641",
            date="2014-11-03",
            start=56964.2,
            exptime=5200.0,
            turn=37.0,
            shape=(500, 500),
        ),
        Product("j8pu25010_drz", "j8pu25010", "F814W", project="HST", scale=0.05, shape=(640, 640)),
    ]


def mosaics():
    """What Hapcut cuts from: sky cells of all visits, the infrared one on a fine and a coarse grid."""
    cell = "hst_skycell-p1234x05y06"
    infrared = {"instrument": "WFC3/IR", "filter": "F160W", "exptime": 2400.0, "unit": "ELECTRONS/S"}
    return [
        Product(f"{cell}_acs_wfc_f814w_all_drc", f"{cell}_acs_wfc_f814w_all", "F814W", exptime=7228.0),
        Product(f"{cell}_acs_wfc_f606w_all_drc", f"{cell}_acs_wfc_f606w_all", "F606W", exptime=1500.0),
        Product(f"{cell}_wfc3_ir_f160w_all_drz", f"{cell}_wfc3_ir_f160w_all", **infrared),
        Product(
            f"{cell}_wfc3_ir_f160w_coarse-all_drz",
            f"{cell}_wfc3_ir_f160w_coarse-all",
            **infrared,
            scale=0.12,
            shape=(266, 266),
        ),
    ]
