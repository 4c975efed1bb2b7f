"""Which stretch and which bands the network should see: ``python benchmarks/stretches.py FOLDER``.

Sets of flux are simulated: the sky of the demo in three bands, galaxies and radio sources in one band, whose brightness
spans a factor of a hundred. Galaxies of Galaxy Zoo are pictures already, so that only their colours are changed. A
quarter of 400 objects are anomalies. The figure is the AUPRC of the ranker
``probe`` (without ``probe.invariance``) in `astroanomaly benchmark`, after 10 + 30 labels drawn at random; all variants
of a set have the same labels.
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from frames import ANOMALIES, SIZE
from scipy.ndimage import gaussian_filter

from astroanomaly import ingest
from astroanomaly.demo.simulate import simulate
from astroanomaly.session.injection.galaxies import NOMINAL_SHAPES, RARITIES, draw_shape

OBJECTS = 400
STRETCHES = {
    "as it is": (),
    "linear": ("stretch.curve=linear",),
    "square root": ("stretch.curve=sqrt",),
    "logarithm": ("stretch.curve=log",),
    "asinh, .02 instead of .1": ("stretch.strength=0.02",),
    "zscale": ("stretch.interval=zscale",),
    "1 to 10 deviations": ("stretch.interval=sigma",),
    "least to greatest": ("stretch.interval=minmax",),
    "each cutout by itself": ("stretch.scope=cutout",),
}
BANDS = {
    "sky of the demo": {"one band": ("input.channels=i,i,i",), "bands in reverse": ("input.channels=g,r,i",),
                        "one interval for all bands": ("stretch.shared=true",)},
    "galaxies": {"as it is": (), "one band": ("input.channels=G,G,G",), "bands in reverse": ("input.channels=B,G,R",)},
}  # fmt: skip


def kinds(n):
    return np.where(np.arange(n) < ANOMALIES * n, "anomaly", "nominal")


def galaxies_in_flux(rng, scale):
    """Galaxies of so many pixels to a half-light radius: the brightest pixels are 3 to 300 times the noise."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    made = []
    for kind in kinds(OBJECTS):
        angle = rng.uniform(0, 2 * np.pi)
        u, v = (x * np.cos(angle) + y * np.sin(angle)) / scale, (y * np.cos(angle) - x * np.sin(angle)) / scale
        names = RARITIES if kind == "anomaly" else [*NOMINAL_SHAPES]
        image = sum(draw_shape(str(rng.choice(names)), rng)(u, v))
        image *= 10 ** rng.uniform(0.5, 2.5) / np.sort(image, axis=None)[-int(scale**2)]
        made.append(image + rng.normal(0, 1, image.shape))
    return np.float32(made)[:, None]


