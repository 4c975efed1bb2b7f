"""How many bits the features need: ``python benchmarks/feature_bits.py``.

All variants of a set have the same objects, labels and draws. Sets and figures are those of `frames.py`: AUPRC after 10
anomalies and 30 nominal objects drawn at random, and anomalies found in 50 verdicts from no label, where 5 % are
anomalies. The last column is the share of the 20 nearest objects that stay the 20 nearest.
``ASTROANOMALY_DATA`` names the folder of the data.
"""

import argparse

import numpy as np
from frames import SETS, Network, cells, figures
from scales import STAGES, layers

from astroanomaly.learn.features.store import unit_length

NEAREST = 20


def by_number(features, bits):
    """Round each number of the features to so many bits between its 0.1 and 99.9 % quantiles."""
    low, high = np.quantile(features, [0.001, 0.999], axis=0)
    step = np.maximum(high - low, 1e-12) / (2**bits - 1)
    return low + np.clip(np.round((features - low) / step), 0, 2**bits - 1) * step


def by_object(features, bits):
    """Round the features of each object to so many bits, between plus and minus the largest of them."""
    step = np.maximum(np.abs(features).max(axis=1, keepdims=True), 1e-12) / (2 ** (bits - 1) - 1)
    return np.round(features / step) * step


def by_group(features, bits, size=32):
    """Round groups of 32 neighbouring numbers of an object, as `by_object`."""
    return by_object(features.reshape(-1, size), bits).reshape(features.shape)


VARIANTS = {
    "float16": lambda features: features.astype(np.float16),
    "8 bits, a scale for each object": lambda features: by_object(features, 8),
    "4 bits, a scale for each object": lambda features: by_object(features, 4),
    "4 bits, a scale for each 32 numbers of an object": lambda features: by_group(features, 4),
    "8 bits, a scale for each number": lambda features: by_number(features, 8),
    "6 bits, a scale for each number": lambda features: by_number(features, 6),
    "4 bits, a scale for each number": lambda features: by_number(features, 4),
    "2 bits, a scale for each number": lambda features: by_number(features, 2),
}


def neighbours(features):
    """Return ``(n, NEAREST)`` rows of the nearest objects by cosine."""
    unit = unit_length(features)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    return np.argsort(-alike, axis=1)[:, :NEAREST]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--set", dest="only", help="one of the sets")
    arguments = parser.parse_args()
    sizes = (128, 48)
    networks = {size: Network() for size in sizes}
    for name in [arguments.only] if arguments.only else list(SETS):
        images, odd = SETS[name](np.random.default_rng(0), arguments.objects)
        kept = [layer for size in sizes for layer in layers(networks[size], images, size)[STAGES[size][1]]]
        features, widths = np.concatenate(kept, axis=1), [layer.shape[1] for layer in kept]
        base, near = None, neighbours(features)
        for variant, rounded in VARIANTS.items():
            seen = rounded(features).astype(np.float32)
            values = figures(seen, widths, odd, arguments.seeds)
            base = values if base is None else base
            same = np.mean([len(set(a) & set(b)) for a, b in zip(near, neighbours(seen), strict=True)]) / NEAREST
            print(f"| {name} | {variant} | {cells(values, base)} | {same:.3f} |", flush=True)


if __name__ == "__main__":
    main()
