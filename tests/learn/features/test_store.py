"""Frozen features: they fill up, survive kills and rivals, and are the same however they were computed."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
import torch

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import BackboneConfig, InputConfig, StretchConfig
from astroanomaly.errors import CheckpointError, StorageError, UnknownObjectError
from astroanomaly.files import locks
from astroanomaly.learn.engine import engine as engines
from astroanomaly.learn.features import store as features
from astroanomaly.learn.features.projection import Projection, principal_axes
from astroanomaly.learn.features.row_file import open_rows
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore, unit_length
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.records import CutoutBlock, Layout

TINY = BackboneConfig(name="test_efficientnet", weights="random")


def make_cache(path, count=60, shard=25, bands=("g", "r", "z"), size=16, seed=0):
    """A flux cache of noise in shards of ``shard`` objects."""
    rng = np.random.default_rng(seed)
    layout = Layout(bands=bands, height=size, width=size)
    create_cache(path, layout, [], {})
    for start in range(0, count, shard):
        ids = [f"o{i:04d}" for i in range(start, min(start + shard, count))]
        images = rng.normal(size=(len(ids), len(bands), size, size)).astype(np.float32)
        with ShardWriter(path, layout) as writer:
            writer.begin(start, f"t{start}")
            writer.add(CutoutBlock(ids=ids, images=images, bands=bands))
            writer.commit()
    return Cache.open(path)


def see(cache, size=32):
    return ModelInput.measure(cache, StretchConfig(), InputConfig(size=size), np.random.default_rng(0))


@pytest.fixture
def cache(tmp_path):
    return make_cache(tmp_path / "cache")


def drain(store, **options):
    return list(store.compute(**options))


def test_every_object_gets_the_features_the_network_gives_it_alone(cache):
    seen = see(cache)
    store = FeatureStore(cache, seen, TINY, device="cpu", batch_size=7)
    reports = drain(store)
    assert store.done == reports[-1].done == reports[-1].total == len(cache) == 60
    assert [r.done for r in reports] == sorted(r.done for r in reports)
    ids = ["o0059", "o0003", "o0027"]
    assert seen.tta_views == 2
    images = to_tensor(cache.read(ids), seen)
    views = (torch.cat(store.network.layered(view), 1) for view in (images, images.rot90(2, (2, 3))))
    alone = sum(views).numpy() / 2
    np.testing.assert_allclose(store.get(ids), alone, rtol=2e-3, atol=2e-3)  # float16 keeps 11 bits


def test_several_devices_share_the_batches(tmp_path, monkeypatch):
    """Neither device can go on before the other one has begun."""
    alone, shared = make_cache(tmp_path / "alone"), make_cache(tmp_path / "shared")
    store = FeatureStore(alone, see(alone), TINY, device="cpu")
    drain(store)
    monkeypatch.setattr(engines, "pick_devices", lambda name: [torch.device("cpu")] * 2)
    monkeypatch.setattr(features, "_MIN_IMAGES_PER_DEVICE", 30)
    both, began = threading.Barrier(2, timeout=30), set()
    run = engines.Engine.run

    def waiting(engine, model, method="forward"):
        if engine not in began:
            began.add(engine)
            both.wait()
        return run(engine, model, method)

    monkeypatch.setattr(engines.Engine, "run", waiting)
    together = FeatureStore(shared, see(shared), TINY, device="cpu", batch_size=7)
    drain(together)
    assert len(began) == 2
    np.testing.assert_allclose(together.get(list(shared.ids)), store.get(list(alone.ids)), atol=2e-3)


def test_stopping_early_leaves_a_random_part_and_nan_for_the_rest(cache):
    store = FeatureStore(cache, see(cache), TINY, device="cpu", batch_size=8)
    for report in store.compute(first=["o0030", "o0001"]):
        if report.done >= 20:
            break
    everything = store.get(list(cache.ids))
    there = np.isfinite(everything).all(axis=1)
    assert there.sum() == store.done == report.done
    assert np.isnan(everything[~there]).all()
    assert there[1]
    assert there[30]
    assert sum(store.computed(shard.uuid).sum() for shard in cache.shards) == store.done


def test_a_second_store_goes_on_where_the_first_stopped(cache):
    seen = see(cache)
    first = FeatureStore(cache, seen, TINY, device="cpu", batch_size=8)
    for report in first.compute():
        if report.done >= 20:
            break
    before = first.get(list(cache.ids))
    first.close()
    second = FeatureStore(cache, seen, TINY, device="cpu", batch_size=8)
    assert second.done == report.done
    drain(second)
    after = second.get(list(cache.ids))
    np.testing.assert_array_equal(after[np.isfinite(before)], before[np.isfinite(before)])
    folder = cache.folders[0] / "derived" / second.key
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{shard.uuid}.npy" for shard in cache.shards)
    third = FeatureStore(cache, seen, TINY, device="cpu")
    assert drain(third) == []
    assert "network" not in vars(third)  # nothing to compute: the network is not even built


def test_two_stores_at_once_agree(cache):
    seen = see(cache)
    one, two = (FeatureStore(cache, seen, TINY, device="cpu", batch_size=8) for _ in range(2))
    mine, theirs = one.compute(), two.compute()
    for _ in range(40):  # turn by turn, on the same shards
        next(mine, None)
        next(theirs, None)
    assert one.done == two.done == len(cache)
    np.testing.assert_allclose(one.get(list(cache.ids)), two.get(list(cache.ids)), atol=2e-3)
    assert not list(cache.folders[0].rglob("*.partial"))


_VICTIM = """
    import sys
    from pathlib import Path
    import numpy as np
    from astroanomaly.learn.features.row_file import open_rows
    rows = open_rows([Path(sys.argv[1])], "s", 2000)
    rows.begin(500)
    for place in np.random.default_rng(0).permutation(2000):
        rows.put(np.array([place]), np.full((1, 500), place))
        sys.stdout.write(f"{rows.done}\\n")
        sys.stdout.flush()
