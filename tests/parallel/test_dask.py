"""On a real Dask cluster: the same cache and the same scores as on one machine, whoever is killed meanwhile."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import cluster_parts
from astroanomaly import Cache, Session, ingest
from astroanomaly.cache.scores import has_scores, list_parts
from astroanomaly.errors import ClusterError, ConfigError, PluginError, StorageError
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.parallel import dask
from astroanomaly.parallel.dask import connect, need
from astroanomaly.parallel.processes import run
from astroanomaly.records import drain
from cluster_parts import Noise
from planted import TRUTH, plant

EVERYTHING = os.pathsep.join(sys.path)  # where other processes find what this one finds


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
    ) as made:
        yield made


@pytest.fixture
def address(cluster):
    return cluster.scheduler_address


@pytest.fixture
def run_everywhere(cluster):
    """Run a function in every worker; afterwards the workers are new ones."""
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        yield client.run
        client.restart()


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr("astroanomaly.ingestion.workers._BATCH_BYTES", 4096)


# ------------------------------------------------------------------------------------------------------------ the map


def test_every_item_has_one_result(address):
    with connect(address) as workers:
        assert sorted(run(cluster_parts.double, range(50), workers)) == list(range(0, 100, 2))


def test_every_item_is_done_however_many_workers_are_seen(address, monkeypatch):
    """Workers that are killed for real are in the tests of ingest and scoring below."""
    counts = iter([4, 4, 1, 1, 0, 0, 8])
    monkeypatch.setattr(dask.Cluster, "threads", property(lambda self: next(counts, 2)))
    with connect(address) as workers:
        assert sorted(run(cluster_parts.double, range(50), workers)) == list(range(0, 100, 2))


def test_the_address_and_the_dashboard_are_said_once(address):
    with connect(address) as workers:
        said = workers.announce()
        assert address in said
        assert "2 workers" in said
        assert "/status" in said
        assert workers.announce() == ""


def test_what_is_no_scheduler_is_refused(monkeypatch):
    def connected(scheduler):
        with connect(scheduler):
            pass

    with pytest.raises(ConfigError, match="expected local, or an address such as tcp://host:8786"):
        connected("host")
    monkeypatch.setattr(dask, "_CONNECT_S", 1)
    with pytest.raises(ClusterError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9"):
        connected("tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'astroanomaly\[dask\]'"):
        connected("local")


def test_errors_of_the_work_are_raised_here(address, monkeypatch):
    with connect(address) as workers:
        with pytest.raises(TypeError, match="unsupported operand"):
            list(run(cluster_parts.fail_to_add, [1], workers))
        monkeypatch.setattr(dask, "__version__", "0.0.1")
        with pytest.raises(ClusterError, match=r"a worker of the cluster has astroanomaly .*, here it is 0\.0\.1"):
            list(run(cluster_parts.double, [1], workers))


def test_work_that_kills_its_workers_is_given_up(cluster, address, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with connect(address) as workers, pytest.raises(ClusterError, match="most likely for want of memory"):
        list(run(cluster_parts.kill_yourself, [1], workers))


@contextlib.contextmanager
def scheduler_alone(folder, **environment):
    """Run a scheduler without workers; give its process and its address."""
    script = "from distributed.cli.dask_scheduler import main; main()"
    kept = folder / "scheduler.json"
    flags = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--no-show", "--scheduler-file", kept]
    environment = {**os.environ, **environment}
    process = subprocess.Popen([sys.executable, "-c", script, *flags], stderr=subprocess.DEVNULL, env=environment)
    try:
        while not kept.is_file() or not kept.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        yield process, json.loads(kept.read_text())["address"]
    finally:
        process.kill()
        process.wait()


def test_a_lost_scheduler_is_an_error(tmp_path):
    with (
        scheduler_alone(tmp_path, PYTHONPATH=EVERYTHING) as (process, address),
        connect(address) as workers,
    ):
        assert workers.announce().startswith(f"cluster {address}, 0 workers; work begins when the first one joins")
        threading.Timer(0.5, process.kill).start()
        with pytest.raises(ClusterError, match="the scheduler of the cluster is lost"):
            next(run(cluster_parts.double, [1], workers))


def test_a_scheduler_without_what_is_needed_is_an_error(tmp_path):
    """It lacks the module of the function, as one without this package would lack that."""
    with (
        scheduler_alone(tmp_path, PYTHONPATH="") as (_, address),
        connect(address) as workers,
        pytest.raises(ClusterError, match="must be installed for its scheduler, its workers and here"),
    ):
        next(run(cluster_parts.double, [1], workers))


# ------------------------------------------------------------------------------------------------------------- ingest


def test_a_cluster_gives_the_same_cache(tmp_path, address, small_batches):
    calm = ingest(Noise(), out=tmp_path / "calm")
    said = []
    cache = ingest(Noise(), out=tmp_path / "c", scheduler=address, progress=lambda step: said.append(step.message))
    assert cache.digest() == calm.digest()
    assert len(cache.shards) == 8
    assert sum(address in text for text in said) == sum(bool(text) for text in said) == 1


@pytest.mark.faults
def test_workers_killed_after_writing_count_once(tmp_path, address, run_everywhere, small_batches):
    calm = ingest(Noise(), out=tmp_path / "calm")
    run_everywhere(cluster_parts.die_after_writing_shards, str(tmp_path), 2)
    report = drain(ingest_steps(SourceRequest.of(Noise()), tmp_path / "c", scheduler=address))
    assert (tmp_path / "death-1").exists()
    cache = Cache.open(tmp_path / "c")
    assert cache.digest() == calm.digest()
    assert report.cut == len(cache) == len(calm)
    assert report.failed.total() == len(cache.failures) == len(calm.failures)
    assert not list((tmp_path / "c").rglob(".tmp-*"))


def test_what_workers_of_a_stopped_run_still_write_counts_for_nothing(tmp_path, address, small_batches):
    options = {"wait": 0.5, "count": 9}
    steps = ingest_steps(SourceRequest.of(Noise(), options=options), tmp_path / "c", scheduler=address)
    while next(steps).done == 0:
        pass
    steps.close()  # two tasks are being read
    calm = ingest(Noise(), out=tmp_path / "calm", count=9)
    shards = tmp_path / "c" / "shards"
    deadline = time.monotonic() + 10
    while not list(shards.glob(".tmp-staged-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(shards.glob(".tmp-staged-*"))
    cache = ingest(Noise(), out=tmp_path / "c", **options)
    assert cache.digest() == calm.digest()


def test_an_error_of_a_source_reaches_the_user_and_the_rest_is_kept(tmp_path, address, small_batches):
    with pytest.raises(PluginError, match="task t5 cannot be read"):
        ingest(Noise(), out=tmp_path / "c", scheduler=address, broken=5)
    kept = {key for shard in Cache.open(tmp_path / "c").shards for key in shard.task_keys()}
    assert "t0" in kept
    assert "t5" not in kept


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(ClusterError, match=r"does not see .*cache.json: all workers must see the same folders"):
        need(tmp_path / "cache.json")


def test_a_shard_that_was_written_elsewhere_is_an_error(tmp_path):
    from astroanomaly.cache.writer import commit_staged

    ingest(Noise(), out=tmp_path / "c")
    with pytest.raises(StorageError, match="All workers must see the same folder"):
        commit_staged(tmp_path / "c", ["elsewhere"])


STUCK = """
from cluster_parts import Noise, small_batches
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
small_batches()
if __name__ == "__main__":
    request = SourceRequest.of(Noise(), options={{"wait": 0.2, "tasks": 500}})
    for step in ingest_steps(request, {out!r}, scheduler="local", workers=2):
        print(step.done, step.message, flush=True)
