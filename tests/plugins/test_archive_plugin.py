"""The archive plugin of plugins/README.md against a local server: dry run, trouble, retry, kill -9, resume."""

import math
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly import Cache, ConfigError, FetchConfig, FetchError, fetch, ingest
from astroanomaly.ingestion.ingest import dry_run, ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.records import drain
from folders import TESTS
from servers.stamps import StampServer

GUIDE = (TESTS.parent / "plugins" / "README.md").read_text(encoding="utf-8")
OBJECTS = 230
UNSEEN = 7  # of them lie south of the survey


def code_block(contains):
    found = [block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if contains in block]
    assert len(found) == 1
    return found[0]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The guide's module, installed by hand: importable here and in other processes."""
    folder = tmp_path_factory.mktemp("stamps")
    (folder / "my_stamps.py").write_text(code_block("class Stamps"))
    info = folder / "my_stamps-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-stamps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[astroanomaly]\nstamps = my_stamps\n")
    rng = np.random.default_rng(8)
    dec = rng.uniform(-20, 20, OBJECTS)
    dec[:: OBJECTS // UNSEEN + 1] = -40.0
    assert (dec < -30).sum() == UNSEEN
    ids = [f"o{n:03d}" for n in range(OBJECTS)]
    Table({"id": ids, "ra": rng.uniform(0, 360, OBJECTS), "dec": dec}).write(folder / "positions.csv")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture
def server():
    with StampServer() as running:
        yield running


def fill_from(server, plugin, folder, name="cache", **more):
    """Ingest from a server, into a cache of its own name."""
    from my_stamps import Stamps

    config = {"first_wait_s": 0.01, "attempts": 3, "timeout_s": 1.0, "keep": str(folder / "kept")}
    config |= more.pop("fetch", {})
    options = {"url": f"{server.url}/stamp", "catalog": plugin / "positions.csv", "pixels": 12}
    return ingest(Stamps(), out=folder / name, fetch=config, **{**options, **more})


@pytest.fixture
def fill(plugin, tmp_path):
    def run(server, **more):
        return fill_from(server, plugin, tmp_path, **more)

    return run


@pytest.fixture(scope="module")
def calm(plugin, tmp_path_factory):
    """Digest of a run without trouble."""
    with StampServer() as server:
        return fill_from(server, plugin, tmp_path_factory.mktemp("calm")).digest()


def account(cache):
    """Every object is a cutout or a failure, exactly once."""
    failed = [failure.object_id for failure in cache.failures]
    assert sorted([*cache.ids, *failed]) == [f"o{n:03d}" for n in range(OBJECTS)]
    return [failure for failure in cache.failures if failure.kind == "failed"]


def repeats(server):
    """Products that the server gave more than once."""
    lines = [asked.line for asked in server.asked]
    return len(lines) - len(set(lines))


def test_every_object_is_accounted_for(server, fill):
    cache = fill(server)
    assert account(cache) == []
    assert {failure.reason for failure in cache.failures} == {"outside the survey"}
    assert len(cache) == OBJECTS - UNSEEN
    one = cache["o001"]
    assert one.wcs.pixel_to_world(5.5, 5.5).separation(one.coord).arcsec < 0.01
    assert server.count() == OBJECTS


def test_how_it_was_fetched_is_no_part_of_the_request(server, fill):
    first = fill(server)
    assert fill(server, fetch={"requests": 1, "attempts": 1}).digest() == first.digest()
    assert "fetch" not in first.request
    assert server.count() == OBJECTS


def test_passing_trouble_changes_nothing(server, fill, calm):
    for kind in ("dropped", "429", "500", "empty", "html", "truncated", "refused"):
        server.misbehave(kind, times=3, where="dec=1")
    cache = fill(server, fetch={"attempts": 30, "longest_wait_s": 0.05})
    assert cache.digest() == calm
    assert account(cache) == []
    assert repeats(server) == 21


def test_what_failed_is_counted_by_reason_and_retried_alone(server, fill, calm, plugin):
    server.misbehave("500", math.inf, share=0.1, seed=3)
    server.misbehave("html", math.inf, share=0.1, seed=4)
    cache = fill(server, fetch={"attempts": 1})
    failed = account(cache)
    host = f"(127.0.0.1:{server.port})"
    assert {failure.reason for failure in failed} == {
        f"HTTP 500 Internal Server Error: Internal trouble {host}",
        f"a page came instead of FITS: Scheduled maintenance The archive is back on Monday. {host}",
    }
    assert 20 < len(failed) < 80
    assert all(np.isfinite(failure.ra) for failure in failed)

    server.asked.clear()
    again = fill(server, retry_failed=True, fetch={"attempts": 1})  # still out of order: fewer are left
    left = account(again)
    assert 0 < len(left) < len(failed)
    assert server.count() == len(failed)

    server.behave()
    server.asked.clear()
    done = fill(server, retry_failed=True)
    assert account(done) == []
    assert server.count() == len(left)
    assert done.digest() == calm
    assert fill(server, retry_failed=True).digest() == calm
    assert server.count() == len(left)  # what is not covered is not asked again


def test_a_retry_keeps_the_prefix(server, fill):
    server.misbehave("500", times=5)
    cache = fill(server, fetch={"attempts": 1}, prefix="run1/")
    assert sum(failure.kind == "failed" for failure in cache.failures) == 5
    cache = fill(server, retry_failed=True, prefix="run1/")
    assert len(cache) == OBJECTS - UNSEEN
    assert all(object_id.startswith("run1/") for object_id in cache.ids)


def test_a_shard_that_was_lost_is_cut_anew_around_what_was_retried(server, fill, calm, tmp_path):
    server.misbehave("500", times=5)
    fill(server, fetch={"attempts": 1})
    fill(server, retry_failed=True)
    next(shard for shard in Cache.open(tmp_path / "cache").shards if shard.task_keys()).path.unlink()
    assert fill(server).digest() == calm


def test_the_summary_counts_requests_bytes_and_what_was_kept(server, plugin, tmp_path):
    from my_stamps import Stamps

    options = {"url": f"{server.url}/stamp", "catalog": plugin / "positions.csv", "pixels": 12}
    config = FetchConfig(first_wait_s=0.01, keep=str(tmp_path / "kept"))
    server.misbehave("503", times=4)

    def run(name, workers=1):
        request = SourceRequest.of(Stamps(), options=options, fetch=config)
        return drain(ingest_steps(request, tmp_path / name, workers=workers))

    report = run("one")
    assert (report.cut, report.no_coverage, report.failed.total()) == (OBJECTS - UNSEEN, UNSEEN, 0)
    assert (report.traffic.requests, report.traffic.retries, report.traffic.cached) == (OBJECTS + 4, 4, 0)
    assert report.traffic.nbytes == (OBJECTS - UNSEEN) * 5760
    assert report.seconds > 0
    report = run("two", workers=2)  # counted over the processes
    assert (report.traffic.requests, report.traffic.cached) == (UNSEEN, OBJECTS - UNSEEN)
    assert Cache.open(tmp_path / "one").digest() == Cache.open(tmp_path / "two").digest()


def test_a_dry_run_asks_nothing_and_writes_nothing(server, plugin, tmp_path):
    from my_stamps import Stamps

    options = {"url": f"{server.url}/stamp", "catalog": plugin / "positions.csv", "pixels": 12}
    found = dry_run(SourceRequest.of(Stamps(), options=options, fetch={"keep": str(tmp_path / "kept")}))
    assert (found.objects, found.tasks) == (OBJECTS, 3)
    assert [(item.product, item.requests) for item in found.downloads] == [("cutouts", OBJECTS)]
    assert server.count() == 0
    assert list(tmp_path.iterdir()) == []


def test_unknown_values_of_the_network_are_refused(server, fill):
    with pytest.raises(ConfigError, match=r"unknown setting fetch\.request; did you mean 'requests'"):
        fill(server, fetch={"request": 3})


def command(plugin, *words, check=0):
    path = os.pathsep.join([str(plugin), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "ASTROANOMALY_PLUGINS": "stamps", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "astroanomaly", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=90,
    )
    assert done.returncode == check, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_the_command_line(server, plugin, tmp_path):
    words = ["ingest", "stamps", "--url", f"{server.url}/stamp", "--catalog", plugin / "positions.csv"]
    words += ["--pixels", "12", "--out", tmp_path / "cache", "--keep", tmp_path / "kept", "--workers", "2"]
    said = command(plugin, *words, "--dry-run")
    assert "230 objects in 3 tasks" in said
    assert re.search(r"cutouts +230 +794\.9 kB", said)
    assert re.search(r"in all +230 ", said)
    assert not (tmp_path / "cache").exists()
    assert server.count() == 0

    server.misbehave("500", times=12, where="dec=1")
    said = command(plugin, *words, "--attempts", "1", "--timeout", "5")
    assert "211 cutouts written, 7 without coverage, 12 objects failed, 0 tasks done before" in said
    assert "12 x HTTP 500 Internal Server Error: Internal trouble (127.0.0.1:" in said
    assert "230 requests (0 of them again), 1.2 MB; 0 answers were kept from before" in said
    assert "211 cutouts, bands r; 7 objects without coverage, 12 failed" in said
    assert "the same command with --retry-failed" in said
    said = command(plugin, *words, "--retry-failed", "--first-wait", "0.01")
    assert "12 cutouts written, 0 objects failed, 3 tasks done before" in said
    assert "12 requests" in said
    assert "223 cutouts, bands r; 7 objects without coverage, 0 failed" in said
    assert "--longest-wait" in command(plugin, "ingest", "stamps", "--help")


KILLED = """
import sys
sys.path.insert(0, {plugin!r})
from my_stamps import Stamps
from astroanomaly import ingest
from astroanomaly.ingestion import workers as reading
reading._BATCH_BYTES = 8 * 30 * 576  # commit every task

if __name__ == "__main__":
    print("started", flush=True)
    ingest(
        Stamps(), out={out!r}, workers=2, url={url!r}, catalog={catalog!r}, pixels=12,
        fetch={{"keep": {keep!r}, "first_wait_s": 0.01, "requests": 3}},
    )
    print("finished", flush=True)
"""


@pytest.mark.faults
def test_a_killed_run_resumes_without_fetching_anything_twice(server, plugin, calm, fill, tmp_path):
    """Kill -9 of the run and its workers at random moments: the same digest, and the server was asked once for each."""
    server.misbehave("slow", math.inf, share=0.5)
    server.slow_s = 0.02
    script = tmp_path / "killed.py"
    script.write_text(
        KILLED.format(
            plugin=str(plugin),
            out=str(tmp_path / "cache"),
            url=f"{server.url}/stamp",
            catalog=str(plugin / "positions.csv"),
            keep=str(tmp_path / "kept"),
        )
    )
    generator = random.Random(11)
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout.readline() == "started\n"
        asked = server.count()
        deadline = time.monotonic() + 60
        while server.count() < asked + 20 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(generator.uniform(0, 0.3))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        if "finished" in rest:
            break
    assert kills >= 3
    server.behave()
    cache = fill(server)
    assert cache.digest() == calm
    assert account(cache) == []
    seen = [asked.line for asked in server.asked if "dec=-40" not in asked.line]
    cut_off = kills * 3  # three requests at a time: what was under way when the run was killed was never received
    assert len(set(seen)) == OBJECTS - UNSEEN
    assert len(seen) - len(set(seen)) <= cut_off
    assert not list((tmp_path / "cache").rglob(".tmp-*"))


def test_a_client_that_returns_none_gives_its_reason(tmp_path):
    from astroquery import log

    scope = {}
    exec(code_block("def results"), scope)

    class Service:
        url = "http://127.0.0.1:9"

        def launch_job(self, query):
            log.error("Cannot parse query %s", query)

    with fetch.using(FetchConfig(keep=str(tmp_path))), pytest.raises(FetchError) as caught:
        scope["results"](Service(), "SELECT")
    assert str(caught.value) == "the table of mosaics: Cannot parse query SELECT (127.0.0.1:9)"
