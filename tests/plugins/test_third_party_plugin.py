"""The plugin at the end of plugins/README.md builds, installs and runs; broken and clashing plugins are told apart."""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from astroanomaly import Cache, Session
from astroanomaly.errors import ConfigError
from astroanomaly.session.instant import cold_start_ranker, instant_ranker, instant_ranker_name
from folders import ROOT

README = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")


def code_block(language, contains):
    found = [block for block in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if contains in block]
    assert len(found) == 1, f"{len(found)} {language} blocks of the guide contain {contains!r}"
    return found[0]


def run(*words, folder, plugins=None, cwd=None):
    """Run ``astroanomaly`` with the packages installed in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    environment.pop("ASTROANOMALY_PLUGINS", None)
    if plugins is not None:
        environment["ASTROANOMALY_PLUGINS"] = plugins
    command = [sys.executable, "-m", "astroanomaly", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=120)


def install_by_hand(folder, package, entry_points, modules):
    """Put a package where importlib.metadata finds it, as pip would."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in entry_points.items())
    (info / "entry_points.txt").write_text(f"[astroanomaly]\n{lines}")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package of the guide, built and installed by pip."""
    pytest.importorskip("pip", reason="pip is needed to install the guide's package")
    package = tmp_path_factory.mktemp("package")
    (package / "pyproject.toml").write_text(code_block("toml", "[project.entry-points.astroanomaly]"))
    (package / "astroanomaly_npz.py").write_text(code_block("python", "class StackSource"))
    target = tmp_path_factory.mktemp("installed")
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(package)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Twelve objects in two bands; number 7 is a lone bright pixel, number 3 has no data."""
    rng = np.random.default_rng(0)
    images = rng.uniform(1, 2, (12, 2, 10, 9)).astype(np.float32)
    images[7] = 0
    images[7, :, 5, 4] = 50
    images[3] = np.nan
    path = tmp_path_factory.mktemp("data") / "stack.npz"
    np.savez(path, images=images, ids=[f"star {i}" for i in range(12)], ra=np.arange(12.0), dec=np.full(12, -5.0))
    return path, images


