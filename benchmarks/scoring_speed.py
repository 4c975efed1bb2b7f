"""Scoring from a cache beside the bare network on tensors at hand: ``python benchmarks/scoring_speed.py``.

Both take turns in one process, with the same network, engine, batch and device. From the cache means all of it: read,
stretch, resize, network, log-odds and the best 1,000. ``--engine openvino`` needs the extra ``fast``. What a processor
spends is told beside the time: on a busy machine it is the steadier of the two.
"""

import argparse
import statistics
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import BackboneConfig, InputConfig, StretchConfig
from astroanomaly.learn.engine.device import pick_devices, tune_allocator
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.scoring import score_images
from astroanomaly.records import CutoutBlock, Layout, Task
from astroanomaly.session.survey.best import TopK

IN_A_SHARD = 1000
DISTINCT = 20_000
TOP = 1000
AT_HAND = 8  # batches for the bare network


@lru_cache(maxsize=DISTINCT // IN_A_SHARD)
def noise(count, side, seed=0):
    """Pictures of noise, ``(count, 3, side, side)`` uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def make_cache(path, count, side):
    """Noise as 8-bit pictures, 1,000 to a shard; after 20,000 they repeat."""
    layout = Layout(("r", "g", "b"), side, side, dtype="uint8", pixel_kind="display")
    create_cache(path, layout, [Task("t")], {})
    for start in range(0, count, IN_A_SHARD):
        n = min(IN_A_SHARD, count - start)
        with ShardWriter(path, layout) as writer:
            writer.begin(start, f"t{start}")
            ids = [f"o{start + i:07d}" for i in range(n)]
            writer.add(CutoutBlock(ids, noise(n, side, start % DISTINCT), layout.bands))
            writer.commit()
    return Cache.open(path)


def what_is_seen(cache, size, **options):
    """Give the model input of a cache of noise."""
    config = InputConfig(size=size, **options)
    return ModelInput.measure(cache, StretchConfig(), config, np.random.default_rng(0))


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=150)
    parser.add_argument("--size", type=int, default=0, help="what the network gets; 0: as cut")
    parser.add_argument("--network", default=BackboneConfig().name, help="with bundled weights")
    parser.add_argument("--passes", type=int, default=1, help="how often a run goes through the cache")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=0, help="0: 64 on the CPU, what fits on a GPU")
    parser.add_argument("--engine", action="append", help="a value of session.engine; may be repeated (torch)")
    return parser.parse_args()


def main():
    arguments = parse()
    tune_allocator()
    size = arguments.size or arguments.side
    device = pick_devices(arguments.device)[0]
    with tempfile.TemporaryDirectory() as folder:
        cache = make_cache(Path(folder) / "cache", arguments.count, arguments.side)
        seen = what_is_seen(cache, size, tta_views=1)
        for name in arguments.engine or ["torch"]:
            compare(cache, seen, Engine(name, device), arguments)


def compare(cache, seen, engine, arguments):
    """Let both take turns on one engine, and print a table."""
    count, device = len(cache) * arguments.passes, engine.device
    model = engine.place(build_backbone(BackboneConfig(arguments.network), 2, size=seen.size))
    run = engine.run(model)
    batch = min(arguments.batch or engine.batch_size(run, seen.size), IN_A_SHARD)
    at_hand = [to_tensor(noise(batch, arguments.side, k), seen, device) for k in range(AT_HAND)]

    def bare():
        done = 0
        with torch.inference_mode():
            while done < count:
                images = at_hand[done // batch % len(at_hand)][: count - done]
                run(images)
                done += len(images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def whole():
        top = TopK(TOP)
        for _ in range(arguments.passes):
            for part in score_images(model, cache, seen, batch, [engine]):
                top.add(part.log_odds[:, 1], part.ids)
        if len(top.result()) != min(TOP, count):
            raise RuntimeError("objects are missing among the best")

    ways = {"bare network": bare, "from the cache": whole}
    speeds, spent = ({name: [] for name in ways} for _ in range(2))
    with torch.inference_mode():
        for _ in range(3):
            run(at_hand[0])  # makes the engine ready
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            began, burnt = time.perf_counter(), time.process_time()
            way()
            speeds[name].append(count / (time.perf_counter() - began))
            spent[name].append(1000 * (time.process_time() - burnt) / count)
    title = (
        f"{count} cutouts of {arguments.side} px, {arguments.network} at {seen.size} px, batch {batch}, {engine.label}"
    )
    print(f"\n{title}, {torch.get_num_threads()} threads\n")
    print("| | median | range |\n|---|---|---|")
    for name in ways:
        show(f"{name}, images/s", speeds[name], "{:.0f}")
    for name in ways:
        show(f"{name}, CPU ms an image", spent[name], "{:.3f}")
    show("ratio", [b / a for a, b in zip(*speeds.values(), strict=True)], "{:.3f}")
    show("ratio of CPU time", [a / b for a, b in zip(*spent.values(), strict=True)], "{:.3f}")


def show(name, values, pattern):
    """Print a row of a table: median, least and most."""
    middle, low, high = (pattern.format(v) for v in (statistics.median(values), min(values), max(values)))
    print(f"| {name} | {middle} | {low} to {high} |")


if __name__ == "__main__":
    main()
