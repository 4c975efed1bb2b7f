"""A network that learns a ranker's scores: ``python benchmarks/distil.py FOLDER``.

The *teacher* is a ranker with default settings, after 30 anomalies and 50 nominal galaxies drawn at random. Of the
other objects 5 % are anomalies. The *student* sees one view of each object in EfficientNet-Lite0, and learns the
teacher's log-odds of one half of these objects, without labels. All figures are of the other half, which it has not
seen:

* ``frozen``: ridge regression on its frozen features, as in `cascade.py` but at the full size;
* ``trained``: from there on the whole network is trained (AdamW, mean square error, images rotated and mirrored at
  random, batch normalisation as it came), for as long as the teacher needs to score ``--budget`` objects without their
  features, in processor time;
* ``probe, one view``: the probe with the usual network on one view, for comparison.

``FOLDER`` keeps the cache and the features, see `precision.py`. ``ASTROANOMALY_DATA`` names the folder of the data.
"""

import argparse
import copy
import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from network_choice import RATE, TIMED, made
from sklearn.linear_model import RidgeCV
from sklearn.metrics import average_precision_score

from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import BackboneConfig
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.rankers.linear_head import LinearHead
from astroanomaly.learn.rankers.probe_head import ProbeHead
from astroanomaly.learn.settings import build_settings
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Labelled, drain

CLASSES, ANOMALIES, NOMINAL, TOP = ("nominal", "anomaly"), 30, 50, 100
STUDENT = "tf_efficientnet_lite0"
BATCH, RATE_OF_LEARNING, PARTS = 32, 1e-4, 1


def fitted(name, cache, context, settings, given, odd, outside, store):
    """Fit a ranker; return it, and its scores of all objects."""
    kind = load_plugins().ranker(name)
    ranker = kind(settings[kind.section], context)
    if hasattr(ranker, "share"):
        ranker.share(store)
    labels = Labelled(tuple(cache.ids[row] for row in given), tuple(CLASSES[int(odd[row])] for row in given))
    drain(ranker.fit(cache, labels, outside))
    return ranker, np.concatenate([-part.log_odds[:, 0] for part in ranker.score(cache)])


def student_of(frozen, scaler, head, size):
    """Return the network that begins with what the regression says."""
    network = build_backbone(BackboneConfig(STUDENT), size=size, layers=frozen.layers)
    network.num_classes, network.head = 1, ProbeHead(sum(frozen.widths), 1)
    network.head.begin(scaler, head, [0])
    return network.to(memory_format=torch.channels_last).eval()


