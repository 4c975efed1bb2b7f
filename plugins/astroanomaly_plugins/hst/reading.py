"""Read what was planned: objects one by one from HAP cutouts, or product by product; make blocks of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from astroanomaly import CutoutBlock, Failure, FetchError, Task, UnreadableError, fetch
from astroanomaly.cutting import sky_to_pixel
from astroanomaly_plugins.hst import datalabs, ehst, hapcut, mast
from astroanomaly_plugins.hst.headers import JWST_UNIT, UNIT, HeaderInfo
from astroanomaly_plugins.hst.images import HstImage, cutout_images, open_file
from astroanomaly_plugins.hst.products import exposure_of, filter_in_name, instrument_matches, mosaic_of
from astroanomaly_plugins.hst.s3 import S3Product
from astroanomaly_plugins.hst.stamps import CutoutSpec, ObjectCutout, contains, cut_object
from astroanomaly_plugins.shared.columns import COLUMN

__all__ = ["own_columns", "read_cutouts", "read_products"]

Result = tuple[str, ObjectCutout]  # name of the exposure, empty where an object has one cutout only
_ZERO_POINTS = {
    UNIT: "AB magnitude of one electron per second",
    JWST_UNIT: "AB magnitude of one MJy/sr over one square arcsecond",
}
_ARCHIVES = {"s3": "MAST S3", "esa": "ESA Hubble", "datalabs": "ESA Datalabs", "mast": "MAST"}
_MARGIN_ARCSEC = 0.5  # around a cutout that is asked for: rounding, and pixels to interpolate between


def _spec(payload: Mapping[str, Any]) -> CutoutSpec:
    height, width = payload["size"]
    area = unit_of(payload) == JWST_UNIT
    return CutoutSpec(tuple(payload["bands"]), (height, width), payload["scale"], payload["min_coverage"], area)


def unit_of(payload: Mapping[str, Any]) -> str:
    """Return the unit of the pixels of a task; plans of earlier versions are of Hubble and do not say."""
    return str(payload.get("unit", UNIT))


# ------------------------------------------------------------------------------------------------------- HAP cutouts


def read_cutouts(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Ask for the cutouts of each position, some at once."""
    payload, table = task.payload, task.table
    spec = _spec(payload)
    height, width = (side * spec.scale + 2 * _MARGIN_ARCSEC for side in spec.size)

    def cut(row: int) -> list[Result]:
        ra, dec = float(table["ra"][row]), float(table["dec"][row])
        images = [
            image for image in cutout_images(hapcut.cutouts(ra, dec, (height, width))) if _is_wanted(image, payload)
        ]
        if images and not any(contains(image, ra, dec) for image in images):
            raise FetchError("the cutouts that came do not show the position that was asked for: their WCS is off")
        if payload["exposures"] == "deepest":
            return [("", cut_object(_by_band(images), ra, dec, spec))]
        return _exposures(images, ra, dec, spec)

    with mast.quiet_results():
        found = sorted(fetch.each(cut, range(len(table["id"]))), key=lambda item: item[0])
    yield from _results(task, found, "MAST HAP cutouts")


def _is_wanted(image: HstImage, payload: Mapping[str, Any]) -> bool:
    """Whether an image has one of the filters and instruments asked for.

    Raises
    ------
    FetchError
        If it has another filter than its name says.
    """
    about = image.about
    named = filter_in_name(about.product)
    if not {named, image.band} & set(payload["bands"]):
        return False
    if named and about.filter and named not in about.filter.split(";"):
        raise FetchError(f"a product named for {named} holds {about.filter}")
    return image.band in payload["bands"] and instrument_matches(about.instrument, payload["instruments"])


def _by_band(images: Iterable[HstImage]) -> dict[str, list[HstImage]]:
    found: dict[str, list[HstImage]] = {}
    for image in images:
        found.setdefault(image.band, []).append(image)
    return found


