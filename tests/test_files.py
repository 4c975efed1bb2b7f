"""Files whole or not at all, locks that keep others out: real processes, some of them killed."""

import contextlib
import gc
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from astroanomaly import files
from astroanomaly.errors import BusyError, StorageError
from astroanomaly.files import (
    CHECKSUMS,
    atomic_folder,
    atomic_path,
    check_new,
    files_in,
    is_held,
    locked,
    parse_sums,
    read_json,
    write_json,
)

HOLD = """
    import sys, time
    from pathlib import Path
    from astroanomaly.files import locked
    print("asks", flush=True)
    with locked(Path(sys.argv[1])):
        print("holds", flush=True)
        time.sleep(600)
"""


def start(program, *words):
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def running(program, *words):
    process = start(program, *words)
    try:
        yield process
    finally:
        process.kill()
        process.wait(20)
        process.stdout.close()


def next_lines(process, count):
    return [process.stdout.readline().strip() for _ in range(count)]


# ------------------------------------------------------------------------------------------------------------- locks

COUNT = """
    import sys, threading
    from pathlib import Path
    from astroanomaly.files import locked
    lock, number, remove = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "removed"

    def count():
        for _ in range(100):
            with locked(lock):
                before = int(number.read_text())
                number.write_text(str(before + 1))  # two at once would lose one, or read an empty file
                if remove:
                    lock.unlink()

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


@pytest.mark.parametrize("left", ["kept", "removed"])
def test_one_at_a_time_over_threads_and_processes(tmp_path, left):
    """Also where whoever has held the lock removes its file, while others wait for it."""
    number = tmp_path / "number"
    number.write_text("0")
    processes = [start(COUNT, tmp_path / "lock", number, left) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.stdout.close()
    assert number.read_text() == "600"
    assert (tmp_path / "lock").exists() == (left == "kept")


def test_a_held_file_is_told_at_once(tmp_path):
    path = tmp_path / "lock"
    with running(HOLD, path) as holder:
        assert next_lines(holder, 2) == ["asks", "holds"]
        assert is_held(path)
        with pytest.raises(BusyError, match="lock is held by another process"):
            locked(path, wait=False)
    assert is_held(path) is False
    with locked(path, wait=False) as mine:
        assert mine.exclusive
        assert is_held(path)  # asked in the same process too
        with pytest.raises(BusyError):
            locked(path, wait=False)
    assert is_held(path) is False


def test_a_kill_lets_go_and_the_next_in_line_has_it(tmp_path):
    path = tmp_path / "lock"
    with running(HOLD, path) as first:
        assert next_lines(first, 2) == ["asks", "holds"]
        with running(HOLD, path) as second:
            assert next_lines(second, 1) == ["asks"]
            said = []
            waiting = threading.Thread(target=lambda: said.extend(next_lines(second, 1)))
            waiting.start()
            waiting.join(0.5)
            assert said == []
            os.kill(first.pid, signal.SIGKILL)
            waiting.join(20)
            assert said == ["holds"]
            assert is_held(path)


def test_a_renamed_file_takes_its_lock_along(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    with locked(old):
        old.rename(new)
        assert is_held(new)
        with locked(old, wait=False) as another:  # another file, of the same name
            assert another.exclusive


def test_a_lock_is_let_go_once_and_also_when_it_is_forgotten(tmp_path):
    lock = locked(tmp_path / "lock")
    lock.close()
    with (tmp_path / "other").open("w") as file:  # has the number that the system gave the lock
        lock.close()
        file.write("still open")
    lock = locked(tmp_path / "lock")
    assert is_held(tmp_path / "lock")
    del lock
    gc.collect()
    assert is_held(tmp_path / "lock") is False


def test_a_folder_can_be_held_and_what_is_missing_is_made_only_if_asked(tmp_path):
    with locked(tmp_path, create=False), pytest.raises(BusyError):
        locked(tmp_path, wait=False, create=False)
    for ask in (lambda: locked(tmp_path / "no", create=False), lambda: is_held(tmp_path / "no")):
        with pytest.raises(FileNotFoundError):
            ask()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(IsADirectoryError):
        locked(tmp_path)
    with pytest.raises(FileNotFoundError):
        locked(tmp_path / "no" / "lock")


def no_locks_here(*_):
    raise OSError(38, "Function not implemented")


@pytest.mark.parametrize("missing", ["module", "function"])
def test_without_locks_the_work_goes_on_and_says_so_once(tmp_path, monkeypatch, caplog, missing):
    if missing == "module":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files.fcntl, "flock", no_locks_here)
    files._warn_without_locks.cache_clear()  # another test may have been told
    path = tmp_path / "lock"
    for wait in (True, False):
        with locked(path) as one, locked(path, wait=wait) as two:
            assert (one.exclusive, two.exclusive) == (False, False)
            assert is_held(path) is None
    assert caplog.text.count("files cannot be locked here") == 1


def test_the_package_can_do_without_fcntl(tmp_path):
    """As on a system that has no such module: nothing else imports it."""
    program = f"""
        import sys
        sys.modules["fcntl"] = None
        from pathlib import Path
        from astroanomaly import fetch, FetchConfig
        from astroanomaly.app.web.token import keep_token
        from astroanomaly.session.rounds import new_round
        folder = Path({str(tmp_path)!r})
        with fetch.using(FetchConfig(keep=str(folder / "fetched"), pause_s=0.001)):
            print(fetch.cached({{}}, lambda path: path.write_text("it"), host="x", what="it").read_text())
        with new_round(folder / "rounds", "cold", 0) as made:
            pass
        print(made.round.number)
        token = keep_token(folder)
        print(token == keep_token(folder), token[1])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["it", "1", "True", "True"], done.stderr
    assert "files cannot be locked here (the system has no flock" in done.stderr


# ----------------------------------------------------------------------------------------------------------- writing


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
