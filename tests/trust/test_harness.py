"""Nothing lost, nobody in: the seconds-long form of `benchmarks/trust`, run as its programs are."""

import subprocess
import sys

import pytest

from folders import ROOT

PROGRAMS = ROOT / "benchmarks" / "trust"
KINDS = (
    "pictures", "other catalogues", "label tables", "truth tables", "checkpoints", "records of caches", "preferences",
    "tokens", "bundles", "filter expressions", "regions", "prefix and origins",
)  # fmt: skip


def run(program, *words, key=0, timeout=600):
    """Run a program of the harness; return the rows of its tables by one of their cells, and what it complains of."""
    command = [sys.executable, str(PROGRAMS / program), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in ended.stdout.splitlines() if "|" in line]
    return {row[key]: row[:key] + row[key + 1 :] for row in rows}, ended.stderr, ended.returncode


def test_damaged_and_hostile_files_are_refused_or_recorded(tmp_path):
    kinds = [word for kind in KINDS for word in ("--kind", kind)]
    rows, complaint, status = run("fuzz.py", "--inputs", 2000, "--seed", 1, "--processes", 2, "--out", tmp_path, *kinds)
    names, all_kinds = rows["kind"][:-2], rows["all"][:-2]  # but for seconds and memory
    figures = {name: int(number.replace(",", "")) for name, number in zip(names, all_kinds, strict=True)}
    assert status == 0, complaint
    assert 1990 < figures["inputs"] < 2040
    assert figures["refused"] > 300  # it is not that nothing was damaged
    assert figures["same"] > 100  # nor that nothing can be read
    assert set(rows) - {"kind", "all", "---"} == set(KINDS)


def test_a_fuzz_run_that_was_stopped_goes_on_and_repeats_itself(tmp_path):
    words = ("--inputs", 400, "--kind", "filter expressions", "--kind", "prefix and origins", "--processes", 1)
    whole, _, _ = run("fuzz.py", *words, "--out", tmp_path / "a")
    again, _, _ = run("fuzz.py", *words, "--out", tmp_path / "a")
    other, _, _ = run("fuzz.py", *words, "--out", tmp_path / "b")
    counts = [[row[:-2] for name, row in rows.items() if name != "---"] for rows in (whole, again, other)]
    assert counts[0] == counts[1] == counts[2]


def shares_in_the_docs():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = text.partition("| kind | inputs of a million |\n|---|---|\n")[2]
    return table.partition("\n\n")[0].splitlines()


def test_the_documentation_says_how_many_of_each_kind():
    shown, _, _ = run("fuzz.py", "--shares")
    told = [[cell.strip() for cell in row.strip("|").split("|")] for row in shares_in_the_docs()]
    assert [[name, *cells] for name, cells in shown.items() if name not in ("kind", "---")] == told


@pytest.mark.slow
def test_what_is_killed_loses_nothing(tmp_path):
    cases = ("ingest images, 2 workers", "train probe, features", "export .vot", "label server")
    words = [word for case in cases for word in ("--case", case)]
    rows, complaint, status = run("kills.py", "--kills", 20, "--processes", 2, *words)
    assert status == 0, complaint
    kills, runs, told, *faults = map(int, rows["all"][:7])
    assert kills >= 20
    assert runs >= 4
    assert told >= 5  # by the server, at least once by every run of it
    assert faults == [0, 0, 0, 0]


@pytest.mark.slow
def test_several_annotators_lose_nothing(tmp_path):
    words = ("--annotators", 3, "--minutes", 0.05, "--objects", 60, "--pause", 0.1)
    rows, complaint, status = run("annotators.py", *words)
    assert status == 0, complaint
    _, answered, lost, *_ = rows["3"]
    assert int(answered) > 5
    assert lost == "0"


@pytest.mark.slow
def test_rounds_need_no_more_files_and_threads():
    rows, complaint, _ = run("soak.py", "--minutes", 0, "--objects", 60, "--rows", 4, key=1)
    later = [row for number, row in rows.items() if number.isdigit() and int(number) > 4]
    assert len(later) >= 3, complaint
    assert len({(files, threads) for _, _, files, threads, _ in later}) == 1
