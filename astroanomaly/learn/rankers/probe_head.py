"""The probe as the head of a network, so that fine-tuning starts from the probe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.rankers.linear_head import LinearHead

__all__ = ["ProbeHead", "TwoNetworks"]

_RELATIVE_OFFSET = 1e-3  # of a feature's mean, under the square root, or its slope would be infinite at 0
_MIN_OFFSET = 1e-8  # likewise, of a feature that is mostly 0


class ProbeHead(nn.Module):
    """Scale features as `FeatureScaler` does, then apply the linear head of the probe.

    Parameters
    ----------
    dim
        Number of features.
    num_classes
        Number of label classes.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.line = nn.utils.skip_init(
            nn.Linear, dim, num_classes
        )  # draws no random numbers; checkpoints know it as line
        with torch.no_grad():
            self.line.weight.zero_()
            self.line.bias.zero_()

    @torch.no_grad()
    def begin(self, scaler: FeatureScaler, head: LinearHead, columns: Sequence[int]) -> None:
        """Take over what the probe has learnt.

        Parameters
        ----------
        scaler, head
            The probe's own, see `astroanomaly.learn.rankers.probe.Probe.head`.
        columns
            Places of its label classes among those of the head; the others stay at 0.
        """
        self.centre.copy_(torch.from_numpy(scaler.centre))
        self.scale.copy_(torch.from_numpy(scaler.scale))
        self.line.weight[list(columns)] = torch.from_numpy(head.weight.T.copy()).to(self.centre)
        self.line.bias[list(columns)] = torch.from_numpy(head.bias).to(self.centre)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(n, num_classes)`` of features ``(n, dim)``."""
        offset = _RELATIVE_OFFSET * self.centre.square() + _MIN_OFFSET  # (dim,)
        roots = features.sign() * ((features.abs() + offset).sqrt() - offset.sqrt())
        points = functional.normalize((roots - self.centre) * self.scale, dim=1)  # (n, dim)
        return self.line(points)


class TwoNetworks(nn.Module):
    """An ensemble of two networks: the mean of their logits.

    Parameters
    ----------
    first
        The network that the other started from, with the probe as its head.
    tuned
        The network that went on learning.
    """

    def __init__(self, first: nn.Module, tuned: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.tuned = tuned

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, num_classes)`` of RGB images ``(n, 3, S, S)`` in [0, 1]."""
        return (self.first(images) + self.tuned(images)) / 2
