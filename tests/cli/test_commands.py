"""The command line: every command, its exit code, and what it says when something is wrong."""

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from astroanomaly import Cache, Session
from astroanomaly.cli import main
from folders import TESTS

SETTINGS = ["input.size=32", "backbone.name=test_efficientnet", "backbone.weights=random", "train.pool=20"]


def run(*words, check=0, cwd=None):
    """Run a command in this process, which saves importing torch again; return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd or os.getcwd()), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    assert code == check, f"{words}: exit {code}\n{out.getvalue()}\n{err.getvalue()}"
    return out.getvalue() if check == 0 else err.getvalue()


def run_process(*words, check=0, cwd=None, env=None):
    """Run a command as a shell would."""
    done = subprocess.run(
        [sys.executable, "-m", "astroanomaly", *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == check, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout if check == 0 else done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of discs, some of them with a bar, and a table that says which."""
    path = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    (path / "pictures").mkdir()
    rows = ["object_id,label"]
    for number in range(40):
        image = rng.integers(0, 40, (32, 32, 3)) + (150 * (np.hypot(x, y) < 8))[..., None]
        if number % 8 == 0:
            image[14:18] = 250
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path / "pictures" / f"{number:02d}.png")
        rows.append(f"{number:02d}.png,{'anomaly' if number % 8 == 0 else 'nominal'}")
    (path / "truth.csv").write_text("\n".join(rows) + "\n")
    (path / "labels.csv").write_text("\n".join(rows[:18]) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(folder):
    """The usual way through: ingest, init, train."""
    settings = [word for item in SETTINGS for word in ("--set", item)]
    said = run("ingest", "images", "pictures", "--out", "cache", "--workers", "1", cwd=folder)
    assert "40 cutouts written, 0 objects failed" in said
    words = ["init", "search", "--cache", "cache", "--labels", "labels.csv", "--audit", "4", *settings]
    assert "40 objects, 14 nominal, 3 anomaly" in run(*words, cwd=folder)
    said = run("train", "search", "--iterations", "2", cwd=folder)
    assert "round 1: tuned learnt from" in said
    return folder


def test_a_dry_run_of_files_counts_them_and_writes_nothing(folder):
    said = run("ingest", "images", "pictures", "--out", "never", "--dry-run", cwd=folder)
    assert "40 objects in 1 task\n" in said
    assert "nothing was written" in said
    assert not (folder / "never").exists()


BARREN = """
from dataclasses import dataclass
import numpy as np
from astroanomaly import Failure, Layout, Plan, Task, fetch, hookimpl, option

@dataclass(frozen=True)
class Options:
    kind: str = option("failed", "kind of failure")

class Barren:
    name, summary, fetches = "barren", "nothing at all", True
    Options = Options

    def plan(self, request, options):
        fetch.cached({"plan": 1}, lambda path: path.write_bytes(b"12345"), host="x", what="the plan")
        ids = np.array(["a"])
        return Plan([Task("t", {"kind": options.kind}, {"object_id": ids})], Layout(("g",), 8, 8))

    def read(self, task):
        yield Failure("a", "the archive is closed", kind=task.payload["kind"])

@hookimpl
def register_sources(register):
    register(Barren())
"""


@pytest.fixture
def barren(tmp_path, monkeypatch):
    """An installed source that cuts nothing."""
    (tmp_path / "barren_plugin.py").write_text(BARREN)
    (tmp_path / "barren-1.dist-info").mkdir()
    (tmp_path / "barren-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: barren\nVersion: 1\n")
    points = "[astroanomaly]\nbarren = barren_plugin\n"
    (tmp_path / "barren-1.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("barren_plugin", None)


def test_a_run_that_cut_nothing_is_an_error(barren):
    words = ["ingest", "barren", "--workers", "1", "--keep", barren / "kept", "--out"]
    for _ in range(2):  # also where there is nothing left to do
        said = run(*words, barren / "one", check=2)
        assert "nothing could be cut" in said.replace("\n", " ")
        assert "1 failed; most often: the archive is closed." in " ".join(said.split())
        assert "--retry-failed" in said
    said = run(*words, barren / "two", "--kind", "no coverage", check=2)
    assert "1 object without coverage, 0 failed; most often: the archive is closed." in " ".join(said.split())
    assert "--retry-failed" not in said


def test_a_dry_run_says_what_planning_itself_asked(barren):
    said = run("ingest", "barren", "--keep", barren / "kept", "--out", barren / "never", "--dry-run")
    assert "1 object in 1 task\n" in said
    asked = "planning itself asked: 1 request (0 of them again), 5 bytes; 0 answers were kept from before"
    assert f"{asked}; what it fetched is kept" in " ".join(said.split())


def test_candidates_export_and_labels(trained):
    said = run("candidates", "search", "-n", "5", "--sheet", "sheet.png", cwd=trained)
    assert said.count(".png") >= 6
    assert "ra [deg]" not in said  # pictures have no place on the sky
    assert (trained / "sheet.png").read_bytes().startswith(b"\x89PNG")
    listed = [line.split()[:2] for line in said.splitlines() if ".png" in line and "see" not in line]
    run("export", "search", "--top", "40", "--out", "many.csv", cwd=trained)
    rows = csv.DictReader((trained / "many.csv").read_text().splitlines())
    rank_of = {row["object_id"]: row["rank"] for row in rows}
    assert len(listed) == 5
    assert all(rank_of[object_id] == rank for rank, object_id in listed)
    run("candidates", "search", "--top", "3", "--order", "random", cwd=trained)
    assert "4 objects written" in run("export", "search", "--top", "4", "--out", "top.vot", cwd=trained)
    run("export", "search", "--labelled", "anomaly", "--out", "known.fits", cwd=trained)
    run("export", "search", "--threshold", "0.5", "--out", "likely.csv", cwd=trained)
    said = run("export", "search", "--all", "--out", "all.fits", cwd=trained)
    assert f"{len(Session.open(trained / 'search').cache)} objects written to all.fits" in said
    assert "labelled objects written" in run("labels", "export", "search", "--out", "said.csv", cwd=trained)
    assert (trained / "said.csv").read_text().startswith("object_id,label,")
    assert "1 labels added" in import_one(trained, "30.png,nominal")
    assert "exists already" in run("export", "search", "--out", "top.vot", check=2, cwd=trained)


def import_one(folder, row, check=0):
    (folder / "more.csv").write_text(f"object_id,label\n{row}\n")
    return run("labels", "import", "search", "more.csv", check=check, cwd=folder)


def test_probe_cold_and_score(trained):
    assert "round" in run("train", "search", "--ranker", "probe", cwd=trained)
    said = run("train", "search", "--ranker", "cold", cwd=trained)
    assert "cold" in said
    assert "learnt from" not in said
    assert "40 objects scored by cold" in run("score", "search", cwd=trained)


def test_info_says_what_things_are(trained):
    assert "40" in run("info", "cache", "--digest", cwd=trained)
    said = run("info", "search", cwd=trained)
    assert "round 1" in said
    assert "nominal, anomaly" in said
    said = run("info")
    assert "torch" in said
    for name in ("openvino", "distributed", "pyarrow", "s3fs", "pyod"):
        assert name in said
    assert "neither a cache" in run("info", "pictures", check=2, cwd=trained)


def test_benchmark_writes_its_table_and_goes_on_where_it_stopped(trained):
    words = [
        "benchmark",
        "cache",
        "--truth",
        "truth.csv",
        "--anomaly",
        "anomaly",
        "--initial",
        "2",
        "8",
        "--add",
        "1",
        "1",
    ]
    words += ["--cycles", "2", "--seeds", "2", "--ranker", "probe", "--ranker", "cold", "--out", "measured"]
    words += [word for item in SETTINGS for word in ("--set", item)]
    said = run(*words, cwd=trained)
    assert "auprc" in said
    lines = (trained / "measured" / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 2 * 2
    assert run(*words, cwd=trained).count("probe") >= 1
    assert (trained / "measured" / "results.csv").read_text().splitlines() == lines
    assert (trained / "measured" / "curves.png").is_file()
    assert (trained / "measured" / "summary.json").is_file()
    assert "other settings" in run(*words, "--set", "probe.c=2", check=2, cwd=trained)
    assert "it has 'anomaly', 'nominal'" in run(*words[:4], "--anomaly", "lens", "--out", "x", check=2, cwd=trained)


def test_sources_lists_options_and_broken_plugins(tmp_path):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[astroanomaly]\nshaky = no_such_module\n")
    assert "--size" in run_process("sources", "fits")
    said = run_process("sources", env={"PYTHONPATH": str(tmp_path)})
    assert "images  " in said
    assert "No module named 'no_such_module'" in said
    assert "images  " not in run_process("sources", env={"ASTROANOMALY_PLUGINS": "rankers"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ingest", "images", "nowhere", "--out", "c2"], "nowhere"),
        (["ingest", "fits", "nowhere.fits", "--out", "c2"], "nowhere.fits"),
        (["init", "s2", "--cache", "nowhere"], "is no cache"),
        (["init", "s2", "--cache", "cache", "--set", "train.iteration=5"], "did you mean 'iterations'"),
        (["init", "s2", "--cache", "cache", "--set", "iterations"], "expected section.key=value"),
        (["init", "search", "--cache", "cache"], "exists already"),
        (["train", "nowhere"], "is no session"),
        (["train", "search", "--ranker", "prob"], "did you mean 'probe'"),
        (["export", "search", "--out", "x.doc"], "expected one of .vot"),
        (["export", "search", "--all", "--out", "x.vot"], "expected one of .fits, .parquet, .csv"),
        (["export", "search", "--all", "--merge-radius", "0", "--out", "x.fits"], "leave --merge-radius out"),
        (["export", "search", "--out", "none/x.vot"], "the folder none does not exist"),
        (["labels", "import", "search", "nowhere.csv"], "nowhere.csv does not exist"),
        (["labels", "import", "search", "labels.csv", "--match-radius", "wide"], "expected an angle"),
    ],
)
def test_bad_input_is_explained_with_exit_code_2(trained, words, message):
    before = sorted(item.name for item in trained.iterdir())
    assert message in run(*words, check=2, cwd=trained)
    assert sorted(item.name for item in trained.iterdir()) == before


def test_wrong_labels_name_row_and_word(trained):
    assert "unknown" in import_one(trained, "99.png,nominal", check=2)
    assert "row 1: label is 'nominla'" in import_one(trained, "30.png,nominla", check=2)


def test_a_session_without_labels_can_be_trained(trained):
    said = run("init", "fresh", "--cache", "cache", cwd=trained)
    assert "next: astroanomaly serve fresh" in said
    assert "or:   astroanomaly train fresh\n" in said
    assert "--ranker cold" in run("train", "fresh", "--ranker", "probe", check=2, cwd=trained)
    assert "astroanomaly train" in run("candidates", "fresh", check=2, cwd=trained)
    assert "round 1: active-search\n" in run("train", "fresh", cwd=trained)


def test_ctrl_c_leaves_a_session_that_goes_on(trained):
    rounds = trained / "search" / "rounds"
    before = {path.name for path in rounds.iterdir()}
    code = """if True:
        import signal, sys
        from astroanomaly.cli import main
        from astroanomaly.learn.training import trainer
        step, steps = trainer.train_step, []
        def pressed(*words, **more):
            steps.append(1)
            if len(steps) == 2:
                signal.raise_signal(signal.SIGINT)
            return step(*words, **more)
        trainer.train_step = pressed
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a runner in the background may ignore it
        code = main(sys.argv[1:])
        print(len(steps), "steps")
        sys.exit(code)
    """
    command = [sys.executable, "-c", code, "train", "search", "--iterations", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=trained, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 130
    assert done.stdout.splitlines()[-1] == "2 steps"
    assert "what was finished is kept" in done.stderr
    assert {path.name for path in rounds.iterdir()} == before
    assert "learnt from 3 anomaly" in run("train", "search", "--ranker", "probe", cwd=trained)


def test_a_shell_sees_the_same_words_and_exit_codes(trained):
    assert "40 objects scored" in run_process("score", "search", cwd=trained)
    assert "is no session" in run_process("train", "nowhere", check=2, cwd=trained)
    assert "usage" in run_process("ingest", "images", check=2, cwd=trained)


@pytest.mark.parametrize("words", [["--help"], ["candidates", "--help"]])
def test_help_waits_for_no_other_command(words):
    code = f"""if True:
        import sys
        from astroanomaly.cli import COMMANDS, main
        try:
            main({words})
        except SystemExit:
            print("loaded:", *(name for name in COMMANDS if f"astroanomaly.cli.{{name}}" in sys.modules))
            print("heavy:", *(name for name in ("astropy", "h5py", "torch", "scipy") if name in sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "usage: astroanomaly" in done.stdout
    assert done.stdout.splitlines()[-2:] == [" ".join(["loaded:", *words[:-1]]), "heavy:"]


def test_info_moves_doubled_shards_aside(tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(TESTS / "data" / "cache-v1", folder)
    cache = Cache.open(folder)
    digest = cache.digest()
    first = cache.shards[0]
    shutil.copyfile(first.path, first.path.with_name("0" * 32 + ".h5"))
    assert "1 shard that double others" in run("info", folder)
    assert "moved aside" in run("info", folder, "--repair")
    assert "ignored" not in run("info", folder)
    assert len(list((folder / "set-aside").glob("*.h5"))) == 1
    assert Cache.open(folder).digest() == digest
    assert "takes the folder of a cache" in run("info", tmp_path, "--repair", check=2)


def test_what_a_colleague_opens_is_written_beside_the_session(trained, tmp_path):
    search = trained / "search"
    assert "3 cutouts in out (" in run("cutouts", search, "--top", "3", "--out", "out", cwd=tmp_path)
    assert len(list((tmp_path / "out").glob("*.fits"))) == 3
    assert "1 object in search-report.html (" in run("report", search, "--top", "1", cwd=tmp_path)
    assert "2 objects in search-bundle.zip (" in run("bundle", search, "--top", "2", cwd=tmp_path)
    said = run("bundle", "--check", "search-bundle.zip", cwd=tmp_path)
    assert "search-bundle.zip is whole: 2 objects" in said
    assert "search, written 20" in said
    assert "exists already" in run("report", search, "--top", "1", check=2, cwd=tmp_path)
    run("report", search, "--top", "1", "--overwrite", cwd=tmp_path)
    run("bundle", search, "--labelled", "anomaly", "--out", "folder", "--title", "Bars", cwd=tmp_path)
    (tmp_path / "folder" / "report.html").write_text("other")
    said = run("bundle", "--check", "folder", check=2, cwd=tmp_path)
    assert "folder is not what was written" in said
    assert "report.html: it has changed" in said
    assert "give a session" in run("bundle", check=2, cwd=tmp_path)


def test_what_a_paper_needs_is_written(trained, tmp_path):
    search = trained / "search"
    said = run("report", search, "--top", "1", "--pages", "--methods", "m.tex", "--out", "r.html", cwd=tmp_path)
    assert "the method in sentences, to be edited, in m.tex" in said
    assert "@misc{astroanomaly" in (tmp_path / "m.bib").read_text(encoding="utf-8")
    assert "<article" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "2 objects written to t.tex" in run("export", search, "--top", "2", "--out", "t.tex", cwd=tmp_path)
    run("export", search, "--top", "2", "--out", "m.tex", "--overwrite", "--journal", "mnras", cwd=tmp_path)
    assert r"\begin{table*}" in (tmp_path / "m.tex").read_text(encoding="ascii")
    assert "goes with a table for a paper" in run(
        "export", search, "--out", "t.csv", "--acronym", "AA", check=2, cwd=tmp_path
    )
    assert "no object has a position" in run("footprint", search, check=2, cwd=tmp_path)


def test_a_ranking_is_reproduced_or_the_command_fails(trained, tmp_path):
    search = trained / "search"
    run("bundle", search, "--top", "2", "--ranking", "--out", "b", cwd=tmp_path)
    said = run("reproduce", "b", "--cache", trained / "cache", cwd=tmp_path)
    assert "40 objects compared" in said
    assert "the same within 0.0001" in said
    assert "tolerance=-1.0: expected" in run(
        "reproduce", "b", "--tolerance", "-1", "--cache", trained / "cache", check=2, cwd=tmp_path
    )
    said = run("reproduce", "b", check=2, cwd=tmp_path)
    assert "does not include the cutouts of all objects" in said
    (tmp_path / "b" / "session" / "session.toml").write_text("other")
    said = run("reproduce", "b", "--cache", trained / "cache", check=2, cwd=tmp_path)
    assert "session/session.toml has changed" in said


def test_cutouts_of_a_cache_need_no_session(trained, tmp_path):
    (tmp_path / "ids.txt").write_text("\ufeff03.png\n\n05.png\n03.png\n", encoding="utf-8")
    words = ("cutouts", trained / "cache", "--ids", "ids.txt", "--one-file")
    assert "2 cutouts in cache-cutouts.fits (" in run(*words, cwd=tmp_path)
    assert "40 cutouts in all (" in run("cutouts", trained / "cache", "--out", "all", cwd=tmp_path)
    assert "--ids FILE" in run("cutouts", trained / "cache", "--top", "3", check=2, cwd=tmp_path)
    (tmp_path / "ids.txt").write_text("3.png\n")
    assert "did you mean" in run("cutouts", trained / "cache", "--ids", "ids.txt", check=2, cwd=tmp_path)
    (tmp_path / "ids.txt").write_text("\n")
    assert "holds no object id" in run("cutouts", trained / "cache", "--ids", "ids.txt", check=2, cwd=tmp_path)
    assert "is no session" in run("cutouts", tmp_path, check=2, cwd=tmp_path)


def test_a_session_begins_with_a_list_that_names_its_own_columns(folder, tmp_path):
    """Of four known objects two are ours, under words and names of the list."""
    rows = "no,kind\n00.png,Yes\n01.png,No\n77.png,Yes\n02.png,unsure\n"
    (tmp_path / "list.csv").write_text(rows.replace("no,", "name,"))
    run("ingest", "images", folder / "pictures", "--out", "cache", cwd=tmp_path)
    words = [
        "init",
        "s",
        "--cache",
        "cache",
        "--labels",
        "list.csv",
        "--label-column",
        "kind",
        *(word for setting in SETTINGS for word in ("--set", setting)),
    ]
    words += ["--map", "Yes=anomaly,No=nominal,unsure="]
    assert "unknown: '77.png'" in run(*words, cwd=tmp_path, check=2)
    assert not (tmp_path / "s").exists()
    said = run(*words, "--skip-unmatched", cwd=tmp_path)
    assert "1 anomaly, 1 nominal" in said
    assert "1 of 3 rows match no object" in said
    assert "1 of 4 rows have no label" in said
