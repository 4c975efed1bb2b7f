"""What ``score --recall`` sees and finds: ``benchmarks/cascade_rule.py WHAT CACHE --truth TABLE --anomaly NAME``.

The *ranker* has learnt from labels drawn at random. The *student* is the program's own: it learns the ranker's scores
of a random sample of objects. The other objects are the survey. Guesses, threshold, sample, bound and the lowering of
the threshold are those of the program (`Student`, `Cascade`); the numbers of the networks come from kept features.

``found``: share seen and recall for the highest 10 %, and what becomes of kinds that the student has never seen.
``verdicts``: anomalies found in 200 verdicts in the order of the scores, where all objects can be shown, and where only
those that the ranker has scored can be. ``pool``: the highest 1,000 and 10,000 of a survey of a million objects, each a
mixture, with random weights, of an object and two of its twenty nearest, in the features of both networks; no object
that a student has learnt from takes part, and none counts as unlike the others. ``cost``: processor time of the student
beside the ranker's. ``coverage``: how often the bound holds, over a hundred random samples of each draw.
"""

import argparse
import functools
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.preprocessing import normalize

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cache.scores import PartScores, Reason
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.hookspecs import RankerContext
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.learn.student import Student, student_store
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Labelled, drain
from astroanomaly.session.survey.cascade import Cascade
from astroanomaly.session.survey.recall_bound import sample_share

CLASSES = ("nominal", "anomaly")
RECALL, TOP_SHARE, KINDS, VERDICTS, ROUND = 0.95, 0.1, 10, 200, 10
POOL, BLOCK, NEAREST, SAMPLES = 1_000_000, 10_000, 20, 5
TIMED, REPEATS, DRAWN = 256, 5, 100


# ---------------------------------------------------------------------------------------------------------- the rule


@dataclass
class Known:
    """Stands for a network whose scores are known: of the shard, which is a range of rows."""

    values: np.ndarray  # (n, classes)
    classes: int = 2
    engine = SimpleNamespace(label="known")

    def __call__(self, shard):
        """Values of a shard."""
        return SimpleNamespace(ids=shard.ids, log_odds=self.values[shard.rows])

    def of_rows(self, shard, rows):
        """Values of some rows of it."""
        return self.values[shard.rows][rows]


class Rows:
    """Neighbouring objects of a survey."""

    uuid = "rows"

    def __init__(self, start, stop):
        self.rows, self.ids = slice(start, stop), [f"survey/{row}" for row in range(start, stop)]

    def __len__(self):
        return len(self.ids)


def by_rule(scores, guesses, distances, top, threshold, seed, known):
    """Follow the program's rule; return its report, the final threshold, and why each object was scored."""
    teacher, student = Known(np.stack([-scores, scores], 1)), Known(np.stack([guesses, distances], 1))
    with tempfile.TemporaryDirectory() as folder:
        cascade = Cascade(Path(folder), top, RECALL, sample_share(top, RECALL), seed, threshold, student, teacher)
        parts = []
        for start in range(0, len(scores), BLOCK):
            shard = Rows(start, min(len(scores), start + BLOCK))
            found, none = cascade(shard), np.full(len(shard), np.nan)
            number, of = np.array([start]), np.full(len(shard), start)
            parts.append(
                PartScores(number, shard.ids, none, none, found.log_odds, of, (), "", found.guesses, found.reasons)
            )
        while True:
            for number, part in enumerate(parts):
                rows = np.flatnonzero(cascade.pending(part))
                new = teacher.values[int(part.tasks[0]) + rows]
                parts[number] = cascade.completed(part, [part.ids[row] for row in rows], new)
            _, report, lower = cascade.measure(parts, known)
            if lower is None:
                return report, cascade.threshold, np.concatenate([part.reasons for part in parts])
            cascade.lower(lower)


# -------------------------------------------------------------------------------------------------------- the draws


