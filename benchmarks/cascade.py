"""How many objects a ranker need not see: ``python benchmarks/cascade.py CACHE --truth TABLE --anomaly LABEL``.

The *teacher* is a ranker that has learnt from labels drawn at random. The *student* learns the teacher's scores from a
random sample of objects: features of a small network on small images, one view, and ridge regression; no label. The
teacher then sees the other objects in the order of the student. The tables give

* the cost of the student: its processor time beside the teacher's, for the same images in turn;
* the share of the other objects that the teacher must see to keep 95 % and 99 % of its own highest 1 % and 10 %.

Objects with labels take no part. Teacher and student run on torch with one thread.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import nn

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.config import BackboneConfig
from astroanomaly.hookspecs import RankerContext
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.network.backbone import LAYERS, build_backbone
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.settings import build_settings, settings_sections
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Labelled

SIZES = {  # name of the student: side in pixels, stages of the network that are passed
    "Lite0 at 64 px": (64, 7),
    "Lite0 at 48 px": (48, 7),
    "Lite0 at 32 px": (32, 7),
    "five stages of Lite0 at 64 px": (64, 5),
}
NETWORK = BackboneConfig(name="tf_efficientnet_lite0")
CLASSES = ("nominal", "anomaly")
TIMED = 64


class Student(nn.Module):
    """The first stages of EfficientNet-Lite0: gives the last four of them, and of a picture the end too."""

    def __init__(self, stages, views):
        super().__init__()
        self.backbone, self.skipped = build_backbone(NETWORK), int(views == "sky")
        if stages < len(self.backbone.network.blocks):
            self.backbone.network.blocks = self.backbone.network.blocks[:stages]
            self.backbone.network.conv_head = self.backbone.network.bn2 = nn.Identity()

    def layers(self, images):
        """Return what the regression gets, layer by layer."""
        return self.backbone.layered(images, LAYERS)[self.skipped :]

    def forward(self, images):
        """Return the same, side by side."""
        return torch.cat(self.layers(images), 1)


class Seen:
    """The objects of a cache as a student sees them."""

    def __init__(self, cache, model_input, size, stages):
        self.cache, self.planes = cache, model_input.check(cache)
        self.input = dataclasses.replace(model_input, size=size, tta_views=1)
        self.network = Student(stages, model_input.views).eval()
        self.run = Engine("torch").run(self.network)
        self.widths = [layer.shape[1] for layer in self.network.layers(torch.zeros(1, 3, size, size))]

    def of(self, block):
        """Features of cutouts."""
        with torch.inference_mode():
            return self.run(to_tensor(block, self.input, "cpu", self.planes)).numpy()

    def features(self, ids):
        """Features of objects."""
        return np.concatenate([self.of(self.cache.read(ids[k : k + TIMED])) for k in range(0, len(ids), TIMED)])


def teacher_of(name, cache, settings, model_input, odd, ids, counts, seed):
    """Fit a ranker to labels drawn at random; return it, and the rows with labels."""
    rng = np.random.default_rng((seed, 7))
    drawn = [rng.choice(np.flatnonzero(odd == kind), n, replace=False) for kind, n in zip((1, 0), counts, strict=True)]
    rows = np.concatenate(drawn)
    kind = load_plugins().ranker(name)
    context = RankerContext(
        CLASSES, model_input, settings["backbone"].chosen(model_input.views), seed, "cpu", engine="torch"
    )
    ranker = kind(settings[kind.section], context)
    labels = Labelled([ids[row] for row in rows], [CLASSES[int(odd[row])] for row in rows])
    for _ in ranker.fit(cache, labels):
        pass
    return ranker, rows


def student_scores(features, widths, teacher, sample):
    """Scores of all objects by a regression that has seen the teacher's scores of a sample."""
    scaler = FeatureScaler.measure(features[sample], widths)
    points = scaler.transform(features)
    return RidgeCV(np.logspace(-4, 2, 19)).fit(points[sample], teacher[sample]).predict(points)


