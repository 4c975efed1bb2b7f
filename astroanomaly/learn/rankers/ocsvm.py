"""Rank without labels by a one-class support vector machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from astroanomaly.config import option
from astroanomaly.errors import ConfigError
from astroanomaly.learn.rankers.outlier_ranker import OutlierOptions, OutlierRanker

__all__ = ["Ocsvm", "OcsvmOptions"]


@dataclass(frozen=True)
class OcsvmOptions(OutlierOptions):
    """Settings of the one-class support vector machine."""

    section: ClassVar[str] = "ocsvm"

    whiten: bool = option(True, "give all principal components the same variance")
    nu: float = option(0.05, "share of the sample taken as outside")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.nu < 1:
            raise ConfigError(f"ocsvm.nu={self.nu}: expected a number between 0 and 1")


class Ocsvm(OutlierRanker):
    """How far an object lies outside the region of the sample (Schoelkopf et al. 2001, Neural Computation 13, 1443).

    The region is that of the sample as it comes: labels, nominal ones too, are not used. On real galaxies (128
    components) whitening took AUROC from .45 to .60.
    """

    name = "ocsvm"
    summary = "one-class support vector machine on frozen features: needs no labels"
    section = OcsvmOptions.section
    Options = OcsvmOptions

    def fit_points(self, points: np.ndarray) -> None:
        """Find the region."""
        from sklearn.svm import OneClassSVM

        self._machine: Any = OneClassSVM(nu=self.options.nu, gamma="scale").fit(points)

    def outlier_score(self, points: np.ndarray) -> np.ndarray:
        """Signed distance ``(n,)`` to the region, positive outside."""
        return -self._machine.decision_function(points)
