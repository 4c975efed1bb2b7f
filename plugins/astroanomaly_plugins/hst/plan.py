"""Plan which objects are cut from which products: ask the archive once per cell of the sky, then go by footprints."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from astroanomaly import Download, FetchError, Task, fetch
from astroanomaly_plugins.hst import datalabs, ehst, mast
from astroanomaly_plugins.hst.products import (
    Product,
    covers,
    instrument_matches,
    search_circles,
    unique_products,
)
from astroanomaly_plugins.shared.blocks import Blocks
from astroanomaly_plugins.shared.failures import NO_POSITION, Kind
from astroanomaly_plugins.shared.gather import Gather, Group
from astroanomaly_plugins.shared.positions import Positions

__all__ = ["ProductPlanner", "Selection", "download_of_cutout"]

_log = logging.getLogger(__name__)
_SEARCH_DEG = 0.2  # around a cell of the sky: some archives search by the middle of products, and mosaics are large
_BYTES_PER_PIXEL = 8  # of a pixel and its weight
_LOCATED = {"s3": "in the public bucket", "datalabs": "mounted here"}  # files that are looked for when a plan is made
_HEADER_BYTES = 40_000  # of a product, about


@dataclass(frozen=True)
class Selection:
    """Which products are wanted.

    Attributes
    ----------
    filters
        As `filter_name` has them.
    instruments, proposals
        Empty: all.
    start, end
        Modified Julian dates between which a product begins; NaN: no limit.
    collections
        HAP, HAP-MVM, HST, HLA; JWST.
    """

    filters: tuple[str, ...]
    instruments: tuple[str, ...]
    proposals: tuple[str, ...]
    start: float
    end: float
    collections: tuple[str, ...]

    def takes(self, product: Product) -> bool:
        """Whether a product is wanted: what the archive's own selection may have let through is looked at again."""
        return (
            product.filter in self.filters
            and instrument_matches(product.instrument, self.instruments)
            and (not self.proposals or product.proposal.lstrip("0") in self.proposals)
            and product.collection in self.collections
            and not product.start < self.start
            and not product.start > self.end
        )

    @property
    def of_jwst(self) -> bool:
        """Whether products of JWST are wanted, and not of Hubble."""
        return self.collections == ("JWST",)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of files, as MAST calls them."""
        return ("I2D",) if self.of_jwst else mast.DRIZZLED

    @property
    def for_mast(self) -> dict[str, Any]:
        """Criteria of `Observations.query_criteria`."""
        projects = sorted({name.partition("-")[0] for name in self.collections})
        observatories = ("JWST",) if self.of_jwst else ("HST", "HLA")
        criteria: dict[str, Any] = {
            "obs_collection": [name for name in observatories if name != "HLA" or "HLA" in projects],
            "project": projects,
            "filters": sorted({part for name in self.filters for part in name.split(";")})
            if self.of_jwst
            else list(self.filters),
            "dataproduct_type": ["image"],
            "intentType": ["science"],
            "calib_level": ["3"],
        }
        if self.proposals:
            criteria["proposal_id"] = list(self.proposals)
        if np.isfinite(self.start) or np.isfinite(self.end):
            criteria["t_min"] = [float(np.nan_to_num(self.start, nan=0.0)), float(np.nan_to_num(self.end, nan=1e5))]
        return criteria

    @property
    def for_esa(self) -> dict[str, Any]:
        """Criteria of `ESAHubble.cone_search_criteria`."""
        criteria: dict[str, Any] = {
            "calibration_level": "PRODUCT",
            "data_product_type": "image",
            "intent": "SCIENCE",
            "obs_collection": sorted({name.partition("-")[0] for name in self.collections}),
            "filters": sorted({part for name in self.filters for part in name.split(";")}),
        }
        if self.instruments:
            criteria["instrument_name"] = list(self.instruments)
        if len(self.proposals) == 1:
            criteria["proposal"] = int(self.proposals[0])
        return criteria


def download_of_cutout(payload: Mapping[str, Any]) -> int:
    """Return the bytes of one object that the archive cuts."""
    return int(np.prod(payload["size"])) * _BYTES_PER_PIXEL * len(payload["bands"])


class ProductPlanner:
    """Plans cutouts from whole products: one task for the objects whose deepest product is the same.

    Parameters
    ----------
    blocks
        The objects.
    payload
        What all tasks have in common.

    Attributes
    ----------
    counts
        Objects of each product that a task is named for, by its name.
    without
        Objects with a position and without an image.
    downloads
        What the tasks that were made fetch.
    """

    def __init__(self, blocks: Blocks, selection: Selection, payload: Mapping[str, Any]) -> None:
        self._blocks, self._selection, self._payload = blocks, selection, payload
        self._fetched: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.without = 0
        self._any_placed = False  # whether a file was found where it is looked for
        self.downloads: list[Download] = []

    def tasks(self) -> Iterator[Task]:
        """Make the tasks.

        Raises
        ------
        FetchError
            If the archive cannot say what it has.
        """
        gather = Gather(self._blocks)
        for number, (part, positions) in enumerate(self._blocks):
            for group in gather.ready(part):
                yield self._task(group)
            failed = self._add(gather, positions)
            reasons, kinds = [reason for reason, _ in failed.values()], [kind for _, kind in failed.values()]
            key = f"not covered {number}" if number else "not covered"
            yield from positions.failures(key, np.array(list(failed), np.int64), reasons, kinds)
        for group in gather.rest():
            yield self._task(group)

    def _add(self, gather: Gather, positions: Positions) -> dict[int, tuple[str, Kind]]:
        """Give objects to the products that show them; return why the others fail, by their rows."""
        candidates, hidden = _candidates(positions, self._selection, self._payload, needed=not self._any_placed)
        self._any_placed |= bool(candidates or hidden)
        groups: dict[str, list[int]] = {}
        failed: dict[int, tuple[str, Kind]] = dict.fromkeys(positions.unplaced.tolist(), (NO_POSITION, "no position"))
        for row in positions.placed.tolist():
            found = candidates.get(row, [])
            if found:
                groups.setdefault(found[0].name, []).append(row)
            elif row in hidden:
                failed[row] = f"its products are not {_LOCATED[self._payload['via']]}", "failed"
            else:
                failed[row] = "no image of these filters at the position", "no coverage"
            self.without += not found
        for name, rows in sorted(groups.items()):
            products = {product.name: product for row in rows for product in candidates[row]}
            use = np.array([" ".join(product.name for product in candidates[row]) for row in rows])
            first = products[name]
            table = {**positions.table(np.array(rows)), "products": use}
            gather.add(name, products, table, first.ra, first.dec, first.reach)
        return failed

    def _task(self, group: Group) -> Task:
        via, table, products = self._payload["via"], group.table, group.image
        texts = [str(text).split(" ") for text in table["products"]]
        names = sorted({each for text in texts for each in text})
        unique = {each: str(number) for number, each in enumerate(names)}
        table["products"] = np.array([" ".join(unique[each] for each in text) for text in texts])
        self.counts[group.name] += group.rows
        for each in sorted(products) if self._payload["exposures"] == "all" else [group.name]:
            if via == "s3":
                self.downloads.append(_ranges(products[each], group.rows, self._payload["size"]))
            elif via != "datalabs" and each not in self._fetched:
                self.downloads.append(Download(each, 1, products[each].nbytes))
                self._fetched.add(each)
        plain = [products[each].plain for each in names]
        return Task(f"{via}-{group.key}", {**self._payload, "kind": "products", "products": plain}, table)


def _ranges(product: Product, count: int, size: Sequence[int]) -> Download:
    """Estimate reads of parts of a file: whole rows of pixels and weights, since that is how they lie in it."""
    row = 4 * np.sqrt(max(product.nbytes, 1) / 12)
    nbytes = _HEADER_BYTES + count * int(2 * row * size[0])
    return Download(product.name, 1 + count, min(nbytes, product.nbytes or nbytes))


def _candidates(
    positions: Positions, selection: Selection, payload: Mapping[str, Any], *, needed: bool
) -> tuple[dict[int, list[Product]], set[int]]:
    """Find the products that may show each object, the deepest first; and the objects whose products are not public.

    Where files in place are `needed`, none at all is an error.
    """
    via = payload["via"]
    margin = float(np.hypot(*payload["size"]) * payload["scale"] / 3600 / 2)
    circles = search_circles(positions.ra, positions.dec)

    def ask(number: int) -> list[Product]:
        _, center, radius = circles[number]
        reach = round(radius + _SEARCH_DEG + margin, 4)
        if via not in ("esa", "datalabs"):
            return mast.find_products(center, reach, selection.for_mast, selection.kinds)
        return ehst.find_products(center, reach, selection.for_esa)

    found: dict[int, list[Product]] = {}
    with mast.quiet_results():
        for number, products in fetch.each(ask, range(len(circles))):
            if isinstance(products, FetchError):
                raise products
            found[number] = unique_products(product for product in products if selection.takes(product))
    addresses = [product.address for products in found.values() for product in products]
    paths: dict[str, str] = {}
    if via in _LOCATED:
        paths = mast.locate(addresses) if via == "s3" else datalabs.find_mounted(addresses, needed=needed)
    held: dict[int, list[Product]] = {}
    hidden: set[int] = set()
    missing: set[str] = set()
    for number, products in sorted(found.items()):
        rows = circles[number][0]
        for product in products:
            near = rows[covers(product, positions.ra[rows], positions.dec[rows])].tolist()
            if via in _LOCATED and product.address not in paths:
                hidden.update(near)
                missing.add(product.name)
                continue
            placed = replace(product, address=paths[product.address]) if via in _LOCATED else product
            for row in near:
                held.setdefault(row, []).append(placed)
    for name in sorted(missing):
        _log.warning("%s is not %s and is left out", name, _LOCATED[via])
    for known in held.values():
        known.sort(key=lambda product: (-product.exptime, product.name))
    _log.info(
        "%d products show %d of %d objects",
        len({p.name for ps in held.values() for p in ps}),
        len(held),
        len(positions),
    )
    return held, hidden
