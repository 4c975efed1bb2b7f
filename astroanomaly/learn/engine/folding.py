"""Batch normalisation folded into the convolution before it: one pass over the activations less."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["folded"]


def folded(network: nn.Module) -> nn.Module:
    """Copy a network in evaluation mode, its running statistics multiplied into the weights of the convolutions.

    With fixed statistics batch normalisation is linear, so that what it does to the output of a convolution can be done
    to the weights (see `torch.nn.utils.fusion`). A normalisation is taken to belong to the convolution that was defined
    just before it, if their channels agree: true of the networks of timm, but not of all there are, so compare what
    both say before the copy is used.

    Parameters
    ----------
    network
        The network; unchanged.

    Returns
    -------
    torch.nn.Module
        The copy; the network itself where there is nothing to fold.
    """
    with torch.inference_mode(False), torch.no_grad():  # the copy may be used under either
        return _folded(network)


def _folded(network: nn.Module) -> nn.Module:
    made = copy.deepcopy(network)
    last: Any = None
    found: list[tuple[nn.Conv2d, str, Any]] = []
    for name, module in made.named_modules():
        if isinstance(module, nn.Conv2d):
            last = module
        elif isinstance(module, nn.BatchNorm2d):
            if last is not None and last.out_channels == module.num_features and module.running_mean is not None:
                found.append((last, name, module))
            last = None
    for convolution, name, norm in found:
        convolution.weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
        convolution.bias = bias
        parent, _, own = name.rpartition(".")
        setattr(made.get_submodule(parent), own, _after(norm))
    return made if found else network


def _after(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what a normalisation does beside normalising: timm's has an activation inside, and a dropout."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    return nn.Sequential(*(part for part in norm.children()))
