"""The network fine-tuned on the labels only: what FixMatch has to beat."""

from __future__ import annotations

import dataclasses

from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.fixmatch_ranker import FixMatch
from astroanomaly.learn.train_config import TrainConfig

__all__ = ["Supervised"]


class Supervised(FixMatch):
    """FixMatch's network, views and training without unlabelled images: ``train.unlabelled_weight`` is 0.

    Parameters
    ----------
    options
        The settings of FixMatch.
    context
        Label classes, model input, network, seed and device.
    """

    name = "supervised"
    summary = "the same network fine-tuned on the labels only"

    def __init__(self, options: TrainConfig, context: RankerContext) -> None:
        super().__init__(dataclasses.replace(options, unlabelled_weight=0.0), context)
