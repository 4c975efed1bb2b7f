"""Locks that keep others out: real processes, some of them killed; also where the file system has no locks."""

import errno
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import pytest

from astroanomaly.errors import BusyError
from astroanomaly.files import has_record_locks, is_held, locked, locks
from programs import next_lines, running, start

HOLD = """
    import sys, time
    from pathlib import Path
    from astroanomaly.files import locked
    print("asks", flush=True)
    with locked(Path(sys.argv[1])):
        print("holds", flush=True)
        time.sleep(600)
"""

COUNT = """
    import sys, threading
    from pathlib import Path
    from astroanomaly.files import locked
    lock, number, remove = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "removed"

    def count():
        for _ in range(int(sys.argv[4])):
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
@pytest.mark.parametrize("flock", [True, False], ids=["flock", "no flock"])
def test_one_at_a_time_over_threads_and_processes(tmp_path, request, left, flock):
    number, count = tmp_path / "number", 100 if flock else 30
    number.write_text("0")
    environment = {} if flock else request.getfixturevalue("no_flock")
    processes = [start(COUNT, tmp_path / "lock", number, left, count, **environment) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for process in processes:
        process.stdout.close()
    assert number.read_text() == str(6 * count)
    assert {path.name for path in tmp_path.iterdir()} == {"number", *(["lock"] if left == "kept" else [])}


def test_a_held_file_is_told_at_once(tmp_path):
    path = tmp_path / "lock"
    with running(HOLD, path) as holder:
        assert next_lines(holder, 2) == ["asks", "holds"]
        assert is_held(path)
        with pytest.raises(BusyError, match="lock is held by another process"):
            locked(path, wait=False)
    assert is_held(path) is False
    with locked(path, wait=False):
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
        with locked(old, wait=False):  # another file, of the same name
            pass


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


# ---------------------------------------------------------------------------------------------------- without flock


@pytest.fixture
def without_flock(monkeypatch):
    """No flock in this process."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EBADF])
def test_without_flock_a_file_stands_for_the_lock(tmp_path, no_flock, number):
    path = tmp_path / "lock"
    with running(HOLD, path, **no_flock, NO_FLOCK_ERRNO=str(number)) as holder:
        assert next_lines(holder, 2) == ["asks", "holds"]
        said = json.loads((tmp_path / "lock.held").read_text())
        assert (said["pid"], said["machine"]) == (holder.pid, socket.gethostname())
        assert is_held(path)  # for those too that have flock
        with pytest.raises(BusyError, match=rf"is held by process {holder.pid} of .*lock.held says so"):
            locked(path, wait=False)
        holder.terminate()
        holder.wait(20)
    assert not is_held(path)
    with locked(path, wait=False):
        assert is_held(path)


def test_without_flock_what_a_killed_process_of_this_machine_held_is_free(tmp_path, no_flock):
    path = tmp_path / "lock"
    with running(HOLD, path, **no_flock) as first:
        assert next_lines(first, 2) == ["asks", "holds"]
        with running(HOLD, path, **no_flock) as second:
            assert next_lines(second, 1) == ["asks"]
            assert json.loads((tmp_path / "lock.held").read_text())["pid"] == first.pid
            os.kill(first.pid, signal.SIGKILL)
            first.wait(20)  # until then its number is taken
            assert next_lines(second, 1) == ["holds"]
            assert json.loads((tmp_path / "lock.held").read_text())["pid"] == second.pid


def test_of_those_that_take_over_from_a_dead_process_one_has_it(tmp_path, no_flock):
    """The moment that goes wrong most easily: several see a dead holder at once."""
    number = tmp_path / "number"
    number.write_text("0")
    with running(HOLD, tmp_path / "lock", **no_flock) as dead:
        assert next_lines(dead, 2) == ["asks", "holds"]
    processes = [start(COUNT, tmp_path / "lock", number, "kept", 5, **no_flock) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    for process in processes:
        process.stdout.close()
    assert number.read_text() == "40"


@pytest.mark.parametrize(
    "changed",
    [{"host": "01234567"}, {"token": ""}, {"pid": "x"}, None],
    ids=["of another machine", "without a token", "damaged", "empty"],
)
def test_nothing_is_taken_over_from_who_may_be_alive_however_old(tmp_path, no_flock, without_flock, changed):
    path, held = tmp_path / "lock", tmp_path / "lock.held"
    with running(HOLD, path, **no_flock) as dead:
        assert next_lines(dead, 2) == ["asks", "holds"]
    held.write_text("" if changed is None else json.dumps(json.loads(held.read_text()) | changed))
    os.utime(held, (0, 0))
    before = held.read_text()
    assert is_held(path)
    with pytest.raises(BusyError, match="if that process has ended, remove this file"):
        locked(path, wait=False)
    assert held.read_text() == before
    held.unlink()  # as the message says
    with locked(path, wait=False):
        assert is_held(path)


def test_a_number_that_another_process_has_now_is_no_holder(tmp_path, without_flock):
    path, held = tmp_path / "lock", tmp_path / "lock.held"
    with locked(path):
        said = json.loads(held.read_text())
    held.write_text(json.dumps(said | {"started": "00000001"}))  # our number, of a process that began another time
    with locked(path, wait=False):
        assert json.loads(held.read_text())["started"] == said["started"]


def test_waiting_for_another_machine_ends_with_an_error(tmp_path, without_flock, monkeypatch):
    path, held = tmp_path / "lock", tmp_path / "lock.held"
    with locked(path):
        said = json.loads(held.read_text())
    held.write_text(json.dumps(said | {"host": "01234567"}))
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.1)
    with pytest.raises(BusyError, match="remove this file"):
        locked(path)
    assert held.exists()


def test_a_folder_is_held_without_flock_and_nothing_is_left(tmp_path, without_flock):
    with locked(tmp_path, create=False):
        assert is_held(tmp_path)
        assert [item.name for item in tmp_path.iterdir()] == [".held"]
    assert list(tmp_path.iterdir()) == []


def test_record_locks_are_tried(tmp_path, no_flock):
    assert has_record_locks(tmp_path)
    program = """
        import sys, pathlib
        from astroanomaly.files import has_record_locks
        print(has_record_locks(pathlib.Path(sys.argv[1])))
    """
    with running(program, tmp_path, **no_flock) as other:
        assert next_lines(other, 1) == ["False"]
    assert list(tmp_path.iterdir()) == []
    assert has_record_locks(tmp_path / "gone")


def test_the_package_can_do_without_fcntl(tmp_path):
    """As on a system that has no such module: nothing else imports it."""
    program = f"""
        import sys
        sys.modules["fcntl"] = None
        from pathlib import Path
        from astroanomaly import fetch, FetchConfig
        from astroanomaly.app.web.token import kept_token
        from astroanomaly.session.rounds import new_round
        folder = Path({str(tmp_path)!r})
        with fetch.using(FetchConfig(keep=str(folder / "fetched"), pause_s=0.001)):
            print(fetch.cached({{}}, lambda path: path.write_text("it"), host="x", what="it").read_text())
        with new_round(folder / "rounds", "cold", 0) as made:
            pass
        print(made.round.number)
        token = kept_token(folder)
        print(token == kept_token(folder), "stays the same" in token.kept)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["it", "1", "True", "True"], done.stderr
    assert not list(tmp_path.rglob("*.held"))
