"""Base class of rankers that train a network: scores, saliency maps, checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astroanomaly.config import to_plain
from astroanomaly.errors import CheckpointError, TrainingError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.scoring import Logits, all_classes, log_odds, score_images
from astroanomaly.records import Labelled, Progress, ShardScores

if TYPE_CHECKING:  # torch and what needs it is imported where it is used: listing the rankers must stay quick
    from torch import Tensor, nn

    from astroanomaly.cache import Cache
    from astroanomaly.cache.model_input import ModelInput
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.explain import ImageScore
    from astroanomaly.learn.training.fixmatch import Columns

__all__ = ["Fitted", "NetworkRanker"]

_LEARNT, _FEATURES = "learnt", "features"  # keys of the checkpoint's settings, see `Fitted`


@dataclasses.dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network as plain tensors, with what is needed to use it.

    Parameters
    ----------
    state
        State dictionary of the network.
    learnt
        Label classes that had labels, in the order of the head's outputs.
    model_input
        How a cutout becomes the network's input.
    micro_batch
        Images that passed together in training.
    features
        Key of the frozen features it began with, see `astroanomaly.learn.features.store`; empty for none.
    """

    state: dict[str, Tensor]
    learnt: tuple[str, ...]
    model_input: ModelInput
    micro_batch: int
    features: str = ""


class NetworkRanker:
    """A ranker that trains a network and keeps it as a checkpoint; derive from it and add `fit`.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed and device.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    section: ClassVar[str]
    Options: ClassVar[type]
    needs_labels: ClassVar[bool] = True
    has_weights: ClassVar[bool] = True

    def __init__(self, options: Any, context: RankerContext) -> None:
        self.options = options
        self.context = context
        self._fitted: Fitted | None = None
        self._ready: tuple[Fitted, Columns, list[Engine]] | None = None  # one network for all scores of one fit

    # ------------------------------------------------------------------------------------------- what a ranker writes

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Learn, report, and set ``_fitted`` at the end. Never learn from ``exclude``."""
        raise NotImplementedError

    def build(self, model_input: ModelInput) -> nn.Module:
        """Make the network with any weights; those of `Fitted` are put into it."""
        from astroanomaly.learn.network.backbone import build_backbone

        config = dataclasses.replace(self.context.backbone, weights="random")  # whatever it started from is overwritten
        return build_backbone(config, len(self.context.classes), size=model_input.size, seed=self.context.seed)

    def logits(self, model: Columns, engine: Engine, cache: Cache) -> Logits:
        """Give the logits of images of a cache by a network on an engine: here those of the network alone."""
        from astroanomaly.learn.preprocessing import average_views

        run, model_input = engine.run(model), self._need_fitted().model_input
        return lambda seen, shard, start: average_views(run, seen, model_input)

    # ------------------------------------------------------------------------------------------ what a session asks for

    def score(self, cache: Cache, only: Collection[str] | None = None) -> Iterator[ShardScores]:
        """Score every object with the averaged weights; columns of label classes that had no label are NaN.

        Parameters
        ----------
        cache
            The cutouts, those it learnt from or others.
        only
            Uuids of the shards to score; None: all.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        CheckpointError
            If the model cannot look at this cache.
        """
        fitted = self._need_fitted()
        columns = [self.context.classes.index(c) for c in fitted.learnt]
        model, engines = self._made(fitted, columns)

        def logits(model: Any, engine: Engine) -> Logits:
            return self.logits(model, engine, cache)

        for scores in score_images(model, cache, fitted.model_input, engines=engines, logits=logits, only=only):
            wide = all_classes(scores.log_odds, columns, len(self.context.classes))
            yield dataclasses.replace(scores, log_odds=wide)

    def image_score(self, cache: Cache, *, expected: int = 0) -> ImageScore:
        """Return how it scores an image, see `astroanomaly.learn.explain`.

        Parameters
        ----------
        cache
            The cutouts, or others with the same layout.
        expected
            About how many images are to be scored.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        from astroanomaly.learn.explain import ImageScore

        fitted = self._need_fitted()
        columns = [self.context.classes.index(c) for c in fitted.learnt]
        model, (engine, *_) = self._made(fitted, columns)
        engine.expect(expected)
        engine.place(model)
        logits, count = self.logits(model, engine, cache), len(self.context.classes)

        def of_images(images: Tensor) -> np.ndarray:
            return all_classes(log_odds(logits(images, "", 0).float().cpu().numpy()), columns, count)

        return ImageScore(cache, fitted.model_input, of_images, engine, count)

    def _made(self, fitted: Fitted, columns: list[int]) -> tuple[Any, list[Engine]]:
        """Return the network and what it runs on: the same for all scores of one fit."""
        from astroanomaly.learn.engine.engine import make_engines
        from astroanomaly.learn.training.fixmatch import Columns

        if self._ready is None or self._ready[0] is not fitted:
            engines = make_engines(self.context.engine, self.context.device)
            self._ready = fitted, Columns(self._network(fitted), columns), engines
        return self._ready[1:]

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
        from astroanomaly.learn.network.checkpoint import Checkpoint

        fitted = self._need_fitted()
        Checkpoint(
            ranker=self.name,
            classes=self.context.classes,
            model_input=fitted.model_input,
            backbone=self.context.backbone,
            state=fitted.state,
            settings={
                **to_plain(self.options),
                "micro_batch": fitted.micro_batch,
                _LEARNT: list(fitted.learnt),
                _FEATURES: fitted.features,
            },
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
        from astroanomaly.learn.network.checkpoint import Checkpoint

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
        features = str(settings.get(_FEATURES, ""))
        fitted = Fitted(dict(checkpoint.state), learnt, checkpoint.model_input, micro_batch, features)
        self._network(fitted, f"checkpoint {path}")
        self._fitted = fitted

    def _need_fitted(self) -> Fitted:
        if self._fitted is None:
            raise TrainingError(f"{self.name} has learnt nothing yet: train it first, or load a checkpoint")
        return self._fitted

    def _network(self, fitted: Fitted, what: str = "the model of the last round") -> Any:
        """Build the network anew with trained weights; they are copied, so that training it changes nothing here."""
        from astroanomaly.learn.network.weights import load_state

        model = self.build(fitted.model_input)
        load_state(model, fitted.state, what)
        return model
