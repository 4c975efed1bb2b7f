"""Standardise frozen features: each feature in units of its scatter in the survey, each object of unit length."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.learn.features.store import FeatureStore, unit_length

__all__ = ["FeatureScaler"]

_SAMPLE_SIZE = 2000  # objects that the scale of a survey is measured on
_MIN_SAMPLE_SIZE = 500  # below it the labelled objects are looked at as well
_MIN_RELATIVE_SPREAD = 1e-3  # of the median deviation: a feature that hardly varies is not blown up into noise


@dataclass(frozen=True, eq=False)
class FeatureScaler:
    """A map from features to points of length 1.

    The square root (with the sign kept) takes away the long tail that pooled activations have (the power transform of
    Hu, Gripon & Pateux 2021, arXiv:2006.03806); then each feature is centred and scaled by its mean and deviation over
    a sample of the survey, each layer weighs alike however many features it has, and each object gets length 1.

    Parameters
    ----------
    centre, scale
        ``(D,)`` float32: what is subtracted from the square roots, and what they are multiplied with then.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def measure(cls, features: np.ndarray, widths: Sequence[int]) -> FeatureScaler:
        """Measure the scale of a survey.

        Parameters
        ----------
        features
            ``(n, D)`` of a random sample, finite.
        widths
            How many features each layer has; they add up to D.
        """
        roots = _root(features)
        centre, spread = roots.mean(axis=0), roots.std(axis=0)
        floor = _MIN_RELATIVE_SPREAD * float(np.median(spread)) or 1.0
        weights = np.repeat(1 / np.sqrt(np.asarray(widths, np.float32)), widths)
        return cls(centre, (weights / np.maximum(spread, floor)).astype(np.float32))

    @classmethod
    def of(
        cls, store: FeatureStore, seed: int, exclude: frozenset[str] = frozenset(), known: Sequence[str] = ()
    ) -> FeatureScaler:
        """Measure the scale of a survey on a random sample of the objects that have features.

        Parameters
        ----------
        store
            The features, not necessarily all of them.
        seed
            Draws the sample.
        exclude
            Objects not to look at.
        known
            Objects that have features, to look at as well while there are few.
        """
        ids = cls.sample(store, seed, exclude)
        features = store.get(ids)
        features = features[np.isfinite(features).all(axis=1)]
        if len(features) < min(_MIN_SAMPLE_SIZE, len(ids)):
            features = np.concatenate([features, store.get(known)])
        return cls.measure(features, store.widths)

    @staticmethod
    def sample(store: FeatureStore, seed: int, exclude: frozenset[str] = frozenset()) -> list[str]:
        """Draw the objects that the scale of a survey is measured on."""
        return store.cache.sample(_SAMPLE_SIZE, np.random.default_rng((seed, 3)), exclude)

    @classmethod
    def plain(cls) -> FeatureScaler:
        """Leave features as they are, but for their length."""
        return cls(np.zeros(0, np.float32), np.zeros(0, np.float32))

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the length is changed."""
        return not len(self.centre)

    @property
    def rows(self) -> np.ndarray:
        """``(2, D)`` float32: centre and scale, to be kept."""
        return np.stack([self.centre, self.scale])

    def transform(self, features: np.ndarray, *, sqrt_norm: bool = False) -> np.ndarray:
        """Turn features into points.

        Parameters
        ----------
        features
            ``(n, D)``.
        sqrt_norm
            Divide each point by the square root of its norm instead of by its norm: what is far out stays a little
            farther out, without a few of them being all there is to see.

        Returns
        -------
        numpy.ndarray
            ``(n, D)`` float32; rows with NaN stay NaN.
        """
        if self.is_plain:
            return unit_length(features)
        points = _root(features)
        points -= self.centre
        points *= self.scale
        return _sqrt_norm(points) if sqrt_norm else unit_length(points, copy=False)


def _sqrt_norm(points: np.ndarray) -> np.ndarray:
    """Divide each row by the square root of its norm, in place."""
    norm = np.sqrt(np.einsum("ij,ij->i", points, points))
    points /= np.where(norm == 0, 1, np.sqrt(norm))[:, None]
    return points


def _root(features: np.ndarray) -> np.ndarray:
    """Square roots with the sign kept, float32, in memory of their own."""
    if features.dtype == np.float16:  # as they are stored: looked up, which takes a fifth of the time
        return np.take(_roots_of_halves(), features.view(np.uint16), mode="clip")
    values = np.array(features, np.float32)
    sizes = np.sqrt(np.abs(values))
    return np.copysign(sizes, values, out=sizes)


@functools.cache
def _roots_of_halves() -> np.ndarray:
    """``(65536,)`` what `_root` gives for every float16, by its bits."""
    with np.errstate(invalid="ignore"):  # some of them are no numbers
        return _root(np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32))
