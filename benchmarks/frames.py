"""What marks beside the object, borders and the width of the frame cost: ``python benchmarks/frames.py WHAT``.

``marks``: text and arrows that software wrote into images of galaxies, a border, and each with these pixels covered by
the median colour. ``centre``: the middle of the frame alone, on galaxies and on simulated objects, small and large in
their frame; beside it, how far from the middle the unlabelled images differ from each other.

All variants of a set have the same objects, labels and draws. The instant ranker gives two figures: AUPRC after 10
anomalies and 30 nominal objects drawn at random, and anomalies found in 50 verdicts from no label, where 5 % are
anomalies. Rotation is not penalised here (`probe.invariance`). ``ASTROANOMALY_DATA`` names the folder of the data.
"""

import argparse
import itertools
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sky_sets import arrows, colour, members, unzipped, written
from views import auprc, outlier_scores, scores

from astroanomaly.config import BackboneConfig
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.preprocessing import resize
from astroanomaly.learn.reach import measure_reach
from astroanomaly.session.injection.galaxies import NOMINAL_SHAPES, RARITIES, draw_shape

SIZE, ANOMALIES, BATCH, RATE = 128, 0.25, 5, 0.05
NETWORK = BackboneConfig()
CROPS = (1.0, 0.75, 0.5, 0.35)  # shares of the side


# ----------------------------------------------------------------------------------------------------------- the sets


def galaxies(rng, n):
    archive = zipfile.ZipFile(Path(os.environ["ASTROANOMALY_DATA"]) / "galaxyzoo-odd.zip")
    every = members(archive)
    named = {label: [name for name, row in every if row["label"] == label] for label in ("nominal", "anomaly")}
    odd = np.arange(n) < ANOMALIES * n
    names = [*rng.permutation(named["anomaly"])[: odd.sum()], *rng.permutation(named["nominal"])[: (~odd).sum()]]
    return unzipped(archive, names), odd


def simulated(rng, n, scale):
    """Galaxies of the demo, so many pixels to a half-light radius, with others around them and noise."""
    odd = np.arange(n) < ANOMALIES * n
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2

    def drawn(names, x, y, scale):
        angle = rng.uniform(0, 2 * np.pi)
        u, v = (x * np.cos(angle) + y * np.sin(angle)) / scale, (y * np.cos(angle) - x * np.sin(angle)) / scale
        image = sum(draw_shape(str(rng.choice(names)), rng)(u, v))
        return image / np.sort(image, axis=None)[-int(scale**2)]  # a few compact pixels are no sign of their kind

    made = []
    for one in odd:
        image = drawn(RARITIES if one else [*NOMINAL_SHAPES], x, y, scale)
        for _ in range(rng.poisson(4)):
            dy, dx = rng.uniform(-SIZE / 2, SIZE / 2, 2)
            if np.hypot(dy, dx) > 3 * scale:
                image = image + rng.uniform(0.1, 0.8) * drawn(["disc", "elliptical"], x - dx, y - dy, scale / 2)
        made.append(np.arcsinh(3 * image) / 3 + rng.normal(0.15, 0.1, image.shape))
    return colour(made), odd


def radio(rng, n, scale, *, diffuse=False):
    """Straight doubles, and beside them bent tails or (``diffuse``) wide faint emission, of a size in pixels."""
    odd = np.arange(n) < ANOMALIES * n
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    made = []
    for one in odd:
        angle, image = rng.uniform(0, 2 * np.pi), 2.5 * gaussian_filter(rng.normal(0, 0.08, (SIZE, SIZE)), 1.7)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        bend = (rng.uniform(0.1, 0.6) if one and not diffuse else rng.normal(0, 0.05)) / scale
        apart, width = rng.uniform(0.4, 1) * scale, 0.18 * scale + 1.5
        ridge = np.exp(-((v - bend * u**2) ** 2) / 2 / width**2)
        for side in (-1, 1):
            image += rng.uniform(0.4, 1) * ridge * np.exp(-((u - side * apart) ** 2) / width**2 / 4)
        image += 0.4 * ridge * np.exp(-(np.abs(u / scale) ** 4))
        if one and diffuse:
            dy, dx = y - rng.normal(0, 8), x - rng.normal(0, 8)
            image += rng.uniform(0.03, 0.12) * np.exp(-(dy**2 + (dx / rng.uniform(1, 1.6)) ** 2) / 2 / 24**2)
        for _ in range(rng.poisson(5)):  # other sources
            dy, dx = y - rng.uniform(-64, 64), x - rng.uniform(-64, 64)
            image += rng.uniform(0.2, 1) * np.exp(-(dy**2 + dx**2) / 2 / rng.uniform(1.5, 3) ** 2)
        made.append(0.1 + 0.8 * image)
    return colour(made), odd


SETS = {
    "galaxies": galaxies,
    "simulated galaxies, 5 px": lambda rng, n: simulated(rng, n, 5),
    "simulated galaxies, 16 px": lambda rng, n: simulated(rng, n, 16),
    "radio, bent among straight, 9 px": lambda rng, n: radio(rng, n, 9),
    "radio, bent among straight, 30 px": lambda rng, n: radio(rng, n, 30),
    "radio, diffuse among compact, 9 px": lambda rng, n: radio(rng, n, 9, diffuse=True),
}


