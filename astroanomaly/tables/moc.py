"""Multi-order coverage maps (MOC) of discs on the sky, as FITS files that Aladin, TOPCAT and mocpy open."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly._version import __version__
from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_path
from astroanomaly.sky import unit_vectors

__all__ = ["MAX_ORDER", "Moc", "disc_moc", "usual_order", "write_moc"]

MAX_ORDER = 29
_CELL_DEG = math.degrees(math.sqrt(4 * math.pi / 12))  # side of a cell of order 0
_CELLS_ACROSS = 4  # of a disc, at the usual order
_POINTS_PER_CELL = 2  # along each axis of a disc, whose cells are looked up
_MOST_POINTS = 10_000  # of a disc
_AT_A_TIME = 1_000_000  # points


@dataclass(frozen=True, eq=False)
class Moc:
    """A part of the sky as cells of HEALPix.

    Attributes
    ----------
    order
        The order of the smallest cells.
    cells
        ``(n,)`` int64, rising: numbers of the cells of this order, nested, each once.
    """

    order: int
    cells: np.ndarray

    @property
    def area_deg2(self) -> float:
        """Its area, in square degrees."""
        return len(self.cells) * 4 * math.pi * math.degrees(1) ** 2 / (12 * 4**self.order)

    @property
    def uniq(self) -> np.ndarray:
        """``(m,)`` int64, rising: cells of all orders, four of them joined where all are there, ``4 * 4**k + cell``."""
        found, cells = [], self.cells
        for order in range(self.order, 0, -1):
            parents, count = np.unique(cells >> 2, return_counts=True)
            whole = count == 4
            alone = np.repeat(~whole, count)
            found.append(cells[alone] + 4 * 4**order)
            cells = parents[whole]
        return np.sort(np.concatenate([*found, cells + 4]))


def usual_order(diameter_deg: float) -> int:
    """Return the order whose cells are about a quarter of a disc across."""
    return int(np.clip(math.ceil(math.log2(_CELL_DEG * _CELLS_ACROSS / diameter_deg)), 0, MAX_ORDER))


def disc_moc(ra: np.ndarray, dec: np.ndarray, diameter_deg: float, order: int | None = None) -> Moc:
    """Return the cells whose centres lie in discs on the sky, and those in which the centre of a disc lies.

    So the area of many discs is neither too large nor too small, as that of all cells that they touch would be.

    Parameters
    ----------
    ra, dec
        ``(n,)`` centres, ICRS degrees, finite.
    diameter_deg
        Of every disc, above 0 and at most 10 degrees.
    order
        Of the smallest cells, 0 to 29; None: about a quarter of a disc across.

    Raises
    ------
    ConfigError
        If the order or the diameter cannot be.
    """
    if not 0 < diameter_deg <= 10:
        raise ConfigError(f"a disc of {diameter_deg:g} degrees: expected above 0 and at most 10")
    order = usual_order(diameter_deg) if order is None else order
    if not 0 <= order <= MAX_ORDER:
        raise ConfigError(f"order={order}: expected 0 to {MAX_ORDER}")
    right, up = _grid(diameter_deg / 2, _CELL_DEG / 2**order / _POINTS_PER_CELL, order)
    parts = [np.zeros(0, np.int64)]
    step = max(1, _AT_A_TIME // len(right))
    for start in range(0, len(ra), step):
        here = slice(start, start + step)
        parts.append(_of_discs(ra[here], dec[here], diameter_deg / 2, right, up, order))
        if sum(map(len, parts)) > 4 * _AT_A_TIME:
            parts = [np.unique(np.concatenate(parts))]
    return Moc(order, np.unique(np.concatenate(parts)))


def _grid(radius_deg: float, spacing_deg: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of points within a disc and on its rim, in the tangent plane, in units of the radius of the sphere."""
    reach = math.ceil(radius_deg / spacing_deg)
    if (2 * reach + 1) ** 2 > _MOST_POINTS:
        finest = order - math.ceil(math.log2((2 * reach + 1) / math.sqrt(_MOST_POINTS)))
        raise ConfigError(f"order={order}: cells are too small for discs of this size; expected at most {finest}")
    steps = np.arange(-reach, reach + 1) * spacing_deg
    x, y = (one.ravel() for one in np.meshgrid(steps, steps))
    inside = np.hypot(x, y) <= radius_deg
    angle = np.linspace(0, 2 * np.pi, max(8, 8 * reach), endpoint=False)
    x = np.concatenate([x[inside], radius_deg * np.cos(angle)])
    y = np.concatenate([y[inside], radius_deg * np.sin(angle)])
    return np.tan(np.radians(x)), np.tan(np.radians(y))


