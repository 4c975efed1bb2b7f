"""Compressed cutouts: what HDF5 itself reads, in several threads, and damage that is found."""

import functools
import os
import threading

import h5py
import numpy as np
import pytest

from astroanomaly import Cache, CutoutBlock, DamagedError, Layout, Task
from astroanomaly.cache import packed
from astroanomaly.cache.packed import PackedCutouts, write_packed
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.parallel import cores


def noise(dtype, count=20):
    values = np.random.default_rng(0).normal(100, 20, (count, 2, 9, 7))
    return np.clip(values, 0, 255).astype(dtype)


def make_file(path, pixels, **how):
    with h5py.File(path, "w") as file:
        made = file.create_dataset("images", pixels.shape, pixels.dtype, chunks=(1, *pixels.shape[1:]), **how)
        if how.get("shuffle", False) == (pixels.dtype.itemsize > 1):
            write_packed(made, 0, pixels[:11])
            write_packed(made, 11, pixels[11:])
        else:
            made[...] = pixels
    return path


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_what_was_packed_is_what_hdf5_reads(tmp_path, dtype, shuffle):
    pixels = noise(dtype)
    path = make_file(tmp_path / "f.h5", pixels, compression="gzip", shuffle=shuffle)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["images"][...], pixels)
        packed = PackedCutouts.of(file["images"])
    if packed is None:  # HDF5 has left a filter out, where it gained nothing
        assert dtype != "uint8"
        return
    rows = np.array([5, 0, 19, 5])
    found, broken = packed.read(path, rows)
    np.testing.assert_array_equal(found, pixels[rows])
    assert found.dtype == dtype
    assert not broken.any()


@pytest.mark.parametrize(
    "how",
    [{}, {"compression": "lzf"}, {"compression": "gzip", "fletcher32": True}, {"compression": "gzip", "chunks": 2}],
)
def test_other_layouts_are_left_to_hdf5(tmp_path, how):
    pixels = noise("uint8")
    chunks = (how.get("chunks", 1), *pixels.shape[1:])
    with h5py.File(tmp_path / "f.h5", "w") as file:
        assert PackedCutouts.of(file.create_dataset("images", data=pixels, **{**how, "chunks": chunks})) is None


@pytest.mark.parametrize("damage", ["flip", "longer", "shorter", "beyond", "huge"])
def test_damage_concerns_one_cutout(tmp_path, damage):
    pixels = noise("float32")
    path = make_file(tmp_path / "f.h5", pixels, compression="gzip", shuffle=True)
    with h5py.File(path, "r+") as file:
        if damage in ("longer", "shorter"):
            other = noise("float32")[:, :, :, : 3 if damage == "shorter" else 7]
            with h5py.File(tmp_path / "g.h5", "w") as more:
                other = np.concatenate([other, other], axis=2) if damage == "longer" else other
                made = more.create_dataset(
                    "images", other.shape, "f4", chunks=(1, *other.shape[1:]), compression="gzip", shuffle=True
                )
                write_packed(made, 0, other)
                file["images"].id.write_direct_chunk((3, 0, 0, 0), made.id.read_direct_chunk((3, 0, 0, 0))[1])
        packed = PackedCutouts.of(file["images"])
    if damage == "flip":
        with path.open("r+b") as file:
            file.seek(int(packed.offsets[3] + packed.sizes[3] // 2))
            file.write(bytes(20))
    elif damage == "beyond":
        packed.offsets[3] = 2**60
    elif damage == "huge":  # more than memory holds is not asked for
        packed.sizes[3] = 2**62
    found, broken = packed.read(path, np.arange(20))
    assert np.flatnonzero(broken).tolist() == [3]
    np.testing.assert_array_equal(np.delete(found, 3, axis=0), np.delete(pixels, 3, axis=0))


def test_processes_share_the_cores_and_threads_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 6)

    def threads():
        return {one for one in threading.enumerate() if one.name.startswith(f"pack-{os.getpid()}")}

    monkeypatch.setattr(packed, "_threads", functools.cache(packed._threads.__wrapped__))
    before = threads()
    pixels = np.random.default_rng(0).normal(size=(40, 2, 64, 64)).astype(np.float32)
    with cores.sharing_cores(3):
        make_file(tmp_path / "a.h5", pixels, compression="gzip", shuffle=True)
        first = threads() - before
        make_file(tmp_path / "b.h5", pixels, compression="gzip", shuffle=True)
    assert 1 <= len(first) <= 2
    assert len(threads() - before) <= 2
    assert first <= threads()
    with cores.sharing_cores(100):
        assert cores.own_cores() == 1
    assert cores.own_cores() == 6


def test_reads_may_be_short(tmp_path):
    class Slow:
        """A file of a network, which gives at most 7 bytes at a time."""

        def __init__(self, path):
            self.file = path.open("rb")
            self.seek, self.close = self.file.seek, self.file.close

        def read(self, size):
            return self.file.read(min(size, 7))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

    class SlowPath:
        def open(self, *_, **__):
            return Slow(path)

    pixels = noise("float32")
    path = make_file(tmp_path / "f.h5", pixels, compression="gzip", shuffle=True)
    with h5py.File(path) as file:
        packed = PackedCutouts.of(file["images"])
    found, broken = packed.read(SlowPath(), np.arange(20))
    assert not broken.any()
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_compressed_cache_is_smaller_and_says_what_is_damaged(tmp_path, dtype):
    images = np.random.default_rng(1).normal(size=(60, 1, 64, 64)).astype(np.float32)
    sizes, digests = {}, set()
    for compression in (None, "gzip"):
        folder = tmp_path / f"c{compression}"
        layout = Layout(("g",), 64, 64, dtype=dtype)
        task = Task("t", {}, {"object_id": np.array([f"o{k}" for k in range(60)])})
        create_cache(folder, layout, [task], {})
        with ShardWriter(folder, layout, compression=compression) as writer:
            writer.begin(0, "t")
            writer.add(CutoutBlock(ids=[f"o{k}" for k in range(60)], images=images, bands=("g",)))
            writer.commit()
        (path,) = (folder / "shards").glob("*.h5")
        sizes[compression] = path.stat().st_size
        digests.add(Cache.open(folder).digest())
    assert len(digests) == 1
    assert sizes["gzip"] < 0.97 * sizes[None]
    with h5py.File(path) as file:
        packed = PackedCutouts.of(file["images"])
    with path.open("r+b") as file:
        file.seek(int(packed.offsets[7]) + 20)
        file.write(bytes(16))
    with pytest.raises(DamagedError, match="o7"):
        Cache.open(folder)["o7"]
