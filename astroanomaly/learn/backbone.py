"""The network that looks: a timm model with pooled features, a fresh head, and weights from a checked place."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from astroanomaly.config import BackboneConfig, nearest
from astroanomaly.errors import CheckpointError, ConfigError, UnreadableError

__all__ = ["LITE0", "Backbone", "build_backbone", "load_state", "read_weights", "weights_hash"]

LITE0 = "tf_efficientnet_lite0"
_HUB = ("hf_hub:", "hf-hub:")
_WORDS = ("bundled", "random", "pretrained")
_SUFFIXES = (".safetensors", ".pth", ".pt")


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

    Notes
    -----
    The head is drawn uniformly within 1 / sqrt(dim) (a standard deviation of .016 for 1280 features) with zero bias,
    as a plain linear layer is. The initialisation that timm's EfficientNet gives to a head of two classes is 25 times
    wider; nearly every unlabelled image would then pass a confidence threshold of .95 before anything is learnt.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        num_classes: int = 0,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.dim = dim
        self.num_classes = num_classes
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
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

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features ``(n, dim)`` of RGB images ``(n, 3, S, S)`` in [0, 1]."""
        return self.network((images - self.mean) / self.std)  # (n, dim)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, num_classes)`` of RGB images ``(n, 3, S, S)`` in [0, 1]."""
        return self.head(self.features(images))  # (n, num_classes)


