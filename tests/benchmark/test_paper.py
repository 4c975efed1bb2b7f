"""The paper's studies: which are run, that a killed run goes on, and what the page says."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from astroanomaly import figures
from astroanomaly.benchmark.pages import table, text, write_pages
from astroanomaly.benchmark.published import CLASS_NAMES, SOURCES, published
from astroanomaly.benchmark.studies import PRESETS, list_studies
from astroanomaly.cli import main
from astroanomaly.errors import ConfigError
from astroanomaly.ingestion.ingest import ingest

WORDS = ["--column", "kind", "--anomaly", "cross", "--initial", "3", "12", "--add", "2", "2", "--cycles", "2"]
WORDS += ["--set", "input.size=32", "--set", "input.views=picture", "--set", "backbone.name=test_efficientnet"]
WORDS += ["--set", "backbone.weights=random", "--set", "train.labelled_batch=4", "--set", "train.pool=20"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A cache of crosses among discs, and the table that says which."""
    folder = tmp_path_factory.mktemp("paper")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    rows = ["object_id,kind"]
    for kind, count in {"disc": 60, "cross": 20}.items():
        for number in range(count):
            y, x = np.mgrid[:32, :32] - 15.5 + rng.uniform(-3, 3, 2)[:, None, None]
            shape = np.hypot(x, y) < 8 if kind == "disc" else np.minimum(np.abs(x), np.abs(y)) < 2
            pixels = np.clip(rng.integers(0, 60, (32, 32, 3)) + 170 * shape[..., None], 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / f"{kind}{number:02d}.png")
            rows.append(f"{kind}{number:02d}.png,{kind}")
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    ingest("images", [str(folder / "pictures")], out=folder / "cache", workers=1)
    return folder


def words_for(world, out, *more):
    base = ["benchmark", "--paper", str(world / "cache"), "--truth", str(world / "truth.csv"), "--preset", "small"]
    return [*base, *WORDS, "--out", str(out), *more]


def rows_of(folder):
    with (folder / "results.csv").open(newline="") as handle:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(handle)]


@pytest.mark.faults
def test_a_killed_run_goes_on_with_the_study_it_was_in_and_writes_the_same_page(world, tmp_path):
    out = tmp_path / "killed"
    mark = out / "studies" / "nothing-added" / "units" / "probe" / "cross" / "seed-0" / "round-001.json"
    words = words_for(world, out, "--ranker", "probe")
    started = subprocess.Popen(
        [sys.executable, "-m", "astroanomaly", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        limit = time.monotonic() + 200
        while not mark.exists():
            assert started.poll() is None, "it ended before it was killed"
            assert time.monotonic() < limit
            time.sleep(0.002)
        os.kill(started.pid, signal.SIGKILL)
    finally:
        started.kill()
        started.wait(20)
    finished = {path: path.stat().st_mtime_ns for path in out.rglob("round-*.json")}
    assert mark in finished
    assert not (out / "paper.html").exists()
    whole = tmp_path / "whole"
    for folder in (out, whole):
        assert main(words_for(world, folder, "--ranker", "probe")) == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "a finished round was measured again"
    names = sorted(path.name for path in (out / "studies").iterdir())
    assert names == sorted(path.name for path in (whole / "studies").iterdir())
    assert len(names) == 6
    for name in names:
        assert rows_of(out / "studies" / name) == rows_of(whole / "studies" / name)
    pages = [(folder / "paper.md").read_text().replace(str(folder), "OUT") for folder in (out, whole)]
    assert pages[0] == pages[1]
    assert "Table 3" not in pages[0], "this ranker trains for no number of steps"


@pytest.mark.slow
def test_the_page_has_what_was_measured_beside_what_was_published(world, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "small", replace(PRESETS["small"], iterations=(1, 2, 3, 4), usual_iterations=2))
    assert main(words_for(world, tmp_path)) == 0
    check_page(tmp_path)


def check_page(out):
    page = (out / "paper.md").read_text()
    rows = rows_of(out / "studies" / "usual")
    ends = [float(row["auprc"]) for row in rows if row["round"] == "2"]
    half = stats.t.ppf(0.975, 1) * np.std(ends, ddof=1) / np.sqrt(2)
    low, high = max(np.mean(ends) - half, 0), min(np.mean(ends) + half, 1)  # what a share can be
    shown = f"{np.mean(ends):.3f} ({low:.3f} to {high:.3f})"
    line = next(line for line in page.splitlines() if line.startswith("| fixmatch | cross |"))
    assert shown in line
    for table_name in ("classes", "iterations", "learning", "labels"):
        for one in published(table_name):
            values = [f"{value:.2f}" for value in one.figures.values()]
            assert re.search(rf"^\| {re.escape(one.row)} \|.*{'.*'.join(values)}.*\| {one.source} \|$", page, re.M)
    for source in SOURCES.values():
        assert source in page
    assert "must not be compared" in page
    html = (out / "paper.html").read_text()
    assert html.count("<img ") == page.count("![") == 3
    assert "http-equiv" in html
    assert 'src="http' not in html
    gathered = json.loads(first_round(out, "at-once-gathered"))
    learnt = json.loads(first_round(out, "usual"))["labels"]  # those given until after the first round
    assert gathered["labels"] == learnt
    assert gathered["rows"][0]["unlabelled"] == int(next(row for row in rows if row["round"] == "2")["unlabelled"])
    words = next(line for line in page.splitlines() if line.startswith("astroanomaly benchmark --paper")).split()
    assert main([*words[1:-1], str(out)]) == 0, "the command on the page is the command"


def first_round(out, study):
    return (out / "studies" / study / "units" / "fixmatch" / "cross" / "seed-1" / "round-001.json").read_text()


def test_studies_are_those_of_the_paper():
    studies = {study.name: study for study in list_studies(PRESETS["full"], ["a", "b"], {"fixmatch": True})}
    usual = studies["usual"]
    assert (usual.protocol.initial, usual.protocol.add, usual.protocol.cycles) == ((5, 495), (10, 10), 3)
    assert usual.anomalies == ("a", "b")
    assert all(study.anomalies == ("a",) for name, study in studies.items() if name != "usual")
    assert {study.iterations for name, study in studies.items() if name.startswith("iter")} == {50, 250, 500}
    assert studies["labels-100"].protocol.initial == (5, 95)
    assert studies["labels-100"].protocol.add == (5, 5)
    assert studies["labels-1000"].protocol.initial == (10, 990)
    assert studies["labels-1000"].protocol.add == (20, 20)
    assert studies["nothing-added"].protocol.add == (0, 0)
    for name in ("at-once-gathered", "at-once-drawn"):
        assert (studies[name].protocol.cycles, studies[name].iterations) == (1, 300)
    assert studies["at-once-drawn"].protocol.initial == (25, 515)
    assert studies["at-once-gathered"].labels_of == "usual"


def test_a_ranker_without_steps_has_no_study_of_steps():
    studies = list_studies(PRESETS["full"], ["a"], {"fixmatch": True, "probe": False})
    assert {study.rankers for study in studies if study.name.startswith("iterations")} == {("fixmatch",)}
    assert studies[0].rankers == ("fixmatch", "probe")
    assert not [one for one in list_studies(PRESETS["full"], ["a"], {"probe": False}) if "iterations-" in one.name]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", "5"], "leave --batch out"),
        (["--expert", "top"], "leave --expert out"),
        (["--strategy", "novel"], "leave --strategy out"),
        (["--all-kinds"], "leave --all-kinds out"),
        (["--set", "train.iterations=5"], "vary train.iterations"),
        (["--cycles", "1"], "two rounds or more"),
    ],
)
def test_what_the_paper_decides_cannot_be_asked_for(world, tmp_path, capsys, more, message):
    assert main(words_for(world, tmp_path / "out", *more)) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_preset_is_for_the_paper_alone(world, tmp_path, capsys):
    words = ["benchmark", str(world / "cache"), "--truth", str(world / "truth.csv"), *WORDS]
    assert main([*words, "--preset", "small", "--out", str(tmp_path / "out")]) != 0
    assert "--preset goes with --paper" in " ".join(capsys.readouterr().err.split())


