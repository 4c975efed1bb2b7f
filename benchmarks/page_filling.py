"""How pages of the app are filled, and what it costs: ``python benchmarks/page_filling.py``.

An expert gives true verdicts on what the app would show, and the probe ranks anew as it would there. A scheme is
``whole`` (a page is chosen when it is opened), or the number of rows that are there before their verdicts are
(``1``, ``2`` ...). ``keys``: a verdict on each object in turn, and a row is chosen as soon as another one has its verdicts;
``rest``: verdicts on everything that is shown at once. ``late``: the ranking lacks the last page, as when the next
one is opened before the probe has learnt from it. Same initial labels for all.
"""

import argparse
from pathlib import Path

import numpy as np

from astroanomaly.app.review.grid_layout import grid_shape
from astroanomaly.benchmark.expert import Expert
from astroanomaly.benchmark.pools import draw_pool, list_cases
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.store import TrialFolder
from astroanomaly.benchmark.trial import Trial
from astroanomaly.cache import Cache
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.labels.tables import match_ids, read_truth_column
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.records import NOMINAL, Labelled

DEPTHS = (50, 100, 200)


class Ranking:
    """The probe on one pool with one seed; its rankings are kept, since schemes begin alike."""

    def __init__(self, trial):
        self.trial = trial
        self.known = {}

    def next(self, given, shown, count):
        """Return the highest-scored objects that were not shown, from the ranking that knows these labels."""
        key = tuple(given.items())
        if key not in self.known:
            ranker = self.trial._ranker("probe")
            for _ in ranker.fit(self.trial.cache, Labelled(tuple(given), tuple(given.values())), self.trial._outside):
                pass
            scores = np.concatenate([-part.log_odds[:, 0] for part in ranker.score(self.trial.cache)])
            ids = self.trial.cache.ids
            self.known[key] = [ids[k] for k in np.argsort(-scores, kind="stable") if ids[k] in self.trial.truth][:2000]
        return [i for i in self.known[key] if i not in shown][:count]


def simulate(ranking, truth, initial, scheme, size, columns, most):
    """Return the true classes of the objects in the order of their verdicts."""
    ahead, flow = scheme
    given, shown, order = dict(initial), set(initial), []
    late = dict(initial)  # what the ranking of a page opened too early knows
    while len(order) < most:
        room, queue = size, []

        def fill(cells, labels):
            nonlocal room
            chosen = ranking.next(labels, shown, min(cells, room))
            room -= len(chosen)
            queue.extend(chosen)
            shown.update(chosen)

        if ahead == 0:
            fill(size, late if flow == "late" else given)
            late = dict(given)
        else:
            fill(ahead * columns, given)
        while queue:
            step = queue[:columns] if flow == "keys" and ahead else list(queue)
            del queue[: len(step)]
            for object_id in step:
                given[object_id] = truth[object_id]
                order.append(truth[object_id])
            if room and ahead:
                fill(columns if flow == "keys" else ahead * columns, given)
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
    parser.add_argument("--page", type=int, action="append", help="objects on a page (default: 25 49 100)")
    parser.add_argument("--aspect", type=float, default=1.5, help="width of the room for images over its height")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    cache = Cache.open(arguments.cache)
    given = read_truth_column(arguments.truth, arguments.column)
    classes = {object_id: given[name] for name, object_id in match_ids(given, cache.ids).items()}
    settings = build_settings(parse_assignments(arguments.set, settings_sections()))
    protocol = Protocol(initial=tuple(arguments.initial), rate=arguments.rate, expert="top")
    (case,) = list_cases([arguments.anomaly], protocol)
    schemes = [
        (size, ahead, flow)
        for size in arguments.page or (25, 49, 100)
        for ahead, flow in ((0, ""), (0, "late"), (1, "keys"), (2, "keys"), (1, "rest"), (2, "rest"))
    ]
    found = {scheme: [] for scheme in schemes}
    for seed in range(arguments.seeds):
        truth = draw_pool(classes, case, [arguments.anomaly], protocol, seed)
        expert = Expert(truth, case.known, seed=seed)
        expert.label_random(*protocol.initial, np.random.default_rng((seed, 7)))
        trial = Trial(cache, settings, protocol, "probe", case, seed, truth, TrialFolder(Path()))
        ranking = Ranking(trial)
        for size, ahead, flow in schemes:
            columns, _ = grid_shape(size, arguments.aspect, 1)
            order = simulate(ranking, truth, expert.given, (ahead, flow), size, columns, max(DEPTHS))
            odd = np.cumsum([label != NOMINAL for label in order])
            found[size, ahead, flow].append([odd[depth - 1] for depth in DEPTHS])
        print(f"seed {seed}: {len(ranking.known)} rankings", flush=True)
    print("| page | columns | scheme | " + " | ".join(f"of {d} | to whole" for d in DEPTHS) + " |")
    print("|---" * (3 + 2 * len(DEPTHS)) + "|")
    for size, ahead, flow in schemes:
        values = np.array(found[size, ahead, flow], float)
        first = np.array(found[size, 0, ""], float)
        cells = []
        for column in range(len(DEPTHS)):
            difference = values[:, column] - first[:, column]
            error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
            cells += [f"{values[:, column].mean():.1f}", f"{difference.mean():+.1f} ± {error:.1f}"]
        name = f"{ahead} rows, {flow}" if ahead else f"whole {flow}"
        print(f"| {size} | {grid_shape(size, arguments.aspect, 1)[0]} | {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
