"""Dealing pages: which objects come next, from the latest ranking, without those that were shown already. No Bokeh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.app.filters import Filters
from astroanomaly.app.search import COLD, Search

__all__ = ["ORDERINGS", "Dealt", "deal"]

ORDERINGS = {  # what the page offers: text, order of `ranking`, scores it always takes
    "score": ("most anomalous", "score", ""),
    "uncertain": ("most uncertain", "uncertain", ""),
    "diverse": ("anomalous and diverse", "diverse", ""),
    "random": ("random", "random", ""),
    "median": ("near the median score", "median", ""),
    "mean": ("near the mean score", "mean", ""),
    "nominal": ("most nominal", "nominal", ""),
    "cold": ("unusual, without labels", "score", COLD),
}
AUDIT = "audit"
_LEAST_AGE = 2  # pages before a labelled object may come back as a blind repeat


@dataclass(frozen=True)
class Dealt:
    """One page as it was dealt; it never changes afterwards.

    Attributes
    ----------
    ids
        Its objects.
    ordering, probability
        Recorded with every verdict given on it.
    repeats
        Objects that its annotator has labelled before, shown as if not.
    left
        Objects there were to choose from.
    """

    ids: tuple[str, ...]
    ordering: str
    probability: float | None
    repeats: frozenset[str] = frozenset()
    left: int = 0


def deal(
    search: Search,
    pages: Sequence[Dealt],
    size: int,
    *,
    annotator: str,
    ordering: str,
    by: str,
    filters: Filters,
    repeat_share: float,
    rng: np.random.Generator,
) -> Dealt:
    """Deal the next page.

    Parameters
    ----------
    search
        What all pages share.
    pages
        Those dealt before; their objects do not come again.
    size
        Objects wanted.
    annotator
        For whom: whose labels may come back as blind repeats, and which objects of the audit set are left.
    ordering
        One of `ORDERINGS`, or ``audit``: the audit set in random order.
    by
        Name of the scores.
    filters
        What objects must be; the audit set is not filtered.
    repeat_share
        Chance of each place to be a blind repeat.
    rng
        For all that is random.

    Raises
    ------
    ConfigError
        If a filter cannot be read.
    """
    seen = [object_id for page in pages for object_id in page.ids]
    if ordering == AUDIT:
        free = [i for i in sorted(search.audit.difference(seen)) if annotator not in search.opinion(i).votes]
        ids = [str(i) for i in rng.permutation(free)[:size]]
        return Dealt(tuple(ids), AUDIT, len(ids) / len(free) if free else None, left=len(free))
    repeats = _draw_repeats(search, pages, size, annotator, repeat_share, rng)
    how = ORDERINGS[ordering][1] if by in search.scores else "random"  # until there is a first ranking
    ids, left = search.choose(size - len(repeats), how, by, filters, seen=seen, rng=rng)
    probability = min(1.0, len(ids) / left) if left and how == "random" else None
    if ids and repeats:
        ids = [str(i) for i in rng.permutation([*ids, *repeats])]
    said = how if how == "random" else f"{ordering}:{by}"
    return Dealt(tuple(ids), said, probability, frozenset(repeats) & set(ids), left)


def _draw_repeats(
    search: Search, pages: Sequence[Dealt], size: int, annotator: str, share: float, rng: np.random.Generator
) -> list[str]:
    """Draw objects of somebody's own to show again, a random share of a page, none from the last pages."""
    count = int(rng.binomial(size, share)) if share else 0
    if not count:
        return []
    recent = {object_id for page in pages[-_LEAST_AGE:] for object_id in page.ids}
    said = {i for i, opinion in search.tally.opinions().items() if annotator in opinion.votes}
    free = [i for i in sorted(said - recent - search.audit) if search.cache.find([i])[0] >= 0]
    return [str(i) for i in rng.permutation(free)[:count]]
