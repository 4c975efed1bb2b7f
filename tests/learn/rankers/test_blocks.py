"""Rankers with numbers beside the image: what they gain, what they cost, and what a score is due to."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

import planted
from astroanomaly.hookspecs import PartsRanker
from astroanomaly.learn.features.block_files import write_block
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.active_search import ActiveSearch
from astroanomaly.learn.rankers.baselines import PlainProbe
from astroanomaly.learn.rankers.cold import Cold
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.records import FeatureBlock

IDS = list(planted.TRUTH)
ODD = np.array(list(planted.TRUTH.values()))
KNOWN = planted.labels(planted.TRUTH)
RNG = np.random.default_rng(11)
LOUD = RNG.uniform(size=len(IDS)) < 0.15  # nothing in the image tells
HEARD = planted.labels(dict(zip(IDS, LOUD.tolist(), strict=True)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    cache = planted.plant(tmp_path_factory.mktemp("blocks") / "cache")
    store = FeatureStore.of(cache, planted.context(cache))
    for _ in store.compute():
        pass
    return store


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    values = {
        "telling": (ODD * 3 + RNG.normal(size=len(ODD)))[:, None],
        "radio": (LOUD * 3 + RNG.normal(size=len(ODD)))[:, None],
        "random": RNG.normal(size=(len(ODD), 6)),
        "half": np.where(np.arange(len(ODD)) % 2, LOUD * 3 + RNG.normal(size=len(ODD)), np.nan)[:, None],
        "constant": np.ones((len(ODD), 2)),
    }
    made = {}
    for name, numbers in values.items():
        write_block(folder / name, IDS, numbers, {"name": name})
        columns = tuple(f"{name}_{k}" for k in range(numbers.shape[1]))
        made[name] = FeatureBlock(name, columns, ("",) * len(columns), str(folder / name))
    return made


def fitted(store, ranker=Probe, blocks=(), classes=("nominal", "anomaly"), labels=KNOWN, **options):
    context = dataclasses.replace(planted.context(store.cache, classes), blocks=tuple(blocks))
    made = ranker(ranker.Options(**options), context)
    made.share(store)
    for _ in made.fit(store.cache, labels):
        pass
    return made


def scores(ranker, cache):
    return -planted.scores(ranker, cache)[1][:, 0]


def auprc(found, truth=ODD, known=KNOWN):
    left = np.array([name not in known.ids for name in IDS])
    return average_precision_score(truth[left], found[left])


@pytest.mark.parametrize("ranker", [Probe, ActiveSearch])
def test_a_block_that_tells_what_the_image_does_not_finds_more(store, blocks, ranker):
    image, radio = (
        auprc(scores(fitted(store, ranker, given, labels=HEARD), store.cache), LOUD, HEARD)
        for given in ([], [blocks["radio"]])
    )
    assert radio > image + 0.3


@pytest.mark.parametrize("ranker", [Probe, ActiveSearch])
def test_a_random_block_costs_little_where_the_image_tells(store, blocks, ranker):
    image, random = (auprc(scores(fitted(store, ranker, given), store.cache)) for given in ([], [blocks["random"]]))
    assert random > image - 0.05


def test_an_outlier_in_a_block_is_an_outlier(store, blocks, tmp_path):
    numbers = RNG.normal(size=(len(IDS), 2))
    numbers[7] = [40, -40]
    write_block(tmp_path / "b", IDS, numbers, {})
    block = FeatureBlock("b", ("x", "y"), ("", ""), str(tmp_path / "b"))
    image, beside = (np.argsort(-scores(fitted(store, Cold, given), store.cache)) for given in ([], [block]))
    assert beside.tolist().index(7) < 5 < image.tolist().index(7)


@pytest.mark.parametrize("ranker", [Probe, ActiveSearch, Cold])
def test_a_block_of_one_value_changes_nothing(store, blocks, ranker):
    image, beside = (scores(fitted(store, ranker, given), store.cache) for given in ([], [blocks["constant"]]))
    np.testing.assert_allclose(beside, image, atol=2e-3)


def test_rankers_that_look_at_plain_features_or_images_alone_do_not_look_at_blocks(store, blocks):
    image, beside = (scores(fitted(store, PlainProbe, given), store.cache) for given in ([], [blocks["telling"]]))
    np.testing.assert_array_equal(image, beside)


def test_objects_without_numbers_have_scores_and_the_others_gain(store, blocks):
    image, beside = (scores(fitted(store, Probe, given, labels=HEARD), store.cache) for given in ([], [blocks["half"]]))
    assert np.isfinite(beside).all()
    assert auprc(beside, LOUD, HEARD) > auprc(image, LOUD, HEARD) + 0.1


@pytest.mark.parametrize("ranker", [Probe, ActiveSearch])
def test_the_parts_of_a_score_add_up_to_it(store, blocks, ranker):
    learnt = fitted(store, ranker, [blocks["telling"], blocks["random"]])
    assert isinstance(learnt, PartsRanker)
    parts = learnt.parts(store.cache, IDS)
    assert list(parts)[:3] == ["image", "telling", "random"]
    whole = scores(learnt, store.cache)
    rest = whole - sum(parts.values())
    np.testing.assert_allclose(rest, rest[0], atol=1e-3)  # that of an object that is as usual in all
    shares = learnt.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["telling"] > shares["random"]
    assert parts["telling"][ODD].mean() > parts["telling"][~ODD].mean() + 0.5


def test_without_blocks_the_score_of_the_probe_is_that_of_the_image(store):
    assert fitted(store).shares() == {"image": 1.0}


def test_parts_with_several_classes_say_what_a_score_falls_by(store, blocks):
    labels = dataclasses.replace(
        KNOWN, classes=tuple("lens" if c == "anomaly" and k % 2 else c for k, c in enumerate(KNOWN.classes))
    )
    learnt = fitted(store, Probe, [blocks["telling"]], ("nominal", "anomaly", "lens"), labels)
    parts = learnt.parts(store.cache, IDS)
    assert parts["telling"][ODD].mean() > parts["telling"][~ODD].mean() + 0.5
    assert set(parts) == {"image", "telling"}


@pytest.mark.parametrize("ranker", [Probe, ActiveSearch, Cold])
def test_shards_in_no_cache_are_scored_with_their_blocks(store, blocks, ranker):
    learnt = fitted(store, ranker, [blocks["telling"], blocks["half"]])
    score = learnt.image_score(store.cache)
    again = np.concatenate([-score(shard).log_odds[:, 0] for shard in store.cache.shards])
    there = scores(learnt, store.cache)
    if ranker is not Probe:  # objects of the sample are not their own neighbours in the one
        assert np.corrcoef(there, again)[0, 1] > 0.95
    else:
        np.testing.assert_allclose(again, there, atol=0.05)


def test_the_scores_repeat(store, blocks):
    first, second = (scores(fitted(store, ActiveSearch, [blocks["half"]]), store.cache) for _ in range(2))
    np.testing.assert_array_equal(first, second)
