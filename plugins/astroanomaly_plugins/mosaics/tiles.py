"""Tiles: which images show one sky area, and on which grid they are cut."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from astroanomaly import Area, BandError, ConfigError, FootprintError, Grid, wavelength_nm
from astroanomaly.cutting import (
    covering_tan_grid,
    pixel_scale_arcsec,
    pixel_sides_arcsec,
    pixel_to_sky,
    same_grid,
    sky_to_pixel,
    tan_grid,
)
from astroanomaly.sky import unit_vectors
from astroanomaly_plugins.mosaics.files import Image, describe
from astroanomaly_plugins.mosaics.listing import words_of

__all__ = ["Tile", "areas_of", "check_scales", "group_images", "make_tile"]

_MIN_SAME_AREA_OVERLAP = 0.5  # share of the smaller footprint that two images of one area have in common
_MIN_SAME_STAMP_OVERLAP = 0.9  # the same for stamps: neighbours overlap, and are not one object
_MAX_DISJOINT_OVERLAP = 0.02
_SCALE_TOLERANCE = 0.02  # pixel scales that differ less count as one; within a distorted camera they differ by 1 %
_SAMPLES_PER_SIDE = 12


@dataclass(frozen=True, eq=False)
class Tile:
    """The bands of one area and the grid that cutouts are integer crops of.

    Attributes
    ----------
    bands
        Image of each band.
    grid
        The stored grid; None without a WCS.
    tan
        ``(ra, dec, pixel scale in arcsec, height, width)`` of the grid if pixels are resampled to it, else None.
    auxiliary
        Images about the bands that are carried beside them, by name as in ``g:weight``.
    """

    bands: dict[str, Image]
    grid: Grid | None
    tan: tuple[float, float, float, int, int] | None = None
    auxiliary: Mapping[str, Image] = field(default_factory=dict)

    @property
    def first(self) -> Image:
        """The image of the first band."""
        return next(iter(self.bands.values()))

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` of the grid."""
        return self.grid.shape if self.grid is not None else (self.first.shape[0], self.first.shape[1])

    @cached_property
    def plain(self) -> dict[str, Any]:
        """What reading it needs, as JSON values."""
        plain: dict[str, Any] = {
            "bands": _places(self.bands),
            "units": {name: image.unit for name, image in self.bands.items()},
            "tan": None if self.tan is None else list(self.tan),
        }
        return {**plain, "auxiliary": _places(self.auxiliary)} if self.auxiliary else plain

    @property
    def key(self) -> str:
        """Stable name."""
        digest = hashlib.sha256(json.dumps(self.plain, sort_keys=True).encode()).hexdigest()
        return f"{self.first.relative}{self.first.spot}-{digest[:12]}"

    @cached_property
    def cap(self) -> tuple[np.ndarray, float]:
        """Unit vector of the centre, and the chord that reaches every pixel from there."""
        if self.grid is None:
            return np.array([1.0, 0, 0]), 2.0
        height, width = self.grid.shape
        u, v = np.meshgrid(
            np.linspace(-0.5, width - 0.5, _SAMPLES_PER_SIDE), np.linspace(-0.5, height - 0.5, _SAMPLES_PER_SIDE)
        )
        vectors = unit_vectors(*pixel_to_sky(self.grid, u.ravel(), v.ravel()))
        if not np.isfinite(vectors).any():
            raise FootprintError(f"{self.first.place}: its WCS gives no sky position for any pixel")
        center = np.nanmean(vectors, axis=0)
        length = np.linalg.norm(center)
        if length < 0.1 or not np.isfinite(vectors).all():  # a map of much of the sky
            return center / max(length, 1e-9), 2.0
        center = center / length
        return center, float(np.sqrt(((vectors - center) ** 2).sum(axis=1)).max())


def _places(images: Mapping[str, Image]) -> dict[str, list[Any]]:
    """Return file, extension and plane of each image as JSON values."""
    return {
        name: [str(image.path), image.hdu] + ([] if image.plane is None else [image.plane])
        for name, image in images.items()
    }


# ----------------------------------------------------------------------------------------------------------- grouping


