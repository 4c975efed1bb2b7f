"""What numbers beside the image bring to the probe: ``python benchmarks/blocks.py CACHE --truth T --anomaly A``.

The image as the probe sees it, and beside it one block of numbers at a time, with several weights:

* ``measured``: brightness, size, concentration, colours and asymmetry, measured on the cutouts themselves;
* ``--columns``: catalogue columns of the cache, as they are in the program;
* ``simulated``: one column drawn from another distribution for anomalies, ``--shift`` standard deviations apart: what a
  column such as a spectral index could bring. Nothing in the image has to do with it;
* ``random``: as many columns as ``measured`` has, and 512 of them, that have nothing to do with the objects.

AUPRC of all objects that have no label, after labels drawn at random (``--labels``), with the same draws for each.
``alone`` is the block without the image. ``chosen`` takes the weight that predicts labels best that were left out (five
folds, log loss). The fit is that of the program, and the first one is compared with it.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.hookspecs import RankerContext
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.features.blocks import BlockScale, column_numbers
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.records import Labelled, drain

C = 5.0
OBJECTS_PER_READ = 256


# ------------------------------------------------------------------------------------------------- what is measured


def photometry(images):
    """``(n, 6 or more)`` numbers of cutouts ``(n, bands, H, W)``: magnitude, r50, concentration, asymmetry, colours."""
    images = np.nan_to_num(images.astype(float))
    n, bands, height, width = images.shape
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    border = radius > 0.48 * height
    images = images - np.median(images[:, :, border], axis=2)[:, :, None, None]
    inside = radius < 0.45 * height
    order = np.argsort(radius[inside])
    light = images.mean(axis=1)
    growth = np.cumsum(light[:, inside][:, order], axis=1)
    total = growth[:, -1]
    share = growth / np.where(total > 0, total, np.nan)[:, None]
    radii = radius[inside][order]
    r20, r50, r80 = (radii[np.argmax(share >= level, axis=1)] for level in (0.2, 0.5, 0.8))
    difference = np.abs(light - light[:, ::-1, ::-1])[:, inside].sum(axis=1)
    asymmetry = difference / np.abs(light)[:, inside].sum(axis=1)
    fluxes = images[:, :, inside].sum(axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitudes = -2.5 * np.log10(fluxes)
        columns = [-2.5 * np.log10(total), r50, 5 * np.log10(r80 / r20), asymmetry]
    columns += [magnitudes[:, k] - magnitudes[:, k + 1] for k in range(bands - 1)]
    found = np.stack(columns, axis=1)
    return np.where(np.isfinite(found), found, np.nan)


def measured(cache, ids):
    parts = [
        photometry(cache.read(ids[start : start + OBJECTS_PER_READ])) for start in range(0, len(ids), OBJECTS_PER_READ)
    ]
    return np.concatenate(parts)


def blocks_of(cache, ids, truth, options):
    rng = np.random.default_rng(7)
    found = {"measured": measured(cache, ids)}
    if options.columns:
        table = cache.columns(ids)
        found["catalogue"] = np.stack(
            [column_numbers(table[name], "", name) for name in options.columns.split(",")], axis=1
        )
    for shift in options.shift:
        found[f"simulated, {shift:g} deviations"] = (rng.normal(size=len(ids)) + shift * truth)[:, None]
    width = found["measured"].shape[1]
    found |= {f"random, {k}": rng.normal(size=(len(ids), k)) for k in (1, width, 512)}
    return found


# ----------------------------------------------------------------------------------------------------- how it is fitted


def image_points(cache, ids, labelled, settings):
    """``(n, D)`` points of the image in which the probe is fitted, and its scores."""
    seen = ModelInput.measure(cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
    context = RankerContext(("nominal", "anomaly"), seen, settings["backbone"].chosen(seen.views))
    probe = Probe(settings["probe"], context)
    drain(probe.fit(cache, labelled))
    scores = {}
    for part in probe.score(cache):
        scores.update(zip(part.ids, -part.log_odds[:, 0], strict=True))
    store, scaler = probe._store(cache), probe.head[0]
    points = scaler.transform(store.get(ids))
    invariance = probe._invariance(scaler.transform, store, frozenset())
    points = points.astype(float) if invariance is None else invariance.transform(points)
    return points, np.array([scores[name] for name in ids])


def fitted(points, kinds):
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=2000)
    return model.fit(points, kinds)


def chosen_weight(image, block, kinds, weights):
    """Return the weight that predicts labels that were left out best."""
    losses = []
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(image, kinds))
    each = len(kinds) / (2 * np.bincount(kinds)[kinds])
    for weight in weights:
        points = np.hstack([image, weight**0.5 * block])
        loss = 0.0
        for learnt, left in folds:
            logits = fitted(points[learnt], kinds[learnt]).decision_function(points[left])
            loss += (each[left] * np.logaddexp(0, np.where(kinds[left], -logits, logits))).sum()
        losses.append(loss)
    return weights[int(np.argmin(losses))]


def auprc(points, truth, drawn):
    left = np.ones(len(truth), bool)
    left[drawn] = False
    return average_precision_score(truth[left], fitted(points[drawn], truth[drawn]).decision_function(points[left]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label", help="column of the truth")
    parser.add_argument("--anomaly", required=True, help="classes that are anomalies, with commas")
    parser.add_argument("--labels", default="10,30", help="anomalies and nominal objects that are labelled")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--columns", default="", help="catalogue columns, with commas")
    parser.add_argument("--shift", type=float, nargs="*", default=[1.0, 2.0])
    parser.add_argument("--weights", type=float, nargs="*", default=[0.1, 0.25, 0.5, 1, 2])
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    settings = build_settings(parse_assignments(options.set, settings_sections()))
    cache = Cache.open(options.cache)
    classes = read_truth(options.truth, options.column, list(cache.ids), cache.positions)
    ids = [name for name in cache.ids if name in classes]
    odd = set(options.anomaly.split(","))
    truth = np.array([classes[name] in odd for name in ids]).astype(int)
    anomalies, nominal = map(int, options.labels.split(","))
    print(f"{len(ids)} objects, {truth.sum()} anomalies, {anomalies} + {nominal} labels, {options.draws} draws")
    rng = np.random.default_rng(1)
    draws = [
        np.concatenate([
            rng.choice(np.flatnonzero(truth), anomalies, replace=False),
            rng.choice(np.flatnonzero(truth == 0), nominal, replace=False),
        ])
        for _ in range(options.draws)
    ]  # fmt: skip
    names = ("nominal", "anomaly")
    first = Labelled(tuple(ids[k] for k in draws[0]), tuple(names[truth[k]] for k in draws[0]))
    image, scores = image_points(cache, ids, first, settings)
    again = fitted(image[draws[0]], truth[draws[0]]).decision_function(image)
    print(f"largest difference to the scores of the program: {np.abs(again - scores).max():.1e}")
    base = np.array([auprc(image, truth, drawn) for drawn in draws])
    print(f"{'image':28s} {base.mean():.3f} ± {base.std(ddof=1):.3f}")
    for name, values in blocks_of(cache, ids, truth, options).items():
        block = BlockScale.measure(values, 1.0).transform(values).astype(float)
        kinds = {"alone": lambda drawn, block=block: auprc(block, truth, drawn)}
        for weight in options.weights:
            joined = np.hstack([image, weight**0.5 * block])
            kinds[f"weight {weight:g}"] = lambda drawn, joined=joined: auprc(joined, truth, drawn)

        def chosen(drawn, block=block):
            weight = chosen_weight(image[drawn], block[drawn], truth[drawn], [0.0, *options.weights])
            return auprc(np.hstack([image, weight**0.5 * block]), truth, drawn)

        kinds["chosen"] = chosen
        print(f"\n{name}: {values.shape[1]} columns")
        for kind, measure in kinds.items():
            found = np.array([measure(drawn) for drawn in draws])
            gain = found - base
            print(
                f"{kind:28s} {found.mean():.3f} ± {found.std(ddof=1):.3f}   {gain.mean():+.3f} ± "
                f"{gain.std(ddof=1) / len(gain) ** 0.5:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
