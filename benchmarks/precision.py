"""What lower precision of the network costs and saves: ``python benchmarks/precision.py FOLDER --set galaxies``.

The frozen features of the default network, size and views are computed by OpenVINO in float32, in bfloat16 and, with
``--int8``, with weights and activations of 8 bits: the quantisation after training of NNCF (``pip install nncf``),
calibrated on 300 images of the set. With ``--kept``, those of float32 are also rounded to 8 bits, with a scale for each
object, instead of the float16 that is kept. ``FOLDER`` keeps caches and features, so that a second run goes on.
``ASTROANOMALY_DATA`` names the folder of the data. Sets are those of `network_choice.py`.

All variants have the same objects, labels and draws. Each draw labels 10 anomalies and 30 nominal objects; of the
others 5 % are anomalies. Figures are the average precision of the rest by ``probe`` and by ``active-search``, the rank
correlation of the scores of ``probe`` with those of float32, their largest difference in log-odds, and with
``--verdicts`` the anomalies that ``active-search`` finds from no label, 20 verdicts between two rankings. Speed is
processor time for the same 64 cutouts, in turn.
"""

import argparse
import os
import time
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from feature_bits import by_object
from network_choice import RATE, TIMED, made
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from astroanomaly.cache.model_input import ModelInput
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.engine.engine import Engine, _Method
from astroanomaly.learn.engine.openvino import _converted, _with_layout
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.preprocessing import average_views, to_tensor
from astroanomaly.learn.settings import build_settings
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Labelled, drain

CALIBRATED, STEP, ANOMALIES, NOMINAL = 300, 20, 10, 30
CLASSES = ("nominal", "anomaly")
GUITAR = "n03272010"  # the pictures that are sought


