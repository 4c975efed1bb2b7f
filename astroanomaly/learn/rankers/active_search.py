"""Search from nothing: the probe, with the outlier score as its prior."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from astroanomaly.hookspecs import FrozenFeatures, RankerContext
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.cold import Cold, ColdOptions
from astroanomaly.learn.rankers.probe import Probe, ProbeOptions
from astroanomaly.records import ANOMALY, NOMINAL, Labelled, Progress

if TYPE_CHECKING:
    from astroanomaly.cache import Cache, Shard
    from astroanomaly.learn.explain import ImageScore

__all__ = ["ActiveSearch"]

_LOWEST, _HIGHEST = -3.0, 8.0  # bounds of the outlier score: one broken image must not outweigh all verdicts
_MEDIAN_LOG_ODDS = -2.0  # of an object with the median outlier score, until there are labels of both kinds


class ActiveSearch(Probe):
    """The probe with the outlier score as its prior: from no label at all to many, by one rule.

    The log-odds of an object are ``prior * c + w x + b``: c is the outlier score that `cold` gives it, in units of its
    scatter and bounded, x its point, and w and b are learnt as those of the probe with the first term given. Without
    labels that is the order of `cold`. While all labels are of one kind b is a constant: what looks like an object that
    was called nominal comes later. With more labels they decide.

    Parameters
    ----------
    options
        The settings of the probe.
    context
        Label classes, model input, network, seed, device and folder.
    """

    name = "active-search"
    summary = "the probe with the outlier score as its prior: from no label on"
    needs_labels: ClassVar[bool] = False
    uses_labels: ClassVar[bool] = True

    def __init__(self, options: ProbeOptions, context: RankerContext) -> None:
        super().__init__(options, context)
        self._cold = Cold(ColdOptions(), context)
        self._outlier_scores: dict[str, np.ndarray] = {}  # ``(n,)`` by shard, bounded; computed when first asked for
        self._compared: tuple[FeatureStore, int, frozenset[str]] | None = None  # what `_cold` was fitted on

    def share(self, features: FrozenFeatures, *, complete: bool = True) -> None:
        """Use features of a cache that somebody else keeps open, see `FeatureRanker.share`."""
        super().share(features, complete=complete)
        self._cold.share(features, complete=complete)

    def begin_with(self, cache: Cache, outlier_scores: np.ndarray) -> None:
        """Use outlier scores that are known instead of computing them.

        Parameters
        ----------
        cache
            The cutouts.
        outlier_scores
            ``(N,)`` of all objects of the cache in its order, standardised as those of `Cold`; NaN where there is none.
        """
        ends = np.cumsum([len(shard) for shard in cache.shards])
        parts = np.split(np.asarray(outlier_scores, np.float32), ends[:-1])
        self._outlier_scores = {shard.uuid: _bounded(part) for shard, part in zip(cache.shards, parts, strict=True)}
        self._compared = None

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Find the outlier scores, unless they are known, then learn from whatever labels there are.

        Parameters
        ----------
        cache
            The cutouts.
        labels
            What to learn from; may be none, or of one kind only.
        exclude
            Objects never to learn from.

        Raises
        ------
        TrainingError
            If a label class is unknown, or there are fewer than three objects to compare.
        """
        store = self._store(cache)
        given = self._compared is None and self._outlier_scores
        if not given and self._compared != (store, store.done, exclude):
            self._cold.share(store, complete=self._completes(cache))
            yield from self._cold.fit(cache, labels, exclude)
            self._outlier_scores = {}
            self._compared = store, store.done, exclude
        yield from super().fit(cache, labels, exclude)

    def image_score(self, cache: Cache, *, expected: int = 0) -> ImageScore:
        """Return how it scores an image, see `astroanomaly.learn.explain`; ``expected`` of them, about.

        Where the outlier scores were given (`begin_with`), it is the part that rests on labels.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        from astroanomaly.learn.explain import feature_score

        scaler, head = self.head

        def of_features(features: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
            logits = head.logits(scaler.transform(features))
            own, others = (
                (None, None) if beside is None else np.hsplit(beside, [0 if self.beside is None else self.beside.width])
            )
            if own is not None:
                logits += self._block_logits(own)
            if self._compared is not None:
                points = self._cold.with_blocks(scaler.transform(features, sqrt_norm=True), others)
                logits[:, 1:] += self.options.prior * _bounded(self._cold.log_odds(points))[:, None]
            return self._in_all_columns(logits)

        def beside(shard: Shard) -> np.ndarray:
            """Return the points of the blocks, and what they are to `cold`."""
            return np.hstack([one.beside.of_shard(shard) for one in (self, self._cold) if one.beside is not None])

        more = None if self.beside is None else beside
        return feature_score(self._store(cache), of_features, len(self.context.classes), expected=expected, beside=more)

    def _check(self, classes: Sequence[str]) -> tuple[str, ...]:
        if len({*classes, NOMINAL}) > 1:
            return super()._check([*classes, NOMINAL])
        general = ANOMALY if ANOMALY in self.context.classes else self.context.classes[1]
        return super()._check([*classes, NOMINAL, general])

    def _outliers(self, cache: Cache, shard: Shard) -> np.ndarray:
        """``(n,)`` outlier scores of a shard, of this cache or another; zero where they were given without it."""
        if shard.uuid not in self._outlier_scores:
            if self._compared is None:
                return np.zeros(len(shard), np.float32)
            self._cold.share(self._store(cache), complete=self._completes(cache))
            (found,) = self._cold.score(cache, only=(shard.uuid,))
            self._outlier_scores[shard.uuid] = _bounded(-found.log_odds[:, 0])
        return self._outlier_scores[shard.uuid]

    def _prior(self, cache: Cache, shard: Shard) -> np.ndarray:
        return self.options.prior * self._outliers(cache, shard)

    def _prior_of(self, store: FeatureStore, ids: Sequence[str]) -> np.ndarray:
        cache = store.cache
        numbers, rows = cache.locate(ids)
        found = [self._outliers(cache, cache.shards[n])[row] for n, row in zip(numbers, rows, strict=True)]
        return self.options.prior * np.array(found, np.float64)

    def _regression(
        self, points: np.ndarray, class_indices: np.ndarray, trusted: np.ndarray | None, prior: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        counts = np.bincount(class_indices, minlength=2)
        one_kind = not counts[0] or not counts[1:].any()
        each = np.full(len(points), 0.5)  # as one of two classes of one object
        if self.options.balanced and not one_kind:
            each = len(points) / (np.count_nonzero(counts) * counts[class_indices])
        elif not self.options.balanced:
            each = np.ones(len(points))
        each = self.options.c * each * (1.0 if trusted is None else trusted)
        start = np.zeros((points.shape[1] + 1, 1 if len(counts) == 2 else len(counts)))
        if one_kind:
            start[-1] = _MEDIAN_LOG_ODDS
        return _most_probable(points, class_indices, each, prior, start, bias=not one_kind)


def _bounded(outlier_scores: np.ndarray) -> np.ndarray:
    """Outlier scores within bounds; 0, as usual as the median, where there is none."""
    return np.nan_to_num(outlier_scores.astype(np.float32)).clip(_LOWEST, _HIGHEST)


def _most_probable(
    points: np.ndarray, class_indices: np.ndarray, each: np.ndarray, prior: np.ndarray, start: np.ndarray, *, bias: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a logistic regression in which a part of the log-odds is given.

    Parameters
    ----------
    points
        ``(n, D)`` float64.
    class_indices
        ``(n,)``; 0 is nominal.
    each
        ``(n,)`` weights of the objects against the penalty, half the squared length of the weights.
    prior
        ``(n,)`` what is added to the logits of all classes but the first.
    start
        ``(D + 1, K)``: weights, and biases in the last row, to begin with. Of two classes K is 1.
    bias
        Whether the biases are fitted.

    Returns
    -------
    tuple
        ``(D, K)`` weights, ``(K,)`` biases.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    rows, two = np.arange(len(points)), start.shape[1] == 1

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        fitted = flat.reshape(start.shape)
        logits = points @ fitted[:-1] + fitted[-1]
        logits = np.hstack([np.zeros_like(logits), logits]) if two else logits
        logits[:, 1:] += prior[:, None]
        wrong = softmax(logits, axis=1)
        wrong[rows, class_indices] -= 1
        wrong *= each[:, None]
        wrong = wrong[:, 1:] if two else wrong
        slope = np.vstack([fitted[:-1] + points.T @ wrong, bias * wrong.sum(axis=0)])
        value = 0.5 * (fitted[:-1] ** 2).sum() - each @ log_softmax(logits, axis=1)[rows, class_indices]
        return float(value), slope.ravel()

    found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    return found.reshape(start.shape)[:-1], found.reshape(start.shape)[-1]
