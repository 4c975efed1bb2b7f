"""Make a network of timm, or of the Hugging Face hub, for images of a size."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from astroanomaly.config import BackboneConfig, nearest
from astroanomaly.errors import ConfigError

__all__ = ["make_network"]

_HUB = ("hf_hub:", "hf-hub:")
_SIDE_MULTIPLE = 32  # sides that most networks for one size can be made for are multiples of it
_log = logging.getLogger(__name__)


def make_network(config: BackboneConfig, *, size: int, seed: int, drop_rate: float) -> tuple[nn.Module, int]:
    """Create the timm model without a classifier; random weights are drawn from the seed.

    Returns
    -------
    tuple
        The model, and the side of the images it can look at; 0 for any.

    Raises
    ------
    ConfigError
        If it is unknown, cannot be made for this size, or cannot be fetched.
    """
    import timm

    hub = config.name.startswith(_HUB)
    if not hub and not timm.is_model(config.name.partition(".")[0]):
        known = timm.list_models()
        raise ConfigError(
            f"backbone.name={config.name!r} is not a timm model{nearest(config.name, known)} ({len(known)} are known; "
            "hf_hub:OWNER/MODEL names one of the Hugging Face hub)"
        )
    extra: dict[str, Any] = {"drop_rate": drop_rate} if drop_rate else {}
    network: nn.Module | None = None
    described: Any = None if hub else timm.get_pretrained_cfg(config.name)
    if hub or not size:  # what a model of the hub looks like is known when it is there
        network = _create(config, size, seed, extra)
        described = getattr(network, "pretrained_cfg", None)
    if not isinstance(described, dict):
        described = described.to_dict() if described is not None else {}
    if not size or not described.get("fixed_input_size"):
        return network or _create(config, size, seed, extra), 0
    native = int((described.get("input_size") or (3, 224, 224))[-1])
    reason = ""
    for side in _sides(size, native):
        try:
            network = _create(config, size, seed, extra | ({} if side == native else {"img_size": side}))
            patch = _patch(network)
            if side != native and patch and side % patch:  # the rest of the pixels would be left out
                side = max(1, round(side / patch)) * patch
                network = _create(config, size, seed, {**extra, "img_size": side})
            _look(network, side)
        except (ConfigError, RuntimeError, ValueError, AssertionError, TypeError) as error:
            if isinstance(error, ConfigError) and (hub or config.weights == "pretrained"):
                raise
            reason = reason or _line(error)
            continue
        if side != size:
            _log.info("backbone %s takes no %d px images: they are resized to %d px", config.name, size, side)
        return network, side
    raise ConfigError(f"backbone {config.name!r} cannot be made for {size} px images: {reason}")


def _sides(size: int, native: int) -> Iterator[int]:
    """Sides to try: the wanted one, the nearest one with many divisors, and what the network was made for."""
    yield from dict.fromkeys((size, max(1, round(size / _SIDE_MULTIPLE)) * _SIDE_MULTIPLE, native))


def _patch(network: nn.Module) -> int:
    """Side of a transformer's patch; 0 where there is none."""
    patch: Any = getattr(getattr(network, "patch_embed", None), "patch_size", 0)
    return int(patch[0] if isinstance(patch, tuple | list) else patch or 0)


@torch.no_grad()
def _look(network: nn.Module, side: int) -> None:
    """Let a network look at an image, so that a side it cannot take shows now."""
    training = network.training
    network.eval()(torch.zeros(1, 3, side, side))
    network.train(training)


def _create(config: BackboneConfig, size: int, seed: int, extra: Mapping[str, Any]) -> nn.Module:
    """Create the timm model, or say why not."""
    import timm

    pretrained = config.weights == "pretrained"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return timm.create_model(config.name, pretrained=pretrained, num_classes=0, **extra)
    except Exception as error:  # timm and the hub raise many kinds, connection errors of several libraries among them
        if "weights_only" in str(error):  # torch's word, and timm's, for a file that only loads if it may run code
            raise ConfigError(
                f"the weights of backbone {config.name!r} are a file that needs code to be run, which is refused; "
                "use a model whose weights are a .safetensors file"
            ) from error
        if pretrained or config.name.startswith(_HUB):
            raise ConfigError(
                f"backbone {config.name!r} with weights={config.weights} could not be fetched: {_line(error)}; it "
                "needs the network once; offline use backbone.weights=bundled, random or the path of a file"
            ) from error
        raise ConfigError(f"backbone {config.name!r} cannot be made for {size} px images: {_line(error)}") from error


def _line(error: Exception) -> str:
    """First line of an error's text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
