"""Tables in NumPy's files: what is read, and what strangers' files must not do."""

import zipfile

import numpy as np
import pytest

from astroanomaly.errors import UnreadableError
from astroanomaly.tables.arrays import is_arrays, read_arrays

IDS = np.array(["a", "b", "ü"])
NUMBERS = np.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_one_length_are_columns(tmp_path, save):
    save(tmp_path / "e.npz", object_id=IDS, embedding=NUMBERS)
    table = read_arrays(tmp_path / "e.npz")
    assert is_arrays(tmp_path / "e.npz")
    assert list(table["object_id"]) == list(IDS)
    np.testing.assert_array_equal(table["embedding"], NUMBERS)


def test_named_fields_are_columns(tmp_path):
    rows = np.zeros(3, [("object_id", "U3"), ("embedding", "f4", (4,))])
    rows["object_id"], rows["embedding"] = IDS, NUMBERS
    np.save(tmp_path / "e.npy", rows)
    np.testing.assert_array_equal(read_arrays(tmp_path / "e.npy")["embedding"], NUMBERS)


def test_rows_that_say_of_no_object_which_it_is_are_refused(tmp_path):
    np.save(tmp_path / "e.npy", NUMBERS)
    with pytest.raises(UnreadableError, match=r"shape \(3, 4\) and does not say which object.*np.savez"):
        read_arrays(tmp_path / "e.npy")


def test_python_objects_are_refused_and_nothing_of_them_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    np.savez(tmp_path / "e.npz", object_id=IDS, trap=np.array([Trap()] * 3, object))
    with pytest.raises(UnreadableError, match="Python objects"):
        read_arrays(tmp_path / "e.npz")
    np.save(tmp_path / "e.npy", np.array([Trap()] * 3, object))
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_arrays(tmp_path / "e.npy")
    assert not (tmp_path / "run").exists()


def test_arrays_of_different_lengths_are_refused(tmp_path):
    np.savez(tmp_path / "e.npz", object_id=IDS, embedding=NUMBERS[:2])
    with pytest.raises(UnreadableError, match="object_id 3, embedding 2"):
        read_arrays(tmp_path / "e.npz")


def test_a_header_that_says_more_than_there_is_takes_no_memory(tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, object_id=IDS)
    with zipfile.ZipFile(path, "a") as archive:
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000, 4), }"
        header += b" " * (117 - len(header)) + b"\n"
        archive.writestr("big.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(UnreadableError, match="less than it says"):
        read_arrays(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 and nothing more", b"\x93NUMPY\x01\x00v", b"\x93NUMPY"])
def test_damage_is_told(tmp_path, content):
    (tmp_path / "e.npz").write_bytes(content)
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_arrays(tmp_path / "e.npz")


def test_an_archive_without_arrays_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(UnreadableError, match="without arrays"):
        read_arrays(tmp_path / "e.npz")
