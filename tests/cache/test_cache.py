"""The cache: round trips, equality by digest, hostile files."""

import json
import os
import shutil
import tracemalloc
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astroanomaly.cache import Cache, index, index_columns, index_shards, together
from astroanomaly.cache.id_hashes import hash_ids
from astroanomaly.cache.index import load_index
from astroanomaly.cache.repair import repair_cache
from astroanomaly.cache.writer import ShardWriter, create_cache, write_lock
from astroanomaly.cutting.grids import Grid
from astroanomaly.errors import BandError, BusyError, CacheError, UnknownObjectError, UnreadableError
from astroanomaly.files import locks
from astroanomaly.records import CutoutBlock, Failure, Layout, Task
from folders import TESTS

HEADER = (
    "".join(
        f"{card:<80}"
        for card in (
            "SIMPLE  =                    T",
            "BITPIX  =                    8",
            "NAXIS   =                    0",
            "WCSAXES =                    2",
            "CTYPE1  = 'RA---TAN'",
            "CTYPE2  = 'DEC--TAN'",
            "CRVAL1  =                 10.0",
            "CRVAL2  =                -20.0",
            "CRPIX1  =                 50.5",
            "CRPIX2  =                 40.5",
            "CDELT1  =               -0.001",
            "CDELT2  =                0.001",
            "END",
        )
    ).ljust(2880)
).encode()


def make_blocks(n=7, bands=("g", "r"), size=(5, 6), dtype=np.float32, seed=0, prefix="obj"):
    rng = np.random.default_rng(seed)
    images = rng.normal(100, 30, (n, len(bands), *size))
    images = images.astype(np.uint8) if dtype == np.uint8 else images.astype(dtype)
    if dtype == np.float32:
        images[0, 0, 0, :] = np.nan
    return CutoutBlock(
        ids=[f"{prefix}-{i}" for i in range(n)],
        images=images,
        bands=bands,
        ra=rng.uniform(0, 360, n),
        dec=rng.uniform(-90, 90, n),
        grid=Grid(HEADER, (80, 100)),
        offsets=rng.integers(-5, 50, (n, 2)),
        columns={"mag": rng.normal(20, 1, n), "kind/of thing": np.array([f"é{i}" for i in range(n)])},
    )


def write_cache(path, blocks, *, layout=None, tasks_per_shard=1, failures=(), compression=None):
    first = blocks[0]
    layout = layout or Layout(
        first.bands,
        *first.images.shape[2:],
        dtype="uint8" if first.images.dtype == np.uint8 else "float32",
        pixel_kind="display" if first.images.dtype == np.uint8 else "flux",
    )
    tasks = [Task(f"task-{number}", {}, {"object_id": np.array(b.ids)}) for number, b in enumerate(blocks)]
    create_cache(path, layout, tasks, {"source": "test"})
    for start in range(0, len(blocks), tasks_per_shard):
        with ShardWriter(path, layout, compression=compression) as writer:
            for number in range(start, min(start + tasks_per_shard, len(blocks))):
                writer.begin(number, tasks[number].key)
                writer.add(blocks[number])
                for failure in failures:
                    writer.add(failure)
                writer.commit()
    return Cache.open(path)


def test_a_cutout_comes_back_as_it_went_in(tmp_path):
    block = make_blocks()
    cache = write_cache(tmp_path / "c", [block])
    assert list(cache.ids) == list(block.ids)
    cutout = cache["obj-3"]
    np.testing.assert_array_equal(cutout.data, block.images[3])
    assert cutout.bands == ("g", "r")
    assert cutout.coord.ra.deg == block.ra[3]
    assert cutout.columns["kind/of thing"] == "é3"
    assert cutout.columns["mag"] == block.columns["mag"][3]
    x, y = block.offsets[3]
    sky = cutout.wcs.pixel_to_world(2, 1)
    expected = Grid(HEADER, (80, 100)).wcs.pixel_to_world(2 + x, 1 + y)
    assert sky.separation(expected).mas < 1e-3
    assert cutout.wcs.array_shape == (5, 6)
    np.testing.assert_allclose(cache["obj-0"].coverage, [24 / 30, 1], rtol=1e-6)


