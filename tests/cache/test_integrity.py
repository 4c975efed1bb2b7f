"""What is damaged is found and named, and the rest can be read; what is moved aside is cut again."""

import contextlib
import json
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroanomaly import AstroAnomalyError, Cache, DamagedError, Failure, Layout
from astroanomaly.cache.check import cache_files, check_files
from astroanomaly.cache.repair import repair_cache
from astroanomaly.cache.scores import PartScores, read_part, read_scores, write_scores
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cli import main
from astroanomaly.cutting.grids import Grid
from astroanomaly.learn.features.row_file import open_rows
from astroanomaly.records import CutoutBlock, ShardScores, Task, drain
from cache.test_cache import HEADER
from folders import TESTS

SAME_FILE = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


# ---------------------------------------------------------------------------------------------- scores and features


@SAME_FILE
@given(data=st.data())
def test_a_flipped_bit_in_scores_is_found_when_they_are_read(tmp_path, data):
    scores = ShardScores("shard", ["a", "é"], np.array([[1.0, -1.0], [2.0, -2.0]], np.float32), "torch")
    write_scores(tmp_path, scores, ("nominal", "anomaly"), "probe", (np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    flip_one(tmp_path / "shard.h5", data)
    with pytest.raises(DamagedError):
        read_scores(tmp_path, "shard")


@SAME_FILE
@given(data=st.data())
def test_a_flipped_bit_in_scores_of_a_part_is_found_when_they_are_read(tmp_path, data):
    place = np.array([1.0])
    part = PartScores(np.array([3]), ["a"], place, place, np.array([[1, -1]], np.float32), np.array([3]))
    part.write(tmp_path, ("nominal", "anomaly"), "probe")
    flip_one(tmp_path / "0000000003.h5", data)
    with pytest.raises(DamagedError):
        read_part(tmp_path, 3, ("nominal", "anomaly"))


def flip_one(path, data):
    content = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7)))


@pytest.mark.slow
def test_every_flipped_byte_of_a_feature_file_is_found_and_the_way_out_is_taken(tmp_path):
    make_cache(tmp_path / "cache")
    folder = tmp_path / "cache" / "derived" / "key"
    values = np.random.default_rng(0).normal(size=(3, 4))
    rows = open_rows([folder], "shard", 3)
    rows.begin(4)
    rows.put(np.arange(3), values)
    rows.finish()
    path = folder / "shard.npy"
    content = path.read_bytes()
    np.testing.assert_array_equal(np.load(path), values.astype(np.float16))  # the digest is in nobody's way
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), values.astype(np.float16))
    assert not damaged_in(tmp_path / "cache")
    for place in range(len(content)):
        flip(path, place, place % 8)
        assert set(damaged_in(tmp_path / "cache")) == {"shard.npy"}, place
        path.write_bytes(content)
    for length in (0, 5, 64, len(content) - 1):
        path.write_bytes(content[:length])
        assert set(damaged_in(tmp_path / "cache")) == {"shard.npy"}, length
    assert [moved.name for moved in repair_cache(tmp_path / "cache")] == ["shard.npy"]
    assert not open_rows([folder], "shard", 3).complete


# -------------------------------------------------------------------------------------------- never written is no zero


def without_digest(path):
    """Make a file what an earlier version would have written: HDF5 takes the digest at its end away."""
    with h5py.File(path, "r+") as file:
        del file.attrs["digest"]
        if "checksum" in file:
            del file["checksum"]


@pytest.mark.parametrize("digest", [True, False])
def test_a_chunk_that_was_never_written_is_no_black_sky(tmp_path, digest):
    cache = make_cache(tmp_path / "cache", compression="gzip")
    path = cache.shards[0].path
    if not digest:
        without_digest(path)
    with h5py.File(path, "r+") as file:
        pixels = file["images"][...]
        about = {"shape": pixels.shape, "dtype": pixels.dtype, "chunks": (1, *pixels.shape[1:]), "compression": "gzip"}
        del file["images"]
        again = file.create_dataset("images", **about)
        again[0], again[2:] = pixels[0], pixels[2:]
    cache = Cache.open(tmp_path / "cache")
    with pytest.raises(DamagedError, match="o1"):
        cache["o1"]
    with pytest.raises(DamagedError) as caught:
        cache.read(["o5", "o2", "o1", "o0"])
    assert caught.value.ids == ("o1",)
    np.testing.assert_array_equal(cache.read(["o2"])[0], pixels[2])
    assert set(damaged_in(tmp_path / "cache")) == {path.name}


@pytest.mark.parametrize(("name", "changed", "words"), [
    ("dec", 2e77, "a declination is beyond 90 degrees"), ("grids/fits", 0, "the WCS cannot be understood")
])  # fmt: skip
def test_values_that_no_digest_covers_are_checked(tmp_path, name, changed, words):
    cache = make_cache(tmp_path / "cache", shards=1)
    path = cache.shards[0].path
    without_digest(path)
    with h5py.File(path, "r+") as file:
        file[name][...] = changed
    (tmp_path / "cache" / "index.h5").unlink()
    with pytest.raises(AstroAnomalyError, match=words):
        _ = Cache.open(tmp_path / "cache")["o1"].wcs


