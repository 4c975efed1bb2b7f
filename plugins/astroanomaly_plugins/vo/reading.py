"""Read what was planned: fetch the images of a task, cut its objects, turn to the next image where one has no data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from astroanomaly import CutoutBlock, Failure, FetchError, Task, fetch
from astroanomaly.cutting import pixel_scale_arcsec, sky_to_pixel
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.mosaics.objects import assign
from astroanomaly_plugins.mosaics.reading import read_tile
from astroanomaly_plugins.mosaics.tiles import Tile, make_tile
from astroanomaly_plugins.shared.columns import COLUMN
from astroanomaly_plugins.shared.web import Web
from astroanomaly_plugins.vo.images import ImageOptions, cutout_images, whole_images, zero_point
from astroanomaly_plugins.vo.links import Access, access_to
from astroanomaly_plugins.vo.products import Product

__all__ = ["CHOICE", "cutout_radius", "image_options_of", "read_objects"]

CHOICE = "products:"  # before the band in a table: the images of each object, best first, as numbers in the payload
_SCALE_TOLERANCE = 0.02
_NO_DATA_PREFIXES = ("no pixel with data", "covered to less than")  # of the reasons of read_tile for an empty image
Found = dict[tuple[int, int], "list[Image] | FetchError"]  # (row, number of the product) -> images


@dataclass(frozen=True, eq=False)
class _Work:
    """A task, unpacked."""

    task: Task
    products: Sequence[Product]
    image_options: ImageOptions
    size: tuple[int, int]
    choices: Mapping[str, list[list[int]]]  # band -> per row, the numbers of its products

    @property
    def bands(self) -> list[str]:
        return list(self.task.payload["bands"])

    def chosen(self, row: int, turn: int) -> dict[str, int]:
        """Products of one object at a turn: every band goes on to its next, or stays with its last."""
        found = {}
        for band, rows in self.choices.items():
            if rows[row]:
                found[band] = rows[row][min(turn, len(rows[row]) - 1)]
        return found

    def turns(self, row: int) -> int:
        return max((len(rows[row]) for rows in self.choices.values()), default=0)


def image_options_of(payload: Mapping[str, Any]) -> ImageOptions:
    """Rebuild what the user said of all images from a task's payload."""
    web = Web(tuple(payload["hosts"]), float(payload["most_mb"]), tuple(payload.get("login", ())))
    return ImageOptions(web, tuple(payload["ext"]), bool(payload["check_band"]))


def cutout_radius(size_hw: tuple[int, int], scale_arcsec: float) -> float:
    """Degrees around a position that a cutout needs: half of its diagonal and two pixels."""
    return float((np.hypot(*size_hw) / 2 + 2) * scale_arcsec / 3600)


