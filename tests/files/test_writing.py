"""Files whole or not at all: real processes, some of them killed."""

import hashlib
import os
import time

import pytest

from astroanomaly.errors import StorageError
from astroanomaly.files import (
    CHECKSUMS,
    atomic_folder,
    atomic_path,
    check_new,
    files_in,
    parse_sums,
    read_json,
    write_json,
)
from programs import next_lines, running


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "it"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary, temporary.open("w") as file:
        file.writelines(str(1 / number) for number in (2, 1, 0))
    with pytest.raises(StorageError, match=r"it could not be written: .*nothing half-written"), atomic_path(path):
        pass  # nothing is written

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_json(path, {"a": 1})
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["it"]
    with pytest.raises(StorageError, match="could not be written"):
        write_json(tmp_path / "gone" / "it", {})


@pytest.mark.parametrize("sync", [True, False])
def test_what_is_written_takes_the_place_of_what_was(tmp_path, sync):
    path = tmp_path / "it"
    for text in ("old", "new"):
        with atomic_path(path, sync=sync) as temporary:
            assert temporary.parent == path.parent  # renaming needs one file system
            temporary.write_text(text)
        assert path.read_text() == text
    assert [item.name for item in tmp_path.iterdir()] == ["it"]


def test_what_is_private_was_never_open_to_others(tmp_path):
    path = tmp_path / "it"
    path.write_text("old")
    path.chmod(0o644)
    with atomic_path(path, private=True) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600
        temporary.write_text("secret")
        assert temporary.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "secret"


def test_a_kill_in_the_middle_leaves_a_whole_file(tmp_path):
    """A writer that replaces a file over and over is killed at some moment, eight times."""
    path = tmp_path / "it.json"
    write_json(path, {"number": 0, "filler": []})
    program = """
        import sys
        from pathlib import Path
        from astroanomaly.files import read_json, write_json
        path = Path(sys.argv[1])
        number = read_json(path)["number"]
        while True:
            number += 1
            write_json(path, {"number": number, "filler": [number] * 20_000})
            print("written", flush=True)
    """
    last = 0
    for turn in range(8):
        with running(program, path) as writer:
            assert next_lines(writer, 2) == ["written", "written"]
            time.sleep(0.007 * turn)
        content = read_json(path)
        assert content["filler"] == [content["number"]] * 20_000
        assert content["number"] >= last + 2
        last = content["number"]
    left = [item.name for item in tmp_path.iterdir() if item != path]
    assert all(name.startswith(".tmp-") for name in left)  # the next writer of a cache or round removes them


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "made"
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as folder, (folder / "a").open("w"):
        raise ZeroDivisionError
    with pytest.raises(StorageError, match=r"made could not be written: .*nothing half-written"), atomic_folder(path):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(path) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "b c").write_text("two")
        (folder / "a").write_text("one")
        assert not path.exists()
    assert files_in(path) == ["a", "below/b c"]
    listed = parse_sums((path / CHECKSUMS).read_text())
    assert listed["a"] == hashlib.sha256(b"one").hexdigest()
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_of_others_is_not_replaced(tmp_path):
    path = tmp_path / "made"
    path.mkdir()  # an empty one is no loss
    with atomic_folder(path) as folder:
        (folder / "a").write_text("one")
    with pytest.raises(StorageError, match="exists already"), atomic_folder(path):
        pass
    with pytest.raises(ZeroDivisionError), atomic_folder(path, overwrite=True):
        raise ZeroDivisionError
    assert (path / "a").read_text() == "one"
    with atomic_folder(path, overwrite=True) as folder:
        (folder / "b").write_text("two")
    assert files_in(path) == ["b"]
    (path / "mine").symlink_to("/nowhere")
    for overwrite in (False, True):
        with pytest.raises(StorageError), atomic_folder(path, overwrite=overwrite):
            pass
    assert (path / "b").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="is a file"):
        check_new(tmp_path / "file", overwrite=True, folder=True)
    with pytest.raises(StorageError, match="is a folder"):
        check_new(path, overwrite=True)
    with pytest.raises(StorageError, match="does not exist"):
        check_new(tmp_path / "none" / "x", overwrite=True)
