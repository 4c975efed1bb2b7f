"""Sets of images with an up: photographs, plots, spectra, writing, maps, lit surfaces.

`up_or_sky.py` measures them all.
"""

import zipfile

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits, load_sample_images
from sky_sets import colour, members, tiles, unzipped

CLASSES = 6  # of miniImageNet
LETTERS = list("ABCDEFGJKLPQRabdefghjkpqrt")
WORDS = ["galaxy", "spectrum", "of", "the", "and", "Brightness", "flux", "Large", "survey", "jets", "hypothesis"]


# ----------------------------------------------------------------------------------------------------------- plots


def plots(rng, n, kind):
    """Draw plots as a program saves them."""
    for _ in range(n):
        figure = Figure((1.28, 1.28), dpi=100)
        axes = figure.subplots()
        axes.tick_params(labelsize=5)
        x = np.linspace(0, 1, 200)
        if kind == "spectrum":
            y = 1 - x * rng.uniform(-0.5, 0.5) + rng.normal(0, 0.03, 200)
            for _ in range(rng.integers(1, 6)):
                y += rng.uniform(-0.2, 1) * np.exp(-((x - rng.random()) ** 2) / 2 / 0.01**2)
            axes.plot(x, y, lw=0.7)
        elif kind == "light curve":
            phase = (x * rng.uniform(1, 8)) % 1
            axes.plot(x, rng.normal(1, 0.02, 200) - 0.3 * (np.abs(phase - 0.5) < 0.07), "k.", ms=1)
        elif kind == "histogram":
            axes.hist(rng.gamma(rng.uniform(1, 9), size=300), bins=20)
        else:  # colours and magnitudes of a cluster, without axes
            axes.set_axis_off()
            colour_index = rng.normal(0.8, 0.3, 300)
            magnitude = 4 * colour_index + rng.exponential(1.5, 300) * rng.uniform(0.2, 1)
            axes.plot(colour_index, -magnitude, "k.", ms=1)
            giants = rng.integers(5, 60)
            axes.plot(1.2 + rng.exponential(0.3, giants), -1 + rng.normal(0, 0.5, giants), "k.", ms=1)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def bursts(rng, n):
    """Dynamic spectra of dispersed bursts."""
    t, f = np.arange(96)[None], np.arange(96)[:, None]
    for _ in range(n):
        arrival = rng.uniform(10, 40) + rng.uniform(10, 40) * (1 / (1 - f / 130) ** 2 - 1) / 8
        yield rng.normal(0.3, 0.1, (96, 96)) + 0.5 * np.exp(-((t - arrival) ** 2) / 2 / rng.uniform(1, 3) ** 2)


def chirps(rng, n):
    """Time and frequency of short bursts, as of gravitational waves, with more noise at low frequencies."""
    t, f = np.linspace(-1, 1, 96)[None], np.linspace(1, 0, 96)[:, None]
    for _ in range(n):
        image = gaussian_filter(rng.exponential(1, (96, 96)), (1.5, 3)) * (0.15 + 0.3 * np.exp(-f / 0.1))
        place, width = rng.uniform(-0.5, 0.5), rng.uniform(0.03, 0.2)
        if rng.random() < 0.5:
            track = 0.15 + 0.25 / np.maximum(place - t + 0.1, 0.05) ** 0.5 * (t < place)
            image += 0.7 * np.exp(-((f - np.clip(track, 0, 1)) ** 2) / 2 / 0.04**2) * (t < place)
        else:
            image += 0.7 * np.exp(-((t - place) ** 2) / 2 / width**2 - (f - rng.uniform(0.1, 0.6)) ** 2 / 2 / 0.15**2)
        yield image