def test_nddata_shares_the_pixels_and_masks_what_is_missing(tmp_path):
    cutout = write_cache(tmp_path / "c", [make_blocks()])["obj-0"]
    with pytest.raises(BandError, match="say which one"):
        cutout.nddata()
    view = cutout.nddata("g")
    assert np.shares_memory(view.data, cutout.data)
    assert view.mask.sum() == 6
    assert view.wcs.array_shape == (5, 6)


def test_reading_follows_the_order_of_the_ids_asked_for(tmp_path):
    blocks = [make_blocks(seed=s, prefix=f"s{s}") for s in range(4)]
    cache = write_cache(tmp_path / "c", blocks, tasks_per_shard=2)
    wanted = ["s3-1", "s0-6", "s3-0", "s1-2", "s0-6"]
    images = cache.read(wanted)
    for image, object_id in zip(images, wanted, strict=True):
        np.testing.assert_array_equal(image, cache[object_id].data)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=4, max_dims=4, min_side=1, max_side=6),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=False),
    ),
    data=st.data(),
)
def test_any_float_pixels_and_any_ids_round_trip(tmp_path_factory, images, data):
    n, bands = images.shape[:2]
    names = st.text(st.characters(exclude_characters="\x00"), min_size=1, max_size=20)
    ids = data.draw(st.lists(names, min_size=n, max_size=n, unique=True))
    block = CutoutBlock(ids=ids, images=images, bands=tuple(f"b{i}" for i in range(bands)))
    cache = write_cache(tmp_path_factory.mktemp("c") / "c", [block])
    assert list(cache.ids) == ids
    np.testing.assert_array_equal(cache.read(ids), images)
    assert all(object_id in cache for object_id in ids)


def test_the_digest_depends_on_content_not_on_sharding_or_compression(tmp_path):
    blocks = [make_blocks(seed=s, prefix=f"s{s}") for s in range(5)]
    digests = {
        write_cache(tmp_path / "one", blocks, tasks_per_shard=5).digest(),
        write_cache(tmp_path / "many", blocks, tasks_per_shard=1).digest(),
        write_cache(tmp_path / "back", blocks[::-1], tasks_per_shard=2).digest(),
        write_cache(tmp_path / "zipped", blocks, tasks_per_shard=2, compression="gzip").digest(),
    }
    assert len(digests) == 1
    changed = make_blocks(seed=0, prefix="s0")
    changed.images[2, 1, 3, 3] += 1
    assert write_cache(tmp_path / "other", [changed, *blocks[1:]]).digest() not in digests


def test_compressed_pixels_equal_plain_ones(tmp_path):
    block = make_blocks(40)
    plain = write_cache(tmp_path / "a", [block])
    zipped = write_cache(tmp_path / "b", [block], compression="gzip")
    order = list(np.random.default_rng(0).permutation(block.ids))
    np.testing.assert_array_equal(plain.read(order), zipped.read(order))
    np.testing.assert_array_equal(plain.shards[0].read(3, 9), zipped.shards[0].read(3, 9))


def test_float16_keeps_flux_to_a_thousandth_of_each_cutouts_range(tmp_path):
    block = make_blocks(20)
    block.images[3] *= 1e8
    block.images[4] *= 1e-8
    layout = Layout(block.bands, 5, 6, dtype="float16")
    cache = write_cache(tmp_path / "c", [block], layout=layout)
    stored = cache.read(block.ids)
    span = np.nanmax(block.images, axis=(2, 3), keepdims=True) - np.nanmin(block.images, axis=(2, 3), keepdims=True)
    assert np.nanmax(np.abs(stored - block.images) / span) < 1e-3
    np.testing.assert_array_equal(np.isnan(stored), np.isnan(block.images))


def test_bands_of_a_second_cache_are_put_in_the_order_of_the_first(tmp_path):
    one = make_blocks(bands=("g", "r"), prefix="a")
    two = make_blocks(bands=("r", "i", "g"), prefix="b")
    write_cache(tmp_path / "a", [one])
    write_cache(tmp_path / "b", [two])
    both = Cache.open(tmp_path / "a", tmp_path / "b")
    np.testing.assert_array_equal(both["b-1"].data, two.images[1][[2, 0]])
    assert len(both) == len(one) + len(two)
    with pytest.raises(BandError, match="no band 'i'"):
        Cache.open(tmp_path / "b", tmp_path / "a")


