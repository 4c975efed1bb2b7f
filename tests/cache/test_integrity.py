"""What is damaged is found and named, and the rest can be read; what is moved aside is cut again."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroanomaly import Cache, DamagedError, Failure, Layout
from astroanomaly.cache.check import cache_files, check_files
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cutting.grids import Grid
from astroanomaly.records import CutoutBlock, Task, drain
from cache.test_cache import HEADER

SAME_FILE = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
WAYS = [("float32", None), ("float32", "gzip"), ("float16", None), ("uint8", None)]


def block(first, count, dtype, bands=2, side=6):
    rng = np.random.default_rng(first)
    images = rng.normal(100, 20, (count, bands, side, side))
    return CutoutBlock(
        ids=[f"o{first + k}" for k in range(count)],
        images=images.astype(np.uint8 if dtype == "uint8" else np.float32),
        bands=("g", "r")[:bands],
        ra=rng.uniform(0, 360, count),
        dec=rng.uniform(-90, 90, count),
        grid=Grid(HEADER, (80, 100)),
        columns={"mag": rng.normal(20, 1, count), "kind": np.array(["é", "b", "c", "d"][:count])},
    )


def make_cache(path, dtype="float32", compression=None, shards=2):
    layout = Layout(("g", "r"), 6, 6, dtype, "display" if dtype == "uint8" else "flux")
    create_cache(path, layout, [Task(f"t{k}", {"k": k}) for k in range(shards)], {"source": "x"})
    for k in range(shards):
        with ShardWriter(path, layout, compression=compression) as writer:
            writer.begin(k, f"t{k}")
            writer.add(block(4 * k, 4, dtype))
            writer.add(Failure(f"f{k}", "no file"))
            writer.commit()
    return Cache.open(path)


def damaged_in(path):
    return {damage.path.name: damage for damage in drain(check_files(cache_files(path))).damaged}


def flip(path, place, bit=0):
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: "-".join(filter(None, way)))
def whole(request, tmp_path_factory):
    """A cache of two shards, its files' bytes, and the digest of its content."""
    folder = tmp_path_factory.mktemp("integrity") / "cache"
    cache = make_cache(folder, *request.param)
    found = cache.check()
    assert not found.damaged
    assert not found.without_digest
    assert found.files == 5  # description, plan, index, two shards
    files = [*folder.glob("*.*"), *folder.glob("shards/*.h5")]
    return folder, {path: path.read_bytes() for path in files if path.suffix in (".h5", ".json")}, cache.digest()


def restore(files):
    for path, content in files.items():
        path.write_bytes(content)


@SAME_FILE
@given(data=st.data())
def test_every_flipped_bit_is_found(whole, data):
    folder, files, _ = whole
    path = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[path]) - 1))
    try:
        flip(path, place, data.draw(st.integers(0, 7)))
        assert set(damaged_in(folder)) == {path.name}
    finally:
        restore(files)


@SAME_FILE
@given(data=st.data())
def test_a_file_that_is_cut_short_is_found(whole, data):
    folder, files, _ = whole
    path = data.draw(st.sampled_from(sorted(files)))
    try:
        path.write_bytes(files[path][: data.draw(st.integers(0, len(files[path]) - 2))])
        assert set(damaged_in(folder)) == {path.name}
    finally:
        restore(files)


@SAME_FILE
@given(data=st.data())
def test_a_flipped_pixel_is_never_read_as_data(whole, data):
    """Whatever bit of a shard is another one: a cutout is as it was, or cannot be read; the other shard stays whole."""
    folder, files, _ = whole
    before = {object_id: cutout.data for object_id, cutout in read_each(Cache.open(folder)).items()}
    path = data.draw(st.sampled_from([path for path in sorted(files) if path.parent.name == "shards"]))
    try:
        flip(path, data.draw(st.integers(0, len(files[path]) - 1)), data.draw(st.integers(0, 7)))
        cache = Cache.open(folder)
        assert list(cache.ids) == [f"o{k}" for k in range(8)]
        after = read_each(cache)
        for object_id, cutout in after.items():
            np.testing.assert_array_equal(cutout.data, before[object_id])
        other = next(one for one in files if one.parent == path.parent and one != path)
        with h5py.File(other) as file:
            assert set(file["object_id"].asstr()[...]) <= set(after)
    finally:
        restore(files)


def read_each(cache):
    """The cutouts that can be read, by id."""
    found = {}
    for object_id in cache.ids:
        with contextlib.suppress(DamagedError):
            found[object_id] = cache[object_id]
    return found