"""


@pytest.mark.parametrize("after", [1, 40, 700])
def test_a_killed_process_loses_nothing_it_had_counted(tmp_path, after):
    """The writer needs neither torch nor a network, so that it starts, and dies, quickly."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_VICTIM), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        done = 0
        for line in process.stdout:
            done = int(line)
            if done >= after:
                process.send_signal(signal.SIGKILL)
                break
    rows = open_rows([tmp_path], "s", 2000)
    assert done <= rows.done < 2000
    places = np.arange(2000)
    np.testing.assert_array_equal(rows.array[rows.computed], places[rows.computed, None] * np.ones((1, 500)))
    rows.begin(500)
    assert rows.done >= done  # the dead writer's file was taken over
    rows.put(places, places[:, None] * np.ones((1, 500)))
    rows.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["s.npy"]
    np.testing.assert_array_equal(open_rows([tmp_path], "s", 2000).array[:, 0], places)


def test_features_go_to_the_session_or_to_memory_where_the_cache_is_read_only(cache, tmp_path):
    (cache.folders[0] / "derived").write_text("in the way: nothing can be written here, not even by root")
    seen = see(cache)
    store = FeatureStore(cache, seen, TINY, folder=tmp_path / "session", device="cpu")
    drain(store)
    assert len(list((tmp_path / "session" / store.key).glob("*.npy"))) == len(cache.shards)
    memory = FeatureStore(cache, seen, TINY, device="cpu")
    drain(memory)
    assert memory.done == len(cache)
    np.testing.assert_array_equal(memory.get(["o0007"]), store.get(["o0007"]))


def test_the_key_follows_what_decides_the_features(cache):
    seen = see(cache)
    key = FeatureStore(cache, seen, TINY).key
    assert FeatureStore(cache, see(cache), TINY).key == key
    assert FeatureStore(cache, see(cache, size=48), TINY).key != key
    assert FeatureStore(cache, seen, BackboneConfig()).key != key
    assert FeatureStore(cache, seen, TINY, seed=1).key != key  # other random weights


def test_a_damaged_file_is_computed_again(cache, caplog):
    seen = see(cache)
    store = FeatureStore(cache, seen, TINY, device="cpu")
    drain(store)
    good = store.get(list(cache.ids))
    path = cache.folders[0] / "derived" / store.key / f"{cache.shards[0].uuid}.npy"
    path.write_bytes(path.read_bytes()[:500])
    again = FeatureStore(cache, seen, TINY, device="cpu")
    assert again.done == len(cache) - len(cache.shards[0])
    assert "damaged" in caplog.text
    drain(again)
    np.testing.assert_allclose(again.get(list(cache.ids)), good, atol=2e-3)


