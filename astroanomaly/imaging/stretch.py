"""From linear flux to [0, 1]: intervals times curves, for NumPy and torch arrays alike.

The same code serves the eye (NumPy) and the model (torch, batched on its device); it follows the array type it is given
and agrees with `astropy.visualization`. NaN and infinite pixels are ignored when levels are measured and become 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroanomaly.config import StretchConfig
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.arrays import clip_unit, is_finite, is_torch, like, to_float32, where
from astroanomaly.imaging.intervals import measure_levels

__all__ = ["Stretch"]

Limits = tuple[tuple[float, float], ...]
_MEASURED_PIXELS = 4_000_000  # per band; more do not change a percentile noticeably
_DEFAULT_STRENGTH = {"asinh": 0.1, "sinh": 1 / 3, "log": 1000.0, "power": 2.0}


@dataclass(frozen=True)
class Stretch:
    """An interval and a curve.

    Parameters
    ----------
    config
        The settings.
    limits
        ``(black, white)`` per band in flux units. Needed with ``scope="survey"`` (see `measure`), where they hold for
        all cutouts; without them the levels are measured on each cutout.
    """

    config: StretchConfig
    limits: Limits | None = None

    @classmethod
    def measure(cls, config: StretchConfig, images: np.ndarray) -> Stretch:
        """Measure one black and white level per band on a sample of cutouts and freeze them.

        Parameters
        ----------
        images
            ``(n, B, H, W)`` flux; non-finite pixels are ignored.
        """
        bands = images.shape[1]
        planes = [images[:, band].ravel() for band in range(bands)]
        if config.shared:
            planes = [np.concatenate(planes)] * bands
        limits = []
        for plane in planes:
            step = max(1, math.ceil(plane.size / _MEASURED_PIXELS))
            thinned = np.asarray(plane[::step], np.float32)[None]
            black, white = measure_levels(thinned, config)
            limits.append((float(black[0]), float(white[0])))
        return cls(config, tuple(limits))

    def __call__(self, images: Any) -> Any:
        """Stretch images.

        Parameters
        ----------
        images
            ``(..., B, H, W)`` flux, NumPy or torch.

        Returns
        -------
        array of the same kind
            float32 in [0, 1], finite. Where black and white coincide (a constant or empty image), all is 0.

        Raises
        ------
        ConfigError
            If there are limits for another number of bands.
        """
        *lead, bands, height, width = images.shape
        flat = to_float32(images).reshape(-1, bands, height * width)  # (n, B, P)
        if self.config.curve == "histogram":
            return _equalised(flat).reshape(*lead, bands, height, width)
        black, white = (level[:, :, None] for level in self.levels(images))
        span = white - black
        usable = span > 0
        scaled = (flat - black) / where(usable, span, 1.0)
        scaled = where(usable & is_finite(scaled), scaled, 0.0)
        return self.curve(clip_unit(scaled)).reshape(*lead, bands, height, width)

    def levels(self, images: Any) -> tuple[Any, Any]:
        """Return black and white level of every image and band in flux units, equal where there is no finite pixel.

        Parameters
        ----------
        images
            ``(..., B, H, W)`` flux, NumPy or torch.

        Returns
        -------
        tuple of two arrays of the same kind
            ``(n, B)`` float32 each; n is 1 or the number of images, B is 1 or the number of bands.

        Raises
        ------
        ConfigError
            If there are limits for another number of bands.
        """
        bands, height, width = images.shape[-3:]
        flat = to_float32(images).reshape(-1, bands, height * width)  # (n, B, P)
        if self.limits is not None:
            if len(self.limits) != bands:
                raise ConfigError(f"{len(self.limits)} intervals for images of {bands} bands")
            pairs = like(np.array(self.limits, np.float32).T, flat)  # (2, B)
            return pairs[0][None], pairs[1][None]
        if self.config.shared:
            black, white = measure_levels(flat.reshape(len(flat), -1), self.config)
            return black[:, None], white[:, None]
        black, white = measure_levels(flat.reshape(-1, height * width), self.config)
        return black.reshape(-1, bands), white.reshape(-1, bands)

    def curve(self, x: Any) -> Any:
        """Apply the curve to values in [0, 1]; the formulas are those of `astropy.visualization`.

        Raises
        ------
        ConfigError
            For histogram equalisation, which is no function of a single value.
        """
        if self.config.curve == "histogram":
            raise ConfigError("histogram equalisation depends on the whole image: call the stretch on it")
        return _curved(x, self.config)


# ------------------------------------------------------------------------------------------------------------- curves


def _curved(x: Any, config: StretchConfig) -> Any:
    """Apply the curve to values in [0, 1]; the formulas are those of `astropy.visualization`."""
    a = config.strength or _DEFAULT_STRENGTH.get(config.curve, 1.0)
    if config.curve == "linear":
        return x
    if config.curve == "sqrt":
        return x**0.5
    if config.curve == "squared":
        return x * x
    if config.curve == "power":
        return x**a
    module: Any = np
    if is_torch(x):
        import torch

        module = torch
    if config.curve == "log":
        return module.log1p(a * x) / math.log1p(a)
    if config.curve == "asinh":
        return module.arcsinh(x / a) / math.asinh(1 / a)
    return module.sinh(x / a) / math.sinh(1 / a)


def _equalised(flat: Any) -> Any:
    """Histogram equalisation of each plane: a pixel's share of finite pixels that are not brighter, scaled to [0, 1].

    As `astropy.visualization.HistEqStretch`; on the CPU, for the eye.
    """
    rows = flat.cpu().numpy() if is_torch(flat) else flat
    result = np.zeros_like(rows)
    for index in np.ndindex(*rows.shape[:2]):
        row = rows[index]
        seen = np.flatnonzero(np.isfinite(row))
        order = seen[np.argsort(row[seen])]
        ordered = row[order]
        if len(ordered) and ordered[0] < ordered[-1]:
            ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # of equal pixels the last counts
            ranks = np.repeat(ends, np.diff(ends, prepend=-1))
            result[index][order] = ranks / (len(ordered) - 1)
    return like(result, flat)
