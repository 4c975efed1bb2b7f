"""All steps from a straightforward loop to the program at its fastest, in one run: ``python benchmarks/ladder.py``.

Every step scores the same number of images of one size with EfficientNet-Lite2. ``one view`` is what pictures get with
``input.tta_views=1``; ``sky`` is the default on the sky: two rotated views, the last four stages at two sizes.

* ``loop``: JPEG bytes in HDF5, Pillow, ``ToTensor``, a ``DataLoader``, the network in eager float32 with as many views
  and layers, batch 64, the standard allocator;
* an engine: all that the default ranker ``active-search`` does with a cache, after its fit: read, convert, network,
  features written, scores. Making the network ready is not part of it;
* ``reading``: reading and converting alone;
* ``guess``: features of the small network of ``score --recall``, computed and written in the same way.

Loops and program have a process each, since their allocators differ, and all steps take turns. What is told is
processor time, which is steadier than the clock on a busy machine; divided by the cores it is the time on an idle one.
The last lines add the cascade: a guess for each object, and the ranker for a share of them (``--share``).
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reference_loop import BATCH, make_jpegs
from scoring_speed import make_cache, what_is_seen

SETTINGS = {"one view": ("picture", 1), "sky": ("sky", 2)}  # kind of views, how many
ENGINES = ("torch", "openvino", "openvino-bf16")
GUESSES = ("guess, openvino", "guess, openvino-bf16")
LEARNT, LABELLED, OBJECTS = 300, (10, 30), 100_000_000


def measured(work):
    """Seconds of the processor and of the clock."""
    began, passed = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - began, time.perf_counter() - passed


def loops(folder, size):
    """Return the straightforward loop of each setting."""
    import h5py
    import torch
    from PIL import Image
    from torchvision.transforms import ToTensor

    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.network.backbone import build_backbone

    class Pictures(torch.utils.data.Dataset):
        def __init__(self):
            self.transform = ToTensor()
            with h5py.File(folder / "jpegs.h5") as file:
                self.count = len(file["images"])
            self.file = h5py.File(folder / "jpegs.h5")

        def __len__(self):
            return self.count

        def __getitem__(self, number):
            picture = Image.open(io.BytesIO(self.file["images"][number].tobytes())).convert("RGB")
            return self.transform(picture), number

    def loop(views, count):
        layers = BackboneConfig().chosen(views).layers_of(views)
        network = build_backbone(BackboneConfig(), size=size, layers=layers).eval()
        head = torch.nn.Linear(sum(network.widths(size)), 2)

        def work():
            scores = []
            with torch.no_grad():
                for images, numbers in torch.utils.data.DataLoader(Pictures(), batch_size=BATCH):
                    features = network.seen(images)
                    if count == 2:
                        features = (features + network.seen(images.rot90(2, (2, 3)))) / 2
                    found = head(features).softmax(1)[:, 1]
                    scores.extend(zip(found.tolist(), numbers.tolist(), strict=True))
            scores.sort(reverse=True)

        return work

    return {f"{name}/loop": loop(*how) for name, how in SETTINGS.items()}


def program(folder, size):
    """Return the program's own way with each setting and engine."""
    from astroanomaly.learn.engine.device import tune_allocator

    tune_allocator()
    from astroanomaly.cache import Cache
    from astroanomaly.config import BackboneConfig
    from astroanomaly.hookspecs import RankerContext
    from astroanomaly.learn.features.store import FeatureStore
    from astroanomaly.learn.preprocessing import to_tensor
    from astroanomaly.learn.settings import build_settings
    from astroanomaly.learn.student import student_store
    from astroanomaly.plugins import load_plugins
    from astroanomaly.records import Labelled, drain

    learnt = Cache.open(folder / "learnt")
    options = build_settings({})["probe"]

    def opened():
        shutil.rmtree(folder / "cache" / "derived", ignore_errors=True)
        return Cache.open(folder / "cache")

    def again(store, kept):
        """Let a store use the network that another one has made ready."""
        store.network, store.engines = kept.network, kept.engines
        return store

    def whole(context):
        ranker = load_plugins().ranker("active-search")(options, context)
        kept = FeatureStore.of(learnt, context)
        kept.expect(OBJECTS)
        ranker.share(kept)
        ids = learnt.ids[: sum(LABELLED)]
        classes = ["anomaly"] * LABELLED[0] + ["nominal"] * LABELLED[1]
        drain(ranker.fit(learnt, Labelled(tuple(ids), tuple(classes))))

        def work():
            cache = opened()
            ranker.share(again(FeatureStore.of(cache, context), kept))
            found = sum(len(part.ids) for part in ranker.score(cache))
            if found != len(cache):
                raise RuntimeError("objects have no scores")
            ranker._outlier_scores.clear()

        return work

    def guess(context):
        kept = student_store(learnt, context)
        kept.expect(OBJECTS)
        drain(kept.compute())
        return lambda: drain(again(student_store(opened(), context), kept).compute())

    def reading(seen):
        def work():
            cache = opened()
            for shard in cache.shards:
                for start in range(0, len(shard), BATCH):
                    to_tensor(shard.stored(slice(start, start + BATCH)).plain(), seen, "cpu", seen.check(cache))

        return work

    ways = {}
    for name, (views, count) in SETTINGS.items():
        seen = what_is_seen(learnt, size, views=views, tta_views=count)
        network = BackboneConfig().chosen(views)
        ways[f"{name}/reading"] = reading(seen)
        for engine in ENGINES:
            context = RankerContext(("nominal", "anomaly"), seen, network, device="cpu", engine=engine)
            ways[f"{name}/{engine}"] = whole(context)
            if f"guess, {engine}" in GUESSES:
                ways[f"{name}/guess, {engine}"] = guess(context)
    return ways