def spectra(rng, n, *, echelle=False):
    """Spectra on a detector: a trace with lines, and lines of the night sky; or the orders of an echelle."""
    y, x = np.mgrid[:96, :96]
    sky = rng.uniform(0, 96, 25), rng.exponential(0.15, 25) * np.linspace(0.3, 2, 25)
    for _ in range(n):
        image = rng.normal(0.15, 0.03, (96, 96))
        slope = np.exp(rng.uniform(-1, 1) * (x - 48) / 96)
        if echelle:
            for order in range(8):
                middle = 8 + 11 * order + 0.0018 * (x - 40) ** 2 + rng.uniform(-1, 1)
                blaze = np.exp(-((x - 48) ** 2) / 2 / 30**2)
                lines = 1 - 0.5 * (rng.random(96) < 0.1)[None]
                image += rng.uniform(0.3, 0.7) * blaze * lines * np.exp(-((y - middle) ** 2) / 2 / 1.5**2)
            yield image
            continue
        for place, strength in zip(np.sort(sky[0]), np.sort(sky[1]), strict=True):
            image += strength * np.exp(-((x - place) ** 2) / 2)
        trace = np.exp(-((y - rng.uniform(35, 60)) ** 2) / 2 / rng.uniform(1, 4) ** 2) * slope * rng.uniform(0.2, 0.7)
        for _ in range(rng.integers(0, 5)):
            trace *= 1 + rng.uniform(-0.8, 3) * np.exp(-((x - rng.uniform(0, 96)) ** 2) / 2 / 1.5**2)
        yield image + trace


# --------------------------------------------------------------------------------------------- drawings and writing


def letters(rng, n):
    for _ in range(n):
        picture = Image.new("L", (48, 48))
        ImageDraw.Draw(picture).text((4, 8), "".join(rng.choice(LETTERS, 2)), fill=255, font=ImageFont.load_default(24))
        yield np.asarray(picture) / 255


def paragraphs(rng, n):
    for _ in range(n):
        picture = Image.new("L", (128, 128), 235)
        text = "\n".join(" ".join(rng.choice(WORDS, 4)) for _ in range(9))
        ImageDraw.Draw(picture).text((-rng.integers(0, 20), -rng.integers(0, 12)), text, fill=30)
        yield np.asarray(picture) / 255


def maps(rng, n):
    """Draw roads at any angle, water, and names."""
    for _ in range(n):
        picture = Image.new("RGB", (128, 128), (242, 239, 230))
        drawing = ImageDraw.Draw(picture)
        x, y = rng.uniform(0, 128, 2)
        drawing.ellipse([x - 30, y - 20, x + 30, y + 20], fill=(170, 210, 230))
        for _ in range(rng.integers(3, 8)):
            angle, (x, y) = rng.uniform(0, np.pi), rng.uniform(0, 128, 2)
            dx, dy = 180 * np.cos(angle), 180 * np.sin(angle)
            drawing.line([(x - dx, y - dy), (x + dx, y + dy)], fill=(255, 200, 90), width=int(rng.integers(1, 5)))
        for _ in range(rng.integers(2, 6)):
            drawing.text(tuple(rng.uniform(0, 100, 2)), str(rng.choice(WORDS)), fill=(40, 40, 40))
        yield np.asarray(picture)


