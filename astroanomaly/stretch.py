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

__all__ = ["Stretch", "lupton_rgb", "to_rgb"]

Limits = tuple[tuple[float, float], ...]
_MEASURED_PIXELS = 4_000_000  # per band; more do not change a percentile noticeably
_DEFAULT_STRENGTH = {"asinh": 0.1, "sinh": 1 / 3, "log": 1000.0, "power": 2.0}
_MAD_TO_SIGMA = 1.482602218505602


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
            black, white = _levels(thinned, config)
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
        flat = _float32(images).reshape(-1, bands, height * width)  # (n, B, P)
        if self.config.curve == "histogram":
            return _equalised(flat).reshape(*lead, bands, height, width)
        black, white = (level[:, :, None] for level in self.levels(images))
        span = white - black
        usable = span > 0
        scaled = (flat - black) / _where(usable, span, 1.0)
        scaled = _where(usable & _finite(scaled), scaled, 0.0)
        return self.curve(_clip(scaled)).reshape(*lead, bands, height, width)

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
        flat = _float32(images).reshape(-1, bands, height * width)  # (n, B, P)
        if self.limits is not None:
            if len(self.limits) != bands:
                raise ConfigError(f"{len(self.limits)} intervals for images of {bands} bands")
            pairs = _like(np.array(self.limits, np.float32).T, flat)  # (2, B)
            return pairs[0][None], pairs[1][None]
        if self.config.shared:
            black, white = _levels(flat.reshape(len(flat), -1), self.config)
            return black[:, None], white[:, None]
        black, white = _levels(flat.reshape(-1, height * width), self.config)
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


# ---------------------------------------------------------------------------------------------------------- intervals


def _levels(values: Any, config: StretchConfig) -> tuple[Any, Any]:
    """Black and white level of each row of ``values`` (m, P); equal where a row has no finite pixel."""
    if config.interval == "manual":
        return _full(values, config.black), _full(values, config.white)
    if config.interval == "zscale":
        return _zscale(values)
    ordered, count = _sorted_rows(values)
    if config.interval == "minmax":
        return _quantile(ordered, count, 0.0), _quantile(ordered, count, 1.0)
    if config.interval == "percentile":
        return _quantile(ordered, count, config.low / 100), _quantile(ordered, count, config.high / 100)
    if config.interval == "mad":
        centre = _quantile(ordered, count, 0.5)
        distances, _ = _sorted_rows(abs(values - centre[:, None]))
        spread = _quantile(distances, count, 0.5) * _MAD_TO_SIGMA
    else:
        centre, spread = _clipped_moments(values)
    return centre - config.sigma_low * spread, centre + config.sigma_high * spread


def _sorted_rows(values: Any) -> tuple[Any, Any]:
    """Rows in ascending order with non-finite values as +inf at the end, and the number of finite ones."""
    finite = _finite(values)
    hidden = _where(finite, values, math.inf)
    ordered = hidden.sort(dim=1).values if _is_torch(values) else np.sort(hidden, axis=1)
    return ordered, finite.sum(1)


def _quantile(ordered: Any, count: Any, share: float) -> Any:
    """Linear interpolation between order statistics, as `numpy.percentile`; 0 for an empty row."""
    last = _clip_low(count - 1)
    place = last * share
    if _is_torch(ordered):
        import torch

        place = last.double() * share
        low = place.floor().long()
        high = torch.minimum(low + 1, last)
        below, above = ordered.gather(1, low[:, None])[:, 0], ordered.gather(1, high[:, None])[:, 0]
        weight = (place - low).to(ordered.dtype)
    else:
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, last)
        rows = np.arange(len(ordered))
        below, above = ordered[rows, low], ordered[rows, high]
        weight = (place - low).astype(ordered.dtype)
    there = count > 0
    below, above = _where(there, below, 0.0), _where(there, above, 0.0)
    return below + (above - below) * weight


def _clipped_moments(values: Any, clip: float = 3.0, rounds: int = 5) -> tuple[Any, Any]:
    """Median and standard deviation after clipping at 3 sigma around the median, at most 5 times.

    As `astropy.stats.sigma_clipped_stats` with ``maxiters=5``; in units of the row's largest magnitude, so that the
    squares of very large values stay finite.
    """
    keep = _finite(values)
    magnitudes = _where(keep, abs(values), 0.0)
    unit = magnitudes.amax(1) if _is_torch(values) else magnitudes.max(1)
    unit = _where(unit > 0, unit, 1.0)
    values = values / unit[:, None]
    centre = spread = None
    for step in range(rounds + 1):
        ordered, count = _sorted_rows(_where(keep, values, math.nan))
        centre = _quantile(ordered, count, 0.5)
        shown = _where(keep, values, 0.0)
        number = _float32(_clip_low(count, 1))
        mean = shown.sum(1) / number
        spread = (_where(keep, (shown - mean[:, None]) ** 2, 0.0).sum(1) / number) ** 0.5
        if step < rounds:
            keep = keep & (abs(values - centre[:, None]) <= clip * spread[:, None])
    return centre * unit, spread * unit