def test_two_caches_that_share_an_id_are_refused(tmp_path):
    write_cache(tmp_path / "a", [make_blocks()])
    write_cache(tmp_path / "b", [make_blocks(2, seed=5)])
    with pytest.raises(CacheError, match=r"'obj-0' is in both .* --prefix"):
        Cache.open(tmp_path / "a", tmp_path / "b")


def test_an_id_twice_in_a_cache_is_refused(tmp_path):
    with pytest.raises(CacheError, match="'obj-0' occurs twice"):
        write_cache(tmp_path / "a", [make_blocks(), make_blocks(1)])


def test_an_unknown_id_is_named_with_the_nearest(tmp_path):
    cache = write_cache(tmp_path / "a", [make_blocks()])
    with pytest.raises(UnknownObjectError, match=r"no object 'obj-33'.*did you mean 'obj-3'"):
        cache["obj-33"]
    with pytest.raises(KeyError):
        cache.read(["obj-1", "nothing"])


def test_a_later_cutout_supersedes_an_earlier_failure(tmp_path):
    block, later = make_blocks(), make_blocks(1, prefix="late")
    failures = [Failure("late-0", "no coverage"), Failure("gone", "no coverage")]
    write_cache(tmp_path / "a", [block], failures=failures)
    cache = Cache.open(tmp_path / "a")
    assert {failure.object_id for failure in cache.failures} == {"late-0", "gone"}
    with ShardWriter(tmp_path / "a", cache.layout) as writer:
        writer.begin(1, "late")
        writer.add(later)
        writer.commit()
    assert {failure.object_id for failure in Cache.open(tmp_path / "a").failures} == {"gone"}


def test_samples_have_no_repeats_and_leave_out_what_is_barred(tmp_path):
    cache = write_cache(tmp_path / "a", [make_blocks(200)])
    rng = np.random.default_rng(3)
    barred = frozenset(f"obj-{i}" for i in range(50))
    for n in (3, 60, 150, 1000):
        drawn = cache.sample(n, rng, barred)
        assert len(drawn) == len(set(drawn)) == min(n, 150)
        assert not barred & set(drawn)
    counts = np.zeros(200)
    for _ in range(400):
        for object_id in cache.sample(10, rng):
            counts[int(object_id[4:])] += 1
    assert abs(counts[:100].sum() / counts.sum() - 0.5) < 0.04  # uniform: 4000 draws, sigma .008


def test_the_index_is_only_a_shortcut(tmp_path):
    cache = write_cache(tmp_path / "a", [make_blocks(), make_blocks(prefix="p", seed=2)])
    digest = cache.digest()
    (tmp_path / "a" / "index.h5").write_bytes(b"rubbish")
    assert Cache.open(tmp_path / "a").digest() == digest
    (tmp_path / "a" / "index.h5").unlink()
    assert Cache.open(tmp_path / "a").digest() == digest


def test_the_index_of_a_large_cache_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_MIN_MAPPED_BYTES", 1)
    write_cache(tmp_path / "a", [make_blocks(), make_blocks(prefix="p", seed=2)])
    Cache.open(tmp_path / "a")
    mapped = load_index(tmp_path / "a")
    (tmp_path / "a" / "index.h5").unlink()
    built = load_index(tmp_path / "a")
    for name in ("hashes", "rows", "ra", "dec"):
        assert isinstance(getattr(mapped, name), np.memmap)
        assert getattr(mapped, name).flags.aligned
        np.testing.assert_array_equal(getattr(mapped, name), getattr(built, name))