def _around(ra: np.ndarray, dec: np.ndarray, right: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(n * points,)`` longitudes and latitudes in radians of offsets from centres."""
    a, d = np.radians(np.asarray(ra, float))[:, None], np.radians(np.asarray(dec, float))[:, None]
    radial = np.cos(d) - up * np.sin(d)  # along the equator, towards the centre
    x, y = radial * np.cos(a) - right * np.sin(a), radial * np.sin(a) + right * np.cos(a)
    z = np.sin(d) + up * np.cos(d)
    return (np.arctan2(y, x) % (2 * np.pi)).ravel(), np.arctan2(z, np.hypot(x, y)).ravel()


def _of_discs(
    ra: np.ndarray, dec: np.ndarray, radius_deg: float, right: np.ndarray, up: np.ndarray, order: int
) -> np.ndarray:
    """Return the cells of some discs, each once: of those that points in the discs lie in."""
    from astropy_healpix import healpix_to_lonlat

    cells = _cells(*_around(ra, dec, right, up), order)
    owners = np.repeat(np.arange(len(ra)), len(right))
    sequence = np.lexsort((cells, owners))
    cells, owners = cells[sequence], owners[sequence]
    new = np.ones(len(cells), bool)
    new[1:] = (cells[1:] != cells[:-1]) | (owners[1:] != owners[:-1])
    cells, owners = cells[new], owners[new]
    lon, lat = healpix_to_lonlat(cells, 2**order, order="nested")
    centres, discs = unit_vectors(lon.deg, lat.deg), unit_vectors(ra, dec)[owners]
    chord = 2 * math.sin(math.radians(radius_deg) / 2)
    inside = ((centres - discs) ** 2).sum(axis=1) <= chord**2
    own = _cells(np.radians(ra), np.radians(dec), order)
    return np.unique(np.concatenate([cells[inside], own]))


def _cells(lon: np.ndarray, lat: np.ndarray, order: int) -> np.ndarray:
    from astropy import units
    from astropy_healpix import lonlat_to_healpix

    return lonlat_to_healpix(lon * units.rad, lat * units.rad, 2**order, order="nested").astype(np.int64)


def write_moc(moc: Moc, path: Path, cards: Iterator[tuple[str, str]] | None = None) -> None:
    """Write a MOC as the IVOA standard (MOC 2.0) has it: a FITS table of NUNIQ numbers.

    Parameters
    ----------
    moc
        The map.
    path
        File to be written or replaced.
    cards
        Further lines of the history, as name and text in ASCII.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    from astropy.io import fits

    hdu = fits.BinTableHDU.from_columns([fits.Column("UNIQ", "1K", array=moc.uniq)])
    for key, value, comment in (
        ("PIXTYPE", "HEALPIX", "HEALPix magic code"),
        ("ORDERING", "NUNIQ", "NUNIQ coding method"),
        ("COORDSYS", "C", "reference frame: ICRS"),
        ("MOCVERS", "2.0", "version of the standard"),
        ("MOCDIM", "SPACE", "dimension of the map"),
        ("MOCORD_S", moc.order, "order of the smallest cells"),
        ("MOCORDER", moc.order, "the same, for version 1 of the standard"),
        ("MOCTOOL", f"astroanomaly {__version__}", "program that wrote this"),
        ("DATE", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"), "when, UTC"),
    ):
        hdu.header[key] = (value, comment)
    for name, text in cards or ():
        hdu.header.add_history(f"{name}: {text}")
    with atomic_path(path) as temporary:
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary, checksum=True)
