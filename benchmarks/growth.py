"""How time and memory grow with the number of objects: ``python benchmarks/growth.py``.

A cache of 32 px stamps is scored with a network that does nothing and with EfficientNet-Lite0; then stamps from a
generator are scored without keeping cutouts, with the network that does nothing. The index of a cache is written anew,
and a thousand labels are joined to its objects, by id, by the base name and by position. Every size runs in a fresh
process; its processor time is that of its threads and of the processes it has waited for, imports left out.
``GROWTH_SIDE`` in the environment gives other stamps than of 32 px.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from astroanomaly import Cache, CutoutBlock, Layout, Plan, Task
from astroanomaly.cache.schema import INDEX_FILE
from astroanomaly.cache.writer import ShardWriter, create_cache

SIDE, TASK = int(os.environ.get("GROWTH_SIDE", "32")), 10_000  # pixels, objects
LAYOUT = Layout(("r", "g", "b"), SIDE, SIDE, dtype="uint8", pixel_kind="display")
CHILD = "--child"


@dataclass(frozen=True)
class Options:
    """What the generator makes."""

    objects: int = 1000


class Noise:
    """A survey of blurred noise that needs no disk."""

    name = "noise"
    summary = "noise"
    Options = Options

    def plan(self, request, options):  # noqa: D102  see `Source`
        sizes = [(start, min(TASK, options.objects - start)) for start in range(0, options.objects, TASK)]
        return Plan((_task(*size) for size in sizes), LAYOUT)

    def read(self, task):  # noqa: D102
        yield stamps(task.payload["start"], task.payload["count"])


def _task(start, count):
    table = {"id": np.array([f"n{number:09d}" for number in range(start, start + count)])}
    return Task(f"t{start}", {"start": start, "count": count}, table)


def stamps(start, count):
    """Noise of one byte a pixel; the generator is not what is measured."""
    images = np.frombuffer(np.random.default_rng(start).bytes(count * 3 * SIDE * SIDE), np.uint8)
    ids = [f"n{number:09d}" for number in range(start, start + count)]
    ra, dec = positions(start, count)
    return CutoutBlock(ids, images.reshape(count, 3, SIDE, SIDE), LAYOUT.bands, ra=ra, dec=dec)


def positions(start, count):
    """Places all over the sky."""
    rng = np.random.default_rng((1, start))
    return rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))


class Nothing:
    """A ranker whose network does nothing: the mean of a pixel is the score."""

    name = "nothing"

    def __init__(self, seen):
        self.seen = seen

    def image_score(self, cache, **_):  # noqa: D102
        from astroanomaly.learn.engine.engine import Engine
        from astroanomaly.learn.explain import ImageScore

        def log_odds(images):
            values = images[:, 0, 0, 0].numpy()
            return np.stack([-values, values], axis=1)

        return ImageScore(cache, self.seen, log_odds, Engine(), 2)

    def saliency(self, cache, object_id):  # noqa: D102
        return np.zeros((SIDE, SIDE), np.float32)


def seen_by_the_network():
    from astroanomaly.cache.model_input import ModelInput

    return ModelInput(LAYOUT.bands, "display", ((1, 0, 0), (0, 1, 0), (0, 0, 1)), SIDE, "picture")


def straight(folder, objects, workers):
    """Score a generated survey without keeping its cutouts; return seconds."""
    from astroanomaly.ingestion.request import SourceRequest
    from astroanomaly.session.survey.score import score_source

    known = Path(folder) / "known"
    create_cache(known, LAYOUT, [Task("t")], {})
    survey = Path(folder) / "survey"
    steps = score_source(
        SimpleNamespace(cache=Cache.open(known), classes=("nominal", "anomaly"), model_input=seen_by_the_network()),
        SimpleNamespace(ranker="nothing", in_survey=lambda out: out / "round"),
        Nothing(seen_by_the_network()),
        SourceRequest.of(Noise(), options={"objects": objects}),
        out=survey,
        workers=workers,
    )
    began = time.perf_counter()
    for _ in steps:
        pass
    return time.perf_counter() - began


def from_cache(folder, network):
    """Score a cache and keep the best hundred; return seconds."""
    import torch

    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.network.backbone import build_backbone
    from astroanomaly.learn.scoring import score_images
    from astroanomaly.session.survey.best import TopK

    class Mean(torch.nn.Module):
        def forward(self, images):
            value = images[:, 0, 0, :1]
            return torch.cat([-value, value], dim=1)

    model = build_backbone(BackboneConfig("tf_efficientnet_lite0"), 2, size=SIDE) if network == "lite0" else Mean()
    cache, top = Cache.open(folder), TopK(100)
    began = time.perf_counter()
    for scores in score_images(model, cache, seen_by_the_network()):
        top.add(-scores.log_odds[:, 0], scores.ids)
    return time.perf_counter() - began


def index(folder):
    """Write the index of a cache anew; return seconds."""
    (Path(folder) / INDEX_FILE).unlink()
    began = time.perf_counter()
    Cache.open(folder)
    return time.perf_counter() - began


def joined(folder, by):
    """Read a thousand labels and find their objects; return seconds."""
    from astropy.table import Table

    from astroanomaly.labels.log import LabelLog
    from astroanomaly.labels.tables import import_labels

    cache = Cache.open(folder)
    chosen = np.random.default_rng(2).choice(len(cache) // TASK, min(10, len(cache) // TASK), replace=False) * TASK
    places = [np.concatenate(one) for one in zip(*(positions(start, TASK) for start in chosen), strict=True)]
    rows = np.random.default_rng(3).choice(len(chosen) * TASK, 1000, replace=False)
    names = np.array([f"n{chosen[row // TASK] + row % TASK:09d}" for row in rows])
    given = {
        "id": {"object_id": names},
        "base name": {"object_id": [f"{name}.png" for name in names]},
        "position": {"ra": places[0][rows], "dec": places[1][rows]},
    }[by]
    table = Table(given | {"label": ["anomaly"] * 1000})
    with tempfile.TemporaryDirectory() as other:
        log = LabelLog.create(Path(other) / "labels", ("nominal", "anomaly"))
        began = time.perf_counter()
        import_labels(log, table, cache.ids, cache.positions, annotator="somebody", radius_arcsec=0.1)
        seconds = time.perf_counter() - began
        found = set(log.current())
        log.close()
    if found != set(names.tolist()):
        raise SystemExit(f"{len(found)} of 1000 labels joined")
    return seconds


WORK = {"straight": straight, "cache": from_cache, "index": index, "joined": joined}


def child(work):
    """Do one piece of work and print its seconds and the peak memory of this process."""
    from memory import Watch

    from astroanomaly.learn.engine.device import tune_allocator

    tune_allocator()
    watch = Watch()
    watch.start()
    before = os.times()
    seconds = WORK[work.pop("what")](**work)
    processor = sum(os.times()[:4]) - sum(before[:4])
    watch.done.set()
    print(json.dumps({"seconds": seconds, "processor": processor, **watch.peak}))


def measure(**work):
    done = subprocess.run([sys.executable, __file__, CHILD, json.dumps(work)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def tell(what, objects, found):
    seconds, processor, rate = found["seconds"], found["processor"], objects / found["seconds"]
    memory = f"{found['RssAnon']:.3f} | {found['RssFile']:.3f}"
    print(f"| {what} | {objects} | {seconds:.1f} | {processor:.1f} | {rate:.0f} | {memory} |", flush=True)


def make_cache(path, objects):
    create_cache(path, LAYOUT, [Task("t")], {})
    with ShardWriter(path, LAYOUT) as writer:
        for start in range(0, objects, TASK):
            writer.begin(start, f"t{start}")
            writer.add(stamps(start, min(TASK, objects - start)))
            writer.commit()
    Cache.open(path)  # the index is written


def main():
    if CHILD in sys.argv:
        child(json.loads(sys.argv[-1]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cached", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--straight", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--joins", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--networks", nargs="*", default=["nothing", "lite0"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where caches are made (default: the system's temporary folder)")
    arguments = parser.parse_args()
    print(
        "| what | objects | seconds | processor, s | objects a second | memory, GB | mapped files, GB |\n"
        "|---|---|---|---|---|---|---|"
    )
    for objects in arguments.cached:
        folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
        try:
            make_cache(folder / "cache", objects)
            for network in arguments.networks:
                tell(network, objects, measure(what="cache", folder=str(folder / "cache"), network=network))
        finally:
            shutil.rmtree(folder)
    for objects in arguments.joins:
        folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
        try:
            make_cache(folder / "cache", objects)
            tell("index written", objects, measure(what="index", folder=str(folder / "cache")))
            for by in ("id", "base name", "position"):
                found = measure(what="joined", folder=str(folder / "cache"), by=by)
                tell(f"1000 labels joined by {by}", objects, found)
        finally:
            shutil.rmtree(folder)
    for objects in arguments.straight:
        folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
        try:
            found = measure(what="straight", folder=str(folder), objects=objects, workers=arguments.workers)
            tell(f"survey, {arguments.workers} processes", objects, found)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
