"""Bands that lie on different grids, resampled onto a window of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.cutting.cut import Plane
from astroanomaly.cutting.grids import Grid, _border, crop_wcs, pixel_scale_arcsec, pixel_to_sky, sky_to_pixel
from astroanomaly.cutting.remarks import quiet

__all__ = ["align", "align_nearest", "aligned_padding"]


def align(
    planes: Sequence[Plane | np.ndarray],
    grids: Sequence[Grid],
    target: Grid,
    offset_xy: tuple[int, int] = (0, 0),
    shape_hw: tuple[int, int] | None = None,
    per_area: Sequence[bool] = (),
    nodata: float | None = None,
) -> np.ndarray:
    """Resample bands that lie on different grids onto a window of one grid (`reproject.reproject_interp`, bilinear).

    Only the part of each input that the window needs is read. Pixels without data (NaN, BLANK, ``nodata``) are NaN
    before they are interpolated; those of a `ConstantArea`, which is only inferred, are interpolated as they are, see
    `aligned_padding`. Where pixel sizes differ by more than
    1 %, flux per pixel is scaled by the ratio of the pixel areas, so that an object keeps its flux; a surface
    brightness is not.

    Parameters
    ----------
    planes, grids
        Pixels and grid of each band.
    target
        The distortion-free grid to resample to; see `tan_grid`.
    offset_xy
        ``(x, y)`` of the window's first pixel on the target.
    shape_hw
        ``(height, width)`` of the window; None means all of the target.
    per_area
        For each band whether its unit is per solid angle; left out, none is.
    nodata
        Flux value that stands for no data.

    Returns
    -------
    ndarray
        ``(B, height, width)`` float32, NaN outside the input.
    """
    from reproject import reproject_interp

    height, width = shape_hw or target.shape
    wcs_out = crop_wcs(target.wcs, offset_xy, (height, width))
    window = Grid(target.fits, (height, width))
    x, y = (part + start for part, start in zip(_border(window), offset_xy, strict=True))
    sky = pixel_to_sky(target, x, y)
    aligned = np.full((len(planes), height, width), np.nan, np.float32)
    for band, (item, grid) in enumerate(zip(planes, grids, strict=True)):
        plane = item if isinstance(item, Plane) else Plane(np.asarray(item))
        px, py = sky_to_pixel(grid, *sky)
        inside = np.isfinite(px) & np.isfinite(py)
        full_height, full_width = plane.stored.shape
        box = (0, full_width, 0, full_height)
        if inside.all():  # else the window reaches where the input's projection ends: take everything
            box = (
                max(0, int(px.min()) - 4),
                min(full_width, int(px.max()) + 6),
                max(0, int(py.min()) - 4),
                min(full_height, int(py.max()) + 6),
            )
        if box[0] >= box[1] or box[2] >= box[3]:
            continue
        stored = plane.stored[box[2] : box[3], box[0] : box[1]]
        part = np.array(plane.flux(stored), np.float64)
        if nodata is not None:
            part[part.astype(np.float32) == np.float32(nodata)] = np.nan
        wcs_in = crop_wcs(grid.wcs, (box[0], box[2]), part.shape)
        with quiet(), np.errstate(invalid="ignore"):
            result = reproject_interp(
                (part, wcs_in), wcs_out, shape_out=(height, width), order="bilinear", return_footprint=False
            )
        ratio = (pixel_scale_arcsec(target) / pixel_scale_arcsec(grid)) ** 2
        if abs(ratio - 1) > 0.02 and not (per_area and per_area[band]):
            result = result * ratio
        aligned[band] = result
    return aligned


def aligned_padding(
    planes: Sequence[Plane | np.ndarray],
    grids: Sequence[Grid],
    target: Grid,
    offset_xy: tuple[int, int] = (0, 0),
    shape_hw: tuple[int, int] | None = None,
) -> np.ndarray:
    """Mark the pixels of a window, as `align` makes it, whose nearest input pixel lies in a `ConstantArea`.

    They count as not covered, though they have a value. Parameters are those of `align`.

    Returns
    -------
    ndarray
        ``(B, height, width)`` bool.
    """
    marked = np.zeros((len(planes), *(shape_hw or target.shape)), bool)
    for band, (item, grid) in enumerate(zip(planes, grids, strict=True)):
        if not isinstance(item, Plane) or not item.constant:
            continue
        found = _nearest(item, grid, target, offset_xy, marked.shape[1:])
        if found is not None:
            padded = np.zeros(found.stored.shape, bool)
            for area in item.constant:
                padded |= area.mask(found.stored, found.bottom, found.left)
            marked[band].reshape(-1)[found.inside] = padded[found.v, found.u]
    return marked


def align_nearest(
    planes: Sequence[Plane | np.ndarray],
    grids: Sequence[Grid],
    target: Grid,
    offset_xy: tuple[int, int] = (0, 0),
    shape_hw: tuple[int, int] | None = None,
) -> np.ndarray:
    """Take for each pixel of a window the value of the nearest input pixel: for masks and weights.

    Parameters are those of `align`; no value is scaled or interpolated.

    Returns
    -------
    ndarray
        ``(B, height, width)`` float32, NaN outside the input.
    """
    taken = np.full((len(planes), *(shape_hw or target.shape)), np.nan, np.float32)
    for band, (item, grid) in enumerate(zip(planes, grids, strict=True)):
        plane = item if isinstance(item, Plane) else Plane(np.asarray(item))
        found = _nearest(plane, grid, target, offset_xy, taken.shape[1:])
        if found is not None:
            taken[band].reshape(-1)[found.inside] = plane.flux(found.stored)[found.v, found.u]
    return taken


@dataclass(frozen=True, eq=False)
class _Nearest:
    """The part of an input that a window needs, and which of its pixels is nearest to each pixel of the window."""

    inside: np.ndarray  # (height * width,) whether the window's pixel lies on the input
    u: np.ndarray  # column and row in the part, of those inside
    v: np.ndarray
    stored: np.ndarray
    left: int
    bottom: int


def _nearest(
    plane: Plane, grid: Grid, target: Grid, offset_xy: tuple[int, int], shape_hw: tuple[int, int]
) -> _Nearest | None:
    y, x = np.mgrid[0 : shape_hw[0], 0 : shape_hw[1]].reshape(2, -1)
    px, py = sky_to_pixel(grid, *pixel_to_sky(target, x + offset_xy[0], y + offset_xy[1]))
    rows, columns = plane.stored.shape
    with np.errstate(invalid="ignore"):
        inside = (px >= -0.5) & (px < columns - 0.5) & (py >= -0.5) & (py < rows - 0.5)
    if not inside.any():
        return None
    u, v = np.rint(px[inside]).astype(np.int64), np.rint(py[inside]).astype(np.int64)
    left, bottom = int(u.min()), int(v.min())
    stored = plane.stored[bottom : int(v.max()) + 1, left : int(u.max()) + 1]
    return _Nearest(inside, u - left, v - bottom, stored, left, bottom)