def train(network, images, wanted, seconds, rng):
    """Train for so many seconds of processor time; give the network after each part of them, and its steps."""
    optimiser = torch.optim.AdamW(network.parameters(), RATE_OF_LEARNING, weight_decay=0.01)
    began, steps = time.process_time(), 0
    for part in range(1, PARTS + 1):
        while (spent := time.process_time() - began) < seconds * part / PARTS:
            for group in optimiser.param_groups:
                group["lr"] = RATE_OF_LEARNING * min(1.0, (steps + 1) / 20) * max(0.02, 1 - spent / seconds)
            rows = rng.choice(len(images), BATCH, replace=False)
            seen = images[rows].rot90(int(rng.integers(4)), (2, 3))
            seen = (seen.flip(3) if rng.random() < 0.5 else seen).contiguous(memory_format=torch.channels_last)
            loss = (network(seen)[:, 0] - wanted[rows]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
            steps += 1
        yield part, steps, network


def spent_on(works, block, repeats):
    """Processor time of each work on the same images, in turn: ``(repeats, works)``."""
    taken = np.empty((repeats + 1, len(works)))
    for row in taken:
        for number, work in enumerate(works):
            began = time.process_time()
            with torch.inference_mode():
                work(block)
            row[number] = time.process_time() - began
    return taken[1:]  # the first prepares the networks


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--teacher", default="tuned")
    parser.add_argument("--engine", default="openvino", help="of teacher and student")
    parser.add_argument("--budget", type=int, default=20_000, help="objects")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5, help="of the timing")
    arguments = parser.parse_args()
    tune_allocator()
    cache, kinds = made("galaxies", arguments.folder / "galaxies")
    odd, ids = kinds == "anomaly", list(cache.ids)
    settings = build_settings({"input": {"views": "sky"}})
    seen = ModelInput.measure(cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
    one_view = dataclasses.replace(seen, tta_views=1)
    usual = RankerContext(CLASSES, seen, settings["backbone"].chosen("sky"), device="cpu", engine=arguments.engine)
    single = dataclasses.replace(usual, input=one_view)
    small = dataclasses.replace(single, backbone=BackboneConfig(STUDENT).chosen("sky"))
    kept, kept_single, frozen = (FeatureStore.of(cache, context) for context in (usual, single, small))
    for store in (kept, kept_single, frozen):
        drain(store.compute())
    found, ratios = {}, None
    for seed in range(arguments.seeds):
        rng = np.random.default_rng((seed, ANOMALIES))
        sides = [rng.permutation(np.flatnonzero(odd == kind)) for kind in (True, False)]
        given = np.concatenate([sides[0][:ANOMALIES], sides[1][:NOMINAL]])
        nominal = sides[1][NOMINAL:]
        rest = np.concatenate([sides[0][ANOMALIES:][: round(len(nominal) * RATE / (1 - RATE))], nominal])
        learnt, held = np.array_split(rng.permutation(rest), 2)
        outside = frozenset(ids[row] for row in np.setdiff1d(np.arange(len(ids)), np.concatenate([given, rest])))
        teacher, scores = fitted(arguments.teacher, cache, usual, settings, given, odd, outside, kept)
        _, plain = fitted("probe", cache, single, settings, given, odd, outside, kept_single)
        _, probe = fitted("probe", cache, usual, settings, given, odd, outside, kept)

        features = frozen.get(ids)
        scaler = FeatureScaler.measure(features[learnt], frozen.widths)
        points = scaler.transform(features)
        line = RidgeCV(np.logspace(-4, 2, 19)).fit(points[learnt], scores[learnt])
        head = LinearHead(line.coef_[:, None].astype(np.float32), np.array([line.intercept_], np.float32))
        network = student_of(frozen, scaler, head, seen.size)
        if ratios is None:
            block = to_tensor(cache.read(ids[:TIMED]), seen, "cpu", seen.check(cache))
            run = Engine(arguments.engine).run(copy.deepcopy(network))
            of_image = teacher.image_score(cache, expected=10_000)
            spent = spent_on([of_image._of_images, run, kept.embed, kept_single.embed], block, arguments.repeats)
            ratios = spent[:, :1] / spent
            seconds = float(np.median(spent[:, 0])) / TIMED * arguments.budget
            print(f"a budget of {seconds:.0f} s of processor time", flush=True)
        rows = {"teacher": scores[held], "probe, two views": probe[held], "probe, one view": plain[held]}
        rows["frozen"] = line.predict(points[held])
        images = torch.cat([to_tensor(cache.read([ids[r] for r in part]), seen, "cpu", seen.check(cache))
                            for part in np.array_split(learnt, 20)])  # fmt: skip
        wanted = torch.from_numpy(scores[learnt].astype(np.float32))
        for part, steps, made_of_it in train(network, images, wanted, seconds, rng):
            with torch.inference_mode():
                values = [made_of_it(to_tensor(cache.read([ids[r] for r in some]), seen, "cpu", seen.check(cache)))
                          for some in np.array_split(held, 20)]  # fmt: skip
            rows[f"trained, {part}/{PARTS} of the budget"] = torch.cat(values)[:, 0].numpy()
            print(f"seed {seed}: {steps} steps of {BATCH}", flush=True)
        for name, values in rows.items():
            best = np.argsort(-values)[:TOP]
            figures = (average_precision_score(odd[held], values), odd[held][best].sum())
            found.setdefault(name, []).append((*figures, np.corrcoef(values, scores[held])[0, 1]))
    print(f"teacher {arguments.teacher}; {len(held)} objects held out, {odd[held].sum()} odd; {arguments.seeds} draws")
    for name, column in (("student", 1), ("features of two views", 2), ("features of one view", 3)):
        values = ratios[:, column]
        print(f"{name}: {np.median(values):.2f} ({values.min():.2f} to {values.max():.2f}) times as fast")
    print(f"| | average precision | difference | in the highest {TOP} | difference | correlation |")
    print("|---" * 6 + "|")
    base = np.array(found["teacher"])
    for name, values in found.items():
        values = np.array(values)
        apart = values - base
        errors = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
        cells = []
        for k, digits in ((0, 3), (1, 1)):
            cells.append(f"{values[:, k].mean():.{digits}f} ± {values[:, k].std(ddof=1):.{digits}f}")
            cells.append(f"{apart[:, k].mean():+.{digits}f} ± {errors[k]:.{digits}f}")
        print(f"| {name} | " + " | ".join(cells) + f" | {values[:, 2].mean():.3f} |", flush=True)


if __name__ == "__main__":
    main()
