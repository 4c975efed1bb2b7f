"""Match positions on the sky: the nearest within a radius, and objects that stand for the same source.

A tree of unit vectors, asked once for each object, needs no memory for pairs; `astropy.coordinates.search_around_sky`
keeps all of them (with 10^5 positions, 10^6 objects and 90 million pairs 15 GB instead of 70 MB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.sky import unit_vectors

if TYPE_CHECKING:
    from scipy.spatial import KDTree

__all__ = ["find_duplicates", "find_members", "match_positions"]

_MAX_RADIUS_ARCSEC = 180 * 3600.0
_ROWS_PER_CHUNK = 1_000_000  # positions looked up together


def match_positions(
    ra: np.ndarray, dec: np.ndarray, known_ra: np.ndarray, known_dec: np.ndarray, radius_arcsec: float
) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest known position within a radius of each given one.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees.
    known_ra, known_dec
        ``(N,)`` ICRS degrees; NaN where unknown.
    radius_arcsec
        The radius.

    Returns
    -------
    nearest, count
        ``(n,)`` index of the nearest known position, -1 without any, and how many lie within the radius.

    Raises
    ------
    ConfigError
        If the radius is not between 0 and 180 degrees.
    """
    if not 0 < radius_arcsec <= _MAX_RADIUS_ARCSEC:
        raise ConfigError(f"a match radius of {radius_arcsec} arcsec: expected more than 0 and at most 180 degrees")
    tree, there = _tree(known_ra, known_dec)
    if not len(there):
        return np.full(len(ra), -1), np.zeros(len(ra), int)
    points, chord = unit_vectors(np.asarray(ra, float), np.asarray(dec, float)), _chord(radius_arcsec)
    _, index = tree.query(points, distance_upper_bound=chord * (1 + 1e-12))
    count = np.asarray(tree.query_ball_point(points, chord, return_length=True))
    return np.where(index < len(there), there[np.minimum(index, len(there) - 1)], -1), count


def find_duplicates(ra: np.ndarray, dec: np.ndarray, score: np.ndarray, radius_arcsec: float) -> np.ndarray:
    """Find which object each one is a duplicate of.

    Going down the scores, each object takes in all lower ones within the radius that no other has taken.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees; NaN where unknown: such an object has no duplicates.
    score
        ``(n,)``; of equal scores, the first object comes first.
    radius_arcsec
        The radius; 0: nothing is a duplicate.

    Returns
    -------
    numpy.ndarray
        ``(n,)`` index of the object that took it in, its own for those that are kept.

    Raises
    ------
    ConfigError
        If the radius is negative or above 180 degrees.
    """
    _check_merge_radius(radius_arcsec)
    kept_as = np.arange(len(ra))
    if radius_arcsec == 0:
        return kept_as
    tree, there = _tree(ra, dec)
    chord = _chord(radius_arcsec)
    free = np.ones(len(there), bool)
    for k in np.argsort(-np.asarray(score, float)[there], kind="stable"):
        if free[k]:
            near = np.array(tree.query_ball_point(tree.data[k], chord))
            near = near[free[near]]
            kept_as[there[near]], free[near] = there[k], False
    return kept_as


def find_members(
    ra: np.ndarray, dec: np.ndarray, kept: np.ndarray, radius_arcsec: float, among: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find all duplicates of some objects, which are no duplicates of one another.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees; NaN where unknown.
    kept
        ``(k,)`` indices of the objects.
    radius_arcsec
        The radius; 0: nothing is a duplicate.
    among
        ``(n,)`` boolean: which objects may be duplicates.

    Returns
    -------
    rows, owners
        ``(m,)`` indices of the duplicates, rising, and which of ``kept``, from 0, each belongs to: the first of those
        within the radius.

    Raises
    ------
    ConfigError
        If the radius is negative or above 180 degrees.
    """
    _check_merge_radius(radius_arcsec)
    tree, there = _tree(ra[kept], dec[kept])
    none = np.zeros(0, np.int64)
    if radius_arcsec == 0 or not len(there):
        return none, none
    chord = _chord(radius_arcsec)
    free = among & np.isfinite(ra) & np.isfinite(dec)
    free[kept] = False
    rows, owners = [none], [none]
    for start in range(0, len(ra), _ROWS_PER_CHUNK):  # the tree is small, and next to nothing lies near it
        here = start + np.flatnonzero(free[start : start + _ROWS_PER_CHUNK])
        points = unit_vectors(ra[here], dec[here])
        near = np.isfinite(tree.query(points, distance_upper_bound=chord * (1 + 1e-12))[0])
        inside = tree.query_ball_point(points[near], chord)
        hit = np.array([bool(found) for found in inside], bool)
        rows.append(here[near][hit])
        owners.append(np.array([there[found].min() for found in inside if found], np.int64))
    return np.concatenate(rows), np.concatenate(owners)


def _check_merge_radius(radius_arcsec: float) -> None:
    if not 0 <= radius_arcsec <= _MAX_RADIUS_ARCSEC:
        raise ConfigError(f"a merge radius of {radius_arcsec} arcsec: expected 0 (merge nothing) to 180 degrees")


def _tree(ra: np.ndarray, dec: np.ndarray) -> tuple[KDTree, np.ndarray]:
    """Return a tree of the positions that are known, and their ``(k,)`` indices."""
    from scipy.spatial import KDTree

    there = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    return KDTree(unit_vectors(ra[there], dec[there])), there


def _chord(radius_arcsec: float) -> float:
    """Distance of two unit vectors that are an angle apart."""
    return float(2 * np.sin(np.radians(radius_arcsec / 3600) / 2))
