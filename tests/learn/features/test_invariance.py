"""What rotation and mirroring change in features: measured, kept, and counted less by the probe."""

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
from astroanomaly.learn.features.invariance import Invariance, RotatedFeatures
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


def context_of(cache, tta_views=2):
    return planted.context(cache.inner if isinstance(cache, Watched) else cache, tta_views=tta_views)


def store_of(cache, tta_views=2, **more):
    return FeatureStore.of(cache, dataclasses.replace(context_of(cache, tta_views), **more))


def rotated_of(cache, tta_views=2):
    return RotatedFeatures(store_of(cache, tta_views))


def run(rotated, ids):
    return list(rotated.compute(ids))


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
    largest = np.abs(expected).max()  # single elements may cancel: the factor is float32
    np.testing.assert_allclose(found.factor @ found.factor.T, expected, rtol=1e-5, atol=1e-6 * max(1, largest))
    changed = rng.normal(size=(5, 2))
    weight = found.original_weight(changed)
    new = rng.normal(size=(4, 5))
    np.testing.assert_allclose(found.transform(new) @ changed, new @ weight, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((changed**2).sum(axis=0), np.einsum("ik,ij,jk->k", weight, expected, weight), rtol=1e-4)


def test_views_that_do_not_differ_say_nothing():
    assert Invariance.measure(np.ones((40, 4, 3)), 1.0) is None


# -------------------------------------------------------------------------------------------------- features of views


@pytest.mark.parametrize(("tta_views", "views"), [(1, 8), (2, 4), (4, 2)])
def test_an_object_has_so_many_images_and_the_first_is_its_own(cache, tta_views, views):
    rotated = rotated_of(cache, tta_views)
    store, ids = rotated.store, rotated.sample()
    reports = run(rotated, ids)
    assert reports[-1].done == reports[-1].total == len(ids) == COUNT
    found = rotated.get(ids)
    assert found.shape == (COUNT, views, sum(store.widths))
    list(store.compute())
    np.testing.assert_allclose(found[:, 0], store.get(ids), rtol=2e-3, atol=2e-3)
    assert all(np.abs(found[:, k] - found[:, 0]).max() > 0.01 for k in range(1, views))


def test_they_are_the_features_of_the_object_rotated_and_mirrored(tmp_path, cache):
    pixels = images()
    ways = [pixels, np.rot90(pixels, 1, (2, 3)), pixels[..., ::-1], np.rot90(pixels, 1, (2, 3))[..., ::-1]]
    rotated = rotated_of(cache)
    ids = list(cache.ids)
    run(rotated, ids)
    for view, changed in enumerate(ways):
        other = store_of(write(tmp_path / f"view{view}", np.ascontiguousarray(changed)))
        other.model_input = rotated.store.model_input
        list(other.compute())
        np.testing.assert_allclose(rotated.get(ids)[:, view], other.get(ids), rtol=2e-3, atol=2e-3)


def test_of_pictures_only_the_mirror_image_counts_unless_features_are_averaged_over_it(cache):
    seen = planted.context(cache).input
    for tta_views, views in ((1, 2), (2, None)):
        store = store_of(cache, input=dataclasses.replace(seen, views="picture", tta_views=tta_views))
        rotated = RotatedFeatures(store)
        run(rotated, list(cache.ids))
        found = rotated.get(list(cache.ids))
        assert views == (None if found is None else found.shape[1])
    assert rotated.invariance(list(cache.ids), lambda rows: rows, 1.0) is None


def test_they_are_kept_and_computed_once(cache):
    ids = rotated_of(cache).sample()
    run(rotated_of(cache), ids[:50])
    watched = Watched(cache)
    rotated = rotated_of(watched)
    assert rotated.get(ids).shape[0] == 50  # what is there
    run(rotated, ids)
    assert watched.seen == set(ids[50:])
    again = Watched(cache)
    assert not run(rotated_of(again), ids)
    assert not again.seen


def kept_in(cache):
    (path,) = cache.shards[0].folder.rglob("turned-4.npy")
    return path


@pytest.mark.parametrize("damage", ["cut", "other", "header", "shape", "many", "folder", "rows"])
def test_a_damaged_file_is_computed_again(cache, damage, monkeypatch):
    ids = rotated_of(cache).sample()
    run(rotated_of(cache), ids)
    path = kept_in(cache)
    content, expected = path.read_bytes(), rotated_of(cache).get(ids)
    array = np.load(path)
    if damage == "many":
        monkeypatch.setattr(invariance, "_MAX_STORED_OBJECTS", 10)
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
    rotated = rotated_of(cache)
    assert rotated.get(ids) is None
    monkeypatch.undo()
    run(rotated, ids)
    np.testing.assert_array_equal(rotated.get(ids), expected)
    if damage != "folder":
        np.testing.assert_array_equal(rotated_of(cache).get(ids), expected)


def test_no_flipped_bit_does_more_than_have_it_computed_again(cache):
    ids = rotated_of(cache).sample()
    run(rotated_of(cache), ids)
    path = kept_in(cache)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in [*range(128), *rng.integers(0, len(content), 50)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        found = rotated_of(cache).get(ids)
        assert found is None or np.isfinite(found).all()


def test_objects_of_the_same_id_in_other_caches_are_others(tmp_path, cache):
    pixels = images()
    second, third = (write(tmp_path / name, part) for name, part in (("b", pixels[:40]), ("c", pixels[40:])))
    for other in (second, third):
        joined = Cache.open(other.shards[0].folder)
        run(rotated_of(joined), list(joined.ids))
    path = kept_in(second)
    kept_in(third).write_bytes(path.read_bytes())  # as if both were joined to one that holds the file
    assert rotated_of(third).get(list(third.ids)) is None


def test_a_folder_that_cannot_be_written_to_is_passed_over(cache, tmp_path, monkeypatch):
    blocked, free = tmp_path / "blocked", tmp_path / "free"
    blocked.write_text("a file stands where the folder should be")
    ids = rotated_of(cache).sample()
    for folders, files in (([blocked, free], 1), ([blocked], 1)):
        rotated = rotated_of(cache)
        monkeypatch.setattr(rotated.store, "folders", lambda uuid, folders=folders: folders)
        run(rotated, ids)
        assert len(rotated.get(ids)) == COUNT
        assert len(list(tmp_path.rglob("turned-4.npy"))) == files


def test_what_was_computed_before_it_was_stopped_is_kept(cache):
    ids = rotated_of(cache).sample()
    steps = rotated_of(cache).compute(ids)
    for step in steps:
        if step.done >= 32:
            break
    steps.close()
    assert len(rotated_of(cache).get(ids)) == step.done < COUNT


def test_the_sample_stays_nearly_the_same_when_more_is_excluded(tmp_path):
    rotated = rotated_of(write(tmp_path / "many", np.repeat(images(), 10, axis=0)))
    before = rotated.sample()
    assert len(set(before)) == 256
    barred = set(before[:5])
    after = rotated.sample(barred)
    assert len(after) == 256
    assert not barred & set(after)
    assert len(set(before) & set(after)) == 251
    most = set(rotated.store.cache.ids[:700])
    assert set(rotated.sample(most)) == set(rotated.store.cache.ids[700:])


# ---------------------------------------------------------------------------------------------------------- the probe


def fitted(cache, known, exclude=frozenset(), **options):
    probe = Probe(ProbeOptions(**options), context_of(cache))
    list(probe.fit(cache, known, exclude))
    return probe


def partial(cache, reports=None, **options):
    """Weights of a probe that computes no features but those of the labelled objects."""
    probe = Probe(ProbeOptions(**options), context_of(cache))
    probe.share(store_of(cache), complete=False)
    steps = list(probe.fit(cache, known_of(cache)))
    if reports is not None:
        reports.extend(steps)
    return probe.head[1].weight


def known_of(cache):
    return Labelled(tuple(cache.ids[:24]), tuple("nominal" if k % 3 else "anomaly" for k in range(24)))


def spread(probe, cache, rotated):
    """How much the score differs between the views of an object, in units of how much it does between objects."""
    ids = list(cache.ids)
    scaler, head = probe.head
    features = rotated.get(ids)
    n, v, dim = features.shape
    logits = head.logits(scaler.transform(features.reshape(n * v, dim)))
    scores = (logits[:, 1] - logits[:, 0]).reshape(n, v)
    return scores.std(axis=1).mean() / scores.mean(axis=1).std()


def test_scores_change_less_when_an_object_is_rotated(cache):
    known = known_of(cache)
    rotated = rotated_of(cache)
    run(rotated, list(cache.ids))
    found = [spread(fitted(cache, known, invariance=strength), cache, rotated) for strength in (0.0, 0.3, 10.0)]
    assert found[0] > 1.02 * found[1] > 1.04 * found[2]


def test_the_same_labels_give_the_same_head(cache):
    known = known_of(cache)
    first, second = (fitted(cache, known).head[1] for _ in range(2))
    np.testing.assert_allclose(first.weight, second.weight, rtol=1e-4, atol=1e-5)


def test_excluded_objects_are_not_looked_at(cache):
    watched = Watched(cache)
    excluded = frozenset(cache.ids[40:])
    fitted(watched, known_of(cache), excluded)
    assert watched.seen == set(cache.ids[:40])


def test_the_first_ranking_does_not_wait_for_it(cache):
    reports = []
    partial(cache, reports=reports)
    assert "rotated and mirrored views" not in {report.stage for report in reports}
    store = store_of(cache)
    list(store.compute())
    first, without = partial(cache, invariance=0.3), partial(cache, invariance=0.0)
    np.testing.assert_allclose(first, without)
    rotated = rotated_of(cache)
    run(rotated, rotated.sample())
    assert not np.allclose(partial(cache), without, rtol=1e-2)


def test_it_can_be_prepared_for_a_ranking_that_does_not_wait(cache):
    probe = Probe(ProbeOptions(), context_of(cache))
    probe.share(store_of(cache), complete=False)
    stages = {report.stage for report in probe.prepare(cache)}
    assert stages == {"rotated and mirrored views"}
    assert not np.allclose(partial(cache), partial(cache, invariance=0.0), rtol=1e-2)
    assert not list(Probe(ProbeOptions(invariance=0.0), context_of(cache)).prepare(cache))
    assert not list(Probe(ProbeOptions(scale="plain"), context_of(cache)).prepare(cache))


def test_a_large_cache_is_ranked_with_it_on_its_projection(cache):
    known = known_of(cache)
    weights = [
        fitted(cache, known, components=16, project_above=10, invariance=strength).head[1].weight
        for strength in (0.0, 0.3)
    ]
    assert not np.allclose(*weights, rtol=1e-2)


def test_a_small_cache_is_left_alone(tmp_path):
    few = write(tmp_path / "few", images()[:31])
    assert not run(rotated_of(few), list(few.ids))


@pytest.mark.parametrize("wrong", [-1.0, 1001.0, np.inf, np.nan])
def test_a_setting_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"probe\.invariance="):
        ProbeOptions(invariance=wrong)
