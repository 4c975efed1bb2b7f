"""Make the cutout of one object out of the images that hold it: which images, on which grid.

An image whose pixels have the cache's scale is cropped on its own grid. Any other, and several filters that are not on
one grid, are resampled (bilinear) to a TAN grid around the object, which is stored with it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly import Grid
from astroanomaly.cutting import align, cut, pixel_scale_arcsec, same_grid, sky_to_pixel, tan_grid
from astroanomaly_plugins.hst.headers import HeaderInfo
from astroanomaly_plugins.hst.images import HstImage
from astroanomaly_plugins.hst.products import mosaic_of

__all__ = ["CutoutSpec", "ObjectCutout", "contains", "cut_object"]

_SCALE_TOLERANCE = 0.02


@dataclass(frozen=True)
class CutoutSpec:
    """What all cutouts of a run have in common.

    Attributes
    ----------
    bands
        Filters, in the order of the cache.
    size
        ``(height, width)`` in pixels.
    scale
        Arcseconds per pixel.
    min_coverage
        Smallest share of covered pixels in the best band.
    per_area
        Whether pixels are a surface brightness and no flux per pixel.
    """

    bands: tuple[str, ...]
    size: tuple[int, int]
    scale: float
    min_coverage: float
    per_area: bool = False


@dataclass(frozen=True, eq=False)
class ObjectCutout:
    """The cutout of one object, or why there is none.

    Attributes
    ----------
    data
        ``(bands, height, width)`` float32 electrons per second.
    coverage
        ``(bands,)``.
    grid, offset
        Of the cutout.
    about
        What is known of the image in each band; None where a band is missing.
    seen
        Whether there are data at the object itself, by band.
    reason
        Empty for a cutout.
    """

    data: np.ndarray
    coverage: np.ndarray
    grid: Grid | None
    offset: tuple[int, int]
    about: tuple[HeaderInfo | None, ...]
    seen: tuple[bool, ...]
    reason: str = ""


@dataclass(frozen=True, eq=False)
class _Stamp:
    image: HstImage
    data: np.ndarray
    grid: Grid
    offset: tuple[int, int]

    @property
    def coverage(self) -> float:
        return float(np.isfinite(self.data).mean())

    @property
    def seen(self) -> bool:
        height, width = self.data.shape
        middle = self.data[(height - 1) // 2 : height // 2 + 1, (width - 1) // 2 : width // 2 + 1]
        return bool(np.isfinite(middle).all())

    @property
    def rank(self) -> tuple[bool, float, float, str]:
        """Data at the object itself, then the exposure time, then the coverage: the best is the smallest."""
        return (
            not self.seen,
            -self.image.about.exptime,
            -round(self.coverage, 3),
            self.image.about.product,
        )


def contains(image: HstImage, ra: float, dec: float) -> bool:
    """Whether a position is on an image, by its WCS."""
    x, y = _place(image.grid, ra, dec)
    height, width = image.grid.shape
    return -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5


def cut_object(images: Mapping[str, Sequence[HstImage]], ra: float, dec: float, spec: CutoutSpec) -> ObjectCutout:
    """Cut an object out of the best image of each filter.

    Parameters
    ----------
    images
        Images of each filter that may hold the object.
    ra, dec
        ICRS degrees.

    Raises
    ------
    FetchError
        If pixels cannot be fetched.
    """
    near = {band: [image for image in given if contains(image, ra, dec)] for band, given in images.items()}
    near = {band: _nearest_scale(given, spec.scale) for band, given in near.items() if given}
    every = [image for given in near.values() for image in given]
    one_grid = len(near) < 2 or all(_same(every[0].grid, image.grid) for image in every[1:])
    best: dict[str, _Stamp] = {}
    for band, given in near.items():
        for image in sorted(given, key=lambda image: (-image.about.exptime, image.about.product)):
            stamp = _cut(image, ra, dec, spec, own_grid=one_grid)
            if band not in best or stamp.rank < best[band].rank:
                best[band] = stamp
            if best[band].coverage == 1 and best[band].image.about.exptime > 0:
                break  # none that follows is deeper
    return _stack(best, spec)


def _nearest_scale(images: Sequence[HstImage], scale: float) -> list[HstImage]:
    """Of mosaics of the same exposures on several scales, keep those on the scale nearest to the cache's."""
    groups: dict[str, list[HstImage]] = {}
    for image in images:
        groups.setdefault(mosaic_of(image.about.product), []).append(image)
    nearest = []
    for group in groups.values():
        distances = [round(abs(np.log(_scale(image.grid) / scale)), 2) for image in group]
        nearest += [image for image, distance in zip(group, distances, strict=True) if distance == min(distances)]
    return nearest


@functools.lru_cache(maxsize=64)  # of one object: it is asked for more than once
def _place(grid: Grid, ra: float, dec: float) -> tuple[float, float]:
    x, y = sky_to_pixel(grid, ra, dec)
    return float(x[0]), float(y[0])


@functools.lru_cache(maxsize=256)
def _scale(grid: Grid) -> float:
    return pixel_scale_arcsec(grid)


@functools.lru_cache(maxsize=256)
def _same(first: Grid, second: Grid) -> bool:
    return same_grid(first, second)


def _cut(image: HstImage, ra: float, dec: float, spec: CutoutSpec, *, own_grid: bool) -> _Stamp:
    if own_grid and abs(_scale(image.grid) / spec.scale - 1) < _SCALE_TOLERANCE:
        x, y = _place(image.grid, ra, dec)
        stamps, offsets, _ = cut([image.plane], x, y, spec.size)
        return _Stamp(image, stamps[0, 0], image.grid, (int(offsets[0, 0]), int(offsets[0, 1])))
    target = tan_grid((ra, dec), spec.scale, spec.size)
    return _Stamp(image, align([image.plane], [image.grid], target, per_area=[spec.per_area])[0], target, (0, 0))


def _stack(best: Mapping[str, _Stamp], spec: CutoutSpec) -> ObjectCutout:
    data = np.full((len(spec.bands), *spec.size), np.nan, np.float32)
    coverage = np.zeros(len(spec.bands), np.float32)
    about: list[HeaderInfo | None] = [None] * len(spec.bands)
    seen = [False] * len(spec.bands)
    for band, stamp in best.items():
        number = spec.bands.index(band)
        data[number], coverage[number] = stamp.data, stamp.coverage
        about[number], seen[number] = stamp.image.about, stamp.seen
    first = next(iter(best.values()), None)
    reason = ""
    if first is None:
        reason = "no image of these filters at the position"
    elif not coverage.any():
        reason = "no pixel with data"
    elif coverage.max() < spec.min_coverage:
        reason = f"covered to less than {spec.min_coverage:g} of its pixels"
    return ObjectCutout(
        data,
        coverage,
        None if first is None else first.grid,
        (0, 0) if first is None else first.offset,
        tuple(about),
        tuple(seen),
        reason,
    )
