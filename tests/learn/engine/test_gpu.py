"""On a CUDA GPU: what is scored, learnt and kept is what the processor would say. Skipped where there is none."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import planted
from astroanomaly.cache import Cache
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import BackboneConfig
from astroanomaly.learn.engine import engine as engines
from astroanomaly.learn.engine.device import free_memory
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.engine.transfer import Transfer
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.rankers.fixmatch import FixMatch
from astroanomaly.learn.rankers.tuned import Tuned
from astroanomaly.learn.scoring import score_images
from astroanomaly.learn.training.options import FixMatchOptions, TuneOptions
from astroanomaly.learn.training.trainer import fit_micro_batch
from astroanomaly.metrics import evaluate
from astroanomaly.records import CutoutBlock, Layout
from folders import TESTS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("gpu") / "cache")


@pytest.fixture
def exact(monkeypatch):
    """Convolutions multiply numbers of 24 bits, as on the processor."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def on_gpu(cache, **changes):
    return dataclasses.replace(planted.context(cache), device="cuda", **changes)


def all_log_odds(cache, engine, batch=0):
    model = build_backbone(BackboneConfig(), 2, size=32)
    parts = list(score_images(model, cache, planted.context(cache).input, batch, engines=[engine]))
    assert [len(part.ids) for part in parts] == [100, 100, 40]
    assert [name for part in parts for name in part.ids] == list(cache.ids)
    return np.concatenate([part.log_odds[:, 1] for part in parts])


# -------------------------------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("batch", [0, 7, 64])
def test_scores_are_those_of_the_processor(cache, exact, batch):
    engine = Engine("auto", "cuda")
    expected, found = all_log_odds(cache, Engine("torch")), all_log_odds(cache, engine, batch)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert spearmanr(found, expected).statistic > 0.9999
    assert engine.label.endswith(", float32, cuda")


def test_what_is_rounded_is_close_and_says_so(cache):
    expected = all_log_odds(cache, Engine("torch"))
    for name, said, least in (
        ("torch", "float32 with TF32 convolutions", 0.999),
        ("torch-fp16", "float16", 0.999),
        ("torch-bf16", "bfloat16", 0.9),
    ):
        engine = Engine(name, "cuda")
        assert spearmanr(all_log_odds(cache, engine), expected).statistic > least
        assert f", {said}, cuda" in engine.label


def test_a_large_survey_passes_a_compiled_network(cache, exact, monkeypatch):
    monkeypatch.setattr(engines, "WORTH_COMPILING", 100)
    compile_, sizes = torch.compile, []

    def watched(network, **how):
        compiled = compile_(network, **how)
        return lambda images: sizes.append(len(images)) or compiled(images)

    monkeypatch.setattr(torch, "compile", watched)
    engine = Engine("auto", "cuda")
    found = all_log_odds(
        cache, engine, batch=40
    )  # parts of 40, 40, 20: filled up to 64, the last to 32 and passes as it is
    np.testing.assert_allclose(found, all_log_odds(cache, Engine("torch")), atol=1e-4)
    assert engine.label.startswith("torch compiled ")
    assert set(sizes) == {64}


def test_whatever_the_sizes_of_shards_few_numbers_of_images_pass(cache):
    seen = []
    model = build_backbone(BackboneConfig(), 2, size=32)
    model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    for _ in score_images(model, cache, planted.context(cache).input, 90, engines=[Engine("torch", "cuda")]):
        pass
    assert seen == [128, 128, 16, 16] * 2 + [64, 64]  # parts of 90, 10, 90, 10 and 40, two views of each