# ------------------------------------------------------------------------------------------------------ the variants


def cropped(images, share):
    side = round(images.shape[1] * share / 2) * 2
    edge = (images.shape[1] - side) // 2
    return images[:, edge : edge + side, edge : edge + side]


def covered(images, box):
    """Cover a box (top, bottom, left, right) with the median colour of each image."""
    top, bottom, left, right = box
    made = images.copy()
    made[:, top:bottom, left:right] = np.median(images, axis=(1, 2))[:, None, None]
    return made


def marked(images, rng):
    """Variants with marks, and with the marks covered."""
    yield "as it is", images
    small, large, half = written(images, rng, (3, 3), 10), written(images, rng, (20, 108), 16), images.copy()
    half[::2] = written(images[::2], rng, (3, 3), 10)
    yield "text in a corner", small
    yield "the same, covered", covered(small, (0, 18, 0, 42))
    yield "text in a corner of every other", half
    yield "the same, covered", covered(half, (0, 18, 0, 42))
    yield "large text below", large
    yield "the same, covered", covered(large, (106, 128, 16, 88))
    yield "arrows of north and east", arrows(images)
    yield "the same, covered", covered(arrows(images), (86, 122, 84, 122))
    framed = np.full((len(images), 152, 152, 3), 255, np.uint8)
    framed[:, 12:-12, 12:-12] = images
    yield "a white border of 8 %", framed


def network_input(images):
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float()
    return resize(pixels / 255, SIZE)


# ------------------------------------------------------------------------------------------------------- the figures


class Network:
    """The features that rankers use for images of the sky."""

    def __init__(self):
        self.engine = Engine("auto")
        self.engine.expect(10_000)
        self.backbone = build_backbone(NETWORK, layers="several")
        self.run = self.engine.run(self.engine.place(self.backbone), "seen")

    def features(self, images):
        """``(n, D)`` float32, averaged over two rotated views."""
        parts = []
        for start in range(0, len(images), 50):
            seen = network_input(images[start : start + 50])
            with torch.inference_mode():
                views = [
                    self.run(seen.rot90(k, (2, 3)).contiguous(memory_format=torch.channels_last)).float().numpy()
                    for k in (0, 2)
                ]
            parts.append((views[0] + views[1]) / 2)
        return np.concatenate(parts)


def points_of(features, widths):
    scaler = FeatureScaler.measure(features, widths)
    return fewer_axes(scaler.transform(features)), outlier_scores(
        fewer_axes(scaler.transform(features, sqrt_norm=True))
    )


def fewer_axes(points):
    """Rotate points, of which there are fewer than features, into as many axes as points: distances stay."""
    values, vectors = np.linalg.eigh(points.astype(np.float64) @ points.T)
    return vectors * np.sqrt(values.clip(0))


def figures(features, widths, odd, seeds):
    """``(seeds, 2)``: AUPRC, and anomalies found."""
    rows, truth = [], odd.astype(int)
    points, outliers = points_of(features, widths)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        drawn = [rng.choice(np.flatnonzero(odd == one), k, replace=False) for one, k in ((True, 10), (False, 30))]
        wanted = round(RATE / (1 - RATE) * (~odd).sum())
        some = np.r_[np.flatnonzero(~odd), rng.choice(np.flatnonzero(odd), wanted, replace=False)]
        few, few_outliers = points_of(features[some], widths)
        given, left = [], np.ones(len(some), bool)
        while len(given) < 50:
            ranked = scores(few, truth[some], np.array(given, int), few_outliers)
            ranked = np.argsort(-np.where(left, ranked, -np.inf))[:BATCH]
            left[ranked] = False
            given += ranked.tolist()
        rows.append((auprc(points, truth, outliers, np.concatenate(drawn)), truth[some][given].sum()))
    return np.array(rows, float)


def cells(values, base):
    """Both figures with their scatter, and their paired differences to others with standard errors."""
    apart = values - base
    errors = apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
    return (
        f"{values[:, 0].mean():.3f} ± {values[:, 0].std(ddof=1):.3f} | {apart[:, 0].mean():+.3f} ± {errors[0]:.3f} | "
        f"{values[:, 1].mean():.1f} ± {values[:, 1].std(ddof=1):.1f} | {apart[:, 1].mean():+.1f} ± {errors[1]:.1f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("marks", "centre"))
    parser.add_argument("--objects", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--set", dest="only", help="one of the sets")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="only so many variants")
    arguments = parser.parse_args()
    network = Network()
    widths = network.backbone.widths(SIZE)
    names = ["galaxies"] if arguments.what == "marks" else [arguments.only] if arguments.only else list(SETS)
    for name in names:
        rng = np.random.default_rng(0)
        images, odd = SETS[name](rng, arguments.objects)
        if arguments.what == "marks":
            variants = marked(images, rng)
        else:
            print(f"{name}: nine tenths of what differs lie within {measure_reach(network_input(images)):.2f}")
            variants = ((f"the middle, {share:g} of the side", cropped(images, share)) for share in CROPS)
        base = None
        for variant, shown in itertools.islice(variants, arguments.first or None):
            values = figures(network.features(shown), widths, odd, arguments.seeds)
            base = values if base is None else base
            print(f"| {name} | {variant} | {cells(values, base)} |", flush=True)


if __name__ == "__main__":
    main()
