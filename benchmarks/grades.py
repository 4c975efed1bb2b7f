"""Whether a ranker gains from the order of grades: ``python benchmarks/grades.py CACHE --truth FILE --anomaly NAME``.

Graders give A, B, C and X (not a candidate). Who is given C is less often an anomaly than who is given A. Two kinds of
graders are simulated:

* ``chance``: which objects are graded wrongly does not depend on how they look;
* ``looks``: the grade follows how the object looks to a probe that was trained on other objects. Anomalies that look
  most like one are A, those that look least so are C; the nominal objects called B and C are those that look most odd.

In both, a share of A, B and C (``--purity``) are anomalies, and all of X are nominal. A ranker learns from these labels
in several ways, all on the same draws, and ranks the objects without a label. The table gives the area under the
precision-recall curve against the truth, and the difference from grades taken as one class.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from astroanomaly import Session, metrics
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.active_search import ActiveSearch
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.learn.settings import settings_sections
from astroanomaly.records import NOMINAL, Labelled, drain

GRADES = ("A", "B", "C")
PURITY = (0.97, 0.75, 0.4)
NUMBERS = {"few": (3, 4, 6, 40), "many": (20, 25, 35, 300)}  # of A, B, C and X
WAYS = {  # weights of A, B and C; or what else is done
    "one class": (1.0, 1.0, 1.0),
    "a class for each grade": None,
    "weights 1, .75, .5": (1.0, 0.75, 0.5),
    "weights 1, .5, .25": (1.0, 0.5, 0.25),
    "without C": (1.0, 1.0, 0.0),
    "only A": (1.0, 0.0, 0.0),
    "C half nominal": (1.0, 1.0, -0.5),
}


def weighted(kind):
    """Make a ranker that gives each label a weight of its own."""

    class Weighted(kind):
        weights = None

        def _regression(self, points, class_indices, trusted, prior):
            return super()._regression(points, class_indices, self.weights, prior)

    return Weighted


def looks_odd(points, odd, seed):
    """Return log-odds of each object by a probe that was trained on four fifths of the others, with their truth."""
    model = LogisticRegression(C=5.0, class_weight="balanced", max_iter=2000)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(model, points, odd, cv=folds, method="decision_function")


def grade(graders, odd, looks, numbers, purity, rng):
    """Return rows and grades of a draw."""
    wanted = {
        name: (round(n * share), n - round(n * share)) for name, n, share in zip(GRADES, numbers, purity, strict=False)
    }
    anomalies, nominal = rng.permutation(np.flatnonzero(odd)), rng.permutation(np.flatnonzero(~odd))
    true = sum(right for right, _ in wanted.values())
    wrong = sum(false for _, false in wanted.values())
    anomalies = anomalies[:true]
    nominal, plain = nominal[: 10 * wrong], nominal[10 * wrong :][: numbers[3]]
    if graders == "looks":
        anomalies = anomalies[np.argsort(-looks[anomalies])]
        nominal = nominal[np.argsort(-looks[nominal])]  # of ten times as many as are graded wrongly
    rows, grades = [], []
    for name, (right, false) in wanted.items():
        rows += [*anomalies[:right], *nominal[:false]]
        grades += [name] * (right + false)
        anomalies, nominal = anomalies[right:], nominal[false:]
    return np.array([*rows, *plain]), np.array([*grades, *["X"] * len(plain)])


def learn(ranker, cache, ids, rows, grades, way):
    """Return ``(N,)`` scores by a ranker that learnt from grades in one way."""
    chosen = [ids[k] for k in rows]
    if way is None:
        classes, weights = [NOMINAL if name == "X" else name for name in grades], np.ones(len(rows))
    else:
        weight_of = dict(zip(GRADES, way, strict=True)) | {"X": 1.0}
        weights = np.array([weight_of[name] for name in grades])
        classes = np.where(grades == "X", NOMINAL, "anomaly").tolist()
        both = np.flatnonzero(weights < 0)  # counts on both sides
        chosen += [chosen[k] for k in both]
        classes += [NOMINAL] * len(both)
        weights = np.abs(np.concatenate([weights, weights[both]]))
    kept = np.flatnonzero(weights > 0)
    ranker.weights = weights[kept]
    labels = Labelled(tuple(chosen[k] for k in kept), tuple(classes[k] for k in kept))
    drain(ranker.fit(cache, labels))
    return -np.concatenate([part.log_odds[:, 0] for part in ranker.score(cache)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", action="append", required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--ranker", choices=("probe", "active-search"), default="probe")
    parser.add_argument("--purity", type=float, nargs=3, default=PURITY, help="share of anomalies in A, B and C")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = parse_assignments(["input.size=128", *arguments.set], settings_sections())
        session = Session.create(Path(folder) / "session", arguments.cache, classes=GRADES, settings=settings)
        ids = list(session.cache.ids)
        truth = read_truth(arguments.truth, arguments.column, ids, session.cache.positions)
        odd = np.array([truth.get(i) in arguments.anomaly for i in ids])
        looks = looks_odd(session.points(ids), odd, 0)
        store = FeatureStore.of(session.cache, session.context)
        kind = weighted({"probe": Probe, "active-search": ActiveSearch}[arguments.ranker])
        ranker = kind(session.ranker(arguments.ranker).options, session.context)
        ranker.share(store)
        print(f"{len(ids)} objects, {odd.sum()} of them anomalies; {arguments.ranker}, {arguments.seeds} draws")
        print("| graders | grades | labels | AUPRC | difference |")
        print("|---|---|---|---|---|")
        for graders in ("chance", "looks"):
            for size, numbers in NUMBERS.items():
                found = {name: [] for name in WAYS}
                for seed in range(arguments.seeds):
                    rows, grades = grade(graders, odd, looks, numbers, arguments.purity, np.random.default_rng(seed))
                    rest = np.setdiff1d(np.arange(len(ids)), rows)
                    for name, way in WAYS.items():
                        scores = learn(ranker, session.cache, ids, rows, grades, way)
                        found[name].append(metrics.auprc(odd[rest], scores[rest]))
                first = np.array(found["one class"])
                for name, values in found.items():
                    gain = np.array(values) - first
                    error = gain.std(ddof=1) / np.sqrt(len(gain))
                    cells = (graders, name, size, f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}")
                    told = "" if name == "one class" else f"{gain.mean():+.3f} ± {error:.3f}"
                    print(f"| {' | '.join(cells)} | {told} |", flush=True)


if __name__ == "__main__":
    main()