def test_measuring_the_memory_of_a_pass_compiles_nothing(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    engine = Engine("torch-compiled", "cuda")
    model = engine.place(build_backbone(BackboneConfig(), 2, size=64))
    assert 64 <= engine.batch_size(engine.run(model), 64) <= 1024


def test_features_come_first_in_a_process_of_their_own(tmp_path):
    """Nothing has woken the GPU when the size of a batch is asked for."""
    planted.plant(tmp_path / "cache")
    code = """if True:
        import sys
        import planted
        from astroanomaly.cache import Cache
        from astroanomaly.learn.features.store import FeatureStore
        cache = Cache.open(sys.argv[1])
        store = FeatureStore(cache, planted.context(cache).input, planted.TINY, device="cuda")
        print([step.done for step in store.compute()][-1])
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(planted.COUNT)]


def test_flux_of_two_bytes_arrives_as_it_is_read(tmp_path):
    layout = Layout(bands=("r", "g"), height=9, width=9, dtype="float16", pixel_kind="flux")
    create_cache(tmp_path / "cache", layout, [], {})
    flux = np.random.default_rng(0).normal(3, 100, (50, 2, 9, 9)).astype(np.float32)
    flux[3, 1, 2:4] = np.nan
    with ShardWriter(tmp_path / "cache", layout) as writer:
        writer.begin(0, "t")
        writer.add(CutoutBlock(ids=[f"o{i}" for i in range(50)], images=flux, bands=layout.bands))
        writer.commit()
    (shard,) = Cache.open(tmp_path / "cache").shards
    transfer = Transfer(torch.device("cuda"))
    sent = transfer.send(shard.stored(slice(10, 40)))
    assert sent.pixels.dtype == torch.float16
    found = transfer.receive(sent)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(transfer.fetch(found)(), shard.read(10, 40))


def features_of_both(tmp_path):
    found = []
    for device in ("cpu", "cuda"):
        cache = planted.plant(tmp_path / device)
        store = FeatureStore(cache, planted.context(cache).input, BackboneConfig(), device=device, engine="torch")
        for _ in store.compute():
            pass
        found.append(store.get(list(cache.ids)))
    return found


def test_features_are_those_of_the_processor(tmp_path, exact):
    here, there = features_of_both(tmp_path)
    np.testing.assert_allclose(there, here, rtol=2e-3, atol=2e-3)


def test_features_with_short_factors_are_close_enough_to_share_a_folder(tmp_path):
    """TF32, as a GPU computes unless told otherwise: apart by little of what tells objects apart."""
    here, there = features_of_both(tmp_path)
    assert np.median(np.abs(there - here).max(0) / here.std(0).clip(1e-3)) < 0.1


# ------------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FixMatch, FixMatchOptions(iterations=50, labelled_batch=8, unlabelled_ratio=3, learning_rate=0.05)),
        (Tuned, TuneOptions(iterations=20)),
    ],
)
def test_it_learns_there_and_its_checkpoint_scores_the_same_here(tmp_path, exact, kind, options):
    cache = planted.plant(tmp_path / "cache")
    ranker = kind(options, on_gpu(cache))
    reports = list(ranker.fit(cache, planted.labels(planted.TRUTH)))
    assert all(np.isfinite(report.values["loss"]) for report in reports if "loss" in report.values)
    ids, there = planted.scores(ranker, cache)
    assert evaluate(np.array([planted.TRUTH[i] for i in ids]), there[:, 1])["auprc"] > 0.5  # a sixth by chance
    ranker.save(tmp_path / "round.safetensors")
    other = kind(options, planted.context(cache))
    other.load(tmp_path / "round.safetensors")
    np.testing.assert_allclose(planted.scores(other, cache)[1], there, atol=5e-3)


def test_a_step_takes_what_the_gpu_has():
    model = build_backbone(BackboneConfig(), 2, size=128).to("cuda", memory_format=torch.channels_last)
    whole = 16 + 2 * 80
    assert fit_micro_batch(model, 128, FixMatchOptions()) > fit_micro_batch(model, 128, FixMatchOptions(memory_gb=4))
    assert fit_micro_batch(model, 32, FixMatchOptions()) == whole


def test_what_torch_keeps_for_itself_is_free():
    """A round leaves memory reserved, which the next one may take."""
    device = torch.device("cuda")
    before = free_memory(device)
    held = torch.empty(2**30, dtype=torch.uint8, device=device)
    assert free_memory(device) < before - 0.9 * 2**30
    del held
    assert free_memory(device) > before - 0.1 * 2**30
