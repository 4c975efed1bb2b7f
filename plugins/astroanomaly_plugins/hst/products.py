"""Which HST products show which objects: filters, footprints, exposures.

A product is one drizzled image of one filter (DRZ, or DRC with the charge transfer corrected). The archives say of each
where it lies, but not always exactly: what is placed here is tried when the product is read, by its own WCS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from astroanomaly.sky import cells, enclosing_circle, unit_vectors

__all__ = [
    "CELL_DEG",
    "Product",
    "collection_of",
    "covers",
    "exposure_of",
    "filter_in_name",
    "filter_name",
    "instrument_matches",
    "mosaic_of",
    "search_circles",
    "stem",
    "unique_products",
]

CELL_DEG = 0.2  # side of the cells of the sky that are asked for at once
REACH_DEG = 0.1  # from the middle of a product to its farthest pixel, for archives that know only the middle
_FOOTPRINT_TOLERANCE = np.radians(2 / 3600)  # of footprints, on the tangential plane
_DRIZZLED = re.compile(r"_(drc|drz)(_sci)?(\.fits)?(\.gz)?$", re.IGNORECASE)
_FILTER = re.compile(r"F\d{3,4}[A-Z]+\d?")
_TILE = re.compile(r"skycell-p\d+x\d+y\d+_|coarse-", re.IGNORECASE)
_MOSAIC = re.compile(r"(\w*skycell-p\d+x\d+y\d+)_.*[_-]all(_|$)", re.IGNORECASE)
_CLEAR = re.compile(r"CLEAR\d?[LS]?|CLEAR|N/A|NONE|OPEN|BLANK|")
_SHAPE = re.compile(r"(POLYGON|CIRCLE)\s*(?:ICRS|J2000|FK5|GSC1)?\s*((?:[-+0-9.eE]+[\s,]*)+)", re.IGNORECASE)


@dataclass(frozen=True)
class Product:
    """One drizzled image, as an archive lists it.

    Attributes
    ----------
    name
        File name without its ending: the product's identifier.
    address
        What the archive needs to find the file: a MAST address, or a file name at ESA.
    collection
        HAP, HAP-MVM, HST, HLA.
    filter, instrument, proposal
        As `filter_name` has it; ``ACS/WFC``; the number as text.
    exptime
        Exposure time in seconds, 0 where unknown.
    start
        Modified Julian date of the first exposure, NaN where unknown.
    region
        Footprint as STC-S text, or empty.
    ra, dec, reach
        ICRS degrees of the middle, and how far the image reaches from there at most.
    nbytes
        Size of the file, 0 where unknown.
    """

    name: str
    address: str
    collection: str
    filter: str
    instrument: str
    proposal: str
    exptime: float
    start: float
    region: str
    ra: float
    dec: float
    reach: float = REACH_DEG
    nbytes: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """What reading it needs, as JSON values."""
        values = asdict(self)
        return {name: values[name] for name in ("name", "address", "filter", "exptime")}


def filter_name(*words: Any) -> str:
    """Name what light passes: the parts of all filter wheels without the clear ones, ``F814W`` or ``F606W;POL0V``."""
    parts = {part.strip().upper() for word in words for part in re.split(r"[;,+]", str(word or ""))}
    return ";".join(sorted(part for part in parts if not _CLEAR.fullmatch(part)))


def filter_in_name(product: str) -> str:
    """Find the filter that a product is named for; empty where none is."""
    return next((word for word in product.upper().split("_") if _FILTER.fullmatch(word)), "")


def instrument_matches(instrument: str, wanted: Sequence[str]) -> bool:
    """Whether ``ACS/WFC`` is one of those wanted, which may leave out the detector (``ACS``)."""
    name = instrument.upper()
    return not wanted or any(name == text.upper() or name.startswith(text.upper() + "/") for text in wanted)


def collection_of(project: str, name: str) -> str:
    """Name the collection of a product: HAP has visits and, in sky cells, mosaics of many visits (HAP-MVM)."""
    project = project.upper()
    return "HAP-MVM" if project == "HAP" and "skycell" in name.lower() else project


def stem(file_name: str) -> str:
    """Cut the endings off a file name."""
    name = file_name.rsplit("/", 1)[-1]
    return re.sub(r"\.fits(\.gz|\.fz)?$", "", name, flags=re.IGNORECASE)


def exposure_of(product: str, band: str, *, several: bool, across: bool = False) -> str:
    """Name the exposure that a product belongs to.

    Parameters
    ----------
    product
        Name of the product.
    band
        Its filter.
    several
        Whether several filters were asked for: then products that differ only in the filter are one exposure.
    across
        Whether mosaics of all visits to a cell of the sky are one, whatever their instruments.
    """
    if not several:
        return product
    mosaic = _MOSAIC.match(product)
    if across and mosaic:
        return f"{mosaic.group(1)}_all"
    return "_".join(word for word in product.split("_") if not _says(word, band))


def _says(word: str, band: str) -> bool:
    """Whether a word of a product's name is its filter: ``f814w``, or ``clear-f444w`` of JWST."""
    parts = word.upper().split("-")
    return ";".join(sorted(part for part in parts if not _CLEAR.fullmatch(part))) == band.upper()


