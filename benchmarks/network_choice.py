"""Whether labels can choose a cheaper network: ``python benchmarks/network_choice.py FOLDER``.

Frozen features of several networks, sizes and numbers of views are computed for galaxies, pictures and simulated sets
(those of `frames.py`). ``FOLDER`` keeps caches and features, so that a second run goes on from them.
``ASTROANOMALY_DATA`` names the folder of the data. Each draw labels some anomalies and three times as many nominal
objects; of the others, 5 % are anomalies. The logistic regression of the probe, without ``probe.invariance``, learns
the labels. Two figures tell how good a network is: the average precision of the rest, and the anomalies found in 1.7
times as many verdicts as there are anomalies (200 at most, 20 between two rankings).

Rules see the labels, 1,000 objects of the rest without their truth, and nothing else. By five-fold cross-validation,
three times, they know of each labelled anomaly the share of these objects that rank above it, its *depth*:

* ``noise z``: the cheapest network whose depth is not more than z standard errors worse than that of the best;
* ``shown t z``: the cheapest whose depth, z standard errors added, is at most t times that of the usual network.
"""

import argparse
import csv
import dataclasses
import os
import time
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from frames import SETS
from PIL import Image
from scipy.linalg import solve_triangular
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sky_sets import members

from astroanomaly import Cache, ingest
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.settings import build_settings
from astroanomaly.records import drain

NETWORKS = {  # name, size in pixels, views; the usual one first
    "Lite2, 128 px, 2 views": ("tf_efficientnet_lite2", 128, 2),
    "Lite2, 128 px, 1 view": ("tf_efficientnet_lite2", 128, 1),
    "Lite2, 96 px, 1 view": ("tf_efficientnet_lite2", 96, 1),
    "Lite0, 128 px, 2 views": ("tf_efficientnet_lite0", 128, 2),
    "Lite2, 64 px, 2 views": ("tf_efficientnet_lite2", 64, 2),
    "Lite0, 64 px, 2 views": ("tf_efficientnet_lite0", 64, 2),
    "Lite0, 64 px, 1 view": ("tf_efficientnet_lite0", 64, 1),
}
USUAL, ONE_VIEW = list(NETWORKS)[:2]
USUAL = next(iter(NETWORKS))
OBJECTS = {"galaxies": 3000, "pictures": 3000}  # 900 of the simulated sets
CLASSES = ["n03272010", "n07747607", "n02174001", "n03417042", "n02129165", "n03220513", "n04251144", "n07613480"]
LABELS = (10, 20, 40, 100)  # anomalies; three times as many nominal objects
FOUND_AFTER = (20, 40)  # of these the anomalies found are counted
RATE, BACKGROUND, C, TIMED = 0.05, 1000, 5.0, 64
RULES = [("noise", 0, 1.0), *(("shown", t, z) for t, z in ((1.05, 1.65), (1.1, 1.0), (1.1, 1.65), (1.2, 2.0)))]


# ----------------------------------------------------------------------------------------------------------- the sets


def pictures(rng, n):
    """All pictures of some classes, and others at random."""
    archive = zipfile.ZipFile(Path(os.environ["ASTROANOMALY_DATA"]) / "miniimagenet-10k.zip")
    every = members(archive)
    others = [one for one in every if one[1]["wnid"] not in CLASSES]
    chosen = [one for one in every if one[1]["wnid"] in CLASSES]
    chosen += [others[k] for k in rng.permutation(len(others))[: n - len(chosen)]]
    for place, row in chosen:
        yield archive.read(place), row["wnid"] if row["wnid"] in CLASSES else "other"


def made(name, folder):
    """Make the cache of a set, unless it is there; return it with the class of each object."""
    if not (folder / "cache").exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        rows = []
        if name == "pictures":
            for number, (content, kind) in enumerate(pictures(np.random.default_rng(0), OBJECTS[name])):
                (folder / "images" / f"{number:05d}.jpg").write_bytes(content)
                rows.append((f"{number:05d}.jpg", kind))
        else:
            images, odd = SETS[name](np.random.default_rng(0), OBJECTS.get(name, 900))
            for number, row in enumerate(np.random.default_rng(1).permutation(len(images))):
                Image.fromarray(images[row]).save(folder / "images" / f"{number:05d}.png")
                rows.append((f"{number:05d}.png", "anomaly" if odd[row] else "nominal"))
        with (folder / "labels.csv").open("w") as file:
            csv.writer(file).writerows([("object_id", "label"), *rows])
        ingest("images", [folder / "images"], out=folder / "cache")
    with (folder / "labels.csv").open() as file:
        kinds = dict(csv.reader(file))
    cache = Cache.open(folder / "cache")
    return cache, np.array([kinds[one.rsplit("/", 1)[-1]] for one in cache.ids])


