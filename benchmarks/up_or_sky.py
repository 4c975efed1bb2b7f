"""Is it seen whether images have an up? ``ASTROANOMALY_DATA=FOLDER python benchmarks/up_or_sky.py``.

Many unlike sets with an up (``picture``) and without one (``sky``, also with what instruments and software add to it)
are measured as ``astroanomaly init`` does it. The table shows, for each, how often a turn by quarters and one of 180
degrees is told within a circle, and what the set is taken for. The thresholds are those of the program, which were
chosen on these sets: nothing here tries them on others.
"""

import argparse
import bz2
import csv
import io
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, maximum_filter
from sklearn.datasets import load_digits, load_sample_images

from astroanomaly.demo.galaxies import draw_shape
from astroanomaly.learn.orientation import INNER, OUTER, SIDE, judge, prepare, quadrants, recognise_rotations
from astroanomaly.learn.preprocessing import resize

CLASSES = 6  # of miniImageNet


def colour(planes):
    """Bring grey images in [0, 1] to ``(n, H, W, 3)`` uint8."""
    grey = (np.clip(np.stack(planes), 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


def unzipped(archive, names):
    return np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])


def members(archive):
    table = next(name for name in archive.namelist() if name.endswith(".csv"))
    places = {name.rsplit("/", 1)[-1]: name for name in archive.namelist()}
    rows = list(csv.DictReader(io.TextIOWrapper(archive.open(table))))
    return [(places[row["filename"].rsplit("/", 1)[-1]], row) for row in rows]


def written(images, rng, place, size):
    """Burn a line of text into each image."""
    font, made = ImageFont.load_default(size), []
    for image in images:
        picture = Image.fromarray(image)
        ImageDraw.Draw(picture).text(place, f"J{rng.integers(9999):04d}", fill=(255, 255, 255), font=font)
        made.append(np.asarray(picture))
    return np.stack(made)


def arrows(images):
    """Mark north and east, as finder charts do."""
    made = []
    for image in images:
        picture = Image.fromarray(image)
        drawing = ImageDraw.Draw(picture)
        drawing.line([(112, 118), (112, 100)], fill=(255, 255, 255))
        drawing.line([(112, 118), (96, 118)], fill=(255, 255, 255))
        drawing.text((109, 88), "N", fill=(255, 255, 255))
        drawing.text((86, 112), "E", fill=(255, 255, 255))
        made.append(np.asarray(picture))
    return np.stack(made)


def galaxies(archive, rng, n):
    every = members(archive)
    for label in ("anomaly", "nominal"):
        names = [name for name, row in every if row["label"] == label]
        yield f"galaxies, {label}", unzipped(archive, rng.permutation(names)[:n])
    plain = unzipped(archive, rng.permutation([name for name, _ in every])[:n])
    yield "galaxies, text in a corner", written(plain, rng, (3, 3), 10)
    yield "galaxies, large text below", written(plain, rng, (20, 108), 16)
    yield "galaxies, arrows of north and east", arrows(plain)
    framed = plain.copy()
    framed[:, :, :4], framed[:, -5:] = 255, 0
    yield "galaxies, border", framed
    yield "galaxies, the centre alone", plain[:, 40:-40, 40:-40]
    yield "galaxies, bands of a gradient", np.clip(plain + np.linspace(0, 12, 128)[:, None, None], 0, 255).astype("u1")
    yield "galaxies, 60 of them", plain[:60]


def radio(rng, n, *, columns=False, beam=1.0, trail=False):
    y, x = np.mgrid[:96, :96] - 47.5
    for _ in range(n):
        angle, apart = rng.uniform(0, 2 * np.pi), rng.uniform(5, 30)
        image = 3 * gaussian_filter(rng.normal(0, 0.08, (96, 96)), (2 * beam, 2))
        for side in (-1, 1):
            size = rng.uniform(3, 7)
            dy, dx = y - side * apart * np.sin(angle), x - side * apart * np.cos(angle)
            image += rng.uniform(0.3, 1) * np.exp(-((dy / beam) ** 2 + dx**2) / 2 / size)
        if columns and rng.random() < 0.3:
            image[:, 48 + rng.integers(-20, 20)] += 0.5
        if trail:  # of charge, always towards the reading end of the detector
            smeared = sum(np.exp(-k / 4) * np.roll(image, k, axis=0) for k in range(12))
            image = 0.9 * image + 0.025 * smeared
        yield image


