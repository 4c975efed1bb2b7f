"""Rankers without labels: what is unlike the rest comes first."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import BackboneConfig, InputConfig, StretchConfig
from astroanomaly.errors import CheckpointError, ConfigError, TrainingError
from astroanomaly.hookspecs import ImageRanker, InstantRanker, RankerContext
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.cold import Cold, ColdOptions
from astroanomaly.learn.rankers.isolation_forest import IsolationForest, IsolationForestOptions
from astroanomaly.learn.rankers.lof import Lof, LofOptions
from astroanomaly.learn.rankers.ocsvm import Ocsvm, OcsvmOptions
from astroanomaly.records import CutoutBlock, Labelled, Layout

NONE = Labelled((), ())
RANKERS = (IsolationForest, Lof, Ocsvm, Cold)


def make_cache(path, count=200):
    """Blobs, and five different chessboards among them."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:24, :24] - 11.5
    images = np.exp(-(np.hypot(x, y) ** 2) / rng.uniform(20, 30, (count, 1, 1)))
    for side, place in enumerate(range(0, count, 40), 2):
        images[place] = (x // side + y // side) % 2
    images += rng.normal(0, 0.03, images.shape)
    layout = Layout(bands=("r",), height=24, width=24)
    create_cache(path, layout, [], {})
    for start in range(0, count, 80):
        part = images[start : start + 80, None].astype(np.float32)
        with ShardWriter(path, layout) as writer:
            writer.begin(start, f"t{start}")
            ids = [f"o{start + n:03d}" for n in range(len(part))]
            writer.add(CutoutBlock(ids=ids, images=part, bands=("r",)))
            writer.commit()
    return Cache.open(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("cold") / "cache")


def make(cache, ranker=Cold, classes=("nominal", "anomaly", "lens"), seed=0, **options):
    seen = ModelInput.measure(cache, StretchConfig(), InputConfig(size=32), np.random.default_rng(0))
    backbone = BackboneConfig(name="test_efficientnet", weights="random")
    return ranker(ranker.Options(**options), RankerContext(classes, seen, backbone, seed=seed, device="cpu"))


def run(ranker, cache, labels=NONE):
    list(ranker.fit(cache, labels))
    return np.concatenate([shard.log_odds for shard in ranker.score(cache)])


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize("sample", [50, 10_000])
def test_what_is_unlike_the_rest_comes_first(cache, ranker, sample):
    more = {"neighbours": 10} if ranker in (Lof, Cold) else {}
    found = run(make(cache, ranker, sample=sample, components=6, **more), cache)
    planted = np.isin(np.arange(len(found)), range(0, 200, 40))
    if more:
        assert planted[np.argsort(-found[:, 1])[:5]].sum() >= 4
    assert roc_auc_score(planted, found[:, 1]) > 0.85
    np.testing.assert_array_equal(found[:, 0], -found[:, 1])
    assert np.isnan(found[:, 2]).all()
    if sample > len(cache):
        assert np.median(found[:, 1]) == pytest.approx(0, abs=1e-5)


def test_the_same_seed_gives_the_same_scores(cache):
    one, two, other = (run(make(cache, IsolationForest, sample=60, seed=s), cache)[:, 1] for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 0


@pytest.mark.parametrize("ranker", RANKERS)
def test_labels_are_ignored(cache, ranker):
    known = Labelled(tuple(cache.ids[:40]), ("anomaly",) + 39 * ("nominal",))
    np.testing.assert_array_equal(run(make(cache, ranker), cache, known), run(make(cache, ranker), cache))
    assert not ranker.needs_labels


def test_without_a_general_anomaly_class_the_first_one_stands_for_it(cache):
    found = run(make(cache, classes=("nominal", "lens", "ring")), cache)
    assert np.isfinite(found[:, 1]).all()
    assert np.isnan(found[:, 2]).all()


def test_a_sample_is_enough_to_begin(tmp_path):
    cache = make_cache(tmp_path / "cache")
    ranker = make(cache, sample=40)
    assert isinstance(ranker, InstantRanker)
    assert isinstance(ranker, ImageRanker)
    ranker.share(FeatureStore.of(cache, ranker.context), complete=False)
    found = run(ranker, cache)
    assert np.isfinite(found[:, 0]).sum() == 40


def test_the_audit_set_is_never_looked_at(cache):
    audit = frozenset(f"o{n:03d}" for n in range(0, 200, 2))
    ranker = make(cache)
    list(ranker.fit(cache, NONE, audit))
    assert not audit & set(ranker._sample_scores)


def test_identical_objects_have_equal_finite_scores(tmp_path):
    layout = Layout(bands=("r",), height=24, width=24)
    create_cache(tmp_path / "c", layout, [], {})
    with ShardWriter(tmp_path / "c", layout) as writer:
        writer.begin(0, "t")
        ids = [f"o{n}" for n in range(12)]
        writer.add(CutoutBlock(ids=ids, images=np.ones((12, 1, 24, 24), np.float32), bands=("r",)))
        writer.commit()
    cache = Cache.open(tmp_path / "c")
    found = run(make(cache), cache)[:, 1]
    assert np.isfinite(found).all()
    assert np.ptp(found) < 1e-3


def test_bad_requests(cache):
    with pytest.raises(TrainingError, match="train it first"):
        next(make(cache).score(cache))
    with pytest.raises(TrainingError, match="expected at least 3"):
        list(make(cache).fit(cache, NONE, frozenset(cache.ids)))
    for options, wrong, message in (
        (ColdOptions, {"sample": 2}, r"cold\.sample=2: expected at least 10"),
        (ColdOptions, {"neighbours": 0}, r"cold\.neighbours=0"),
        (LofOptions, {"neighbours": 0}, r"lof\.neighbours=0"),
        (IsolationForestOptions, {"trees": 0}, r"isolation-forest\.trees=0"),
        (IsolationForestOptions, {"components": -1}, r"isolation-forest\.components=-1"),
        (OcsvmOptions, {"nu": 1.0}, r"ocsvm\.nu=1\.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            options(**wrong)
    with pytest.raises(CheckpointError, match="no weights"):
        make(cache).load(cache.folders[0])
