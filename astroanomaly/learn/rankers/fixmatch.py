"""The FixMatch ranker: a network that learns from a few labels and the unlabelled pool, round after round."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.learn.rankers.network_ranker import Fitted, NetworkRanker
from astroanomaly.learn.training.options import TrainConfig
from astroanomaly.learn.training.sampling import Deck, fingerprint, labelled_decks
from astroanomaly.records import Labelled, Progress

if TYPE_CHECKING:  # torch and what needs it is imported where it is used: listing the rankers must stay quick
    from torch import Tensor

    from astroanomaly.cache import Cache
    from astroanomaly.learn.model_input import ModelInput
    from astroanomaly.learn.training.fixmatch import StepBatch

__all__ = ["FixMatch"]

_PLAIN = 8, 64  # batches and images of each, to measure the statistics of batch normalisation on


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
    Options = TrainConfig

    options: TrainConfig

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

        from astroanomaly.learn.engine.device import pick_device
        from astroanomaly.learn.network.backbone import build_backbone
        from astroanomaly.learn.training.augment import strong_views, weak_views
        from astroanomaly.learn.training.fixmatch import StepBatch
        from astroanomaly.learn.training.trainer import fit_micro_batch, train

        config = self.options
        wanted = [(i, c) for i, c in zip(labels.ids, labels.classes, strict=True) if i not in exclude]
        learnt = self._check([c for _, c in wanted])
        before = self._fitted if config.start == "continue" else None
        model_input: ModelInput = self.context.input if before is None else before.model_input
        planes = model_input.check(cache)
        device = pick_device(self.context.device)

        seeds = np.random.SeedSequence([self.context.seed, fingerprint(wanted)])
        rng = np.random.default_rng(seeds)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        if before is None:
            model = build_backbone(
                self.context.backbone, len(self.context.classes), size=model_input.size, seed=self.context.seed
            )
        else:
            model = self._network(before)
        model.freeze(config.frozen_blocks)
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        micro_batch = fit_micro_batch(model, model_input.size, config)

        pool = Deck(cache.sample(config.pool, rng, exclude), rng) if config.unlabelled_batch else None
        decks = labelled_decks(wanted, rng, config.oversample)
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
            source = pool or Deck(wanted, rng)
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
        self._fitted = Fitted(state, learnt, model_input, micro_batch)