def test_an_index_in_many_buckets_is_the_same_as_in_one(tmp_path, monkeypatch):
    blocks = [make_blocks(40, seed=number, prefix=prefix) for number, prefix in enumerate(("a", "longer-", "é"))]
    folder = tmp_path / "a"
    expected = list(write_cache(folder, blocks).ids)
    whole = (folder / "index.h5").read_bytes()
    monkeypatch.setattr(index_columns, "_BUCKET", 7)
    monkeypatch.setattr(index_shards, "_ROWS", 3)
    monkeypatch.setattr(together, "_TOGETHER", 5)
    (folder / "index.h5").unlink()
    cache = Cache.open(folder)
    assert (folder / "index.h5").read_bytes() == whole
    assert list(cache.ids) == expected
    np.testing.assert_array_equal(cache.rows(expected), np.arange(120))
    again = write_cache(tmp_path / "b", [make_blocks(40, seed=3, prefix="a")])
    assert list(again.ids) == expected[:40]
    with pytest.raises(CacheError, match=r"object 'a-0' is in both .* \(40 shared ids\)"):
        Cache.open(folder, tmp_path / "b")
    with pytest.raises(CacheError, match="occurs twice"):
        write_cache(tmp_path / "d", [make_blocks(40, prefix="same"), make_blocks(40, prefix="same")])


def named(*ids):
    return [replace(make_blocks(1, seed=number), ids=[name]) for number, name in enumerate(ids)]


def test_ids_of_one_hash_are_told_apart(tmp_path):
    one, other = "77kepQFQ8Kl", "!0IC=VloaY"
    assert len(set(hash_ids([one.encode(), other.encode()]).tolist())) == 1
    cache = write_cache(tmp_path / "a", named(one, other, "x"))
    np.testing.assert_array_equal(cache.find(["x", other, one, "y"]), [2, 1, 0, -1])
    Cache.open(tmp_path / "a", write_cache(tmp_path / "b", named("y", "z")).folders[0])
    with pytest.raises(CacheError, match=f"object '{one}' occurs twice"):  # and they are no neighbours
        write_cache(tmp_path / "c", named(one, other, one))


def test_a_long_text_among_ids_takes_no_more_than_itself(tmp_path):
    ids = make_blocks(100).ids
    cache = write_cache(tmp_path / "a", [make_blocks(100)])
    tracemalloc.start()
    found = cache.find([*ids, "x" * 10**6, ids[0] + "x"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found, [*range(100), -1, -1])
    assert peak < 10 * 10**6


def test_an_index_that_a_disk_gives_back_in_pieces_is_the_same(tmp_path, monkeypatch):
    """As Linux does of more than two gigabytes."""
    folder = tmp_path / "a"
    write_cache(folder, [make_blocks(50)])
    whole, read = (folder / "index.h5").read_bytes(), os.read
    (folder / "index.h5").unlink()
    monkeypatch.setattr(os, "read", lambda handle, size: read(handle, min(size, 7)))
    Cache.open(folder)
    assert (folder / "index.h5").read_bytes() == whole


def test_an_index_that_another_process_replaces_meanwhile_hides_no_objects(tmp_path, monkeypatch):
    blocks = [make_blocks(seed=number, prefix=f"p{number}") for number in range(3)]
    folder = tmp_path / "a"
    write_cache(folder, blocks[:2])
    earlier, read = (folder / "index.h5").read_bytes(), index._read
    double(folder, blocks, 2)

    def replaced(path):
        path.write_bytes(earlier)
        return read(path)

    monkeypatch.setattr(index, "_read", replaced)
    assert len(Cache.open(folder)) == 21


def test_hashes_do_not_depend_on_the_company():
    ids = [b"a", b"longer id", b"", "é".encode()]
    together = hash_ids(ids)
    np.testing.assert_array_equal(together, [hash_ids([one])[0] for one in ids])
    assert hash_ids([b""])[0] == 0xCBF29CE484222325
    assert hash_ids([b"a"])[0] == 0xAF63DC4C8601EC8C  # published FNV-1a test vector


# --------------------------------------------------------------------------------------------------- files gone wrong


def shard_of(folder):
    return next((folder / "shards").glob("*.h5"))


def test_a_shard_cut_short_is_named(tmp_path):
    write_cache(tmp_path / "a", [make_blocks(300)])
    shard = shard_of(tmp_path / "a")
    content = shard.read_bytes()
    (tmp_path / "a" / "index.h5").unlink()
    for share in (0.0, 0.3, 0.9):
        shard.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CacheError, match=shard.name):
            Cache.open(tmp_path / "a").read(["obj-299"])


