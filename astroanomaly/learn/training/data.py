"""Training data of a round: shuffled labelled objects, and cutouts as the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from astroanomaly.cache.model_input import ModelInput
from astroanomaly.hookspecs import RankerContext
from astroanomaly.imaging.sampling import read_undamaged
from astroanomaly.learn.engine.device import pick_device
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.rankers.label_check import check_labels
from astroanomaly.learn.training.augment import strong_views, weak_views
from astroanomaly.learn.training.sampling import fingerprint, labelled_shufflers
from astroanomaly.records import Labelled

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["TrainingData"]


class TrainingData:
    """The images of a round. All that is random follows from the seed and the labels.

    Pixels are read from the cache step by step: memory does not grow with the cache or the labels.

    Parameters
    ----------
    cache
        The cutouts.
    labels
        Labelled objects.
    exclude
        Objects never to learn from.
    context
        Label classes, seed and device.
    model_input
        How cutouts become the network's input.
    who
        Name of the ranker, for messages.
    edge_share
        Share of the images that lose an edge or a corner, see `astroanomaly.learn.training.augment`.
    oversample
        Whether every label class is drawn equally often.

    Attributes
    ----------
    pairs
        Id and label class of each object that is learnt from.
    learnt
        Label classes that have labels, in the context's order.
    device
        Where the images are.
    rng
        Source of what is drawn.

    Raises
    ------
    TrainingError
        If only one side is labelled, or a label class is unknown.
    CheckpointError
        If the model cannot look at this cache.
    """

    def __init__(
        self,
        cache: Cache,
        labels: Labelled,
        exclude: frozenset[str],
        context: RankerContext,
        model_input: ModelInput,
        who: str,
        *,
        edge_share: float,
        oversample: bool = True,
    ) -> None:
        self.pairs = [(i, c) for i, c in zip(labels.ids, labels.classes, strict=True) if i not in exclude]
        self.learnt = check_labels([c for _, c in self.pairs], context.classes, who)
        self._cache, self._model_input, self._classes = cache, model_input, context.classes
        self._planes = model_input.check(cache)
        self._edge_share = edge_share
        self.device = pick_device(context.device)
        self.rng = np.random.default_rng((context.seed, fingerprint(self.pairs)))
        self._generator = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        self._shufflers = labelled_shufflers(self.pairs, self.rng, oversample)

    @property
    def mask(self) -> Tensor | None:
        """``(classes,)`` bool: label classes that have labels; None where all have."""
        if len(self.learnt) == len(self._classes):
            return None
        return torch.tensor([name in self.learnt for name in self._classes], device=self.device)

    def read(self, ids: Sequence[str]) -> Tensor:
        """``(n, 3, S, S)``: the network's input for some objects; others of them stand for those that are damaged."""
        return self._read(ids)[0]

    def _read(self, ids: Sequence[str]) -> tuple[Tensor, np.ndarray]:
        """Return what `read` does, and ``(n,)`` places in ``ids`` of the objects that it shows."""
        images, places = read_undamaged(self._cache, ids)
        if len(places) < len(ids):
            instead = np.resize(np.arange(len(places)), len(ids))
            images, places = images[instead], places[instead]
        return to_tensor(images, self._model_input, self.device, self._planes), places

    def labelled(self, count: int) -> tuple[Tensor, Tensor]:
        """Weak views ``(count, 3, S, S)`` of labelled objects, class after class, and int64 class numbers."""
        drawn = [self._shufflers[k % len(self._shufflers)].draw() for k in range(count)]
        images, places = self._read([object_id for object_id, _ in drawn])
        classes = [self._classes.index(drawn[place][1]) for place in places]
        return self.weak(images), torch.tensor(classes, device=self.device)

    def weak(self, images: Tensor) -> Tensor:
        """Weak views of images ``(n, 3, S, S)``."""
        return weak_views(images, self._generator, self._model_input.views, edge_share=self._edge_share)

    def strong(self, images: Tensor) -> Tensor:
        """Strong views of images ``(n, 3, S, S)``."""
        return strong_views(images, self._generator, self._model_input.views, edge_share=self._edge_share)
