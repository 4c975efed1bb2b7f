"""Match positions on the sky: the nearest within a radius, and objects that stand for the same source.

A tree of unit vectors, asked once for each object, needs no memory for pairs; `astropy.coordinates.search_around_sky`
keeps all of them (with 10^5 positions, 10^6 objects and 90 million pairs 15 GB instead of 70 MB). Only objects whose
declination is near one of the given positions come into the tree, so that a few positions are matched to 10^8
memory-mapped objects without a copy of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.sky import unit_vectors

if TYPE_CHECKING:
    from scipy.spatial import KDTree

__all__ = ["find_duplicates", "find_members", "match_positions", "pairs_within"]

_MAX_RADIUS_ARCSEC = 180 * 3600.0
_FEW = 2000  # positions that are compared with one another directly: SciPy, which has trees, is slow to import
_CHUNK = 2**20  # known positions that are looked at in one go
_SLACK_RAD = 1e-9  # 0.2 mas by which a search is wider than asked; what it finds is measured exactly


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
    tree, there = _tree(known_ra, known_dec, _near_in_declination(np.asarray(dec, float), known_dec, radius_arcsec))
    if not len(there):
        return np.full(len(ra), -1), np.zeros(len(ra), int)
    points, chord = unit_vectors(np.asarray(ra, float), np.asarray(dec, float)), _chord(radius_arcsec)
    _, index = tree.query(points, distance_upper_bound=chord * (1 + 1e-12))
    count = np.asarray(tree.query_ball_point(points, chord, return_length=True))
    return np.where(index < len(there), there[np.minimum(index, len(there) - 1)], -1), count


def pairs_within(
    ra: np.ndarray, dec: np.ndarray, known_ra: np.ndarray, known_dec: np.ndarray, radius_arcsec: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all known positions within a radius of each given one.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees, finite.
    known_ra, known_dec
        ``(N,)`` ICRS degrees; NaN where unknown. Read a part at a time: they may be memory-mapped.
    radius_arcsec
        The radius, 0 to 648000.

    Returns
    -------
    given, known, separation_arcsec
        ``(p,)`` index of the given position, index of the known one, and their distance on the sphere (Vincenty's
        formula, as `SkyCoord.separation`): by given position, then by distance, then by index.
    """
    from astropy.coordinates import angular_separation
    from scipy.spatial import KDTree

    radius, parts = np.radians(radius_arcsec / 3600), [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    ra, dec = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    points = unit_vectors(np.degrees(ra), np.degrees(dec))
    near = _near_in_declination(np.degrees(dec), known_dec, radius_arcsec)
    for start in range(0, len(near), _CHUNK):
        rows = near[start : start + _CHUNK]
        lon, lat = np.radians(known_ra[rows]), np.radians(known_dec[rows])
        there = np.isfinite(lon)
        rows, lon, lat = rows[there], lon[there], lat[there]
        if not len(rows):
            continue
        tree = KDTree(unit_vectors(np.degrees(lon), np.degrees(lat)))
        found = tree.query_ball_point(points, _chord(min(radius_arcsec, _MAX_RADIUS_ARCSEC)) + _SLACK_RAD)
        given = np.repeat(np.arange(len(points)), [len(one) for one in found])
        known = np.concatenate([np.asarray(one, int) for one in found])
        distance = angular_separation(ra[given], dec[given], lon[known], lat[known])
        within = distance <= radius
        parts.append((given[within], rows[known[within]], np.degrees(distance[within]) * 3600))
    given, known, separation = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((known, separation, given))
    return given[order], known[order], separation[order]


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
    there = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    points, chord = unit_vectors(ra[there], dec[there]), _chord(radius_arcsec)
    tree = _tree(ra, dec)[0] if len(there) > _FEW else None
    free = np.ones(len(there), bool)
    for k in np.argsort(-np.asarray(score, float)[there], kind="stable"):
        if free[k]:
            if tree is None:
                near = np.flatnonzero(_squared(points, points[k]) <= chord**2)
            else:
                near = np.array(tree.query_ball_point(points[k], chord))
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
    none = np.zeros(0, np.int64)
    there = np.flatnonzero(np.isfinite(ra[kept]) & np.isfinite(dec[kept]))
    if radius_arcsec == 0 or not len(there):
        return none, none
    chord = _chord(radius_arcsec)
    free = among.copy()
    free[kept] = False
    centres, dec_kept = unit_vectors(ra[kept[there]], dec[kept[there]]), np.asarray(dec[kept], float)
    rows, owners = [none], [none]
    for start in range(0, len(ra), _CHUNK):  # next to nothing lies near them
        here = start + _near_in_declination(dec_kept, dec[start : start + _CHUNK], radius_arcsec)
        here = here[free[here] & np.isfinite(ra[here])]
        first = _first_within(unit_vectors(ra[here], dec[here]), centres, chord)
        rows.append(here[first >= 0])
        owners.append(there[first[first >= 0]])
    return np.concatenate(rows), np.concatenate(owners)


def _check_merge_radius(radius_arcsec: float) -> None:
    if not 0 <= radius_arcsec <= _MAX_RADIUS_ARCSEC:
        raise ConfigError(f"a merge radius of {radius_arcsec} arcsec: expected 0 (merge nothing) to 180 degrees")


def _near_in_declination(dec: np.ndarray, known_dec: np.ndarray, radius_arcsec: float) -> np.ndarray:
    """``(k,)`` indices of known positions whose declination is within the radius of that of a given position."""
    edges, reach = np.sort(dec[np.isfinite(dec)]), radius_arcsec / 3600 + np.degrees(_SLACK_RAD)
    if not len(edges):
        return np.zeros(0, int)
    lowest, highest = edges[0] - reach, edges[-1] + reach
    edges = np.r_[-np.inf, edges, np.inf]
    parts = [np.zeros(0, int)]
    for start in range(0, len(known_dec), _CHUNK):
        values = np.asarray(known_dec[start : start + _CHUNK], float)
        rows = np.flatnonzero((values >= lowest) & (values <= highest))  # NaN is not
        above = np.searchsorted(edges[1:-1], values[rows]) + 1
        near = np.minimum(values[rows] - edges[above - 1], edges[above] - values[rows]) <= reach
        parts.append(rows[near] + start)
    return np.concatenate(parts)


def _tree(ra: np.ndarray, dec: np.ndarray, rows: np.ndarray | None = None) -> tuple[KDTree, np.ndarray]:
    """Return a tree of the positions that are known, and their ``(k,)`` indices; of some rows, or of all."""
    from scipy.spatial import KDTree

    rows = np.arange(len(ra)) if rows is None else rows
    there = rows[np.isfinite(ra[rows]) & np.isfinite(dec[rows])]
    return KDTree(unit_vectors(ra[there], dec[there])), there


def _first_within(points: np.ndarray, centres: np.ndarray, chord: float) -> np.ndarray:
    """``(n,)`` index of the first centre that each point is within a distance of; -1 without any."""
    first = np.full(len(points), -1)
    if len(points) * len(centres) <= _FEW**2:
        for number in reversed(range(len(centres))):
            first[_squared(points, centres[number]) <= chord**2] = number
        return first
    from scipy.spatial import KDTree

    tree = KDTree(centres)
    near = np.flatnonzero(np.isfinite(tree.query(points, distance_upper_bound=chord * (1 + 1e-12))[0]))
    for k, found in zip(near, tree.query_ball_point(points[near], chord), strict=True):
        first[k] = min(found, default=-1)
    return first


def _squared(points: np.ndarray, point: np.ndarray) -> np.ndarray:
    """``(n,)`` squared distances of points from one."""
    return np.square(points - point).sum(axis=1)


def _chord(radius_arcsec: float) -> float:
    """Distance of two unit vectors that are an angle apart."""
    return float(2 * np.sin(np.radians(radius_arcsec / 3600) / 2))
