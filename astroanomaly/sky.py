"""Positions and angles: unit vectors, angles as text, cells of the sky."""

from __future__ import annotations

import numpy as np

__all__ = ["unit_vectors"]


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Turn ICRS degrees, ``(n,)`` each, into ``(n, 3)`` unit vectors."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