"""


@pytest.mark.faults
def test_ctrl_c_ends_a_local_cluster_and_keeps_what_is_done(tmp_path):
    (tmp_path / "stuck.py").write_text(STUCK.format(out=str(tmp_path / "c")))
    environment = {**os.environ, "PYTHONPATH": EVERYTHING}
    process = subprocess.Popen(
        [sys.executable, tmp_path / "stuck.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    done = 0
    for line in process.stdout:
        done = int(line.split()[0])
        if done:
            break
    said = None
    while said is None:  # pressed again where Python drops it, as it does inside a finaliser
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
        with contextlib.suppress(subprocess.TimeoutExpired):
            said = process.communicate(timeout=15)[1]
    assert process.returncode != 0
    assert said.strip().endswith("KeyboardInterrupt")
    assert "Dask Worker process" not in said
    cache = Cache.open(tmp_path / "c")
    assert len(cache) + len(cache.failures) >= done
    assert not list((tmp_path / "c").rglob(".tmp-*"))


# ------------------------------------------------------------------------------------------------ features and scores


def labelled(path, cache, settings):
    session = Session.create(path, cache, settings=settings)
    odd = [object_id for object_id, truth in TRUTH.items() if truth]
    usual = [object_id for object_id, truth in TRUTH.items() if not truth]
    session.label(odd[:6], "anomaly", annotator="ann")
    session.label(usual[:12], "nominal", annotator="ann")
    return session


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    plant(folder / "cache")
    return folder / "cache"


@pytest.mark.parametrize("ranker", ["probe", "tuned"])
def test_a_cluster_gives_the_same_scores(tmp_path, survey, address, tiny, ranker):
    found = {}
    for name, more in (("here", {}), ("there", {"scheduler": address})):
        cache = shutil.copytree(survey, tmp_path / f"cache-{name}")
        session = labelled(tmp_path / name, cache, tiny)
        said = []
        session.train(ranker, progress=lambda step, said=said: said.append(step), **more)
        assert len([step for step in said if "cluster" in step.message]) == len(more)
        found[name] = dict(zip(*session.scores(), strict=True))
    assert found["here"].keys() == found["there"].keys()
    for object_id, scores in found["here"].items():
        np.testing.assert_allclose(found["there"][object_id], scores, atol=1e-4)


def test_features_are_computed_by_the_workers(tmp_path, survey, address, tiny, monkeypatch):
    from astroanomaly.learn.features.store import FeatureStore

    def refuse(*_, **__):
        raise AssertionError("computed here")

    session = labelled(tmp_path / "s", shutil.copytree(survey, tmp_path / "cache"), tiny)
    monkeypatch.setattr(FeatureStore, "_computed", refuse)
    session.train("probe", scheduler=address)
    assert session.is_scored


@pytest.mark.parametrize("ranker", ["probe", "tuned"])
def test_the_workers_cut_and_score_a_survey(tmp_path, sky, new_session, address, monkeypatch, ranker):
    session = new_session(computed=True)
    ids = list(session.cache.ids)
    session.label(ids[:6], "anomaly", annotator="ann")
    session.label(ids[6:20], "nominal", annotator="ann")
    session.train(ranker)
    monkeypatch.setattr("astroanomaly.ingestion.workers._BATCH_BYTES", 40 * session.cache.layout.nbytes)
    known, expected = session.scores()
    given = {"catalog": sky[0].catalog, "size": "48", "prefix": "survey/", "top": 20, "scheduler": address}
    report = session.score_source("fits", sky[0].mosaics, out=tmp_path / "out", **given)
    assert (report.scored, report.kept) == (len(known), 20)
    found = {}
    for part in list_parts(report.scores, session.classes):
        found.update(zip(part.ids, part.log_odds, strict=True))
    for name, log_odds in zip(known, expected, strict=True):
        np.testing.assert_allclose(found[f"survey/{name}"], log_odds, atol=1e-4)
    assert len(Cache.open(report.best)) == 20
    assert not (tmp_path / "out" / "cutting").exists()


@pytest.mark.faults
def test_workers_killed_while_they_score_lose_nothing(tmp_path, survey, address, tiny, run_everywhere):
    session = labelled(tmp_path / "s", survey, tiny)
    session.train("fixmatch")
    before = session.scores()[1]
    scores = session.last_round.scores
    first, *others = [shard.uuid for shard in session.cache.shards]
    for shard in others:
        (scores / f"{shard}.h5").unlink()
    kept = (scores / f"{first}.h5").stat().st_mtime_ns
    run_everywhere(cluster_parts.die_after_writing_scores, str(tmp_path), 1)
    Session.open(session.path).score(scheduler=address)
    assert (tmp_path / "death-0").exists()
    assert all(has_scores(scores, shard) for shard in others)
    assert (scores / f"{first}.h5").stat().st_mtime_ns == kept
    np.testing.assert_allclose(Session.open(session.path).scores()[1], before, atol=1e-4)


@pytest.mark.faults
def test_the_command_line_scores_on_a_cluster_of_its_own(tmp_path, survey, tiny):
    session = labelled(tmp_path / "s", survey, tiny)
    session.train("fixmatch")
    before = session.scores()[1]
    shutil.rmtree(session.last_round.scores)
    command = [sys.executable, "-m", "astroanomaly", "score", "s", "--scheduler", "local", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": EVERYTHING}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{len(TRUTH)} objects scored by fixmatch of round 1" in done.stdout
    assert done.stderr.count("cluster tcp://127.0.0.1:") == 1
    assert done.stderr.count("dashboard http://127.0.0.1:") == 1
    assert "distributed" not in done.stderr  # Dask's own log
    np.testing.assert_allclose(Session.open(tmp_path / "s").scores()[1], before, atol=1e-4)
