"""FixMatch as a ranker: it finds a planted rarity, reads no more than it may, and is the same from the same seed."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from astroanomaly.errors import CheckpointError, ConfigError, TrainingError
from astroanomaly.hookspecs import Ranker
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.network.checkpoint import Checkpoint
from astroanomaly.learn.rankers.fixmatch import FixMatch
from astroanomaly.learn.training.options import FixMatchOptions
from astroanomaly.learn.training.trainer import fit_micro_batch
from astroanomaly.metrics import evaluate
from astroanomaly.records import Labelled
from planted import TINY, TRUTH, Watched, context, labels, plant, scores

QUICK = FixMatchOptions(iterations=2, labelled_batch=4, unlabelled_ratio=2, pool=40)


@pytest.fixture(scope="module")
def truth():
    return TRUTH


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("shapes") / "cache")


def made(cache, options=QUICK, **changes):
    return FixMatch(dataclasses.replace(options, **changes), context(cache))


# ------------------------------------------------------------------------------------------------------------ learning


def test_it_finds_a_planted_rarity_from_a_few_labels(cache, truth):
    known = labels(truth)
    ranker = made(cache, FixMatchOptions(iterations=50, labelled_batch=8, unlabelled_ratio=3, learning_rate=0.05))
    reports = list(ranker.fit(cache, known))
    ids, log_odds = scores(ranker, cache)
    hidden = [k for k, i in enumerate(ids) if i not in known.ids]
    found = evaluate(np.array([truth[ids[k]] for k in hidden]), log_odds[hidden, 1])
    assert found["auroc"] > 0.8
    assert found["auprc"] > 3 / 6
    assert [r.done for r in reports] == list(range(1, 51))
    assert {r.stage for r in reports} == {"training"}
    assert reports[0].values["confident"] < 0.5
    assert reports[-1].values["confident"] > reports[0].values["confident"]
    assert all(math.isfinite(value) for r in reports for value in r.values.values())
    np.testing.assert_allclose(log_odds[:, 0], -log_odds[:, 1], rtol=1e-5)


def test_it_is_a_ranker(cache):
    assert isinstance(made(cache), Ranker)


def test_the_same_seed_gives_the_same_weights(cache, truth):
    def weights(seed, anomalies=8):
        ranker = FixMatch(QUICK, context(cache, seed=seed))
        for _ in ranker.fit(cache, labels(truth, anomalies)):
            pass
        return scores(ranker, cache)[1]

    assert np.array_equal(weights(0), weights(0))
    assert not np.array_equal(weights(0), weights(1))


# ----------------------------------------------------------------------------------------------------- what it may read


def test_without_unlabelled_weight_only_labelled_images_are_read(cache, truth):
    watched, known = Watched(cache), labels(truth)
    ranker = made(cache, unlabelled_weight=0.0)
    reports = list(ranker.fit(watched, known))
    assert watched.seen <= set(known.ids)
    assert "confident" not in reports[-1].values
    assert np.isfinite(scores(ranker, cache)[1]).all()


def test_excluded_objects_are_never_read_even_if_labelled(cache, truth):
    watched, known = Watched(cache), labels(truth)
    audit = frozenset(list(truth)[5::3]) | set(known.ids[:2])
    for _ in made(cache, iterations=20, pool=len(TRUTH)).fit(watched, known, audit):
        pass
    assert not watched.seen & audit
    assert len(watched.seen) > 100


def test_no_more_is_read_at_once_than_a_step_needs(cache, truth):
    watched = Watched(cache)
    for _ in made(cache, pool=len(TRUTH)).fit(watched, labels(truth)):
        pass
    assert watched.most <= 64


def test_every_label_class_is_drawn_equally_often(cache, truth):
    from astroanomaly.learn.training.sampling import labelled_shufflers

    wanted = [(f"a{k}", "anomaly") for k in range(3)] + [(f"n{k}", "nominal") for k in range(90)]
    rng = np.random.default_rng(0)
    shufflers = labelled_shufflers(wanted, rng, True)
    drawn = [shufflers[k % len(shufflers)].draw() for k in range(180)]
    assert sum(c == "anomaly" for _, c in drawn) == 90
    assert len({i for i, c in drawn if c == "nominal"}) == 90  # all are seen before one comes again
    one = labelled_shufflers(wanted, rng, False)
    assert len(one) == 1
    assert sum(one[0].draw()[1] == "anomaly" for _ in range(93)) == 3


# ----------------------------------------------------------------------------------------------------- rounds and files


def test_a_checkpoint_scores_the_same_and_goes_on_the_same(cache, truth, tmp_path):
    first = made(cache)
    list(first.fit(cache, labels(truth)))
    first.save(tmp_path / "model.safetensors", {"auroc": 0.5})
    second = made(cache)
    second.load(tmp_path / "model.safetensors")
    expected = scores(first, cache)[1]
    np.testing.assert_allclose(scores(second, cache)[1], expected, atol=1e-4)
    for ranker in (first, second):
        list(ranker.fit(cache, labels(truth, 10)))
    np.testing.assert_allclose(scores(second, cache)[1], scores(first, cache)[1], atol=1e-4)
    assert not np.allclose(scores(first, cache)[1], expected, atol=1e-3)
    stored = Checkpoint.load(tmp_path / "model.safetensors")
    assert stored.settings["micro_batch"] == 4 + 2 * 8
    assert stored.settings["ema"] == 0.99
    assert stored.metrics == {"auroc": 0.5}


def test_starting_pretrained_forgets_the_rounds_before(cache, truth):
    fresh, again, going_on = (made(cache, start=start) for start in ("continue", "pretrained", "continue"))
    for ranker in (again, going_on):
        list(ranker.fit(cache, labels(truth, 5)))
    for ranker in (fresh, again, going_on):
        list(ranker.fit(cache, labels(truth)))
    assert np.array_equal(scores(fresh, cache)[1], scores(again, cache)[1])
    assert not np.array_equal(scores(fresh, cache)[1], scores(going_on, cache)[1])


def test_an_interrupted_round_leaves_the_model_of_the_round_before(cache, truth):
    ranker = made(cache)
    stopped = ranker.fit(cache, labels(truth))
    next(stopped)
    stopped.close()
    with pytest.raises(TrainingError, match="learnt nothing yet"):
        next(ranker.score(cache))
    list(ranker.fit(cache, labels(truth)))
    before = scores(ranker, cache)[1]
    stopped = ranker.fit(cache, labels(truth, 10))
    next(stopped)
    with pytest.raises(KeyboardInterrupt):
        stopped.throw(KeyboardInterrupt)
    assert np.array_equal(scores(ranker, cache)[1], before)


def test_a_class_without_labels_has_no_scores(cache, truth, tmp_path):
    ranker = FixMatch(QUICK, context(cache, ("nominal", "anomaly", "lens")))
    list(ranker.fit(cache, labels(truth)))
    ranker.save(tmp_path / "model.safetensors")
    other = FixMatch(QUICK, context(cache, ("nominal", "anomaly", "lens")))
    other.load(tmp_path / "model.safetensors")
    for one in (ranker, other):
        log_odds = scores(one, cache)[1]
        assert np.isnan(log_odds[:, 2]).all()
        assert np.isfinite(log_odds[:, :2]).all()


def test_checkpoints_of_something_else_are_refused(cache, truth, tmp_path):
    ranker = made(cache)
    list(ranker.fit(cache, labels(truth)))
    ranker.save(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="nominal, anomaly, expected nominal, lens"):
        FixMatch(QUICK, context(cache, ("nominal", "lens"))).load(tmp_path / "model.safetensors")
    other = dataclasses.replace(context(cache), backbone=dataclasses.replace(TINY, name="test_resnet"))
    with pytest.raises(CheckpointError, match="holds the network test_efficientnet"):
        FixMatch(QUICK, other).load(tmp_path / "model.safetensors")
    dataclasses.replace(Checkpoint.load(tmp_path / "model.safetensors"), ranker="other").save(tmp_path / "other")
    with pytest.raises(CheckpointError, match="of the ranker 'other'"):
        made(cache).load(tmp_path / "other")


# ---------------------------------------------------------------------------------------------------------- complaints


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (Labelled((), ()), "found: none"),
        (Labelled(("o000", "o006"), ("anomaly",) * 2), "found: 2 anomaly. Label at least one object as nominal"),
        (Labelled(("o001",), ("nominal",)), "found: 1 nominal. Label at least one object as anomaly"),
        (Labelled(("o001", "o002"), ("nominal", "lens")), "'lens' is not one of nominal, anomaly"),
    ],
)
def test_labels_it_cannot_learn_from_are_refused(cache, known, message):
    with pytest.raises(TrainingError, match=message):
        next(made(cache).fit(cache, known))


def test_it_warns_when_nearly_everything_passes_at_once(cache, truth):
    messages = [r.message for r in made(cache, threshold=0.5).fit(cache, labels(truth))]
    assert "passed the confidence threshold at step 1" in messages[0]
    assert not messages[1]


def test_it_warns_when_nothing_ever_passes(cache, truth):
    messages = [r.message for r in made(cache, threshold=1.0).fit(cache, labels(truth))]
    assert not messages[0]
    assert "no unlabelled image passed" in messages[-1]


def test_weights_that_run_away_are_an_error_and_are_not_kept(cache, truth):
    ranker = made(cache, iterations=30, learning_rate=1e12)
    with pytest.raises(TrainingError, match=r"set a smaller train\.learning_rate than 1e\+12"):
        list(ranker.fit(cache, labels(truth)))
    with pytest.raises(TrainingError, match="learnt nothing yet"):
        next(ranker.score(cache))


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"threshold": 1.5},
        {"ema": 1.0},
        {"temperature": 0.0},
        {"unlabelled_weight": -1.0},
        {"max_grad_norm": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"train.{next(iter(wrong))}="):
        FixMatchOptions(**wrong)


# -------------------------------------------------------------------------------------------------------------- memory


def test_training_on_the_processor_leaves_gpus_alone(cache, truth, monkeypatch):
    """Where there is a GPU too, or another kind of one, asking for its streams would wake it or fail."""
    monkeypatch.delattr(torch.cuda, "stream")
    assert len(list(made(cache, iterations=2).fit(cache, labels(truth)))) == 2


def test_the_micro_batch_follows_from_memory_and_size():
    model = build_backbone(TINY, 2).to(memory_format=torch.channels_last)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = fit_micro_batch(model, 64, FixMatchOptions(memory_gb=1.88))
    half = fit_micro_batch(model, 64, FixMatchOptions(memory_gb=1.84))
    large = fit_micro_batch(model, 128, FixMatchOptions(memory_gb=1.88))
    assert 11 < half < small < 176
    assert small == pytest.approx(2 * half, abs=2)
    assert large < small / 2
    assert fit_micro_batch(model, 64, FixMatchOptions(memory_gb=1e6)) == 176
    assert fit_micro_batch(model, 64, FixMatchOptions(micro_batch=44)) == 44
    assert fit_micro_batch(model, 64, FixMatchOptions(memory_gb=1.84, norm="frozen")) > half
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_too_little_memory_is_an_error_that_says_how_much_is_needed():
    model = build_backbone(TINY, 2).to(memory_format=torch.channels_last)
    with pytest.raises(ConfigError, match=r"about [\d.]+ GB, but may have 1 GB: raise train\.memory_gb") as caught:
        fit_micro_batch(model, 64, FixMatchOptions(memory_gb=1))
    enough = float(str(caught.value).split("about ")[1].split(" GB")[0])
    assert fit_micro_batch(model, 64, FixMatchOptions(memory_gb=enough)) >= 11  # one with its unlabelled ones
    assert fit_micro_batch(model, 64, FixMatchOptions(memory_gb=1, micro_batch=5)) == 5


def test_frozen_statistics_are_those_that_came_with_the_weights(cache, truth):
    ranker = made(cache, norm="frozen")
    list(ranker.fit(cache, labels(truth)))
    state = ranker._fitted.state
    fresh = build_backbone(TINY, 2).state_dict()
    means = [name for name in state if name.endswith("running_mean")]
    assert means
    assert all(torch.equal(state[name], fresh[name]) for name in means)


def test_the_cosine_ends_at_a_fifth_of_the_learning_rate():
    from astroanomaly.learn.training.trainer import _schedule

    falling = [_schedule(FixMatchOptions(iterations=100, schedule="cosine"), step) for step in range(100)]
    assert falling[0] == 1
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.2, abs=0.02)
    assert _schedule(FixMatchOptions(), 50) == 1
