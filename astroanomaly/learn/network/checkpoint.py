"""A trained network on disk: safetensors weights with everything needed to use them again. Never pickle."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from astroanomaly.cache.file_digest import bytes_digest
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import BackboneConfig, build, to_plain
from astroanomaly.errors import AstroAnomalyError, CheckpointError, StorageError, UnreadableError
from astroanomaly.files import atomic_path, open_plain

__all__ = ["FORMAT_VERSION", "Checkpoint", "has_digest", "load_checkpoint", "save_checkpoint"]

FORMAT_VERSION = 1
_METADATA_KEY = "astroanomaly"
_MAX_META_BYTES = 1 << 20  # bytes; ours has a few kB
_MAX_HEADER_BYTES = 1 << 24  # bytes; a network of 10,000 tensors needs about 1 MB
_LENGTH_BYTES = 8  # of the header of safetensors, which begins with its length
_DIGEST = "digest"  # key of the digest of the whole file, which counts as zeros in it
_NO_DIGEST = "0" * 32
_PACKAGES = ("astroanomaly", "torch", "timm", "numpy")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained network with its input, its label classes and how it was trained.

    Parameters
    ----------
    ranker
        Name of the ranker that made it.
    classes
        Label classes in the order of the head's outputs, ``nominal`` first.
    model_input
        How a cutout becomes the network's input.
    backbone
        The neural network; its weights are ``state``, whatever ``backbone.weights`` says they started from.
    state
        State dictionary of the `~astroanomaly.learn.network.backbone.Backbone`.
    settings
        The ranker's options as plain values.
    metrics
        Figures measured in training.
    seed
        Seed of the run.
    versions
        Versions of the packages that made it; filled in when left empty.
    """

    ranker: str
    classes: tuple[str, ...]
    model_input: ModelInput
    backbone: BackboneConfig
    state: Mapping[str, Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not self.versions:
            object.__setattr__(self, "versions", {name: version(name) for name in _PACKAGES})

    def save(self, path: Path) -> None:
        """Write it, all or nothing.

        Raises
        ------
        StorageError
            If it cannot be written; what was there before is still there then.
        """
        meta = {
            "ranker": self.ranker,
            "classes": list(self.classes),
            "input": self.model_input.to_plain(),
            "backbone": to_plain(self.backbone),
            "settings": dict(self.settings),
            "metrics": {name: value if math.isfinite(value) else None for name, value in self.metrics.items()},
            "seed": self.seed,
            "versions": dict(self.versions),
        }
        save_checkpoint(path, self.state, meta)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read one back.

        Raises
        ------
        CheckpointError
            If it is damaged, of a newer format, or not a checkpoint.
        UnreadableError
            If it is missing or cannot be opened.
        """
        state, meta = load_checkpoint(path)
        try:
            metrics = {
                str(name): math.nan if value is None else float(value) for name, value in meta["metrics"].items()
            }
            return cls(
                ranker=str(meta["ranker"]),
                classes=tuple(str(name) for name in meta["classes"]),
                model_input=ModelInput.from_plain(meta["input"]),
                backbone=build(BackboneConfig, meta["backbone"], "backbone"),
                state=state,
                settings=dict(meta["settings"]),
                metrics=metrics,
                seed=int(meta["seed"]),
                versions={str(name): str(text) for name, text in meta["versions"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(f"checkpoint {path} has damaged metadata: {reason}") from error


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON metadata as one safetensors file, all or nothing.

    Parameters
    ----------
    path
        The file; a file of that name is replaced when the new one is complete.
    state_dict
        Tensors by name; copied to the processor, tied weights are written twice.
    meta
        Plain values: text, finite numbers, booleans, None, lists and dictionaries.

    Raises
    ------
    CheckpointError
        If the metadata is no JSON or too large.
    StorageError
        If the file cannot be written.
    """
    from safetensors.torch import save

    path = Path(path)
    try:
        marked = {"format": FORMAT_VERSION, _DIGEST: "xxh3-128", **meta}
        text = json.dumps(marked, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"metadata of checkpoint {path} cannot be written as JSON: {error}") from error
    if len(text.encode()) > _MAX_META_BYTES:
        raise CheckpointError(
            f"metadata of checkpoint {path} has {len(text)} bytes, expected at most {_MAX_META_BYTES}"
        )
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state_dict.items()}
    content = _digest_last(save(tensors, metadata={_METADATA_KEY: text, _DIGEST: _NO_DIGEST}))
    content = content.replace(_spelt(_NO_DIGEST), _spelt(bytes_digest(content)), 1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the folder of checkpoint {path} cannot be made: {error.strerror or error}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and metadata that `save_checkpoint` wrote; nothing in the file is run.

    Raises
    ------
    CheckpointError
        If the file is damaged, too large in its header, of a newer format, holds numbers that are not finite, or is
        not one of ours.
    UnreadableError
        If it is missing or cannot be opened.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    try:
        with open_plain(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_MAX_HEADER_BYTES, max(os.fstat(file.fileno()).st_size - 8, 0)):
                raise CheckpointError(f"{path} is no checkpoint: it is cut short or not a safetensors file")
            header = file.read(length)
            file.seek(0)
            content = file.read()
    except OSError as error:
        if isinstance(error, AstroAnomalyError):
            raise
        raise UnreadableError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error
    try:
        found = json.loads(header)["__metadata__"]
        text, digest = found[_METADATA_KEY], found.get(_DIGEST, "")
        if len(text) > _MAX_META_BYTES:
            raise CheckpointError(
                f"metadata of checkpoint {path} has {len(text)} bytes, expected at most {_MAX_META_BYTES}"
            )
        meta = json.loads(text)
        if digest or _DIGEST in meta:
            _refuse_changed(content, str(digest), path)
        state = load(content)
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, RuntimeError) as error:
        reason = "it has no metadata of this package" if isinstance(error, KeyError | TypeError) else str(error)
        raise CheckpointError(f"{path} is no checkpoint of this package or is damaged: {reason}") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("format"), int):
        raise CheckpointError(f"{path} is no checkpoint of this package: its metadata has no format number")
    if meta["format"] > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format {meta['format']}, this version reads up to {FORMAT_VERSION}: upgrade "
            "astroanomaly"
        )
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"checkpoint {path} is damaged: tensor {name} holds numbers that are not finite")
    return state, meta


