"""A network fine-tuned on the labels, which starts from the linear probe."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.linear_head import LinearHead
from astroanomaly.learn.rankers.network_ranker import Fitted, NetworkRanker
from astroanomaly.learn.rankers.probe import Probe, ProbeOptions
from astroanomaly.learn.scoring import Logits
from astroanomaly.learn.training.options import TuneOptions
from astroanomaly.records import Labelled, Progress

if TYPE_CHECKING:  # torch and what needs it is imported where it is used: listing the rankers must stay quick
    from torch import Tensor, nn

    from astroanomaly.cache import Cache
    from astroanomaly.cache.model_input import ModelInput
    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.training.fixmatch import Columns, StepBatch

__all__ = ["Tuned"]


class Tuned(NetworkRanker):
    """The whole network fine-tuned on the labels, its head and its first log-odds being those of the probe.

    Fine-tuning from a head that knows nothing distorts pretrained features before it learns; a head that was fitted
    first avoids that (Kumar et al. 2022, arXiv:2202.10054). Here the head is the probe as it is, the scale of the
    survey included, so that a round starts from what the probe says. Batch normalisation keeps the statistics that
    came with the weights. What scores is the mean of the log-odds of two networks: the exponential moving average of
    training, and the network as it was at the start. Where a few labels lead the one astray, the other holds.

    Every round starts anew and learns from all labels: it depends on them and the seed alone.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed and device.
    """

    name = "tuned"
    summary = "the network fine-tuned on the labels, starting from the probe"
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

        from astroanomaly.learn.rankers.probe_head import TwoNetworks
        from astroanomaly.learn.training.data import TrainingData
        from astroanomaly.learn.training.fixmatch import StepBatch
        from astroanomaly.learn.training.trainer import fit_micro_batch, train

        options, context = self.options.training, self.context
        data = TrainingData(
            cache, labels, exclude, context, context.input, self.name, edge_share=self.options.edge_share
        )
        model = self._with_head(context.backbone, context.input)
        store = FeatureStore.of(cache, context)
        scaler, head = yield from self._probe(store, labels, exclude)
        model.head.begin(scaler, head, [context.classes.index(name) for name in data.learnt])
        model.freeze(self.options.frozen_blocks)
        model = model.to(data.device, memory_format=torch.channels_last)
        start = copy.deepcopy(model)

        def batches() -> Iterator[StepBatch]:
            while True:
                labelled, targets = data.labelled(options.labelled_batch)
                yield StepBatch(labelled, targets, labelled[:0], labelled[:0])

        micro_batch = fit_micro_batch(model, context.input.size, options, self.section)
        average = yield from train(
            model,
            batches(),
            options,
            micro_batch=micro_batch,
            learnt=data.mask,
            section=self.section,
            enough=self.options.enough,
        )
        state = {name: tensor.detach() for name, tensor in TwoNetworks(start, average).state_dict().items()}
        self._fitted = Fitted(state, data.learnt, context.input, micro_batch, store.key)

    def _probe(
        self, store: FeatureStore, labels: Labelled, exclude: frozenset[str]
    ) -> Generator[Progress, None, tuple[FeatureScaler, LinearHead]]:
        """Fit the probe on the features of the labelled objects, and on nothing beside them."""
        sample = FeatureScaler.sample(store, self.context.seed, exclude)
        known = [object_id for object_id in labels.ids if object_id not in exclude]
        yield from store.compute(first=[*known, *sample], only=())
        probe = Probe(ProbeOptions(), dataclasses.replace(self.context, blocks=()))
        probe.share(store, complete=False)
        yield from probe.prepare(store.cache, exclude)
        yield from probe.fit(store.cache, labels, exclude)
        return probe.head

    def build(self, model_input: ModelInput) -> nn.Module:
        """Make both networks with any weights."""
        from astroanomaly.learn.rankers.probe_head import TwoNetworks

        config = dataclasses.replace(self.context.backbone, weights="random")  # whatever it started from is overwritten
        return TwoNetworks(self._with_head(config, model_input), self._with_head(config, model_input))

    def logits(self, model: Columns, engine: Engine, cache: Cache) -> Logits:
        """Use the features of the first network where they exist, which saves half of the time."""
        from astroanomaly.learn.preprocessing import average_views

        fitted = self._need_fitted()
        pair: Any = model.model
        store = FeatureStore.of(cache, self.context)
        kept = fitted.features == store.key
        first, tuned = engine.run(pair.first, "seen"), engine.run(pair.tuned)

        def mean(seen: Tensor, shard: str, start: int) -> Tensor:
            rows = slice(start, start + len(seen))
            if kept and shard and store.computed(shard)[rows].all():
                features = engine.transfer.upload(store.shard(shard)[rows]).float()
            else:
                features = average_views(first, seen, fitted.model_input).half().float()  # as they are kept
            logits = pair.first.head(features) + average_views(tuned, seen, fitted.model_input)  # (n, all classes)
            return logits[:, model.columns] / 2

        return mean

    def _with_head(self, config: BackboneConfig, seen: ModelInput) -> Any:
        """Make the network with the head of the probe, which knows nothing yet."""
        from astroanomaly.learn.network.backbone import build_backbone
        from astroanomaly.learn.rankers.probe_head import ProbeHead

        model = build_backbone(config, size=seen.size, layers=config.layers_of(seen.views), seed=self.context.seed)
        model.num_classes = len(self.context.classes)
        model.head = ProbeHead(sum(model.widths(seen.size)), model.num_classes)
        return model
