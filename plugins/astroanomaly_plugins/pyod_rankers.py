"""Detectors of PyOD (Zhao, Nasrullah & Li 2019, JMLR 20, 96) as a ranker on frozen features: the extra ``pyod``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from astroanomaly import ConfigError, OutlierOptions, OutlierRanker, Ranker, hookimpl, option

__all__ = ["Pyod", "PyodOptions", "register_rankers"]

# Seconds on 10,000 x 128 numbers, the same for the same seed, and an object's score does not depend on what else is
# scored with it. Not so: mcd takes minutes, loda draws from a generator that no seed reaches, ecod and copod compare
# with whatever is scored together, cblof refuses a sample without clusters.
_CLASSES = {
    "gmm": "GMM",
    "hbos": "HBOS",
    "iforest": "IForest",
    "inne": "INNE",
    "knn": "KNN",
    "pca": "PCA",
    "sampling": "Sampling",
}


@dataclass(frozen=True)
class PyodOptions(OutlierOptions):
    """Settings of the detectors of PyOD."""

    section: ClassVar[str] = "pyod"

    detector: Literal["gmm", "hbos", "iforest", "inne", "knn", "pca", "sampling"] = option(
        "inne", "which one, with its own defaults, see https://pyod.readthedocs.io"
    )


class Pyod(OutlierRanker):
    """A detector of PyOD with its own defaults, on principal components of frozen features."""

    name = "pyod"
    summary = "a detector of PyOD on frozen features (extra pyod): needs no labels"
    section = PyodOptions.section
    Options = PyodOptions

    def fit_points(self, points: np.ndarray) -> np.ndarray:
        """Fit the detector; return what it says of the sample itself.

        Raises
        ------
        ConfigError
            If PyOD is not installed, or the detector cannot be fitted.
        """
        name = self.options.detector
        try:
            made: Callable[..., Any] = getattr(importlib.import_module(f"pyod.models.{name}"), _CLASSES[name])
        except ImportError as error:
            raise ConfigError(
                f"the ranker pyod needs PyOD, which cannot be imported ({error}): pip install 'astroanomaly[pyod]'"
            ) from error
        seeded = "random_state" in inspect.signature(made).parameters
        self._detector = made(**({"random_state": self.context.seed} if seeded else {}))
        try:
            self._detector.fit(points.astype(np.float64))
        except ValueError as error:
            raise ConfigError(
                f"pyod.detector={name} cannot be fitted to {len(points)} objects: {error}; choose another detector"
            ) from error
        return self._detector.decision_scores_

    def outlier_score(self, points: np.ndarray) -> np.ndarray:
        """Outlier scores ``(n,)`` of the detector."""
        return self._detector.decision_function(points.astype(np.float64))


@hookimpl
def register_rankers(register: Callable[[type[Ranker]], None]) -> None:
    """Register the ranker ``pyod``; PyOD itself is imported when it learns."""
    register(Pyod)
