"""Find out the size of a pixel and the units before anything is cut, from as little as possible."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from astroanomaly import FetchError
from astroanomaly.cutting import pixel_scale_arcsec
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.shared.positions import Positions
from astroanomaly_plugins.vo.images import ImageOptions, cutout_images, head_images, whole_images
from astroanomaly_plugins.vo.links import access_to
from astroanomaly_plugins.vo.plan import Candidates
from astroanomaly_plugins.vo.products import Product
from astroanomaly_plugins.vo.reading import cutout_radius, image_options_of

__all__ = ["PixelInfo", "probe"]

_log = logging.getLogger(__name__)
_MAX_PROBED = 3
_ASSUMED_PIXEL_ARCSEC = 1.0


@dataclass(frozen=True)
class PixelInfo:
    """Pixel scale in arcsec, and the unit of each band."""

    scale: float
    units: tuple[str, ...]


def probe(
    found: Candidates, positions: Positions, payload: Mapping[str, Any], size: tuple[int | None, float | None]
) -> PixelInfo:
    """Look at one image of each band: a SODA cutout, else the header of a file, else what the service lists.

    Raises
    ------
    FetchError
        If the size of a pixel cannot be found out.
    """
    image_options = image_options_of(payload)
    scales: list[float] = []
    units = []
    trouble: FetchError | None = None
    for band in payload["bands"]:
        image, problem = _first_image(found, positions, band, payload, image_options, size)
        trouble = trouble or problem
        listed = next((p.scale_arcsec for p in found.products if p.band == band and p.scale_arcsec), None)
        if image is not None and image.grid is not None:
            scales.append(pixel_scale_arcsec(image.grid))
            units.append(image.unit)
        else:
            scales += [listed] if listed else []
            units.append(next((p.unit for p in found.products if p.band == band), ""))
    scale = payload["pixel_scale"] or (scales[0] if scales else None)
    if scale is None:
        raise FetchError(
            f"the size of a pixel could not be found out: {trouble}. Try again later, or give --pixel-scale",
            retryable=trouble is not None and trouble.retryable,
        ) from trouble
    return PixelInfo(scale, tuple(units))


def _first_image(
    found: Candidates,
    positions: Positions,
    band: str,
    payload: Mapping[str, Any],
    image_options: ImageOptions,
    size: tuple[int | None, float | None],
) -> tuple[Image | None, FetchError | None]:
    """Return an image of a band, or None and why; a few objects with different images are tried."""
    trouble: FetchError | None = None
    for row, product in _some(found, band):
        try:
            access = access_to(product, image_options.web, payload["via"])
            if access.soda:
                scale = payload["pixel_scale"] or product.scale_arcsec or _ASSUMED_PIXEL_ARCSEC
                side = size[0] or max(1, round((size[1] or 0.0) / scale))
                ra, dec = float(positions.ra[row]), float(positions.dec[row])
                images = cutout_images(product, access, ra, dec, cutout_radius((side, side), scale), image_options)
            else:
                try:
                    images = head_images(product, access, image_options)
                except FetchError as problem:
                    _log.info("the header of %s alone cannot be fetched: %s", product.did, problem.reason)
                    images = []
                if not images and not product.scale_arcsec:
                    images = whole_images(product, access, image_options)
        except FetchError as problem:
            trouble = problem
            continue
        if images:
            return images[0], None
    return None, trouble


def _some(found: Candidates, band: str) -> Iterator[tuple[int, Product]]:
    seen: set[int] = set()
    for row, choices in sorted(found.rows.items()):
        number = choices.get(band, [-1])[0]
        if number >= 0 and number not in seen:
            seen.add(number)
            yield row, found.products[number]
        if len(seen) == _MAX_PROBED:
            return
