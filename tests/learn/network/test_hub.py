"""Networks of the Hugging Face hub by name, from a server that answers as the hub does."""

import json
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from tests.servers.hub import Hub

CONFIG = {
    "architecture": "test_convnext",
    "num_classes": 0,
    "num_features": 64,
    "pretrained_cfg": {"input_size": [3, 160, 160], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "num_classes": 0},
}


@pytest.fixture
def network():
    torch.manual_seed(5)
    network = timm.create_model("test_convnext", num_classes=0).eval()
    for tensor in network.state_dict().values():
        tensor.add_(0.05 * torch.rand(tensor.shape))
    return network


def run(program, server, folder, *words):
    """Run a program whose hub is the server; what the hub sent is kept below the folder."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, words)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


FEATURES = """
    import sys
    import numpy as np, torch
    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.network.backbone import build_backbone
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for count in range(2):
        backbone = build_backbone(BackboneConfig("hf_hub:somebody/galaxies", "pretrained"), size=64).eval()
        with torch.no_grad():
            np.save(f"features-{count}.npy", backbone.features(images).numpy())
"""


def test_weights_and_normalisation_are_those_of_the_hub(tmp_path, network):
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": safetensors.torch.save(network.state_dict()),
    }
    with Hub({"somebody/galaxies": files}) as server:
        done = run(FEATURES, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert server.count("model.safetensors", "GET") == 1  # fetched once, used twice
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(CONFIG["pretrained_cfg"][name]).reshape(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        expected = network((images - mean) / std).numpy()
    assert expected.std() > 0.01
    for count in range(2):
        np.testing.assert_allclose(np.load(tmp_path / f"features-{count}.npy"), expected, rtol=1e-4, atol=1e-4)


def test_a_session_with_a_network_of_the_hub(tmp_path, network):
    generator = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(12):
        pixels = generator.integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    program = """
        from astroanomaly import Session, ingest
        ingest("images", "images", out="cache")
        backbone = {"name": "hf_hub:somebody/galaxies", "weights": "pretrained"}
        session = Session.create("search", "cache", settings={"backbone": backbone, "input": {"size": 32}})
        session.train("cold")
        print(len(session.candidates(5)))
    """
    files = {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": safetensors.torch.save(network.state_dict()),
    }
    with Hub({"somebody/galaxies": files}) as server:
        done = run(program, server, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "5"


class Command:
    """Unpickling it runs a program."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def test_models_that_are_not_there_and_files_that_are_programs(tmp_path):
    program = """
        from astroanomaly.config import BackboneConfig
        from astroanomaly.errors import ConfigError
        from astroanomaly.learn.network.backbone import build_backbone
        for name in ("somebody/nothing", "somebody/program"):
            try:
                build_backbone(BackboneConfig(f"hf_hub:{name}", "pretrained"), size=64)
            except ConfigError as error:
                print(error)
    """
    weights = pickle.dumps({"stem.0.weight": Command()})
    files = {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": weights}
    with Hub({"somebody/program": files}) as server:
        done = run(program, server, tmp_path)
        assert server.count("pytorch_model.bin", "GET") == 1
    assert done.returncode == 0, done.stderr
    missing, refused = done.stdout.splitlines()
    assert "'hf_hub:somebody/nothing'" in missing
    assert "could not be fetched" in missing
    assert "'hf_hub:somebody/program'" in refused
    assert "needs code to be run, which is refused" in refused
    assert not (tmp_path / "harm").exists()
