"""The tuned network: it starts where the probe stands, and goes on learning from the labels."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.learn.features.scaling import Points
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.network_ranker import Fitted, NetworkRanker
from astroanomaly.learn.rankers.probe import Line, Probe, ProbeOptions
from astroanomaly.learn.scoring import Judge
from astroanomaly.learn.training.options import TuneOptions
from astroanomaly.learn.training.sampling import fingerprint, labelled_decks
from astroanomaly.records import Labelled, Progress

if TYPE_CHECKING:  # torch and what needs it is imported where it is used: listing the rankers must stay quick
    from torch import Tensor, nn

    from astroanomaly.cache import Cache
    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.model_input import ModelInput
    from astroanomaly.learn.training.fixmatch import Columns, StepBatch

__all__ = ["Tuned"]


class Tuned(NetworkRanker):
    """The whole network fine-tuned on the labels, its head and its first verdicts being those of the probe.

    Fine-tuning from a head that knows nothing distorts pretrained features before it learns; a head that was fitted
    first avoids that (Kumar et al. 2022, arXiv:2202.10054). Here the head is the probe as it is, the scale of the
    survey included, so that a round starts from what the probe says. Batch normalisation keeps the statistics that
    came with the weights. What scores is the mean of the log-odds of the moving average of training and of the network
    as it was at the start: where a few labels lead the one astray, the other holds.

    Every round starts anew and learns from all labels: it depends on them and the seed alone.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed and device.
    """

    name = "tuned"
    summary = "the network fine-tuned on the labels, from where the probe stands"
    section = "tune"
    Options = TuneOptions

    options: TuneOptions

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Fit the probe, then train until the labels are learnt, for ``iterations`` steps at most.

        Features are computed for the labelled objects and for those that the scale of the survey is measured on, if
        they are not there yet.

        Parameters
        ----------
        cache
            The cutouts.
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
        from astroanomaly.learn.rankers.probe_head import Pair
        from astroanomaly.learn.training.augment import weak_views
        from astroanomaly.learn.training.fixmatch import StepBatch
        from astroanomaly.learn.training.trainer import fit_micro_batch, train

        config = self.options.training
        wanted = [(i, c) for i, c in zip(labels.ids, labels.classes, strict=True) if i not in exclude]
        learnt = self._check([c for _, c in wanted])
        classes, model_input = self.context.classes, self.context.input
        planes = model_input.check(cache)
        device = pick_device(self.context.device)

        model = self._with_head(self.context.backbone, model_input)
        store = FeatureStore.of(cache, self.context)
        points, line = yield from self._probe(store, labels, exclude)
        model.head.begin(points, line, [classes.index(c) for c in learnt])
        model.freeze(self.options.frozen_blocks)
        model = model.to(device, memory_format=torch.channels_last)
        start = copy.deepcopy(model)

        rng = np.random.default_rng((self.context.seed, fingerprint(wanted)))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        decks = labelled_decks(wanted, rng)

        def batches() -> Iterator[StepBatch]:
            while True:
                drawn = [decks[k % len(decks)].draw() for k in range(config.labelled_batch)]  # classes in turn
                seen = model_input.tensor(cache.read([i for i, _ in drawn]), device, planes)  # (n, 3, S, S)
                weak = weak_views(seen, generator, views=model_input.views, edge_share=self.options.edge_share)
                targets = torch.tensor([classes.index(c) for _, c in drawn], device=device)
                yield StepBatch(weak, targets, weak[:0], weak[:0])

        mask = torch.tensor([c in learnt for c in classes], device=device)
        micro_batch = fit_micro_batch(model, model_input.size, config, self.section)
        average = yield from train(
            model,
            batches(),
            config,
            micro_batch=micro_batch,
            learnt=None if bool(mask.all()) else mask,
            section=self.section,
            enough=self.options.enough,
        )
        state = {name: tensor.detach() for name, tensor in Pair(start, average).state_dict().items()}
        self._fitted = Fitted(state, learnt, model_input, micro_batch, store.key)

    def _probe(
        self, store: FeatureStore, labels: Labelled, exclude: frozenset[str]
    ) -> Generator[Progress, None, tuple[Points, Line]]:
        """Fit the probe on the features of the labelled objects."""
        sample = Points.sample(store, self.context.seed, exclude)
        known = [object_id for object_id in labels.ids if object_id not in exclude]
        yield from store.compute(first=[*known, *sample], only=())
        yield from store.turned.compute(store.turned.sample(exclude))
        probe = Probe(ProbeOptions(), self.context)
        probe.share(store)
        yield from probe.fit(store.cache, labels, exclude, complete=False)
        return probe.line

    def build(self, model_input: ModelInput) -> nn.Module:
        """Make both networks with any weights."""
        from astroanomaly.learn.rankers.probe_head import Pair

        config = dataclasses.replace(self.context.backbone, weights="random")  # whatever it started from is overwritten
        return Pair(self._with_head(config, model_input), self._with_head(config, model_input))

    def judge(self, model: Columns, engine: Engine, cache: Cache) -> Judge:
        """Judge with the features of the first network where they exist, which saves half of the time."""
        fitted = self._need_fitted()
        pair: Any = model.model
        store = FeatureStore.of(cache, self.context)
        kept = fitted.features == store.key
        first, tuned, averaged = engine.run(pair.first, "seen"), engine.run(pair.tuned), fitted.model_input.averaged

        def judged(seen: Tensor, shard: str, start: int) -> Tensor:
            rows = slice(start, start + len(seen))
            if kept and shard and store.computed(shard)[rows].all():
                features = engine.transfer.upload(store.shard(shard)[rows]).float()
            else:
                features = averaged(first, seen).half().float()  # as they are kept
            logits = pair.first.head(features) + averaged(tuned, seen)  # (n, all classes)
            return logits[:, model.columns] / 2

        return judged

    def _with_head(self, config: BackboneConfig, seen: ModelInput) -> Any:
        """Make the network with the head of the probe, which knows nothing yet."""
        from astroanomaly.learn.network.backbone import build_backbone
        from astroanomaly.learn.rankers.probe_head import ProbeHead

        model = build_backbone(config, size=seen.size, several=config.several(seen.views), seed=self.context.seed)
        model.num_classes = len(self.context.classes)
        model.head = ProbeHead(sum(model.widths(seen.size)), model.num_classes)
        return model
