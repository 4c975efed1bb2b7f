"""The benchmark: who takes part, who says what, what a killed run leaves, and what is measured."""

import csv
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import safetensors.torch
import timm
from PIL import Image
from scipy import stats

from astroanomaly import Session
from astroanomaly.benchmark.compare import compare
from astroanomaly.benchmark.expert import Expert
from astroanomaly.benchmark.pools import Case, draw_pool, in_part, list_cases
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.run import benchmark
from astroanomaly.benchmark.statistics import Interval, differences, found_after
from astroanomaly.cache.model_input import MEASURED_ON
from astroanomaly.cli import main
from astroanomaly.config import former_names
from astroanomaly.errors import ConfigError, LabelError
from astroanomaly.ingestion.ingest import ingest
from astroanomaly.learn.rankers.cold import Cold
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.learn.settings import settings_sections
from astroanomaly.records import ANOMALY, NOMINAL, Labelled

KINDS = {"disc": 40, "bar": 40, "ring": 40, "cross": 12, "spot": 12}  # the last two are rare
SETTINGS = {
    "input": {"size": 32, "views": "picture"},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "train": {"iterations": 5, "labelled_batch": 4, "pool": 40},
}


def picture(kind, rng):
    y, x = np.mgrid[:32, :32] - 15.5 + rng.uniform(-3, 3, 2)[:, None, None]
    r = np.hypot(x, y)
    shape = {
        "disc": r < 8,
        "bar": (np.abs(y) < 2) & (np.abs(x) < 12),
        "ring": np.abs(r - 9) < 1.5,
        "cross": np.minimum(np.abs(x), np.abs(y)) < 2,
        "spot": np.hypot(x - 8, y - 8) < 4,
    }[kind]
    return np.clip(rng.integers(0, 60, (32, 32, 3)) + 170 * shape[..., None], 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A cache of simple shapes and the table that says which."""
    folder = tmp_path_factory.mktemp("benchmark")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    rows = ["object_id,kind"]
    for kind, count in KINDS.items():
        for number in range(count):
            name = f"{kind}{number:02d}.png"
            Image.fromarray(picture(kind, rng)).save(folder / "pictures" / name)
            rows.append(f"{name},{kind}")
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    ingest("images", [str(folder / "pictures")], out=folder / "cache", workers=1)
    return folder


@pytest.fixture
def measure(world, tmp_path):
    def run(out="out", anomalies=("cross",), rankers=("probe",), report=False, **protocol):
        usual = {"initial": (3, 20), "add": (2, 4), "cycles": 2, "seeds": 2}
        return benchmark(
            world / "cache",
            truth=world / "truth.csv",
            column="kind",
            anomalies=anomalies,
            rankers=rankers,
            out=tmp_path / out,
            protocol=Protocol(**{**usual, **protocol}),
            settings=SETTINGS,
            report=report,
        )

    return run


def rounds_in(folder):
    """Every finished round as JSON, by the path of its file."""
    return {path: json.loads(path.read_text()) for path in sorted(folder.glob("units/*/*/*/round-*.json"))}


def table(path):
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))


def untimed(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


# ------------------------------------------------------------------------------------------------------ killed, resumed


@pytest.mark.faults
def test_a_killed_run_goes_on_and_gives_the_same_table(world, measure, tmp_path):
    flags = "--column kind --anomaly cross --initial 3 20 --add 2 4 --cycles 3 --seeds 2 --ranker fixmatch"
    sets = [f"{section}.{key}={value}" for section, options in SETTINGS.items() for key, value in options.items()]
    words = [sys.executable, "-m", "astroanomaly", "benchmark", str(world / "cache"), "--truth", "truth.csv"]
    words += [*flags.split(), "--out", str(tmp_path / "killed"), *(word for item in sets for word in ("--set", item))]
    out = tmp_path / "killed"
    mark = out / "units" / "fixmatch" / "cross" / "seed-1" / "round-001.json"
    started = subprocess.Popen(words, cwd=world, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 200
        while not mark.exists():
            assert started.poll() is None, "it ended before it was killed"
            assert time.monotonic() < limit
            time.sleep(0.005)
        os.kill(started.pid, signal.SIGKILL)
    finally:
        started.kill()
        started.wait(20)
    finished = {path: path.stat().st_mtime_ns for path in rounds_in(out)}
    assert mark in finished
    assert not (mark.parent / "round-003.json").exists()
    assert len(list(mark.parent.glob("*.safetensors"))) >= 1
    assert list((mark.parent.parent / "seed-0").glob("*.safetensors")) == []
    for name in ("killed", "whole"):
        measure(out=name, rankers=["fixmatch"], cycles=3)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished, "a finished round was measured again"
    assert len(rounds_in(out)) == 6
    assert list(out.rglob("*.safetensors")) == list(out.rglob(".tmp-*")) == []
    assert untimed(table(out / "results.csv")) == untimed(table(tmp_path / "whole" / "results.csv"))
    assert len(table(out / "results.csv")) == 6


def test_what_is_finished_is_read_and_other_settings_are_refused(measure, monkeypatch, tmp_path):
    first = measure(rankers=["probe", "cold"])
    text = (tmp_path / "out" / "results.csv").read_text()
    monkeypatch.setattr(Probe, "fit", None)  # nothing is learnt again
    monkeypatch.setattr(Cold, "fit", None)
    again = measure(rankers=["probe", "cold"])
    assert again.rows == first.rows
    assert (tmp_path / "out" / "results.csv").read_text() == text
    assert measure(rankers=["cold"]).rows == [row for row in first.rows if row[0] == "cold"]
    assert len(table(tmp_path / "out" / "results.csv")) == 8, "results of other rankers stay in the table"
    with pytest.raises(ConfigError, match="other settings"):
        measure(wrong=0.1)


# ------------------------------------------------------------------------------------------------------- who takes part


def test_halves_are_disjoint_complete_and_always_the_same():
    ids = [f"images/{number:05d}.jpg" for number in range(3000)]
    first, second = ({i for i in ids if in_part(i, part, 2)} for part in (1, 2))
    assert not first & second
    assert first | second == set(ids)
    assert abs(len(first) - 1500) < 110  # four standard deviations
    odd = set(ids[::4])
    assert abs(len(first & odd) - 375) < 55
    first_bytes = (0x52, 0xF5, 0xC8, 0xEE, 0x56, 0x7F, 0x85, 0x58)  # of 00000.jpg and so on, as sha256sum says
    assert [in_part(i, 1, 2) for i in ids[:8]] == [byte % 2 == 0 for byte in first_bytes]
    assert [in_part(f"other/{i}", 1, 2) for i in ids] == [in_part(i, 1, 2) for i in ids]


CLASSES = {f"{kind}{number:02d}": kind for kind, count in KINDS.items() for number in range(count)}


def test_a_share_of_anomalies_is_drawn_anew_for_every_seed():
    case = Case("cross", {"cross": ANOMALY})
    pools = [draw_pool(CLASSES, case, ["cross"], Protocol(rate=0.05), seed) for seed in (0, 0, 1)]
    for pool in pools:
        counts = Counter(pool.values())
        assert counts[NOMINAL] == 132
        assert counts[ANOMALY] == 7  # 0.05 / 0.95 of 132
    assert pools[0] == pools[1] != pools[2]
    with pytest.raises(LabelError, match="but cross has 12"):
        draw_pool(CLASSES, case, ["cross"], Protocol(rate=0.5), 0)


def test_a_small_pool_holds_what_was_asked_for_and_no_class_that_is_named():
    case = Case("cross", {"cross": ANOMALY})
    drawn = set()
    for seed in range(12):
        pool = draw_pool(CLASSES, case, ["cross", "spot"], Protocol(pool=(2, 10, 4)), seed)
        counts = Counter(CLASSES[i] for i in pool)
        assert counts.pop("cross") == 4
        assert list(counts.values()) == [10, 10]
        assert "spot" not in counts
        assert Counter(pool.values()) == {NOMINAL: 20, ANOMALY: 4}
        drawn.add(frozenset(counts))
    assert len(drawn) == 3  # every pair of the three others was drawn
    with pytest.raises(LabelError, match="only 3 have as many"):
        draw_pool(CLASSES, case, ["cross", "spot"], Protocol(pool=(4, 10, 4)), 0)
    with pytest.raises(LabelError, match="it has only 12"):
        draw_pool(CLASSES, case, ["cross"], Protocol(pool=(1, 10, 13)), 0)


@pytest.mark.parametrize(
    "more", [{"part": "2/2", "initial": (2, 10)}, {"rate": 0.05}, {"pool": (2, 15, 8)}], ids=["part", "rate", "pool"]
)
@pytest.mark.parametrize("expert", ["paper", "top"])
def test_nothing_outside_is_learnt_shown_or_measured(measure, monkeypatch, tmp_path, more, expert):
    learnt, excluded = [], []
    fit = Probe.fit

    def watched(self, cache, labels, exclude=frozenset(), **options):
        learnt.append(set(labels.ids))
        excluded.append((exclude, set(cache.ids)))
        return fit(self, cache, labels, exclude, **options)

    monkeypatch.setattr(Probe, "fit", watched)
    rows = measure(expert=expert, **more).results
    for k, row in enumerate(rows):
        inside = excluded[k][1] - excluded[k][0]
        assert 0 < len(inside) < sum(KINDS.values())
        assert learnt[k] <= inside
        assert row["unlabelled"] == len(inside) - len(learnt[k])
    for (_, content), (exclude, _) in zip(rounds_in(tmp_path / "out").items(), excluded, strict=True):
        assert not {i for i, _ in content["labels"]} & exclude


# ----------------------------------------------------------------------------------------------------------- the expert


def test_wrong_labels_have_their_share_and_follow_from_seed_and_object_alone():
    truth = {f"o{number}": ANOMALY if number % 10 == 0 else NOMINAL for number in range(4000)}
    one, two, other = (Expert(truth, wrong=0.1, seed=seed) for seed in (1, 1, 2))
    one.label_random(400, 3600, np.random.default_rng(0))
    two.label_ranked(list(truth)[::-1], 2000, 2000, "top")
    other.label_random(400, 3600, np.random.default_rng(0))
    assert one.given == two.given != other.given
    flipped = {i for i in truth if one.given[i] != truth[i]}
    assert abs(len(flipped) - 400) < 80  # four standard deviations
    assert {truth[i] for i in flipped} == {NOMINAL, ANOMALY}
    known = Expert({i: "lens" if kind == ANOMALY else kind for i, kind in truth.items()}, ("lens", "ring"), wrong=0.2)
    known.label_ranked(list(truth), 2000, 2000, "top")
    said = Counter(label for i, label in known.given.items() if truth[i] == NOMINAL)
    assert min(said["lens"], said["ring"]) > 200


def test_figures_are_measured_against_the_truth_whatever_was_said(measure, tmp_path):
    results = measure(wrong=0.4, cycles=1, expert="top").results
    for row, content in zip(results, rounds_in(tmp_path / "out").values(), strict=True):
        said = content["labels"]
        true = [i.startswith("cross") for i, _ in said]
        assert [label == ANOMALY for _, label in said] != true
        assert row["found"] == sum(true[23:])
        assert row["unlabelled_anomaly"] == 12 - sum(true[:23])


def test_without_labels_on_both_sides_another_ranker_begins(measure, tmp_path):
    rows = measure(initial=(0, 0), expert="top", cycles=4, rankers=["probe", "cold"], seeds=1).results
    probe, cold = ([row for row in rows if row["ranker"] == name] for name in ("probe", "cold"))
    assert probe[0]["labelled_anomaly"] == probe[0]["labelled_nominal"] == 0
    assert untimed([{**probe[0], "ranker": "cold"}]) == untimed(cold[:1])
    assert [row["given"] for row in probe] == [6, 12, 18, 24]
    later = next(k for k, row in enumerate(probe) if min(row["labelled_anomaly"], row["labelled_nominal"]))
    assert probe[later]["auroc"] != cold[later]["auroc"]
    with pytest.raises(ConfigError, match="needs labels itself"):
        measure(out="x", start_with="probe")


@pytest.mark.parametrize("strategy", ["score", "uncertain", "diverse", "novel", "mixed", "random"])
def test_the_honest_expert_labels_what_comes(measure, tmp_path, strategy):
    rows = measure(expert="top", strategy=strategy, seeds=1).results
    labels = [content["labels"] for content in rounds_in(tmp_path / "out").values()]
    assert [len(said) for said in labels] == [29, 35]
    assert labels[1][:29] == labels[0]
    assert [row["given"] for row in rows] == [6, 12]
    for row, said in zip(rows, labels, strict=True):
        assert row["found"] == sum(i.startswith("cross") for i, _ in said[23:])


def top_of_each_ranking(world, labels, sizes):
    """Label what a fresh probe ranks highest, so many at a time; return how many are crosses, each time."""
    session = Session.create(world / "by-hand", world / "cache", settings=SETTINGS)
    ids = np.array(session.cache.ids)
    found = []
    for size in sizes:
        probe = session.ranker("probe")
        for _ in probe.fit(session.cache, Labelled(tuple(labels), tuple(labels.values()))):
            pass
        scores = np.concatenate([part.log_odds[:, 0] for part in probe.score(session.cache)])
        chosen = [i for i in ids[np.argsort(scores, kind="stable")].tolist() if i not in labels][:size]
        crosses = [i.startswith("cross") for i in chosen]
        labels.update({i: ANOMALY if cross else NOMINAL for i, cross in zip(chosen, crosses, strict=True)})
        found.append(sum(crosses))
    return found


def test_batches_of_honest_verdicts_each_follow_a_ranking_that_knows_those_before(world, measure, tmp_path):
    result = measure(batch=7, verdicts=18, seeds=1)
    assert [(row["round"], row["given"]) for row in result.results] == [(1, 7), (2, 14), (3, 18)]
    (last,) = [one for path, one in rounds_in(tmp_path / "out").items() if path.name == "round-003.json"]
    by_hand = dict(last["labels"][:23])  # 3 + 20 at first
    found = top_of_each_ranking(world, by_hand, (7, 7, 4))
    assert [row["found"] for row in result.results] == np.cumsum(found).tolist()
    shown = dict(zip(result.columns, result.rows[0], strict=True))
    assert shown["found"] == f"{sum(found):.3f} +- 0.000, least {sum(found):g}"
    assert list(by_hand.items()) == [tuple(pair) for pair in last["labels"]]
    for other in ({"cycles": 9}, {"add": (1, 1)}, {"expert": "paper"}):  # follow from the batch, whatever is said
        assert measure(batch=7, verdicts=18, seeds=1, **other).results == result.results
    with pytest.raises(ConfigError, match="other settings"):
        measure(batch=6, verdicts=18, seeds=1)


def test_whatever_the_batch_the_first_labels_are_the_same_and_the_count_after_100_is_exact(measure, tmp_path):
    rows = {batch: measure(out=str(batch), batch=batch, verdicts=110, report=True).results for batch in (30, 110)}
    first = {
        batch: [
            one["labels"][:23] for path, one in rounds_in(tmp_path / str(batch)).items() if "round-001" in path.name
        ]
        for batch in rows
    }
    assert first[30] == first[110]
    for batch, results in rows.items():
        folder = tmp_path / str(batch)
        written = table(folder / "results.csv")
        for seed in (0, 1):
            mine = [row for row in results if row["seed"] == seed]
            path = next(folder.glob(f"units/*/*/seed-{seed}/round-{len(mine):03d}.json"))
            given = [object_id for object_id, _ in json.loads(path.read_text())["labels"]][23:]
            wanted = sum(object_id.startswith("cross") for object_id in given[:100])
            assert mine[-1]["found_100"] == wanted == found_after(mine, 100)[0]
            assert [row for row in written if row["seed"] == str(seed)][-1]["found_100"] == str(wanted)
            assert math.isnan(mine[0]["found_100"]) == (batch == 30)
            assert math.isnan(mine[-1]["found_200"])
        ends = [row["found_100"] for row in results if row["given"] == 110]
        summary = json.loads((folder / "summary.json").read_text())["results"][0]
        assert summary["mean"]["found_100"] == np.mean(ends)
        assert summary["least"]["found_100"] == min(ends)
        report = (folder / "report.md").read_text()
        assert f"--batch {batch} --verdicts 110" in report
        assert "--cycles" not in report
    lines, _ = compare([tmp_path / "30", tmp_path / "110"], tmp_path / "both")
    assert "found at 100" in "".join(lines)
    few, many = ([row["found_100"] for row in rows[batch] if row["given"] == 110] for batch in (30, 110))
    after = lines[lines.index("## Difference to 30") :]
    row = next(line for line in after if line.startswith("| 110 | 2 | ")).split(" | ")
    assert row[-2].startswith(f"{np.mean(many) - np.mean(few):+.3f} (")


def test_batches_begin_without_any_label(measure):
    result = measure(batch=9, verdicts=27, initial=(0, 0), seeds=1)
    assert [row["given"] for row in result.results] == [9, 18, 27]
    assert result.results[0]["labelled_anomaly"] == result.results[0]["labelled_nominal"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "5", "--cycles", "3"], "leave --cycles out"),
        (["--batch", "5", "--add", "1", "1"], "leave --add out"),
        (["--batch", "5", "--expert", "top"], "leave --expert out"),
        (["--verdicts", "50"], "goes with --batch"),
    ],
)
def test_batches_and_rounds_contradict_each_other(world, capsys, words, message):
    flags = ["--truth", str(world / "truth.csv"), "--column", "kind", "--anomaly", "cross", "--out", str(world / "no")]
    assert main(["benchmark", str(world / "cache"), *flags, *words]) != 0
    assert message in capsys.readouterr().err
    assert not (world / "no").exists()


def test_the_paper_expert_labels_so_many_of_each_also_after_the_last_round(measure):
    rows = measure(seeds=1).results
    assert [(row["labelled_anomaly"], row["labelled_nominal"]) for row in rows] == [(3, 20), (5, 24)]
    assert [(row["given"], row["found"]) for row in rows] == [(6, 2), (12, 4)]


def test_where_no_anomaly_is_left_figures_are_empty(measure, tmp_path):
    result = measure(initial=(8, 20), add=(4, 4), cycles=3, report=True)
    lines = table(tmp_path / "out" / "results.csv")
    assert [line["auroc"] == "" for line in lines] == [False, True, True] * 2
    assert {line["unlabelled_anomaly"] for line in lines if line["auroc"] == ""} == {"0"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["results"][0]["mean"]["auprc"] is None
    assert all(math.isnan(row["auprc"]) for row in result.results if row["round"] > 1)
    assert measure(initial=(8, 20), add=(4, 4), cycles=3).rows == result.rows


# -------------------------------------------------------------------------------------------------- kinds, side by side


def test_all_kinds_at_once_have_a_row_each_and_the_unlabelled_one_its_own_measure(measure, tmp_path):
    rows = measure(
        anomalies=["ring", "cross"], all_kinds=True, unlabelled_kinds=("spot",), initial=(3, 20), seeds=1, cycles=1
    ).results
    assert [row["class"] for row in rows] == ["ring", "cross", "spot"]
    assert {(row["labelled_anomaly"], row["labelled_nominal"]) for row in rows} == {(6, 20)}
    assert [row["unlabelled_anomaly"] for row in rows] == [37, 9, 12]
    assert {row["unlabelled"] for row in rows} == {sum(KINDS.values()) - 26}
    assert sum(row["found"] for row in rows) == 2
    (content,) = rounds_in(tmp_path / "out").values()
    first = Counter(label for _, label in content["labels"][:26])
    assert first == {"ring": 3, "cross": 3, NOMINAL: 20}
    for object_id, label in content["labels"]:
        kind = object_id[:-6]
        assert label == (kind if kind in ("ring", "cross", "spot") else NOMINAL)
    truth, general = np.load(next((tmp_path / "out").rglob("judged.npy")))
    assert truth.sum() == 37 + 9 + 12
    assert all(0 <= row["top_100"] <= row["unlabelled_anomaly"] for row in rows)
    assert sum(row["top_100"] for row in rows) == truth[np.argsort(-general)[:100]].sum()
    # spot against nominal: the labelled kinds are left out
    assert rows[2]["precision_100"] == pytest.approx(12 / 100, abs=0.121)
    assert rows[2]["auroc"] != rows[0]["auroc"]


def test_kinds_that_contradict_each_other_are_refused():
    with pytest.raises(ConfigError, match="add --all-kinds"):
        Protocol(unlabelled_kinds=("spot",))
    with pytest.raises(ConfigError, match="named once"):
        list_cases(["ring", "ring"], Protocol(all_kinds=True))
    with pytest.raises(ConfigError, match="none is 'nominal'"):
        list_cases(["ring"], Protocol(all_kinds=True, unlabelled_kinds=("nominal",)))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"part": "3/2"}, "expected 1/2 or 2/2"),
        ({"part": "half"}, "expected 1/2 or 2/2"),
        ({"rate": 1.0}, "less than 1"),
        ({"pool": (0, 1, 1)}, "1 or more"),
        ({"pool": (1, 1, 1), "rate": 0.1}, "give one of them"),
        ({"wrong": 1.0}, "less than 1"),
        ({"strategy": "mixd", "expert": "top"}, "did you mean 'mixed'"),
        ({"strategy": "mixed"}, "--expert top"),
        ({"initial": (-1, 3)}, "must not be negative"),
        ({"batch": -1}, "at least one of each"),
        ({"batch": 5, "verdicts": 0}, "at least one of each"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(more, message):
    with pytest.raises(ConfigError, match=message):
        Protocol(**more)


# ------------------------------------------------------------------------------------------------------ tables, reports


def test_intervals_are_those_of_student():
    values = [0.1, 0.4, 0.2, 0.7, np.nan]
    found = Interval.of(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values[:4]), stats.sem(values[:4]))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.count == 4
    assert math.isnan(Interval.of([1.0]).half)
    assert math.isnan(Interval.of([]).mean)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = [abs((found := Interval.of(rng.normal(3, 2, 5))).mean - 3) <= found.half for _ in range(2000)]
    assert abs(np.mean(hits) - 0.95) < 0.02  # four standard deviations


def rows_of(ranker, values, name="a"):
    return [
        {"ranker": ranker, "class": name, "seed": seed, "round": number, "auprc": value - 0.5 * (number == 1)}
        for seed, value in enumerate(values)
        for number in (1, 2)
    ]


def test_differences_are_paired_over_class_and_seed_in_the_last_round():
    rows = rows_of("one", [0.1, 0.5]) + rows_of("one", [0.8], "b") + rows_of("two", [0.2, 0.7, 0.9])
    rows += rows_of("two", [np.nan], "b")
    found = differences(rows, "one", "two", "auprc")
    assert found.mean == pytest.approx(0.15)
    assert found.count == 2


def test_anomalies_found_are_counted_between_rounds_too():
    rows = [
        {"round": number, "given": 40 * number, "found": found, "unlabelled_anomaly": 10, "unlabelled": 100}
        for number, found in ((1, 4), (2, 8), (3, 9))
    ]
    assert found_after(rows, 100) == (8.5, 10.0)
    assert found_after(rows, 40) == (4.0, 4.0)
    assert math.isnan(found_after(rows, 200)[0])


def test_the_report_has_the_command_the_tables_and_the_figures(measure, tmp_path):
    result = measure(
        rankers=["probe", "cold"], anomalies=["cross", "spot"], expert="top", report=True, pool=(2, 30, 10),
        initial=(1, 3), add=(10, 10), cycles=2,
    )  # fmt: skip
    report = (tmp_path / "out" / "report.md").read_text()
    assert tmp_path / "out" / "report.md" in result.files
    assert "--initial 1 3 --cycles 2 --expert top --seeds 2 --pool 2 30 10 --ranker probe --ranker cold" in report
    assert "--set backbone.name=test_efficientnet" in report
    assert re.search(r"^\| probe \| c=5\.0, .*invariance=", report, re.MULTILINE)  # also what nobody set
    for heading in ("Round 2", "Difference to probe", "Anomalies found", "Every round", "Figures", "Settings"):
        assert f"\n## {heading}\n" in report
    for name in ("learning.png", "curves.png"):
        assert f"]({name})" in report
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert "| cold | 4 | " in report  # pairs of class and seed
    ends = [row for row in result.results if (row["ranker"], row["class"], row["round"]) == ("probe", "cross", 2)]
    found = [row["found"] for row in ends]
    assert f"| probe | cross | 2 | 40 | {np.mean(found):.1f} (" in report
    assert "## Anomalies found" not in measure(out="paper", report=True).files[0].read_text()
    measure(out="plain")
    assert not (tmp_path / "plain" / "report.md").exists()


def test_folders_are_compared_by_name(measure, tmp_path):
    measure(out="few", cycles=1)
    measure(out="many", cycles=1, initial=(6, 30))
    lines, files = compare([tmp_path / "few", tmp_path / "many"], tmp_path / "both")
    text = "\n".join(lines)
    assert "`protocol.initial`: [3, 20] in few, [6, 30] in many" in text
    assert "## Difference to few" in text
    assert "| many | 2 | " in text
    assert [path.name for path in files] == ["compare.md", "learning.png", "cost.png"]
    assert files[0].read_text().startswith(text.rstrip())
    with pytest.raises(ConfigError, match="no finished benchmark"):
        compare([tmp_path / "few", tmp_path], tmp_path / "both")
    with pytest.raises(ConfigError, match="told apart"):
        compare([tmp_path / "few", tmp_path / "few"], tmp_path / "both")


def test_a_benchmark_of_an_earlier_version_goes_on_and_is_compared(measure, monkeypatch, tmp_path):
    first = measure(out="earlier", cycles=1)
    measure(out="later", cycles=1)
    path = tmp_path / "earlier" / "settings.json"
    stored = json.loads(path.read_text())
    earlier = {**stored["settings"], "protocol": stored["protocol"]}
    for section, options in {**settings_sections(), "protocol": Protocol}.items():
        for old, new in former_names(options).items():
            earlier[section][old] = earlier[section].pop(new)
    assert "all_kinds" not in stored["protocol"]
    del stored["settings"]["probe"]["invariance"]  # as if it had come later
    path.write_text(json.dumps(stored))
    lines, _ = compare([tmp_path / "earlier", tmp_path / "later"], tmp_path / "both")
    assert not [line for line in lines if "in earlier" in line], "a setting that was renamed is no difference"
    monkeypatch.setattr(Probe, "fit", None)  # nothing is learnt again
    assert measure(out="earlier", cycles=1).rows == first.rows
    assert json.loads(path.read_text())["protocol"]["all_kinds"] is False


@pytest.mark.slow
def test_all_seeds_see_the_same_pixels_of_a_survey_in_flux(tmp_path):
    """Levels are measured once, so that features are computed once for all seeds."""
    count = MEASURED_ON + 100  # levels are measured on some of them
    flux = np.random.default_rng(4).normal(0, 1, (count, 1, 16, 16))
    np.savez(tmp_path / "flux.npz", images=np.float32(flux), object_id=[f"{number:04d}" for number in range(count)])
    ingest("arrays", [str(tmp_path / "flux.npz")], out=tmp_path / "cache", bands=("r",))
    rows = [f"{number:04d},{'odd' if number % 4 == 0 else 'plain'}" for number in range(count)]
    (tmp_path / "truth.csv").write_text("\n".join(["object_id,kind", *rows]) + "\n")
    weights = timm.create_model("test_efficientnet", num_classes=0).state_dict()
    safetensors.torch.save_file(weights, tmp_path / "weights.safetensors")
    backbone = {"name": "test_efficientnet", "weights": str(tmp_path / "weights.safetensors")}
    benchmark(
        tmp_path / "cache",
        truth=tmp_path / "truth.csv",
        column="kind",
        anomalies=("odd",),
        rankers=("plain-probe",),
        out=tmp_path / "out",
        protocol=Protocol(initial=(3, 8), add=(1, 1), cycles=1, seeds=2),
        settings={"input": {"size": 32, "tta_views": 1}, "backbone": backbone | {"layers": "last"}},
    )
    assert len(table(tmp_path / "out" / "results.csv")) == 2
    assert len(list((tmp_path / "cache" / "derived").iterdir())) == 1
