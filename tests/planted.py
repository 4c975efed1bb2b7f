"""Rings among discs: a small cache with a planted rarity, for rankers that train a network."""

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.config import BackboneConfig, InputConfig, StretchConfig
from astroanomaly.hookspecs import RankerContext
from astroanomaly.records import CutoutBlock, Labelled, Layout

TINY = BackboneConfig(name="test_efficientnet", weights="random")
COUNT = 240


def shapes(rng, n, rings):
    """Noisy 32-px images of discs, or of rings of the same distribution of radius and total light."""
    y, x = np.mgrid[:32, :32] - 15.5
    centre = rng.uniform(-3, 3, (2, n, 1, 1))
    radius = rng.uniform(5, 9, (n, 1, 1))
    distance = np.hypot(y - centre[0], x - centre[1])
    shape = np.where(rings[:, None, None], np.abs(distance - radius) < 1.5, distance < radius).astype(float)
    shape *= rng.uniform(60, 120, (n, 1, 1)) / shape.mean((1, 2), keepdims=True) / 4
    images = shape[:, None] + rng.normal(60, 12, (n, 3, 32, 32))
    return np.clip(images, 0, 255).astype(np.uint8)


TRUTH = {f"o{i:03d}": i % 6 == 0 for i in range(COUNT)}


def plant(path, truth=TRUTH):
    """Write the cache."""
    layout = Layout(bands=("r", "g", "b"), height=32, width=32, dtype="uint8", pixel_kind="display")
    create_cache(path, layout, [], {})
    images = shapes(np.random.default_rng(1), COUNT, np.array(list(truth.values())))
    ids = list(truth)
    for start in range(0, COUNT, 100):
        with ShardWriter(path, layout) as writer:
            writer.begin(start, f"t{start}")
            writer.add(
                CutoutBlock(ids=ids[start : start + 100], images=images[start : start + 100], bands=layout.bands)
            )
            writer.commit()
    return Cache.open(path)


def context(cache, classes=("nominal", "anomaly"), seed=0, tta_views=2):
    shown = InputConfig(size=32, views="sky", tta_views=tta_views)
    seen = ModelInput.measure(cache, StretchConfig(), shown, np.random.default_rng(0))
    return RankerContext(classes, seen, TINY, seed=seed, device="cpu")


def labels(truth, anomalies=8, nominal=16):
    odd = [i for i, t in truth.items() if t][:anomalies]
    usual = [i for i, t in truth.items() if not t][:nominal]
    return Labelled(tuple(odd + usual), ("anomaly",) * len(odd) + ("nominal",) * len(usual))


def scores(ranker, cache):
    parts = list(ranker.score(cache))
    return [i for part in parts for i in part.ids], np.concatenate([part.log_odds for part in parts])


class Watched:
    """A cache that remembers which objects were read, and how many at once."""

    def __init__(self, cache):
        self.cache = cache
        self.seen = set()
        self.most = 0

    def __getattr__(self, name):
        return getattr(self.cache, name)

    def __len__(self):
        return len(self.cache)

    def read(self, ids):
        self.seen |= set(ids)
        self.most = max(self.most, len(ids))
        return self.cache.read(ids)
