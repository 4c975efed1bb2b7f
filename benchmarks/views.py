"""What further views bring to the instant ranker: ``python benchmarks/views.py CACHE --truth T --anomaly A``.

Each view is an image of the object as the network gets it, changed: |I - I rotated by 180 degrees| (``asymmetry``), the
middle half enlarged (``centre``), and square roots of the pixels (``roots``: faint parts brighter). Frozen features of
each view become points of length 1 on the scale of the survey; points of several views are put side by side, with
weights. All settings have the same objects, labels and outlier scores (of the image alone). Two questions:

* AUPRC of all objects after labels drawn at random (``--labels``), with all anomalies there are;
* anomalies found in 100 and 200 verdicts from no label at all, where anomalies are a share ``--rate`` of the objects.

Rotation is not penalised here (`probe.invariance`), for any setting.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors
from torch.nn import functional

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.hookspecs import RankerContext
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.features.projection import principal_axes
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.rankers.active_search import _bounded, _most_probable
from astroanomaly.learn.settings import build_settings, settings_sections

SETTINGS = {
    "image": {"image": 1},
    "and asymmetry": {"image": 1, "asymmetry": 1},
    "and asymmetry, weight .5": {"image": 1, "asymmetry": 0.5},
    "and centre": {"image": 1, "centre": 1},
    "and roots": {"image": 1, "roots": 1},
    "and asymmetry, centre": {"image": 1, "asymmetry": 1, "centre": 1},
    "and all three": {"image": 1, "asymmetry": 1, "centre": 1, "roots": 1},
}
C, PRIOR, BATCH = 5.0, 0.5, 5
OBJECTS_PER_PASS = 64


def centre(images):
    quarter = images.shape[2] // 4
    middle = images[:, :, quarter:-quarter, quarter:-quarter]
    return functional.interpolate(middle, size=images.shape[2], mode="bicubic", antialias=True).clamp(0, 1)


VIEWS = {
    "image": lambda images: images,
    "asymmetry": lambda images: (images - images.flip((2, 3))).abs(),
    "centre": centre,
    "roots": lambda images: images.clamp(min=0).sqrt(),
}


def compute(cache, settings, folder):
    """Return ``(n, D)`` features by view, kept in a folder, and the widths of the layers."""
    rng = np.random.default_rng((0, 0))
    model_input = ModelInput.measure(cache, settings["stretch"], settings["input"], rng)
    store = FeatureStore.of(cache, RankerContext(("nominal", "anomaly"), model_input, settings["backbone"]))
    missing = [name for name in VIEWS if not (folder / f"{name}.npy").is_file()]
    parts = {name: [] for name in missing}
    ids, planes = list(cache.ids), model_input.check(cache)
    for start in range(0, len(ids) if missing else 0, OBJECTS_PER_PASS):
        block = np.stack([cache[one].data for one in ids[start : start + OBJECTS_PER_PASS]])
        with torch.inference_mode():
            seen = to_tensor(block, model_input, store.engine.device, planes)
            for name in missing:
                view = VIEWS[name](seen).contiguous(memory_format=torch.channels_last)
                parts[name].append(store.embed(view).half().cpu().numpy())
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in parts.items():
        np.save(folder / f"{name}.npy", np.concatenate(found))
    return {name: np.load(folder / f"{name}.npy") for name in VIEWS}, store.widths


def outlier_scores(points):
    axes = principal_axes(points, min(128, max(2, len(points) // 5)))
    projected = (points - axes[0]) @ axes[1:].T
    distances = NearestNeighbors(n_neighbors=min(50, len(points) - 1)).fit(projected).kneighbors()[0].mean(axis=1)
    middle = np.median(distances)
    return _bounded((distances - middle) / (1.4826 * np.median(np.abs(distances - middle))))


def points_of(features, widths, rows, rng):
    """Return points by view of the objects that take part, and their outlier scores by the image."""
    sample = rng.choice(rows, min(2000, len(rows)), replace=False)
    points = {}
    for name, values in features.items():
        scaler = FeatureScaler.measure(np.nan_to_num(values[sample].astype(np.float32)), widths)
        points[name] = scaler.transform(np.nan_to_num(values[rows].astype(np.float32)))
        if name == "image":
            outliers = outlier_scores(scaler.transform(values[rows].astype(np.float32), sqrt_norm=True))
    return points, outliers


def side_by_side(points, weights):
    total = sum(weights.values())
    return np.hstack([np.sqrt(weight / total) * points[name] for name, weight in weights.items()])


def scores(points, truth, chosen, outliers):
    """Log-odds of all objects after the true labels of some, as `active-search` has them."""
    if not len(chosen):
        return outliers
    kinds = truth[chosen]
    counts = np.bincount(kinds, minlength=2)
    one_kind = not counts.all()
    each = np.full(len(chosen), 0.5) if one_kind else len(chosen) / (2 * counts[kinds])
    start = np.zeros((points.shape[1] + 1, 1))
    start[-1] = -2.0 if one_kind else 0.0
    weight, bias = _most_probable(
        points[chosen].astype(np.float64), kinds, C * each, PRIOR * outliers[chosen], start, bias=not one_kind
    )
    return points @ weight[:, 0] + bias[0] + PRIOR * outliers


def auprc(points, truth, outliers, drawn):
    left = np.ones(len(truth), bool)
    left[drawn] = False
    return average_precision_score(truth[left], scores(points, truth, drawn, outliers)[left])


def found(points, truth, outliers):
    """Anomalies among the first 100 and 200 objects that are looked at."""
    given, left = [], np.ones(len(truth), bool)
    while len(given) < 200:
        ranked = np.argsort(-np.where(left, scores(points, truth, np.array(given, int), outliers), -np.inf))[:BATCH]
        left[ranked] = False
        given += ranked.tolist()
    return truth[given[:100]].sum(), truth[given].sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", required=True)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--labels", type=int, nargs=2, default=[10, 30], help="anomalies and nominal objects")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--kept", type=Path, required=True, help="folder where features of the views are kept")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    cache = Cache.open(arguments.cache)
    classes = read_truth(arguments.truth, arguments.column, cache.ids, cache.positions)
    settings = build_settings(parse_assignments(arguments.set, settings_sections()))
    features, widths = compute(cache, settings, arguments.kept)
    odd = np.array([classes[one] == arguments.anomaly for one in cache.ids])
    figures = {name: [] for name in SETTINGS}
    for seed in range(arguments.seeds):
        rng = np.random.default_rng(seed)
        points, outliers = points_of(features, widths, np.arange(len(odd)), rng)
        drawn = [
            rng.choice(np.flatnonzero(odd == kind), n, False) for kind, n in zip((1, 0), arguments.labels, strict=True)
        ]
        wanted = round(arguments.rate / (1 - arguments.rate) * (~odd).sum())
        some = np.sort(np.r_[np.flatnonzero(~odd), rng.choice(np.flatnonzero(odd), wanted, replace=False)])
        few, few_outliers = points_of(features, widths, some, rng)
        for name, weights in SETTINGS.items():
            value = auprc(side_by_side(points, weights), odd.astype(int), outliers, np.concatenate(drawn))
            figures[name].append((value, *found(side_by_side(few, weights), odd[some].astype(int), few_outliers)))
        print(f"seed {seed}", flush=True)
    print("| | AUPRC | difference | found in 100, least | difference | found in 200, least | difference |")
    print("|---" * 7 + "|")
    base = np.array(figures["image"], float)
    for name, rows in figures.items():
        values = np.array(rows, float)
        apart = values - base
        errors = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
        cells = [f"{values[:, 0].mean():.3f} ± {values[:, 0].std(ddof=1):.3f}"]
        cells += [f"{apart[:, 0].mean():+.3f} ± {errors[0]:.3f}"]
        for k in (1, 2):
            cells += [f"{values[:, k].mean():.1f} ± {values[:, k].std(ddof=1):.1f}, {values[:, k].min():.0f}"]
            cells += [f"{apart[:, k].mean():+.1f} ± {errors[k]:.1f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
