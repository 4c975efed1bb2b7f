"""Shared fixtures."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

# three test processes share two cores: several threads in each only wait for one another; before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
hypothesis.settings.register_profile("steady", deadline=None)  # how long an example takes says more of the machine
hypothesis.settings.load_profile("steady")


def pytest_collection_modifyitems(items):
    """Mark what runs in Chromium: the tests that ask for it, whatever else they ask for."""
    for item in items:
        if "chromium" in item.fixturenames and not item.get_closest_marker("jupyter"):
            item.add_marker("browser")


@pytest.fixture(scope="session")
def data_folder():
    """Folder of real images, from the environment variable ASTROANOMALY_DATA."""
    folder = os.environ.get("ASTROANOMALY_DATA")
    if not folder:
        pytest.skip("ASTROANOMALY_DATA is not set: the folder of real images is needed")
    if not Path(folder).is_dir():
        pytest.skip(f"ASTROANOMALY_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(autouse=True, scope="session")
def ordinary_allocator():
    """Keep commands that run inside the test process from changing its memory allocator."""
    os.environ["ASTROANOMALY_ALLOCATOR"] = "default"


@pytest.fixture(autouse=True, scope="session")
def no_compiled_networks_of_the_user():
    """Keep tests from reading and writing the compiled networks of the user who runs them."""
    os.environ["ASTROANOMALY_NETWORKS"] = "off"


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    """Leave what this process writes in the memory of the system: no test ends its power supply."""
    before, os.fsync = os.fsync, lambda handle: None
    yield
    os.fsync = before


PATIENCE_MS = 300_000  # for a page, on a machine that does much else
TINY = {
    "input": {"size": 32, "views": "sky"},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "train": {"iterations": 3, "labelled_batch": 4, "pool": 40},
    "tune": {"iterations": 3, "batch": 4},
}


@pytest.fixture(scope="session")
def no_flock(tmp_path_factory):
    """Environment of a process whose file systems have no locks."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler, to take the locks away")
    library = tmp_path_factory.mktemp("no-flock") / "no_flock.so"
    source = Path(__file__).parent / "no_flock.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}


@pytest.fixture
def tiny():
    """Settings of a network of a few weights."""
    return TINY


@pytest.fixture(scope="session")
def sky(tmp_path_factory):
    """A small simulated sky in three bands, and a cache of its objects."""
    from astroanomaly.demo.simulate import simulate
    from astroanomaly.ingestion.ingest import ingest

    folder = tmp_path_factory.mktemp("app-sky")
    made = simulate(folder / "sky", n_objects=130, anomaly_rate=0.1, seed=5)
    ingest("fits", made.mosaics, out=folder / "cache", catalog=made.catalog, size="48")
    return made, folder / "cache"


@pytest.fixture(scope="session")
def computed_cache(sky, tmp_path_factory):
    """The cache of the small sky, with what the app computes of it in the background."""
    from astroanomaly import Session
    from astroanomaly.app.background.jobs import compute_features

    folder = tmp_path_factory.mktemp("computed")
    cache = shutil.copytree(sky[1], folder / "cache", ignore=shutil.ignore_patterns("derived"))
    for _ in compute_features(Session.create(folder / "session", cache, settings=TINY).path, list):
        pass
    return cache


@pytest.fixture
def new_session(sky, tmp_path, request):
    """Make a session on the small sky with a network of a few weights, with features or without."""
    from astroanomaly import Session

    def make(name="search", *, computed=False, **more):
        there = request.getfixturevalue("computed_cache") if computed else sky[1]
        left_out = None if computed else shutil.ignore_patterns("derived")
        cache = shutil.copytree(there, tmp_path / f"cache-of-{name}", ignore=left_out)
        return Session.create(tmp_path / name, cache, **{"settings": TINY} | more)

    return make


@pytest.fixture(scope="session")
def chromium():
    """Chromium, without a window. ASTROANOMALY_CHROMIUM names the program; a test run that sets it must have it."""
    named = os.environ.get("ASTROANOMALY_CHROMIUM")
    program = named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("there is no Chromium: install it, or name it in ASTROANOMALY_CHROMIUM")
    from playwright.sync_api import expect, sync_playwright

    def patient(make):
        def made(**options):
            one = make(**options)
            one.set_default_timeout(PATIENCE_MS)
            return one

        return made

    switches = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    elsewhere = "--host-resolver-rules=MAP hub.example 127.0.0.1"  # a host that is not loopback by its name
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=[*switches.split(), elsewhere])
        for way in ("new_context", "new_page"):
            setattr(started, way, patient(getattr(started, way)))
        expect.set_options(timeout=PATIENCE_MS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def mer(tmp_path_factory):
    """A small Euclid survey: MER mosaics of two tiles in five bands, and their catalogue."""
    from servers.mer import make_survey

    return make_survey(tmp_path_factory.mktemp("euclid"))