def child(what, folder, size):
    """Do what is asked for, line by line."""
    ways = (loops if what == "loops" else program)(folder, size)
    print(json.dumps(list(ways)), flush=True)
    for line in sys.stdin:
        print(json.dumps(measured(ways[line.strip()])), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--size", type=int, default=128, help="pixels, as cut and as seen")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--share", type=float, action="append", help="of the objects that the ranker scores")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], Path(arguments.child[1]), arguments.size)
        return
    spent = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_cache(folder / "cache", arguments.count, arguments.size)
        make_cache(folder / "learnt", LEARNT, arguments.size)
        make_jpegs(folder / "jpegs.h5", arguments.count, arguments.size)
        command = [sys.executable, __file__, "--size", str(arguments.size), "--child"]
        children = [
            subprocess.Popen([*command, what, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for what in ("loops", "program")
        ]
        ways = [(one, way) for one in children for way in json.loads(one.stdout.readline())]
        ways.sort(key=lambda pair: list(SETTINGS).index(pair[1].split("/")[0]))  # compared ones one after the other
        for repeat in range(arguments.repeats + 1):
            for one, way in ways:
                one.stdin.write(way + "\n")
                one.stdin.flush()
                found = json.loads(one.stdout.readline())[0]
                if repeat:  # the first prepares the networks
                    spent.setdefault(way, []).append(1000 * found / arguments.count)
        for one in children:
            one.stdin.close()
            one.wait()
    add_cascades(spent, arguments.share or [0.129, 0.102])
    title = f"{arguments.count} images of {arguments.size} px, {arguments.repeats} repeats"
    print(f"{title}, load {os.getloadavg()[0]:.0f}\n")
    print("| | ms of a core | an object a core-second | times the loop | times the loop of one view | core-hours |")
    print("|---" * 6 + "|")
    for way, values in spent.items():
        setting = way.split("/")[0]
        middle = statistics.median(values)
        cells = [f"{middle:.2f} ({min(values):.2f} to {max(values):.2f})", f"{1000 / middle:.0f}"]
        for base in (spent[f"{setting}/loop"], spent["one view/loop"]):
            ratios = [a / b for a, b in zip(base, values, strict=True)]
            cells.append(f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
        print(f"| {way} | " + " | ".join(cells) + f" | {middle * OBJECTS / 3.6e6:.0f} |")


def add_cascades(spent, shares):
    """Add what a guess for each object and the ranker for a share of them would take."""
    for setting in SETTINGS:
        for engine in ENGINES[1:]:
            for share in shares:
                both = zip(spent[f"{setting}/guess, {engine}"], spent[f"{setting}/{engine}"], strict=True)
                spent[f"{setting}/cascade, {share:.1%} scored, {engine}"] = [a + share * b for a, b in both]


if __name__ == "__main__":
    main()