def _exposures(images: Iterable[HstImage], ra: float, dec: float, spec: CutoutSpec) -> list[Result]:
    """Cut an object out of each exposure by itself; mosaics of one exposure (tiles, pixel scales) count as one."""
    several = len(spec.bands) > 1
    groups: dict[tuple[str, bool], list[HstImage]] = {}
    images = list(images)
    for image in images:
        product = image.about.product
        across = len({one.about.instrument for one in images if one.band == image.band}) == 1
        exposure = mosaic_of(exposure_of(product, image.band, several=several, across=across))
        groups.setdefault((exposure, across), []).append(image)
    found = []
    for (_, across), group in sorted(groups.items(), key=lambda item: item[0]):
        made = cut_object(_by_band(group), ra, dec, spec)
        shown = next(((b, a) for b, a in zip(spec.bands, made.about, strict=True) if a is not None), None)
        name = "" if shown is None else exposure_of(shown[1].product, shown[0], several=several, across=across)
        found.append((name, made))
    return found


# ----------------------------------------------------------------------------------------------------------- products


def read_products(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Cut the objects of one product, and what other products show of them; every file is opened once."""
    payload, table = task.payload, task.table
    spec = _spec(payload)
    with ExitStack() as stack:

        @functools.cache
        def image(number: int) -> HstImage | FetchError:
            product = payload["products"][number]
            try:
                opened = _open(payload["via"], product, stack)
            except FetchError as error:
                return error
            about = opened.about
            if about.filter and about.filter != product["filter"]:
                return FetchError(f"a product listed as {product['filter']} holds {about.filter}")
            return replace(opened, band=product["filter"])

        def images(numbers: Iterable[int]) -> list[HstImage]:
            found = []
            for number in numbers:
                one = image(number)
                if isinstance(one, FetchError):
                    raise one
                found.append(one)
            return found

        found: list[tuple[int, list[Result] | FetchError]] = []
        for row in _in_order(table, image):
            ra, dec = float(table["ra"][row]), float(table["dec"][row])
            numbers = [int(word) for word in str(table["products"][row]).split()]
            try:
                if payload["exposures"] == "deepest":
                    found.append((row, [("", _deepest(numbers, payload, images, ra, dec, spec))]))
                else:
                    found.append((row, _exposures(images(numbers), ra, dec, spec)))
            except FetchError as error:
                found.append((row, error))
        yield from _results(task, found, _ARCHIVES[payload["via"]])


def _in_order(table: Mapping[str, np.ndarray], image: Callable[[int], HstImage | FetchError]) -> list[int]:
    """Sort the objects as they lie in the file of their first product, so that no part of it is read again."""
    first = image(int(str(table["products"][0]).split()[0]))
    if isinstance(first, FetchError):
        return list(range(len(table["id"])))
    _, y = sky_to_pixel(first.grid, np.asarray(table["ra"], np.float64), np.asarray(table["dec"], np.float64))
    order: list[int] = np.argsort(y, kind="stable").tolist()
    return order


def _deepest(
    numbers: list[int],
    payload: Mapping[str, Any],
    images: Callable[[Iterable[int]], list[HstImage]],
    ra: float,
    dec: float,
    spec: CutoutSpec,
) -> ObjectCutout:
    """Cut an object out of the deepest product of each filter; others are opened only where that does not show it."""
    waiting: dict[str, list[int]] = {}
    for number in numbers:  # the deepest first
        waiting.setdefault(payload["products"][number]["filter"], []).append(number)
    used = dict.fromkeys(waiting, 1)
    while True:
        made = cut_object({band: images(waiting[band][: used[band]]) for band in waiting}, ra, dec, spec)
        short = [band for band in waiting if used[band] < len(waiting[band]) and not made.seen[spec.bands.index(band)]]
        if not short:
            return made
        for band in short:
            used[band] += 1


def _open(via: str, product: Mapping[str, Any], stack: ExitStack) -> HstImage:
    try:
        if via == "mast":
            return open_file(mast.download(product["address"]), product["name"])
        if via == "esa":
            return open_file(ehst.download(product["address"]), product["name"])
        if via == "datalabs":
            return open_file(datalabs.opened(product["address"], product["name"]), product["name"])
        return stack.enter_context(S3Product(product["name"], product["address"])).image()
    except UnreadableError as error:
        raise FetchError(str(error), reason=str(error).partition(": ")[2] or str(error)) from error


# ------------------------------------------------------------------------------------------------------------ results


def _results(
    task: Task, found: Iterable[tuple[int, list[Result] | FetchError]], archive: str
) -> Iterator[CutoutBlock | Failure]:
    """Yield a failure for each object without any cutout, then the cutouts, one block for each grid.

    An exposure that misses an object is no failure where another shows it.
    """
    table = task.table
    blocks: dict[str, list[tuple[int, str, ObjectCutout]]] = {}
    for row, result in found:
        catalog_id, ra, dec = str(table["id"][row]), float(table["ra"][row]), float(table["dec"][row])
        if isinstance(result, FetchError):
            yield Failure(catalog_id, result.reason, ra, dec)
            continue
        good = [(exposure, made) for exposure, made in result if not made.reason]
        if not good:
            reason = result[0][1].reason if result else "no image of these filters at the position"
            yield Failure(catalog_id, reason, ra, dec, "no coverage")
        for exposure, made in good:
            object_id = f"{exposure}/{catalog_id}" if exposure else catalog_id
            blocks.setdefault(made.grid.key if made.grid else "", []).append((row, object_id, made))
    for items in blocks.values():
        yield _block(task, items, archive)


def _block(task: Task, items: list[tuple[int, str, ObjectCutout]], archive: str) -> CutoutBlock:
    table, bands = task.table, tuple(task.payload["bands"])
    rows = np.array([row for row, _, _ in items])
    columns = {name.removeprefix(COLUMN): values[rows] for name, values in table.items() if name.startswith(COLUMN)}
    for number, band in enumerate(bands):
        columns.update(_columns(band, [made.about[number] for _, _, made in items], unit_of(task.payload)))
    columns["archive"] = np.array([archive] * len(items))
    return CutoutBlock(
        ids=[object_id for _, object_id, _ in items],
        images=np.stack([made.data for _, _, made in items]),
        bands=bands,
        ra=np.asarray(table["ra"], np.float64)[rows],
        dec=np.asarray(table["dec"], np.float64)[rows],
        grid=items[0][2].grid,
        offsets=np.array([made.offset for _, _, made in items], np.int64),
        coverage=np.stack([made.coverage for _, _, made in items]),
        columns=columns,
        units=(unit_of(task.payload),) * len(bands),
    )


def _columns(band: str, about: list[HeaderInfo | None], unit: str = UNIT) -> dict[str, Any]:
    """Say of each cutout which image its band came from."""
    from astropy.table import Column

    def texts(name: str, description: str) -> Any:
        return Column([getattr(a, name) if a else "" for a in about], dtype=str, description=description)

    def numbers(name: str, unit: str, description: str) -> Any:
        values = [getattr(a, name) if a else np.nan for a in about]
        return Column(values, dtype=np.float64, unit=unit, description=description)

    return {
        f"product_{band}": texts("product", "product of the archive"),
        f"instrument_{band}": texts("instrument", "instrument and detector"),
        f"proposal_{band}": texts("proposal", "proposal"),
        f"date_{band}": texts("date", "day of the first exposure"),
        f"exptime_{band}": numbers("exptime", "s", "exposure time"),
        f"zeropoint_{band}": numbers("zeropoint", "mag", _ZERO_POINTS[unit]),
    }


def own_columns(bands: Iterable[str]) -> set[str]:
    """Name the columns that this source adds to those of the catalogue."""
    return {"archive", *(name for band in bands for name in _columns(band, []))}
