"""Processes that read for others: ended when a file takes too long, named, and the rest goes on."""

import os
import subprocess
import sys
import threading
import time

import pytest

import hostile
from astroanomaly import (
    AstroAnomalyError,
    BudgetError,
    ReadLimits,
    StorageError,
    UnreadableError,
    each_watched,
)
from astroanomaly.parallel.limits import limited
from astroanomaly.parallel.watched import Watch

SHORT = ReadLimits(file_seconds=2, memory_gb=1)
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces a limit on memory")


def put(folder, **words):
    for name, word in words.items():
        (folder / name).write_text(word)
    return [folder / name for name in words]


def test_a_file_that_hangs_or_crashes_its_reader_is_named_and_the_others_are_read(tmp_path):
    paths = put(tmp_path, a="good", b="hang", c="good", d="crash", e="good")
    with limited(SHORT):
        found = list(each_watched(hostile.look_watched, paths))
    assert [found[0], found[2], found[4]] == ["good"] * 3
    assert isinstance(found[1], BudgetError)
    assert str(found[1]).startswith(f"{paths[1]}: reading took longer than 2 s")
    assert isinstance(found[3], BudgetError)
    assert str(found[3]) == f"{paths[3]}: reading crashed a library (SIGSEGV)"


def test_an_error_comes_without_what_a_library_raised_before():
    pytest.importorskip("tblib")
    (found,) = each_watched(hostile.refuse_for_a_library, ["a.fits"])
    assert isinstance(found, UnreadableError)
    assert str(found) == "a.fits is damaged"
    with pytest.raises(UnreadableError, match=r"b\.fits is damaged"):
        Watch().call(hostile.refuse_for_a_library, "b.fits")


@linux
def test_a_file_that_needs_too_much_memory_fails_alone(tmp_path):
    (path,) = put(tmp_path, a="bloat")
    with limited(SHORT), pytest.raises(MemoryError):
        Watch().call(hostile.look_watched, path)


def test_what_was_ended_is_refused_in_the_rest_of_a_run(tmp_path):
    (path,) = put(tmp_path, a="crash")
    watch = Watch()
    with pytest.raises(BudgetError, match="SIGSEGV"):
        watch.call(hostile.look_watched, path)
    path.write_text("good")
    with pytest.raises(BudgetError, match="SIGSEGV"):
        watch.call(hostile.look_watched, path)
    assert Watch().call(hostile.look_watched, path) == "good"


def test_a_file_inside_another_has_a_time_of_its_own():
    with limited(ReadLimits(file_seconds=2)):
        assert Watch().call(hostile.nested, 1.0) == "done"  # three seconds in all


def test_errors_come_through_and_the_process_stays(tmp_path, monkeypatch):
    watch = Watch()
    with pytest.raises(UnreadableError, match=r"^it is refused$"):
        watch.call(hostile.refuse, "it")
    assert [type(error) for error in each_watched(hostile.refuse, ["a", "b"])] == [UnreadableError] * 2
    first = watch.call(hostile.where, 0)
    monkeypatch.setenv("HOSTILE", "yes")
    monkeypatch.chdir(tmp_path)
    assert watch.call(hostile.where, 0) == (first[0], "yes", str(tmp_path))
    assert first[0] != os.getpid()


def test_what_cannot_be_sent_is_done_here():
    assert Watch().call(lambda pid: os.getpid() == pid, os.getpid())


def test_a_process_that_ends_without_a_word_is_an_error():
    with pytest.raises(BudgetError, match="status 3"):
        Watch().call(hostile.end_oneself, 0)
    with pytest.raises(StorageError, match="fewer --workers"):
        Watch().call(hostile.kill_oneself, 0)


def test_the_end_of_a_run_ends_its_processes(tmp_path):
    (path,) = put(tmp_path, a="hang")
    watch, errors = Watch(), []

    def work():
        try:
            watch.call(hostile.look_watched, path)
        except AstroAnomalyError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not watch._busy:
        time.sleep(0.01)
    watch.end()
    thread.join(timeout=30)
    assert [type(error) for error in errors] == [StorageError]


def test_a_process_ends_with_who_started_it():
    script = "from astroanomaly.parallel.watched import Watch; import os, hostile; "
    script += "print(Watch().call(hostile.where, 0)[0], flush=True); os.kill(os.getpid(), 9)"
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=100,
    )
    pid = int(done.stdout)
    for _ in range(3000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if f"{pid} (" in _state(pid) and ") Z " in _state(pid):  # ended; nobody has asked after it yet
            return
        time.sleep(0.01)
    pytest.fail("it is still there")


def _state(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
