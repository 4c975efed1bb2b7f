"""The backbone: a timm model with pooled features, a new linear head, and pretrained weights that were checked."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroanomaly.config import BackboneConfig
from astroanomaly.errors import ConfigError
from astroanomaly.learn.network.bundled import bundled_hash, bundled_state
from astroanomaly.learn.network.timm_network import make_network
from astroanomaly.learn.network.weights import WORDS, load_weights, open_weights

__all__ = ["LAYERS", "Backbone", "build_backbone", "weights_hash"]

_CENTRE_SIGMA = 0.15  # of the side
LAYERS = 4  # last stages whose outputs are features beside those of the end
_SCALE, _SMALLEST = 3 / 8, 32  # of the side, and pixels


class Backbone(nn.Module):
    """A network with its normalisation inside: RGB in [0, 1] in, pooled features or logits out.

    Parameters
    ----------
    network
        A timm model without its classifier; maps ``(n, 3, S, S)`` to pooled features ``(n, dim)``.
    dim
        Length of the pooled features.
    num_classes
        Number of label classes of the head; 0 for no head.
    mean, std
        Per channel, what the network's weights expect to be subtracted and divided by.
    seed
        Seed of the head's weights.
    side
        Side of the images that the network can look at; others are resized to it. 0: any.
    layers
        What the head looks at, see `parts`: ``last``, ``several`` or ``scales``.
    size
        Side of the images in pixels; needed for ``scales``.

    Notes
    -----
    The head is drawn uniformly within 1 / sqrt(dim) (a standard deviation of .016 for 1280 features) with zero bias,
    as a plain linear layer is. The initialisation that timm's EfficientNet gives to a head of two classes is 25 times
    wider; nearly every unlabelled image would then pass a confidence threshold of .95 before anything is learnt.
    """

    mean: Tensor
    std: Tensor
    shrink: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        num_classes: int = 0,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
        seed: int = 0,
        side: int = 0,
        layers: str = "last",
        size: int = 0,
    ) -> None:
        super().__init__()
        self.side = side
        self.layers = layers
        self.network = network
        self.dim = dim
        self.num_classes = num_classes
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shrink", _shrinking(size) if layers == "scales" else None, persistent=False)
        self.head: nn.Module = nn.Identity()
        if num_classes:
            self.reset_head(num_classes, seed)

    def reset_head(self, num_classes: int, seed: int = 0) -> None:
        """Replace the head by a freshly drawn one for ``num_classes`` label classes."""
        head = nn.utils.skip_init(nn.Linear, self.dim, num_classes)  # draws nothing from the global generator
        bound = 1 / math.sqrt(self.dim)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            head.weight.uniform_(-bound, bound, generator=generator)
            head.bias.zero_()
        self.head = head.to(self.mean.device)
        self.num_classes = num_classes

    def freeze(self, count: int) -> None:
        """Keep the stem and the first blocks of the network as they are: no gradient reaches them, none is stored.

        Blocks are timm's own division of a network: 7 of EfficientNet, 4 stages of ConvNeXt, the layers of a
        transformer.

        Parameters
        ----------
        count
            Number of blocks; 0 trains everything.

        Raises
        ------
        ConfigError
            If the network has fewer, or no such division.
        """
        if not count:
            return
        from timm.models import group_parameters

        matcher: Any = getattr(self.network, "group_matcher", None)
        groups = group_parameters(self.network, matcher(coarse=True)) if callable(matcher) else {0: []}
        known = max(int(number) for number in groups)  # 0 is the stem
        if count > known:
            raise ConfigError(f"train.frozen_blocks={count}: this network has {known} blocks that can be frozen")
        parameters = dict(self.network.named_parameters())
        for number, names in groups.items():
            for name in names if number <= count else ():
                parameters[name].requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features ``(n, dim)`` of RGB images ``(n, 3, S, S)`` in [0, 1]."""
        if self.side and images.shape[-1] != self.side:
            shape = (self.side, self.side)
            images = functional.interpolate(images, shape, mode="bicubic", antialias=True).clamp(0, 1)
        return self.network((images - self.mean) / self.std)  # (n, dim)

    def stages(self) -> list[nn.Module]:
        """Parts of the network that follow one another, as timm divides it; empty where it does not."""
        for name in ("blocks", "stages"):
            found = getattr(self.network, name, None)
            if isinstance(found, nn.Sequential | nn.ModuleList):
                return list(found)
        return []

    def layered(self, images: Tensor, count: int = LAYERS) -> list[Tensor]:
        """Return what several layers make of images.

        Parameters
        ----------
        images
            ``(n, 3, S, S)`` RGB in [0, 1].
        count
            How many of the last stages.

        Returns
        -------
        list of torch.Tensor
            ``(n, dim)``, the pooled features, then ``(n, channels)`` for each of the last ``count`` stages: its output
            averaged under a Gaussian in the middle of the image, whose deviation is .15 of the side. A cutout has its
            object there, and sky and neighbours around it.
        """
        kept: list[Tensor] = []
        prefix = int(getattr(self.network, "num_prefix_tokens", 0))
        handles = [
            stage.register_forward_hook(lambda module, given, output: kept.append(_central(output, prefix)))
            for stage in self.stages()[-count:]
        ]
        try:
            last = self.features(images)
        finally:
            for handle in handles:
                handle.remove()
        return [last, *kept]

    def parts(self, images: Tensor) -> list[Tensor]:
        """Return what a head looks at, layer by layer.

        Parameters
        ----------
        images
            ``(n, 3, S, S)`` RGB in [0, 1].

        Returns
        -------
        list of torch.Tensor
            ``(n, channels)`` each. ``last``: the pooled features. ``several``: what `layered` gives. ``scales``: the
            stages of `layered`, of the images and then of the images at three eighths of their size, where what is
            large and faint is as clear as what is small and bright.
        """
        if self.layers == "last":
            return [self.features(images)]
        if self.shrink is None or not self.stages():
            return self.layered(images)
        lines = (self.shrink @ images).transpose(2, 3)  # (n, 3, S, s)
        smaller = (self.shrink @ lines).transpose(2, 3).clamp(0, 1)  # (n, 3, s, s); OpenVINO fails on M @ x @ M.T
        return self.layered(images)[1:] + self.layered(smaller)[1:]

    def seen(self, images: Tensor) -> Tensor:
        """Return what a head looks at, ``(n, D)``: the layers of `parts` side by side."""
        return torch.cat(self.parts(images), 1)

    @torch.no_grad()
    def widths(self, size: int) -> tuple[int, ...]:
        """How many features each layer of `parts` has for images of ``size`` pixels."""
        if self.layers == "last":
            return (self.dim,)
        training = self.training
        layers = self.eval().parts(torch.zeros(1, 3, size, size, device=self.mean.device))
        self.train(training)
        return tuple(layer.shape[1] for layer in layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, num_classes)`` of RGB images ``(n, 3, S, S)`` in [0, 1]."""
        return self.head(self.seen(images))  # (n, num_classes)


def build_backbone(
    config: BackboneConfig,
    num_classes: int = 0,
    *,
    size: int = 0,
    layers: str = "last",
    seed: int = 0,
    batch_norm_momentum: float = 0.01,
    drop_rate: float = 0.0,
) -> Backbone:
    """Make the network with its weights; the classifier that came with the weights is never used.

    Parameters
    ----------
    config
        Name of the network and where its weights come from.
    num_classes
        Number of label classes of the fresh head; 0 for features only.
    size
        Side of the images in pixels. A network made for one size (most transformers) is made for this one, its
        position embeddings resampled. Where that cannot be (a side that is no multiple of the patch), it is made for
        the nearest side that can, and images are resized to it.
    layers
        What its `Backbone.seen` has: ``last``, ``several`` or ``scales``; a fresh head can look at the last only. A
        network made for one size has no ``scales`` and gets ``several``.
    seed
        Seed of the head and of random weights.
    batch_norm_momentum
        Weight of a new batch in the running statistics: .01 as in the method; timm's own default is .1.
    drop_rate
        Dropout before the head, 0 to 1.

    Raises
    ------
    ConfigError
        If the network is unknown, cannot be made, or its weights cannot be downloaded.
    CheckpointError
        If a weights file is damaged or belongs to another network.
    UnreadableError
        If the weights file is missing or cannot be read.
    """
    state = bundled_state(config.name) if config.weights == "bundled" else None
    network, side = make_network(config, size=size, seed=seed, drop_rate=drop_rate)
    if state is not None:
        network.load_state_dict(state, strict=True)
    elif config.weights not in WORDS:
        load_weights(network, Path(config.weights))
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = batch_norm_momentum
    described: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    dim = int(getattr(network, "head_hidden_size", None) or network.num_features)  # type: ignore[arg-type]
    mean = tuple(described.get("mean") or (0.5,) * 3)
    std = tuple(described.get("std") or (0.5,) * 3)
    if len(mean) != 3:
        raise ConfigError(f"backbone.name={config.name}: it takes {len(mean)} channels; expected a network for 3")
    if side and layers == "scales":
        layers = "several"
    return Backbone(network, dim, num_classes, mean, std, seed, side, layers, size)


def weights_hash(config: BackboneConfig, seed: int = 0) -> str:
    """Identify the weights that `build_backbone` would give, as hexadecimal text, without the head.

    Bundled weights and files are identified by their SHA-256, so that the network need not be built.
    """
    if config.weights == "bundled":
        return bundled_hash(config.name)
    if config.weights == "random":
        text = f"random:{config.name}:{seed}:torch-{torch.__version__}"
        return hashlib.sha256(text.encode()).hexdigest()
    if config.weights != "pretrained":
        digest = hashlib.sha256()
        with open_weights(Path(config.weights)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    digest = hashlib.sha256()
    for name, tensor in build_backbone(config, seed=seed).network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------- what images become


def _shrinking(size: int) -> Tensor:
    """Matrix ``(s, size)`` that resizes lines of ``size`` pixels to three eighths: bicubic, antialiased.

    A product with it is the same in every engine.
    """
    smaller = max(_SMALLEST, round(_SCALE * size))
    lines = torch.eye(size)[None, None]  # (1, 1, size, size)
    return functional.interpolate(lines, (smaller, size), mode="bicubic", antialias=True)[0, 0]


def _central(output: Tensor, prefix: int) -> Tensor:
    """Mean over the image that counts its middle most: of maps ``(n, C, H, W)``, or of tokens ``(n, T, C)``."""
    if output.ndim == 3:
        output = output[:, prefix:].transpose(1, 2)  # (n, C, T)
        side = math.isqrt(output.shape[2])
        if side * side != output.shape[2]:
            return output.mean(2)
        output = output.unflatten(2, (side, side))
    across, along = (
        torch.exp(-(((torch.arange(n, device=output.device) + 0.5) / n - 0.5) ** 2) / (2 * _CENTRE_SIGMA**2))
        for n in output.shape[2:]
    )
    weights = torch.outer(across, along)
    return torch.einsum("nchw,hw->nc", output, weights / weights.sum())
