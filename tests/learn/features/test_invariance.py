"""What turning and mirroring changes in features: measured, kept, and counted less by the probe."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planted
from astroanomaly.cache import Cache
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.errors import ConfigError
from astroanomaly.learn.features import invariance
from astroanomaly.learn.features.invariance import Invariance
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.probe import Probe, ProbeOptions
from astroanomaly.records import CutoutBlock, Labelled, Layout

COUNT, SIDE = 80, 24


def images():
    """Lopsided objects, each in a band of its own direction."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    angles = rng.uniform(0, 2 * np.pi, (COUNT, 1, 1))
    along = x * np.cos(angles) + y * np.sin(angles)
    across = y * np.cos(angles) - x * np.sin(angles)
    found = np.exp(-((along / 8) ** 2) - (across / 2.5) ** 2) * (1 + along / 12)
    return (found + rng.normal(0, 0.02, found.shape))[:, None].astype(np.float32)


def write(path, pixels):
    layout = Layout(bands=("r",), height=SIDE, width=SIDE)
    create_cache(path, layout, [], {})
    with ShardWriter(path, layout) as writer:
        writer.begin(0, "t")
        writer.add(CutoutBlock(ids=[f"o{n:04d}" for n in range(len(pixels))], images=pixels, bands=("r",)))
        writer.commit()
    return Cache.open(path)


@pytest.fixture
def cache(tmp_path):
    return write(tmp_path / "cache", images())


def context_of(cache, turns=2):
    return planted.context(cache.inner if isinstance(cache, Watched) else cache, turns=turns)


def store_of(cache, turns=2, **more):
    return FeatureStore.of(cache, dataclasses.replace(context_of(cache, turns), **more))


def run(store, ids):
    return list(store.turned.compute(ids))


class Watched:
    """A cache that remembers what was read of it by id."""

    def __init__(self, cache):
        self.inner = cache
        self.seen = set()

    def read(self, ids):
        self.seen |= set(ids)
        return self.inner.read(ids)

    def __len__(self):
        return len(self.inner)

    def __getattr__(self, name):
        return getattr(self.inner, name)


