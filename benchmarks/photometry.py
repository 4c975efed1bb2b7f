"""Measure what numbers measured on the cutouts bring: ``python benchmarks/photometry.py [CACHE --truth T]``.

Numbers that say nothing that is not in the image, beside the image, in the probe:

* ``photometry``: those of the program: magnitude, half-light radius, concentration, asymmetry, Gini coefficient, M20
  and colours;
* ``catalogue``: what a source finder says of the island at the centre, the pixels above 3 times the noise: logarithms
  of peak and integrated flux and of their ratio, size and axis ratio by its moments, and the number of islands, with
  errors of 5 %;
* ``random``: as many numbers that have nothing to do with the objects.

Without CACHE, the sets are simulated radio sources (``frames.py``): bent tails, or wide faint emission, among straight
doubles, ``--objects`` of each with ``--rate`` anomalies. AUPRC of all objects without a label, after labels drawn at
random, as in ``blocks.py``. ``--statmorph N`` compares Gini and M20 with those of statmorph on N objects.
"""

import argparse
import functools
import tempfile
import warnings
from pathlib import Path

import frames
import numpy as np
from blocks import beside_image, known_objects
from PIL import Image
from scipy.ndimage import label

from astroanomaly.cache import Cache
from astroanomaly.ingestion.ingest import ingest
from astroanomaly.learn.features.photometry import photometry

RADIO = {name: made for name, made in frames.SETS.items() if name.startswith("radio")}
OBJECTS_PER_READ = 256


def light(images):
    """``(n, H, W)`` mean of the bands less the background, and radius of each pixel from the middle."""
    images = np.nan_to_num(images.astype(float)).mean(axis=1)
    _, height, width = images.shape
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    return images - np.median(images[:, radius > 0.48 * height], axis=1)[:, None, None], radius


def catalogue(images, rng):
    """``(n, 6)`` numbers of the island at the centre, NaN where there is none."""
    values, radius = light(images)
    found = np.full((len(values), 6), np.nan)
    y, x = np.mgrid[: values.shape[1], : values.shape[2]]
    for row, image in zip(found, values, strict=True):
        noise = 1.4826 * np.median(np.abs(image[radius > 0.4 * len(image)]))
        islands, count = label(image > 3 * noise)
        near = np.where(islands > 0, radius, np.inf)
        if near.min() > 0.2 * len(image):
            continue
        mine = islands == islands.flat[near.argmin()]
        flux, yy, xx = image[mine], y[mine], x[mine]
        total = flux.sum()
        around = np.cov(np.stack([yy, xx]), aweights=flux) + np.eye(2) / 12
        long, short = np.sqrt(np.linalg.eigvalsh(around)[::-1])
        row[:5] = np.log10([flux.max(), total, total / flux.max(), long, short / long])
        row[5] = np.log10(count)
    return found + np.log10(1.05) * rng.normal(size=found.shape)


def measured(cache, ids):
    rng = np.random.default_rng(4)
    parts = {"photometry": [], "catalogue": []}
    for start in range(0, len(ids), OBJECTS_PER_READ):
        images = cache.read(ids[start : start + OBJECTS_PER_READ])
        parts["photometry"].append(photometry(images))
        parts["catalogue"].append(catalogue(images, rng))
    found = {name: np.concatenate(some) for name, some in parts.items()}
    # colours of grey pictures say nothing
    found["photometry"] = found["photometry"][:, np.nanstd(found["photometry"], axis=0) > 1e-6]
    return found | {"random": rng.normal(size=found["photometry"].shape)}


def beside_statmorph(cache, ids, count):
    """Print how far Gini and M20 go with those of statmorph."""
    import statmorph
    from photutils.segmentation import detect_sources

    images = cache.read(ids[:count])
    own, (values, radius) = photometry(images)[:, 4:6], light(images)
    theirs = np.full((count, 2), np.nan)
    for row, image in zip(theirs, values, strict=True):
        sources = detect_sources(image, 3 * image[radius > 0.48 * len(image)].std() + 0.01, npixels=10)
        middle = 0 if sources is None else sources.data[len(image) // 2, len(image) // 2]
        if middle:
            one = statmorph.source_morphology(image, (sources.data == middle).astype(int), gain=1.0)[0]
            row[:] = one.gini, one.m20
    known = np.isfinite(theirs).all(axis=1)
    found = [np.corrcoef(own[known, k], theirs[known, k])[0, 1] for k in (0, 1)]
    print(f"{known.sum()} objects: correlation with statmorph {found[0]:.2f} (Gini), {found[1]:.2f} (M20)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, nargs="?")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--column", default="label", help="column of the truth")
    parser.add_argument("--anomaly", default="anomaly", help="classes that are anomalies, with commas")
    parser.add_argument("--objects", type=int, default=1500)
    parser.add_argument("--rate", type=float, default=0.06)
    parser.add_argument("--labels", nargs="*", default=["3,10", "10,30", "30,50"])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--scatter", type=float, nargs="*", default=[0.02, 0.08])
    parser.add_argument("--statmorph", type=int, default=0)
    parser.add_argument("--set", action="append", default=["input.views=sky"])
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.cache is not None:
        cache = Cache.open(options.cache)
        ids, truth = known_objects(cache, options)
        if options.statmorph:
            beside_statmorph(cache, ids, options.statmorph)
            return
        beside_image(cache, ids, truth, options, functools.partial(measured, cache, ids))
        return
    frames.ANOMALIES = options.rate
    for name, made in RADIO.items():
        print(f"\n{name}", flush=True)
        images, odd = made(np.random.default_rng(8), options.objects)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "pictures").mkdir()
            for k, picture in enumerate(images):
                Image.fromarray(picture).save(Path(folder) / "pictures" / f"{k:05d}.png")
            ingest("images", Path(folder) / "pictures", out=Path(folder) / "cache", size=128)
            cache = Cache.open(Path(folder) / "cache")
            ids = list(cache.ids)
            truth = np.array([int(odd[int(Path(one).stem)]) for one in ids])
            beside_image(cache, ids, truth, options, functools.partial(measured, cache, ids))


if __name__ == "__main__":
    main()