def group_images(images: Sequence[Image], *, stamps: bool, named: bool) -> list[list[Image]]:
    """Group images by the sky area they show.

    Within a file, images on one grid are bands and images on disjoint footprints are tiles. Files of stamps whose paths
    differ in the name of a known band only are one object, with or without a WCS. Other files belong to one area if
    they share half of the smaller footprint (stamps: nine tenths). Without a WCS, images of one file belong
    together; images of several files do if they are no stamps and have one shape.

    Parameters
    ----------
    stamps
        Whether whole files are cutouts.
    named
        Whether ``--bands`` named every image, which allows bands on different grids in one file.

    Raises
    ------
    BandError
        For any other mixture of extensions in a file.
    """
    alone = [[image] for image in images if image.alone]
    images = [image for image in images if not image.alone]
    sets: list[list[Image]] = []
    for _, items in itertools.groupby(sorted(images, key=lambda image: str(image.path)), key=lambda image: image.path):
        sets += _sets_of_file(list(items), named)
    without = [item for item in sets if item[0].grid is None]
    if without and not stamps:
        if len(without) < len(sets):
            raise BandError(
                "some images have a WCS and some have none, so they cannot be cut at the same positions:"
                f"{describe([item[0] for item in sets])}\nGive only images of one kind, or name them with --bands"
            )
        if len({item[0].shape for item in without}) > 1:
            raise BandError(
                f"images without WCS but of different sizes cannot be bands of one tile:{describe(images)}\n"
                "Ingest them one by one"
            )
        return [list(itertools.chain.from_iterable(without))]
    if not stamps:
        return _join_areas([item for item in sets if item[0].grid is not None], _MIN_SAME_AREA_OVERLAP)
    by_name, rest = _join_names(sets)
    with_grid = [item for item in rest if item[0].grid is not None]
    joined = [part for area in _join_areas(with_grid, _MIN_SAME_STAMP_OVERLAP) for part in _objects_of(area)]
    return [*by_name, *joined, *(item for item in rest if item[0].grid is None), *alone]


def _join_names(sets: list[list[Image]]) -> tuple[list[list[Image]], list[list[Image]]]:
    """Join single stamps whose paths differ in one known band only; return these, and what is left."""
    families: dict[tuple[Any, ...], dict[str, list[Image]]] = {}
    for item in sets:
        if len(item) == 1 and item[0].plane is None:
            words = words_of(item[0].relative)
            for place, word in enumerate(words):
                if wavelength_nm(word) is not None:
                    key = (item[0].root, place, *words[:place], None, *words[place + 1 :])
                    families.setdefault(key, {}).setdefault(word, []).append(item[0])
    joined: list[list[Image]] = []
    taken: set[Image] = set()
    for family in sorted(families.values(), key=len, reverse=True):
        members = [image for images in family.values() for image in images]
        if len(family) < 2 or len(members) > len(family) or taken.intersection(members) or not _one_object(members):
            continue
        joined.append(members)
        taken.update(members)
    return joined, [item for item in sets if item[0] not in taken]


def _one_object(images: Sequence[Image]) -> bool:
    """Whether neither headers nor the sky speak against images being bands of one object."""
    bands = [image.header_band for image in images if image.header_band]
    if len(set(bands)) < len(bands) and len(set(bands)) > 1:
        return False
    first = images[0]
    if first.grid is None:
        return all(image.grid is None and image.shape == first.shape for image in images)
    return all(
        image.grid is not None
        and (image.grid.key == first.grid.key or _overlap(first, image) >= _MIN_SAME_AREA_OVERLAP)
        for image in images[1:]
    )


def _objects_of(area: list[Image]) -> list[list[Image]]:
    """Part stamps that overlap, but are objects of their own: several grids, each with every band once."""
    bands = [image.header_band for image in area]
    if len(set(bands)) == len(bands):
        return [area]
    parts: list[list[Image]] = []
    for image in area:
        known = next((part for part in parts if _one_grid(part[0], image)), None)
        if known is None:
            parts.append([image])
        else:
            known.append(image)
    names = [sorted(image.header_band for image in part) for part in parts]
    clear = all(len(set(part)) == len(part) for part in names) and all(part == names[0] for part in names)
    return parts if clear and len(names[0]) > 1 else [area]


def _sets_of_file(images: list[Image], named: bool) -> list[list[Image]]:
    sets: list[list[Image]] = []
    for image in images:
        for known in sets:
            if _one_grid(image, known[0]):
                known.append(image)
                break
        else:
            sets.append([image])
    if len(sets) == 1:
        return sets
    apart = all(item[0].grid is not None for item in sets) and all(
        _overlap(a[0], b[0]) < _MAX_DISJOINT_OVERLAP for a, b in itertools.combinations(sets, 2)
    )
    if named and all(item[0].grid is not None for item in sets):
        return sets
    if not apart or any(len(item) > 1 for item in sets):
        raise BandError(
            f"the image extensions of {images[0].path} are neither on one grid (bands) nor on disjoint areas (tiles):"
            f"{describe(images)}\nChoose extensions with --ext, as in --ext {_ext_name(images[0])}, or name bands with "
            f"--bands, as in --bands NAME={images[0].place}"
        )
    return sets


def _ext_name(image: Image) -> str:
    return image.extension.partition(",")[0]


def _one_grid(first: Image, second: Image) -> bool:
    if first.grid is None or second.grid is None:
        return first.grid is second.grid and first.shape == second.shape
    return same_grid(first.grid, second.grid)


