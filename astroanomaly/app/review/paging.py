"""Paging: which objects come next, from the latest ranking, without those that were shown already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from astroanomaly.app.review.filters import NOT_MINE, UNLABELLED, Filters
from astroanomaly.app.review.shared_state import COLD, SharedState
from astroanomaly.labels.consensus import AUDIT

__all__ = ["ORDERINGS", "ObjectPage", "next_page"]

ORDERINGS = {  # what the page offers: text, order of `ranking`, scores it always takes
    "score": ("most anomalous", "score", ""),
    "uncertain": ("most uncertain", "uncertain", ""),
    "diverse": ("anomalous and diverse", "diverse", ""),
    "novel": ("unlike any labelled object", "novel", ""),
    "mixed": ("mixed: candidates and informative objects", "mixed", ""),
    "random": ("random", "random", ""),
    "median": ("near the median score", "median", ""),
    "mean": ("near the mean score", "mean", ""),
    "nominal": ("most nominal", "nominal", ""),
    "cold": ("outliers, without labels", "score", COLD),
}
_PAGES_BEFORE_REPEAT = 2  # pages before a labelled object may come back as a blind repeat


@dataclass(frozen=True)
class ObjectPage:
    """The objects of one page; once made it never changes.

    Attributes
    ----------
    ids
        Its objects.
    ordering, probability
        Recorded with every verdict given on it.
    repeats
        Objects that its annotator has labelled before, shown as if not.
    left
        Objects there were to choose from; 0 where they were chosen by hand.
    by, ranked
        Name of the scores, and what they came from, in words, when it was made; empty without.
    scores
        ``(n,)`` these scores, NaN where there was none: what is shown, since a ranking goes on changing.
    since
        Number of the last event of the log when it was made.
    blind
        Whether earlier verdicts, scores and the catalogue of its objects are hidden.
    """

    ids: tuple[str, ...]
    ordering: str
    probability: float | None
    repeats: frozenset[str] = frozenset()
    left: int = 0
    by: str = ""
    ranked: str = ""
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32), compare=False)
    since: int = 0
    blind: bool = False

    def score(self, object_id: str) -> float:
        """Score of one of its objects when it was made, NaN where there was none."""
        return float(self.scores[self.ids.index(object_id)]) if object_id in self.ids else float("nan")

    @classmethod
    def of(cls, shared: SharedState, ids: Sequence[str], ordering: str, by: str, **more: Any) -> ObjectPage:
        """Make a page of given objects, with the scores as they are now."""
        return cls(
            tuple(ids), ordering, more.pop("probability", None), by=by, ranked=shared.describe_scores(by),
            scores=shared.score_of(ids, by), since=shared.consensus.last, **more,
        )  # fmt: skip


def next_page(
    shared: SharedState,
    pages: Sequence[ObjectPage],
    size: int,
    *,
    annotator: str,
    ordering: str,
    by: str,
    filters: Filters,
    repeat_share: float,
    rng: np.random.Generator,
) -> ObjectPage:
    """Choose the objects of the next page.

    Parameters
    ----------
    shared
        What all pages share.
    pages
        Those made before; their objects do not come again.
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
        Probability of each cell to be a blind repeat.
    rng
        For all that is random.

    Raises
    ------
    ConfigError
        If a filter cannot be read.
    """
    seen = [object_id for page in pages for object_id in page.ids]
    if ordering == AUDIT:
        free = [i for i in sorted(shared.audit.difference(seen)) if annotator not in shared.consensus_of(i).votes]
        ids = [str(i) for i in rng.permutation(free)[:size]]
        chance = len(ids) / len(free) if free else None
        return ObjectPage.of(shared, ids, AUDIT, "", probability=chance, left=len(free), blind=True)
    alone = filters.labels == NOT_MINE
    if alone:
        filters = replace(filters, without=annotator)
    among = repeat_share if filters.labels == UNLABELLED else 0.0  # where everything else has no mark either
    repeats = _draw_repeats(shared, pages, size, annotator, among, rng)
    how = ORDERINGS[ordering][1] if by in shared.scores else "random"  # until there is a first ranking
    ids, left = shared.choose(size - len(repeats), how, by, filters, seen=[*seen, *repeats], rng=rng)
    probability = min(1.0, len(ids) / left) if left and how == "random" else None
    if ids and repeats:
        ids = [str(i) for i in rng.permutation([*ids, *repeats])]
    recorded = how if how == "random" else f"{ordering}:{by}"
    return ObjectPage.of(
        shared, ids, recorded, by, probability=probability, repeats=frozenset(repeats) & set(ids), left=left,
        blind=bool(among) or alone,
    )  # fmt: skip


def _draw_repeats(
    shared: SharedState, pages: Sequence[ObjectPage], size: int, annotator: str, share: float, rng: np.random.Generator
) -> list[str]:
    """Draw objects of somebody's own to show again, a random share of a page, none from the last pages."""
    count = int(rng.binomial(size, share)) if share else 0
    if not count:
        return []
    recent = {object_id for page in pages[-_PAGES_BEFORE_REPEAT:] for object_id in page.ids}
    labelled = {i for i, consensus in shared.current_consensus().items() if annotator in consensus.votes}
    free = shared.known(sorted(labelled - recent - shared.audit))
    return [str(i) for i in rng.permutation(free)[:count]]