@pytest.mark.parametrize("name", ["images", "ra", "offset", "coverage"])
def test_a_dataset_that_was_never_written_is_no_zero(tmp_path, name):
    cache = make_cache(tmp_path / "cache")
    path = cache.shards[0].path
    without_digest(path)
    with h5py.File(path, "r+") as file:
        about = {"shape": file[name].shape, "dtype": file[name].dtype}
        del file[name]
        file.create_dataset(name, **about)
    cache = Cache.open(tmp_path / "cache")
    with pytest.raises(DamagedError, match=name):
        cache["o1"]
    assert cache["o5"].data.any()
    assert "not written" in damaged_in(tmp_path / "cache")[path.name].what


# ---------------------------------------------------------------------------------------------------- the way out


def test_what_was_damaged_is_moved_aside_and_cut_again(tmp_path, capsys):
    """End to end: the same ingest gives a cache with the same digest of its content."""
    from astropy.io import fits

    for number in range(4):
        image = np.random.default_rng(number).normal(size=(8, 8)).astype(np.float32)
        fits.PrimaryHDU(image, fits.Header({"FILTER": "g"})).writeto(tmp_path / f"s{number}.fits")
    again = ["ingest", "fits", str(tmp_path), "--out", str(tmp_path / "cache")]
    assert main(again) == 0
    folder = tmp_path / "cache"
    content = json.loads((folder / "cache.json").read_text())
    del content["request"]["options"]["verify"], content["digest"], content["digest_kind"]  # as earlier versions did
    (folder / "cache.json").write_text(json.dumps(content))
    cache = Cache.open(folder)
    before, shard = cache.digest(), cache.shards[0].path
    pixels = shard.read_bytes().index(cache["s1.fits"].data.tobytes())
    flip(shard, pixels)
    assert main(["info", str(folder), "--check"]) == 2
    told = capsys.readouterr()
    assert f"damaged: {shard}" in told.out
    assert "s1.fits" in told.out
    assert f"`astroanomaly info {shard} --repair`" in told.out
    assert main(["info", str(folder), "--repair"]) == 0  # only what cannot be opened
    assert shard.is_file()
    assert "--check" in capsys.readouterr().out
    assert main(["info", str(shard), "--check"]) == 2
    assert main(["info", str(folder / "plan.h5"), "--check"]) == 0
    assert main(["info", str(shard), "--repair"]) == 0
    assert (folder / "set-aside" / shard.name).is_file()
    assert not len(Cache.open(folder))
    assert main(again) == 0
    assert Cache.open(folder).digest() == before
    assert main(["info", str(folder), "--check"]) == 0


def test_a_shard_that_cannot_be_opened_leaves_the_others_and_says_so_when_ingest_resumes(tmp_path):
    cache = make_cache(tmp_path / "cache")
    lost, other = cache.shards[0].path, cache.shards[1]
    content = lost.read_bytes()
    lost.write_bytes(content[: len(content) // 2])
    for without_index in (False, True):
        if without_index:
            (tmp_path / "cache" / "index.h5").unlink()
        again = Cache.open(tmp_path / "cache")
        np.testing.assert_array_equal(again.read(["o5"]), other.read(1, 2))
        assert [failure.object_id for failure in again.failures] == ["f1"]
        assert again.table()["object_id"].tolist()[-4:] == other.ids
        assert again.damaged == (lost,)
    lost.write_bytes(content)  # a copy comes back
    assert len(Cache.open(tmp_path / "cache")) == 8


def test_files_of_earlier_versions_are_counted_and_are_no_damage(tmp_path, capsys):
    shutil.copytree(TESTS / "data" / "cache-v1", tmp_path / "cache")
    found = Cache.open(tmp_path / "cache").check()
    assert found.without_digest >= 3
    assert not found.damaged
    assert main(["info", str(tmp_path / "cache"), "--check"]) == 0
    assert "earlier version" in capsys.readouterr().out


def test_a_description_says_that_it_has_a_digest_so_that_none_can_be_lost(tmp_path):
    make_cache(tmp_path / "cache")
    path = tmp_path / "cache" / "cache.json"
    content = json.loads(path.read_text())
    for key in ("digest", "digest_kind"):
        path.write_text(json.dumps({name: value for name, value in content.items() if name != key}))
        assert set(damaged_in(tmp_path / "cache")) == {"cache.json"}


def test_a_repair_reads_no_more_than_it_is_told_to(tmp_path, capsys):
    cache = make_cache(tmp_path / "cache")
    folder, shards = tmp_path / "cache", [shard.path for shard in cache.shards]
    assert len(shards) > 1
    flip(shards[0], shards[0].read_bytes().index(cache["o0"].data.tobytes()))
    shards[1].write_bytes(shards[1].read_bytes()[:2000])
    assert main(["info", str(folder), "--repair"]) == 0
    assert [path.exists() for path in shards[:2]] == [True, False]
    assert main(["info", str(folder), "--check", "--repair"]) == 0
    assert [path.exists() for path in shards[:2]] == [False, False]
    assert main(["info", str(folder), "--check"]) == 0
    capsys.readouterr()
    for odd, words in ((folder / "set-aside", "takes the folder"), (folder / "a.h5", "no file that is checked")):
        assert main(["info", str(odd), "--repair"]) == 2
        assert words in capsys.readouterr().err


def test_a_shard_without_a_dataset_is_moved_without_reading_the_rest(tmp_path):
    path = make_cache(tmp_path / "cache").shards[0].path
    with h5py.File(path, "r+") as file:
        del file["ra"]
    assert main(["info", str(tmp_path / "cache"), "--repair"]) == 0
    assert not path.exists()