class QuantisedStore(FeatureStore):
    """Features of the network with weights and activations of 8 bits; what is not quantised is bfloat16."""

    key = "int8"

    @cached_property
    def run(self):
        """Return what runs the network."""
        import nncf
        import openvino

        network = _Method(self.network, "seen").eval()
        chosen = np.random.default_rng(5).permutation(len(self.cache))[:CALIBRATED]
        images = self.seen(self.cache.read([self.cache.ids[row] for row in chosen]))
        parts = [np.ascontiguousarray(images[start : start + 10]) for start in range(0, len(images), 10)]
        model = nncf.quantize(_converted(network, images), nncf.Dataset(parts), subset_size=len(parts))
        how = {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(_with_layout(model), "CPU", how)
        return lambda given: torch.from_numpy(
            compiled(given.permute(0, 2, 3, 1).contiguous().numpy(), share_inputs=True)[0]
        )

    def seen(self, block):
        """Return what the network gets of cutouts."""
        return to_tensor(block, self.model_input, "cpu", self._planes)

    def _embedding_on(self, engine: Engine, network):
        return lambda images: average_views(self.run, images, self.model_input)


class KeptStore(FeatureStore):
    """Features of float32, kept at 8 bits."""

    def shard(self, uuid):
        """Return them as they would be read."""
        return by_object(np.asarray(super().shard(uuid), np.float32), 8).astype(np.float16)


KINDS = {
    "float32": FeatureStore,
    "bfloat16": FeatureStore,
    "int8": QuantisedStore,
    "float32, kept at 8 bits": KeptStore,
}


def stores(cache, views, wanted):
    """Features of each precision, to be computed."""
    settings = build_settings({"input": {"views": views}})
    seen = ModelInput.measure(cache, settings["stretch"], settings["input"], np.random.default_rng((0, 0)))
    for name in wanted:
        engine = "openvino" if name.startswith("float32") else "openvino-bf16"
        context = RankerContext(CLASSES, seen, settings["backbone"].chosen(views), device="cpu", engine=engine)
        yield name, (context, settings["probe"], KINDS[name].of(cache, context))


def costs(found, block, repeats):
    """Processor time of each variant in units of float32, in turn: ``(repeats, variants)``."""
    taken = np.empty((repeats + 1, len(found)))
    for row in taken:
        for number, (_, _, store) in enumerate(found.values()):
            seen = to_tensor(block, store.model_input, "cpu", store.model_input.check(store.cache))
            began = time.process_time()
            with torch.inference_mode():
                store.embed(seen)
            row[number] = time.process_time() - began
    return taken[1:]  # the first prepares the networks


def ranker_of(name, context, options, store):
    ranker = load_plugins().ranker(name)(options, context)
    ranker.share(store)
    return ranker


def scored(ranker, cache, ids, odd, given, outside):
    """Fit to the labels of some rows; return the scores of all."""
    given = list(given)
    labels = Labelled(tuple(ids[row] for row in given), tuple(CLASSES[int(odd[row])] for row in given))
    drain(ranker.fit(cache, labels, outside))
    return np.concatenate([-part.log_odds[:, 0] for part in ranker.score(cache)])


def draw(found, cache, odd, seed, verdicts):
    """Give for each variant: both average precisions, rank correlation, largest difference, anomalies found."""
    ids, rng = list(cache.ids), np.random.default_rng((seed, ANOMALIES))
    sides = [rng.permutation(np.flatnonzero(odd == kind)) for kind in (True, False)]
    rows = np.concatenate([sides[0][:ANOMALIES], sides[1][:NOMINAL]])
    nominal = sides[1][NOMINAL:]
    rest = np.concatenate([sides[0][ANOMALIES:][: round(len(nominal) * RATE / (1 - RATE))], nominal])
    outside = frozenset(ids[row] for row in np.setdiff1d(np.arange(len(ids)), np.concatenate([rows, rest])))
    usual = None
    for name, (context, options, store) in found.items():
        scores = scored(ranker_of("probe", context, options, store), cache, ids, odd, rows, outside)[rest]
        searching = ranker_of("active-search", context, options, store)
        others = scored(searching, cache, ids, odd, rows, outside)[rest]
        usual = scores if usual is None else usual
        figures = [average_precision_score(odd[rest], one) for one in (scores, others)]
        figures += [spearmanr(scores, usual).statistic, np.abs(scores - usual).max()]
        given, left = [], np.zeros(len(ids), bool)
        left[rest] = True
        while len(given) < verdicts:
            ranked = scored(searching, cache, ids, odd, given, outside)
            top = np.argsort(-np.where(left, ranked, -np.inf), kind="stable")[:STEP]
            left[top] = False
            given += top.tolist()
        yield name, [*figures, odd[given].sum()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", required=True, help="galaxies, pictures or a set of frames.py")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5, help="of the timing")
    parser.add_argument("--verdicts", type=int, default=0)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--kept", action="store_true")
    arguments = parser.parse_args()
    wanted = [*list(KINDS)[:2], *["int8"] * arguments.int8, *list(KINDS)[3:] * arguments.kept]
    for name in arguments.set:
        cache, kinds = made(name, arguments.folder / name)
        odd = kinds == (GUITAR if name == "pictures" else "anomaly")
        views = "picture" if name == "pictures" else "sky"
        found = dict(stores(cache, views, wanted))
        for _, _, store in found.values():
            drain(store.compute())
        spent = costs(found, cache.read(cache.ids[:TIMED]), arguments.repeats)
        draws = [dict(draw(found, cache, odd, seed, arguments.verdicts)) for seed in range(arguments.seeds)]
        of_set = {variant: np.array([one[variant] for one in draws]) for variant in found}
        print(f"{name}: {len(cache)} objects, {odd.sum()} odd, {arguments.seeds} draws, load {os.getloadavg()[0]:.0f}")
        print("| | ms an object | times as fast | probe | active-search | rank correlation | apart | found |")
        print("|---" * 8 + "|")
        for number, (variant, values) in enumerate(of_set.items()):
            apart = values - of_set["float32"]
            errors = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
            ratios = spent[:, 0] / spent[:, number]
            cells = [f"{1000 * np.median(spent[:, number]) / TIMED:.2f}"]
            cells.append(f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
            for column, digits in ((0, 3), (1, 3), (4, 1)):
                shown = f"{values[:, column].mean():.{digits}f} ± {values[:, column].std(ddof=1):.{digits}f}"
                cells.append(f"{shown}, {apart[:, column].mean():+.{digits}f} ± {errors[column]:.{digits}f}")
            cells[4:4] = [f"{values[:, 2].mean():.4f}, least {values[:, 2].min():.4f}", f"{values[:, 3].max():.2g}"]
            print(f"| {variant} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