def stores(cache, views):
    """Features of each network, to be computed."""
    settings = build_settings({"input": {"views": views}})
    seen = ModelInput.measure(cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
    for name, (network, size, count) in NETWORKS.items():
        backbone = dataclasses.replace(settings["backbone"], name=network).chosen(views)
        shown = dataclasses.replace(seen, size=size, tta_views=count)
        yield name, FeatureStore.of(cache, RankerContext((), shown, backbone))


def costs(found, block, repeats):
    """Processor time of each network for some cutouts in units of the usual one's, in turn: ``(repeats, networks)``."""
    taken = np.empty((repeats + 1, len(found)))
    for row in taken:
        for number, store in enumerate(found.values()):
            began = time.process_time()
            with torch.inference_mode():
                store.embed(to_tensor(block, store.model_input, "cpu", store.model_input.check(store.cache)))
            row[number] = time.process_time() - began
    return taken[1:] / taken[1:, :1]  # the first prepares the networks


def inner_products(store):
    """``(n, n)`` of the points of all objects."""
    drain(store.compute())
    features = store.get(store.cache.ids)
    sample = np.random.default_rng(3).permutation(len(features))[:2000]
    points = FeatureScaler.measure(features[sample], store.widths).transform(features)
    return points @ points.T


# -------------------------------------------------------------------------------------------------------- one network


def within(products, rows):
    """Coordinates of all objects in the space of some: a regression on these is the same there, and faster."""
    own = products[np.ix_(rows, rows)].astype(np.float64) + 1e-6 * np.eye(len(rows))
    return solve_triangular(np.linalg.cholesky(own), products[rows].astype(np.float64), lower=True).T


def fitted(points, odd):
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=200, solver="newton-cholesky")
    return model.fit(points, odd)


def depths(points, rows, odd, background):
    """Logarithm of the share of the background above each labelled anomaly, while it is held back."""
    found, folds = np.zeros(len(rows)), RepeatedStratifiedKFold(n_splits=5, n_repeats=3, random_state=0)
    for known, held_back in folds.split(rows, odd):
        model = fitted(points[rows[known]], odd[known])
        others = np.sort(model.decision_function(points[background]))
        above = len(others) - np.searchsorted(others, model.decision_function(points[rows[held_back]]))
        found[held_back] += np.log((above + 1) / (len(others) + 1)) / 3
    return found[odd]


def found_next(products, odd, rows, rest, verdicts):
    """Count the anomalies in the next verdicts, 20 between two rankings."""
    known, left = rows.tolist(), np.zeros(len(odd), bool)
    left[rest] = True
    while len(known) < len(rows) + verdicts:
        points = within(products, np.array(known))
        scores = fitted(points[known], odd[known]).decision_function(points)
        top = np.argsort(-np.where(left, scores, -np.inf))[: min(20, len(rows) + verdicts - len(known))]
        left[top] = False
        known += top.tolist()
    return int(odd[known[len(rows) :]].sum())


def draw(products, odd, count, seed):
    """Draw labels, and give for each network: depths of its anomalies, average precision, share found (or NaN)."""
    rng = np.random.default_rng((seed, count))
    sides = [rng.permutation(np.flatnonzero(odd == kind)) for kind in (True, False)]
    rows = np.concatenate([sides[0][:count], sides[1][: 3 * count]])
    nominal = sides[1][3 * count :]
    anomalies = sides[0][count:][: round(len(nominal) * RATE / (1 - RATE))]
    rest = np.concatenate([anomalies, nominal])
    background, verdicts = rng.permutation(rest)[:BACKGROUND], min(200, round(1.7 * len(anomalies)))
    for name, of_network in products.items():
        points = within(of_network, rows)
        precision = average_precision_score(odd[rest], fitted(points[rows], odd[rows]).decision_function(points[rest]))
        found = np.nan
        if count in FOUND_AFTER:
            found = found_next(of_network, odd, rows, rest, verdicts)
        yield name, (depths(points, rows, odd[rows], background), precision, found)


