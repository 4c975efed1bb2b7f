"""Draining a source into a cache: counting, resuming after a kill, refusing what does not fit."""

import os
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import psutil
import pytest

from astroanomaly import Cache, CutoutBlock, Failure, Layout, Plan, Task, ingest, option
from astroanomaly.cache.plan import count_plan
from astroanomaly.errors import (
    AstroAnomalyError,
    BusyError,
    CacheError,
    ConfigError,
    FetchError,
    PluginError,
    StorageError,
)
from astroanomaly.ingestion import workers
from astroanomaly.ingestion.ingest import ingest_steps
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.records import drain


@dataclass(frozen=True)
class Settings:
    count: int = option(20, "objects a task")
    tasks: int = option(5, "tasks")


class Noise:
    """Cutouts of noise, every seventh a failure."""

    name = "noise"
    summary = "cutouts of noise"
    Options = Settings

    def plan(self, request, options):
        for number in range(options.tasks):
            ids = [f"{number}-{i}" for i in range(options.count)]
            yield Task(f"t{number}", {"seed": number}, {"object_id": np.array(ids)})

    def read(self, task):
        rng = np.random.default_rng(task.payload["seed"])
        ids = task.table["object_id"].tolist()
        images = rng.normal(size=(len(ids), 2, 8, 8)).astype(np.float32)
        bad = np.arange(len(ids)) % 7 == 3
        for object_id, failed in zip(ids, bad, strict=True):
            if failed:
                yield Failure(object_id, "every seventh")
        good = np.flatnonzero(~bad)
        yield CutoutBlock(ids=[ids[i] for i in good], images=images[good], bands=("g", "r"))


def test_every_object_is_a_cutout_or_a_failure(tmp_path):
    reports = []
    cache = ingest(Noise(), out=tmp_path / "c", progress=reports.append, count=21)
    assert len(cache) == 5 * 18
    assert len(cache.failures) == 5 * 3
    assert reports[-1].done == reports[-1].total == 105
    assert cache.request["source"] == "noise"
    assert cache.request["options"] == {"count": 21, "tasks": 5}


class Long(Noise):
    """A megabyte of table in each task, of which the sixth may break off."""

    def __init__(self, breaks=False):
        self.breaks = breaks
        self.grown = 0

    def plan(self, request, options):
        for number in range(40):
            if self.breaks and number == 5:
                raise CacheError("the catalogue ends")
            if number == 5:
                self.grown -= tracemalloc.get_traced_memory()[0]
            ids = np.array([f"{number}-{i}" for i in range(options.count)])
            yield Task(f"t{number}", {"seed": number}, {"object_id": ids, "note": np.full(options.count, "x" * 12_500)})
        self.grown += tracemalloc.get_traced_memory()[0]


def test_a_plan_takes_the_memory_of_one_task(tmp_path):
    source = Long()
    tracemalloc.start()
    try:
        steps = ingest_steps(SourceRequest.of(source, options={"count": 20}), tmp_path / "c")
        next(step for step in steps if step.facts)
        steps.close()
    finally:
        tracemalloc.stop()
    assert abs(source.grown) < 3e6  # 35 tasks of 1e6
    assert count_plan(tmp_path / "c") == (40, 800)


