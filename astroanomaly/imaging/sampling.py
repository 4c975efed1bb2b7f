"""Pixels of random cutouts, which black and white levels of a whole survey are measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

__all__ = ["Cutouts", "sample_pixels"]

_CUTOUTS_PER_READ = 64


class Cutouts(Protocol):
    """The part of a cache that sampling needs."""

    @property
    def bands(self) -> Sequence[str]:
        """Names of the bands."""

    def sample(self, n: int, rng: np.random.Generator) -> list[str]:
        """Draw ids at random."""

    def read(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, B, H, W)`` pixels."""


def sample_pixels(cache: Cutouts, rng: np.random.Generator, *, cutouts: int, pixels: int) -> np.ndarray:
    """Draw pixels of random cutouts.

    Parameters
    ----------
    cache
        The cutouts.
    rng
        Draws the cutouts, then the pixels.
    cutouts
        How many cutouts, at most.
    pixels
        How many pixels of each band, at most about; each cutout gives as many.

    Returns
    -------
    numpy.ndarray
        ``(1, B, 1, P)`` float32, for `Stretch.measure`.
    """
    ids = cache.sample(cutouts, rng)
    parts = [np.empty((len(cache.bands), 0), np.float32)]
    for start in range(0, len(ids), _CUTOUTS_PER_READ):
        images = cache.read(ids[start : start + _CUTOUTS_PER_READ])  # (n, B, H, W)
        flat = images.reshape(*images.shape[:2], -1)  # (n, B, H * W)
        area = flat.shape[2]
        share = min(area, max(1, pixels // len(ids)))
        if share < area:
            flat = flat[:, :, rng.choice(area, share, replace=False)]
        parts.append(flat.swapaxes(0, 1).reshape(flat.shape[1], -1))
    drawn = np.concatenate(parts, axis=1)  # (B, P)
    return np.ascontiguousarray(drawn, np.float32)[None, :, None, :]
