"""The tuned network: it starts from the probe, learns more, and is the same from the same labels and seed."""

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch

from astroanomaly.errors import CheckpointError, ConfigError, TrainingError
from astroanomaly.hookspecs import Ranker
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.probe import LinearHead, Probe, ProbeOptions
from astroanomaly.learn.rankers.probe_head import ProbeHead
from astroanomaly.learn.rankers.tuned import Tuned
from astroanomaly.learn.scoring import score_images
from astroanomaly.learn.training.options import TuneOptions
from astroanomaly.metrics import evaluate
from astroanomaly.records import Labelled
from planted import TRUTH, Watched, context, labels, plant, scores

QUICK = TuneOptions(iterations=3, batch=6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("shapes") / "cache")


def made(cache, options=QUICK, seed=0, classes=("nominal", "anomaly"), layers="auto", tta_views=2, **changes):
    given = context(cache, classes, seed, tta_views)
    given = dataclasses.replace(given, backbone=dataclasses.replace(given.backbone, layers=layers))
    return Tuned(dataclasses.replace(options, **changes), given)


def fitted(cache, known=None, **more):
    ranker = made(cache, **more)
    for _ in ranker.fit(cache, known or labels(TRUTH)):
        pass
    return ranker


# -------------------------------------------------------------------------------------------------------- the beginning