def test_a_missing_cache_and_a_strange_folder_are_told_apart(tmp_path):
    with pytest.raises(UnreadableError, match="there is no such folder"):
        Cache.open(tmp_path / "none")
    with pytest.raises(UnreadableError, match=r"has no cache.json"):
        Cache.open(tmp_path)


@pytest.mark.parametrize("what", ["cache.json", "shard"])
def test_a_newer_version_says_so(tmp_path, what):
    write_cache(tmp_path / "a", [make_blocks()])
    if what == "cache.json":
        path = tmp_path / "a" / "cache.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    else:
        (tmp_path / "a" / "index.h5").unlink()
        with h5py.File(shard_of(tmp_path / "a"), "r+") as file:
            file.attrs["version"] = 99
    with pytest.raises(CacheError, match=r"version 99, newer than 1.*update"):
        Cache.open(tmp_path / "a")


def test_one_writer_at_a_time_which_removes_what_killed_ones_left(tmp_path):
    path = tmp_path / "c"
    write_cache(path, [make_blocks(3)])
    left = [path / ".tmp-1", path / "shards" / ".tmp-2.h5", path / "shards" / ".tmp-staged-3.h5"]
    for item in left:
        item.write_text("half")
    digest = Cache.open(path).digest()
    with write_lock(path):
        assert not any(item.exists() for item in left)
        with pytest.raises(BusyError, match="another ingest is writing to"), write_lock(path):
            pass
        assert Cache.open(path).digest() == digest  # readers need no lock
    with write_lock(path):
        pass


def test_a_cache_is_written_by_one_at_a_time_where_there_is_no_flock(tmp_path, monkeypatch):
    """Two writers would cut objects twice, and remove each other's unfinished shards."""
    path = tmp_path / "c"
    monkeypatch.setattr(locks, "fcntl", None)
    write_cache(path, [make_blocks(3)])
    with write_lock(path):
        (path / ".tmp-1").write_text("of this writer")
        with (
            pytest.raises(BusyError, match=rf"another ingest is writing to .*process {os.getpid()} of .*no flock"),
            write_lock(path),
        ):
            pass
        assert (path / ".tmp-1").exists()
    with write_lock(path):
        pass
    assert len(Cache.open(path)) == 3


