"""A training step of FixMatch beside the bare forward and backward pass: ``python benchmarks/training_step.py``.

The step is that of the ranker `fixmatch` on EfficientNet-Lite0, with all it does: drawing and reading the images, weak
and strong views, the loss, the optimiser and the moving average. The bare pass has the same network, sizes and micro-
batch, and nothing else. They take turns in one process. Peak memory is that of training alone in a fresh process,
beside ``train.memory_gb``; on a GPU that of the GPU for both.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from memory import Watch
from scoring_speed import make_cache, show, what_is_seen

from astroanomaly.cache import Cache
from astroanomaly.config import BackboneConfig
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.engine.device import pick_device, tune_allocator
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.rankers.fixmatch import FixMatch
from astroanomaly.learn.training.fixmatch import StepBatch, fixmatch_loss, set_training
from astroanomaly.learn.training.options import FixMatchOptions
from astroanomaly.learn.training.trainer import STAGE, fit_micro_batch
from astroanomaly.records import Labelled

NETWORK = BackboneConfig("tf_efficientnet_lite0")
LABELLED = 40  # every fourth of them an anomaly


def training(cache, size, steps, device, memory_gb):
    """Return the ranker and its generator of training steps."""
    context = RankerContext(("nominal", "anomaly"), what_is_seen(cache, size, views="sky"), NETWORK, device=device)
    ranker = FixMatch(FixMatchOptions(iterations=steps, memory_gb=memory_gb), context)
    ids = tuple(cache.ids[:LABELLED])
    labels = Labelled(ids, tuple("nominal" if k % 4 else "anomaly" for k in range(len(ids))))
    return ranker, (step for step in ranker.fit(cache, labels) if step.stage == STAGE)


def bare_pass(config, size, device):
    """Give what runs one forward and backward pass of a step's images."""
    model = build_backbone(NETWORK, 2, size=size).to(device, memory_format=torch.channels_last)
    micro_batch = fit_micro_batch(model, size, config)
    set_training(model, config.norm)
    unlabelled = torch.rand(config.unlabelled_batch, 3, size, size, device=device)
    labelled = torch.rand(config.labelled_batch, 3, size, size, device=device)
    targets = torch.arange(config.labelled_batch, device=device) % 2
    batch = StepBatch(labelled, targets, unlabelled, unlabelled.clone())
    parts = [
        (part, torch.cat([part.labelled, part.weak, part.strong]).contiguous(memory_format=torch.channels_last))
        for part in batch.split(micro_batch)
    ]

    def run():
        model.zero_grad(set_to_none=True)
        for part, images in parts:
            counts = [len(part.labelled), len(part.weak), len(part.strong)]
            labelled, weak, strong = model(images).split(counts)
            fixmatch_loss(labelled, part.targets, weak, strong, threshold=config.threshold).total.backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run, micro_batch, len(batch)


def child(folder, arguments):
    """Train alone, and print the peak memory in GB."""
    tune_allocator()
    watch = Watch()
    watch.start()
    _, steps = training(Cache.open(folder), arguments.size, arguments.repeats, arguments.device, arguments.memory_gb)
    for _ in steps:
        pass
    watch.done.set()
    watch.join()
    print(json.dumps(watch.peak))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="pixels of the cutouts and of the network's input")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory-gb", type=float, default=FixMatchOptions.memory_gb)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(Path(arguments.child), arguments)
        return
    with tempfile.TemporaryDirectory() as name:
        cache = make_cache(Path(name) / "cache", arguments.count, arguments.size)
        compare(cache, arguments)


def compare(cache, arguments):
    """Let both take turns, and print a table."""
    tune_allocator()
    device = pick_device(arguments.device)
    if device.type == "cpu":
        done = subprocess.run(
            [sys.executable, *sys.argv, "--child", str(cache.folders[0])], check=True, stdout=subprocess.PIPE, text=True
        )
        peak = json.loads(done.stdout.splitlines()[-1])["RssAnon"]
    ranker, steps = training(cache, arguments.size, arguments.repeats + 1, arguments.device, arguments.memory_gb)
    run, micro_batch, images = bare_pass(ranker.options, arguments.size, device)
    seconds = {"training step": [], "bare forward and backward": []}
    for number in range(arguments.repeats + 1):
        began = time.perf_counter()
        next(steps)
        middle = time.perf_counter()
        run()
        if number:  # the first step also builds the network
            seconds["training step"].append(middle - began)
            seconds["bare forward and backward"].append(time.perf_counter() - middle)
    steps.close()
    print(f"{images} images of {arguments.size} px a step, micro-batch {micro_batch}, {device}\n")
    print("| | median | range |\n|---|---|---|")
    for name, values in seconds.items():
        show(f"{name}, s", values, "{:.3f}")
    show("bare / step", [b / a for a, b in zip(*seconds.values(), strict=True)], "{:.3f}")
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 1e9  # of both
    print(f"\npeak memory {peak:.2f} GB, train.memory_gb={arguments.memory_gb:g}")


if __name__ == "__main__":
    main()
