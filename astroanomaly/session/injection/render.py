"""Render light as a camera sees it: convolved with the PSF, on the pixels of a cutout, with a given flux."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from astroanomaly.session.injection.kinds import Light

__all__ = ["Psf", "moffat", "render"]

_FINE = 3  # points a pixel along each axis; odd, so that one of them is its centre
_PSF_REACH = 4.0  # radius of the kernel in units of the full width at half maximum: 0.2 % of the light lie beyond
_MOFFAT_BETA = 3.2


def moffat(x: np.ndarray, y: np.ndarray, fwhm: float, beta: float = _MOFFAT_BETA) -> np.ndarray:
    """Moffat (1969) profile of peak 1 and a full width at half maximum in the unit of the coordinates."""
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return (1 + (x * x + y * y) / alpha**2) ** -beta


@dataclass(frozen=True, eq=False)
class Psf:
    """The point spread function of one band, that of the pixels included.

    Parameters
    ----------
    fwhm
        Full width at half maximum in pixels; 0: the light is not convolved.
    image
        ``(h, w)`` image of it on pixels of the cutouts, centred; None: a Moffat profile of this width.
    """

    fwhm: float
    image: np.ndarray | None = field(default=None)

    @property
    def radius(self) -> int:
        """How far it reaches, in pixels."""
        return math.ceil(_PSF_REACH * self.fwhm) if self.image is None else max(self.image.shape) // 2

    @cached_property
    def kernel(self) -> np.ndarray | None:
        """It on the fine grid, of unit sum and odd sides; None where there is nothing to convolve with."""
        if self.fwhm <= 0 and self.image is None:
            return None
        axis = np.arange(-self.radius * _FINE, self.radius * _FINE + 1) / _FINE
        if self.image is None:
            shape = moffat(axis[None, :], axis[:, None], self.fwhm)
            shape[np.hypot(axis[None, :], axis[:, None]) > self.radius] = 0
            return shape / shape.sum()
        from scipy.ndimage import map_coordinates

        middle = [(side - 1) / 2 for side in self.image.shape]
        places = np.meshgrid(axis + middle[0], axis + middle[1], indexing="ij")
        shape = map_coordinates(self.image, places, order=3, mode="constant")
        return shape / shape.sum()


def render(
    light: Light, *, size_px: float, reach: float, centre: tuple[float, float], shape: tuple[int, int], psf: Psf
) -> np.ndarray:
    """Render light of total flux 1.

    It is drawn on three points a pixel along each axis, convolved there, and taken at the centres of the pixels: a PSF
    as it is measured has that of the pixels in it. Without a PSF, each pixel gets the mean of its points.

    Parameters
    ----------
    light
        What is drawn.
    size_px
        Its size in pixels.
    reach
        How far it goes, in units of the size.
    centre
        x and y of its centre on the cutout; (0, 0) is the middle of the first pixel.
    shape
        Height and width of the cutout.
    psf
        The point spread function.

    Returns
    -------
    numpy.ndarray
        ``(height, width)`` float64. The sum is 1 unless some of the light lies outside.
    """
    from scipy.signal import fftconvolve

    left, bottom = round(centre[0]), round(centre[1])
    radius = math.ceil(reach * size_px) + psf.radius + 1
    axis = (np.arange((2 * radius + 1) * _FINE) - ((2 * radius + 1) * _FINE - 1) / 2) / _FINE  # pixels
    x, y = (axis - (centre[0] - left)) / size_px, (axis - (centre[1] - bottom)) / size_px
    fine = np.broadcast_to(light(x[None, :], y[:, None]), (len(axis), len(axis)))
    if psf.kernel is None:
        pixels = fine.reshape(2 * radius + 1, _FINE, 2 * radius + 1, _FINE).mean(axis=(1, 3))
    else:
        middle = _FINE // 2
        pixels = fftconvolve(fine, psf.kernel, mode="same")[middle::_FINE, middle::_FINE]
    pixels = pixels / pixels.sum()
    whole = np.zeros(shape)
    y0, x0 = max(0, bottom - radius), max(0, left - radius)
    y1, x1 = min(shape[0], bottom + radius + 1), min(shape[1], left + radius + 1)
    whole[y0:y1, x0:x1] = pixels[y0 - bottom + radius : y1 - bottom + radius, x0 - left + radius : x1 - left + radius]
    return whole
