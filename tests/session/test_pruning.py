"""Rounds are removed to make space: never one that scores, candidates or the next training need."""

import os
import shutil
import signal

import numpy as np
import pytest

from astroanomaly import Session
from astroanomaly.cli import main
from astroanomaly.errors import ConfigError
from astroanomaly.session.rounds import ROUNDS, new_round
from programs import next_lines, running

USE = """
    import sys, time
    from pathlib import Path
    from astroanomaly.session.rounds import list_rounds
    with list_rounds(Path(sys.argv[1]))[0].in_use():
        print("uses", flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def trained(sky, tmp_path_factory):
    """A session with three rounds that have scored everything; to be copied."""
    from conftest import TINY

    session = Session.create(tmp_path_factory.mktemp("pruning") / "search", sky[1], settings=TINY)
    ids = list(session.cache.ids)
    session.label(ids[:5], "anomaly")
    session.label(ids[5:20], "nominal")
    for _ in range(3):
        session.train("probe")
    return session


@pytest.fixture
def session(trained, tmp_path):
    return Session.open(shutil.copytree(trained.path, tmp_path / "search"))


def numbers(session):
    return [item.number for item in session.rounds]


def add_round(session, ranker, *, weights):
    with new_round(session.path / ROUNDS, ranker, 0) as made:
        if weights:
            made.round.weights.write_bytes(b"x" * 1000)
        made.recipe["options"] = {}
    return made.round.number


def test_older_rounds_go_and_what_is_shown_stays(session):
    ids, scores = session.scores()
    before = session.candidates(20)
    assert [item.round.number for item in session.prune_rounds(2, dry_run=True)] == [1]
    assert numbers(session) == [1, 2, 3]
    removed = session.prune_rounds(1)
    assert [item.round.number for item in removed] == [1, 2]
    assert all(item.nbytes > 1000 for item in removed)
    assert sorted(path.name for path in (session.path / ROUNDS).iterdir()) == ["0003"]
    again = Session.open(session.path)
    assert again.scores()[0] == ids
    np.testing.assert_array_equal(again.scores()[1], scores)
    assert list(again.candidates(20)["object_id"]) == list(before["object_id"])
    assert again.train("probe").round.number == 4


def test_rounds_that_are_needed_stay_whatever_is_asked(session):
    first = add_round(session, "fixmatch", weights=True)
    second = add_round(session, "fixmatch", weights=True)
    shutil.copytree(session.rounds[2].scores, session.rounds[-1].scores)  # it has scored everything
    later = add_round(session, "cold", weights=False)  # and this one nothing yet
    third = add_round(session, "tuned", weights=True)
    fourth = add_round(session, "tuned", weights=True)
    needed = {item.round.number: item.needed for item in session.stored_rounds()}
    assert [number for number, why in needed.items() if not why] == [1, 2, 3, first]
    assert needed[second] == "its scores are shown and exported"
    assert {needed[number] for number in (later, third, fourth)} == {"its scoring is not finished"}
    session.prune_rounds(1)
    assert numbers(session) == [second, later, third, fourth]
    shutil.copytree(session.rounds[0].scores, session.rounds[-1].scores)
    assert [item.round.number for item in session.prune_rounds(1)] == [later, third]
    assert numbers(session) == [second, fourth]  # the next training of fixmatch goes on from the first of them


def test_a_round_that_a_process_works_on_stays_until_it_is_gone(session):
    with running(USE, session.path / ROUNDS) as other:
        assert next_lines(other, 1) == ["uses"]
        assert session.stored_rounds()[0].needed == "a process works on it"
        assert [item.round.number for item in session.prune_rounds(1)] == [2]
        os.kill(other.pid, signal.SIGKILL)
        other.wait(20)
    assert [item.round.number for item in session.prune_rounds(1)] == [1]
    assert numbers(session) == [3]


def test_the_command_lists_and_prunes(session, capsys):
    path = str(session.path)
    assert main(["rounds", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["round", "ranker", "made"]
    assert [line.split()[:2] for line in lines[1:]] == [["1", "probe"], ["2", "probe"], ["3", "probe"]]
    assert "its scores are shown and exported" in lines[3]
    assert main(["rounds", path, "--keep", "1", "--dry-run"]) == 0
    assert "2 rounds would be removed" in capsys.readouterr().out
    assert numbers(session) == [1, 2, 3]
    assert main(["rounds", path, "--keep", "1"]) == 0
    assert "2 rounds removed" in capsys.readouterr().out
    assert numbers(session) == [3]
    assert main(["rounds", path, "--dry-run"]) == 2
    with pytest.raises(ConfigError, match="1 or more"):
        session.prune_rounds(0)
