"""HDF5 files from elsewhere: nothing that leads out of them is followed, and nothing hangs the library."""

import h5py
import numpy as np
import pytest

import astroanomaly
from astroanomaly.cache.schema import open_hdf5
from astroanomaly.errors import CacheError


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.arange(5)
    return path


def external(file, secret):
    file["columns/a"] = h5py.ExternalLink(str(secret), "values")


def soft(file, secret):
    file["columns/a"] = h5py.SoftLink("/values")


def stored_elsewhere(file, secret):
    file["columns"].create_dataset("a", (10,), "u1", external=[(str(secret), 0, 10)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((5,), "i8")
    layout[:] = h5py.VirtualSource(str(secret), "values", (5,))
    file["columns"].create_virtual_dataset("a", layout)


def plugin_filter(file, secret):
    file["columns"].create_dataset("a", data=np.zeros(1000), compression="lzf")


def huge(file, secret):
    file["columns"].create_dataset("a", (10**12,), "f4", chunks=(1000,))


def huge_and_empty(file, secret):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
    space = h5py.h5s.create_simple((10**12,))
    h5py.h5d.create(file["columns"].id, b"a", h5py.h5t.NATIVE_INT64, space, made)


def empty(file, secret):
    file["columns/a"] = h5py.Empty("f4")


def deep(file, secret):
    file["grids/deep/deeper/a"] = h5py.ExternalLink(str(secret), "values")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    ("attack", "words"),
    [
        (external, "/columns/a: is a link to another file"),
        (soft, "/columns/a: is a soft link"),
        (stored_elsewhere, "/columns/a: points outside the file"),
        (virtual, "/columns/a: points outside the file"),
        (plugin_filter, "/columns/a: is compressed by the filter 32000"),
        (huge, "/columns/a: says that it is of 4e"),
        (huge_and_empty, "/columns/a: says that it is of 8e"),
        (empty, "/columns/a: holds nothing"),
        (deep, "/grids/deep/deeper/a: is a link to another file"),
    ],
)
def test_what_leads_out_of_a_file_is_refused(tmp_path, secret, libver, attack, words):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["values"] = np.arange(5)
        file.create_group("columns")
        attack(file, secret)
    with pytest.raises(CacheError) as refused, open_hdf5(path):
        pytest.fail("it was opened")
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_what_h5py_writes_is_read(tmp_path, libver):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["format"], file.attrs["version"] = "text", 1
        group = file.create_group("columns", track_order=True)
        for number in range(40):
            values = group.create_dataset(f"c{number}", data=np.arange(number + 1), chunks=True, compression="gzip")
            values.attrs["unit"], values.attrs["description"] = "Jy", "x" * number
        file["up"] = file["columns"]  # one object under two names leads nowhere
        file.create_dataset("text", data=np.array([b"a", b"bc"]), shuffle=True, fletcher32=True, chunks=(1,))
    with open_hdf5(path) as file:
        assert file.attrs["format"] == "text"
        assert file["up/c7"].attrs["unit"] == "Jy"


def test_a_heap_that_has_no_end_is_found_before_the_library_looks_at_it(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["uuid"] = "0" * 32
        file.create_dataset("a", data=np.arange(3)).attrs["unit"] = "Jy"
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    free = next(
        k
        for k in range(heap + 16, heap + 4096, 8)
        if content[k : k + 2] == b"\0\0" and content[k + 8 : k + 16].strip(b"\0")
    )
    for size in (0, 8, 2**64 - 8):
        content[free + 8 : free + 16] = size.to_bytes(8, "little")
        path.write_bytes(content)
        with pytest.raises(CacheError, match="an entry of a heap has an impossible size"), open_hdf5(path):
            pytest.fail("it was opened")


@pytest.mark.parametrize("place", ["attribute", "dataset"])
def test_values_of_variable_length_of_an_unknown_kind_are_refused(tmp_path, place):
    path = tmp_path / "changed.h5"
    with h5py.File(path, "w") as file:
        if place == "attribute":
            file.attrs["format"] = "astroanomaly-index"
        else:
            file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype("utf-8"))
    content = path.read_bytes()
    text = bytes([0x19, 0x01, 0x01, 0, 16, 0, 0, 0])  # version 1, class 9; a text, UTF-8; 16 bytes
    assert content.count(text) == 1
    path.write_bytes(content.replace(text, bytes([0x19, 0x05, *text[2:]])))
    with pytest.raises(CacheError, match=r"changed\.h5.* variable length are of an unknown kind"), open_hdf5(path):
        pass


def test_soft_links_are_followed_in_files_of_other_programs_only(tmp_path, secret):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["values"] = np.arange(5)
        file.create_group("columns")
        soft(file, secret)
    with astroanomaly.open_hdf5(path) as file:  # and what is known of it there does not open it here
        assert astroanomaly.hdf5_links(file) == {"columns/a": "values"}
    with pytest.raises(CacheError, match="/columns/a: is a soft link"), open_hdf5(path):
        pytest.fail("it was opened")


def test_a_file_that_changed_is_looked_at_again(tmp_path, secret):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_group("columns")
    with open_hdf5(path) as file:
        assert list(file) == ["columns"]
    with h5py.File(path, "a") as file:
        external(file, secret)
    with pytest.raises(CacheError, match="is a link to another file"), open_hdf5(path):
        pytest.fail("it was opened")