class Set:
    """A cache, its classes, and a ranker."""

    def __init__(self, arguments):
        self.cache = Cache.open(arguments.cache)
        self.ids = list(self.cache.ids)
        classes = read_truth(arguments.truth, arguments.column, self.cache.ids, self.cache.positions)
        self.kind = np.array([classes[one] for one in self.ids])
        settings = build_settings(parse_assignments(arguments.set, settings_sections()))
        measured = ModelInput.measure(self.cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
        backbone = settings["backbone"].chosen(measured.views)
        self.context = RankerContext(CLASSES, measured, backbone, 0, "cpu", engine=arguments.engine)
        kind = load_plugins().ranker(arguments.ranker)
        self.make = lambda seed: kind(settings[kind.section], replace(self.context, seed=seed))
        self.ranker = self.make(0)
        self.store = student_store(self.cache, self.context)
        drain(self.store.compute())

    def scores(self, rows, odd):
        """Scores of all objects by the ranker, from the labels of some."""
        labels = Labelled([self.ids[row] for row in rows], [CLASSES[int(odd[row])] for row in rows])
        for _ in self.ranker.fit(self.cache, labels):
            pass
        return np.concatenate([-part.log_odds[:, 0] for part in self.ranker.score(self.cache)]).astype(np.float64)

    def learn(self, rows, scores, seed):
        """Student of some objects, and guesses and distances of all."""
        student = drain(Student.learn(self.store, [self.ids[row] for row in rows], scores[rows], seed))
        return student, student.guess(self.store.get(self.ids)).T.astype(np.float64)


@dataclass
class Draw:
    """Labels drawn at random, the scores that come of them, and what the student may learn from."""

    seed: int
    odd: np.ndarray
    labelled: np.ndarray
    scores: np.ndarray
    sample: np.ndarray
    survey: np.ndarray


def draws(data, arguments):
    anomalies = arguments.anomaly if arguments.each else [arguments.anomaly]
    for anomaly in anomalies:
        odd = np.isin(data.kind, anomaly)
        for seed in range(arguments.seeds):
            rng = np.random.default_rng((seed, 7))
            numbers = zip((True, False), arguments.labels, strict=True)
            labelled = np.concatenate(
                [rng.choice(np.flatnonzero(odd == kind), count, replace=False) for kind, count in numbers]
            )
            data.ranker = data.make(seed) if arguments.ranker != "probe" else data.ranker
            scores = data.scores(labelled, odd)
            rest = rng.permutation(np.setdiff1d(np.arange(len(odd)), labelled))
            yield Draw(seed, odd, labelled, scores, rest[: arguments.sample], np.sort(rest[arguments.sample :]))


def followed(draw, student, seen, known):
    """Follow the rule on the survey of a draw: report, recall, threshold at first, rows that were scored."""
    scores, (guesses, distances) = draw.scores[draw.survey], seen[:, draw.survey]
    top = round(TOP_SHARE * len(scores))
    first = student.threshold(TOP_SHARE)
    report, last, reasons = by_rule(scores, guesses, distances, top, first, draw.seed, known)
    best = np.argsort(-scores)[:top]
    return report, (reasons[best] > 0).mean(), first, last, reasons


def to_see(scores, guesses, top):
    """Shares of the objects that have to be seen, in the order of the guesses, for 95 % and 99 % of the highest."""
    k = round(top * len(scores))
    place = np.empty(len(scores), int)
    place[np.argsort(-guesses)] = np.arange(1, len(scores) + 1)
    found = np.sort(place[np.argsort(-scores)[:k]])
    return [found[int(np.ceil(recall * k)) - 1] / len(scores) for recall in (0.95, 0.99)]


def found(data, arguments):
    rows, kinds = [], {name: [] for name in ("some kinds", "the anomalies")}
    for draw in draws(data, arguments):
        student, seen = data.learn(draw.sample, draw.scores, draw.seed)
        scores, guesses = draw.scores[draw.survey], seen[0, draw.survey]
        report, recall, _, _, reasons = followed(draw, student, seen, data.cache)
        rows.append(
            [
                np.corrcoef(scores, guesses)[0, 1],
                *to_see(scores, guesses, 0.01),
                *to_see(scores, guesses, 0.1),
                report.scored / report.objects,
                report.drawn / report.objects,
                (reasons & ~np.uint8(Reason.DRAWN) > 0).mean(),
                recall,
                report.lowest <= recall,
                report.highest >= recall,
            ]
        )
        others = np.unique(data.kind[~draw.odd])
        if len(others) > 2 * KINDS:
            some = np.random.default_rng((draw.seed, 9)).choice(others, KINDS, replace=False)
            kinds["some kinds"].append(left_out(data, draw, np.isin(data.kind, some), seen, student))
        kinds["the anomalies"].append(left_out(data, draw, draw.odd, seen, student))
        print(
            len(rows), np.round(rows[-1], 3), [len(one) and np.round(one[-1], 3) for one in kinds.values()], flush=True
        )
    names = "correlation", "1 %: 95", "99", "10 %: 95", "99", "seen", "drawn", "not drawn", "recall", "low", "high"
    table(names, rows)
    print("kinds left out: found of the ranker's highest 10 %")
    names = "all kinds learnt", "left out", "no distance"
    names = ("objects", *names, *(f"95: {name}" for name in names), "far: all", "far: left out", "seen", "recall")
    for name, one in kinds.items():
        print(name)
        table(names, one)


def left_out(data, draw, strange, before, knowing):
    """Leave kinds out of what the student learns: share found, with the rule for unlike objects and without."""
    student, seen = data.learn(draw.sample[~strange[draw.sample]], draw.scores, draw.seed)
    report, recall, first, _, _ = followed(draw, student, seen, data.cache)
    scores, far, new = draw.scores[draw.survey], ~(seen[1, draw.survey] <= 1), strange[draw.survey]
    best = np.zeros(len(scores), bool)
    best[np.argsort(-scores)[: round(TOP_SHARE * len(scores))]] = True
    wanted = best & new
    high = seen[0, draw.survey] >= first
    known = (before[0, draw.survey] >= knowing.threshold(TOP_SHARE)) | ~(before[1, draw.survey] <= 1)
    exact, knew = (of[0, draw.survey] >= np.quantile(of[0, draw.survey][best], 1 - RECALL) for of in (seen, before))
    sets = known, high | far, high, knew, exact | far, exact
    shares = [part[wanted].mean() if wanted.any() else np.nan for part in sets]
    return [wanted.sum(), *shares, far[~new].mean(), far[new].mean(), report.scored / report.objects, recall]


def table(names, rows):
    values = np.array(rows, float)
    if not len(values):
        return
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|")
    spread = np.nanstd(values, axis=0, ddof=1) if len(values) > 1 else np.full(len(names), np.nan)
    cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(np.nanmean(values, axis=0), spread, strict=True)]
    print("| " + " | ".join(cells) + f" |  {len(values)} draws", flush=True)


