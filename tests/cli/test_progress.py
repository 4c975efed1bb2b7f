"""Progress in a log: what is left is said now and then, and right where work goes at one speed."""

import contextlib
import io
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.cli import terminal
from astroanomaly.cli.progress import PlainLines
from astroanomaly.records import Progress


def lines_of(reports, **how):
    """Show reports ``(seconds, Progress)``; return the lines."""
    now = [0.0]
    lines, heard = PlainLines(clock=lambda: now[0], **how), io.StringIO()
    with contextlib.redirect_stderr(heard):
        for moment, report in reports:
            now[0] = moment
            lines.show(report)
    return heard.getvalue().splitlines()


def test_a_quick_stage_has_one_line():
    assert lines_of([(k / 10, Progress("features", k, 5)) for k in range(6)]) == ["features: 5"]


def test_a_long_stage_says_what_is_left_and_for_how_long():
    said = lines_of([(k, Progress("features", 10 * k, 10_000)) for k in range(1001)])
    assert [line.split()[1] for line in said[:6]] == ["20", "60", "140", "300", "600", "900"]  # ever more seldom
    assert said[3] == "features: 300 of 10000, 16 min left"
    assert said[-1] == "features: 10000"
    assert len(said) == 37


def test_work_that_was_done_before_does_not_count_as_speed():
    said = lines_of([(k, Progress("scoring", 5000 + k, 8600)) for k in range(61)])
    assert said[3] == "scoring: 5030 of 8600, 60 min left"


def test_a_stage_without_an_end_says_how_far_it_is():
    assert lines_of([(k, Progress("planning", k)) for k in range(0, 61, 30)]) == ["planning: 30", "planning: 60"]


@given(st.integers(2, 5000), st.floats(0.01, 100))
def test_no_more_lines_than_time_allows(total, step_s):
    said = lines_of([(k * step_s, Progress("features", k, total)) for k in range(total + 1)])
    assert len(said) <= total * step_s / 30 + 5
    assert said[-1] == f"features: {total}"


def test_a_command_that_is_silent_for_a_moment_says_what_it_does(capfd, monkeypatch):
    monkeypatch.setattr(terminal, "_QUIET_S", 0.0)
    with terminal.announced("train: opening s ..."):
        assert terminal._heard.wait(60)
        terminal.say("done")
    assert capfd.readouterr() == ("done\n", "train: opening s ...\n")


MEANWHILE = """
import sys
import threading
import time
from astroanomaly.cli import terminal

begun = threading.Event()


class Slow:
    def write(self, text):
        for letter in text:
            sys.__stderr__.write(letter)
            begun.set()
            time.sleep(0.001)

    def flush(self):
        sys.__stderr__.flush()


terminal._QUIET_S = 0.0
sys.stderr = Slow()
try:
    with terminal.announced("train: opening s ..."):
        begun.wait(60)
        if sys.argv[1:]:
            terminal.say(sys.argv[1])
        raise SystemExit(3)
finally:
    sys.__stdout__.write("end")
    sys.__stdout__.flush()
"""


@pytest.mark.parametrize("shown", [[], ["done"]])
def test_what_is_shown_or_ends_while_a_command_is_announced_comes_after_the_whole_line(shown):
    done = subprocess.run(
        [sys.executable, "-c", MEANWHILE, *shown],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3
    assert done.stdout.splitlines() == ["train: opening s ...", *shown, "end"]
