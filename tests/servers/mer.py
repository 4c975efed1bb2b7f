"""A small Euclid survey for the tests: MER-like mosaics of two overlapping tiles, cut from the simulated sky."""

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly.demo.simulate import simulate

BANDS = {  # filter: instrument, word in the file name, band of the simulated sky, factor
    "VIS": ("VIS", "VIS", "r", 1.0),
    "NIR_Y": ("NISP", "NIR-Y", "i", 1.0),
    "NIR_J": ("NISP", "NIR-J", "i", 1.5),
    "NIR_H": ("NISP", "NIR-H", "i", 2.0),
    "DECAM_g": ("DECAM", "DES-G", "g", 1.0),
}
ZERO_POINTS = {"VIS": 24.6, "NIR_Y": 29.9, "NIR_J": 30.0, "NIR_H": 29.8, "DECAM_g": 30.0}
TILES = (102018211, 102018212)


@dataclass(frozen=True)
class Product:
    """One mosaic file and what archives say of it."""

    path: Path
    oid: int
    tile: int
    instrument: str
    filter: str
    ra: float
    dec: float
    corners: np.ndarray

    @property
    def polygon(self):
        return "POLYGON ICRS " + " ".join(f"{value:.9f}" for value in self.corners.ravel())


@dataclass(frozen=True)
class Survey:
    """Mosaics and catalogue."""

    folder: Path
    products: tuple[Product, ...]
    catalogue: Table

    def find(self, tile, band):
        return next(item for item in self.products if item.tile == tile and item.filter == band)

    def named(self, name):
        return next((item for item in self.products if item.path.name == name), None)


def make_survey(folder, *, n_objects=12, seed=11):
    """Write the mosaics of two tiles in five bands, and the catalogue of their objects."""
    made = simulate(folder / "sky", n_objects=n_objects, seed=seed, tiles=len(TILES))
    products = []
    for number, tile in enumerate(TILES, 1):
        for filter, (instrument, word, band, factor) in BANDS.items():
            with fits.open(folder / "sky" / f"sky_tile{number}_{band}.fits") as hdus:
                image = next(hdu for hdu in hdus if hdu.data is not None)
                pixels, wcs = np.array(image.data, np.float32) * np.float32(factor), WCS(image.header)
            path = (
                folder
                / "mer"
                / str(tile)
                / instrument
                / (f"EUC_MER_BGSUB-MOSAIC-{word}_TILE{tile}-ACBD03_20241018T142710.276838Z_00.00.fits")
            )
            products.append(write_product(path, pixels, wcs, tile, filter, len(products) + 1))
    table = Table.read(made.catalog)
    ids = np.array([int(name.rpartition("-")[2]) + 2_694_000_000_000_000_000 for name in table["object_id"]])
    flux = 10 ** ((23.9 - np.asarray(table["mag_r"])) / 2.5)
    catalogue = Table(
        {
            "object_id": ids,
            "right_ascension": np.asarray(table["ra"]),
            "declination": np.asarray(table["dec"]),
            "flux_vis_psf": flux * 0.9,
            "flux_detection_total": flux,
            "segmentation_area": np.round(np.asarray(table["r50"]) ** 2 * 20).astype(np.int32),
            "point_like_prob": np.linspace(0, 1, len(ids)),
        }
    )
    return Survey(folder, tuple(products), catalogue)


