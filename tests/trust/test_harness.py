"""Nothing lost, nobody in: the seconds-long form of `benchmarks/trust`, run as its programs are."""

import json
import subprocess
import sys

import pytest

from folders import ROOT

PROGRAMS = ROOT / "benchmarks" / "trust"


def run(program, *words, key=0, timeout=600):
    """Run a program of the harness; return the rows of its tables by one of their cells, and what it complains of."""
    command = [sys.executable, str(PROGRAMS / program), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in ended.stdout.splitlines() if "|" in line]
    return {row[key]: row[:key] + row[key + 1 :] for row in rows}, ended.stderr, ended.returncode


@pytest.mark.faults
@pytest.mark.slow
def test_damaged_and_hostile_files_are_refused_or_recorded(tmp_path):
    rows, complaint, status = run("fuzz.py", "--inputs", 1000, "--seed", 1, "--processes", 2, "--out", tmp_path)
    names, all_kinds = rows["kind"][:-3], rows["all"][:-3]  # but for shares, seconds and memory
    figures = {name: int(number.replace(",", "")) for name, number in zip(names, all_kinds, strict=True)}
    assert status == 0, complaint
    assert 990 < figures["inputs"] < 1040
    assert figures["refused"] > 150  # it is not that nothing was damaged
    assert figures["same"] > 50  # nor that nothing can be read
    kinds = rows.keys() - {"kind", "all", "---"}
    documented = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert [kind for kind in kinds if f"| {kind} | {rows[kind][-3]} |" not in documented] == []


@pytest.mark.faults
def test_a_fuzz_run_that_was_stopped_goes_on_and_repeats_itself(tmp_path):
    words = ("--inputs", 400, "--kind", "filter expressions", "--kind", "regions", "--processes", 1, "--out", tmp_path)
    whole, _, _ = run("fuzz.py", *words)
    progress = json.loads((tmp_path / "progress.json").read_text())
    progress["figures"].pop("regions")  # as if it had been stopped before
    (tmp_path / "progress.json").write_text(json.dumps(progress))
    again, _, _ = run("fuzz.py", *words)
    assert [row[:-3] for row in whole.values()] == [row[:-3] for row in again.values()]


@pytest.mark.faults
@pytest.mark.slow
def test_what_is_killed_loses_nothing(tmp_path):
    cases = ("ingest fits, 1 worker", "ingest images, 2 workers", "export .vot", "label server")
    words = [word for case in cases for word in ("--case", case)]
    rows, complaint, status = run("kills.py", "--kills", 20, "--processes", 2, *words)
    assert status == 0, complaint
    kills, runs, told, *faults = map(int, rows["all"][:7])
    assert kills >= 20
    assert runs >= 4
    assert told >= 5  # by the server, at least once by every run of it
    assert faults == [0, 0, 0, 0]


@pytest.mark.faults
@pytest.mark.slow
def test_several_annotators_lose_nothing(tmp_path):
    words = ("--annotators", 3, "--minutes", 0.05, "--objects", 60, "--pause", 0.1)
    rows, complaint, status = run("annotators.py", *words)
    assert status == 0, complaint
    _, answered, lost, *_ = rows["3"]
    assert int(answered) > 5
    assert lost == "0"


@pytest.mark.faults
@pytest.mark.slow
def test_rounds_need_no_more_files_and_threads():
    rows, complaint, _ = run("soak.py", "--minutes", 0, "--objects", 60, "--rows", 4, key=1)
    later = [row for number, row in rows.items() if number.isdigit() and int(number) > 4]
    assert len(later) >= 3, complaint
    assert len({(files, threads) for _, _, files, threads, _ in later}) == 1
