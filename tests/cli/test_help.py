"""What the command line says of itself: commands by what one wants to do, and how a line goes on at Tab."""

import os
import subprocess
import sys

import pytest

from astroanomaly.cli import COMMANDS, JOBS, main

_COMPLETE = """
import os
os.dup2(1, 8), os.dup2(2, 9)  # the answer goes to descriptor 8, what goes wrong to 9
from astroanomaly.cli import main
main()
"""


def completed(line):
    pytest.importorskip("argcomplete")
    words = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [sys.executable, "-c", _COMPLETE]
    answer = subprocess.run(command, env=os.environ | words, capture_output=True, text=True, timeout=60, check=True)
    return {word.strip() for word in answer.stdout.split("\n") if word.strip()}


@pytest.mark.parametrize("columns", ["60", "120"])
def test_help_lists_each_command_once_under_its_job(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    below = text[text.index("try it:") :]
    assert max(map(len, below.splitlines())) <= int(columns)
    for job, commands in JOBS.items():
        part = below[below.index(f"{job}:") :].split("\n\n")[0]
        for name, summary in commands.items():
            assert below.count(f"\n  {name} ") == 1
            assert f"{name} " in part
            assert summary.split()[0] in part
    assert list(COMMANDS) == [name for commands in JOBS.values() for name in commands]


def test_tab_completes_commands_flags_and_choices():
    assert completed("astroanomaly can") == {"candidates"}
    assert "--threshold" in completed("astroanomaly export search --th")
    assert "suspects" in completed("astroanomaly labels s")
    assert "diverse" in completed("astroanomaly candidates search --order d")
