"""Rank without labels by how few random cuts isolate an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from astroanomaly.config import option
from astroanomaly.learn.rankers.outlier_ranker import OutlierOptions, OutlierRanker

__all__ = ["IsolationForest", "IsolationForestOptions"]


@dataclass(frozen=True)
class IsolationForestOptions(OutlierOptions):
    """Settings of the isolation forest."""

    section: ClassVar[str] = "isolation-forest"

    trees: int = option(200, "trees of the forest")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least("trees", 1)


class IsolationForest(OutlierRanker):
    """Objects that few random cuts set apart come first (Liu, Ting & Zhou 2008, ICDM)."""

    name = "isolation-forest"
    summary = "isolation forest on frozen features: needs no labels"
    section = IsolationForestOptions.section
    Options = IsolationForestOptions

    def fit_points(self, points: np.ndarray) -> None:
        """Grow the trees."""
        from sklearn import ensemble

        self._forest: Any = ensemble.IsolationForest(
            n_estimators=self.options.trees, random_state=self.context.seed
        ).fit(points)

    def outlier_score(self, points: np.ndarray) -> np.ndarray:
        """Minus the score of the forest ``(n,)``, 0 to 1."""
        return -self._forest.score_samples(points)
