"""Scoring from a cache beside the bare network on tensors at hand: ``python benchmarks/scoring_speed.py``.

Both take turns, five times each in one process, with the same network, batch and device.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from astroanomaly.cache import Cache
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import BackboneConfig, InputConfig, StretchConfig
from astroanomaly.learn.backbone import build_backbone
from astroanomaly.learn.batches import ModelInput
from astroanomaly.learn.device import pick_device, tune_allocator
from astroanomaly.learn.scoring import score_images
from astroanomaly.records import CutoutBlock, Layout, Task

BATCH = 64


def make_cache(path, count, side):
    """Blurred noise as 8-bit pictures, 1,000 to a shard."""
    rng = np.random.default_rng(0)
    layout = Layout(("r", "g", "b"), side, side, dtype="uint8", pixel_kind="display")
    create_cache(path, layout, [Task("t")], {})
    for start in range(0, count, 1000):
        n = min(1000, count - start)
        images = rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8)
        with ShardWriter(path, layout) as writer:
            writer.begin(start, f"t{start}")
            writer.add(CutoutBlock([f"o{start + i:07d}" for i in range(n)], images, layout.bands))
            writer.commit()
    return Cache.open(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=150)
    parser.add_argument("--size", type=int, default=0, help="what the network gets; 0: as cut")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    tune_allocator()
    device = pick_device(arguments.device)
    size = arguments.size or arguments.side
    with tempfile.TemporaryDirectory() as folder:
        cache = make_cache(Path(folder) / "cache", arguments.count, arguments.side)
        seen = ModelInput.measure(cache, StretchConfig(), InputConfig(size=size, turns=1), np.random.default_rng(0))
        model = build_backbone(BackboneConfig(), 2, size=size)
        model = model.eval().to(device, memory_format=torch.channels_last)
        first = cache.shards[0].read(0, 8 * BATCH)
        at_hand = [seen.tensor(first[k : k + BATCH], device) for k in range(0, len(first), BATCH)]

        def bare():
            with torch.inference_mode():
                for start in range(0, arguments.count, BATCH):
                    model(at_hand[start // BATCH % len(at_hand)][: arguments.count - start]).cpu()

        def whole():
            for _ in score_images(model, cache, seen, BATCH, device):
                pass

        speeds = {"bare network": [], "from the cache": []}
        bare()
        for _ in range(arguments.repeats):
            for name, run in (("bare network", bare), ("from the cache", whole)):
                began = time.perf_counter()
                run()
                speeds[name].append(arguments.count / (time.perf_counter() - began))
        ratios = [b / a for a, b in zip(*speeds.values(), strict=True)]
        print(f"{arguments.count} cutouts of {arguments.side} px, network at {size} px, batch {BATCH}, {device}")
        for name, found in (*speeds.items(), ("ratio", ratios)):
            middle, low, high = (f"{v:.3f}" if name == "ratio" else f"{v:.0f}" for v in _spread(found))
            print(f"| {name} | {middle} | {low} to {high} |")


def _spread(values):
    """Median, least and most."""
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    main()