def shares(teacher, student, top):
    """Shares of the objects that the teacher must see to keep 95 % and 99 % of its highest ones."""
    k = max(1, round(top * len(teacher)))
    best = np.argsort(-teacher)[:k]
    place = np.empty(len(student), int)
    place[np.argsort(-student)] = np.arange(1, len(student) + 1)
    found = np.sort(place[best])
    return [found[int(np.ceil(recall * k)) - 1] / len(teacher) for recall in (0.95, 0.99)]


def costs(teacher, students, block, repeats):
    """Processor time of each student beside the teacher's, ``(repeats, students)``, in turn."""
    planes, rows = teacher.model_input.check(teacher.cache), []

    def timed(work):
        began = time.process_time()
        work()
        return time.process_time() - began

    def by_teacher():
        with torch.inference_mode():
            teacher.log_odds(to_tensor(block, teacher.model_input, "cpu", planes))

    for _ in range(repeats + 1):
        own = timed(by_teacher)
        rows.append([timed(lambda seen=seen: seen.of(block)) / own for seen in students])
    return np.array(rows[1:])  # the first prepares the networks


def cell(values, percent=True):
    values = np.asarray(values, float) * (100 if percent else 1)
    spread = values.std(ddof=1) if len(values) > 1 else np.nan
    return f"{values.mean():.1f} ± {spread:.1f}" if percent else f"{values.mean():.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--column", default="label")
    parser.add_argument("--anomaly", action="append", required=True, help="may be given several times")
    parser.add_argument("--ranker", action="append", help="the teacher (default: probe)")
    parser.add_argument("--labels", type=int, nargs=2, default=[10, 30], help="anomalies and nominal objects")
    parser.add_argument("--sample", type=int, help="objects that the student learns from (default: a fifth, to 2000)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="of the timing")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cache = Cache.open(arguments.cache)
    ids = list(cache.ids)
    classes = read_truth(arguments.truth, arguments.column, cache.ids, cache.positions)
    odd = np.array([classes[one] in arguments.anomaly for one in ids])
    settings = build_settings(parse_assignments(arguments.set, settings_sections()))
    model_input = ModelInput.measure(cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
    students = {name: Seen(cache, model_input, *how) for name, how in SIZES.items()}
    features = {name: seen.features(ids) for name, seen in students.items()}
    print(f"{len(ids)} objects, {odd.sum()} odd, {model_input.size} px, {model_input.tta_views} views", flush=True)
    count = arguments.sample or min(2000, len(ids) // 5)
    for name in arguments.ranker or ["probe"]:
        found = {student: [] for student in students}
        for seed in range(arguments.seeds):
            ranker, labelled = teacher_of(name, cache, settings, model_input, odd, ids, arguments.labels, seed)
            teacher = np.concatenate([-part.log_odds[:, 0] for part in ranker.score(cache)])  # in the order of the ids
            part = np.setdiff1d(np.arange(len(ids)), labelled)  # objects that take part
            part = part[np.isfinite(teacher[part])]
            drawn = np.random.default_rng((seed, 8)).permutation(part)
            sample = drawn[:count]
            if not seed:
                block = cache.read([ids[row] for row in part[:TIMED]])
                ratios = costs(ranker.image_score(cache), students.values(), block, arguments.repeats)
            known = np.isin(part, sample)
            for student, values in features.items():
                guessed = student_scores(values, students[student].widths, teacher, sample)
                rest = part[~known]
                row = [*shares(teacher[rest], guessed[rest], 0.01), *shares(teacher[rest], guessed[rest], 0.1)]
                row.append(np.corrcoef(teacher[rest], guessed[rest])[0, 1])
                found[student].append(row)
            print(f"{name}, seed {seed}", flush=True)
        print(f"{name}: sample {count}, {arguments.seeds} seeds")
        print("| student | cost | 1 %: 95 | 99 | 10 %: 95 | 99 | correlation |")
        print("|---" * 7 + "|")
        for number, (student, rows) in enumerate(found.items()):
            cost = ratios[:, number]
            cells = [f"{np.median(cost):.3f} ({cost.min():.3f} to {cost.max():.3f})"]
            cells += [cell(values) for values in np.array(rows)[:, :4].T] + [cell(np.array(rows)[:, 4], percent=False)]
            print(f"| {student} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