@pytest.fixture(scope="module")
def cache(installed, stack, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "cache"
    done = run("ingest", "npz", stack[0], "--bands", "i,z", "--workers", "2", "--out", out, folder=installed)
    assert done.returncode == 0, done.stderr
    return out


def test_the_guides_source_is_listed_with_its_options(installed):
    done = run("sources", folder=installed, plugins="npz")
    assert done.returncode == 0, done.stderr
    assert "npz   cutouts from NumPy .npz files  astroanomaly-npz" in done.stdout
    assert "peak" in done.stdout  # a ranker
    assert "--max-missing" not in done.stdout
    done = run("sources", "npz", folder=installed, plugins="npz")
    for text in ("npz: cutouts from NumPy .npz files", "astroanomaly-npz", "--max-missing"):
        assert text in done.stdout
    done = run("ingest", "npz", "--help", folder=installed, plugins="npz")
    assert "an object with a larger share of NaN pixels is a failure" in " ".join(done.stdout.split())


def test_the_guides_source_fills_a_cache(cache, stack):
    found = Cache.open(cache)
    assert len(found) == 11
    assert found.bands == ("i", "z")
    assert [failure.object_id for failure in found.failures] == ["star 3"]
    np.testing.assert_array_equal(found["star 7"].data, stack[1][7])
    assert found["star 7"].coord.ra.deg == 7


def test_the_guides_ranker_ranks_in_a_session(installed, cache, tmp_path):
    commands = [
        ["init", "search", "--cache", str(cache), "--set", "peak.softening=2"],
        ["train", "search", "--ranker", "peak"],
        ["candidates", "search", "-n", "3"],
    ]
    script = f"from astroanomaly.cli import main; assert [main(words) for words in {commands}] == [0, 0, 0]"
    environment = {**os.environ, "PYTHONPATH": str(installed), "ASTROANOMALY_PLUGINS": "npz", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first = next(line.split() for line in done.stdout.splitlines() if " star " in line)
    assert first[:3] == ["1", "star", "7"]


def test_a_file_the_guides_source_cannot_read_is_a_clear_error(installed, tmp_path):
    (tmp_path / "text.npz").write_text("not an archive")
    done = run("ingest", "npz", tmp_path / "text.npz", "--out", tmp_path / "cache", folder=installed, plugins="npz")
    assert done.returncode == 2
    assert "expected a .npz with images, ids, ra and dec" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "cache").exists()


def test_the_short_source_of_the_guide_works(tmp_path):
    (tmp_path / "my_stacks.py").write_text(code_block("python", "class Stacks"))
    lines = [line for line in (tmp_path / "my_stacks.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 20, "it says 20 lines"
    images = np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32)
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", images)
    script = code_block("python", "ingest(Stacks()") + "\nprint(len(cache), *cache.bands)\n"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60
    )
    assert done.stdout.split() == ["8", "i"], done.stderr


@pytest.mark.slow
def test_the_short_ranker_of_the_guide_works(sky, tmp_path):
    text = code_block("python", "class Trees")
    assert len([line for line in text.splitlines() if line.strip()]) <= 20, "it says 20 lines"
    install_by_hand(tmp_path, "package-trees", {"trees": "my_trees"}, {"my_trees": text})
    script = f"""
        import csv, numpy as np
        from astroanomaly import Session
        rows = csv.DictReader(open({str(sky[0].truth)!r}))
        truth = {{row["object_id"]: row["class"] != "nominal" for row in rows}}
        settings = {{"input": {{"size": 64}}, "trees": {{"trees": 50}}}}
        session = Session.create({str(tmp_path / "s")!r}, {str(sky[1])!r}, settings=settings)
        ids = list(session.cache.ids)
        session.label([i for i in ids[::2] if truth[i]], "anomaly")
        session.label([i for i in ids[::2] if not truth[i]], "nominal")
        session.train("trees")
        found, log_odds = session.scores()
        hidden = [k for k, i in enumerate(found) if i in ids[1::2]]
        odd = np.array([truth[found[k]] for k in hidden])
        scores = -log_odds[hidden, 0]
        print((scores[odd][:, None] > scores[~odd]).mean(), session.saliency(ids[0]).shape)
    """
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment["ASTROANOMALY_PLUGINS"] = "trees"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    auroc, shape = done.stdout.split(" ", 1)
    assert float(auroc) > 0.7
    assert shape.strip() == "(48, 48)"


STAND_INS = """
    from dataclasses import dataclass

    import numpy as np

    from astroanomaly import OutlierOptions, OutlierRanker, Progress, ShardScores, hookimpl


    @dataclass(frozen=True)
    class NoOptions:
        pass


    class Nearest:
        name, summary, section, Options = "nearest", "like an anomaly, unlike a nominal object", "nearest", NoOptions
        needs_labels, has_weights = True, False

        def __init__(self, options, context):
            self.options, self.context = options, context

        def share(self, features, *, complete=True):
            self.features, self.complete = features, complete

        def prepare(self, cache, exclude=frozenset()):
            yield from ()

        def fit(self, cache, labels, exclude=frozenset()):
            known = {i: c for i, c in zip(labels.ids, labels.classes) if i not in exclude}
            yield from self.features.compute(list(known), None if self.complete else ())
            rows, odd = self.features.get(list(known)), np.array([c != "nominal" for c in known.values()])
            self.way = rows[odd].mean(axis=0) - rows[~odd].mean(axis=0)
            yield Progress("nearest", 1, 1)

        def score(self, cache, only=None):
            for shard in cache.shards:
                found = self.features.shard(shard.uuid).astype(np.float32) @ self.way
                yield ShardScores(shard.uuid, shard.ids, np.stack([-found, found], axis=1))

        def save(self, path, metrics=None):
            raise NotImplementedError

        def load(self, path):
            raise NotImplementedError


    class Far(OutlierRanker):
        name, summary, section, Options = "far", "far from the mean of all", "far", OutlierOptions

        def fit_points(self, points):
            self.mean = points.mean(axis=0)

        def outlier_score(self, points):
            return np.linalg.norm(points - self.mean, axis=1)


    @hookimpl
    def register_rankers(register):
        register(Nearest)
        register(Far)
"""


@pytest.mark.slow
def test_rankers_of_a_plugin_stand_in_for_the_probe_and_for_the_one_without_labels(sky, tiny, tmp_path):
    """In the app: of the contract alone (nearest, which no class of ours helps), and the 20 lines of the guide."""
    install_by_hand(tmp_path, "package-trees", {"trees": "my_trees"}, {"my_trees": code_block("python", "class Trees")})
    install_by_hand(tmp_path, "package-stand-ins", {"stand-ins": "stand_ins"}, {"stand_ins": STAND_INS})
    cache = shutil.copytree(sky[1], tmp_path / "cache", ignore=shutil.ignore_patterns("derived"))
    settings = {section: tiny[section] for section in ("input", "backbone")}  # there is no other ranker
    script = f"""
        import time
        import numpy as np
        from astroanomaly import Session
        from astroanomaly.app.background.learner import Learner
        from astroanomaly.app.review.shared_state import COLD, PROBE, SharedState
        from astroanomaly.learn.features.store import FeatureStore

        def look(instant, background):
            settings = {settings!r} | {{"session": {{"instant_ranker": instant, "cold_start_ranker": "far"}}}}
            session = Session.create({str(tmp_path)!r} + "/" + instant, {str(cache)!r}, settings=settings)
            shared = SharedState(session)
            learner = Learner(shared, background=background)

            def wait_for(what):
                end = time.monotonic() + 150
                while not what():
                    assert time.monotonic() < end, learner.problem
                    shared.refresh()
                    learner.tick()
                    time.sleep(0.1)

            def scores(name):
                ranker = session.ranker(name)
                ranker.share(FeatureStore.of(session.cache, session.context))
                for _ in ranker.fit(session.cache, session.labels.labelled()):
                    pass
                return np.concatenate([-part.log_odds[:, 0] for part in ranker.score(session.cache)])

            if background:  # where scores without labels are made, and features
                wait_for(lambda: COLD in shared.scores and np.isfinite(shared.scores[COLD]).all())
                wait_for(lambda: not learner.computing)
                np.testing.assert_allclose(shared.scores[COLD], scores("far"), rtol=1e-3, atol=1e-3)
            ids = list(session.cache.ids)
            session.label(ids[:3], "anomaly")
            session.label(ids[3:9], "nominal")
            wait_for(lambda: learner.fitted_on == "9 verdicts")
            np.testing.assert_allclose(shared.scores[PROBE], scores(instant), rtol=1e-3, atol=1e-3)
            print(shared.describe_scores(PROBE))
            try:
                print(learner.saliency(ids[0], PROBE).shape)
            except Exception as error:
                print(error)
            learner.close()

        look("nearest", True)
        look("trees", False)
    """
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment |= {"ASTROANOMALY_PLUGINS": "trees,stand-ins", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, env=environment, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "nearest on 9 verdicts", "the ranker nearest cannot say what its scores rest on",
        "trees on 9 verdicts", "(48, 48)",
    ]  # fmt: skip


def test_a_ranker_that_cannot_stand_in_is_refused(sky, tiny, tmp_path):
    wrong = {"instant_ranker": "fixmatch", "cold_start_ranker": "probe"}
    session = Session.create(tmp_path / "s", sky[1], settings=tiny | {"session": wrong})
    with pytest.raises(ConfigError, match="instant_ranker=fixmatch: this ranker cannot learn while people label"):
        instant_ranker(session, instant_ranker_name(session))
    with pytest.raises(ConfigError, match="cold_start_ranker=probe: this ranker needs labels"):
        cold_start_ranker(session)


WORKS = """
    from dataclasses import dataclass
    from astroanomaly import hookimpl

    @dataclass(frozen=True)
    class Options:
        pass

    class Source:
        name = "sky"
        summary = "works"
        Options = Options
        def plan(self, request, options): return []
        def read(self, task): return iter(())

    @hookimpl
    def register_sources(register):
        register(Source())
"""
BROKEN = {
    "missing-import": ("import a_module_nobody_has", "a_module_nobody_has"),
    "no-hook": ("x = 1", "it registers neither a source nor a ranker"),
    "bad-name": (WORKS.replace('"sky"', '"Bad Name"'), "expected lower-case letters, digits and dashes"),
    "no-read": (WORKS.replace("def read", "def look"), "lacks read"),
    "no-options": (WORKS.replace("        Options = Options\n", "        Options = 3\n"), "is not a dataclass"),
    "raises": (WORKS.replace("register(Source())", "1 / 0"), "ZeroDivisionError"),
    "unknown-hook": (WORKS.replace("def register_sources", "def register_source"), "register_source"),
    "one-bad-of-two": (WORKS + "        register(3)", "lacks name"),
}


def test_broken_plugins_are_listed_with_their_reason_and_skipped(tmp_path):
    for name, (text, _) in BROKEN.items():
        module = name.replace("-", "_")
        install_by_hand(tmp_path, f"package-{name}", {name: module}, {module: text})
    install_by_hand(tmp_path, "package-fine", {"fine": "fine"}, {"fine": WORKS})
    done = run("sources", folder=tmp_path, plugins=",".join(["fine", *BROKEN]))
    assert done.returncode == 0, done.stderr
    assert "sky   works         package-fine" in done.stdout
    for name, (_, reason) in BROKEN.items():
        line = next(line for line in done.stdout.splitlines() if line.startswith(f"{name} "))
        assert f"package-{name}" in line
        assert reason in line


def test_a_skipped_plugin_is_named_when_its_source_is_wanted(tmp_path):
    install_by_hand(tmp_path, "package-b", {"sky": "sky_module"}, {"sky_module": BROKEN["missing-import"][0]})
    script = "from astroanomaly import ingest; ingest('sky', out='cache')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ASTROANOMALY_PLUGINS": "sky"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert "plugin 'sky' was skipped: ModuleNotFoundError" in done.stderr


def test_two_packages_with_one_source_name_are_an_error_that_names_both(tmp_path):
    install_by_hand(tmp_path, "package-one", {"one": "one_module"}, {"one_module": WORKS})
    install_by_hand(tmp_path, "package-two", {"two": "two_module"}, {"two_module": WORKS})
    done = run("sources", folder=tmp_path, plugins="one,two")
    assert done.returncode == 2
    assert "'sky'" in done.stderr
    assert "package-one" in done.stderr
    assert "package-two" in done.stderr
    assert run("sources", folder=tmp_path, plugins="two").returncode == 0


def test_the_environment_variable_restricts_loading(tmp_path):
    loaded = "raise SystemExit('this plugin must not be loaded')"
    install_by_hand(tmp_path, "package-one", {"one": "one_module"}, {"one_module": WORKS})
    install_by_hand(tmp_path, "package-two", {"two": "two_module"}, {"two_module": loaded})
    done = run("sources", folder=tmp_path, plugins=" one , absent")
    assert done.returncode == 0, done.stderr
    assert "sky   works" in done.stdout
    assert "fits" not in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("absent "))
    assert "no installed package has it" in line
    done = run("sources", folder=tmp_path, plugins="")
    assert done.returncode == 0
    assert "sky" not in done.stdout
