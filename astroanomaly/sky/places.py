"""Unit vectors, circles and cells of the sky."""

from __future__ import annotations

import numpy as np

__all__ = [
    "cells",
    "enclosing_circle",
    "mean_position",
    "unit_vectors",
]


def unit_vectors(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Turn positions into unit vectors.

    Parameters
    ----------
    ra, dec
        ``(n,)`` degrees.

    Returns
    -------
    ndarray
        ``(n, 3)`` float64; NaN where a position is.
    """
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def mean_position(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float]:
    """Return the mean direction of some positions: that of the sum of their unit vectors.

    Parameters
    ----------
    ra, dec
        ``(n,)`` degrees, finite, n at least 1.

    Returns
    -------
    tuple of float
        Right ascension from 0 to 360 and declination, degrees.
    """
    x, y, z = np.ascontiguousarray(unit_vectors(ra, dec).T).mean(axis=1)
    return float(np.degrees(np.arctan2(y, x)) % 360), float(np.degrees(np.arctan2(z, np.hypot(x, y))))


def enclosing_circle(ra: np.ndarray, dec: np.ndarray, decimals: int | None = None) -> tuple[float, float, float]:
    """Return a circle around the `mean_position` of some positions that reaches the farthest of them.

    Parameters
    ----------
    ra, dec
        ``(n,)`` degrees, finite, n at least 1.
    decimals
        Decimals of a degree to which the middle is rounded before the radius is measured: a request to an archive is
        the same to the letter whenever it is planned.

    Returns
    -------
    tuple of float
        Right ascension, at least 0 and less than 360, declination, and radius; degrees.
    """
    from astropy.coordinates import angular_separation

    lon, lat = mean_position(ra, dec)
    if decimals is not None:
        lon, lat = round(lon, decimals), round(lat, decimals)
    lon %= 360  # a little less than 0 has become 360
    distance = angular_separation(np.radians(lon), np.radians(lat), np.radians(ra), np.radians(dec))
    return lon, lat, float(np.degrees(distance.max()))


def cells(ra: np.ndarray, dec: np.ndarray, side_deg: float) -> list[np.ndarray]:
    """Group positions by cells of the sky: bands of declination, cut into cells of about the same width.

    Parameters
    ----------
    ra, dec
        ``(n,)`` degrees; those that are not finite are in no cell.
    side_deg
        Side of a cell in degrees.

    Returns
    -------
    list of ndarray
        For each cell that holds any, the rows of its positions, rising. Neighbours follow one another: bands from south
        to north, back and forth in right ascension.
    """
    rows = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(rows):
        return []
    band = np.floor((dec[rows] + 90) / side_deg).astype(int)
    cosine = np.cos(np.radians((band + 0.5) * side_deg - 90))
    width = side_deg / np.clip(cosine, side_deg / 360, None)
    column = np.floor((ra[rows] % 360) / width).astype(int)
    column = np.where(band % 2, -column, column)
    order = np.lexsort((rows, column, band))
    keys = np.stack([band, column], axis=1)[order]
    starts = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    return np.split(rows[order], starts)
