"""Wrong labels: how far the probe falls, and how many of them are found: ``python benchmarks/wrong_labels.py``.

A share of the labels is flipped to their opposite. The probe ranks what has no label, as it is and with
``probe.robust``; of the labels that look most wrong, the first tenth is searched for those that were flipped.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from astroanomaly import Session, metrics
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.label_errors import confidence
from astroanomaly.learn.settings import settings_sections
from astroanomaly.records import Labelled

SHARES = (0.0, 0.05, 0.1, 0.2)


def measure(session, store, ids, points, odd, initial, share, seed):
    """Return AUPRC of the probe, that with ``probe.robust``, and the share of wrong labels among the suspects."""
    rng = np.random.default_rng(seed)
    sides = [np.flatnonzero(odd), np.flatnonzero(~odd)]
    rows = np.concatenate([rng.choice(side, n, replace=False) for side, n in zip(sides, initial, strict=True)])
    wrong = np.zeros(len(rows), bool)
    wrong[rng.choice(len(rows), round(share * len(rows)), replace=False)] = True
    said = odd[rows] ^ wrong
    rest = np.setdiff1d(np.arange(len(odd)), rows)
    found = []
    for robust in (False, True):
        probe = session.ranker("probe", robust=robust)
        probe.share(store)
        classes = tuple("anomaly" if word else "nominal" for word in said)
        for _ in probe.fit(session.cache, Labelled(tuple(ids[k] for k in rows), classes)):
            pass
        logits = probe.head[1].logits(points[rest])
        found.append(metrics.auprc(odd[rest], logits[:, 1] - logits[:, 0]))
    first = np.argsort(confidence(points[rows], said.astype(int)), kind="stable")[: -(-len(rows) // 10)]
    return [*found, wrong[first].sum() / wrong.sum() if wrong.any() else np.nan]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", action="append", required=True)
    parser.add_argument("--initial", type=int, nargs=2, default=[50, 495])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = parse_assignments(["input.size=128", *arguments.set], settings_sections())
        session = Session.create(Path(folder) / "session", arguments.cache, settings=settings)
        truth = read_truth(arguments.truth, arguments.column, session.cache.ids, session.cache.positions)
        ids = [i for i in session.cache.ids if i in truth]
        points = session.points(ids)
        store = FeatureStore.of(session.cache, session.context)
        print("| anomaly | wrong labels | AUPRC | AUPRC, probe.robust | wrong ones among the 10 % most suspect |")
        print("|---|---|---|---|---|")
        every = {}
        for anomaly in arguments.anomaly:
            odd = np.array([truth[i] == anomaly for i in ids])
            for share in SHARES:
                values = [
                    measure(session, store, ids, points, odd, arguments.initial, share, s)
                    for s in range(arguments.seeds)
                ]
                every.setdefault(share, []).extend(values)
                show(anomaly, share, values)
        if len(arguments.anomaly) > 1:
            for share, values in every.items():
                show("in the mean", share, values)


def show(anomaly, share, values):
    means, scatter = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
    cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(means[:2], scatter[:2], strict=True)]
    cells.append(f"{100 * means[2]:.0f} %" if share else "")
    print(f"| {anomaly} | {100 * share:g} % | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
