"""Files of images and cutouts: fetched, looked at before they are kept, and described by their headers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import FetchError, fetch, wavelength_nm
from astroanomaly.cutting import open_fits, pixel_scale_arcsec, pixel_to_sky, quiet
from astroanomaly_plugins.mosaics import files
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.mosaics.planes import BROKEN
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.fetched import images_of, shows
from astroanomaly_plugins.shared.web import Web, error
from astroanomaly_plugins.vo.links import Access, area_parameter
from astroanomaly_plugins.vo.products import Product

__all__ = ["ImageOptions", "cutout_images", "head_images", "whole_images", "zero_point"]

_WAVELENGTH_TOLERANCE = 0.1  # wavelengths that differ by less, relatively, are one band
_HEAD_BYTES = 40 * 2880


@dataclass(frozen=True)
class ImageOptions:
    """The user's options for all images: hosts, extensions to take, and whether the band in a header has to agree."""

    web: Web
    ext: tuple[str, ...]
    check_band: bool

    def request(self, product: Product, **more: Any) -> dict[str, Any]:
        """Return the key of an image in the cache of files."""
        return {"product": product.did, **more, **({} if self.check_band else {"band": "not checked"})}


def whole_images(product: Product, access: Access, image_options: ImageOptions) -> list[Image]:
    """Fetch the whole file once; return its images.

    Raises
    ------
    FetchError
        If it cannot be fetched, or is not what the service says.
    """
    request = image_options.request(product, service=access.whole)
    check = functools.partial(_check_whole, product=product, image_options=image_options)
    path = image_options.web.file(access.whole, request, product.did, check=check)
    return images_of(path, product.did, image_options.ext)


def head_images(product: Product, access: Access, image_options: ImageOptions) -> list[Image]:
    """Look at the first headers of the whole file without fetching it; empty if they do not tell."""
    import tempfile

    content = image_options.web.head(access.whole, _HEAD_BYTES, product.did)
    with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
        path = Path(folder) / "head.fits"
        path.write_bytes(content)
        try:
            return images_of(path, product.did, image_options.ext)
        except FetchError:
            return []


def cutout_images(
    product: Product, access: Access, ra: float, dec: float, radius_deg: float, image_options: ImageOptions
) -> list[Image]:
    """Fetch a cutout by SODA; return its images, none where the service has no pixels there.

    Raises
    ------
    FetchError
        If it cannot be fetched, shows another place or another band.
    """
    soda: Mapping[str, Any] = access.soda
    params = {**soda["params"], **area_parameter(soda["area"], ra, dec, radius_deg)}
    request = image_options.request(product, service=soda["url"], position=[ra, dec], size=radius_deg)
    check = functools.partial(
        _check_cutout, product=product, ra=ra, dec=dec, radius_deg=radius_deg, image_options=image_options
    )
    what = f"a cutout of {product.did}"
    try:
        path = image_options.web.file(soda["url"], request, what, params=params, check=check)
    except FetchError as problem:
        if problem.reason.startswith("HTTP 204"):  # how SODA says that it has no pixel there
            return []
        raise
    return images_of(path, what, image_options.ext)


def _alone(check: Callable[..., None]) -> Callable[..., None]:
    """Let one thread at a time check."""

    @functools.wraps(check)
    def checked(*asked: Any, **named: Any) -> None:
        with ASTROPY:
            check(*asked, **named)

    return checked


@_alone
def _check_whole(path: Path, *, product: Product, image_options: ImageOptions) -> None:
    fetch.is_fits(path, product.did)
    images = images_of(path, product.did, image_options.ext)
    _check_band(images, product, image_options)
    if product.ra is None or product.dec is None:
        return
    reach = max(product.fov_deg or 0.0, *(_diagonal_deg(image) for image in images))
    apart = min(_apart_deg(image, product.ra, product.dec) for image in images)
    if apart > reach:
        raise error(product.did, "the WCS of the file is not of the area that the service states")


@_alone
def _check_cutout(
    path: Path, *, product: Product, ra: float, dec: float, radius_deg: float, image_options: ImageOptions
) -> None:
    what = f"a cutout of {product.did}"
    fetch.is_fits(path, what)
    images = images_of(path, what, image_options.ext)
    _check_band(images, product, image_options)
    if not any(shows(image, ra, dec, radius_deg) for image in images):
        raise error(what, "the WCS of the cutout is not at the position that was asked for")


def _check_band(images: Sequence[Image], product: Product, image_options: ImageOptions) -> None:
    if not image_options.check_band:
        return
    for image in images:
        header_nm = wavelength_nm(image.header_band) if image.header_band else None
        if header_nm is None:
            continue
        if product.low_nm is not None and product.high_nm is not None:
            wrong = (
                not product.low_nm * (1 - _WAVELENGTH_TOLERANCE)
                <= header_nm
                <= product.high_nm * (1 + _WAVELENGTH_TOLERANCE)
            )
        else:
            wave = wavelength_nm(product.band)
            wrong = wave is not None and abs(wave - header_nm) > _WAVELENGTH_TOLERANCE * wave
        if wrong:
            raise error(
                product.did,
                f"the file says that it is band {image.header_band}, the service that it is {product.band}: where the "
                "service is right, say --no-check-band",
            )


def _diagonal_deg(image: Image) -> float:
    return math.hypot(*image.shape) * pixel_scale_arcsec(image.grid) / 3600 if image.grid is not None else 0.0


def _apart_deg(image: Image, ra: float, dec: float) -> float:
    from astropy.coordinates import angular_separation

    if image.grid is None:
        return math.inf
    middle = pixel_to_sky(image.grid, [(image.shape[1] - 1) / 2], [(image.shape[0] - 1) / 2])
    values = np.radians([float(middle[0][0]), float(middle[1][0]), ra, dec])
    return float(np.degrees(angular_separation(*values)))


@functools.lru_cache(maxsize=256)
def zero_point(path: Path, number: int) -> float:
    """Magnitude of one unit of flux, from the header of an extension or of the file; NaN where neither says."""
    try:
        with quiet(), open_fits(path) as hdulist:
            headers = [hdulist[number].header, hdulist[0].header]
    except BROKEN:
        return math.nan
    return files.zero_point(*headers)
