"""What numbers beside the image bring to the probe: ``python benchmarks/blocks.py CACHE --truth T --anomaly A``.

The image as the probe sees it, and beside it one block of numbers at a time, with several weights:

* ``measured``: brightness, size, concentration, colours and asymmetry, measured on the cutouts themselves;
* ``--columns``: catalogue columns of the cache, as they are in the program;
* ``simulated``: one column drawn from another distribution for anomalies, ``--shift`` standard deviations apart: what a
  column such as a spectral index could bring. Nothing in the image has to do with it;
* ``embedding``: the same column and seven others that say nothing, mixed into 512 numbers with some noise;
* ``random``: one column, as many as ``measured`` has, and 512, that have nothing to do with the objects.

``--scatter`` is the root mean square of the products of the points of two objects in a block, see
`astroanomaly.learn.features.blocks.BlockScale`.

AUPRC of all objects that have no label, after labels drawn at random (``--labels``), with the same draws for each.
``alone`` is the block without the image. ``chosen`` (``--choose``) takes the scatter, or none of the block, that
predicts labels best that were left out (five folds, log loss). The fit is that of the program, and the first one is
compared with it. ``--outliers`` ranks by `cold` instead: how many of the first 100 are anomalies, and of 30 random
objects whose number in one column is 5 deviations from the others (``planted``).
"""

import argparse
import dataclasses
import tempfile
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
from astroanomaly.learn.features.block_files import write_block
from astroanomaly.learn.features.blocks import BlockScale, _scatter, column_numbers
from astroanomaly.learn.features.photometry import photometry, photometry_names
from astroanomaly.learn.rankers.cold import Cold, ColdOptions
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.records import FeatureBlock, Labelled, drain

C = 5.0
OBJECTS_PER_READ = 256


# ------------------------------------------------------------------------------------------------- what is measured


def measured(cache, ids):
    """``(n, 4 or more)``: magnitude, half-light radius, concentration, asymmetry and colours of `photometry`."""
    starts = range(0, len(ids), OBJECTS_PER_READ)
    found = np.concatenate([photometry(cache.read(ids[start : start + OBJECTS_PER_READ])) for start in starts])
    return np.delete(found, [photometry_names(cache.bands).index(name) for name in ("gini", "m20")], axis=1)


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
        latent = np.column_stack([rng.normal(size=len(ids)) + shift * truth, rng.normal(size=(len(ids), 7))])
        mixed = latent @ rng.normal(size=(8, 512)) + rng.normal(size=(len(ids), 512))
        found[f"embedding, {shift:g} deviations"] = mixed
    width = found["measured"].shape[1]
    found |= {f"random, {k}": rng.normal(size=(len(ids), k)) for k in (1, width, 512)}
    return found


# ----------------------------------------------------------------------------------------------------- how it is fitted


def image_points(cache, ids, labelled, context, settings):
    """``(n, D)`` points of the image in which the probe is fitted, and its scores."""
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


def fitted(kernel, kinds):
    """Return what gives scores ``(N,)`` of products ``(N, n)`` with the ``n`` labelled points, and the bias.

    The logistic regression of the probe in the coordinates of the labelled points: the same, and faster.
    """
    values, vectors = np.linalg.eigh(kernel)
    values = values.clip(1e-12)
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=2000)
    model.fit(vectors * values**0.5, kinds)
    return vectors @ (model.coef_[0] / values**0.5), model.intercept_[0]


def scores(products, drawn, truth):
    """Scores ``(N,)`` of all objects from the products ``(N, n)`` of their points with those of the labelled."""
    weight, bias = fitted(products[drawn], truth[drawn])
    return products @ weight + bias


def auprc(products, drawn, truth):
    left = np.ones(len(truth), bool)
    left[drawn] = False
    return average_precision_score(truth[left], scores(products, drawn, truth)[left])


def chosen(choices, drawn, truth):
    """Return the products that predict labels that were left out best."""
    losses, kinds = [], truth[drawn]
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(drawn, kinds))
    each = len(kinds) / (2 * np.bincount(kinds)[kinds])
    for products in choices:
        known, loss = products[drawn], 0.0
        for learnt, left in folds:
            weight, bias = fitted(known[np.ix_(learnt, learnt)], kinds[learnt])
            logits = known[np.ix_(left, learnt)] @ weight + bias
            loss += (each[left] * np.logaddexp(0, np.where(kinds[left], -logits, logits))).sum()
        losses.append(loss)
    return choices[int(np.argmin(losses))]


