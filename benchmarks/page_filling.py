"""How pages of the app are filled, and what that costs: ``python benchmarks/page_filling.py``.

An expert gives true verdicts on what the app would show, and the probe ranks anew as it does there. A page is chosen as
a whole when it is opened (``whole``), or row by row, one or two rows ahead of the verdicts (``1 row``, ``2 rows``):

* ``keys``: a verdict on each object in turn; when a row has its verdicts, the next one is chosen.
* ``rest``: verdicts on all that is shown at once, as by the key r, then as many rows are chosen.
* ``late``: the next page is opened before the probe has learnt from the last one.

All begin with the same labels. The probe's own scale and coordinates are taken once, as they do not depend on labels.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from astroanomaly.app.review.grid_layout import grid_shape
from astroanomaly.benchmark.expert import Expert
from astroanomaly.benchmark.pools import draw_pool, list_cases
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.store import TrialFolder
from astroanomaly.benchmark.trial import Trial
from astroanomaly.cache import Cache
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.records import NOMINAL

DEPTHS = (50, 100, 200)
SCHEMES = ((0, ""), (0, "late"), (1, "keys"), (2, "keys"), (1, "rest"), (2, "rest"))  # rows ahead, 0: a whole page


class Ranking:
    """The probe on one pool with one seed. Its rankings are kept: schemes begin alike."""

    def __init__(self, trial, initial):
        ranker = trial._ranker("probe")
        for _ in ranker.fit(trial.cache, initial, trial._outside):
            pass
        store, scaler = ranker._store(trial.cache), ranker.head[0]
        self.ids = np.array(sorted(trial.truth))
        self.row = {object_id: k for k, object_id in enumerate(self.ids.tolist())}
        points = scaler.transform(store.get(self.ids.tolist()))  # (N, D)
        invariance = ranker._rotated_features(store).invariance(
            ranker._sample(store, trial._outside), scaler.transform, ranker.options.invariance
        )
        self.points = points.astype(np.float64) if invariance is None else invariance.transform(points)
        self.c = ranker.options.c
        self.known = {}

    def next(self, labels, shown, count):
        """Return the highest-scored objects that were not shown, from the ranking that knows these labels."""
        key = frozenset(labels)
        if key not in self.known:
            rows = [self.row[object_id] for object_id in labels]
            odd = [label != NOMINAL for label in labels.values()]
            model = LogisticRegression(C=self.c, class_weight="balanced", max_iter=2000).fit(self.points[rows], odd)
            scores = self.points @ model.coef_[0]
            self.known[key] = self.ids[np.argsort(-scores, kind="stable")].tolist()
        found = []
        for object_id in self.known[key]:
            if len(found) == count:
                break
            if object_id not in shown:
                found.append(object_id)
        return found


def verdicts(ranking, truth, initial, size, columns, ahead, flow):
    """Return the true classes of the objects on pages, in the order of their verdicts."""
    given, shown, order = dict(initial), set(initial), []
    before = dict(initial)  # labels that the last page was chosen with
    step = columns if flow == "keys" else max(1, ahead) * columns
    while len(order) < max(DEPTHS):
        page = ranking.next(before if flow == "late" else given, shown, min(size, ahead * columns) if ahead else size)
        shown.update(page)
        before, done = dict(given), 0
        while done < len(page):
            row = page[done:] if not ahead else page[done : done + step]
            given.update((object_id, truth[object_id]) for object_id in row)
            order += [truth[object_id] for object_id in row]
            done += len(row)
            more = ranking.next(given, shown, min(step, size - len(page))) if len(page) < size else []
            shown.update(more)
            page = page + more
    return order


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", required=True)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--initial", type=int, nargs=2, default=[2, 20])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--page", type=int, nargs="+", default=[25, 49, 100], help="objects on a page")
    parser.add_argument("--whole", type=int, nargs="+", default=[1, 2, 5, 10, 20], help="pages only chosen as a whole")
    parser.add_argument("--aspect", type=float, default=1.5, help="width of the room for images over its height")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    cache = Cache.open(arguments.cache)
    classes = read_truth(arguments.truth, arguments.column, cache.ids, cache.positions)
    settings = build_settings(parse_assignments(arguments.set, settings_sections()))
    protocol = Protocol(initial=tuple(arguments.initial), rate=arguments.rate, expert="top")
    (case,) = list_cases([arguments.anomaly], protocol)
    schemes = [(size, 0, "") for size in arguments.whole]
    schemes += [(size, *scheme) for size in arguments.page for scheme in SCHEMES]
    found = {scheme: [] for scheme in schemes}
    for seed in range(arguments.seeds):
        truth = draw_pool(classes, case, [arguments.anomaly], protocol, seed)
        expert = Expert(truth, case.known, seed=seed)
        expert.label_random(*protocol.initial, np.random.default_rng((seed, 7)))
        trial = Trial(cache, settings, protocol, "probe", case, seed, truth, TrialFolder(Path()))
        ranking = Ranking(trial, expert.labels)
        for size, ahead, flow in schemes:
            columns, _ = grid_shape(size, arguments.aspect, 1)
            order = verdicts(ranking, truth, expert.given, size, columns, ahead, flow)
            found[size, ahead, flow].append(np.cumsum([label != NOMINAL for label in order])[np.array(DEPTHS) - 1])
        print(f"seed {seed}: {len(ranking.known)} rankings", flush=True)
    print("| page | columns | chosen | " + " | ".join(f"found in {depth}" for depth in DEPTHS) + " |")
    print("|---" * (3 + len(DEPTHS)) + "|")
    base = np.array(found.get((20, 0, ""), found[schemes[0]]), float)  # what all are compared with
    for size, ahead, flow in schemes:
        values = np.array(found[size, ahead, flow], float)
        apart = values - base
        errors = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
        cells = [
            f"{mean:.1f} ± {scatter:.1f}; {difference:+.1f} ± {error:.1f}"
            for mean, scatter, difference, error in zip(
                values.mean(axis=0), values.std(axis=0, ddof=1), apart.mean(axis=0), errors, strict=True
            )
        ]
        rows = f"{ahead} row{'s' * (ahead > 1)}, {flow}" if ahead else f"whole {flow}".strip()
        print(f"| {size} | {grid_shape(size, arguments.aspect, 1)[0]} | {rows} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