def simulated(rng, n, names):
    y, x = (np.mgrid[:64, :64] - 31.5) / 6
    for _ in range(n):
        angle = rng.uniform(0, 2 * np.pi)
        shape = draw_shape(str(rng.choice(names)), rng)
        image = shape(x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))
        image = image[0] if isinstance(image, tuple) else image
        yield np.arcsinh(10 * image / image.max()) / 3 + rng.normal(0, 0.03, image.shape)


def spikes(rng, n, arms):
    """Bright stars with the spikes of a telescope that never turns."""
    y, x = np.mgrid[:96, :96] - 47.5
    for _ in range(n):
        dy, dx = y - rng.uniform(-4, 4), x - rng.uniform(-4, 4)
        image = rng.normal(0.1, 0.03, (96, 96)) + np.exp(-(dy**2 + dx**2) / 2 / rng.uniform(2, 5) ** 2)
        length = rng.uniform(10, 40)
        for angle in np.pi / 2 + np.arange(arms // 2) * 2 * np.pi / arms:
            along, across = dx * np.cos(angle) + dy * np.sin(angle), dx * np.sin(angle) - dy * np.cos(angle)
            image += 0.6 * np.exp(-np.abs(along) / length - across**2 / 2)
        yield image


def fields(folder, rng, n):
    """Cut detected sources out of mosaics."""
    paths = [*folder.glob("sdss-gri/*"), *folder.glob("decam-tpv/*"), *folder.glob("spitzer/*image.fits")]
    for path in sorted([*paths, *folder.glob("emmi-no-wcs/*.fits"), *folder.glob("wcs-odd/testUS*")]):
        content = path.read_bytes()
        with fits.open(io.BytesIO(bz2.decompress(content) if path.suffix == ".bz2" else content)) as hdus:
            image = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2).astype(float)
        image = np.nan_to_num(image, nan=np.nanmedian(image))
        sky = np.median(image)
        noise = 1.48 * np.median(np.abs(image - sky)) or 1.0
        peaks = np.argwhere((image == maximum_filter(image, 15)) & (image > sky + 5 * noise))
        peaks = peaks[((peaks > 24) & (peaks < np.array(image.shape) - 24)).all(axis=1)]
        if len(peaks) < 60:
            continue
        found = []
        for row, column in rng.permutation(peaks)[:n]:
            values = np.arcsinh(np.clip((image[row - 24 : row + 24, column - 24 : column + 24] - sky) / noise, -5, 999))
            found.append((values - values.min()) / (np.ptp(values) + 1e-9))
        yield f"field {path.name.split('.fits')[0]}", colour(found)


def skies(data, rng, n):
    """Yield all sets without an up: a name and ``(n, H, W, 3)`` uint8."""
    yield from galaxies(zipfile.ZipFile(data / "galaxyzoo-odd.zip"), rng, n)
    yield "radio doubles", colour([*radio(rng, n)])
    yield "radio, bad columns", colour([*radio(rng, n, columns=True)])
    yield "radio, beam of 1 to 3", colour([*radio(rng, n, beam=3.0)])
    yield "radio, trails of charge", colour([*radio(rng, n, trail=True)])
    yield "simulated discs and spirals", colour([*simulated(rng, n, ["disc", "spiral", "bulge_disc"])])
    yield "simulated rings, mergers, arcs", colour([*simulated(rng, n, ["ring", "merger", "arc", "tidal"])])
    yield "stars with 4 spikes", colour([*spikes(rng, n, 4)])
    yield "stars with 6 spikes", colour([*spikes(rng, n, 6)])
    yield "noise", rng.integers(0, 256, (n, 96, 96, 3)).astype(np.uint8)
    yield from fields(data / "fits", rng, n)


