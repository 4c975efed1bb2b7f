"""Rounds on disk: whole or not at all, whoever makes them at the same time, and whatever is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from astroanomaly.errors import StorageError
from astroanomaly.files import ProcessId, locks, temporary_path
from astroanomaly.session.rounds import list_rounds, new_round


def test_two_trainings_at_once_lose_nothing(tmp_path):
    with new_round(tmp_path, "probe", 1) as first:
        first.round.weights.write_text("first")
        with new_round(tmp_path, "cold", 2) as second:
            second.round.weights.write_text("second")
        assert second.round.number == 1
    assert first.round.number == 2
    found = list_rounds(tmp_path)
    assert [(item.number, item.ranker, item.weights.read_text()) for item in found] == [
        (1, "cold", "second"),
        (2, "probe", "first"),
    ]
    assert [second.round, first.round] == found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001", "0002"]
    assert sorted(path.name for path in found[0].path.iterdir()) == ["model.safetensors", "ranker.json"]


def test_a_number_taken_in_the_last_moment_is_not_overwritten(tmp_path, monkeypatch):
    (tmp_path / "0001").mkdir()
    (tmp_path / "0001" / "ranker.json").write_text('{"ranker": "cold", "last_event": 0}')
    monkeypatch.setattr(type(tmp_path), "glob", lambda self, pattern: iter(()))  # as if it came after the look
    with new_round(tmp_path, "probe", 1) as made:
        pass
    assert made.round.number == 2


def test_a_round_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), new_round(tmp_path, "probe", 1):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a round of probe"), new_round(tmp_path / "file", "probe", 1):
        pass


def test_what_a_killed_training_left_is_swept_and_a_live_one_is_not(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from astroanomaly.session.rounds import new_round\n"
        "with new_round(Path(sys.argv[1]), 'probe', 0) as made:\n"
        "    made.round.weights.write_text('half'); print('made', flush=True); time.sleep(600)"
    )
    makers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for maker in makers:
            assert maker.stdout.readline() == "made\n"
        assert len(list(tmp_path.glob(".tmp-*"))) == 2
        os.kill(makers[0].pid, signal.SIGKILL)
        makers[0].wait(20)
        time.sleep(1.1)  # what is younger may not have locked its file yet
        with new_round(tmp_path, "cold", 0):
            pass
        left = list(tmp_path.glob(".tmp-*"))
        assert len(left) == 1
        assert (left[0] / "model.safetensors").read_text() == "half"
    finally:
        for maker in makers:
            maker.kill()
            maker.wait(20)
            maker.stdout.close()


@pytest.mark.parametrize("flock", [True, False], ids=["flock", "no flock"])
def test_a_round_that_nobody_can_be_asked_about_stays_however_old(tmp_path, monkeypatch, flock):
    """Of an earlier version, of another machine, or killed before it had its lock file."""
    own = ProcessId.own()
    names = [
        ".tmp-0123456789abcdef",
        f".tmp-01234567-{own.pid}-{own.started}-01234567-round",
        temporary_path(Path("a")).name,
    ]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("half")
        for path in (tmp_path / name / "model.safetensors", tmp_path / name):
            os.utime(path, (0, 0))
    if not flock:
        monkeypatch.setattr(locks, "fcntl", None)
    with new_round(tmp_path, "cold", 0) as made:
        pass
    assert made.round.number == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["0001", *names])
    assert [path.name for path in (tmp_path / "0001").iterdir()] == ["ranker.json"]
    for name in names[:2]:  # they have a lock file that nobody holds
        (tmp_path / name / "lock").write_text("")
        os.utime(tmp_path / name / "lock", (0, 0))
    with new_round(tmp_path, "cold", 0):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["0001", "0002", names[2]])
