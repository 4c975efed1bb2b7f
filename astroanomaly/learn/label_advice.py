"""Compare what could be chosen by labels that are there already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import NOMINAL, Progress, drain

__all__ = ["FEWEST", "Comparison", "compare_views"]

FEWEST = 10  # anomalies, and nominal objects
_MOST = 1000  # of each: their features have to be computed twice
_FOLDS, _REPEATS = 5, 4
_ERRORS = 2.0  # a difference of so many standard errors is more than noise


class Comparison:
    """AUROC with each of two kinds of views on labels that were held back, fold by fold.

    Parameters
    ----------
    anomalies, nominal
        How many there were.
    figures
        ``{views: (folds,) float64}``, all on the same folds.
    """

    def __init__(self, anomalies: int, nominal: int, figures: Mapping[str, np.ndarray]) -> None:
        self.anomalies, self.nominal, self.figures = anomalies, nominal, figures

    @property
    def best(self) -> str:
        """The better one."""
        return max(self.figures, key=lambda name: float(self.figures[name].mean()))

    @property
    def error(self) -> float:
        """Standard error of the difference; folds share training objects (Nadeau & Bengio 2003)."""
        one, other = self.figures.values()
        return float(np.std(one - other, ddof=1) * np.sqrt(1 / len(one) + 1 / (_FOLDS - 1)))

    @property
    def is_clear(self) -> bool:
        """Whether the difference is more than noise."""
        one, other = (values.mean() for values in self.figures.values())
        return bool(abs(one - other) > _ERRORS * self.error)

    @property
    def text(self) -> str:
        """The figures in words."""
        shown = ", ".join(f"{name} {values.mean():.3f}" for name, values in self.figures.items())
        return (
            f"AUROC on labels held back: {shown}, difference +- {self.error:.3f}, of {self.anomalies} anomalies and "
            f"{self.nominal} nominal objects"
        )


def compare_views(
    cache: Cache,
    labels: Mapping[str, str],
    settings: Mapping[str, Any],
    progress: Callable[[Progress], None] | None = None,
) -> Comparison | None:
    """Cross-validate a logistic regression on frozen features with either kind of views; None for too few labels.

    Parameters
    ----------
    cache
        The cutouts.
    labels
        Label by id.
    settings
        Options by section.
    progress
        Called with a report after each batch of images.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import RepeatedStratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    seed = settings["session"].seed
    rng = np.random.default_rng((seed, 19))
    groups = [sorted(i for i, label in labels.items() if (label == NOMINAL) is usual) for usual in (False, True)]
    odd, usual = ([str(i) for i in rng.permutation(ids)[:_MOST]] for ids in groups)
    if min(len(odd), len(usual)) < FEWEST:
        return None
    ids, truth = odd + usual, np.arange(len(odd) + len(usual)) < len(odd)
    folds = list(RepeatedStratifiedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=seed).split(ids, truth))
    figures = {}
    for views in ("sky", "picture"):
        shown = replace(settings["input"], views=views)
        seen = ModelInput.measure(cache, settings["stretch"], shown, np.random.default_rng((seed, 0)))
        session = settings["session"]
        backbone = settings["backbone"].chosen(views)
        context = RankerContext((), seen, backbone, seed, session.device, engine=session.engine)
        store = FeatureStore.of(cache, context)
        drain(store.compute(first=ids, only=()), progress)
        points = store.get(ids)  # (n, D)
        model = make_pipeline(
            StandardScaler(), Normalizer(), LogisticRegression(class_weight="balanced", max_iter=2000)
        )
        scores = [
            roc_auc_score(truth[test], model.fit(points[known], truth[known]).decision_function(points[test]))
            for known, test in folds
        ]
        figures[views] = np.array(scores)
    return Comparison(len(odd), len(usual), figures)