def has_digest(path: Path) -> bool:
    """Whether a checkpoint has a digest, which it agrees with; earlier versions gave it none.

    Raises
    ------
    CheckpointError, UnreadableError
        As `load_checkpoint`.
    """
    return _DIGEST in load_checkpoint(path)[1]


def _digest_last(content: bytes) -> bytes:
    """Put the digest behind the other metadata, which safetensors writes in any order: equal files are to be equal."""
    first = b'{"__metadata__":{' + _spelt(_NO_DIGEST) + b","
    if not content.startswith(first, _LENGTH_BYTES):
        return content
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header, other = content[_LENGTH_BYTES:end].decode(), len(first)
    for _ in range(2):  # a key, then its value behind the colon
        other = json.JSONDecoder().raw_decode(header, other)[1] + 1
    moved = f'{{"__metadata__":{{{header[len(first) : other - 1]},{_spelt(_NO_DIGEST).decode()}{header[other - 1 :]}'
    return content[:_LENGTH_BYTES] + moved.encode() + content[end:]


def _spelt(digest: str) -> bytes:
    """Spell the digest as it stands in the header."""
    return f'"{_DIGEST}":"{digest}"'.encode()


def _refuse_changed(content: bytes, digest: str, path: Path) -> None:
    if bytes_digest(content.replace(_spelt(digest), _spelt(_NO_DIGEST), 1)) != digest:
        raise CheckpointError(
            f"checkpoint {path} is damaged: it is not as it was written, by its digest; take a copy of it, or train "
            "again"
        )
