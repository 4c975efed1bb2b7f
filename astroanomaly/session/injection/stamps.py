"""Stamps and point spread functions from FITS images: read, checked, and matched to the bands of a cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cutting.fits_files import open_fits
from astroanomaly.cutting.grids import grid_from_hdu, pixel_scale_arcsec
from astroanomaly.cutting.remarks import quiet
from astroanomaly.errors import AstroAnomalyError, BandError, UnreadableError
from astroanomaly.session.injection.galaxies import turn
from astroanomaly.session.injection.kinds import Kind, Light

__all__ = ["Plane", "is_fits_name", "planes_of_bands", "read_planes", "stamp_kind"]

_SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz", ".fits.bz2")
_MOST_PIXELS = 2048  # of a side
_PLANES = 2  # axes of an image


@dataclass(frozen=True, eq=False)
class Plane:
    """One image of a FITS file.

    Parameters
    ----------
    name
        ``BAND`` or ``EXTNAME`` of its header, or empty.
    image
        ``(h, w)`` float64, finite, of a positive sum.
    scale_arcsec
        Side of a pixel, NaN without a WCS.
    """

    name: str
    image: np.ndarray
    scale_arcsec: float


def is_fits_name(text: str) -> bool:
    """Whether a text names a FITS file."""
    return text.lower().endswith(_SUFFIXES) or Path(text).is_file()


def read_planes(path: Path, what: str) -> list[Plane]:
    """Read the images of a FITS file.

    Parameters
    ----------
    what
        What they are, for messages.

    Raises
    ------
    UnreadableError
        If it cannot be read, holds no image, or one with pixels that are not finite, without light, or too large.
    """
    if not path.is_file():
        raise UnreadableError(f"{what} {path}: there is no such file")
    try:
        with quiet(), open_fits(path) as hdus:
            found = [_plane(hdu, hdus, path, what) for hdu in hdus if _is_image(hdu)]
    except AstroAnomalyError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        raise UnreadableError(f"{what} {path} cannot be read as FITS: {error}") from error
    if not found:
        raise UnreadableError(f"{what} {path} holds no image of two axes")
    return found


def _is_image(hdu: Any) -> bool:
    shape = getattr(hdu, "shape", None) if hdu.is_image else None
    return shape is not None and len([side for side in shape if side > 1]) == _PLANES


def _plane(hdu: Any, hdus: Any, path: Path, what: str) -> Plane:
    if max(hdu.shape) > _MOST_PIXELS:
        raise UnreadableError(
            f"{what} {path}: an image of {' x '.join(map(str, hdu.shape[::-1]))} pixels: expected at most "
            f"{_MOST_PIXELS} a side; cut it out"
        )
    image = np.squeeze(np.asarray(hdu.data, np.float64))
    if not np.isfinite(image).all():
        raise UnreadableError(
            f"{what} {path}: {np.sum(~np.isfinite(image))} pixels of {hdu.name or 'the image'} are not finite: "
            "fill them first"
        )
    if image.sum() <= 0:
        raise UnreadableError(
            f"{what} {path}: the pixels of {hdu.name or 'the image'} sum to {image.sum():g}: no light"
        )
    grid = grid_from_hdu(hdu, hdus)
    name = str(hdu.header.get("BAND", "")).strip() or str(hdu.name).strip()
    return Plane(name, image, math.nan if grid is None else pixel_scale_arcsec(grid))


def planes_of_bands(planes: Sequence[Plane], bands: Sequence[str], path: Path, what: str) -> list[Plane]:
    """Return one plane for each band, by their names whatever the case; or one for all, where the file has only one.

    Raises
    ------
    BandError
        If the file has several, and none of them for a band.
    """
    by_name = {plane.name.lower(): plane for plane in planes}
    if all(band.lower() in by_name for band in bands):
        return [by_name[band.lower()] for band in bands]
    if len(planes) == 1:
        return list(planes)
    named = ", ".join(plane.name or "without a name" for plane in planes)
    raise BandError(
        f"{what} {path} has the images {named}: expected one image, or one with the EXTNAME of each band "
        f"({', '.join(bands)})"
    )


def stamp_kind(path: Path, bands: Sequence[str], scale_arcsec: float) -> Kind:
    """Make a kind of the images of a FITS file: drawn at a random angle, and mirrored or not.

    Parameters
    ----------
    path
        The file; see `planes_of_bands`.
    bands
        Bands of the cache.
    scale_arcsec
        Side of a pixel of the cutouts, NaN where unknown: without it, or a WCS of the stamp, pixels are taken as they
        are.

    Raises
    ------
    UnreadableError, BandError
        As `read_planes` and `planes_of_bands`.
    """
    planes = planes_of_bands(read_planes(path, "the stamp"), bands, path, "the stamp")
    shapes = {plane.image.shape for plane in planes}
    if len(shapes) > 1:
        raise BandError(f"the stamp {path}: its images have the sizes {sorted(shapes)}: expected one size")
    r50 = _half_light_px(np.sum([plane.image for plane in planes], axis=0))
    ratio = planes[0].scale_arcsec / scale_arcsec
    height, width = planes[0].image.shape

    def draw(rng: np.random.Generator) -> tuple[Light, ...]:
        angle, hand = rng.uniform(0, 2 * np.pi), float(rng.choice([-1, 1]))
        return tuple(_light(plane.image, r50, angle, hand) for plane in planes)

    sums = np.array([plane.image.sum() for plane in planes])
    return Kind(
        path.name.split(".")[0] or "stamp", f"the stamp {path.name}", "half-light radius",
        (math.hypot(height, width) / 2 + 1) / r50, draw,
        tuple((sums / sums[0]).tolist()) if len(planes) > 1 else (),
        r50 * ratio if math.isfinite(ratio) else r50,
    )  # fmt: skip


def _light(image: np.ndarray, r50: float, angle: float, hand: float) -> Light:
    from scipy.ndimage import map_coordinates

    middle = [(side - 1) / 2 for side in image.shape]

    def light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = turn(x * r50, y * r50, angle)
        return map_coordinates(image, [hand * v + middle[0], u + middle[1]], order=1, mode="constant")

    return light


def _half_light_px(image: np.ndarray) -> float:
    """Radius around the middle of a stamp that holds half of its light, at least half a pixel."""
    y, x = (np.arange(side) - (side - 1) / 2 for side in image.shape)
    radius = np.hypot(y[:, None], x[None, :]).ravel()
    order = np.argsort(radius, kind="stable")
    growth = np.cumsum(image.ravel()[order])
    return max(0.5, float(radius[order][np.argmax(growth >= growth[-1] / 2)]))
