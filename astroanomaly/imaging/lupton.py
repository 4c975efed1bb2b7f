"""Lupton colours of many cutouts at once, by a table (Lupton et al. 2004, PASP 116, 133)."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["LuptonPixels", "softening", "white_level"]

_DROPPED_BITS = 13  # of the 23 of a float32's mantissa: steps of 0.1 %, a quarter of a level of 8 bits
_LOWEST, _HIGHEST = -44, 24  # powers of two of the intensity that the table covers, in units of the interval
_BASE = (127 + _LOWEST) << (23 - _DROPPED_BITS)
_LARGEST = np.nextafter(np.float32(2.0**_HIGHEST), np.float32(0))
_FULL = np.float32(255.002)  # cut off to 255 whatever the rounding
_PIXELS_PER_PART = 40_000
_STEPS = (_HIGHEST - _LOWEST) << (23 - _DROPPED_BITS)
_MOST_Q, _LEAST_Q = 20.0, 0.1


def white_level(q: float, stretch: float) -> float:
    """Intensity that becomes white, in the unit of ``stretch``."""
    return stretch / q * math.sinh(10 * math.asinh(0.1 * q))


def softening(stretch: float, white: float) -> float:
    """Return the Q whose curve of a linear part ``stretch`` is white at an intensity, within 0.1 and 20."""
    low, high = _LEAST_Q, _MOST_Q
    for _ in range(40):  # white_level rises with q
        middle = (low + high) / 2
        low, high = (middle, high) if white_level(middle, stretch) < white else (low, middle)
    return (low + high) / 2


class LuptonPixels:
    """Pixels of three channels, ready to be coloured again and again with other curves.

    Parameters
    ----------
    channels
        Red, green and blue, each ``(n, H, W)`` float32 above the black level, finite; they are kept, and changed.
    """

    def __init__(self, channels: list[np.ndarray]) -> None:
        self._planes = channels
        self._steps = np.empty(channels[0].shape, np.int32)  # rows of the table; 0: nothing above the black level
        self._most = np.empty(channels[0].shape, np.float32)  # the factor that takes the brightest channel to 255
        for part in _parts(channels[0].shape):
            red, green, blue = (channel[part] for channel in channels)
            with np.errstate(over="ignore"):
                intensity = (red + green + blue) / np.float32(3)
            np.clip(intensity, 2.0**_LOWEST, _LARGEST, out=intensity)
            np.subtract(intensity.view(np.int32) >> _DROPPED_BITS, _BASE, out=self._steps[part])
            for plane in (red, green, blue):
                np.maximum(plane, np.float32(0), out=plane)
            peak = np.maximum(np.maximum(red, green, out=intensity), blue, out=intensity)
            with np.errstate(divide="ignore", over="ignore"):
                np.divide(_FULL, peak, out=self._most[part])

    def paint(self, q: float, stretch: float, gain: float = 1.0, contrast: float = 1.0) -> np.ndarray:
        """Colour the pixels.

        The ratio of the channels of a pixel stays as it is: intensity is what the curve, the gain and the contrast
        change, and a pixel too bright is dimmed as a whole.

        Parameters
        ----------
        q, stretch
            Softening, and the linear part in the unit of the channels.
        gain
            Factor on the curve, 0 or more.
        contrast
            Power of the curve around mid-grey, more than 0.

        Returns
        -------
        numpy.ndarray
            ``(n, H, W)`` uint32, bytes red, green, blue, 0. Without gain and contrast as
            `astropy.visualization.make_lupton_rgb`, to one level of 255.
        """
        table = _factors(q, stretch, gain, contrast)
        painted = np.zeros(self._most.shape, np.uint32)
        colours = painted.view(np.uint8).reshape(*painted.shape, 4)
        for part in _parts(painted.shape):
            factors = table.take(self._steps[part])
            np.minimum(factors, self._most[part], out=factors)
            for channel, plane in enumerate(self._planes):
                colours[part, ..., channel] = plane[part] * factors  # cut off to whole levels
        return painted


def _parts(shape: tuple[int, ...]) -> list[slice]:
    """Cut images to parts whose pixels stay in the processor's cache from one step to the next."""
    number = max(1, _PIXELS_PER_PART // max(1, shape[1] * shape[2]))
    return [slice(start, start + number) for start in range(0, shape[0], number)]


def _factors(q: float, stretch: float, gain: float, contrast: float) -> np.ndarray:
    """Return what pixels of each step of intensity are multiplied by, ``(_STEPS,)`` float32; full colour is 255."""
    steps = (np.arange(_STEPS, dtype=np.int32) + _BASE << _DROPPED_BITS) + (1 << _DROPPED_BITS - 1)
    intensity = steps.view(np.float32).astype(np.float64)
    curve = np.arcsinh(intensity * (q / stretch)) * (0.1 / math.asinh(0.1 * q))
    if contrast != 1:
        curve = 0.5 * (2 * curve) ** contrast
    factors = curve * gain / intensity * 255
    factors[0] = 0
    return factors.astype(np.float32)
