"""At which sizes the network should see images of the sky: ``python benchmarks/scales.py``.

All variants of a set have the same objects, labels and draws. Sets and figures are those of `frames.py`: AUPRC after 10
anomalies and 30 nominal objects drawn at random, and anomalies found in 50 verdicts from no label, where 5 % are
anomalies. ``ASTROANOMALY_DATA`` names the folder of the data.
"""

import argparse

import numpy as np
import torch
from frames import SETS, Network, cells, figures

from astroanomaly.learn.preprocessing import resize

SIZES = (128, 96, 64, 48, 32)
END = {size: (size, slice(0, None)) for size in SIZES}  # the end of the network and its last four stages
STAGES = {size: (size, slice(1, None)) for size in SIZES}  # the stages alone
VARIANTS = {
    "128 px, with the end": [END[128]],
    "96 px, with the end": [END[96]],
    "64 px, with the end": [END[64]],
    "48 px, with the end": [END[48]],
    "128 px": [STAGES[128]],
    "64 px": [STAGES[64]],
    "48 px": [STAGES[48]],
    "128 and 64 px": [STAGES[128], STAGES[64]],
    "128 and 48 px": [STAGES[128], STAGES[48]],
    "96 and 48 px": [STAGES[96], STAGES[48]],
    "128, 64 and 32 px": [STAGES[128], STAGES[64], STAGES[32]],
}


def layers(network, images, size):
    """Return ``(n, channels)`` float32 of each layer, averaged over two rotated views."""
    parts = []
    for start in range(0, len(images), 50):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + 50].transpose(0, 3, 1, 2))).float()
        seen = resize(pixels / 255, size)
        with torch.inference_mode():
            views = [
                network.run(seen.rot90(k, (2, 3)).contiguous(memory_format=torch.channels_last)).float().numpy()
                for k in (0, 2)
            ]
        parts.append((views[0] + views[1]) / 2)
    return np.split(np.concatenate(parts), np.cumsum(network.backbone.widths(size))[:-1], axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--set", dest="only", help="one of the sets")
    arguments = parser.parse_args()
    networks = {size: Network() for size in SIZES}  # each is made ready for one size
    for name in [arguments.only] if arguments.only else list(SETS):
        images, odd = SETS[name](np.random.default_rng(0), arguments.objects)
        seen = {size: layers(network, images, size) for size, network in networks.items()}
        base = None
        for variant, chosen in VARIANTS.items():
            kept = [layer for size, which in chosen for layer in seen[size][which]]
            widths = [layer.shape[1] for layer in kept]
            values = figures(np.concatenate(kept, axis=1), widths, odd, arguments.seeds)
            base = values if base is None else base
            print(f"| {name} | {variant} | {cells(values, base)} |", flush=True)


if __name__ == "__main__":
    main()
