"""The first objects of an order, without those that show again what an earlier one shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.session.stored_objects import StoredObjects
from astroanomaly.tables.matching import find_duplicates, find_members

__all__ = ["Distinct", "first_distinct"]


@dataclass(frozen=True)
class Distinct:
    """The first objects of an order, and their duplicates.

    Attributes
    ----------
    ids
        The objects, in their order; no two lie within the radius.
    duplicates
        For each of them, the ids of all other objects that it stands for, wherever these are in the order.
    """

    ids: tuple[str, ...]
    duplicates: tuple[tuple[str, ...], ...]


def first_distinct(
    ask: Callable[[int], Sequence[str]],
    n: int,
    cache: Cache | StoredObjects,
    radius_arcsec: float,
    among: np.ndarray,
    scores: np.ndarray,
) -> Distinct:
    """Take the first n objects of an order, each one for all that lie within a radius of it.

    Going down the order, an object takes in all later ones within the radius that none before it has taken. So the
    order is asked for only as far as it takes to fill n places.

    Parameters
    ----------
    ask
        Gives the first so many objects of the order, fewer where there are no more.
    n
        How many objects, at most.
    cache
        The cutouts.
    radius_arcsec
        The radius; 0: nothing is a duplicate.
    among
        ``(N,)`` boolean in the order of the cache: the objects that the order is made of.
    scores
        ``(N,)``: the order in which duplicates are named, the highest first; NaN last.

    Raises
    ------
    ConfigError
        If the radius is negative or above 180 degrees.
    """
    ra, dec = cache.positions
    wanted = n
    while True:
        ids = list(ask(wanted))
        rows = cache.rows(ids)
        kept = find_duplicates(ra[rows], dec[rows], -np.arange(len(rows)), radius_arcsec) == np.arange(len(rows))
        if kept.sum() >= n or len(ids) < wanted:
            break
        wanted *= 2
    first = np.flatnonzero(kept)[:n]
    others, owners = find_members(ra, dec, rows[first], radius_arcsec, among)
    order = np.argsort(-np.nan_to_num(scores[others], nan=-np.inf), kind="stable")
    members: list[list[str]] = [[] for _ in first]
    for object_id, owner in zip(cache.ids_at(others[order]), owners[order].tolist(), strict=True):
        members[owner].append(object_id)
    return Distinct(tuple(ids[k] for k in first), tuple(map(tuple, members)))
