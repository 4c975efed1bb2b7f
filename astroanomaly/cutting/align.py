"""Bands that lie on different grids, resampled onto a window of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astroanomaly.cutting.cut import Plane
from astroanomaly.cutting.grids import Grid, _border, crop_wcs, pixel_scale_arcsec, pixel_to_sky, sky_to_pixel
from astroanomaly.cutting.remarks import quiet

__all__ = ["align"]


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

    Only the part of each input that the window needs is read. Pixels without data and those of a `ConstantArea` are NaN
    before they are interpolated, so that no padding is mixed into its neighbours. Where pixel sizes differ by more than
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
        for area in plane.constant:
            part[area.mask(stored, box[2], box[0])] = np.nan
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