def radio_in_flux(rng, scale, *, diffuse=False):
    """Straight doubles; bent ones or (``diffuse``) faint emission around them: peaks of 5 to 500 times the noise."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    made = []
    for kind in kinds(OBJECTS):
        angle, image = rng.uniform(0, 2 * np.pi), np.zeros((SIZE, SIZE))
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        bend = (rng.uniform(0.1, 0.6) if kind == "anomaly" and not diffuse else rng.normal(0, 0.05)) / scale
        apart, width = rng.uniform(0.4, 1) * scale, 0.18 * scale + 1.5
        ridge = np.exp(-((v - bend * u**2) ** 2) / 2 / width**2)
        for side in (-1, 1):
            image += rng.uniform(0.4, 1) * ridge * np.exp(-((u - side * apart) ** 2) / width**2 / 4)
        image += 0.4 * ridge * np.exp(-(np.abs(u / scale) ** 4))
        image *= 10 ** rng.uniform(0.7, 2.7) / image.max()
        if kind == "anomaly" and diffuse:
            dy, dx = y - rng.normal(0, 8), x - rng.normal(0, 8)
            image += rng.uniform(0.5, 3) * np.exp(-(dy**2 + (dx / rng.uniform(1, 1.6)) ** 2) / 2 / 24**2)
        noise = gaussian_filter(rng.normal(0, 1, image.shape), 1.7)
        made.append(image + noise / noise.std())
    return np.float32(made)[:, None]


def write_sets(folder):
    """Write caches and tables of labels; those that are there are kept."""
    flux = {
        "galaxies of 5 px": lambda: galaxies_in_flux(np.random.default_rng(0), 5),
        "galaxies of 16 px": lambda: galaxies_in_flux(np.random.default_rng(1), 16),
        "radio sources of 9 px": lambda: radio_in_flux(np.random.default_rng(2), 9),
        "radio sources of 30 px": lambda: radio_in_flux(np.random.default_rng(3), 30),
        "diffuse emission": lambda: radio_in_flux(np.random.default_rng(4), 9, diffuse=True),
    }
    for name, make in flux.items():
        place = folder / name
        if not (place / "labels.csv").is_file():
            place.mkdir(parents=True, exist_ok=True)
            ids = [f"{number:04d}" for number in range(OBJECTS)]
            np.savez(place / "stack.npz", images=make(), object_id=ids)
            ingest("arrays", [place / "stack.npz"], out=place / "cache", bands=("i",))
            write_labels(place, dict(zip(ids, kinds(OBJECTS), strict=True)))
    place = folder / "sky of the demo"
    if not (place / "labels.csv").is_file():
        place.mkdir(parents=True, exist_ok=True)
        sky = simulate(place / "sky", n_objects=OBJECTS, anomaly_rate=ANOMALIES, seed=0)
        ingest("fits", sky.mosaics, catalog=sky.catalog, size=64, out=place / "cache")
        with (sky.truth).open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        write_labels(place, {row["object_id"]: "anomaly" if row["class"] in RARITIES else "nominal" for row in rows})
    place = folder / "galaxies"
    if not (place / "labels.csv").is_file():
        archive = Path(os.environ["ASTROANOMALY_DATA"]) / "galaxyzoo-odd.zip"
        ingest("images", [archive], out=place / "cache")
        subprocess.run(["unzip", "-qo", archive, "labels.csv", "-d", place], check=True)
    return [*flux, "sky of the demo", "galaxies"]


def write_labels(place, labels):
    lines = ["object_id,label", *(f"{name},{label}" for name, label in labels.items())]
    (place / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def measured(place, name, settings, seeds):
    """AUPRC of every draw."""
    out = place / name.replace(" ", "-").replace(",", "")
    words = f"--anomaly anomaly --initial 10 30 --cycles 1 --seeds {seeds} --ranker probe".split()
    command = ["benchmark", str(place / "cache"), "--truth", str(place / "labels.csv"), "--out", str(out), *words]
    for setting in ("input.views=sky", "probe.invariance=0", *settings):
        command += ["--set", setting]
    subprocess.run([sys.executable, "-m", "astroanomaly", *command], check=True, stdout=subprocess.DEVNULL)
    with (out / "results.csv").open(encoding="utf-8") as lines:
        return np.array([float(row["auprc"]) for row in csv.DictReader(lines)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--set", dest="only", help="one of the sets")
    arguments = parser.parse_args()
    for name in write_sets(arguments.folder):
        if arguments.only not in (None, name):
            continue
        variants = BANDS.get(name, {}) if name == "galaxies" else STRETCHES | BANDS.get(name, {})
        base = None
        for variant, settings in variants.items():
            found = measured(arguments.folder / name, variant, settings, arguments.seeds)
            if base is None:
                base, cell = found, f"{found.mean():.3f} ± {found.std(ddof=1):.3f}"
            else:
                change = found - base
                cell = f"{change.mean():+.3f} ± {change.std(ddof=1) / len(change) ** 0.5:.3f}"
            print(f"| {name} | {variant} | {cell} |", flush=True)


if __name__ == "__main__":
    main()