def test_bad_requests(cache, tmp_path):
    store = FeatureStore(cache, see(cache), TINY, device="cpu")
    with pytest.raises(UnknownObjectError, match="o9999"):
        drain(store, first=["o9999"])
    other = make_cache(tmp_path / "other", bands=("g", "r"))
    with pytest.raises(CheckpointError, match="lacks 'z'"):
        FeatureStore(other, see(cache), TINY)
    assert store.get([]).shape == (0, sum(store.widths))


def test_a_full_disk_is_an_error_that_leaves_nothing(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        drain(FeatureStore(cache, see(cache), TINY, device="cpu"))
    assert not list(cache.folders[0].rglob("*.partial"))


def test_a_half_written_row_is_not_there(tmp_path):
    rows = open_rows([tmp_path], "s", 4)
    rows.begin(6)
    assert rows.put(np.array([0, 2]), np.ones((2, 6))) == 2
    rows.array[1, :3] = 1  # a kill in the middle of a row
    rows.array.flush()
    assert open_rows([tmp_path], "s", 4).computed.tolist() == [True, False, True, False]


@pytest.mark.parametrize("flock", [True, False])
def test_an_unfinished_file_is_taken_over_once_nobody_writes_to_it(tmp_path, monkeypatch, flock):
    if not flock:
        monkeypatch.setattr(locks, "fcntl", None)
    first = open_rows([tmp_path], "s", 2)
    first.begin(3)
    first.put(np.array([0]), np.ones((1, 3)))
    alive = open_rows([tmp_path], "s", 2)
    alive.begin(3)  # while the first writer lives
    assert alive.done == 1
    assert len(list(tmp_path.glob("s.*.partial"))) == 2
    first.close()
    alive.close()
    second = open_rows([tmp_path], "s", 2)
    second.begin(3)
    assert len(list(tmp_path.glob("s.*.partial"))) == 2
    second.put(np.array([1]), np.ones((1, 3)))
    second.finish()
    assert open_rows([tmp_path], "s", 2).complete


def test_numbers_beyond_float16_stay_finite(tmp_path):
    rows = open_rows([], "s", 1)
    rows.begin(3)
    rows.put(np.array([0]), np.array([[1e6, np.nan, -np.inf]]))
    assert rows.array.tolist() == [[65504.0, 0.0, -65504.0]]
    assert rows.computed.all()


def test_unit_length():
    given = np.array([[3.0, 4.0], [0.0, 0.0], [np.nan, np.nan]], np.float16)
    np.testing.assert_allclose(unit_length(given), [[0.6, 0.8], [0, 0], [np.nan, np.nan]], rtol=1e-6)


@pytest.mark.parametrize(("objects", "features"), [(300, 12), (30, 200)])
def test_principal_axes_agree_with_scikit_learn(objects, features):
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    points = rng.normal(size=(objects, features)) * np.maximum(np.arange(12, 12 - features, -1.0), 0.1)
    axes = principal_axes(points, 5)
    reference = PCA(5, svd_solver="full").fit(points)
    np.testing.assert_allclose(axes[0], reference.mean_, atol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(axes[1:] * reference.components_, axis=1)), 1, atol=1e-4)
    every = principal_axes(points[:5], 50)[1:]  # one more than vary
    np.testing.assert_allclose(every @ every.T, np.eye(5), atol=1e-6)


def test_a_projection_is_kept_and_found_again(cache):
    store = FeatureStore(cache, see(cache), TINY, device="cpu")
    drain(store)
    scaler = FeatureScaler.of(store, 0, frozenset())
    one = Projection(store, 8, scaler)
    list(one.compute())
    two = Projection(store, 8, FeatureScaler.of(store, 1, frozenset({"o0003"})))  # what was kept decides
    list(two.compute())
    np.testing.assert_array_equal(two.scaler.centre, scaler.centre)
    np.testing.assert_array_equal(one.axes, two.axes)
    for shard in cache.shards:
        np.testing.assert_array_equal(one.shard(shard.uuid), two.shard(shard.uuid))
        np.testing.assert_allclose(one.shard(shard.uuid), one.transform(store.shard(shard.uuid)), atol=1e-3)
