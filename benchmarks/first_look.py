"""Which network the first order without labels should come from: ``python benchmarks/first_look.py FOLDER --set SET``.

Sets and ``FOLDER`` are those of `network_choice.py`. The app ranks by outliers as soon as 400 objects have features.
In the same time the smallest network sees about eight times as many objects. The figures are the anomalies among the
first 50 of that order, where 5 % of the objects are anomalies (one class of pictures: 3 %).
"""

import argparse
from pathlib import Path

import numpy as np
from network_choice import NETWORKS, OBJECTS, SETS, USUAL, made, stores
from views import outlier_scores

from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.records import drain

SMALLEST = list(NETWORKS)[-1]
ORDERS = [(USUAL, 400), (USUAL, 3200), (SMALLEST, 400), (SMALLEST, 3200)]
FIRST, RATE = 50, 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", choices=[*OBJECTS, *list(SETS)[1:]], required=True)
    parser.add_argument("--seeds", type=int, default=10, help="draws of the objects, of each class of pictures")
    arguments = parser.parse_args()
    for name in arguments.set:
        cache, kinds = made(name, arguments.folder / name)
        of_networks = dict(stores(cache, "picture" if name == "pictures" else "sky"))
        found = {order: [] for order in ORDERS}
        for network in (USUAL, SMALLEST):
            store = of_networks[network]
            drain(store.compute())
            features = store.get(cache.ids)
            for kind in sorted(set(kinds) - {"nominal", "other"}):
                for seed in range(arguments.seeds):
                    rng = np.random.default_rng(seed)
                    anomalies, others = rng.permutation(np.flatnonzero(kinds == kind)), np.flatnonzero(kinds != kind)
                    anomalies = anomalies[: round(len(others) * RATE / (1 - RATE))]
                    pool = rng.permutation(np.concatenate([anomalies, others]))
                    for order in ORDERS:
                        if order[0] == network:
                            seen = features[pool[: order[1]]]
                            points = FeatureScaler.measure(seen, store.widths).transform(seen, sqrt_norm=True)
                            first = np.argsort(-outlier_scores(points))[:FIRST]
                            found[order].append((kinds[pool[first]] == kind).sum())
        for (network, count), values in found.items():
            error = np.std(values, ddof=1) / np.sqrt(len(values))
            seen = min(count, len(pool))
            print(f"| {name} | {network}, of {seen} objects | {np.mean(values):.1f} ± {error:.1f} |", flush=True)


if __name__ == "__main__":
    main()
