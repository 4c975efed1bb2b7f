"""Rounds on disk: whole or not at all, whoever makes them at the same time, and whatever is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from astroanomaly import files
from astroanomaly.errors import StorageError
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


def test_a_folder_from_before_there_were_locks_is_swept_when_it_is_old(tmp_path):
    old, new = tmp_path / ".tmp-old", tmp_path / ".tmp-new"
    for path in (old, new):
        path.mkdir()
        (path / "model.safetensors").write_text("half")
    long_ago = time.time() - 3600
    for path in (old / "model.safetensors", old):
        os.utime(path, (long_ago, long_ago))
    with new_round(tmp_path, "cold", 0):
        pass
    assert (old.exists(), new.exists()) == (False, True)


def test_where_files_cannot_be_locked_what_is_a_day_old_is_left_over(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    paths = {hours: tmp_path / f".tmp-{hours}" for hours in (23, 25)}
    for hours, path in paths.items():
        path.mkdir()
        (path / "lock").write_text("")
        for item in (path / "lock", path):
            os.utime(item, (time.time() - 3600 * hours,) * 2)
    with new_round(tmp_path, "cold", 0) as made:
        pass
    assert made.round.number == 1
    assert {hours: path.exists() for hours, path in paths.items()} == {23: True, 25: False}
