"""Engines: what runs a network may change, what it says of an object may not."""

import dataclasses
import importlib.util
import shutil

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

import planted
from astroanomaly import Session
from astroanomaly.cache.scores import read_scores, write_scores
from astroanomaly.config import BackboneConfig
from astroanomaly.errors import ConfigError
from astroanomaly.learn.engine import engine as engines
from astroanomaly.learn.engine.engine import Engine, batch_within, filled_up, make_engines
from astroanomaly.learn.engine.folding import folded
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.rankers.tuned import Tuned
from astroanomaly.learn.scoring import score_images
from astroanomaly.learn.settings import build_settings
from astroanomaly.learn.training.options import TuneOptions

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed: pip install 'astroanomaly[fast]'"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("engines") / "cache")


@pytest.fixture
def worth_it(monkeypatch):
    """Small caches count as large ones."""
    monkeypatch.setattr(engines, "WORTH", 100)


def real_network(**options):
    return build_backbone(BackboneConfig("tf_efficientnet_lite0"), 2, size=32, **options)


def all_log_odds(model, cache, engine, tta_views=1):
    seen = planted.context(cache, tta_views=tta_views).input
    parts = list(score_images(model, cache, seen, engines=[engine]))
    assert {part.engine for part in parts} == {engine.label}
    return np.concatenate([part.log_odds for part in parts])


# ----------------------------------------------------------------------------------------------------------- agreement


