"""What a killed process left is removed by the next one here; what may belong to anybody else is not."""

import os
import signal
import sys

import pytest

from astroanomaly.files import ProcessId, atomic_folder, atomic_path, leftovers, temporary_path, writer_of
from programs import next_lines, running

EXPORT = """
    import sys, time
    from pathlib import Path
    from astroanomaly.files import atomic_folder, atomic_path
    with atomic_path(Path(sys.argv[1]) / "t.csv") as file, atomic_folder(Path(sys.argv[1]) / "bundle") as folder:
        file.write_text("half")
        (folder / "inside").write_text("half")
        print("writes", flush=True)
        time.sleep(600)
"""


@pytest.fixture(autouse=True)
def nothing_was_looked_through(monkeypatch):
    monkeypatch.setattr(leftovers, "_swept", set())


def temporary(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".tmp-"))


def test_the_next_command_removes_what_a_killed_one_left(tmp_path):
    with running(EXPORT, tmp_path) as killed:
        assert next_lines(killed, 1) == ["writes"]
        assert len(temporary(tmp_path)) == 2
        with atomic_path(tmp_path / "other.csv") as path:
            path.write_text("whole")
        assert len(temporary(tmp_path)) == 2  # it is alive
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(20)
    leftovers._swept.clear()  # as in a new process
    with atomic_folder(tmp_path / "other") as folder:
        (folder / "a").write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "other.csv"]


def test_nothing_of_others_is_removed(tmp_path):
    with running("print(1)") as gone:
        next_lines(gone, 1)
        gone.wait(20)
    own = ProcessId.own()
    dead = ProcessId(own.host, gone.pid, "01234567")
    assert dead.is_dead

    def name(writer, rest="t.csv"):
        return f".tmp-{writer.host}-{writer.pid}-{writer.started}-01234567-{rest}"

    stay = [
        name(ProcessId("fedcba98", gone.pid, "01234567")),  # of another machine
        name(own),
        ".tmp-0123456789abcdef0123456789abcdef-t.csv",  # of an earlier version
        ".tmp-mine",
        f"x{name(dead)}",
        name(dead).replace("-01234567-t.csv", ""),
    ]
    for item in (*stay, name(dead)):
        (tmp_path / item).write_text("x")
        os.utime(tmp_path / item, (0, 0))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / name(dead, "link")).symlink_to(tmp_path / "kept")
    leftovers.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*stay, "kept"])
    assert (tmp_path / "kept" / "file").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_nothing_of_another_user_is_removed(tmp_path):
    path = tmp_path / temporary_path(tmp_path / "t.csv").name.replace(ProcessId.own().started, "01234567")
    path.write_text("x")
    os.chown(path, 12345, 12345)
    leftovers.remove_leftovers(tmp_path)
    assert path.exists()
    os.chown(path, os.geteuid(), -1)
    leftovers._swept.clear()
    leftovers.remove_leftovers(tmp_path)
    assert not path.exists()


def test_names_of_any_length_and_letters_can_be_written(tmp_path):
    for name in ("a" * 251 + ".csv", "é" * 125 + ".csv", ".hidden", "a b\nc"):
        with atomic_path(tmp_path / name) as path:
            assert path.suffix == (tmp_path / name).suffix or name in (".hidden",)
            assert writer_of(path) == ProcessId.own()
            path.write_text("whole")
        assert (tmp_path / name).read_text() == "whole"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tells when a process began")
def test_a_process_is_known_by_when_it_began():
    own = ProcessId.own()
    assert not own.is_dead
    assert ProcessId(own.host, own.pid, "01234567").is_dead
    assert not ProcessId(own.host, own.pid, "00000000").is_dead  # it was not told when
    assert not ProcessId("01234567", 2**30, "01234567").is_dead
    assert ProcessId(own.host, 2**22 + 1, "01234567").is_dead  # no process has such a number
