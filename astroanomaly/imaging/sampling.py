"""Pixels of random cutouts, which black and white levels of a whole survey are measured on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from astroanomaly.errors import DamagedError

__all__ = ["Cutouts", "read_undamaged", "sample_pixels"]

_log = logging.getLogger(__name__)
_CUTOUTS_PER_READ = 64


class _Readable(Protocol):
    """The part of a cache that reading needs."""

    def read(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, B, H, W)`` pixels."""


class Cutouts(_Readable, Protocol):
    """The part of a cache that sampling needs."""

    @property
    def bands(self) -> Sequence[str]:
        """Names of the bands."""

    def sample(self, n: int, rng: np.random.Generator) -> list[str]:
        """Draw ids at random."""


def read_undamaged(cache: _Readable, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read the pixels of those objects that can be read; the others are logged.

    Returns
    -------
    images : numpy.ndarray
        ``(k, B, H, W)``.
    places : numpy.ndarray
        ``(k,)`` int64 places of these objects in ``ids``.

    Raises
    ------
    DamagedError
        If none of them can be read.
    """
    try:
        return cache.read(ids), np.arange(len(ids))
    except DamagedError as error:
        lost = set(error.ids)
        places = np.array([k for k, object_id in enumerate(ids) if object_id not in lost], np.int64)
        if not lost or not len(places):
            raise
        _log.warning("%d of %d objects are left out: %s", len(ids) - len(places), len(ids), error)
    return cache.read([ids[k] for k in places]), places


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
        try:
            images, _ = read_undamaged(cache, ids[start : start + _CUTOUTS_PER_READ])  # (n, B, H, W)
        except DamagedError:  # none of these
            continue
        flat = images.reshape(*images.shape[:2], -1)  # (n, B, H * W)
        area = flat.shape[2]
        share = min(area, max(1, pixels // len(ids)))
        if share < area:
            flat = flat[:, :, rng.choice(area, share, replace=False)]
        parts.append(flat.swapaxes(0, 1).reshape(flat.shape[1], -1))
    drawn = np.concatenate(parts, axis=1)  # (B, P)
    return np.ascontiguousarray(drawn, np.float32)[None, :, None, :]
