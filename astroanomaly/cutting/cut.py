"""Cut many stamps around positions out of images that share one grid, vectorised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroanomaly.cutting.padding import ConstantArea
from astroanomaly.errors import CatalogError

__all__ = ["Plane", "cut", "first_pixels"]


# ------------------------------------------------------------------------------------------------------------ cutting


@dataclass(frozen=True, eq=False)
class Plane:
    """Stored pixels of one band and how they become flux: ``flux = stored * scale + zero``, NaN where blank.

    Parameters
    ----------
    stored
        ``(H, W)`` array of any numeric type and byte order, memory-mapped or not.
    scale, zero
        FITS ``BSCALE`` and ``BZERO``.
    blank
        FITS ``BLANK``: the stored whole number that stands for no data.
    constant
        Areas that count as uncovered, from `constant_areas`.
    asinh
        ``BOFFSET`` and ``BSOFTEN`` of Pan-STARRS, whose images hold asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ
        118, 1406): ``flux = BOFFSET + 2 BSOFTEN sinh(v ln 10 / 2.5)`` of the scaled value v. None: it is flux already.
    """

    stored: np.ndarray
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None
    constant: tuple[ConstantArea, ...] = ()
    asinh: tuple[float, float] | None = None

    @property
    def is_flux(self) -> bool:
        """Whether stored pixels are flux as they are."""
        return self.scale == 1 and self.zero == 0 and self.blank is None and self.asinh is None

    def flux(self, window: np.ndarray) -> np.ndarray:
        """Turn stored pixels into flux, with the arithmetic and rounding of `astropy.io.fits`."""
        if self.is_flux:
            return window
        values = self._scaled(window)
        if self.asinh is None:
            return values
        offset, softening = self.asinh
        with np.errstate(over="ignore", invalid="ignore"):
            return offset + 2 * softening * np.sinh(values.astype(np.float64) * (math.log(10) / 2.5))

    def _scaled(self, window: np.ndarray) -> np.ndarray:
        if self.scale == 1 and self.zero == 0 and self.blank is None:
            return window
        whole = window.dtype.kind in "iu"
        if whole and self.scale == 1 and self.zero == int(self.zero) and self.blank is None:
            return window.astype(np.int64) + int(self.zero)  # unsigned integers by the convention of FITS
        wide = window.dtype.itemsize > 2 if whole else window.dtype.itemsize > 4
        flux: Any = window.astype(np.float64 if wide else np.float32)
        if self.scale != 1:
            flux *= self.scale
        if self.zero != 0:
            flux += self.zero
        if whole and self.blank is not None:
            flux[window == self.blank] = np.nan
        return flux


def first_pixels(position: np.ndarray, size: int) -> np.ndarray:
    """Index of the first pixel of a cutout: ``ceil(position - size / 2)``, as `astropy.nddata.Cutout2D` has it."""
    return np.ceil(np.asarray(position, np.float64) - size / 2).astype(np.int64)


def cut(
    images: Sequence[np.ndarray | Plane] | np.ndarray,
    x: Any,
    y: Any,
    size_hw: tuple[int, int],
    *,
    nodata: float | None = None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut stamps around many positions out of images that share one pixel grid.

    Every stamp equals ``Cutout2D(image, (x, y), (h, w), mode='partial', fill_value=nan).data``; positions whose stamp
    misses the images altogether give NaN only. Windows are copied one by one in the order of the file, straight into
    the result: on a memory-mapped big-endian file this was faster than fancy indexing of a sliding-window view, which
    makes a second copy before it swaps the bytes.

    Parameters
    ----------
    images
        ``B`` images ``(H, W)``, or one array ``(B, H, W)``.
    x, y
        ``(n,)`` zero-based pixel positions.
    size_hw
        ``(height, width)`` of a stamp in pixels.
    nodata
        Flux value that stands for no data: pixels equal to it become NaN.
    out
        ``(n, B, height, width)`` float32 array to write to.

    Returns
    -------
    stamps : ndarray
        ``(n, B, height, width)`` float32, NaN where there is no data.
    offsets : ndarray
        ``(n, 2)`` int64 ``(x, y)`` of each first pixel.
    coverage : ndarray
        ``(n, B)`` float32 share of pixels that are finite and in no `ConstantArea`.

    Raises
    ------
    CatalogError
        If a position is not finite.
    """
    planes = [image if isinstance(image, Plane) else Plane(np.asarray(image)) for image in images]
    x, y = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise CatalogError("a position is not finite: leave objects without a position out before cutting")
    height, width = size_hw
    full_height, full_width = planes[0].stored.shape
    limit = 2**40  # far outside any image, and safe in 64-bit arithmetic
    x0 = first_pixels(np.clip(x, -limit, limit), width)
    y0 = first_pixels(np.clip(y, -limit, limit), height)
    shape = (len(x), len(planes), height, width)
    stamps = np.empty(shape, np.float32) if out is None else out
    low_x, high_x = np.clip(x0, 0, full_width), np.clip(x0 + width, 0, full_width)
    low_y, high_y = np.clip(y0, 0, full_height), np.clip(y0 + height, 0, full_height)
    whole = (high_x - low_x == width) & (high_y - low_y == height)
    stamps[~whole] = np.nan
    windows = np.stack([low_y, high_y, low_x, high_x, low_y - y0, high_y - y0, low_x - x0, high_x - x0], axis=1)
    order = np.lexsort((x0, y0))
    order = order[(high_x > low_x)[order] & (high_y > low_y)[order]]
    rows = list(zip(order.tolist(), windows[order].tolist(), strict=True))
    coverage = np.empty(shape[:2], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for band, plane in enumerate(planes):
            stored, target = plane.stored, stamps[:, band]
            plain = plane.is_flux
            for k, (ya, yb, xa, xb, ta, tb, sa, sb) in rows:
                window = stored[ya:yb, xa:xb]
                target[k, ta:tb, sa:sb] = window if plain else plane.flux(window)
            if nodata is not None:
                target[target == np.float32(nodata)] = np.nan
            coverage[:, band] = _share_finite(target)
            for area in plane.constant:
                for k, (ya, yb, xa, xb, ta, tb, sa, sb) in rows:
                    mask = area.mask(stored[ya:yb, xa:xb], ya, xa)
                    if mask.any():
                        lost = np.count_nonzero(mask & np.isfinite(target[k, ta:tb, sa:sb]))
                        coverage[k, band] -= np.float32(lost / (height * width))
    return stamps, np.stack([x0, y0], axis=1), np.clip(coverage, 0, 1)


def _share_finite(stamps: np.ndarray) -> np.ndarray:
    """Share of finite pixels per stamp; a finite sum proves a stamp clean without looking at each pixel again."""
    share = np.ones(len(stamps), np.float32)
    for start in range(0, len(stamps), 256):  # stay in the processor's cache
        part = stamps[start : start + 256]
        for k in np.flatnonzero(~np.isfinite(part.sum(axis=(1, 2)))):
            share[start + k] = np.isfinite(part[k]).mean()
    return share