def test_published_figures_have_a_source_and_classes_that_are_told_apart():
    rows = [one for name in ("classes", "iterations", "learning", "labels") for one in published(name)]
    assert {one.source for one in rows} == set(SOURCES)
    assert all(0 < value < 1 for one in rows for value in one.figures.values())
    assert len(set(CLASS_NAMES.values())) == len(CLASS_NAMES)


def test_the_full_preset_has_the_published_figure_in_its_row(world, tmp_path, monkeypatch):
    monkeypatch.setitem(PRESETS, "full", replace(PRESETS["small"], iterations=(1, 2), usual_iterations=1, seeds=1))
    words = [word.replace("small", "full") for word in words_for(world, tmp_path, "--ranker", "probe")]
    assert main(words) == 0
    page = (tmp_path / "paper.md").read_text()
    assert re.search(r"^\| probe \| without \|.*\| 0\.70 \|$", page, re.MULTILINE)
    assert re.search(r"^\| probe \| at once, as gathered \|.*\|  \|$", page, re.MULTILINE), "nobody published that"
    assert "must not be compared" not in page


def test_a_page_holds_hostile_names_as_text(tmp_path):
    name = '<script>x</script>|"&'
    pages = write_pages(tmp_path, "page", name, [text(name), table(("a", "b"), [(name, "1")])])
    html = pages[1].read_text()
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append(tag)

        def handle_data(self, data):
            seen.append(data)

    Reader().feed(html)
    assert "script" not in seen
    assert seen.count(name) == 4  # title, heading, paragraph and cell
    assert '| <script>x</script>\\|"& | 1 |' in pages[0].read_text()


def test_curves_by_round_are_drawn_for_what_can_be_measured(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.arange(200) < 20
    pairs = [(truth, truth + rng.normal(size=200)) for _ in range(2)]
    panels = {"a": {"round 1": pairs, "round 2": []}, "b": {"round 1": [(np.zeros(9, bool), np.arange(9.0))]}}
    for curve in figures.CURVES:
        figures.round_curves(panels, tmp_path / f"{curve}.png", curve=curve)
        assert (tmp_path / f"{curve}.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="no curve 'lift'"):
        figures.round_curves(panels, tmp_path / "x.png", curve="lift")
    with pytest.raises(ConfigError, match="no curves"):
        figures.round_curves({}, tmp_path / "x.png", curve="roc")
