"""Rankers as they are published, without what was found to help: for comparison."""

from __future__ import annotations

from dataclasses import replace

from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.probe import Probe, ProbeOptions

__all__ = ["PlainProbe"]


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
            context, input=replace(context.input, turns=1), backbone=replace(context.backbone, layers="last")
        )
        super().__init__(replace(options, c=1.0, scale="plain"), plain)