# ---------------------------------------------------------------------------------------------------------- the rules


def chosen(rule, measured, cost):
    """Name the network that a rule takes."""
    kind, limit, errors = rule

    def lost(name, other):
        difference = measured[name][0] - measured[other][0]
        return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))

    fine = [USUAL]
    if kind == "shown":
        for name in list(measured)[1:]:
            mean, error = lost(name, USUAL)
            if mean + errors * error <= np.log(limit):
                fine.append(name)
    else:
        best = min(measured, key=lambda name: measured[name][0].mean())
        fine = [best]
        for name in measured:
            mean, error = lost(name, best)
            if name != best and mean - errors * error <= 0:
                fine.append(name)
    return min(fine, key=cost.__getitem__)


def best_possible(measured, cost):
    """Name the cheapest network that truly loses at most .02."""
    return min((name for name in measured if measured[name][1] >= measured[USUAL][1] - 0.02), key=cost.__getitem__)


def line(label, picks, draws, costs_of_set):
    """Print time, differences to the usual network with standard errors over the draws, and how often much is lost."""
    time_taken = np.array([costs_of_set[pick] for pick in picks])
    lost = np.array([of[pick][1] - of[USUAL][1] for pick, of in zip(picks, draws, strict=True)])
    found = np.array([of[pick][2] / of[USUAL][2] - 1 for pick, of in zip(picks, draws, strict=True)])
    found = 100 * found[np.isfinite(found)]

    def shown(values, digits):
        return f"{values.mean():+.{digits}f} ± {values.std(ddof=1) / np.sqrt(len(values)):.{digits}f}"

    cells = [f"{time_taken.mean():.2f}", shown(lost, 3), f"{(lost < -0.05).mean():.0%}", shown(found, 1) + " %"]
    print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", choices=["galaxies", "pictures", *list(SETS)[1:]], required=True)
    parser.add_argument("--seeds", type=int, default=6, help="of each number of labels, and of each class of pictures")
    parser.add_argument("--repeats", type=int, default=5, help="of the timing")
    arguments = parser.parse_args()
    for name in arguments.set:
        cache, kinds = made(name, arguments.folder / name)
        of_networks = dict(stores(cache, "picture" if name == "pictures" else "sky"))
        products = {network: inner_products(store) for network, store in of_networks.items()}
        ratios = costs(of_networks, cache.read(cache.ids[:TIMED]), arguments.repeats)
        cost = dict(zip(NETWORKS, np.median(ratios, axis=0), strict=True))
        of_networks.clear()
        draws = defaultdict(list)  # by the number of labelled anomalies
        for kind in sorted(set(kinds) - {"nominal", "other"}):
            odd = kinds == kind
            for count in LABELS if odd.sum() > 2 * max(LABELS) else LABELS[:-1]:
                draws[count] += [dict(draw(products, odd, count, seed)) for seed in range(arguments.seeds)]
        every = [one for some in draws.values() for one in some]
        usual = np.mean([one[USUAL][1] for one in every])
        print(f"{name}: {len(cache)} objects, {len(every)} draws; average precision of the usual network {usual:.3f}")
        print("| choice | time | average precision | loses .05 | found |")
        print("|---" * 5 + "|")
        for number, network in enumerate(NETWORKS):
            low, high = ratios[:, number].min(), ratios[:, number].max()
            line(f"{network} ({low:.2f} to {high:.2f})", [network] * len(every), every, cost)
        for rule in RULES:
            label = f"{rule[0]} {rule[1] or ''} {rule[2]}"
            line(label, [chosen(rule, one, cost) for one in every], every, cost)
            for count, some in draws.items():
                picks = [chosen(rule, one, cost) for one in some]
                saved = np.mean([cost[pick] for pick in picks])
                lost = np.array([one[pick][1] - one[USUAL][1] for pick, one in zip(picks, some, strict=True)])
                print(f"|   {count} anomalies | {saved:.2f} | {lost.mean():+.3f} | {(lost < -0.05).mean():.0%} | |")
        line("the best choice possible", [best_possible(one, cost) for one in every], every, cost)


if __name__ == "__main__":
    main()
