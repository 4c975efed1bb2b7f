"""Ask a service for the images around all positions, and choose those of each object."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astroanomaly import FetchError, fetch
from astroanomaly.sky import cells, enclosing_circle
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.positions import Positions
from astroanomaly_plugins.shared.web import Web
from astroanomaly_plugins.vo.areas import signed_distance
from astroanomaly_plugins.vo.bands import BandChoice
from astroanomaly_plugins.vo.products import Product, read_products
from astroanomaly_plugins.vo.service import Selection, Service

__all__ = ["Candidates", "find_candidates", "one_by_one"]

_log = logging.getLogger(__name__)
_CELL_DEG = 0.25  # positions in one cell of the sky are searched for at once
_IMAGES_PER_BAND = 3  # that are tried for an object
_MOST_IMAGES = 1000  # of an object, where each is a cutout of its own


@dataclass(frozen=True, eq=False)
class Candidates:
    """Products, and for every row and band the numbers of those that show it, best first."""

    products: list[Product]
    bands: tuple[str, ...]
    rows: dict[int, dict[str, list[int]]]
    queries: int


def find_candidates(
    service: Service,
    web: Web,
    positions: Positions,
    wanted: Selection,
    choice: BandChoice,
    half_size_deg: float,
    *,
    every: bool = False,
) -> Candidates:
    """Search cell by cell of the sky; a cell whose answer was too long is searched in halves.

    Parameters
    ----------
    half_size_deg
        Half of the diagonal of a cutout.
    every
        Whether all images of an object are wanted, and not only the best few.

    Raises
    ------
    FetchError
        If the service fails: what it has answered is kept, so that the same call goes on from there.
    """
    numbers: dict[str, int] = {}
    products: list[Product] = []
    rows: dict[int, dict[str, list[int]]] = {}
    waiting = cells(positions.ra, positions.dec, _CELL_DEG)
    queries = 0
    most = _MOST_IMAGES if every else _IMAGES_PER_BAND
    while waiting:
        searches = [_circle(positions, cell, half_size_deg) for cell in waiting]
        ask = functools.partial(_ask, service, web, wanted)
        answers = dict(fetch.each(ask, dict.fromkeys(searches)))
        queries += len(waiting)
        following = []
        for number, cell in enumerate(waiting):
            path = answers[searches[number]]
            if isinstance(path, FetchError):
                raise path
            listed, overflow = read_products(path, choice, _say(*searches[number]))
            if overflow and len(cell) > 1:
                following += [cell[: len(cell) // 2], cell[len(cell) // 2 :]]
                continue
            if overflow:
                _log.warning("%s: the service lists only a part of its images", _say(*searches[number]))
            for product in listed:
                if product.did not in numbers:
                    numbers[product.did] = len(products)
                    products.append(product)
            for row, found in _choose(listed, positions, cell, half_size_deg, most):
                rows[row] = {band: [numbers[product.did] for product in best] for band, best in found.items()}
        waiting = following
    bands = choice.names or tuple(dict.fromkeys(product.band for product in products))
    return Candidates(products, bands, rows, queries)


def _ask(service: Service, web: Web, wanted: Selection, circle: tuple[float, float, float]) -> Path:
    with ASTROPY:
        params = service.search(*circle, wanted)
    return web.table(service.url, params, _say(*circle))


def _circle(positions: Positions, cell: np.ndarray, margin: float) -> tuple[float, float, float]:
    """Return the circle, in degrees, that holds the cutouts of a cell."""
    ra, dec, radius = enclosing_circle(positions.ra[cell], positions.dec[cell])
    return round(ra, 9), round(dec, 9), round((radius + margin) * 1.001, 9)


def _say(ra: float, dec: float, radius: float) -> str:
    return f"the images around RA {ra:.5f}, Dec {dec:+.5f}"


def _choose(
    listed: list[Product], positions: Positions, cell: np.ndarray, half_size_deg: float, most: int
) -> Iterator[tuple[int, dict[str, list[Product]]]]:
    """For every row, the products of each band that may show it, best first.

    Those that hold the whole cutout come first, then the higher calibration level, the longer exposure, the greater
    distance to the edge. A product of which the service does not say where it is may be anywhere: it comes last.
    """
    ra, dec = positions.ra[cell], positions.dec[cell]
    distances = [signed_distance(product, ra, dec) for product in listed]
    for k, row in enumerate(cell.tolist()):
        ranked: dict[str, list[tuple[tuple[float, ...], str, Product]]] = {}
        for product, distance in zip(listed, distances, strict=True):
            inside = float(distance[k])
            if inside < -half_size_deg:
                continue
            known = not np.isnan(inside)
            order = (
                -float(known),
                -float(known and inside >= half_size_deg),
                -float(product.level or 0),
                -(product.exposure_s or 0.0),
                -round(inside, 6) if known else 0.0,
            )
            ranked.setdefault(product.band, []).append((order, product.did, product))
        yield (
            row,
            {
                band: [item[2] for item in sorted(items, key=lambda item: item[:2])[:most]]
                for band, items in ranked.items()
            },
        )


def one_by_one(found: Candidates, positions: Positions) -> tuple[Candidates, Positions]:
    """Make every image of an object an object of its own, ``<product>/<id>``, in the order of the catalogue.

    The product is the publisher's identifier without what the identifiers of a service have in common. Objects without
    an image stay as they are.
    """
    names = _short_names([product.did for product in found.products])
    origin: list[int] = []
    ids: list[str] = []
    rows: dict[int, dict[str, list[int]]] = {}
    for row in range(len(positions)):
        images = [(band, number) for band, numbers in found.rows.get(row, {}).items() for number in numbers]
        for band, number in images:
            rows[len(ids)] = {band: [number]}
            ids.append(f"{names[number]}/{positions.ids[row]}")
        if not images:
            ids.append(str(positions.ids[row]))
        origin += [row] * max(1, len(images))
    at = np.array(origin, np.int64)
    columns = {name: values[at] for name, values in positions.columns.items()}
    many = replace(positions, ids=np.array(ids), ra=positions.ra[at], dec=positions.dec[at], columns=columns)
    return replace(found, rows=rows), many


def _short_names(identifiers: list[str]) -> list[str]:
    """Return the last words of identifiers, as many as tell them apart, without blanks."""
    words = [[word for word in re.split(r"[/?#&=\s]+", text) if word] for text in identifiers]
    for count in range(1, max(map(len, words), default=0) + 1):
        names = ["_".join(parts[-count:]) for parts in words]
        if len(set(names)) == len(names):
            return names
    return [str(number) for number in range(len(identifiers))]