# -------------------------------------------------------------------------------------------------------- coverage


def coverage(data, arguments):
    """Count how often the ends of the interval hold, over many random samples of each draw."""
    rows = {"the program's first threshold": [], "no guess is high enough at first": []}
    for draw in draws(data, arguments):
        student, seen = data.learn(draw.sample, draw.scores, draw.seed)
        scores, (guesses, distances) = draw.scores[draw.survey], seen[:, draw.survey]
        top = round(TOP_SHARE * len(scores))
        best = np.argsort(-scores)[:top]
        for name, first in zip(rows, (student.threshold(TOP_SHARE), guesses.max() + 1), strict=True):
            for salt in range(DRAWN):
                seed = 1000 * draw.seed + salt
                report, _, reasons = by_rule(scores, guesses, distances, top, first, seed, data.cache)
                recall = (reasons[best] > 0).mean()
                rows[name].append([report.scored / len(scores), recall])
                rows[name][-1] += [recall >= RECALL, report.lowest <= recall, report.highest >= recall]
    for name, some in rows.items():
        print(name)
        table(("seen", "recall", "recall as asked", "lowest holds", "highest holds"), some)


# ------------------------------------------------------------------------------------------------------------ cost


def cost(data, arguments):
    """Print processor time of the student beside the ranker's, from the cache, in turn."""
    draw = next(draws(data, arguments))
    student, _ = data.learn(draw.sample, draw.scores, draw.seed)
    both = student.image_score(data.store), data.ranker.image_score(data.cache)
    shard, rows, times = data.cache.shards[0], np.arange(TIMED), []
    for _ in range(REPEATS + 1):
        times.append([])
        for score in both:
            began = time.process_time()
            score.of_rows(shard, rows)
            times[-1].append(time.process_time() - began)
    times = np.array(times[1:])  # the first prepares the networks
    ratio = times[:, 0] / times[:, 1]
    print(f"{both[1].engine.label}: {np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f})")
    for name, one in zip(("student", "ranker"), (TIMED / times).T, strict=True):
        print(
            f"{name}: {np.median(one):.0f} ({one.min():.0f} to {one.max():.0f}) objects in a second of processor time"
        )


# ------------------------------------------------------------------------------------------------------- verdicts