def build_backbone(
    config: BackboneConfig,
    num_classes: int = 0,
    *,
    size: int = 0,
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
        Side of the images in pixels; needed by networks made for one size (transformers).
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
    if config.weights == "bundled" and config.name != LITE0:
        raise ConfigError(
            f"backbone.weights=bundled exists for {LITE0} only, not for {config.name!r}: set backbone.weights to "
            "random, pretrained or the path of a file"
        )
    network = _make_network(config, size=size, seed=seed, drop_rate=drop_rate)
    if config.weights == "bundled":
        network.load_state_dict(_bundled_state(), strict=True)
    elif config.weights not in _WORDS:
        path = Path(config.weights)
        load_state(network, _without_classifier(read_weights(path), network), f"weights file {path}")
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = batch_norm_momentum
    described: Mapping[str, Any] = getattr(network, "pretrained_cfg", None) or {}
    dim = int(getattr(network, "head_hidden_size", None) or network.num_features)  # type: ignore[arg-type]
    mean = tuple(described.get("mean") or (0.5,) * 3)
    std = tuple(described.get("std") or (0.5,) * 3)
    if len(mean) != 3:
        raise ConfigError(f"backbone.name={config.name}: it takes {len(mean)} channels; expected a network for 3")
    return Backbone(network, dim, num_classes, mean, std, seed)


def load_state(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load a state dictionary into a module, all of it or nothing.

    Raises
    ------
    CheckpointError
        If a tensor is missing, unexpected or of another shape; names the first ones.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        raise CheckpointError(
            f"{what} belongs to another network: {len(missing)} tensors are missing{_first(missing)}, "
            f"{len(unexpected)} are unexpected{_first(unexpected)}; check backbone.name"
        )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            raise CheckpointError(
                f"{what} belongs to another network: {name} has shape {tuple(state[name].shape)}, expected "
                f"{tuple(tensor.shape)}; check backbone.name"
            )
    module.load_state_dict(dict(state), strict=True)


def weights_hash(config: BackboneConfig, seed: int = 0) -> str:
    """Identify the weights that `build_backbone` would give, as hexadecimal text, without the head.

    Bundled weights and files are identified by their SHA-256, so that the network need not be built.
    """
    if config.weights == "bundled":
        return str(_names_table()["sha256"])
    if config.weights == "random":
        text = f"random:{config.name}:{seed}:torch-{torch.__version__}"
        return hashlib.sha256(text.encode()).hexdigest()
    if config.weights != "pretrained":
        digest = hashlib.sha256()
        with _open(Path(config.weights)) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    digest = hashlib.sha256()
    for name, tensor in build_backbone(config, seed=seed).network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary from a ``.safetensors``, ``.pth`` or ``.pt`` file; no code in it is run.

    A checkpoint of this package is accepted too: its network is taken, its head left.

    Raises
    ------
    CheckpointError
        If it is damaged or holds something else than tensors.
    ConfigError
        If its suffix is another one.
    UnreadableError
        If it cannot be opened.
    """
    with _open(path) as file:
        content = file.read()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            state: Any = load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file may raise nearly anything
        raise CheckpointError(f"weights file {path} is damaged or holds more than tensors: {error}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not (
        isinstance(state, Mapping)
        and state
        and all(isinstance(k, str) and torch.is_tensor(v) for k, v in state.items())
    ):
        raise CheckpointError(f"weights file {path} holds no state dictionary: expected names and tensors")
    if any(name.startswith("network.") for name in state):  # one of our own checkpoints
        state = {name.removeprefix("network."): t for name, t in state.items() if name.startswith("network.")}
    return dict(state)


# ------------------------------------------------------------------------------------------------- making and reading


def _make_network(config: BackboneConfig, *, size: int, seed: int, drop_rate: float) -> nn.Module:
    """Create the timm model without a classifier; random weights are drawn from the seed."""
    import timm

    hub = config.name.startswith(_HUB)
    if not hub and not timm.is_model(config.name.partition(".")[0]):
        known = timm.list_models()
        raise ConfigError(
            f"backbone.name={config.name!r} is not a timm model{nearest(config.name, known)} ({len(known)} are known; "
            "hf_hub:OWNER/MODEL names one of the Hugging Face hub)"
        )
    extra: dict[str, Any] = {"drop_rate": drop_rate} if drop_rate else {}
    if size and not hub and (timm.get_pretrained_cfg(config.name) or _Loose).fixed_input_size:
        extra["img_size"] = size
    pretrained = config.weights == "pretrained"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: nn.Module = timm.create_model(config.name, pretrained=pretrained, num_classes=0, **extra)
    except Exception as error:  # timm and the hub raise many kinds, connection errors of several libraries among them
        if pretrained or hub:
            raise ConfigError(
                f"backbone {config.name!r} with weights={config.weights} could not be fetched: {_line(error)}; it "
                "needs the network once; offline use backbone.weights=bundled, random or the path of a file"
            ) from error
        raise ConfigError(f"backbone {config.name!r} cannot be made for {size} px images: {_line(error)}") from error
    return network


class _Loose:
    """Stands for a timm model without a description of its weights."""

    fixed_input_size = False


def _line(error: Exception) -> str:
    """First line of an error's text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _first(names: list[str]) -> str:
    return f" (first: {', '.join(names[:3])})" if names else ""


def _open(path: Path) -> io.BufferedReader:
    """Open a weights file, or say what else backbone.weights could have been."""
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"backbone.weights={path}: expected {', '.join(_WORDS)}, or the path of a .safetensors or .pth file"
            f"{nearest(str(path), _WORDS)}"
        )
    try:
        return path.open("rb")
    except OSError as error:
        raise UnreadableError(f"weights file {path} cannot be read: {error.strerror or error}") from error


def _without_classifier(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Drop the classifier of whatever the weights were trained for."""
    names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {name: tensor for name, tensor in state.items() if not (prefixes and name.startswith(prefixes))}


@cache
def _names_table() -> dict[str, Any]:
    """Names of the bundled tensors in their file and in timm, in order, with shapes."""
    return json.loads(resources.files("astroanomaly.learn").joinpath("lite0_names.json").read_text(encoding="utf-8"))


def _bundled_file() -> Path:
    """Find the weights file without importing the package that brings it."""
    table = _names_table()
    found = importlib.util.find_spec(table["package"])
    if found is None or not found.submodule_search_locations:
        raise UnreadableError(
            f"the bundled weights are missing: install the package {table['package']}, or set backbone.weights"
        )
    return Path(found.submodule_search_locations[0]) / table["file"]


def _bundled_state() -> dict[str, Tensor]:
    """Read the bundled weights under timm's names. The ImageNet classifier is dropped before anything sees it."""
    table, path = _names_table(), _bundled_file()
    with _open(path) as file:
        content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found != table["sha256"]:
        raise CheckpointError(
            f"the bundled weights {path} have SHA-256 {found}, expected {table['sha256']}: reinstall the package "
            f"{table['package']}"
        )
    source = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    for name in table["dropped"]:
        del source[name]
    state = {}
    for name, target, shape in table["tensors"]:
        tensor = source.pop(name)
        if list(tensor.shape) != shape:
            raise CheckpointError(f"bundled tensor {name} has shape {list(tensor.shape)}, expected {shape}")
        state[target] = tensor
    return state
