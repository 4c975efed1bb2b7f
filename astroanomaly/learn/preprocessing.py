"""From cutouts to the network's input, on its device; and test-time augmentation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astroanomaly.cache.model_input import ModelInput
from astroanomaly.errors import CheckpointError
from astroanomaly.imaging.stretch import Stretch

__all__ = ["average_views", "resize", "to_tensor"]


def to_tensor(
    images: np.ndarray | Tensor,
    model_input: ModelInput,
    device: torch.device | str = "cpu",
    planes: Sequence[int] | None = None,
) -> Tensor:
    """Turn cutouts into the network's input.

    Parameters
    ----------
    images
        ``(n, B, H, W)`` float32 flux with NaN where there is no data, or uint8 display pixels. They travel to the
        device as they are; from a tensor in pinned memory while the caller goes on.
    model_input
        How they become the network's input.
    device
        Where to compute.
    planes
        What `ModelInput.check` returned, when the images come from a cache with another order of bands.

    Returns
    -------
    torch.Tensor
        ``(n, 3, size, size)`` float32 in [0, 1], finite, channels last in memory.

    Raises
    ------
    CheckpointError
        If the images have another shape.
    """
    if planes is not None:
        images = images[:, list(planes)]
    if images.ndim != 4 or images.shape[1] != len(model_input.bands):
        raise CheckpointError(f"images have the shape {images.shape}, expected (n, {len(model_input.bands)}, H, W)")
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.require(images, requirements=["C", "W"]))  # torch wants to own its memory
    pixels = images.to(device, non_blocking=True)  # (n, B, H, W)
    if model_input.pixel_kind == "display":
        pixels = pixels.contiguous(memory_format=torch.channels_last)  # first, while they are one byte each
        pixels = pixels.to(torch.float32).div_(255)
    else:
        pixels = Stretch(model_input.stretch, model_input.limits)(pixels.float())
    single = _single_bands(model_input.channels)
    if single is not None:
        colours = pixels if single == tuple(range(pixels.shape[1])) else pixels[:, list(single)]
    else:
        weights = torch.tensor(model_input.channels, dtype=torch.float32).to(pixels.device, non_blocking=True)  # (3, B)
        colours = torch.einsum("nbhw,cb->nchw", pixels, weights)  # (n, 3, H, W)
    seen = resize(colours, model_input.size).contiguous(memory_format=torch.channels_last)  # (n, 3, S, S)
    return seen if single is not None else seen.clamp_(0, 1)  # weights may add up to more than 1


def average_views(network: Callable[[Tensor], Tensor], seen: Tensor, model_input: ModelInput) -> Tensor:
    """Average what a network makes of images over their rotated or mirrored views (test-time augmentation).

    Parameters
    ----------
    network
        Maps ``(n, 3, S, S)`` to ``(n, D)``.
    seen
        What `to_tensor` returned.
    model_input
        Says over which views: ``tta_views`` of them.

    Returns
    -------
    torch.Tensor
        ``(n, D)``.
    """
    total = network(seen)
    for view in range(1, model_input.tta_views):
        if model_input.views == "picture":
            changed = seen.flip(3)
        else:
            changed = seen.rot90(view * 4 // model_input.tta_views, (2, 3))  # counter-clockwise
        total = total + network(changed.contiguous(memory_format=torch.channels_last))
    return total / model_input.tta_views


@functools.lru_cache(maxsize=16)
def _single_bands(channels: tuple[tuple[float, ...], ...]) -> tuple[int, ...] | None:
    """Which band each of red, green and blue is; None where one of them is made of several."""
    weights = np.asarray(channels, np.float32)  # (3, B)
    single = ((weights == 1).sum(axis=1) == 1) & ((weights != 0).sum(axis=1) == 1)
    return tuple(int(band) for band in weights.argmax(axis=1)) if single.all() else None


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images to a square, keeping their aspect: zeros are added around the shorter side.

    Bicubic with antialiasing, which is the rule of Pillow; what overshoots is clamped to [0, 1].

    Parameters
    ----------
    images
        ``(n, C, H, W)`` in [0, 1].
    size
        Side of the result in pixels.

    Returns
    -------
    torch.Tensor
        ``(n, C, size, size)`` in [0, 1].
    """
    height, width = images.shape[-2:]
    if height != width:
        side = max(height, width)
        left, top = (side - width) // 2, (side - height) // 2
        images = functional.pad(images, (left, side - width - left, top, side - height - top))
    if images.shape[-1] != size:
        images = functional.interpolate(images, size=(size, size), mode="bicubic", antialias=True).clamp_(0, 1)
    return images