def read_objects(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Cut the objects of a task; each ends as a cutout or a failure."""
    payload = task.payload
    work = _Work(
        task=task,
        products=[Product(**plain) for plain in payload["products"]],
        image_options=image_options_of(payload),
        size=(int(payload["size"][0]), int(payload["size"][1])),
        choices={
            band: [[int(word) for word in str(text).split()] for text in task.table[CHOICE + band]]
            for band in payload["bands"]
        },
    )
    rows, turn = list(range(len(task))), 0
    while rows:
        left = []
        for row, item in _turn(work, rows, turn):
            if isinstance(item, Failure) and item.kind == "no coverage" and turn + 1 < work.turns(row):
                left.append(row)
            else:
                yield item
        rows, turn = left, turn + 1


def _turn(work: _Work, rows: list[int], turn: int) -> Iterator[tuple[int, CutoutBlock | Failure]]:
    """Cut some objects from the images of one turn; a block comes with the first of its rows."""
    chosen = {row: work.chosen(row, turn) for row in rows}
    found, scale = _fetch(work, chosen), work.task.payload["scale"]
    groups: dict[tuple[tuple[str, str, int], ...], list[int]] = defaultdict(list)
    images: dict[tuple[str, str, int], tuple[Image, int]] = {}
    for row, picked in _pick(work, chosen, found):
        if isinstance(picked, FetchError):
            yield row, _failure(work.task, row, picked.reason)
        elif not picked:
            yield row, _failure(work.task, row, "the service has no pixels here", no_coverage=True)
        else:
            names = tuple((band, str(image.path), image.hdu) for band, (image, _) in picked.items())
            images |= dict(zip(names, picked.values(), strict=True))
            groups[names].append(row)
    for names, members in groups.items():
        bands = {name[0]: images[name] for name in names}
        tile = make_tile({band: image for band, (image, _) in bands.items()}, work.task.payload["pixel_scale"])
        if tile.grid is not None:
            own = pixel_scale_arcsec(tile.grid)
            if abs(own / scale - 1) > _SCALE_TOLERANCE:
                reason = "the pixels of its image are of another size than those of the first: say --pixel-scale"
                yield from ((row, _failure(work.task, row, reason)) for row in members)
                continue
        yield from _cut(work, tile, {band: number for band, (_, number) in bands.items()}, members)


def _fetch(work: _Work, chosen: Mapping[int, Mapping[str, int]]) -> Found:
    """Fetch the files of all objects: each whole file once, cutouts one by one, several at once."""
    numbers = sorted({number for products in chosen.values() for number in products.values()})
    access: dict[int, Access] = {}
    failed: dict[int, FetchError] = {}
    payload = work.task.payload
    via = payload["via"]
    for number, way in fetch.each(lambda n: access_to(work.products[n], work.image_options.web, via), numbers):
        if isinstance(way, FetchError):
            failed[number] = way
        else:
            access[number] = way
    whole = [number for number in numbers if number in access and not access[number].soda]
    files = dict(fetch.each(lambda n: whole_images(work.products[n], access[n], work.image_options), whole))
    ra, dec = np.asarray(work.task.table["ra"], float), np.asarray(work.task.table["dec"], float)

    def cutout(item: tuple[int, int]) -> list[Image]:
        row, number = item
        product = work.products[number]
        scale = max(payload["scale"], product.scale_arcsec or 0.0)
        radius = cutout_radius(work.size, scale)
        return cutout_images(product, access[number], float(ra[row]), float(dec[row]), radius, work.image_options)

    wanted = {(row, number) for row, products in chosen.items() for number in products.values()}
    small = sorted(item for item in wanted if item[1] in access and access[item[1]].soda)
    found: Found = dict(fetch.each(cutout, small))
    for row, number in wanted - found.keys():
        found[row, number] = failed[number] if number in failed else files[number]
    return found


def _pick(
    work: _Work, chosen: Mapping[int, Mapping[str, int]], found: Found
) -> Iterator[tuple[int, dict[str, tuple[Image, int]] | FetchError]]:
    """Choose the image of each object and band among those of its files: that which covers most of its cutout."""
    ra, dec = np.asarray(work.task.table["ra"], float), np.asarray(work.task.table["dec"], float)
    best: dict[tuple[int, int], Image | None] = {}
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = defaultdict(list)
    for key, images in found.items():
        if not isinstance(images, FetchError):
            groups[tuple(map(id, images))].append(key)
    for keys in groups.values():
        images = found[keys[0]]
        if isinstance(images, FetchError) or not images:
            continue
        if len(keys) == len(images) == 1:  # a cutout of this object
            best[keys[0]] = images[0]
            continue
        at = np.array([row for row, _ in keys])
        tiles = [Tile({"": image}, image.grid) for image in images]
        number = assign(tiles, ra[at], dec[at], work.size).tile
        best |= {key: images[k] if k >= 0 else None for key, k in zip(keys, number.tolist(), strict=True)}
    for row, products in chosen.items():
        errors = [item for n in products.values() if isinstance(item := found[row, n], FetchError)]
        if errors:
            yield row, errors[0]
            continue
        yield row, {band: (image, n) for band, n in products.items() if (image := best.get((row, n))) is not None}


def _cut(
    work: _Work, tile: Tile, numbers: Mapping[str, int], rows: Sequence[int]
) -> Iterator[tuple[int, CutoutBlock | Failure]]:
    """Let the source ``fits`` cut a tile; provenance is added to the columns."""
    table, payload = work.task.table, work.task.payload
    at = np.asarray(rows)
    ids, ra, dec = (np.asarray(table[name])[at] for name in ("id", "ra", "dec"))
    if tile.grid is None:
        return
    x, y = sky_to_pixel(tile.grid, ra, dec)
    own = {name: values[at] for name, values in table.items() if name.startswith(COLUMN)}
    own |= {COLUMN + name: np.full(len(at), value) for name, value in _provenance(work, tile, numbers).items()}
    cuts = {
        "bands": work.bands,
        "size": list(work.size),
        "nodata": payload["nodata"],
        "min_coverage": payload["min_coverage"],
        "tiles": [tile.plain],
    }
    row_of = {str(object_id): int(row) for object_id, row in zip(ids, at, strict=True)}
    for item in read_tile(Task("tile", cuts, {"id": ids, "ra": ra, "dec": dec, "x": x, "y": y, **own})):
        if isinstance(item, Failure):
            nothing = item.reason.startswith(_NO_DATA_PREFIXES)
            yield row_of[item.object_id], replace(item, kind="no coverage" if nothing else "failed")
        else:
            yield row_of[str(item.ids[0])], item


def _provenance(work: _Work, tile: Tile, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Say where every band is from; bands without an image say nothing."""
    origin: dict[str, Any] = {"archive": work.task.payload["service"]}
    for band in work.bands:
        product = work.products[numbers[band]] if band in numbers else None
        origin[f"product_{band}"] = product.did if product else ""
        origin[f"address_{band}"] = product.url if product else ""
        origin[f"instrument_{band}"] = product.instrument if product else ""
        image = tile.bands.get(band)
        origin[f"zero_point_{band}"] = zero_point(image.path, image.hdu) if image else np.nan
    return origin


def _failure(task: Task, row: int, reason: str, *, no_coverage: bool = False) -> Failure:
    table = task.table
    position = float(table["ra"][row]), float(table["dec"][row])
    return Failure(str(table["id"][row]), reason, *position, "no coverage" if no_coverage else "failed")