def mosaic_of(product: str) -> str:
    """Name what tiles of one mosaic, and its versions on coarse and fine pixels, have in common."""
    return _TILE.sub("", product)


def unique_products(products: Iterable[Product]) -> list[Product]:
    """Leave out products that are listed twice, and DRZ files of which there is a DRC; in the order of their names."""
    best: dict[str, Product] = {}
    for product in products:
        dataset = _DRIZZLED.sub("", product.name)
        known = best.get(dataset)
        if known is None or ("_drc" in product.name.lower()) > ("_drc" in known.name.lower()):
            best[dataset] = product
    return sorted(best.values(), key=lambda product: product.name)


# ---------------------------------------------------------------------------------------------------------- positions


def search_circles(ra: np.ndarray, dec: np.ndarray) -> list[tuple[np.ndarray, tuple[float, float], float]]:
    """Group positions into cells of the sky that one request can ask for.

    Returns
    -------
    list of tuple
        Rows of the positions, centre in ICRS degrees (rounded, so that a plan repeats its requests to the letter), and
        the radius in degrees that holds them all.
    """
    found = []
    for rows in cells(ra, dec, CELL_DEG):
        lon, lat, radius = enclosing_circle(ra[rows], dec[rows], decimals=5)
        found.append((rows, (lon, lat), float(np.ceil(radius * 1e4 + 1) / 1e4)))
    return found


def covers(product: Product, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Whether positions may lie on a product: in its footprint, else within its reach.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees.
    """
    vectors = unit_vectors(ra, dec)
    inside = np.zeros(len(vectors), bool)
    shapes = [
        (kind.upper(), np.array(re.split(r"[\s,]+", text.strip()), float)) for kind, text in _shapes(product.region)
    ]
    for kind, numbers in shapes:
        if kind == "CIRCLE" and len(numbers) == 3:
            inside |= _within(vectors, numbers[0], numbers[1], numbers[2])
        elif kind == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
            inside |= _in_polygon(vectors, numbers[0::2], numbers[1::2])
    return inside if shapes else _within(vectors, product.ra, product.dec, product.reach)


def _shapes(region: str) -> list[tuple[str, str]]:
    return [(match.group(1), match.group(2)) for match in _SHAPE.finditer(region)]


def _within(vectors: np.ndarray, ra: float, dec: float, radius: float) -> np.ndarray:
    center = unit_vectors(np.array([ra]), np.array([dec]))
    near: np.ndarray = ((vectors - center) ** 2).sum(axis=1) <= (2 * np.sin(np.radians(radius) / 2)) ** 2
    return near


def _in_polygon(vectors: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Whether directions lie in a polygon smaller than a hemisphere, seen on the plane that touches its middle."""
    corners = unit_vectors(ra, dec)
    middle = corners.mean(axis=0)
    middle /= np.linalg.norm(middle)
    east = np.cross([0.0, 0.0, 1.0], middle)
    east = east / np.linalg.norm(east) if np.linalg.norm(east) > 1e-9 else np.array([1.0, 0.0, 0.0])
    north = np.cross(middle, east)
    depth, corner_depth = vectors @ middle, corners @ middle
    front = depth > 0.1
    depth = np.where(front, depth, 1.0)
    x, y = vectors @ east / depth, vectors @ north / depth
    px, py = corners @ east / corner_depth, corners @ north / corner_depth
    odd, inside = np.zeros(len(vectors), bool), np.zeros(len(vectors), bool)
    for k in range(len(px)):
        ax, ay, bx, by = px[k - 1], py[k - 1], px[k], py[k]
        if ay != by:
            crosses = (ay > y) != (by > y)
            odd ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
        inside |= _near_side(x, y, (ax, ay), (bx, by))
    return (odd | inside) & front


def _near_side(x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Whether points lie so near a side of a polygon that its rounded corners do not tell on which side of it."""
    step = (end[0] - start[0], end[1] - start[1])
    length = step[0] ** 2 + step[1] ** 2
    along = np.clip(((x - start[0]) * step[0] + (y - start[1]) * step[1]) / length, 0, 1) if length else 0.0
    near: np.ndarray = np.hypot(x - start[0] - along * step[0], y - start[1] - along * step[1]) < _FOOTPRINT_TOLERANCE
    return near
