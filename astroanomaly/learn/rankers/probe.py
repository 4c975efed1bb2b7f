"""The linear probe: regularised logistic regression on frozen features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from astroanomaly.config import option
from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.blocks import block_points
from astroanomaly.learn.features.invariance import Invariance, RotatedFeatures
from astroanomaly.learn.features.projection import Projection
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.label_errors import trust
from astroanomaly.learn.rankers.feature_ranker import FeatureRanker
from astroanomaly.learn.rankers.label_check import check_labels
from astroanomaly.learn.rankers.linear_head import LinearHead
from astroanomaly.learn.rankers.score_parts import IMAGE, OUTLIERS, score_parts, score_shares, usual_logits
from astroanomaly.learn.scoring import all_classes, log_odds
from astroanomaly.records import Labelled, Progress, ShardScores

if TYPE_CHECKING:
    from astroanomaly.cache import Cache, Shard
    from astroanomaly.learn.explain import ImageScore

__all__ = ["Probe", "ProbeOptions"]

_ROWS_PER_CHUNK = 256  # scored together: they stay in the processor's own memory meanwhile


@dataclass(frozen=True)
class ProbeOptions:
    """Settings of the probe."""

    c: float = option(5.0, "inverse strength of the regularisation: smaller is smoother")
    scale: Literal["survey", "plain"] = option(
        "survey",
        "survey: square roots of the features, each on the scale of the survey at hand; plain: features as they are",
    )
    invariance: float = option(
        0.3, "strength of the penalty on differences between an object and its rotated or mirrored images; 0: none"
    )
    balanced: bool = option(True, "weigh every label class alike, however rare")
    robust: bool = option(False, "lean less on labels that the others contradict: for when some may be wrong")
    grade_weight: float = option(
        0.5, "of a label with a grade: each grade after the best counts so much of the one before; 1: all count alike"
    )
    prior: float = option(
        0.5, "for `active-search`: log-odds for one unit of the outlier score; 0: none but the labels count"
    )
    components: int = option(128, "principal components that are ranked in a large cache")
    project_above: int = option(1_000_000, "number of objects above which a cache is large")

    def __post_init__(self) -> None:
        if self.c <= 0:
            raise ConfigError(f"probe.c={self.c}: expected a number above 0")
        if not 0 <= self.invariance <= 1000:
            raise ConfigError(f"probe.invariance={self.invariance}: expected 0 to 1000")
        if not 0 < self.grade_weight <= 1:
            raise ConfigError(f"probe.grade_weight={self.grade_weight}: expected more than 0, up to 1")
        if not 0 <= self.prior <= 10:
            raise ConfigError(f"probe.prior={self.prior}: expected 0 to 10")
        if self.components < 2:
            raise ConfigError(f"probe.components={self.components}: expected 2 or more")


class Probe(FeatureRanker):
    """Logistic regression on frozen features, class-balanced; learns in under a second.

    Features become points of length 1 on the scale of the survey, see `astroanomaly.learn.features.scaling`. What
    rotating and mirroring objects changes in them counts less, see
    `astroanomaly.learn.features.invariance.Invariance`.

    The numbers of ``context.blocks`` stand beside the points, and have weights of their own
    (`astroanomaly.learn.features.blocks`).

    Its scores are not calibrated probabilities. It has no weights worth keeping: a session saves its settings and the
    labels it learnt from, and fits it again.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed, device and folder.
    """

    name = "probe"
    summary = "logistic regression on frozen features: learns from few labels in under a second"
    section = "probe"
    Options = ProbeOptions

    def __init__(self, options: ProbeOptions, context: RankerContext) -> None:
        super().__init__(options, context)
        self._columns: list[int] = []
        self._sure: np.ndarray | None = None  # (n,) weights of the labels by their grades; None: all count alike
        self._head: LinearHead | None = None  # on points
        self._projected_head: LinearHead | None = None  # on their projection
        self._block_weight = np.zeros((0, 2), np.float32)  # (K, classes) of what stands beside the points
        self._projections: dict[int, Projection] = {}
        self._rotated: RotatedFeatures | None = None
        self._measured: tuple[FeatureStore, int, FeatureScaler] | None = None

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Compute the features that are missing, then learn.

        Where others are still computing them (`share`), those of the labelled objects only, so that the first ranking
        comes at once; what rotation changes is then known only if it was measured before (`prepare`).

        Parameters
        ----------
        cache
            The cutouts.
        labels
            What to learn from: ``nominal`` and at least one anomaly class.
        exclude
            Objects never to learn from.

        Raises
        ------
        TrainingError
            If only one side is labelled, or a label class is unknown.
        """
        chosen = labels.some(lambda object_id: object_id not in exclude)
        ids, classes = list(chosen.ids), list(chosen.classes)
        learnt = self._check(classes)
        store = self._store(cache)
        yield from store.compute(first=ids, only=None if self._completes(cache) else ())
        if self._completes(cache):
            yield from self.prepare(cache, exclude)
        there = np.isfinite(store.get(ids)).all(axis=1)  # a damaged cutout has no features
        if not there.all():
            chosen = chosen.some(dict(zip(ids, there, strict=True)).__getitem__)
            ids, classes = list(chosen.ids), list(chosen.classes)
            learnt = self._check(classes)
        self._sure = self.options.grade_weight ** np.array(chosen.ranks, float) if any(chosen.ranks) else None
        class_indices = np.array([learnt.index(c) for c in classes], np.intp)
        self.beside = block_points(store, self.context, exclude)
        if len(cache) > self.options.project_above and store.done == len(cache):
            if id(cache) not in self._projections:
                scaler = self._measure(store, ids, exclude)
                self._projections[id(cache)] = Projection(store, self.options.components, scaler)
            projection = self._projections[id(cache)]
            yield from projection.compute()
            self._scaler = projection.scaler
            self._projected_head = self._learn(projection.transform, store, ids, class_indices, exclude)
            self._head = self._projected_head.before_projection(projection.axes)
        else:
            self._projections.pop(id(cache), None)
            self._scaler = self._measure(store, ids, exclude)
            self._head = self._learn(self._scaler.transform, store, ids, class_indices, exclude)
        self._columns = [self.context.classes.index(c) for c in learnt]
        self._learnt_on = cache, exclude
        counts = {name: float(count) for name, count in Counter(classes).items()}
        yield Progress("probe", 1, 1, values={"labels": float(len(ids)), **counts})

    def prepare(self, cache: Cache, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Compute features of rotated and mirrored views of a sample, unless they do not matter."""
        store = self._store(cache)
        yield from self._rotated_features(store).compute(self._sample(store, exclude))

    def score(self, cache: Cache, only: Collection[str] | None = None) -> Iterator[ShardScores]:
        """Score every object; columns of label classes that have no label are NaN.

        Parameters
        ----------
        cache
            The cutouts, those it learnt from or others.
        only
            Uuids of the shards to score; None: all.

        Yields
        ------
        ShardScores
            NaN for objects without features where others are still computing them, see `share`.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        scaler, head = self.head
        store, projection = self._store(cache), self._projections.get(id(cache))
        for shard in cache.shards:
            if only is not None and shard.uuid not in only:
                continue
            engine = store.compute_shard(shard.uuid) if self._completes(cache) else ""
            parts = [np.empty((0, len(self.context.classes)), np.float32)]
            prior = self._prior(cache, shard)
            more = None if self.beside is None else self._block_logits(self.beside.shard(cache, shard.uuid))
            rows = store.shard(shard.uuid) if projection is None else projection.shard(shard.uuid)
            for start in range(0, len(shard), _ROWS_PER_CHUNK):
                part = rows[start : start + _ROWS_PER_CHUNK]
                if projection is not None and self._projected_head is not None:
                    logits = self._projected_head.logits(part.astype(np.float32))
                else:
                    logits = head.logits(scaler.transform(part))
                if more is not None:
                    logits += more[start : start + _ROWS_PER_CHUNK]
                if prior is not None:
                    logits[:, 1:] += prior[start : start + _ROWS_PER_CHUNK, None]
                parts.append(self._in_all_columns(logits))
            yield ShardScores(shard.uuid, shard.ids, np.concatenate(parts), engine)

    def image_score(self, cache: Cache, *, expected: int = 0) -> ImageScore:
        """Return how it scores an image, see `astroanomaly.learn.explain`; ``expected`` of them, about.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        from astroanomaly.learn.explain import feature_score

        scaler, head = self.head

        def of_features(features: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
            logits = head.logits(scaler.transform(features))
            return self._in_all_columns(logits if beside is None else logits + self._block_logits(beside))

        beside = None if self.beside is None else self.beside.of_shard
        classes = len(self.context.classes)
        return feature_score(self._store(cache), of_features, classes, expected=expected, beside=beside)

    def parts(self, cache: Cache, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """``(n,)`` by name: how much of the score of some objects is due to what, see `score_parts`.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        return score_parts(self._logits(cache, ids), usual_logits(self._logits_of_survey()))

    def shares(self) -> dict[str, float]:
        """Return how much the scores rest on each part over the survey, see `score_shares`.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        found = self._logits_of_survey()
        return score_shares(score_parts(found, usual_logits(found)))

    def _logits_of_survey(self) -> dict[str, np.ndarray]:
        """Return `_logits` of the objects that the scale of the survey is measured on, those that have features."""
        _ = self.head
        cache, exclude = self._learnt_on
        store = self._store(cache)
        ids = FeatureScaler.sample(store, self.context.seed, exclude)
        there = np.isfinite(store.get(ids)).all(axis=1)
        return self._logits(cache, [object_id for object_id, yes in zip(ids, there, strict=True) if yes])

    def _logits(self, cache: Cache, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """``(n, classes)`` logits of some objects by what they are due to, without the bias."""
        scaler, head = self.head
        store = self._store(cache)
        found = {IMAGE: head.logits(scaler.transform(store.get(ids)))}
        if self.beside is not None:
            points = self.beside.get(cache, ids)
            found |= {name: points[:, part] @ self._block_weight[part] for name, part in self.beside.parts.items()}
        prior = self._prior_of(store, ids)
        if prior.any():
            found[OUTLIERS] = np.tile(prior[:, None], head.weight.shape[1])
            found[OUTLIERS][:, 0] = 0
        return found

    @property
    def head(self) -> tuple[FeatureScaler, LinearHead]:
        """What it learnt: the scale of the features, and the logits of the label classes that have labels.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        if self._head is None or self._scaler is None:
            raise TrainingError("the probe has learnt nothing yet: train it first")
        return self._scaler, self._head

    def _check(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Return the label classes to tell apart, nominal first, or say what is missing."""
        return check_labels(classes, self.context.classes, "the probe")

    def _prior(self, cache: Cache, shard: Shard) -> np.ndarray | None:
        """``(n,)`` log-odds of being no nominal object that the objects of a shard have before any label; None: 0."""
        return None

    def _block_logits(self, beside: np.ndarray) -> np.ndarray:
        """``(n, classes)`` what the points ``(n, K)`` of the blocks add to the logits."""
        return beside @ self._block_weight

    def _in_all_columns(self, logits: np.ndarray) -> np.ndarray:
        """``(n, classes)`` float32 log-odds of logits of the classes that have labels; NaN for the others."""
        return all_classes(log_odds(logits), self._columns, len(self.context.classes))

    def _measure(self, store: FeatureStore, labelled: list[str], exclude: frozenset[str]) -> FeatureScaler:
        """Find the scale of the features; it is measured again only when there are more of them."""
        if self.options.scale == "plain":
            return FeatureScaler.plain()
        if self._measured is None or self._measured[:2] != (store, store.done):
            self._measured = store, store.done, FeatureScaler.of(store, self.context.seed, exclude, labelled)
        return self._measured[2]

    def _rotated_features(self, store: FeatureStore) -> RotatedFeatures:
        """Features of rotated views; kept, because those in memory would be lost."""
        if self._rotated is None or self._rotated.store is not store:
            self._rotated = RotatedFeatures(store)
        return self._rotated

    def _sample(self, store: FeatureStore, exclude: frozenset[str]) -> list[str]:
        """Choose the objects on which the effect of rotation is measured; none where that does not matter."""
        wanted = self.options.invariance > 0 and self.options.scale != "plain"
        return self._rotated_features(store).sample(exclude) if wanted else []

    def _invariance(
        self, transform: Callable[[np.ndarray], np.ndarray], store: FeatureStore, exclude: frozenset[str]
    ) -> Invariance | None:
        """Measure what rotation changes in the points that ``transform`` makes of features; None where nothing."""
        rotated = self._rotated_features(store)
        return rotated.invariance(self._sample(store, exclude), transform, self.options.invariance)

    def _learn(
        self,
        transform: Callable[[np.ndarray], np.ndarray],
        store: FeatureStore,
        ids: list[str],
        class_indices: np.ndarray,
        exclude: frozenset[str],
    ) -> LinearHead:
        """Fit the points that ``transform`` makes of the features of labelled objects, by class index."""
        invariance = self._invariance(transform, store, exclude)
        points = transform(store.get(ids))  # (n, D)
        seen = points.astype(np.float64) if invariance is None else invariance.transform(points)
        if self.beside is not None:
            beside = self.beside.get(store.cache, ids)  # (n, K)
            points, seen = np.hstack([points, beside]), np.hstack([seen, beside])
        trusted = trust(points, class_indices) if self.options.robust and len(set(class_indices)) > 1 else None
        if self._sure is not None:
            trusted = self._sure if trusted is None else trusted * self._sure
        weight, bias = self._regression(seen, class_indices, trusted, self._prior_of(store, ids))
        weight, more = np.split(weight, [points.shape[1] - (0 if self.beside is None else self.beside.width)])
        if invariance is not None:
            weight = invariance.original_weight(weight)
        if weight.shape[1] == 1:  # two classes: one logit, of the second against the first
            weight, more = (np.hstack([np.zeros_like(one), one]) for one in (weight, more))
            bias = np.array([0.0, bias[0]])
        self._block_weight = more.astype(np.float32)
        return LinearHead(weight.astype(np.float32), bias)

    def _regression(
        self, points: np.ndarray, class_indices: np.ndarray, trusted: np.ndarray | None, prior: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights ``(D, 1 or classes)`` and biases of the logits of points ``(n, D)``; see `_prior_of`."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=self.options.c, class_weight="balanced" if self.options.balanced else None, max_iter=2000
        )
        model.fit(points, class_indices, sample_weight=trusted)
        return model.coef_.T, model.intercept_

    def _prior_of(self, store: FeatureStore, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` log-odds of being no nominal object that some objects have before any label."""
        return np.zeros(len(ids))
