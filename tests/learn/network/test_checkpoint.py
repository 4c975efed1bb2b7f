"""Checkpoints come back as they were, and damaged or hostile files are refused."""

import json
import math
import os
import struct

import pytest
import safetensors.torch
import torch

from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import BackboneConfig, StretchConfig
from astroanomaly.errors import CheckpointError, StorageError, UnreadableError
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.network.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from astroanomaly.learn.network.weights import load_state, read_weights

TINY = BackboneConfig(name="test_efficientnet", weights="random")


def seen(**changes):
    values = {
        "bands": ("g", "r"),
        "pixel_kind": "flux",
        "channels": ((0, 1), (0.5, 0.5), (1, 0)),
        "size": 64,
        "views": "sky",
        "stretch": StretchConfig(curve="log"),
        "limits": ((-0.1, 1 / 3), (0.0, 7.25)),
    }
    return ModelInput(**(values | changes))


def make(**changes):
    network = build_backbone(TINY, 3, seed=1)
    values = {
        "ranker": "fixmatch",
        "classes": ("nominal", "anomaly", "lens"),
        "model_input": seen(),
        "backbone": TINY,
        "state": network.state_dict(),
        "settings": {"iterations": 5},
        "metrics": {"loss": 0.25, "auroc": math.nan},
        "seed": 7,
    }
    return Checkpoint(**(values | changes))


def test_it_comes_back_as_it_was(tmp_path):
    made = make()
    made.save(tmp_path / "new" / "a.safetensors")
    back = Checkpoint.load(tmp_path / "new" / "a.safetensors")
    assert (back.ranker, back.classes, back.backbone, back.seed) == ("fixmatch", made.classes, TINY, 7)
    assert back.model_input == made.model_input
    assert back.settings == {"iterations": 5}
    assert back.metrics["loss"] == 0.25
    assert math.isnan(back.metrics["auroc"])
    assert {"torch", "timm", "astroanomaly"} <= set(back.versions)
    network = build_backbone(back.backbone, len(back.classes), seed=99)
    load_state(network, back.state, "checkpoint")
    assert all(torch.equal(tensor, made.state[name]) for name, tensor in network.state_dict().items())
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_an_interrupted_write_leaves_the_old_one(tmp_path, monkeypatch):
    import os

    path = tmp_path / "a.safetensors"
    make().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        make(seed=8).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_tied_and_strided_weights_can_be_written(tmp_path):
    tensor = torch.arange(12.0).view(3, 4)
    save_checkpoint(tmp_path / "t.safetensors", {"a": tensor, "b": tensor, "c": tensor.t()}, {})
    state, meta = load_checkpoint(tmp_path / "t.safetensors")
    assert torch.equal(state["c"], tensor.t())
    assert torch.equal(state["a"], state["b"])
    assert meta == {"format": 1, "digest": "xxh3-128"}


def test_what_is_equal_is_written_equally(tmp_path):
    """Safetensors keeps metadata in an order that it draws anew each time."""
    path = tmp_path / "x.safetensors"
    meta = {"text": 'ring é "},{:', "list": [1, {"digest": 2}]}
    written = set()
    for _ in range(12):
        save_checkpoint(path, {"a": torch.arange(5.0), "ü": torch.zeros(2, 3)}, meta)
        written.add(path.read_bytes())
    assert len(written) == 1
    assert load_checkpoint(path)[1].items() >= meta.items()


def test_metadata_is_bounded_and_plain(tmp_path):
    with pytest.raises(CheckpointError, match="at most"):
        save_checkpoint(tmp_path / "a", {}, {"text": "x" * (1 << 20)})
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(tmp_path / "a", {}, {"value": math.nan})
    assert not list(tmp_path.iterdir())


def _raw(header, length=None, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        _raw({}, length=2**60),
        _raw(b"{" * 1000),
        _raw(b"[" * 100_000),
        _raw({"__metadata__": {"other": "x"}}),
        _raw({"__metadata__": {"astroanomaly": "[" * 100_000}}),
        _raw({"__metadata__": {"astroanomaly": "x" * (2 << 20)}}),
        _raw({"__metadata__": {"astroanomaly": "[]"}}),
        _raw({"__metadata__": {"astroanomaly": "{}"}}),
        _raw({"__metadata__": {"astroanomaly": 5}}),
        _raw([1, 2]),
        _raw(
            {
                "__metadata__": {"astroanomaly": '{"format": 1}'},
                "w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]},
            },
            body=bytes(8),
        ),
    ],
)
def test_hostile_files_are_refused(tmp_path, content):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checkpoint"):
        load_checkpoint(path)


def test_cut_short_newer_foreign_and_not_finite(tmp_path):
    path = tmp_path / "a.safetensors"
    make().save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint.load(path)
    save_checkpoint(path, {}, {"format": 99})
    with pytest.raises(CheckpointError, match=r"format 99.*upgrade"):
        Checkpoint.load(path)
    safetensors.torch.save_file({"a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="no metadata of this package"):
        Checkpoint.load(path)
    save_checkpoint(path, {"a": torch.tensor([1.0, math.inf])}, {})
    with pytest.raises(CheckpointError, match="tensor a holds numbers that are not finite"):
        Checkpoint.load(path)
    save_checkpoint(path, {}, {"ranker": "fixmatch"})
    with pytest.raises(CheckpointError, match="lacks 'metrics'"):
        Checkpoint.load(path)
    with pytest.raises(UnreadableError, match="gone"):
        Checkpoint.load(tmp_path / "gone")


@pytest.mark.parametrize("read", [load_checkpoint, read_weights])
def test_what_is_no_plain_file_is_not_read(tmp_path, read):
    """A pipe would be waited for, and a device might have no end."""
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "zero.safetensors").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(UnreadableError, match=f"{name}.* no plain file"):
            read(tmp_path / f"{name}.safetensors")