def write_product(path, pixels, wcs, tile, filter, oid):
    """Write one mosaic as the MER pipeline does: one image in the primary HDU."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.writeto(path, pixels, write_header(wcs, filter))
    return product_of(path, wcs, pixels.shape, tile, filter, oid)


def write_header(wcs, filter):
    """Make the header of a mosaic."""
    header = fits.Header()
    header["SIMPLE"], header["BITPIX"], header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = True, -32, 2, 0, 0
    header["EQUINOX"], header["RADESYS"] = 2000.0, "ICRS"
    for axis in (1, 2):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = wcs.wcs.ctype[axis - 1], "deg"
        header[f"CRVAL{axis}"], header[f"CRPIX{axis}"] = wcs.wcs.crval[axis - 1], wcs.wcs.crpix[axis - 1]
        header[f"CD{axis}_{axis}"] = wcs.pixel_scale_matrix[axis - 1, axis - 1]
    header["MAGZERO"] = (ZERO_POINTS[filter], "AB zeropoint")
    header["FILTER"] = (filter, "the filter name")
    header["BUNIT"] = "adu"
    header["DATASETR"] = "Q1_R1"
    return header


def product_of(path, wcs, shape, tile, filter, oid):
    """Say of a mosaic what archives say."""
    height, width = shape
    corners = wcs.wcs_pix2world(
        [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]], 0
    )
    middle = wcs.wcs_pix2world([[(width - 1) / 2, (height - 1) / 2]], 0)[0]
    return Product(path, oid, tile, BANDS[filter][0], filter, float(middle[0]), float(middle[1]), corners)


def separation(ra1, dec1, ra2, dec2):
    """Angle between two positions; all in degrees."""
    ra1, dec1, ra2, dec2 = np.radians([ra1, dec1, ra2, dec2])
    half = np.sin((dec2 - dec1) / 2) ** 2 + np.cos(dec1) * np.cos(dec2) * np.sin((ra2 - ra1) / 2) ** 2
    return float(np.degrees(2 * np.arcsin(np.sqrt(min(half, 1)))))


def touches(product, ra, dec, radius):
    """Whether a circle and the footprint of a mosaic have something in common; all in degrees."""
    shrink = np.cos(np.radians(product.dec))
    x, y = (product.corners[:, 0] - ra + 180) % 360 - 180, product.corners[:, 1] - dec
    x = x * shrink
    nearest = np.hypot(np.clip(0, x.min(), x.max()), np.clip(0, y.min(), y.max()))
    return bool(nearest <= radius)


def query(tables, adql):
    """Run ADQL on tables by SQLite, with the geometry that archives have; raises `sqlite3.Error`."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for schema in {name.partition(".")[0] for name in tables if "." in name}:
            connection.execute(f"ATTACH DATABASE ':memory:' AS {schema}")
        for name, table in tables.items():
            connection.execute(f"CREATE TABLE {name} ({', '.join(table.colnames)})")
            marks = ", ".join("?" * len(table.colnames))
            rows = [tuple(value.item() if hasattr(value, "item") else value for value in row) for row in table]
            connection.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
        connection.create_function("POINT", 3, lambda frame, ra, dec: f"{ra!r} {dec!r}")
        connection.create_function("CIRCLE", 4, lambda frame, ra, dec, radius: f"{ra!r} {dec!r} {radius!r}")
        connection.create_function("CONTAINS", 2, _contains)
        connection.create_function("INTERSECTS", 2, _intersects)
        connection.row_factory = sqlite3.Row
        cursor = connection.execute(adql)
        names = [item[0] for item in cursor.description]
        rows = cursor.fetchall()
    kinds = {}
    for table in tables.values():
        kinds.update({name: table[name].dtype for name in table.colnames})
    columns = {name: np.array([row[k] for row in rows], kinds.get(name, np.int64)) for k, name in enumerate(names)}
    return Table(columns)


def schema(name, table):
    """Make the table in which archives list the columns of another."""
    return Table({"table_name": [name] * len(table.colnames), "column_name": list(table.colnames)})


def listing(*names):
    """Make the table in which archives list their tables."""
    return Table({"schema_name": [name.partition(".")[0] for name in names], "table_name": list(names)})


def _contains(point, circle):
    ra, dec = map(float, point.split())
    center_ra, center_dec, radius = map(float, circle.split())
    return int(separation(ra, dec, center_ra, center_dec) <= radius)


def _intersects(circle, polygon):
    ra, dec, radius = map(float, circle.split())
    corners = np.array(polygon.split()[2:], float).reshape(-1, 2)
    center = corners.mean(axis=0)
    return int(touches(Product(Path(), 0, 0, "", "", center[0], center[1], corners), ra, dec, radius))