def verdicts(data, arguments):
    rows = []
    for draw in draws(data, arguments):
        student, seen = data.learn(draw.sample, draw.scores, draw.seed)
        *_, reasons = followed(draw, student, seen, data.cache)
        some = draw.survey[reasons > 0]
        rows.append([len(some) / len(draw.survey), draw.odd[draw.survey].sum(), draw.odd[some].sum()])
        for shown in (draw.survey, some):
            labelled, scores, count = draw.labelled, draw.scores, 0
            for _ in range(VERDICTS // ROUND):
                left = np.setdiff1d(shown, labelled)
                new = left[np.argsort(-scores[left])[:ROUND]]
                labelled, count = np.concatenate([labelled, new]), count + int(draw.odd[new].sum())
                scores = data.scores(labelled, draw.odd)
            rows[-1].append(count)
        print(len(rows), rows[-1], flush=True)
    table(("scored", "anomalies", "scored ones", "all shown", "scored shown"), rows)
    apart = np.array(rows)[:, 4] - np.array(rows)[:, 3]
    print(f"difference {apart.mean():.2f} ± {apart.std(ddof=1) / np.sqrt(len(apart)):.2f} (standard error)")


# ------------------------------------------------------------------------------------------------- a million objects


def pool(data, arguments):
    students, heads, made = [], [], []
    own = FeatureStore.of(data.cache, data.context)
    drain(own.compute())
    for draw in draws(data, arguments):
        student, seen = data.learn(draw.sample, draw.scores, draw.seed)
        students.append(student)
        heads.append(data.ranker.image_score(data.cache).log_odds)
        made.append(draw)
        print(f"real: correlation {np.corrcoef(draw.scores[draw.survey], seen[0, draw.survey])[0, 1]:.3f}", flush=True)
    ids = [data.ids[row] for row in functools.reduce(np.intersect1d, [draw.survey for draw in made])]
    small, large = data.store.get(ids), own.get(ids)
    print(f"{len(ids)} objects are mixed", flush=True)
    near = np.argpartition(-normalize(large) @ normalize(large).T, NEAREST + 1, axis=1)[:, : NEAREST + 1]
    columns = np.empty((len(students), 2, POOL), np.float32)  # guess, score
    for start in range(0, POOL, BLOCK):
        rng = np.random.default_rng((0, start))
        first = rng.integers(len(large), size=BLOCK)
        rows = np.concatenate([first[:, None], near[first[:, None], rng.integers(NEAREST + 1, size=(BLOCK, 2))]], 1)
        weights = rng.dirichlet(np.ones(3), BLOCK).astype(np.float32)
        mixed = [sum(weights[:, k, None] * values[rows[:, k]] for k in range(3)) for values in (small, large)]
        for number, (student, head) in enumerate(zip(students, heads, strict=True)):
            points = student.scaler.transform(mixed[0][:, student.skipped :])
            columns[number, 0, start : start + BLOCK] = (points - student.mean) @ student.weight + student.bias
            columns[number, 1, start : start + BLOCK] = -head(mixed[1])[:, 0]
        if start % (10 * BLOCK) == 0:
            print(start, flush=True)
    for top in (1000, 10_000):
        out = []
        for (guesses, scores), student, draw in zip(columns, students, made, strict=True):
            best, values = np.argsort(-scores)[:top], scores.astype(np.float64)
            first = student.threshold(top / POOL)
            near_top = to_see(values, guesses, top / POOL)
            for salt in range(SAMPLES):
                seed = SAMPLES * draw.seed + salt
                report, last, reasons = by_rule(values, guesses, np.zeros(POOL), top, first, seed, data.cache)
                recall = (reasons[best] > 0).mean()
                row = [report.scored / POOL, report.drawn / POOL, recall, report.recall]
                row += [report.lowest, report.highest, report.lowest <= recall, report.highest >= recall, last < first]
                out.append([np.corrcoef(guesses, scores)[0, 1], *near_top, *row])
        print(f"top {top}")
        names = "correlation", "keep 95", "keep 99", "seen", "drawn", "recall", "estimate", "lowest", "highest"
        table((*names, "lowest holds", "highest holds", "lowered"), out)


def arguments_of(text, *what):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    if what:
        parser.add_argument("what", choices=what)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", action="append", required=True, help="may be given several times")
    parser.add_argument("--each", action="store_true", help="each of these is the anomaly in turn")
    parser.add_argument("--ranker", default="probe")
    parser.add_argument("--labels", type=int, nargs=2, default=[10, 30], help="anomalies and nominal objects")
    parser.add_argument("--sample", type=int, default=605, help="objects that the student learns from")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args()


def main():
    arguments = arguments_of(__doc__, *WHAT)
    torch.set_num_threads(1)
    WHAT[arguments.what](Set(arguments), arguments)


WHAT = {"found": found, "verdicts": verdicts, "pool": pool, "cost": cost, "coverage": coverage}

if __name__ == "__main__":
    main()
