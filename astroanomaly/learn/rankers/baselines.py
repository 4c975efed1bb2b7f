"""Baselines for comparison: FixMatch without unlabelled images, and a plain linear probe."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.rankers.fixmatch import FixMatch
from astroanomaly.learn.rankers.probe import Probe, ProbeOptions
from astroanomaly.learn.training.options import FixMatchOptions

__all__ = ["PlainProbe", "Supervised"]


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

    def __init__(self, options: FixMatchOptions, context: RankerContext) -> None:
        super().__init__(dataclasses.replace(options, unlabelled_weight=0.0), context)


class PlainProbe(Probe):
    """Class-balanced logistic regression on pooled features of one view: ``probe.c`` is 1, ``probe.scale`` plain.

    Parameters
    ----------
    options
        The settings of the probe.
    context
        Label classes, model input, network, seed, device and folder.
    """

    name = "plain-probe"
    summary = "logistic regression on plain features of one view, for comparison with the probe"

    def __init__(self, options: ProbeOptions, context: RankerContext) -> None:
        plain = replace(
            context,
            input=replace(context.input, tta_views=1),
            backbone=replace(context.backbone, layers="last"),
            blocks=(),
        )
        super().__init__(replace(options, c=1.0, scale="plain"), plain)