def _zscale(values: Any) -> tuple[Any, Any]:
    """IRAF's zscale by `astropy.visualization.ZScaleInterval`, row by row on the CPU: for the eye."""
    from astropy.visualization import ZScaleInterval

    rows = values.cpu().numpy() if _is_torch(values) else values
    interval = ZScaleInterval()
    pairs = [interval.get_limits(row) if np.isfinite(row).any() else (0.0, 0.0) for row in rows]
    levels = np.array(pairs, np.float32).reshape(-1, 2)
    return _like(levels[:, 0], values), _like(levels[:, 1], values)


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
    if _is_torch(x):
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
    rows = flat.cpu().numpy() if _is_torch(flat) else flat
    result = np.zeros_like(rows)
    for index in np.ndindex(*rows.shape[:2]):
        row = rows[index]
        finite = np.isfinite(row)
        ordered = np.sort(row[finite])
        if len(ordered) and ordered[0] < ordered[-1]:
            scaled = (ordered - ordered[0]) / (ordered[-1] - ordered[0])
            place = np.linspace(0.0, 1.0, len(ordered))
            result[index][finite] = np.interp((row[finite] - ordered[0]) / (ordered[-1] - ordered[0]), scaled, place)
    return _like(result, flat)


# ------------------------------------------------------------------------------------------------------------ colours


def to_rgb(stretched: np.ndarray, channels: Any) -> np.ndarray:
    """Combine stretched bands to a colour picture.

    Parameters
    ----------
    stretched
        ``(..., B, H, W)`` in [0, 1].
    channels
        3 x B weights for red, green and blue.

    Returns
    -------
    numpy.ndarray
        ``(..., H, W, 3)`` uint8.
    """
    weights = np.asarray(channels, np.float32)
    colours = np.einsum("...bhw,cb->...hwc", np.asarray(stretched, np.float32), weights)
    return (np.clip(colours, 0, 1) * 255 + 0.5).astype(np.uint8)


def lupton_rgb(images: np.ndarray, *, q: float = 8.0, stretch: float = 5.0, minimum: float = 0.0) -> np.ndarray:
    """Make colour pictures that keep the hue of bright objects (Lupton et al. 2004, PASP 116, 133).

    Parameters
    ----------
    images
        ``(..., 3, H, W)`` flux in red, green and blue; non-finite pixels become black.
    q
        Softening: larger shows faint parts brighter.
    stretch
        Linear part, in flux units.
    minimum
        Black level, in flux units.

    Returns
    -------
    numpy.ndarray
        ``(..., H, W, 3)`` uint8, as `astropy.visualization.make_lupton_rgb`.
    """
    planes = np.asarray(images, np.float32)
    planes = np.where(np.isfinite(planes), planes - np.float32(minimum), np.float32(0))
    intensity = planes.mean(axis=-3, keepdims=True)  # (..., 1, H, W)
    slope = 0.1 / math.asinh(0.1 * q)  # the curve keeps its slope at zero whatever the softening
    scale = np.arcsinh(intensity * np.float32(q / stretch)) * np.float32(slope)
    factor = scale / np.where(intensity > 0, intensity, 1)
    factor[intensity <= 0] = 0
    colours = np.maximum(planes * factor, 0)
    peak = colours.max(axis=-3, keepdims=True)
    colours = colours / np.maximum(peak, 1)  # too bright: keep the hue
    return np.moveaxis((colours * np.float32(255)).astype(np.uint8), -3, -1)


# ------------------------------------------------------------------------------- the few things that differ by library


def _is_torch(values: Any) -> bool:
    return type(values).__module__.partition(".")[0] == "torch"


def _float32(values: Any) -> Any:
    return values.float() if _is_torch(values) else np.asarray(values, np.float32)


def _finite(values: Any) -> Any:
    return values.isfinite() if _is_torch(values) else np.isfinite(values)


def _where(condition: Any, yes: Any, no: float) -> Any:
    return yes.where(condition, yes.new_tensor(no)) if _is_torch(yes) else np.where(condition, yes, yes.dtype.type(no))


def _clip(values: Any) -> Any:
    return values.clamp(0, 1) if _is_torch(values) else np.clip(values, 0, 1)


def _clip_low(values: Any, low: int = 0) -> Any:
    return values.clamp(min=low) if _is_torch(values) else np.maximum(values, low)


def _full(values: Any, number: float) -> Any:
    return values.new_full((len(values),), number) if _is_torch(values) else np.full(len(values), number, np.float32)


def _like(array: np.ndarray, values: Any) -> Any:
    if not _is_torch(values):
        return array
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(values.device)