def test_pixels_that_lie_outside_the_shard_are_refused(tmp_path):
    write_cache(tmp_path / "a", [make_blocks()])
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(256)) * 100)
    with h5py.File(shard_of(tmp_path / "a"), "r+") as file:
        shape, dtype = file["images"].shape, file["images"].dtype
        del file["images"]
        file.create_dataset("images", shape, dtype, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(CacheError, match="points outside the file"):
        Cache.open(tmp_path / "a").read(["obj-1"])


def test_an_external_link_is_refused(tmp_path):
    write_cache(tmp_path / "a", [make_blocks()])
    write_cache(tmp_path / "b", [make_blocks()])
    with h5py.File(shard_of(tmp_path / "a"), "r+") as file:
        del file["images"]
        file["images"] = h5py.ExternalLink(str(shard_of(tmp_path / "b")), "/images")
    with pytest.raises(CacheError, match="dataset /images: is a link to another file"):
        Cache.open(tmp_path / "a").read(["obj-1"])


def test_a_wrong_block_is_refused_with_the_object_named(tmp_path):
    layout = Layout(("g", "r"), 5, 6)
    create_cache(tmp_path / "a", layout, [Task("t")], {})
    with ShardWriter(tmp_path / "a", layout) as writer:
        writer.begin(0, "t")
        with pytest.raises(CacheError, match=r"'obj-0'.*shape"):
            writer.add(make_blocks(size=(6, 6)))
        with pytest.raises(CacheError, match=r"'obj-0' has the band 'z'"):
            writer.add(make_blocks(bands=("g", "z")))
        with pytest.raises(CacheError, match=r"'obj-1': its declination is 91, expected -90 to 90 degrees"):
            writer.add(replace(make_blocks(n=2), dec=np.array([0.0, 91.0])))
    assert not list((tmp_path / "a" / "shards").iterdir())


def test_a_band_that_an_object_lacks_is_nan_with_coverage_zero(tmp_path):
    layout = Layout(("g", "r", "i"), 5, 6)
    block = make_blocks(bands=("i", "g"))
    cache = write_cache(tmp_path / "a", [block], layout=layout)
    cutout = cache["obj-2"]
    np.testing.assert_array_equal(cutout.band("i"), block.images[2, 0])
    assert np.isnan(cutout.band("r")).all()
    assert cutout.coverage[1] == 0


def test_version_1_stays_readable(tmp_path):
    """The fixture was written by the first release; it must never be written again."""
    folder = tmp_path / "v1"
    shutil.copytree(TESTS / "data" / "cache-v1", folder)
    (folder / "index.h5").unlink(missing_ok=True)
    cache = Cache.open(folder)
    expected = json.loads((folder / "expected.json").read_text())
    assert cache.digest() == expected["digest"]
    assert list(cache.ids) == expected["ids"]
    assert [failure.reason for failure in cache.failures] == ["outside all images"]
    cutout = cache["first-0"]
    assert cutout.coord.ra.deg == pytest.approx(expected["ra"])
    assert cutout.wcs.pixel_to_world(0, 0).ra.deg == pytest.approx(expected["corner_ra"], abs=1e-9)


def double(folder, blocks, *numbers):
    """Write some tasks once more, as one shard."""
    with ShardWriter(folder, Cache.open(folder).layout) as writer:
        for number in numbers:
            writer.begin(number, f"task-{number}")
            writer.add(blocks[number])
            writer.commit()


@pytest.mark.parametrize("doubled", [[(0,)], [(1,), (1,)], [(0, 1, 2)], [(1, 2), (0,)], [(0, 1), (1, 2)]])
def test_shards_that_double_tasks_are_ignored_and_can_be_moved_aside(tmp_path, doubled):
    """As an orphan of a killed ingest of version 0.1.0 could leave them behind."""
    blocks = [make_blocks(4, seed=number, prefix=f"p{number}") for number in range(3)]
    folder = tmp_path / "a"
    expected = write_cache(folder, blocks).digest()
    for numbers in doubled:
        double(folder, blocks, *numbers)
    files = sorted(path.name for path in (folder / "shards").iterdir())
    cache = Cache.open(folder)
    assert cache.digest() == expected
    assert len(cache) == 12
    assert cache.ignored
    assert sorted(path.name for path in (folder / "shards").iterdir()) == files
    assert Cache.open(folder).ignored == cache.ignored  # from the index, too
    moved = repair_cache(folder)
    assert len(moved) == len(cache.ignored)
    assert all(path.is_file() and path.parent == folder / "set-aside" for path in moved)
    assert Cache.open(folder).digest() == expected
    assert Cache.open(folder).ignored == ()
    assert repair_cache(folder) == []


def test_a_shard_is_called_as_its_file(tmp_path):
    """A copy of a shard that stands before it: its scores are found by the name that they are written with."""
    folder = tmp_path / "a"
    write_cache(folder, [make_blocks()])
    (path,) = (folder / "shards").iterdir()
    shutil.copy(path, path.with_name(f"{path.stem}-copy.h5"))
    cache = Cache.open(folder)
    assert cache.ignored == (path,)
    assert [shard.uuid for shard in cache.shards] == list(cache.uuids)


def test_tasks_that_only_an_ignored_shard_holds_are_not_done(tmp_path):
    blocks = [make_blocks(4, seed=number, prefix=f"p{number}") for number in range(3)]
    folder = tmp_path / "a"
    write_cache(folder, blocks[:2], tasks_per_shard=2)
    double(folder, blocks, 1, 2)
    cache = Cache.open(folder)
    assert len(cache.ignored) == 1
    done = sorted(key for shard in cache.shards for key in shard.task_keys())
    assert done == ["task-0", "task-1"]


def test_one_id_in_different_tasks_is_an_error_still(tmp_path):
    blocks = [make_blocks(4, prefix="same"), make_blocks(4, prefix="same")]
    with pytest.raises(CacheError, match="occurs twice"):
        write_cache(tmp_path / "a", blocks)
