"""Weights from a file: read without executing code in it, matched to the network's parameters, all or none."""

from __future__ import annotations

import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from astroanomaly.config import nearest
from astroanomaly.errors import CheckpointError, ConfigError, UnreadableError
from astroanomaly.files import open_plain

__all__ = ["WORDS", "load_state", "load_weights", "open_weights", "read_weights"]

WORDS = ("bundled", "random", "pretrained")
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_log = logging.getLogger(__name__)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a timm model's weights from a file, whoever wrote it.

    The network may stand under a prefix (``encoder.`` in a checkpoint of Lightning); what is outside is left. Names of
    other projects and position embeddings of another grid are brought to timm's by timm's own filter for this kind of
    network. The classifier is never used.

    Raises
    ------
    CheckpointError
        If the file is damaged or belongs to another network.
    ConfigError
        If its suffix is another one.
    UnreadableError
        If it cannot be opened.
    """
    state, own = _under_prefix(read_weights(path), network, path), network.state_dict()
    if {name: tensor.shape for name, tensor in state.items()} != {name: tensor.shape for name, tensor in own.items()}:
        change = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        if change is not None:
            try:
                state = dict(change(dict(state), network))
            except (KeyError, ValueError, RuntimeError, AttributeError, IndexError, TypeError) as error:
                raise CheckpointError(
                    f"weights file {path} belongs to another network: {type(error).__name__} {error}; check "
                    "backbone.name"
                ) from error
    load_state(network, _without_classifier(state, network), f"weights file {path}")


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


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dictionary from a file of safetensors or of ``torch.save``; no code in it is run.

    Raises
    ------
    CheckpointError
        If it is damaged or holds something else than tensors.
    ConfigError
        If its suffix is another one.
    UnreadableError
        If it cannot be opened.
    """
    with open_weights(path) as file:
        content = file.read()
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            state: Any = load(content)
        else:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file may raise nearly anything
        raise CheckpointError(
            f"weights file {path} is damaged or holds more than tensors: {_reason(error)}; if you trust it, write its "
            "state dictionary alone to a .safetensors file"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not (
        isinstance(state, Mapping)
        and state
        and all(isinstance(k, str) and torch.is_tensor(v) for k, v in state.items())
    ):
        raise CheckpointError(f"weights file {path} holds no state dictionary: expected names and tensors")
    return dict(state)


def open_weights(path: Path) -> BinaryIO:
    """Open a weights file, or say what else backbone.weights could have been."""
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"backbone.weights={path}: expected {', '.join(WORDS)}, or the path of a {', '.join(_SUFFIXES)} file"
            f"{nearest(str(path), WORDS)}"
        )
    try:
        return open_plain(path)
    except UnreadableError as error:
        raise UnreadableError(f"weights file {error}") from error


def _under_prefix(state: dict[str, Tensor], network: nn.Module, path: Path) -> dict[str, Tensor]:
    """Find the prefix under which most names are the network's own; take what is there, or all if there is none."""
    own = set(network.state_dict())
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in own:
                found["".join(f"{part}." for part in parts[:cut])] += 1
    best = found.most_common(2)
    if not best or 2 * best[0][1] < len(own):
        return state
    if len(best) > 1 and best[0][1] == best[1][1]:
        raise CheckpointError(
            f"weights file {path} holds this network twice, under {best[0][0]!r} and {best[1][0]!r}: write one of them "
            "to a file of its own"
        )
    prefix = best[0][0]
    taken = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    left = len(state) - len(taken)
    if left:
        _log.info("weights file %s: %d tensors under %r taken, %d others left", path, len(taken), prefix, left)
    return taken


def _without_classifier(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Drop the classifier of whatever the weights were trained for."""
    names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {name: tensor for name, tensor in state.items() if not (prefixes and name.startswith(prefixes))}


def _reason(error: Exception) -> str:
    """First line of an error, or the class that torch would have had to run."""
    strange = re.search(r"GLOBAL (\S+)", str(error))
    return f"an object of {strange[1]}" if strange else (str(error).strip() or type(error).__name__).splitlines()[0]


def _first(names: list[str]) -> str:
    return f" (first: {', '.join(names[:3])})" if names else ""
