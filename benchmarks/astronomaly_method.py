"""Astronomaly's method on given features, for ``from_nothing.py``: an isolation forest, then regression on verdicts.

Lochner & Bassett 2021, arXiv:2010.11202; constants as in its program (version 2.0, ``NeighbourScore``): user scores
from 0 to 5, a random forest of 100 trees, trust of 1.
"""

from types import SimpleNamespace

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, RandomForestRegressor
from sklearn.neighbors import NearestNeighbors

from astroanomaly.records import NOMINAL

HIGHEST, LEAST, SLOPE, COMPONENTS = 5.0, 0.1, 0.85, 128


class NeighbourScore:
    """Outlier scores, changed where something like an object has a verdict.

    Parameters
    ----------
    ids
        All objects of the cache, in its order.
    part
        Which of them take part: the others get the least score.
    features
        ``(n, d)``, of all.
    seed
        Of both forests.
    """

    name, needs_labels = "isolation forest and regression", False

    def __init__(self, ids, part, features, seed):
        self.ids, self.part, self.seed = np.asarray(ids), part, seed
        points = features[part]
        self.points = PCA(min(COMPONENTS, *points.shape), random_state=seed).fit_transform(points)
        outlying = -IsolationForest(random_state=seed).fit(self.points).score_samples(self.points)
        self.outlying = HIGHEST * (outlying - outlying.min()) / np.ptp(outlying)

    def fit(self, cache, labels, outside):  # noqa: D102 - as a ranker
        values = self.outlying
        if labels.ids:
            place = {object_id: k for k, object_id in enumerate(self.ids[self.part].tolist())}
            rows = [place[object_id] for object_id in labels.ids]
            given = HIGHEST * np.array([label != NOMINAL for label in labels.classes])
            forest = RandomForestRegressor(100, random_state=self.seed, n_jobs=2).fit(self.points[rows], given)
            trust = LEAST + SLOPE * forest.predict(self.points) / HIGHEST
            distance = NearestNeighbors(n_neighbors=1).fit(self.points[rows]).kneighbors(self.points)[0][:, 0]
            values = values * np.tanh(np.exp(distance / distance.mean()) - 1 + np.arctanh(trust))
        self.values = np.full(len(self.ids), -np.inf)
        self.values[self.part] = values
        yield from ()

    def score(self, cache):  # noqa: D102 - as a ranker
        yield SimpleNamespace(log_odds=-self.values[:, None])
