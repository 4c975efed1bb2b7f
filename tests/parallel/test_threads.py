"""Work that overlaps: order, errors and threads are as without it."""

import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import planted
from astroanomaly import Cache
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.scoring import score_images
from astroanomaly.parallel.threads import SharedIterator, merged, prefetch


@pytest.fixture(autouse=True)
def no_thread_stays():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("pipeline") / "cache")


# ------------------------------------------------------------------------------------------------------------- prefetch


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(), max_size=20), st.integers(0, 5))
def test_what_is_fetched_ahead_is_what_a_loop_would_fetch(items, depth):
    assert list(prefetch(lambda item: item**2, items, depth)) == [(item, item**2) for item in items]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 20), st.integers(1, 4))
def test_no_more_is_fetched_than_may_wait(stop, depth):
    fetched = []
    items = prefetch(lambda item: fetched.append(item), range(20), depth)
    for number, _ in zip(range(stop), items, strict=False):
        assert len(fetched) <= number + 1 + depth
    items.close()
    assert fetched == list(range(len(fetched)))


def test_fetching_goes_on_while_the_caller_works():
    begun = threading.Event()

    def fetch(item):
        if item == 1:
            begun.set()
        return item

    items = prefetch(fetch, range(3))
    next(items)
    assert begun.wait(10)  # nobody has asked for it yet
    items.close()


def test_an_error_comes_in_its_place():
    def fetch(item):
        if item == 3:
            raise OSError("the disk is gone")
        return item

    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(result for _, result in prefetch(fetch, range(9)))
    items = prefetch(fetch, range(9))
    assert [next(items)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


# --------------------------------------------------------------------------------------------------------------- merged


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 30), st.integers(1, 5))
def test_every_item_of_merged_generators_is_taken_once(count, workers):
    items = SharedIterator(range(count))
    found = list(merged([(item for item in items) for _ in range(workers)]))
    assert sorted(found) == list(range(count))


def test_the_first_error_closes_all():
    closed = []

    def counting():
        try:
            for number in range(1000):
                time.sleep(0.001)
                yield number
        finally:
            closed.append(True)

    def failing():
        yield 0
        raise ValueError("no more memory")

    with pytest.raises(ValueError, match="no more memory"):
        list(merged([counting(), failing(), counting()]))
    assert closed == [True, True]
    half = merged([counting(), counting()])
    next(half)
    half.close()
    assert len(closed) == 4


# -------------------------------------------------------------------------------------------------------------- scoring


def test_several_devices_share_the_shards(cache):
    torch.manual_seed(0)
    model = build_backbone(planted.TINY, 2)
    seen = planted.context(cache).input
    (whole, several) = (
        {part.shard: part for part in score_images(model, cache, seen, 32, [Engine() for _ in range(count)])}
        for count in (1, 2)
    )
    assert whole.keys() == several.keys() == {shard.uuid for shard in cache.shards}
    for uuid, part in whole.items():
        assert part.ids == several[uuid].ids
        np.testing.assert_allclose(several[uuid].log_odds, part.log_odds, atol=1e-5)
    assert model.training


def test_every_device_takes_part_with_a_network_of_its_own(cache):
    """Neither network can go on before the other one has begun."""
    both = threading.Barrier(2, timeout=30)
    used = {}

    def logits(network, engine):
        def of_images(images, shard, start):
            if engine not in used:
                used[engine] = network
                both.wait()
            return network(images)

        return of_images

    model = build_backbone(planted.TINY, 2)
    parts = list(score_images(model, cache, planted.context(cache).input, 50, [Engine(), Engine()], logits))
    assert sum(len(part.ids) for part in parts) == planted.COUNT
    first, second = used.values()
    assert first is not second
    assert model in (first, second)


@pytest.mark.parametrize("count", [1, 2])
def test_a_shard_that_cannot_be_read_ends_scoring(cache, monkeypatch, count):
    shard = type(cache.shards[0])
    stored = shard.stored

    def broken(self, rows, **more):
        if self.uuid == cache.shards[1].uuid and rows.start:
            raise OSError("the disk is gone")
        return stored(self, rows, **more)

    monkeypatch.setattr(shard, "stored", broken)
    model = build_backbone(planted.TINY, 2)
    with pytest.raises(OSError, match="the disk is gone"):
        list(score_images(model, cache, planted.context(cache).input, 32, [Engine() for _ in range(count)]))
    assert model.training


@pytest.mark.parametrize("count", [1, 2])
def test_scoring_can_be_left_half_way(cache, count):
    model = build_backbone(planted.TINY, 2)
    parts = score_images(model, cache, planted.context(cache).input, 32, [Engine() for _ in range(count)])
    next(parts)
    parts.close()
    assert model.training


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not list open files")
def test_shards_that_are_scored_are_no_longer_open(cache, tmp_path):
    model = build_backbone(planted.TINY, 2)
    own = shutil.copytree(cache.folders[0], tmp_path / "own")  # other tests have theirs open

    def open_shards():
        names = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
        return sum(name.startswith(os.path.realpath(own / "shards")) for name in names)

    cache, seen = Cache.open(own), planted.context(cache).input
    kept = cache.shards[0].read_rows(np.arange(2))
    assert open_shards() == 1
    assert len(list(score_images(model, cache, seen))) == 3
    assert open_shards() == 0
    np.testing.assert_array_equal(cache.shards[0].read(0, 2), kept)
