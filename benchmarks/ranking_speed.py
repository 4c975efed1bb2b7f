"""From a label to a ranking, the probe fitted again and all objects ranked: ``python benchmarks/ranking_speed.py``.

Features are there already (drawn at random: how long it takes does not depend on what they mean), as many for an object
as the default network gives, 2.6 GB for 10^6 objects. All sizes take turns; each turn begins with one more label.
"""

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.table import Table

from astroanomaly import Session
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.ranking import order
from astroanomaly.records import CutoutBlock, Labelled, Layout, Task

SHARD = 20_000  # objects
STAGES = ("labels read", "fit", "ranking", "top 100")


def make_session(folder, objects, layers, numbers):
    """Make a session on a cache of tiny pictures, with features and labels, and numbers beside the image."""
    layout = Layout(("r",), 4, 4, dtype="uint8", pixel_kind="display")
    starts = range(0, objects, SHARD)
    create_cache(folder / "cache", layout, [Task(f"t{start}") for start in starts], {})
    rng = np.random.default_rng(0)
    for number, start in enumerate(starts):
        count = min(SHARD, objects - start)
        images = rng.integers(0, 255, (count, 1, 4, 4), dtype=np.uint8)
        with ShardWriter(folder / "cache", layout) as writer:  # a shard each
            writer.begin(number, f"t{start}")
            writer.add(CutoutBlock([f"object-{start + i:09d}" for i in range(count)], images, layout.bands))
            writer.commit()
    columns = {f"x{k}": rng.normal(size=objects) for k in range(numbers)}
    beside = Table({"object_id": [f"object-{k:09d}" for k in range(objects)], **columns})
    session = Session.create(
        folder / "session",
        folder / "cache",
        settings={"backbone": {"layers": layers}},
        blocks={"numbers": beside} if numbers else None,
    )
    store = FeatureStore.of(session.cache, session.context)
    rows = np.abs(rng.normal(0, 1, (min(SHARD, objects), sum(store.widths)))).astype(np.float16)
    for shard in session.cache.shards:
        path = store.folders(shard.uuid)[0] / f"{shard.uuid}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.roll(rows, int(rng.integers(0, rows.size)))[: len(shard)])
    chosen = session.cache.sample(200, rng)
    session.label(chosen[:20], "anomaly")
    session.label(chosen[20:], "nominal")
    return session


def turn(session, store, rng):
    """Label one object, fit, rank, take the first 100; return the seconds of each stage."""
    cache = session.cache
    session.label(cache.sample(1, rng), "nominal")
    times = [time.perf_counter()]
    labels: Labelled = session.labels.labelled()
    times.append(time.perf_counter())
    probe = session.ranker("probe")
    probe.share(store, complete=False)
    for _ in probe.fit(cache, labels):
        pass
    times.append(time.perf_counter())
    scores = np.concatenate([-part.log_odds[:, 0] for part in probe.score(cache)])
    times.append(time.perf_counter())
    first = order(cache.ids, scores, n=100, among=~np.isin(np.arange(len(cache)), cache.rows(labels.ids)))
    times.append(time.perf_counter())
    assert len(first) == min(100, len(cache) - len(labels.ids))
    return dict(zip(STAGES, np.diff(times).tolist(), strict=True))


def spread(values):
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument(
        "--layers", choices=("last", "several", "scales"), default="last", help="1280 features, 2048, 1536"
    )
    parser.add_argument("--numbers", type=int, nargs="+", default=[0], help="numbers beside the image, such as 0 6 512")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where there is room for 4 GB (default: the temporary folder)")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="astroanomaly-", dir=arguments.folder))
    try:
        found = {}
        for objects, numbers in itertools.product(arguments.objects, arguments.numbers):
            session = make_session(folder / f"{objects}-{numbers}", objects, arguments.layers, numbers)
            found[objects, numbers] = (session, FeatureStore.of(session.cache, session.context), [])
        for repeat in range(arguments.repeats + 1):
            for session, store, turns in found.values():
                taken = turn(session, store, np.random.default_rng(repeat))
                if repeat:  # the first one imports scikit-learn and maps the features
                    turns.append({**taken, "all together": sum(taken.values())})
        few = found[arguments.objects[0], arguments.numbers[0]][2]
        width = sum(store.widths)
        print(f"{width} features an object, {arguments.repeats} repeats, median and range")
        print("| objects | stage | seconds | as a ratio to the first |\n|---|---|---|---|")
        for (objects, numbers), (_, _, turns) in found.items():
            beside = f", {numbers} numbers beside the image" if numbers else ""
            for stage in turns[0]:
                ratios = [one[stage] / less[stage] for one, less in zip(turns, few, strict=True)]
                print(f"| {objects:,}{beside} | {stage} | {spread([one[stage] for one in turns])} | {spread(ratios)} |")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