@needs_openvino
@pytest.mark.parametrize("layers", ["last", "several", "scales"])
def test_openvino_ranks_as_torch_does(cache, layers):
    """Real weights, 240 images; the last batch is a part of one."""
    torch.manual_seed(0)
    model = real_network(layers=layers)
    if layers != "last":
        model.head = nn.Linear(sum(model.widths(32)), 2)
    expected = all_log_odds(model, cache, Engine("torch"))
    found = all_log_odds(model, cache, Engine("openvino"))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert spearmanr(found[:, 1], expected[:, 1]).statistic > 0.9999


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "resnet18", "regnetx_002", "mobilenetv3_small_050", "vit_tiny_patch16_224"]
)
def test_folded_normalisation_says_the_same(name):
    """With statistics and scales that are not those of a fresh network."""
    torch.manual_seed(0)
    model = build_backbone(BackboneConfig(name=name, weights="random"), 2, size=64).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.rand(6, 3, 64, 64)
    with torch.inference_mode():
        expected, quick = model(images), folded(model)
        torch.testing.assert_close(quick(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_normalisation_that_belongs_to_another_convolution_is_noticed():
    """The order in which layers are defined says nothing here: what was folded is not used."""

    class Crossed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images):
            return self.second(self.norm(self.first(images))).mean((2, 3))

    torch.manual_seed(0)
    model = Crossed().eval()
    model.norm.running_mean.fill_(3.0)
    run = Engine("torch").run(model)
    images = torch.rand(9, 3, 16, 16)
    with torch.inference_mode():
        assert not torch.allclose(folded(model)(images), model(images), atol=0.1)
        assert torch.equal(run(images), model(images))


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling a network needs a C++ compiler")
def test_a_compiled_network_says_what_the_network_says():
    """Whole batches pass the compiled form, a smaller last one the network itself."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    engine = Engine("torch-compiled")
    run = engine.run(engine.place(model))
    with torch.inference_mode():
        for count in (8, 8, 5):
            images = torch.rand(count, 3, 16, 16).contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(run(images), model(images), atol=1e-5, rtol=1e-5)
    assert engine.label.startswith("torch compiled ")


def tiny_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def some_images(count, size=16):
    return torch.rand(count, 3, size, size).contiguous(memory_format=torch.channels_last)


def test_whole_batches_pass_the_compiled_network_whatever_comes_first(monkeypatch):
    seen = []

    def compiled(network, dynamic):
        return lambda images: seen.append(len(images)) or network(images)

    monkeypatch.setattr(torch, "compile", compiled)
    engine, model = Engine("torch-compiled"), tiny_network()
    run = engine.run(engine.place(model))
    size = engine.batch_size(run, 16)
    with torch.inference_mode():
        for count in (2, size, size, 5, size):
            assert engine.label.startswith("torch compiled " if seen else "torch 2")
            images = some_images(count)
            torch.testing.assert_close(run(images), model(images), atol=1e-5, rtol=1e-5)
    assert seen == [size] * 3


def test_what_cannot_be_compiled_runs_as_it_is_or_says_so(monkeypatch, caplog):
    def compiled(network, dynamic):
        def fail(images):
            raise RuntimeError("no compiler\nwas found")

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    images, model = some_images(3), tiny_network()
    with (
        torch.inference_mode(),
        pytest.raises(ConfigError, match=r"cannot compile .* \(was found\); set"),
    ):
        Engine("torch-compiled").run(model)(images)
    engine = Engine("torch")
    monkeypatch.setattr(Engine, "compiles", property(lambda engine: engine._can_compile))  # as on a GPU
    with torch.inference_mode():
        torch.testing.assert_close(engine.run(model)(images), model(images), atol=1e-5, rtol=1e-5)
    assert "cannot compile" in caplog.text
    assert engine.label.startswith("torch 2")


def test_a_network_that_so_few_bits_are_too_few_for_is_refused():
    class Fine(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)
            nn.init.constant_(self.head.bias, 3000.0)

        def forward(self, images):
            return self.head(images.mean((2, 3))) - 3000

    torch.manual_seed(0)
    model, images = Fine().eval(), some_images(8)
    with torch.inference_mode():
        assert torch.equal(Engine("torch").run(model)(images), model(images))
        with pytest.raises(ConfigError, match="in bfloat16 this network says something else"):
            Engine("torch-bf16").run(model)(images)


@needs_openvino
def test_bfloat16_is_close_and_says_so(cache):
    model = real_network()
    expected = all_log_odds(model, cache, Engine("torch"))
    for name in ("torch-bf16", "openvino-bf16"):
        engine = Engine(name)
        found = all_log_odds(model, cache, engine)
        assert np.abs(found - expected).max() < 0.1 * np.ptp(expected)
        if "bfloat16" in engine.label:  # OpenVINO says float32 where the processor has nothing else
            assert np.abs(found - expected).max() > 0


@needs_openvino
def test_the_tuned_ranker_scores_alike_on_both(tmp_path, worth_it):
    found = {}
    for name, word in (("torch", "torch"), ("auto", "OpenVINO")):
        cache = planted.plant(tmp_path / name)
        ranker = Tuned(TuneOptions(iterations=3), dataclasses.replace(planted.context(cache), engine=name))
        for _ in ranker.fit(cache, planted.labels(planted.TRUTH)):
            pass
        parts = list(ranker.score(cache))
        assert all(part.engine.startswith(word) for part in parts)
        found[name] = np.concatenate([part.log_odds for part in parts])
    np.testing.assert_allclose(found["auto"], found["torch"], atol=2e-3)  # features are kept with 11 bits


@needs_openvino
def test_features_of_both_agree_and_those_of_bfloat16_are_kept_apart(tmp_path, worth_it):
    found, keys = {}, {}
    for name in ("torch", "auto", "openvino-bf16"):
        cache = planted.plant(tmp_path / name)
        store = FeatureStore(cache, planted.context(cache).input, planted.TINY, device="cpu", engine=name)
        (said,) = (step.message for step in store.compute() if step.message)
        assert ("OpenVINO" in said) == (name != "torch")
        found[name], keys[name] = store.get(list(cache.ids)), store.key
    np.testing.assert_allclose(found["auto"], found["torch"], rtol=2**-10, atol=1e-6)
    assert keys["auto"] == keys["torch"] != keys["openvino-bf16"]


# --------------------------------------------------------------------------------------------------------------- choice


@needs_openvino
def test_auto_leaves_a_few_images_to_torch():
    engine = Engine("auto")
    engine.expect(engines.WORTH - 1)
    assert engine.label.startswith("torch ")
    engine.expect(1)
    assert engine.label.startswith("OpenVINO ")
    assert Engine("openvino").label.startswith("OpenVINO ")


class Backwards(nn.Module):
    """OpenVINO is told that the images never change: what was traced does not hold for others."""

    def forward(self, images):
        return images.mean((2, 3)) + float(images.sum())


class Unknown(nn.Module):
    """Uses an operation that OpenVINO does not know."""

    def forward(self, images):
        return torch.linalg.svdvals(images.mean(1))


@needs_openvino
@pytest.mark.parametrize("network", [Backwards(), Unknown()])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_network_that_openvino_cannot_run_stays_on_torch(network, caplog, worth_it):
    images = torch.rand(5, 3, 8, 8)
    engine = Engine("auto")
    engine.expect(1000)
    found = engine.run(network)(images)
    torch.testing.assert_close(found, network(images))
    assert engine.label.startswith("torch ")
    assert "runs on torch" in caplog.text
    with pytest.raises(ConfigError, match="OpenVINO cannot run this network"):
        Engine("openvino").run(network)(images)


def test_asked_for_but_not_installed_is_an_error_with_the_way_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'astroanomaly\[fast\]'"):
        make_engines("openvino", "cpu")
    (engine,) = make_engines("auto", "cpu")
    engine.expect(10**6)
    assert engine.label.startswith("torch ")


@needs_openvino
def test_openvino_is_for_the_processor():
    with pytest.raises(ConfigError, match=r"set session\.device=cpu"):
        Engine("openvino", "cuda")


def test_scores_keep_what_they_were_computed_with(cache, tmp_path):
    (part, *_) = score_images(build_backbone(planted.TINY, 2), cache, planted.context(cache).input)
    write_scores(tmp_path, part, ("nominal", "anomaly"), "tuned")
    assert read_scores(tmp_path, part.shard).engine == part.engine == Engine().label
    with h5py.File(tmp_path / f"{part.shard}.h5", "a") as file:
        assert file.attrs["engine"] == part.engine
        del file.attrs["engine"], file.attrs["digest"]  # as written before there were engines
    assert read_scores(tmp_path, part.shard).engine == ""


@needs_openvino
def test_a_session_says_and_keeps_what_it_was_asked_to_use(cache, tmp_path):
    settings = {
        "session": {"device": "cpu", "engine": "openvino"},
        "input": {"size": 32, "views": "sky"},
        "backbone": {"name": planted.TINY.name, "weights": planted.TINY.weights},
    }
    session = Session.create(tmp_path / "s", cache.folders[0], settings=settings)
    known = planted.labels(planted.TRUTH)
    for object_id, label in zip(known.ids, known.classes, strict=True):
        session.label([object_id], label)
    reports = []
    session.train("supervised", iterations=1, progress=reports.append)
    (said,) = (step.message for step in reports if step.stage == "scoring" and step.message)
    shutil.rmtree(session.last_round.scores)
    again = Session.open(session.path)
    again.score()
    kept = {read_scores(again.last_round.scores, shard.uuid).engine for shard in again.cache.shards}
    assert {said.removeprefix("scored with ")} == kept == {Engine("openvino").label}


@pytest.mark.parametrize("wrong", ["onnx", "bf16"])
def test_an_unknown_engine_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"session\.engine='\w+': expected one of auto, torch, openvino"):
        build_settings({"session": {"engine": wrong}})


@given(st.floats(0, 1e12), st.floats(0, 1e10))
def test_a_pass_fits_half_of_the_memory(free, each):
    size = batch_within(free, each)
    assert 1 <= size <= 1024
    assert size == 1 or size * each <= free / 2
    assert size.bit_count() == 1


@given(st.integers(1, 70))
def test_images_are_filled_up_with_black_ones(count):
    images = torch.rand(count, 3, 2, 2)
    filled = filled_up(images)
    assert torch.equal(filled[:count], images)
    assert not filled[count:].any()
    assert len(filled) < 2 * count
    assert len(filled).bit_count() == 1
