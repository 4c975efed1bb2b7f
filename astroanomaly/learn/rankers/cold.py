"""Rank without labels by the distance to neighbours: the first ranking of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from astroanomaly.config import option
from astroanomaly.learn.rankers.outlier_ranker import OutlierOptions, OutlierRanker

__all__ = ["Cold", "ColdOptions"]


@dataclass(frozen=True)
class ColdOptions(OutlierOptions):
    """Settings of the ranker that a session begins with: no labels, distances to neighbours."""

    section: ClassVar[str] = "cold"

    neighbours: int = option(50, "how many nearest ones of the sample count")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least("neighbours", 1)


class Cold(OutlierRanker):
    """Mean distance to the nearest objects of a random sample (Ramaswamy, Rastogi & Shim 2000, SIGMOD)."""

    name = "cold"
    summary = "unusual frozen features first, far from their neighbours: needs no labels"
    section = ColdOptions.section
    Options = ColdOptions

    def fit_points(self, points: np.ndarray) -> np.ndarray:
        """Keep the sample; return its own mean distances."""
        from sklearn.neighbors import NearestNeighbors

        self._others: Any = NearestNeighbors(n_neighbors=min(self.options.neighbours, len(points) - 1)).fit(points)
        return self._others.kneighbors()[0].mean(axis=1)

    def outlier_score(self, points: np.ndarray) -> np.ndarray:
        """Mean distance ``(n,)`` to the nearest objects of the sample."""
        return self._others.kneighbors(points)[0].mean(axis=1)