def plots(rng, n, kind):
    """Draw plots and dynamic spectra."""
    for _ in range(n):
        if kind == "waterfall":  # a dispersed burst
            t, f = np.arange(96)[None], np.arange(96)[:, None]
            arrival = rng.uniform(10, 40) + rng.uniform(10, 40) * (1 / (1 - f / 130) ** 2 - 1) / 8
            grey = rng.normal(0.3, 0.1, (96, 96)) + 0.5 * np.exp(-((t - arrival) ** 2) / 2 / rng.uniform(1, 3) ** 2)
            yield colour([grey])[0]
            continue
        figure = Figure((1.28, 1.28), dpi=100)
        axes = figure.subplots()
        x = np.linspace(0, 1, 200)
        if kind == "spectrum":
            y = 1 - x * rng.uniform(-0.5, 0.5) + rng.normal(0, 0.03, 200)
            for _ in range(rng.integers(1, 6)):
                y += rng.uniform(-0.2, 1) * np.exp(-((x - rng.random()) ** 2) / 2 / 0.01**2)
            axes.plot(x, y, lw=0.7)
        else:
            phase = (x * rng.uniform(1, 8)) % 1
            axes.plot(x, rng.normal(1, 0.02, 200) - 0.3 * (np.abs(phase - 0.5) < 0.07), "k.", ms=1)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def letters(rng, n):
    for _ in range(n):
        picture = Image.new("L", (48, 48))
        text = "".join(rng.choice(list("ABCDEFGJKLPQRabdefghjkpqrt")) for _ in range(2))
        ImageDraw.Draw(picture).text((4, 8), text, fill=255, font=ImageFont.load_default(24))
        yield np.asarray(picture) / 255


def pictures(data, rng, n):
    """Yield all sets with an up."""
    archive = zipfile.ZipFile(data / "miniimagenet-10k.zip")
    every = members(archive)
    yield "photographs of 100 kinds", unzipped(archive, [every[k][0] for k in rng.permutation(len(every))[:n]])
    kinds = sorted({row["wnid"] for _, row in every})
    for kind in kinds[:: len(kinds) // CLASSES][:CLASSES]:
        yield f"photographs, {kind}", unzipped(archive, [name for name, row in every if row["wnid"] == kind][:n])
    for start in range(0, 40, 10):
        some = [name for name, row in every if row["wnid"] in kinds[start * 2 : start * 2 + 5]]
        yield f"photographs of 5 kinds, {start // 10}", unzipped(archive, rng.permutation(some)[:n])
    digits = load_digits().images
    yield "digits", colour(digits[:n] / 16)
    yield "letters", colour([*letters(rng, n)])
    for name, image in zip(("china", "flower"), load_sample_images().images, strict=True):
        corners = rng.integers(0, np.array(image.shape[:2]) - 128, (n, 2))
        yield f"patches of {name}", np.stack([image[r : r + 128, c : c + 128] for r, c in corners])
    for kind in ("spectrum", "light curve", "waterfall"):
        yield f"plots, {kind}", np.stack([*plots(rng, n, kind)])


def tensor(images):
    return resize(torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255, SIDE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600, help="of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=("sky", "picture"))
    arguments = parser.parse_args()
    data, rng = Path(os.environ["ASTROANOMALY_DATA"]), np.random.default_rng(arguments.seed)
    features = quadrants(100 * arguments.images)
    for kind, sets in (("sky", skies), ("picture", pictures)):
        if arguments.kind not in (None, kind):
            continue
        for name, images in sets(data, rng, arguments.images):
            start = time.perf_counter()
            seen = tensor(images[rng.permutation(len(images))])
            found = [recognise_rotations(prepare(seen, OUTER, rng), features)]
            if judge(*found).has_up:
                found.append(recognise_rotations(prepare(seen, INNER, rng), features))
            shown = "  ".join(f"{f.quarter:.2f} {f.half:.2f} +- {f.error:.2f}" for f in found)
            said = "picture" if judge(*found).has_up else "sky"
            seconds = time.perf_counter() - start
            print(f"{kind:7s} {name:36s} {found[0].images:4d}  {shown:38s}  {said:7s}  {seconds:5.1f} s", flush=True)


if __name__ == "__main__":
    main()
