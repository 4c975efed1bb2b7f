"""Learning without labels: what is compared, what is written, and that it brings out what labels then need."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from astroanomaly import Session, metrics
from astroanomaly.cli import main
from astroanomaly.config import BackboneConfig
from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.training.options import PretrainOptions
from astroanomaly.learn.training.pretraining import pretrain
from astroanomaly.learn.training.simsiam import SimSiam, pretrain_network
from planted import TINY, TRUTH, labels, plant

SETTINGS = {
    "input": {"size": 32, "views": "sky"},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "session": {"device": "cpu"},
}
LONG = {"iterations": 100, "learning_rate": 0.02, "batch": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pretraining")
    plant(path / "cache")
    return path


@pytest.fixture(scope="module")
def learnt(folder):
    """What it reported, and the weights."""
    reports, weights = [], folder / "learnt.safetensors"
    pretrain(folder / "cache", weights, settings=SETTINGS, progress=reports.append, **LONG)
    return reports, weights


def test_the_loss_is_the_formula_of_the_paper():
    model = SimSiam(build_backbone(TINY, size=32), width=16).eval()
    one, other = torch.rand(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss, _ = model(one, other)
    z1, z2 = (model.projector(model.network.features(view)) for view in (one, other))
    p1, p2 = model.predictor(z1), model.predictor(z2)

    def d(p, z):
        return -(functional.normalize(p, dim=1) * functional.normalize(z, dim=1)).sum(1).mean()

    torch.testing.assert_close(loss, (d(p1, z2) + d(p2, z1)) / 2)


def test_no_gradient_flows_through_the_target():
    model = SimSiam(build_backbone(TINY, size=32), width=16).eval()
    for parameter in model.predictor.parameters():
        torch.nn.init.zeros_(parameter)  # predicts 0 whatever it is given
    torch.nn.init.ones_(model.predictor[-1].bias)  # and now the same for all: only the targets could learn
    loss, _ = model(*torch.rand(2, 6, 3, 32, 32))
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in model.network.parameters())


def test_it_learns_and_says_how_far_it_is(learnt):
    reports, _ = learnt
    losses, spreads = ([step.values[name] for step in reports] for name in ("loss", "spread"))
    assert [step.done for step in reports] == list(range(1, 101))
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 0.15
    assert all(-1 <= loss <= 1 and 0 < spread < 1.5 for loss, spread in zip(losses, spreads, strict=True))


def test_the_weights_are_those_of_a_search_and_the_same_from_the_same_seed(folder):
    for name in ("a", "b"):
        pretrain(folder / "cache", folder / f"{name}.safetensors", settings=SETTINGS, iterations=3)
    assert (folder / "a.safetensors").read_bytes() == (folder / "b.safetensors").read_bytes()
    trained = build_backbone(BackboneConfig("test_efficientnet", str(folder / "a.safetensors"))).state_dict()
    start = build_backbone(TINY).state_dict()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in trained.values())
    for name in ("network.conv_stem.weight", "network.bn1.running_mean"):
        assert not torch.equal(trained[name], start[name])


def test_statistics_that_came_with_the_weights_stay_unless_asked_otherwise(folder):
    pretrain(folder / "cache", folder / "first.safetensors", settings=SETTINGS, iterations=2)
    given = {**SETTINGS, "backbone": {"name": "test_efficientnet", "weights": str(folder / "first.safetensors")}}
    for norm in ("auto", "batch"):
        pretrain(folder / "cache", folder / f"{norm}.safetensors", settings=given, iterations=2, norm=norm)
    first, auto, batch = (
        build_backbone(BackboneConfig("test_efficientnet", str(folder / f"{name}.safetensors"))).state_dict()
        for name in ("first", "auto", "batch")
    )
    mean, kernel = "network.bn1.running_mean", "network.conv_stem.weight"
    assert torch.equal(auto[mean], first[mean])
    assert not torch.equal(batch[mean], first[mean])
    assert not torch.equal(auto[kernel], first[kernel])


@pytest.mark.slow
def test_it_brings_out_what_few_labels_then_find(folder, learnt):
    """With one anomaly and two others, drawn three times: what one draw finds hangs on the rounding of a version."""
    _, weights = learnt
    draws = []
    for seed in range(3):
        ids = list(TRUTH)
        np.random.default_rng(seed).shuffle(ids)
        draws.append(labels({i: TRUTH[i] for i in ids}, 1, 2))

    def found(given):
        backbone = {"name": "test_efficientnet", "weights": given}
        figures = []
        for number, known in enumerate(draws):
            name = f"session-{Path(given).stem}-{number}"
            session = Session.create(folder / name, folder / "cache", settings={**SETTINGS, "backbone": backbone})
            for object_id, label in zip(known.ids, known.classes, strict=True):
                session.label(object_id, label)
            session.train("probe")
            ids, log_odds = session.scores()
            hidden = [k for k, i in enumerate(ids) if i not in known.ids]
            figures.append(metrics.auprc(np.array([TRUTH[ids[k]] for k in hidden]), log_odds[hidden, 1]))
        return np.mean(figures)

    assert found(str(weights)) > found("random") + 0.1


def test_a_network_that_calls_everything_the_same_is_an_error_and_nothing_is_written(folder):
    network = build_backbone(TINY, size=32)
    same = torch.full((8, 3, 32, 32), 0.5)
    steps = pretrain_network(network, [(same, same)] * 2, [same], PretrainOptions(iterations=2, batch=8))
    with pytest.raises(TrainingError, match="calls all images the same"):
        list(steps)


def test_a_rate_that_runs_away_is_an_error_that_says_what_to_do(folder):
    with pytest.raises(TrainingError, match=r"set a smaller --learning-rate"):
        pretrain(folder / "cache", folder / "never.safetensors", settings=SETTINGS, iterations=40, learning_rate=1e20)
    assert not (folder / "never.safetensors").exists()


def test_the_command_says_what_to_do_next(folder, capsys):
    words = ["pretrain", folder / "cache", "--out", folder / "cli.safetensors", "--iterations", "2", "--batch", "8"]
    for section, values in SETTINGS.items():
        for key, value in values.items():
            words += ["--set", f"{section}.{key}={value}"]
    assert main([str(word) for word in words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"--set backbone.weights={folder / 'cli.safetensors'}" in said.replace("- ", "-")


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"iterations": 0}, "--iterations"),
        ({"batch": 3}, "--batch"),
        ({"width": 4}, "--width"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"learning_rate": 0.0}, "--learning-rate"),
        ({"weight_decay": -1.0}, "--weight-decay"),
    ],
)
def test_settings_out_of_range_are_refused(folder, wrong, name):
    with pytest.raises(ConfigError, match=name):
        pretrain(folder / "cache", folder / "never.safetensors", settings=SETTINGS, **wrong)
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        pretrain(folder / "cache", folder / "never.pth", settings=SETTINGS)