def landscapes(rng, n):
    """Draw a horizon, something bright above it and triangles on it."""
    for _ in range(n):
        horizon, y = int(rng.integers(50, 80)), np.arange(128)
        sky, ground = rng.uniform(90, 220, 3), rng.uniform(30, 160, 3)
        rows = np.where((y < horizon)[:, None], sky * (0.6 + 0.4 * y[:, None] / 128), ground)
        picture = Image.fromarray(np.repeat(rows[:, None], 128, axis=1).astype(np.uint8))
        drawing = ImageDraw.Draw(picture)
        for _ in range(rng.integers(1, 6)):
            x, size = rng.integers(0, 128), rng.integers(8, 40)
            corners = [(x - size // 2, horizon), (x + size // 2, horizon), (x, horizon - size)]
            drawing.polygon(corners, fill=(20, 60, 30))
        x, y = rng.integers(10, 118), rng.integers(5, 40)
        drawing.ellipse([x - 6, y - 6, x + 6, y + 6], fill=(250, 240, 200))
        yield np.asarray(picture)


def craters(rng, n):
    """Draw a surface lit from the left."""
    y, x = np.mgrid[:96, :96]
    for _ in range(n):
        height = 3 * gaussian_filter(rng.normal(0, 1, (96, 96)), 2)
        for _ in range(rng.integers(3, 15)):
            size = 3 + 6 * rng.pareto(2)
            distance = np.hypot(y - rng.uniform(0, 96), x - rng.uniform(0, 96)) / size
            height += size * (np.exp(-((distance - 1) ** 2) / 0.08) * 0.4 - 0.7 * np.exp(-(distance**4)))
        yield 0.5 + 0.25 * (np.roll(height, -1, axis=1) - height)


def showers(rng, n):
    """Particles that come from above and spread."""
    y, x = np.mgrid[:64, :64]
    for _ in range(n):
        axis, slant, start = rng.uniform(20, 44), rng.normal(0, 0.2), rng.uniform(5, 25)
        depth = np.maximum(y - start, 0)
        across = (x - axis - slant * depth) / (1 + 0.2 * depth)
        yield rng.poisson(3 * (depth > 0) * np.exp(-depth / 25) * np.exp(-(across**2) / 2)) / 6


def shaded(rng, n):
    """Draw balls on a table, lit from above."""
    y, x = np.mgrid[:64, :64]
    for _ in range(n):
        image = np.full((64, 64), rng.uniform(0.2, 0.7))
        for _ in range(rng.integers(1, 5)):
            dy, dx, size = y - rng.uniform(10, 54), x - rng.uniform(10, 54), rng.uniform(5, 16)
            inside = dy**2 + dx**2 < size**2
            image = np.where(inside, 0.5 - 0.4 * dy / size * rng.uniform(0.6, 1), image)
        yield image + rng.normal(0, 0.02, image.shape)


# ------------------------------------------------------------------------------------------------------------- all


def photographs(data, rng, n):
    archive = zipfile.ZipFile(data / "miniimagenet-10k.zip")
    every = members(archive)
    yield "photographs of 100 kinds", unzipped(archive, [every[k][0] for k in rng.permutation(len(every))[:n]])
    yield "photographs, 120 of them", unzipped(archive, [every[k][0] for k in rng.permutation(len(every))[:120]])
    kinds = sorted({row["wnid"] for _, row in every})
    for kind in kinds[:: len(kinds) // CLASSES][:CLASSES]:
        yield f"photographs, {kind}", unzipped(archive, [name for name, row in every if row["wnid"] == kind][:n])
    for start in range(0, 40, 20):
        some = [name for name, row in every if row["wnid"] in kinds[start * 2 : start * 2 + 5]]
        yield f"photographs of 5 kinds, {start // 10}", unzipped(archive, rng.permutation(some)[:n])
    some = [name for name, row in every if row["wnid"] in kinds[50:60]]
    taken = unzipped(archive, rng.permutation(some)[:n])
    yield "photographs, grey", np.repeat(taken.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    yield "photographs, 40 px", taken[:, :80, :80].reshape(-1, 40, 2, 40, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    framed = np.full((len(taken), 100, 100, 3), 255, np.uint8)
    framed[:, 8:92, 8:92] = taken
    yield "photographs, white border", framed


def pictures(data, rng, n):
    """Yield all sets with an up: a name and ``(n, H, W, 3)`` uint8."""
    from skimage import data as examples

    yield from photographs(data, rng, n)
    yield "faces", colour([*examples.lfw_subset()[:100]])
    several = [examples.astronaut(), examples.coffee(), examples.chelsea(), examples.rocket()]
    several += load_sample_images().images
    yield "tiles of 6 photographs", np.concatenate([tiles(one, 72, n) for one in several])
    yield "digits", colour(load_digits().images[:n] / 16)
    yield "letters", colour([*letters(rng, n)])
    yield "paragraphs", colour([*paragraphs(rng, n)])
    yield "maps with names", np.stack([*maps(rng, n)])
    yield "landscapes, drawn", np.stack([*landscapes(rng, n)])
    yield "craters lit from the left", colour([*craters(rng, n)])
    yield "showers of particles", colour([*showers(rng, n)])
    yield "balls lit from above", colour([*shaded(rng, n)])
    for kind in ("spectrum", "light curve", "histogram", "colours and magnitudes"):
        yield f"plots, {kind}", np.stack([*plots(rng, n, kind)])
    yield "bursts in time and frequency", colour([*bursts(rng, n)])
    yield "chirps in time and frequency", colour([*chirps(rng, n)])
    yield "spectra on a detector", colour([*spectra(rng, n)])
    yield "echelle spectra", colour([*spectra(rng, n, echelle=True)])
