"""Scoring beside the straightforward loop: ``python benchmarks/reference_loop.py``.

The loop is what a first program for the task looks like: JPEG bytes in an HDF5 file, a ``Dataset`` that opens each
with Pillow, ``ToTensor``, a ``DataLoader``, the network in eager float32, batch 64, the allocator as it comes;
with no workers, and with as many as there are processors. Beside it what `astroanomaly score` does with a cache of as
many pictures of that size: read, stretch, network, log-odds, score files and the best 1,000, with the command line's
allocator; by default and with the extra ``fast``. One network and one view of each picture in all of them.

Every run is a fresh process; all ways take turns. The time is that from opening the file to the last result, making an
engine ready included; importing libraries and building the network are not.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scoring_speed import TOP, make_cache, noise, show, what_is_seen

BATCH = 64
WAYS = {"loop": "loop", "workers": "loop with workers", "torch": "score", "fast": "score with [fast]"}


def make_jpegs(path, count, side):
    """Write pictures as JPEG bytes: blurred noise, about as large as photographs are; after 1,000 they repeat."""
    import h5py
    import numpy as np
    from PIL import Image, ImageFilter

    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (count,), h5py.vlen_dtype(np.uint8))
        some, encoded = noise(min(1000, count), side), []
        for number in range(count):
            if number < len(some):
                picture = Image.fromarray(some[number].transpose(1, 2, 0))
                written = io.BytesIO()
                picture.filter(ImageFilter.GaussianBlur(3)).save(written, "JPEG", quality=90)
                encoded.append(np.frombuffer(written.getvalue(), np.uint8))
            images[number] = encoded[number % len(some)]


def build(name, size):
    """Build a network with a head of two classes, as the rankers have it."""
    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.network.backbone import build_backbone

    return build_backbone(BackboneConfig(name), 2, size=size).eval()


def loop(folder, network, side, workers, device):
    """Score as a first program would; return the seconds."""
    import h5py
    import torch
    from PIL import Image
    from torchvision.transforms import ToTensor

    class Pictures(torch.utils.data.Dataset):
        def __init__(self):
            self.transform = ToTensor()
            self.file = None
            with h5py.File(folder / "jpegs.h5") as file:
                self.count = len(file["images"])

        def __len__(self):
            return self.count

        def __getitem__(self, number):
            if self.file is None:  # every worker opens it for itself
                self.file = h5py.File(folder / "jpegs.h5")
            picture = Image.open(io.BytesIO(self.file["images"][number].tobytes())).convert("RGB")
            return self.transform(picture), number

    model = build(network, side).to(device)
    began = time.perf_counter()
    scores = []
    loader = torch.utils.data.DataLoader(Pictures(), batch_size=BATCH, num_workers=workers)
    with torch.no_grad():
        for images, numbers in loader:
            probabilities = model(images.to(device)).softmax(1).cpu().numpy()
            scores.extend(zip(probabilities[:, 1], numbers.tolist(), strict=True))
    scores.sort(reverse=True)
    del scores[TOP:]
    return time.perf_counter() - began


def ours(folder, network, side, engine_name, device):
    """Score the cache; return the seconds."""
    from astroanomaly.learn.engine.device import tune_allocator

    tune_allocator()
    from astroanomaly.cache import Cache
    from astroanomaly.cache.scores import write_scores
    from astroanomaly.learn.engine.engine import make_engines
    from astroanomaly.learn.scoring import score_images
    from astroanomaly.session.survey.best import TopK

    model, seen = build(network, side), what_is_seen(Cache.open(folder / "cache"), side, tta_views=1)
    began = time.perf_counter()
    top = TopK(TOP)
    with tempfile.TemporaryDirectory(dir=folder) as scores:
        for part in score_images(model, Cache.open(folder / "cache"), seen, engines=make_engines(engine_name, device)):
            write_scores(Path(scores), part, ("nominal", "anomaly"), "benchmark")
            top.add(part.log_odds[:, 1], part.ids)
        top.result()
    return time.perf_counter() - began


def child(way, folder, arguments):
    """Do one run and print its seconds."""
    import torch

    network, side, device = arguments.network, arguments.side, arguments.device
    placed = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    if way in ("loop", "workers"):
        seconds = loop(folder, network, side, (os.cpu_count() or 1) if way == "workers" else 0, placed)
    else:
        seconds = ours(folder, network, side, arguments.fast if way == "fast" else "torch", device)
    print(json.dumps(seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=150)
    parser.add_argument("--network", default="tf_efficientnet_lite2", help="with bundled weights")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--fast", default="openvino", help="engine of the last way: openvino, torch-fp16 ...")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child[0], Path(arguments.child[1]), arguments)
        return
    speeds = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_cache(folder / "cache", arguments.count, arguments.side)
        make_jpegs(folder / "jpegs.h5", arguments.count, arguments.side)
        for _ in range(arguments.repeats):
            for way in WAYS:
                done = subprocess.run(
                    [sys.executable, *sys.argv, "--child", way, name], check=True, stdout=subprocess.PIPE, text=True
                )
                speeds[way].append(arguments.count / json.loads(done.stdout.splitlines()[-1]))
    title = f"{arguments.count} pictures of {arguments.side} px, {arguments.network}, batch {BATCH}"
    print(f"{title}, [fast] is {arguments.fast}\n")
    print("| | median | range |\n|---|---|---|")
    for way, title in WAYS.items():
        show(f"{title}, images/s", speeds[way], "{:.0f}")
    for way, title in list(WAYS.items())[1:]:
        show(f"{title} / loop", [b / a for a, b in zip(speeds["loop"], speeds[way], strict=True)], "{:.2f}")


if __name__ == "__main__":
    main()
