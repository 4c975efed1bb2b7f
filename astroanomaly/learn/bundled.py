"""The weights that come with the package: EfficientNet-Lite0, pretrained on ImageNet, of another small package."""

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

from astroanomaly.errors import CheckpointError, UnreadableError
from astroanomaly.learn.weights import open_weights

__all__ = ["bundled_hash", "bundled_state"]


def bundled_hash() -> str:
    """Hexadecimal SHA-256 of their file."""
    return str(_table()["sha256"])


@cache
def _table() -> dict[str, Any]:
    """Names of the tensors in their file and in timm, in order, with shapes."""
    return json.loads(resources.files("astroanomaly.learn").joinpath("lite0_names.json").read_text(encoding="utf-8"))


def _file() -> Path:
    """Find the weights file without importing the package that brings it."""
    table = _table()
    found = importlib.util.find_spec(table["package"])
    if found is None or not found.submodule_search_locations:
        raise UnreadableError(
            f"the bundled weights are missing: install the package {table['package']}, or set backbone.weights"
        )
    return Path(found.submodule_search_locations[0]) / table["file"]


def bundled_state() -> dict[str, Tensor]:
    """Read the bundled weights under timm's names. The ImageNet classifier is dropped before anything sees it."""
    table, path = _table(), _file()
    with open_weights(path) as file:
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
