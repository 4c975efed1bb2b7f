"""How many anomalies are found from no label at all: ``python benchmarks/from_nothing.py``.

An expert gives true verdicts on the highest-scored objects, a few at a time, and all is ranked anew:

* ``cold, then probe``: outliers until there is a verdict of either kind, then the probe;
* ``active-search``: the outlier score as the prior of the probe, with the strengths given by ``--prior``;
* with ``--astronomaly``: the method of Astronomaly on the same features.

The first two have the same outlier scores of each pool.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from astronomaly_method import NeighbourScore

from astroanomaly.benchmark.pools import draw_pool, list_cases
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.store import TrialFolder
from astroanomaly.benchmark.trial import Trial
from astroanomaly.cache import Cache
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.records import NOMINAL, Labelled

DEPTHS = (50, 100, 200)


def scores(ranker, cache, labels, outside):
    for _ in ranker.fit(cache, labels, outside):
        pass
    return -np.concatenate([part.log_odds[:, 0] for part in ranker.score(cache)])


def found_first(trial, step, ranker, outliers):
    """Return how many of the first objects that are looked at are anomalies, for each of `DEPTHS`."""
    ids = np.array(trial.cache.ids)
    left = np.isin(ids, list(trial.truth))
    given = {}
    if ranker.name == "active-search":
        ranker.begin_with(trial.cache, outliers)
    while len(given) < max(DEPTHS):
        labels = Labelled(tuple(given), tuple(given.values()))
        begins = ranker.needs_labels and len(set(given.values())) < 2
        values = outliers if begins else scores(ranker, trial.cache, labels, trial._outside)
        order = np.argsort(-np.where(left, values, -np.inf), kind="stable")[: min(step, max(DEPTHS) - len(given))]
        left[order] = False
        given.update((object_id, trial.truth[object_id]) for object_id in ids[order].tolist())
    return np.cumsum([label != NOMINAL for label in given.values()])[np.array(DEPTHS) - 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", required=True, nargs="+", help="each in turn")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--pool", type=int, nargs=3)
    parser.add_argument("--part", default="")
    parser.add_argument("--batch", type=int, default=5, help="verdicts between two rankings")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--prior", type=float, nargs="+", default=[0.25, 0.5, 1.0])
    parser.add_argument("--astronomaly", action="store_true", help="the method of Astronomaly too")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    cache = Cache.open(arguments.cache)
    classes = read_truth(arguments.truth, arguments.column, cache.ids, cache.positions)
    settings = build_settings(parse_assignments(arguments.set, settings_sections()))
    pool = tuple(arguments.pool) if arguments.pool else None
    protocol = Protocol(initial=(0, 0), rate=arguments.rate, pool=pool, part=arguments.part, expert="top")
    named = ["cold, then probe", *(f"active-search, prior {strength:g}" for strength in arguments.prior)]
    named += [NeighbourScore.name] if arguments.astronomaly else []
    found = {name: [] for name in named}
    for case in list_cases(arguments.anomaly, protocol):
        for seed in range(arguments.seeds):
            truth = draw_pool(classes, case, arguments.anomaly, protocol, seed)
            trial = Trial(cache, settings, protocol, "probe", case, seed, truth, TrialFolder(Path()))
            outliers = scores(trial._ranker("cold"), cache, Labelled((), ()), trial._outside)
            rankers = [trial._ranker("probe")]
            kind = type(trial._ranker("active-search"))
            rankers += [kind(replace(settings["probe"], prior=one), trial._context) for one in arguments.prior]
            if arguments.astronomaly:
                part = np.isin(cache.ids, list(truth))
                rankers.append(NeighbourScore(cache.ids, part, trial._scaled_features(list(cache.ids)), seed))
            for name, ranker in zip(named, rankers, strict=True):
                found[name].append(found_first(trial, arguments.batch, ranker, outliers))
        print(f"{case.name}: {sum(label != NOMINAL for label in truth.values())} of {len(truth)}", flush=True)
    print("| | " + " | ".join(f"found in {depth}, least | difference" for depth in DEPTHS) + " |")
    print("|---" * (1 + 2 * len(DEPTHS)) + "|")
    base = np.array(found[named[0]], float)
    for name in named:
        values = np.array(found[name], float)
        apart = values - base
        errors = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
        cells = [
            f"{values[:, k].mean():.1f} ± {values[:, k].std(ddof=1):.1f}, {values[:, k].min():.0f} | "
            + (f"{apart[:, k].mean():+.1f} ± {errors[k]:.1f}" if name != named[0] else "")
            for k in range(len(DEPTHS))
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
