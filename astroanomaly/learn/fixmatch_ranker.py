"""The FixMatch ranker: a network that learns from a few labels and the unlabelled pool, round after round."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import to_plain
from astroanomaly.errors import CheckpointError, TrainingError
from astroanomaly.hookspecs import RankerContext, ShardScores
from astroanomaly.learn.scoring import score_images
from astroanomaly.learn.train_config import TrainConfig
from astroanomaly.records import NOMINAL, Labelled, Progress

if TYPE_CHECKING:  # torch and what needs it is imported where it is used: listing the rankers must stay quick
    from torch import Tensor

    from astroanomaly.cache import Cache
    from astroanomaly.learn.backbone import Backbone
    from astroanomaly.learn.batches import ModelInput
    from astroanomaly.learn.explain import ImageScore
    from astroanomaly.learn.fixmatch import StepBatch

__all__ = ["FixMatch"]

_PLAIN = 8, 64  # batches and images of each, to measure the statistics of batch normalisation on
_LEARNT = "learnt"  # key of the checkpoint's settings: label classes that had labels


class FixMatch:
    """Semi-supervised deep learning: a pretrained network, a handful of labels and the unlabelled survey.

    The weights that score are the moving average. A further round starts from them, whether they are in memory or come
    from a checkpoint; all that is random follows from the seed and the labels, so that a round gives the same weights
    in one process or in two. A round that is interrupted or fails leaves the model of the round before.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed and device.
    """

    name = "fixmatch"
    summary = "a network that learns from a few labels and from the unlabelled images (FixMatch)"
    section = "train"
    Options = TrainConfig
    needs_labels = True
    has_weights = True

    def __init__(self, options: TrainConfig, context: RankerContext) -> None:
        self.options = options
        self.context = context
        self._fitted: _Fitted | None = None

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Learn for ``iterations`` steps, from scratch or from where the last round ended.

        Pixels are read from the cache step by step: memory does not grow with the cache, the pool or the labels.

        Parameters
        ----------
        cache
            The cutouts, labelled and unlabelled.
        labels
            ``nominal`` and at least one anomaly class. A class of the context without labels is neither predicted nor
            scored.
        exclude
            Objects never to learn from.

        Yields
        ------
        Progress
            One report per step, see `astroanomaly.learn.trainer.train`.

        Raises
        ------
        TrainingError
            If only one side is labelled, a label class is unknown, or the training diverges.
        CheckpointError
            If the model cannot look at this cache.
        """
        import torch

        from astroanomaly.learn.augment import strong_views, weak_views
        from astroanomaly.learn.backbone import build_backbone
        from astroanomaly.learn.device import pick_device
        from astroanomaly.learn.fixmatch import StepBatch
        from astroanomaly.learn.trainer import fit_micro_batch, train

        config = self.options
        wanted = [(i, c) for i, c in zip(labels.ids, labels.classes, strict=True) if i not in exclude]
        learnt = self._check([c for _, c in wanted])
        before = self._fitted if config.start == "continue" else None
        model_input: ModelInput = self.context.input if before is None else before.model_input
        planes = model_input.check(cache)
        device = pick_device(self.context.device)

        seeds = np.random.SeedSequence([self.context.seed, _fingerprint(wanted)])
        rng = np.random.default_rng(seeds)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if before is None:
            model = build_backbone(
                self.context.backbone, len(self.context.classes), size=model_input.size, seed=self.context.seed
            )
        else:
            model = before.model_for(self.context)
        model.freeze(config.frozen_blocks)
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        micro_batch = fit_micro_batch(model, model_input.size, config)

        pool = _Deck(cache.sample(config.pool, rng, exclude), rng) if config.unlabelled_batch else None
        decks = _labelled_decks(wanted, rng, config.oversample)
        classes = self.context.classes

        def read(ids: Sequence[str]) -> Tensor:
            return model_input.tensor(cache.read(ids), device, planes)  # (n, 3, S, S)

        def batches() -> Iterator[StepBatch]:
            more: dict[str, Any] = {"views": model_input.views, "edge_share": config.edge_share}
            while True:
                drawn = [decks[k % len(decks)].draw() for k in range(config.labelled_batch)]  # classes in turn
                labelled = weak_views(read([i for i, _ in drawn]), generator, **more)
                targets = torch.tensor([classes.index(c) for _, c in drawn], device=device)
                weak = strong = labelled[:0]
                if pool is not None:
                    unlabelled = read([pool.draw() for _ in range(config.unlabelled_batch)])
                    weak = weak_views(unlabelled, generator, **more)
                    strong = strong_views(unlabelled, generator, **more)
                yield StepBatch(labelled, targets, weak, strong)

        def plain() -> Iterator[Tensor]:
            source = pool or _Deck(wanted, rng)
            for _ in range(_PLAIN[0]):
                drawn = [source.draw() for _ in range(_PLAIN[1])]
                yield read(drawn if pool is not None else [i for i, _ in drawn])

        mask = torch.tensor([c in learnt for c in classes], device=device)
        average = yield from train(
            model,
            batches(),
            config,
            micro_batch=micro_batch,
            plain=plain,
            learnt=None if bool(mask.all()) else mask,
            fresh=before is None,
        )
        state = {name: tensor.detach() for name, tensor in average.state_dict().items()}
        self._fitted = _Fitted(state, learnt, model_input, micro_batch, config)

    def score(self, cache: Cache) -> Iterator[ShardScores]:
        """Score every object with the averaged weights; columns of label classes that had no label are NaN.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        CheckpointError
            If the model cannot look at this cache.
        """
        from astroanomaly.learn.device import pick_device
        from astroanomaly.learn.fixmatch import Columns

        fitted = self._need_fitted()
        columns = [self.context.classes.index(c) for c in fitted.learnt]
        model = Columns(fitted.model_for(self.context), columns)
        for scores in score_images(model, cache, fitted.model_input, device=pick_device(self.context.device)):
            if len(columns) < len(self.context.classes):
                wide = np.full((len(scores.ids), len(self.context.classes)), np.nan, np.float32)
                wide[:, columns] = scores.log_odds
                scores = dataclasses.replace(scores, log_odds=wide)
            yield scores

    def image_score(self, cache: Cache) -> ImageScore:
        """Return how it scores an image: the log-odds of not being nominal, see `astroanomaly.learn.explain`.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        from astroanomaly.learn.device import pick_device
        from astroanomaly.learn.explain import ImageScore
        from astroanomaly.learn.fixmatch import Columns

        fitted = self._need_fitted()
        columns = [self.context.classes.index(c) for c in fitted.learnt]
        device = pick_device(self.context.device)
        model = Columns(fitted.model_for(self.context), columns).to(device).eval()
        nominal = fitted.learnt.index(NOMINAL)
        others = [k for k in range(len(columns)) if k != nominal]

        def score(images: Tensor) -> Tensor:
            logits = fitted.model_input.averaged(model, images)  # (n, classes)
            return logits[:, others].logsumexp(1) - logits[:, nominal]

        return ImageScore(cache, fitted.model_input, score, device)

    def saliency(self, cache: Cache, object_id: str) -> np.ndarray:
        """Find which part of a cutout its score rests on, see `astroanomaly.learn.explain.occlusion`.

        Returns
        -------
        numpy.ndarray
            ``(height, width)`` float32 of the cutout: fall of the log-odds of not being nominal when that part is
            covered.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        UnknownObjectError
            For an id that is not in the cache.
        """
        return self.image_score(cache).saliency(object_id)

    def save(self, path: Path, metrics: dict[str, float] | None = None) -> None:
        """Write a checkpoint; the micro-batch that was used is among its settings.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        StorageError
            If it cannot be written.
        """
        from astroanomaly.learn.checkpoint import Checkpoint

        fitted = self._need_fitted()
        Checkpoint(
            ranker=self.name,
            classes=self.context.classes,
            model_input=fitted.model_input,
            backbone=self.context.backbone,
            state=fitted.state,
            settings={**to_plain(fitted.config), "micro_batch": fitted.micro_batch, _LEARNT: list(fitted.learnt)},
            metrics=metrics or {},
            seed=self.context.seed,
        ).save(path)

    def load(self, path: Path) -> None:
        """Take the weights of a checkpoint, for scoring and for the next round.

        Raises
        ------
        CheckpointError
            If it is damaged, from another ranker, for other label classes, or for another network.
        UnreadableError
            If it is missing.
        """
        from astroanomaly.learn.checkpoint import Checkpoint

        checkpoint = Checkpoint.load(path)
        if checkpoint.ranker != self.name:
            raise CheckpointError(f"checkpoint {path} is of the ranker {checkpoint.ranker!r}, expected {self.name!r}")
        if checkpoint.classes != tuple(self.context.classes):
            raise CheckpointError(
                f"checkpoint {path} knows the label classes {', '.join(checkpoint.classes)}, expected "
                f"{', '.join(self.context.classes)}: adding a label class starts a new model"
            )
        if checkpoint.backbone.name != self.context.backbone.name:
            raise CheckpointError(
                f"checkpoint {path} holds the network {checkpoint.backbone.name}, expected "
                f"{self.context.backbone.name}: set backbone.name={checkpoint.backbone.name}"
            )
        settings = dict(checkpoint.settings)
        learnt = tuple(settings.pop(_LEARNT, checkpoint.classes))
        if len(learnt) < 2 or not set(learnt) <= set(checkpoint.classes):
            raise CheckpointError(f"checkpoint {path} has damaged metadata: it learnt the label classes {learnt}")
        micro_batch = int(settings.get("micro_batch", 0))
        fitted = _Fitted(dict(checkpoint.state), learnt, checkpoint.model_input, micro_batch, self.options)
        fitted.model_for(self.context, f"checkpoint {path}")
        self._fitted = fitted

    def _need_fitted(self) -> _Fitted:
        if self._fitted is None:
            raise TrainingError(f"{self.name} has learnt nothing yet: train it first, or load a checkpoint")
        return self._fitted

    def _check(self, found: list[str]) -> tuple[str, ...]:
        """Return the label classes that have labels, in the context's order, or say what is missing."""
        counts = Counter(found)
        unknown = sorted(set(counts) - set(self.context.classes))
        if unknown:
            raise TrainingError(f"label class {unknown[0]!r} is not one of {', '.join(self.context.classes)}")
        learnt = tuple(c for c in self.context.classes if counts[c])
        if NOMINAL not in learnt or len(learnt) < 2:
            text = ", ".join(f"{counts[c]} {c}" for c in learnt) or "none"
            missing = NOMINAL if learnt and NOMINAL not in learnt else "anomaly"
            raise TrainingError(
                f"{self.name} needs labels on both sides, nominal and anomaly; found: {text}. Label at least one "
                f"object as {missing}, or use --ranker cold, which needs no labels"
            )
        return learnt


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitted:
    """A trained network as plain tensors, with what is needed to use it."""

    state: dict[str, Tensor]
    learnt: tuple[str, ...]
    model_input: ModelInput
    micro_batch: int
    config: TrainConfig

    def model_for(self, context: RankerContext, what: str = "the model of the last round") -> Backbone:
        """Build the network anew with these weights; the state is copied, so training it changes nothing here."""
        from astroanomaly.learn.backbone import build_backbone
        from astroanomaly.learn.weights import load_state

        config = dataclasses.replace(context.backbone, weights="random")  # whatever it started from is overwritten
        model = build_backbone(config, len(context.classes), size=self.model_input.size, seed=context.seed)
        load_state(model, self.state, what)
        return model


class _Deck:
    """Endless draws: every item once in random order, then again in another."""

    def __init__(self, items: Sequence[Any], rng: np.random.Generator) -> None:
        self._items = items
        self._rng = rng
        self._order: list[int] = []

    def draw(self) -> Any:
        if not self._order:
            self._order = self._rng.permutation(len(self._items)).tolist()
        return self._items[self._order.pop()]


def _labelled_decks(wanted: list[tuple[str, str]], rng: np.random.Generator, oversample: bool) -> list[_Deck]:
    """One deck of (id, class) for each class, to be drawn from in turn; or one for all."""
    if not oversample:
        return [_Deck(wanted, rng)]
    return [_Deck([pair for pair in wanted if pair[1] == c], rng) for c in sorted({c for _, c in wanted})]


def _fingerprint(wanted: list[tuple[str, str]]) -> int:
    """Make a number of the labels: further rounds draw another pool, repeated ones the same."""
    return zlib.crc32("\n".join(sorted(f"{c}\t{i}" for i, c in wanted)).encode())