def test_the_head_computes_what_the_probe_does():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(200, 12))).astype(np.float32) * rng.uniform(0.01, 3, 12).astype(np.float32)
    features[:, 3] *= -1
    scaler = FeatureScaler.measure(features, (8, 4))
    linear = LinearHead(rng.normal(size=(12, 2)).astype(np.float32), rng.normal(size=2))
    head = ProbeHead(12, 3)
    head.begin(scaler, linear, [0, 2])
    with torch.no_grad():
        logits = head(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(logits[:, [0, 2]], linear.logits(scaler.transform(features)), atol=0.15)
    assert not logits[:, 1].any()


def test_nothing_runs_away_where_a_feature_is_zero():
    head = ProbeHead(4, 2)
    torch.nn.init.ones_(head.line.weight)
    torch.nn.init.constant_(head.centre, 0.5)
    features = torch.tensor([[0.0, 1.0, -1e-9, 2.0]], requires_grad=True)
    head(features)[0, 0].backward()
    assert features.grad.abs().max() < 100


@pytest.mark.parametrize("layers", ["last", "several", "scales"])
def test_before_any_step_it_ranks_as_the_probe(cache, layers):
    tuned = fitted(cache, layers=layers, tta_views=1)
    probe = Probe(ProbeOptions(), tuned.context)
    for _ in probe.fit(cache, labels(TRUTH)):
        pass
    start = tuned._network(tuned._fitted).first
    ours = np.concatenate([part.log_odds for part in score_images(start, cache, tuned.context.input)])
    _, theirs = scores(probe, cache)
    np.testing.assert_allclose(ours, theirs, atol=0.15)
    assert np.corrcoef(ours[:, 1], theirs[:, 1])[0, 1] > 0.999


def test_its_scores_do_not_depend_on_which_features_exist(tmp_path):
    cache = plant(tmp_path / "cache")
    ranker = fitted(cache)
    _, using = scores(ranker, cache)
    ranker.save(tmp_path / "w.safetensors")
    shutil.rmtree(cache.folders[0] / "derived")
    other = made(cache)
    other.load(tmp_path / "w.safetensors")
    assert not FeatureStore.of(cache, other.context).done
    _, without = scores(other, cache)
    np.testing.assert_allclose(using, without, atol=2e-3)
    assert not FeatureStore.of(cache, other.context).done


# ------------------------------------------------------------------------------------------------------------ learning


def test_it_learns_more_than_the_probe(cache):
    known = labels(TRUTH, 3, 6)
    tuned = fitted(cache, known, options=TuneOptions(iterations=100, learning_rate=0.01))
    probe = Probe(ProbeOptions(), tuned.context)
    for _ in probe.fit(cache, known):
        pass

    def found(ranker):
        ids, log_odds = scores(ranker, cache)
        hidden = [k for k, i in enumerate(ids) if i not in known.ids]
        return evaluate(np.array([TRUTH[ids[k]] for k in hidden]), log_odds[hidden, 1])["auprc"]

    assert found(tuned) > found(probe) + 0.05  # the probe knows what rotation changes, and is good already


def test_it_is_a_ranker(cache):
    assert isinstance(made(cache), Ranker)


def test_a_round_depends_on_the_labels_and_the_seed_alone(cache):
    ranker = fitted(cache)
    _, first = scores(ranker, cache)
    for _ in ranker.fit(cache, labels(TRUTH, 5)):
        pass
    _, other = scores(ranker, cache)
    for _ in ranker.fit(cache, labels(TRUTH)):
        pass
    _, again = scores(ranker, cache)
    np.testing.assert_array_equal(again, first)
    assert not np.array_equal(other, first)
    assert not np.array_equal(scores(fitted(cache, seed=1), cache)[1], first)


def test_only_labelled_images_are_read_for_training_and_excluded_ones_never(cache):
    known = labels(TRUTH)
    unread = frozenset(known.ids[:2])
    for _ in made(cache).fit(cache, known):  # features are there now
        pass
    watched = Watched(cache)
    for _ in made(cache).fit(watched, known, unread):
        pass
    assert watched.seen <= set(known.ids) - unread
    assert watched.seen


def test_a_round_ends_when_the_labels_are_learnt(cache):
    def steps(**options):
        ranker = made(cache, options=TuneOptions(iterations=80, learning_rate=0.01, **options))
        return [step.values["loss"] for step in ranker.fit(cache, labels(TRUTH)) if step.stage == "training"]

    everything = steps(stop=0.0)
    assert len(everything) == 80
    means = np.convolve(everything, np.full(20, 1 / 20), "valid")  # (61,) over the 20 steps from each on
    assert means.min() < means[0]
    bound = (means[0] + means.min()) / 2
    short = steps(stop=float(bound))
    assert short == everything[: len(short)]
    assert 20 < len(short) < 80
    assert np.mean(short[-20:]) < bound <= np.mean(short[-21:-1])
    assert len(steps(stop=float(means[0]) + 1e-6)) == 20


def test_statistics_of_normalisation_stay_as_they_came(cache):
    from astroanomaly.learn.network.backbone import build_backbone

    ranker = fitted(cache)
    fresh = build_backbone(ranker.context.backbone).state_dict()
    means = [name for name in fresh if name.endswith("running_mean")]
    assert means
    assert all(torch.equal(ranker._fitted.state[f"tuned.{name}"], fresh[name]) for name in means)


def test_frozen_blocks_stay_as_they_came(cache):
    from astroanomaly.learn.network.backbone import build_backbone

    free, frozen = fitted(cache), fitted(cache, frozen_blocks=2)
    start = build_backbone(free.context.backbone).state_dict()
    stem = "network.conv_stem.weight"
    assert torch.equal(frozen._fitted.state[f"tuned.{stem}"], start[stem])
    assert not torch.equal(free._fitted.state[f"tuned.{stem}"], start[stem])
    assert torch.equal(free._fitted.state[f"first.{stem}"], start[stem])


# ---------------------------------------------------------------------------------------------------- several classes


def test_a_class_without_labels_has_no_scores(cache, tmp_path):
    ranker = fitted(cache, classes=("nominal", "lens", "anomaly"))
    _, log_odds = scores(ranker, cache)
    assert np.isnan(log_odds[:, 1]).all()
    assert np.isfinite(log_odds[:, [0, 2]]).all()
    ranker.save(tmp_path / "w.safetensors")
    other = made(cache, classes=("nominal", "lens", "anomaly"))
    other.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(scores(other, cache)[1], log_odds)


def test_several_kinds_have_a_score_each(cache):
    odd, usual = [i for i, t in TRUTH.items() if t], [i for i, t in TRUTH.items() if not t]
    known = Labelled((*odd[:8], *usual[:16]), ("lens",) * 4 + ("anomaly",) * 4 + ("nominal",) * 16)
    _, log_odds = scores(fitted(cache, known, classes=("nominal", "lens", "anomaly")), cache)
    chances = 1 / (1 + np.exp(-log_odds.astype(float)))
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------- keeping


@pytest.mark.parametrize("layers", ["last", "several", "scales"])
def test_a_checkpoint_scores_the_same(cache, tmp_path, layers):
    ranker = fitted(cache, layers=layers)
    ranker.save(tmp_path / "w.safetensors")
    other = made(cache, layers=layers)
    other.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(scores(other, cache)[1], scores(ranker, cache)[1])
    np.testing.assert_array_equal(other.saliency(cache, "o000"), ranker.saliency(cache, "o000"))


def test_checkpoints_of_other_features_are_refused(cache, tmp_path):
    fitted(cache, layers="last").save(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w\.safetensors belongs to another network"):
        made(cache, layers="several").load(tmp_path / "w.safetensors")


def test_an_interrupted_round_leaves_the_model_of_the_round_before(cache):
    ranker = fitted(cache)
    before = copy.deepcopy(ranker._fitted.state)
    round_ = ranker.fit(cache, labels(TRUTH, 4))
    while next(round_).stage != "training":
        pass
    round_.close()
    assert all(torch.equal(ranker._fitted.state[name], before[name]) for name in before)


def test_weights_that_run_away_are_an_error_and_are_not_kept(cache):
    ranker = made(cache, iterations=50, learning_rate=1e9)
    with pytest.raises(TrainingError, match=r"set a smaller tune\.learning_rate than 1e\+09"):
        list(ranker.fit(cache, labels(TRUTH)))
    with pytest.raises(TrainingError, match="tuned has learnt nothing yet"):
        list(ranker.score(cache))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (Labelled((), ()), "tuned needs labels on both sides"),
        (Labelled(("o000",), ("anomaly",)), "Label at least one object as nominal"),
        (Labelled(("o000", "o001"), ("lens", "nominal")), "label class 'lens' is not one of nominal, anomaly"),
    ],
)
def test_labels_it_cannot_learn_from_are_refused(cache, known, message):
    with pytest.raises(TrainingError, match=message):
        list(made(cache).fit(cache, known))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"batch": 0},
        {"stop": -0.1},
        {"max_grad_norm": -1.0},
        {"edge_share": -0.1},
        {"ema": 1.0},
        {"learning_rate": 0.0},
        {"memory_gb": -1.0},
        {"frozen_blocks": -1},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=rf"tune\.{next(iter(wrong))}="):
        TuneOptions(**wrong)
