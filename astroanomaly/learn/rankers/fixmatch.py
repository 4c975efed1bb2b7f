"""The FixMatch ranker: a network that learns from a few labels and the unlabelled pool, round after round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from astroanomaly.learn.rankers.network_ranker import Fitted, NetworkRanker
from astroanomaly.learn.training.options import FixMatchOptions
from astroanomaly.learn.training.sampling import Shuffler
from astroanomaly.records import Labelled, Progress

if TYPE_CHECKING:  # torch and what needs it is imported where it is used: listing the rankers must stay quick
    from torch import Tensor

    from astroanomaly.cache import Cache
    from astroanomaly.learn.training.fixmatch import StepBatch

__all__ = ["FixMatch"]

_NORM_BATCHES, _NORM_BATCH_SIZE = 8, 64  # images that the statistics of batch normalisation are measured on


class FixMatch(NetworkRanker):
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
    Options = FixMatchOptions

    options: FixMatchOptions

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
            One report per step, see `astroanomaly.learn.training.trainer.train`.

        Raises
        ------
        TrainingError
            If only one side is labelled, a label class is unknown, or the training diverges.
        CheckpointError
            If the model cannot look at this cache.
        """
        import torch

        from astroanomaly.learn.network.backbone import build_backbone
        from astroanomaly.learn.training.data import TrainingData
        from astroanomaly.learn.training.fixmatch import StepBatch
        from astroanomaly.learn.training.trainer import fit_micro_batch, train

        options, context = self.options, self.context
        before = self._fitted if options.start == "continue" else None
        model_input = context.input if before is None else before.model_input
        data = TrainingData(
            cache, labels, exclude, context, model_input, self.name,
            edge_share=options.edge_share, oversample=options.oversample,
        )  # fmt: skip
        if before is None:
            model = build_backbone(context.backbone, len(context.classes), size=model_input.size, seed=context.seed)
        else:
            model = self._network(before)
        model.freeze(options.frozen_blocks)
        model = model.to(data.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        micro_batch = fit_micro_batch(model, model_input.size, options)
        pool = Shuffler(cache.sample(options.pool, data.rng, exclude), data.rng) if options.unlabelled_batch else None

        def batches() -> Iterator[StepBatch]:
            while True:
                labelled, targets = data.labelled(options.labelled_batch)
                weak = strong = labelled[:0]
                if pool is not None:
                    unlabelled = data.read([pool.draw() for _ in range(options.unlabelled_batch)])
                    weak, strong = data.weak(unlabelled), data.strong(unlabelled)
                yield StepBatch(labelled, targets, weak, strong)

        def as_scored() -> Iterator[Tensor]:
            source = pool or Shuffler([object_id for object_id, _ in data.pairs], data.rng)
            for _ in range(_NORM_BATCHES):
                yield data.read([source.draw() for _ in range(_NORM_BATCH_SIZE)])

        average = yield from train(
            model,
            batches(),
            options,
            micro_batch=micro_batch,
            as_scored=as_scored,
            learnt=data.mask,
            fresh=before is None,
        )
        state = {name: tensor.detach() for name, tensor in average.state_dict().items()}
        self._fitted = Fitted(state, data.learnt, model_input, micro_batch)
