"""A small network that guesses the scores of a ranker, so that the ranker itself need not look at every object."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.config import BackboneConfig
from astroanomaly.errors import CheckpointError, TrainingError
from astroanomaly.files import atomic_path
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import Progress

if TYPE_CHECKING:
    from astroanomaly.cache import Cache
    from astroanomaly.learn.explain import ImageScore

__all__ = ["MIN_LEARNT", "Student", "student_store"]

MIN_LEARNT = 200  # objects with scores, at least
_NETWORK, _SIZE = "tf_efficientnet_lite0", 64
_STRENGTHS = np.logspace(-4, 2, 19)  # of the regularisation, tried in turn
_PARTS = 5  # of the cross-validation
_FAMILIAR = 0.995  # share of held-out objects that are as near to the others as an object must be
_TOP_OBJECTS = 50  # whose guesses tell how low the guess of a high score may be, at least
_TOP_KEPT = 0.98  # share of them whose scores are guessed at the threshold or above


def student_store(cache: Cache, context: RankerContext) -> FeatureStore:
    """Open the features that a student sees: of a small network, smaller images, and one view.

    Parameters
    ----------
    cache
        The cutouts.
    context
        That of the ranker whose scores are guessed.
    """
    on_sky = context.input.views == "sky"
    seen = replace(context.input, size=min(_SIZE, context.input.size), tta_views=1)
    network = BackboneConfig(name=_NETWORK, layers="several" if on_sky else "last")
    return FeatureStore.of(cache, replace(context, input=seen, backbone=network))


@dataclass(frozen=True, eq=False)
class Student:
    """Ridge regression of scores on the features of a small network.

    Parameters
    ----------
    scaler
        Scale of the features.
    skipped
        Number of features, from the first on, that are left out: on the sky those of the end of the network.
    mean
        ``(D,)`` float64 mean of the points that it learnt from.
    weight, bias
        ``(D,)`` float64 and a number: the guess of a point is ``(point - mean) @ weight + bias``.
    inverse
        ``(D, D)`` float64 inverse of the regularised covariance: its quadratic form is how far a point is from what was
        learnt.
    far
        Distance from which on a guess is not trusted.
    guesses, scores
        ``(n,)`` float64 guesses of the objects that it learnt from, by the others, and their scores.
    """

    scaler: FeatureScaler
    skipped: int
    mean: np.ndarray
    weight: np.ndarray
    bias: float
    inverse: np.ndarray
    far: float
    guesses: np.ndarray
    scores: np.ndarray

    @classmethod
    def learn(
        cls, store: FeatureStore, ids: Sequence[str], scores: np.ndarray, seed: int
    ) -> Generator[Progress, None, Student]:
        """Learn the scores of some objects.

        Parameters
        ----------
        store
            What `student_store` gives.
        ids
            The objects.
        scores
            ``(n,)`` their scores by the ranker; NaN where it has none.
        seed
            Of the cross-validation.

        Raises
        ------
        TrainingError
            If fewer than 200 of them have a score, or all have the same.
        """
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import KFold

        yield from store.compute(first=ids, only=())
        features = store.get(ids)
        there = np.isfinite(features).all(axis=1) & np.isfinite(scores)
        features, known = features[there], np.asarray(scores, np.float64)[there]
        if len(known) < MIN_LEARNT or not np.ptp(known):
            raise TrainingError(
                f"{len(known)} objects of the session have scores to learn from, of {len(np.unique(known))} different "
                f"values; at least {MIN_LEARNT} are needed: score the survey in full, without --recall"
            )
        skipped = store.widths[0] if len(store.widths) > 1 else 0
        scaler = FeatureScaler.measure(features[:, skipped:], store.widths[1:] if skipped else store.widths)
        points = scaler.transform(features[:, skipped:]).astype(np.float64)  # (n, D)
        strength = float(RidgeCV(_STRENGTHS).fit(points, known).alpha_)
        guesses, distances = np.empty(len(known)), np.empty(len(known))
        for others, held_out in KFold(_PARTS, shuffle=True, random_state=seed).split(points):
            line = _ridge(points[others], known[others], strength)
            guesses[held_out], distances[held_out] = _apply(points[held_out], *line)
        far = float(np.quantile(distances, _FAMILIAR))
        return cls(scaler, skipped, *_ridge(points, known, strength), far, guesses, known)

    def threshold(self, share: float) -> float:
        """Return the guess above which nearly all objects with the highest scores are expected.

        It is the higher of two: the guess that 98 % of the highest objects that were learnt from reach; and the lowest
        score that is looked for, less what guesses fall short of scores for 98 % of them. Where fewer than 50 of the
        objects that were learnt from are so high, the highest 50 stand for them.

        Parameters
        ----------
        share
            Share of the survey that is looked for.
        """
        count = len(self.scores)
        order = np.argsort(-self.scores)
        lowest = self.scores[order[min(count - 1, int(share * count))]]
        top = order[: max(_TOP_OBJECTS, int(share * count))]
        excess = np.quantile(self.guesses[top] - self.scores[top], 1 - _TOP_KEPT)
        return float(max(lowest + excess, np.quantile(self.guesses[top], 1 - _TOP_KEPT)))

    def guess(self, features: np.ndarray) -> np.ndarray:
        """Guess the scores of objects.

        Returns
        -------
        numpy.ndarray
            ``(n, 2)`` float32 of features ``(n, D)``: guesses, and how far each object is from what was learnt, in
            units of the distance that is trusted. NaN for rows with NaN.
        """
        points = self.scaler.transform(features[:, self.skipped :]).astype(np.float64)
        guesses, distances = _apply(points, self.mean, self.weight, self.bias, self.inverse)
        return np.stack([guesses, distances / self.far], axis=1).astype(np.float32)

    def image_score(self, store: FeatureStore, *, expected: int = 0) -> ImageScore:
        """Return what makes of images what `guess` makes of features; ``expected`` of them, about."""
        from astroanomaly.learn.explain import feature_score

        return feature_score(store, self.guess, 2, expected=expected)

    # ------------------------------------------------------------------------------------------------------ as a file

    def save(self, path: Path) -> None:
        """Write it in one step, as arrays of numpy (``.npz``)."""
        numbers = {name: getattr(self, name) for name in _ARRAYS}
        single = np.array([self.skipped, self.bias, self.far])
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, scaler=self.scaler.rows, single=single, **numbers)

    @classmethod
    def load(cls, path: Path) -> Student:
        """Read it.

        Raises
        ------
        CheckpointError
            If it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                skipped, bias, far = file["single"]
                centre, scale = file["scaler"]
                mean, weight, inverse, guesses, scores = (file[name] for name in _ARRAYS)
            return cls(FeatureScaler(centre, scale), int(skipped), mean, weight, bias, inverse, far, guesses, scores)
        except Exception as error:  # whatever numpy and zipfile make of a damaged file
            raise CheckpointError(f"{path} is damaged ({error}): remove it, and it is learnt again") from error


_ARRAYS = ("mean", "weight", "inverse", "guesses", "scores")


def _ridge(points: np.ndarray, scores: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Return mean, weight, bias and inverse of the regularised covariance of points ``(n, D)`` with scores ``(n,)``."""
    mean, bias = points.mean(axis=0), float(scores.mean())
    centred = points - mean
    inverse = np.linalg.inv(centred.T @ centred + strength * np.eye(points.shape[1]))
    return mean, inverse @ (centred.T @ (scores - bias)), bias, inverse


def _apply(
    points: np.ndarray, mean: np.ndarray, weight: np.ndarray, bias: float, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``(n,)`` guesses of points, and how far they are from what was learnt."""
    centred = points - mean
    return centred @ weight + bias, np.einsum("ij,ij->i", centred @ inverse, centred)
