"""Active search: outliers first, then what the verdicts say, whatever labels there are."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

import planted
from astroanomaly.errors import TrainingError
from astroanomaly.hookspecs import InstantRanker, OutlierPriorRanker, rests_on_labels
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.active_search import ActiveSearch, _most_probable
from astroanomaly.learn.rankers.cold import Cold, ColdOptions
from astroanomaly.learn.rankers.probe import Probe, ProbeOptions
from astroanomaly.records import Labelled

NONE = Labelled((), ())
CLASSES = ("nominal", "anomaly", "lens")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("search") / "cache")


@pytest.fixture(scope="module")
def store(cache):
    store = FeatureStore.of(cache, planted.context(cache))
    for _ in store.compute():
        pass
    return store


def make(store, ranker=ActiveSearch, classes=CLASSES[:2], **options):
    made = ranker(ranker.Options(**options), planted.context(store.cache, classes))
    made.share(store)
    return made


def scores(ranker, cache, labels=NONE):
    for _ in ranker.fit(cache, labels):
        pass
    return planted.scores(ranker, cache)[1]


def test_it_is_an_instant_ranker_that_rests_on_labels_and_needs_none(store):
    search = make(store)
    assert isinstance(search, InstantRanker)
    assert isinstance(search, OutlierPriorRanker)
    assert not search.needs_labels
    assert rests_on_labels(search)
    assert rests_on_labels(Probe)
    assert not rests_on_labels(Cold)


def test_without_labels_the_order_is_that_of_outliers(cache, store):
    found = -scores(make(store), cache)[:, 0]
    outliers = -scores(make(store, Cold), cache)[:, 0]
    assert spearmanr(found, outliers).statistic == pytest.approx(1)
    assert found == pytest.approx(0.5 * outliers - 2, abs=1e-4)
    assert len(set(-scores(make(store, prior=0.0), cache)[:, 0])) == 1


@pytest.mark.parametrize(("word", "sign"), [("nominal", -1), ("anomaly", 1)])
def test_labels_of_one_kind_move_what_is_like_them(cache, store, word, sign):
    before = -scores(make(store), cache)[:, 0]
    shown = np.argsort(-before)[:5]
    labels = Labelled(tuple(cache.ids[k] for k in shown), (word,) * 5)
    moved = sign * (-scores(make(store), cache, labels)[:, 0] - before)
    assert moved[shown].min() > np.median(moved)
    points = FeatureScaler.of(store, 0).transform(store.get(cache.ids))
    likeness = (points @ points[shown].T).mean(axis=1)
    assert spearmanr(likeness, moved).statistic > 0.3


def test_with_labels_of_both_kinds_the_outlier_score_is_where_they_begin(cache, store):
    labels = planted.labels(planted.TRUTH)
    plain, alike = scores(make(store, Probe), cache, labels), scores(make(store, prior=0.0), cache, labels)
    assert alike == pytest.approx(plain, abs=0.02)  # the same regression, by another solver
    outliers = -scores(make(store, Cold), cache)[:, 0]
    found = -scores(make(store), cache, labels)[:, 0]
    assert spearmanr(found + plain[:, 0], outliers).statistic > 0.8


def test_several_anomaly_classes(cache, store):
    ids = tuple(cache.ids[:24])
    words = tuple("nominal" if not planted.TRUTH[i] else "lens" if n % 12 else "anomaly" for n, i in enumerate(ids))
    assert set(words) == set(CLASSES)
    labels = Labelled(ids, words)
    plain = scores(make(store, Probe, CLASSES), cache, labels)
    alike = scores(make(store, ActiveSearch, CLASSES, prior=0.0), cache, labels)
    assert alike == pytest.approx(plain, abs=0.05)
    only = scores(make(store, classes=CLASSES), cache, Labelled(ids[:1], ("lens",)))
    assert np.isnan(only[:, 1]).all()
    assert np.isfinite(only[:, [0, 2]]).all()


def test_outlier_scores_may_be_given(cache, store):
    search = make(store)
    given = np.linspace(-1, 12, len(cache))
    given[3] = np.nan
    search.begin_with(cache, given)
    expected = 0.5 * np.nan_to_num(given).clip(-3, 8) - 2
    assert -scores(search, cache)[:, 0] == pytest.approx(expected, abs=1e-5)


def test_objects_of_another_cache_have_their_outlier_scores_too(cache, store, tmp_path):
    search = make(store)
    scores(search, cache)
    other = planted.plant(tmp_path / "cache", {f"p{n:03d}": n % 5 == 0 for n in range(planted.COUNT)})
    found = -planted.scores(search, other)[1][:, 0]
    outliers = -planted.scores(search._cold, other)[1][:, 0]
    assert found == pytest.approx(0.5 * outliers.clip(-3, 8) - 2, abs=1e-4)
    assert len(set(found)) > 100


def test_features_are_computed_once(cache, tmp_path):
    copy = planted.plant(tmp_path / "cache")
    search = ActiveSearch(ProbeOptions(), planted.context(copy))
    steps = list(search.fit(copy, planted.labels(planted.TRUTH)))
    assert search._cold._store(copy) is search._store(copy)
    assert max(step.done for step in steps if step.stage == "features") == len(copy)
    assert sum(step.stage == "features" and step.done == 0 for step in steps) == 1


def test_an_image_has_the_score_of_its_object(cache, store):
    search = make(store)
    found = scores(search, cache, planted.labels(planted.TRUTH))
    again = [search.image_score(cache)(shard).log_odds for shard in cache.shards]
    outliers = list(search._cold._sample_scores)  # objects of the sample are not their own neighbours
    there = ~np.isin(np.array(cache.ids), outliers)
    assert np.concatenate(again)[there] == pytest.approx(found[there], abs=0.05)
    assert spearmanr(np.concatenate(again)[:, 0], found[:, 0]).statistic > 0.9
    assert search.saliency(cache, cache.ids[0]).shape == (32, 32)


def test_an_unknown_class_is_refused(cache, store):
    with pytest.raises(TrainingError, match="'comet' is not one of"):
        scores(make(store), cache, Labelled(("o000",), ("comet",)))


def test_the_regression_is_the_usual_one_where_nothing_is_given():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5))
    classes = (points[:, 0] + 0.5 * rng.normal(size=60) > 0).astype(int)
    weights, biases = _most_probable(points, classes, np.full(60, 3.0), np.zeros(60), np.zeros((6, 1)), bias=True)
    usual = LogisticRegression(C=3.0, tol=1e-8).fit(points, classes)
    assert weights[:, 0] == pytest.approx(usual.coef_[0], abs=1e-3)
    assert biases == pytest.approx(usual.intercept_, abs=1e-3)


def test_its_settings_are_those_of_the_probe():
    assert ActiveSearch.section == "probe"
    assert ActiveSearch.Options is ProbeOptions
    assert ColdOptions().neighbours == 50