def test_a_plan_that_breaks_off_leaves_nothing(tmp_path):
    with pytest.raises(CacheError, match="the catalogue ends"):
        ingest(Long(breaks=True), out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_failures_are_retried_where_the_task_does_not_name_its_objects(tmp_path):
    """Then whole tasks are read again, and only what had failed is taken from them."""

    class Nameless(Noise):
        healed = False

        def plan(self, request, options):
            for task in super().plan(request, options):
                yield Task(task.key, {**task.payload, "ids": task.table["object_id"].tolist()})

        def read(self, task):
            named = Task(task.key, task.payload, {"object_id": np.array(task.payload["ids"])})
            for item in super().read(named):
                if not isinstance(item, Failure):
                    yield item
                elif self.healed and item.object_id != "2-3":
                    yield CutoutBlock(ids=[item.object_id], images=np.ones((1, 2, 8, 8), np.float32), bands=("g", "r"))
                else:
                    kind = "no coverage" if item.object_id == "1-3" else "failed"
                    yield Failure(item.object_id, item.reason, kind=kind)

    source = Nameless()
    before = ingest(source, out=tmp_path / "c")
    assert {f.object_id for f in before.failures if f.kind == "no coverage"} == {"1-3"}
    source.healed = True
    assert len(ingest(source, out=tmp_path / "c")) == len(before)
    after = ingest(source, out=tmp_path / "c", retry_failed=True)
    assert {f.object_id: f.kind for f in after.failures} == {"1-3": "no coverage", "2-3": "failed"}
    assert len(after) == 5 * 20 - 2
    np.testing.assert_array_equal(after["0-0"].data, before["0-0"].data)


class Exposures(Noise):
    """Every object is two exposures with ids of their own, but object 0-3 while ``broken``."""

    broken = True

    def read(self, task):
        for object_id in task.table["object_id"].tolist():
            if self.broken and object_id == "0-3":
                yield Failure(object_id, "broken")
                continue
            images = np.full((2, 2, 8, 8), len(object_id), np.float32)
            yield CutoutBlock(ids=[f"{visit}/{object_id}" for visit in ("a", "b/c")], images=images, bands=("g", "r"))


def test_an_object_retried_into_several_exposures_is_resolved(tmp_path):
    source = Exposures()
    clean = Exposures()
    clean.broken = False
    whole = ingest(clean, out=tmp_path / "clean", prefix="p/")
    first = ingest(source, out=tmp_path / "c", prefix="p/")
    assert [failure.object_id for failure in first.failures] == ["p/0-3"]
    source.broken = False
    after = ingest(source, out=tmp_path / "c", prefix="p/", retry_failed=True)
    assert after.failures == []
    assert len(after) == len(first) + 2
    assert {"p/a/0-3", "p/b/c/0-3"} < set(after.ids)
    assert after.digest() == whole.digest()
    again = ingest(source, out=tmp_path / "c", prefix="p/", retry_failed=True)
    assert len(again) == len(after)


def test_a_prefix_keeps_ids_apart(tmp_path):
    cache = ingest(Noise(), out=tmp_path / "c", prefix="run2/")
    assert all(object_id.startswith("run2/") for object_id in cache.ids)
    assert all(failure.object_id.startswith("run2/") for failure in cache.failures)


def test_the_same_request_again_does_nothing_and_another_is_refused(tmp_path):
    ingest(Noise(), out=tmp_path / "c")
    before = sorted((tmp_path / "c" / "shards").iterdir())
    ingest(Noise(), out=tmp_path / "c")
    assert sorted((tmp_path / "c" / "shards").iterdir()) == before
    with pytest.raises(CacheError, match="its count was 20, now it is 3"):
        ingest(Noise(), out=tmp_path / "c", count=3)


def test_several_processes_give_the_same_cache(tmp_path):
    one = ingest("images", [pictures(tmp_path)], out=tmp_path / "one")
    two = ingest("images", [pictures(tmp_path)], out=tmp_path / "two", workers=2)
    assert one.digest() == two.digest()
    assert len(one) == 30


def pictures(folder):
    from PIL import Image

    target = folder / "pictures"
    if not target.is_dir():
        target.mkdir()
        rng = np.random.default_rng(1)
        for number in range(30):
            Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(target / f"{number}.png")
    return target


def test_a_source_that_gives_nothing_says_why(tmp_path):
    class Empty(Noise):
        def read(self, task):
            yield from (Failure(i, "file is gone") for i in task.table["object_id"].tolist())

    with pytest.raises(CacheError, match=r"no cutout at all, 100 failures.*file is gone"):
        ingest(Empty(), out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_layout_in_the_plan_wins_over_the_first_block(tmp_path):
    class Planned(Noise):
        def plan(self, request, options):
            return Plan(super().plan(request, options), Layout(("g", "r", "i"), 8, 8, dtype="float16"))

    cache = ingest(Planned(), out=tmp_path / "c")
    assert cache.bands == ("g", "r", "i")
    assert cache.layout.dtype == "float16"


def test_two_tasks_with_one_key_are_refused(tmp_path):
    class Twice(Noise):
        def plan(self, request, options):
            return [Task("t", {"seed": 0}, {"object_id": np.array(["a"])})] * 2

    with pytest.raises(PluginError, match="two tasks with the key 't'"):
        ingest(Twice(), out=tmp_path / "c")


def test_unknown_options_and_sources_name_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'count'"):
        ingest(Noise(), out=tmp_path / "c", counts=3)
    with pytest.raises(PluginError, match="did you mean 'fits'"):
        ingest("fit", out=tmp_path / "c")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match="not empty and holds no cache"):
        ingest(Noise(), out=tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["thesis.tex"]


def test_an_interrupt_keeps_what_was_committed(tmp_path):
    steps = ingest_steps(SourceRequest.of(Noise(), options={"tasks": 50, "count": 9}), tmp_path / "c")
    undisturbed = ingest(Noise(), out=tmp_path / "other", tasks=50, count=9).digest()
    for step in steps:
        if step.done:
            break
    steps.close()
    assert ingest(Noise(), out=tmp_path / "c", tasks=50, count=9).digest() == undisturbed


def test_a_full_disk_is_an_error_that_leaves_nothing_half_written(tmp_path):
    """The process may write files of at most 64 kB: the shard cannot be finished, as on a full disk."""
    script = textwrap.dedent(
        f"""
        import resource, signal, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_ingest import Noise
        from astroanomaly import ingest
        from astroanomaly.errors import StorageError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        try:
            ingest(Noise(), out={str(tmp_path / "c")!r}, count=400, tasks=2)
        except StorageError as error:
            print("STORAGE", error)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "STORAGE" in done.stdout, done.stdout + done.stderr
    assert "Free some space" in done.stdout
    assert not list((tmp_path / "c").rglob("*tmp*"))
    assert ingest(Noise(), out=tmp_path / "c", count=400, tasks=2).digest() == (
        ingest(Noise(), out=tmp_path / "d", count=400, tasks=2).digest()
    )


SLOW = """
import sys, time
sys.path.insert(0, {here!r})
import test_ingest
from astroanomaly import ingest
from astroanomaly.ingestion import workers
workers._BATCH_BYTES = 4096


class Slow(test_ingest.Noise):
    def read(self, task):
        time.sleep(0.01)
        yield from super().read(task)


if __name__ == "__main__":
    print("started", flush=True)
    ingest(Slow(), out={out!r}, tasks=60, count=9, workers={workers})
    print("finished", flush=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_ingest_resumes_to_the_same_digest(tmp_path, workers):
    """Kill -9 at random moments, again and again: the cache ends the same as an undisturbed one, and nobody is left."""
    undisturbed = ingest(Noise(), out=tmp_path / "calm", tasks=60, count=9)
    script = tmp_path / "slow.py"
    script.write_text(SLOW.format(here=os.path.dirname(__file__), out=str(tmp_path / "c"), workers=workers))
    generator = random.Random(4)
    kills = 0
    shards = tmp_path / "c" / "shards"
    for attempt in range(12 if workers == 1 else 4):
        process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "started\n"
        before = len(list(shards.glob("[!.]*")))
        if workers > 1:  # which take a while to begin: the kill comes while they write
            while process.poll() is None and attempt and len(list(shards.glob("[!.]*"))) == before:
                time.sleep(0.01)
        time.sleep(generator.uniform(0.05, 0.6))
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
            assert not psutil.wait_procs(children, timeout=20)[1]
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        if "finished" in rest:
            break
    cache = ingest(Noise(), out=tmp_path / "c", tasks=60, count=9)
    assert kills >= 2
    assert cache.digest() == undisturbed.digest()
    assert {f.object_id for f in cache.failures} == {f.object_id for f in undisturbed.failures}
    assert not list((tmp_path / "c").rglob(".tmp-*"))
    assert isinstance(cache, Cache)
    assert cache.ignored == ()


def test_of_two_ingests_into_one_folder_one_is_refused(tmp_path):
    """Whoever comes second is told, before it has planned anything, and the cache is that of the first alone."""
    first = ingest_steps(SourceRequest.of(Noise(), options={"tasks": 2}), tmp_path / "c")
    next(first)  # it has not even made its plan
    for request in (SourceRequest.of(Noise(), options={"tasks": 3}), SourceRequest.of(Noise(), options={"tasks": 2})):
        with pytest.raises(BusyError, match="another ingest is writing to"):
            drain(ingest_steps(request, tmp_path / "c"))
    drain(first)
    assert Cache.open(tmp_path / "c").digest() == ingest(Noise(), out=tmp_path / "d", tasks=2).digest()
    with pytest.raises(CacheError, match="made by another request"):
        ingest(Noise(), out=tmp_path / "c", tasks=3)


class Brittle(Noise):
    """Breaks off in the middle of some tasks, as a library does at a damaged file."""

    def read(self, task):
        for number, item in enumerate(super().read(task)):
            if task.payload["seed"] % 2 and number == 2:
                raise struct.error("unpack requires a buffer of 4 bytes\nand more")
            yield item


def test_a_source_that_breaks_off_costs_the_rest_of_its_task(tmp_path):
    whole = ingest(Noise(), out=tmp_path / "whole", tasks=4)
    cache = ingest(Brittle(), out=tmp_path / "c", tasks=4)
    lost = [f for f in cache.failures if f.reason == "cannot be read: error: unpack requires a buffer of 4 bytes"]
    assert lost
    assert len(cache) + len(cache.failures) == len(whole) + len(whole.failures)
    assert {item.object_id.partition("-")[0] for item in lost} == {"1", "3"}
    again = ingest(Noise(), out=tmp_path / "c", tasks=4, retry_failed=True)
    assert len(again) + len(again.failures) == len(whole) + len(whole.failures)
    assert {failure.reason for failure in again.failures} == {"every seventh"}


def test_a_plan_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(AstroAnomalyError):
        ingest("fits", tmp_path / "nothing", out=tmp_path / "deep" / "c")
    assert not (tmp_path / "deep" / "c").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(AstroAnomalyError):
        ingest("fits", tmp_path / "nothing", out=tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


STUCK = """
import sys, time
sys.path.insert(0, {here!r})
import numpy as np
import test_ingest
from astroanomaly import Layout, Plan, ingest
from astroanomaly.ingestion import workers
workers._BATCH_BYTES = 4096


class Stuck(test_ingest.Noise):
    fetches = True

    def plan(self, request, options):
        return Plan(super().plan(request, options), Layout(("g", "r"), 8, 8))

    def read(self, task):
        print("waits", flush=True)
        time.sleep(60)
        yield from ()


if __name__ == "__main__":
    ingest(Stuck(), out={out!r}, workers=2)
"""


def test_an_interrupt_does_not_wait_for_workers_that_wait_for_an_archive(tmp_path):
    script = tmp_path / "stuck.py"
    script.write_text(STUCK.format(here=os.path.dirname(__file__), out=str(tmp_path / "c")))
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waits\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=100)[1]
    assert "KeyboardInterrupt" in said
    assert time.monotonic() - began < 3


class Breaks(Noise):
    """A source that fetches, and ends at its second task."""

    fetches = True

    def __init__(self):
        self.read_keys = []

    def plan(self, request, options):
        return Plan(super().plan(request, options), Layout(("g", "r"), 8, 8))

    def read(self, task):
        self.read_keys.append(task.key)
        if len(self.read_keys) == 2:
            raise FetchError("gone")
        return super().read(task)


def test_what_ends_the_reading_is_told_before_more_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_BATCH_BYTES", 8)  # each task is a batch
    source = Breaks()
    with pytest.raises(FetchError, match="gone"):
        ingest(source, out=tmp_path / "c")
    assert len(source.read_keys) == 2
    assert len(Cache.open(tmp_path / "c")) > 0  # the first task