def _overlap(first: Image, second: Image) -> float:
    """Share of the smaller footprint that lies on the other image."""
    if first.grid is None or second.grid is None:
        return 0.0
    shares = []
    for one, other in ((first.grid, second.grid), (second.grid, first.grid)):
        height, width = one.shape
        u = (np.arange(_SAMPLES_PER_SIDE) + 0.5) / _SAMPLES_PER_SIDE
        px, py = np.meshgrid(u * width - 0.5, u * height - 0.5)
        x, y = sky_to_pixel(other, *pixel_to_sky(one, px.ravel(), py.ravel()))
        shares.append(_inside(x, y, other.shape).mean())
    return float(max(shares))


def _inside(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)


def _join_areas(sets: list[list[Image]], share: float) -> list[list[Image]]:
    """Join sets that show the same area; neighbours are found by a tree over their centres."""
    if len(sets) < 2:
        return sets
    from scipy.spatial import cKDTree

    caps = [Tile({"": item[0]}, item[0].grid).cap for item in sets]
    centers = np.array([center for center, _ in caps])
    radii = np.array([radius for _, radius in caps])
    parent = list(range(len(sets)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    near = cKDTree(centers).query_ball_point(centers, radii * 1.001)
    for k, found in enumerate(near):
        for other in found:
            if other != k and root(other) != root(k) and _overlap(sets[k][0], sets[other][0]) >= share:
                low, high = sorted((root(k), root(other)))
                parent[high] = low
    joined: dict[int, list[Image]] = {}
    for k, item in enumerate(sets):
        joined.setdefault(root(k), []).extend(item)
    return list(joined.values())


# -------------------------------------------------------------------------------------------------------------- grids


def make_tile(bands: dict[str, Image], pixel_scale: float | None) -> Tile:
    """Choose the grid of a tile.

    The images' own grid where they share one and no pixel scale is asked for; else an explicit TAN grid over all of
    them, with the pixel scale asked for or that of the first band, to which pixels are resampled.
    """
    images = list(bands.values())
    grids = [image.grid for image in images if image.grid is not None]
    if len(grids) < len(images):
        if pixel_scale is not None:
            raise BandError(f"--pixel-scale needs a WCS, which these images lack:{describe(images)}")
        return Tile(bands, None)
    if pixel_scale is None and all(same_grid(grids[0], grid) for grid in grids[1:]):
        return Tile(bands, grids[0])
    scale = pixel_scale if pixel_scale is not None else round(pixel_scale_arcsec(grids[0]), 9)
    covering = covering_tan_grid(grids, scale)
    center = covering.wcs.wcs.crval
    tan = (float(center[0]), float(center[1]), float(scale), *covering.shape)
    return Tile(bands, tan_grid((tan[0], tan[1]), tan[2], (tan[3], tan[4])), tan)


def areas_of(tiles: Sequence[Tile], size_hw: tuple[int, int]) -> list[Area]:
    """Return circles that hold every object a cutout of which touches a tile."""
    areas = []
    for tile in tiles:
        center, chord = tile.cap
        margin = float(np.hypot(*size_hw)) * np.radians(pixel_scale_arcsec(tile.grid) / 3600) if tile.grid else 2.0
        areas.append(Area(center, min(2.0, chord * 1.02 + margin)))
    return areas


def check_scales(tiles: Sequence[Tile]) -> float | tuple[float, float] | None:
    """Return the common pixel scale of the tiles in arcsec, along x and y if pixels are not square; None without a WCS.

    Raises
    ------
    ConfigError
        If pixel scales differ: cutouts of one cache show the same angle per pixel.
    """
    scales = [(pixel_scale_arcsec(tile.grid), tile) for tile in tiles if tile.grid is not None]
    if not scales:
        return None
    low, high = min(scales, key=lambda item: item[0]), max(scales, key=lambda item: item[0])
    if high[0] > low[0] * (1 + _SCALE_TOLERANCE):
        raise ConfigError(
            f"the pixel scales differ: {low[0]:.4g} arcsec in {low[1].first.place}, {high[0]:.4g} arcsec in "
            f"{high[1].first.place}. Resample all to one with --pixel-scale, as in --pixel-scale {low[0]:.3g}, "
            "or ingest them into caches of their own"
        )
    sides = np.array([pixel_sides_arcsec(tile.grid) for tile in tiles if tile.grid is not None])
    unequal = np.abs(np.log(sides[:, 0] / sides[:, 1])) > np.log1p(_SCALE_TOLERANCE)
    if unequal.any():
        if (np.ptp(sides, axis=0) > _SCALE_TOLERANCE * sides.min(axis=0)).any():
            raise ConfigError(
                "the pixels are not square, and not alike in all images: resample all to square ones with "
                f"--pixel-scale, as in --pixel-scale {low[0]:.3g}"
            )
        return float(np.median(sides[:, 0])), float(np.median(sides[:, 1]))
    return float(np.median([scale for scale, _ in scales]))