# --------------------------------------------------------------------------------------------------- the coordinates


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100.0))
def test_the_penalty_is_the_one_it_says(seed, strength):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(9, 3, 5)) * rng.uniform(0.1, 3.0, 5)
    found = Invariance.measure(points, strength)
    apart = (points - points.mean(axis=1, keepdims=True)).reshape(-1, 5)
    within = apart.T @ apart
    expected = np.eye(5) + strength * within / np.linalg.eigvalsh(within).mean()
    np.testing.assert_allclose(found.factor @ found.factor.T, expected, rtol=1e-5, atol=1e-6)
    changed = rng.normal(size=(5, 2))
    slope = found.slope(changed)
    new = rng.normal(size=(4, 5))
    np.testing.assert_allclose(found.change(new) @ changed, new @ slope, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((changed**2).sum(axis=0), np.einsum("ik,ij,jk->k", slope, expected, slope), rtol=1e-4)


def test_views_that_do_not_differ_say_nothing():
    assert Invariance.measure(np.ones((40, 4, 3)), 1.0) is None


# -------------------------------------------------------------------------------------------------- features of views


@pytest.mark.parametrize(("turns", "views"), [(1, 8), (2, 4), (4, 2)])
def test_an_object_has_so_many_images_and_the_first_is_its_own(cache, turns, views):
    store = store_of(cache, turns)
    ids = store.turned.sample()
    reports = run(store, ids)
    assert reports[-1].done == reports[-1].total == len(ids) == COUNT
    found = store.turned.get(ids)
    assert found.shape == (COUNT, views, sum(store.widths))
    list(store.compute())
    np.testing.assert_allclose(found[:, 0], store.get(ids), rtol=2e-3, atol=2e-3)
    assert all(np.abs(found[:, k] - found[:, 0]).max() > 0.01 for k in range(1, views))


def test_they_are_the_features_of_the_object_turned_and_mirrored(tmp_path, cache):
    pixels = images()
    ways = [pixels, np.rot90(pixels, 1, (2, 3)), pixels[..., ::-1], np.rot90(pixels, 1, (2, 3))[..., ::-1]]
    store = store_of(cache)
    ids = list(cache.ids)
    run(store, ids)
    for view, turned in enumerate(ways):
        other = store_of(write(tmp_path / f"turned{view}", np.ascontiguousarray(turned)))
        other.model_input = store.model_input
        list(other.compute())
        np.testing.assert_allclose(store.turned.get(ids)[:, view], other.get(ids), rtol=2e-3, atol=2e-3)


def test_of_pictures_only_the_mirror_image_counts_unless_features_are_averaged_over_it(cache):
    seen = planted.context(cache).input
    for turns, views in ((1, 2), (2, None)):
        store = store_of(cache, input=dataclasses.replace(seen, views="picture", turns=turns))
        run(store, list(cache.ids))
        found = store.turned.get(list(cache.ids))
        assert views == (None if found is None else found.shape[1])
    assert store.turned.invariance(list(cache.ids), lambda rows: rows, 1.0) is None


def test_they_are_kept_and_computed_once(cache):
    ids = store_of(cache).turned.sample()
    run(store_of(cache), ids[:50])
    watched = Watched(cache)
    store = store_of(watched)
    assert store.turned.get(ids).shape[0] == 50  # what is there
    run(store, ids)
    assert watched.seen == set(ids[50:])
    again = Watched(cache)
    assert not run(store_of(again), ids)
    assert not again.seen


def kept_in(cache):
    (path,) = cache.shards[0].folder.rglob("turned-4.npy")
    return path


@pytest.mark.parametrize("damage", ["cut", "other", "header", "shape", "many", "folder", "rows"])
def test_a_damaged_file_is_computed_again(cache, damage, monkeypatch):
    ids = store_of(cache).turned.sample()
    run(store_of(cache), ids)
    path = kept_in(cache)
    content, expected = path.read_bytes(), store_of(cache).turned.get(ids)
    array = np.load(path)
    if damage == "many":
        monkeypatch.setattr(invariance, "_MOST", 10)
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        rows = array.copy()
        rows["features"] = np.nan
        damaged = {
            "cut": content[:5000],
            "other": b"not features",
            "header": content[:60] + b"'" + content[61:],
            "shape": None,
            "rows": None,
        }[damage]
        if damaged is None:
            np.save(path, array["features"] if damage == "shape" else rows)
        else:
            path.write_bytes(damaged)
    store = store_of(cache)
    assert store.turned.get(ids) is None
    monkeypatch.undo()
    run(store, ids)
    np.testing.assert_array_equal(store.turned.get(ids), expected)
    if damage != "folder":
        np.testing.assert_array_equal(store_of(cache).turned.get(ids), expected)


def test_no_flipped_bit_does_more_than_have_it_computed_again(cache):
    ids = store_of(cache).turned.sample()
    run(store_of(cache), ids)
    path = kept_in(cache)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in [*range(128), *rng.integers(0, len(content), 50)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        found = store_of(cache).turned.get(ids)
        assert found is None or np.isfinite(found).all()


def test_objects_of_the_same_id_in_other_caches_are_others(tmp_path, cache):
    pixels = images()
    second, third = (write(tmp_path / name, turned) for name, turned in (("b", pixels[:40]), ("c", pixels[40:])))
    for other in (second, third):
        joined = Cache.open(other.shards[0].folder)
        store = store_of(joined)
        run(store, list(joined.ids))
    path = kept_in(second)
    kept_in(third).write_bytes(path.read_bytes())  # as if both were joined to one that holds the file
    assert store_of(third).turned.get(list(third.ids)) is None


def test_a_folder_that_cannot_be_written_to_is_passed_over(cache, tmp_path, monkeypatch):
    blocked, free = tmp_path / "blocked", tmp_path / "free"
    blocked.write_text("a file stands where the folder should be")
    ids = store_of(cache).turned.sample()
    for folders, files in (([blocked, free], 1), ([blocked], 1)):
        store = store_of(cache)
        monkeypatch.setattr(store, "folders", lambda uuid, folders=folders: folders)
        run(store, ids)
        assert len(store.turned.get(ids)) == COUNT
        assert len(list(tmp_path.rglob("turned-4.npy"))) == files


def test_what_was_computed_before_it_was_stopped_is_kept(cache):
    ids = store_of(cache).turned.sample()
    steps = store_of(cache).turned.compute(ids)
    for step in steps:
        if step.done >= 32:
            break
    steps.close()
    assert len(store_of(cache).turned.get(ids)) == step.done < COUNT


def test_the_sample_stays_nearly_the_same_when_more_is_excluded(tmp_path):
    store = store_of(write(tmp_path / "many", np.repeat(images(), 10, axis=0)))
    before = store.turned.sample()
    assert len(set(before)) == 256
    barred = set(before[:5])
    after = store.turned.sample(barred)
    assert len(after) == 256
    assert not barred & set(after)
    assert len(set(before) & set(after)) == 251
    most = set(store.cache.ids[:700])
    assert set(store.turned.sample(most)) == set(store.cache.ids[700:])


# ---------------------------------------------------------------------------------------------------------- the probe


def fitted(cache, known, exclude=frozenset(), **options):
    probe = Probe(ProbeOptions(**options), context_of(cache))
    list(probe.fit(cache, known, exclude))
    return probe


def known_of(cache):
    return Labelled(tuple(cache.ids[:24]), tuple("nominal" if k % 3 else "anomaly" for k in range(24)))


def spread(probe, cache, store):
    """How much the score differs between the views of an object, in units of how much it does between objects."""
    ids = list(cache.ids)
    points, line = probe.line
    features = store.turned.get(ids)
    n, v, dim = features.shape
    logits = line.at(points.apply(features.reshape(n * v, dim)))
    scores = (logits[:, 1] - logits[:, 0]).reshape(n, v)
    return scores.std(axis=1).mean() / scores.mean(axis=1).std()


def test_scores_change_less_when_an_object_is_turned(cache):
    known = known_of(cache)
    store = store_of(cache)
    run(store, list(cache.ids))
    found = [spread(fitted(cache, known, invariance=strength), cache, store) for strength in (0.0, 0.3, 10.0)]
    assert found[0] > 1.02 * found[1] > 1.04 * found[2]


def test_the_same_labels_give_the_same_line(cache):
    known = known_of(cache)
    first, second = (fitted(cache, known).line[1] for _ in range(2))
    np.testing.assert_allclose(first.slope, second.slope, rtol=1e-4, atol=1e-5)


def test_excluded_objects_are_not_looked_at(cache):
    watched = Watched(cache)
    excluded = frozenset(cache.ids[40:])
    fitted(watched, known_of(cache), excluded)
    assert watched.seen == set(cache.ids[:40])


def test_the_first_ranking_does_not_wait_for_it(cache):
    probe = Probe(ProbeOptions(), planted.context(cache))
    reports = list(probe.fit(cache, known_of(cache), complete=False))
    assert "turned views" not in {report.stage for report in reports}
    store = store_of(cache)
    list(store.compute())
    first, without = (Probe(ProbeOptions(invariance=strength), context_of(cache)) for strength in (0.3, 0.0))
    list(first.fit(cache, known_of(cache), complete=False))
    list(without.fit(cache, known_of(cache), complete=False))
    np.testing.assert_allclose(first.line[1].slope, without.line[1].slope)
    run(store, store.turned.sample())
    whole = Probe(ProbeOptions(), context_of(cache))
    list(whole.fit(cache, known_of(cache), complete=False))
    assert not np.allclose(whole.line[1].slope, without.line[1].slope, rtol=1e-2)


def test_a_large_cache_is_ranked_with_it_on_its_projection(cache):
    known = known_of(cache)
    slopes = [
        fitted(cache, known, components=16, project_above=10, invariance=strength).line[1].slope
        for strength in (0.0, 0.3)
    ]
    assert not np.allclose(*slopes, rtol=1e-2)


def test_a_small_cache_is_left_alone(tmp_path):
    few = write(tmp_path / "few", images()[:31])
    assert not run(store_of(few), list(few.ids))


@pytest.mark.parametrize("wrong", [-1.0, 1001.0, np.inf, np.nan])
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"probe\.invariance="):
        ProbeOptions(invariance=wrong)