def outliers(cache, ids, truth, context, options):
    """Print what `cold` finds among its first 100 with blocks of several weights beside the image."""
    rng = np.random.default_rng(3)
    planted = np.isin(np.arange(len(ids)), rng.choice(len(ids), 30, replace=False))
    blocks = {
        "measured": measured(cache, ids),
        "random, 6": rng.normal(size=(len(ids), 6)),
        "planted, 1": rng.normal(size=(len(ids), 1)) + 5 * planted[:, None],
        "planted, one of 6": rng.normal(size=(len(ids), 6)) + 5 * np.outer(planted, np.eye(6)[0]),
    }
    cold = Cold(ColdOptions(), context)

    def first():
        drain(cold.fit(cache, Labelled((), ())))
        found = {}
        for part in cold.score(cache):
            found.update(zip(part.ids, -part.log_odds[:, 0], strict=True))
        best = np.argsort(-np.array([found[name] for name in ids]))[:100]
        return f"{truth[best].sum()} anomalies, {planted[best].sum()} planted"

    print(f"image: {first()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, values in blocks.items():
            kept = Path(folder) / name.replace(" ", "_")
            write_block(kept, ids, values, {})
            for weight in options.weights:
                columns = tuple(map(str, range(values.shape[1])))
                block = FeatureBlock("block", columns, folder=str(kept), weight=weight)
                cold.context = dataclasses.replace(context, blocks=(block,))
                print(f"{name}, weight {weight:g}: {first()}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label", help="column of the truth")
    parser.add_argument("--anomaly", required=True, help="classes that are anomalies, with commas")
    parser.add_argument(
        "--labels",
        nargs="*",
        default=["10,30", "30,50", "3,10"],
        help="anomalies and nominal objects that are labelled",
    )
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--columns", default="", help="catalogue columns, with commas")
    parser.add_argument("--shift", type=float, nargs="*", default=[1.0, 2.0])
    parser.add_argument("--scatter", type=float, nargs="*", default=[0.005, 0.01, 0.02, 0.04, 0.08])
    parser.add_argument("--outliers", action="store_true", help="rank without labels instead")
    parser.add_argument("--weights", type=float, nargs="*", default=[0.4, 1, 2, 4], help="for --outliers")
    parser.add_argument("--choose", action="store_true", help="measure a choice by the labels, too")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cache = Cache.open(options.cache)
    ids, truth = known_objects(cache, options)
    if options.outliers:
        outliers(cache, ids, truth, context_of(cache, options)[0], options)
        return
    beside_image(cache, ids, truth, options, lambda: blocks_of(cache, ids, truth, options))


def known_objects(cache, options):
    """Return the ids of objects whose class is known, and ``(n,)`` whether they are anomalies."""
    classes = read_truth(options.truth, options.column, list(cache.ids), cache.positions)
    ids = [name for name in cache.ids if name in classes]
    odd = set(options.anomaly.split(","))
    return ids, np.array([classes[name] in odd for name in ids]).astype(int)


def rarer(ids, truth, rate):
    """Leave out anomalies at random, so that they are a share of the others."""
    kinds = [np.flatnonzero(truth == kind) for kind in (0, 1)]
    count = round(rate / (1 - rate) * len(kinds[0]))
    kept = np.sort(np.concatenate([kinds[0], np.random.default_rng(2).permutation(kinds[1])[:count]]))
    return [ids[k] for k in kept], truth[kept]


def context_of(cache, options):
    """Return what rankers are made with, and their settings."""
    settings = build_settings(parse_assignments(options.set, settings_sections()))
    seen = ModelInput.measure(cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
    return RankerContext(("nominal", "anomaly"), seen, settings["backbone"].chosen(seen.views)), settings


def beside_image(cache, ids, truth, options, numbers):
    """Print what blocks of numbers bring beside the image; ``numbers()`` gives them by name."""
    print(f"{len(ids)} objects, {truth.sum()} anomalies, {options.draws} draws", flush=True)
    context, settings = context_of(cache, options)
    draws = {labels: drawn(truth, options.draws, *map(int, labels.split(","))) for labels in options.labels}
    some, names = draws[options.labels[0]][0], ("nominal", "anomaly")
    first = Labelled(tuple(ids[k] for k in some), tuple(names[truth[k]] for k in some))
    image, told = image_points(cache, ids, first, context, settings)
    again = scores(image @ image[some].T, some, truth)
    print(f"largest difference to the scores of the program: {np.abs(again - told).max():.1e}")
    print(f"scatter of the image {_scatter(image[:1000] - image[:1000].mean(axis=0)):.3f}")
    blocks = {
        name: BlockScale.measure(values, 1.0).transform(values).astype(float) for name, values in numbers().items()
    }
    for labels, some in draws.items():
        compare(image, blocks, some, truth, options, labels)


def drawn(truth, count, anomalies, nominal):
    """Draw the objects that are labelled, several times."""
    rng = np.random.default_rng(1)
    kinds = np.flatnonzero(truth), np.flatnonzero(truth == 0)
    return [
        np.concatenate(
            [rng.choice(kind, n, replace=False) for kind, n in zip(kinds, (anomalies, nominal), strict=True)]
        )
        for _ in range(count)
    ]


def compare(image, blocks, draws, truth, options, labels):
    of_image = [image @ image[some].T for some in draws]
    base = np.array([auprc(*pair, truth) for pair in zip(of_image, draws, strict=True)])
    print(f"\n{labels} labels, image: {base.mean():.3f} ± {base.std(ddof=1):.3f}")
    for name, block in blocks.items():
        figures = {}
        for first, some in zip(of_image, draws, strict=True):
            products = block @ block[some].T
            choices = {f"{scatter:g}": first + scatter * products for scatter in options.scatter}
            found = {"alone": auprc(products, some, truth)}
            found |= {kind: auprc(one, some, truth) for kind, one in choices.items()}
            if getattr(options, "choose", False):
                found["chosen"] = auprc(chosen([first, *choices.values()], some, truth), some, truth)
            for kind, value in found.items():
                figures.setdefault(kind, []).append(value)
        cells = []
        for kind, found in figures.items():
            gain = np.array(found) - base
            cells.append(f"{kind}: {gain.mean():+.3f} ± {gain.std(ddof=1) / len(gain) ** 0.5:.3f}")
        print(f"{name:26s} {block.shape[1]:4d}  " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
