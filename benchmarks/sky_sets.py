"""Sets of images without an up: real ones, what instruments and software add to them, and simulated ones.

`up_or_sky.py` measures them all. Nothing here needs more than the data folder and the packages of the program's tests.
"""

import bz2
import csv
import io
import zipfile

import numpy as np
from astropy.io import fits
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, maximum_filter

from astroanomaly.session.injection.galaxies import draw_shape


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


# ------------------------------------------------------------------------------------- what is written into images


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


def scale_bar(images):
    """Draw a bar of some arcseconds with its length."""
    made = []
    for image in images:
        picture = Image.fromarray(image)
        drawing = ImageDraw.Draw(picture)
        drawing.line([(8, 118), (38, 118)], fill=(255, 255, 255), width=2)
        drawing.text((10, 104), '10"', fill=(255, 255, 255))
        made.append(np.asarray(picture))
    return np.stack(made)


def in_axes(images):
    """Draw each as a plot with axes, as a notebook saves it."""
    figure = Figure((1.6, 1.6), dpi=100)
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    shown = axes.imshow(images[0], origin="lower", extent=(-20, 20, -20, 20))
    axes.tick_params(labelsize=5)
    axes.set_xlabel("arcsec", fontsize=5)
    for image in images:
        shown.set_data(image)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def compressed(images, quality):
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        yield np.asarray(Image.open(buffer))


def fringes(images):
    """Shift red up and blue down by half a pixel, as the atmosphere does."""
    values = images.astype(float)
    values[..., 0] = (values[..., 0] + np.roll(values[..., 0], -1, axis=1)) / 2
    values[..., 2] = (values[..., 2] + np.roll(values[..., 2], 1, axis=1)) / 2
    return values.astype(np.uint8)


def vignetted(images):
    y, x = np.mgrid[:128, :128]
    falloff = 1 - 0.5 * np.hypot(y - 64, x - 64) ** 2 / 64**2 / 2
    return (images * falloff[..., None]).astype(np.uint8)


def galaxies(archive, rng, n):
    every = members(archive)
    for label in ("anomaly", "nominal"):
        names = [name for name, row in every if row["label"] == label]
        yield f"galaxies, {label}", unzipped(archive, rng.permutation(names)[:n])
    plain = unzipped(archive, rng.permutation([name for name, _ in every])[:n])
    yield "galaxies, 120 of them", plain[:120]
    yield "galaxies, text in a corner", written(plain, rng, (3, 3), 10)
    yield "galaxies, large text below", written(plain, rng, (20, 108), 16)
    yield "galaxies, arrows of north and east", arrows(plain)
    yield "galaxies, scale bar", scale_bar(plain)
    yield "galaxies, plots with axes", np.stack([*in_axes(plain)])
    framed = plain.copy()
    framed[:, :, :4], framed[:, -5:] = 255, 0
    yield "galaxies, border", framed
    yield "galaxies, the centre alone", plain[:, 40:-40, 40:-40]
    yield "galaxies, halved", plain.reshape(-1, 64, 2, 64, 2, 3).mean(axis=(2, 4)).astype(np.uint8)
    yield "galaxies, grey", np.repeat(plain.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    yield "galaxies, JPEG of quality 30", np.stack([*compressed(plain, 30)])
    yield "galaxies, gradient upwards", np.clip(plain + np.linspace(0, 12, 128)[:, None, None], 0, 255).astype("u1")
    yield "galaxies, vignetted", vignetted(plain)
    yield "galaxies, colours shifted upwards", fringes(plain)


# ------------------------------------------------------------------------------------------------------- simulated


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


def bent_tails(rng, n):
    """Jets bent by a wind from any side, with the rings that a synthesised beam leaves."""
    y, x = np.mgrid[:96, :96] - 47.5
    ripples = np.cos(np.hypot(y, x) / 2.5) * np.exp(-np.hypot(y, x) / 25)
    for _ in range(n):
        angle, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.02)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        ridge = np.exp(-((v - bend * u**2) ** 2) / 2 / rng.uniform(2, 4) ** 2) * np.exp(-np.abs(u) / rng.uniform(8, 20))
        yield 0.8 * ridge + 0.1 * ripples + 2 * gaussian_filter(rng.normal(0, 0.08, (96, 96)), 1.5) + 0.1


def diffuse(rng, n):
    """Faint large emission beside point sources."""
    y, x = np.mgrid[:96, :96] - 47.5
    for _ in range(n):
        image = 0.1 + 4 * gaussian_filter(rng.normal(0, 0.1, (96, 96)), 3)
        for _ in range(rng.integers(1, 4)):
            dy, dx = y - rng.normal(0, 15), x - rng.normal(0, 15)
            image += rng.uniform(0.1, 0.4) * np.exp(-(dy**2 + dx**2) / 2 / rng.uniform(5, 14) ** 2)
        for _ in range(rng.integers(0, 5)):
            dy, dx = y - rng.uniform(-47, 47), x - rng.uniform(-47, 47)
            image += rng.uniform(0.3, 1) * np.exp(-(dy**2 + dx**2) / 2 / 2**2)
        yield image


def simulated(rng, n, names):
    y, x = (np.mgrid[:64, :64] - 31.5) / 6
    for _ in range(n):
        angle = rng.uniform(0, 2 * np.pi)
        shape = draw_shape(str(rng.choice(names)), rng)
        image = shape(x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle))
        image = image[0] if isinstance(image, tuple) else image
        yield np.arcsinh(10 * image / image.max()) / 3 + rng.normal(0, 0.03, image.shape)


def stars(rng, n, *, arms=0, bleeding=0):
    """Bright stars, with the spikes of a telescope that never turns, or with charge that bleeds along columns."""
    y, x = np.mgrid[:96, :96] - 47.5
    for _ in range(n):
        dy, dx = y - rng.uniform(-4, 4), x - rng.uniform(-4, 4)
        image = rng.normal(0.1, 0.03, (96, 96)) + np.exp(-(dy**2 + dx**2) / 2 / rng.uniform(2, 5) ** 2)
        length = rng.uniform(10, 40)
        for angle in np.pi / 2 + np.arange(arms // 2) * 2 * np.pi / max(arms, 1):
            along, across = dx * np.cos(angle) + dy * np.sin(angle), dx * np.sin(angle) - dy * np.cos(angle)
            image += 0.6 * np.exp(-np.abs(along) / length - across**2 / 2)
        if bleeding and rng.random() < 0.3:
            down = np.where(dy > 0, 1.0, 1.0 if bleeding == 2 else 0.0)
            image += down * (np.abs(dx) < 1.5) * (np.abs(dy) < rng.uniform(10, 40))
        yield image


def crowded(rng, n):
    for _ in range(n):
        image = np.zeros((64, 64))
        places = rng.integers(0, 64, (2, 150))
        np.add.at(image, tuple(places), rng.pareto(1.2, 150).clip(0, 30))
        yield np.arcsinh(20 * gaussian_filter(image, 1.3)) / 4 + rng.normal(0, 0.02, image.shape)


def random_fields(rng, n, slope, *, positive=False):
    """Gaussian random fields with a power spectrum of a slope: clouds, or a background."""
    k = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None])
    k[0, 0] = np.inf
    for _ in range(n):
        image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(64, 64))) * k**slope)
        image /= image.std()
        yield np.exp(image) / 8 if positive else 0.5 + image / 6


def photons(rng, n):
    """X-ray images with few counts."""
    y, x = np.mgrid[:64, :64] - 31.5
    for _ in range(n):
        dy, dx = y - rng.normal(0, 4), x - rng.normal(0, 4)
        mean = 0.05 + rng.uniform(0.3, 3) * (1 + (dx**2 + dy**2) / rng.uniform(3, 12) ** 2) ** -1.5
        yield rng.poisson(mean) / 4


def dipoles(rng, n):
    """Difference images: what is left of two that do not quite lie on each other."""
    y, x = np.mgrid[:48, :48] - 23.5
    for _ in range(n):
        image = rng.normal(0.5, 0.05, (48, 48))
        angle, apart = rng.uniform(0, 2 * np.pi), rng.exponential(1.0)
        for sign in (-1, 1):
            dy, dx = y - sign * apart * np.sin(angle), x - sign * apart * np.cos(angle)
            image += sign * 0.5 * np.exp(-(dx**2 + dy**2) / 2 / 2.2**2)
        yield image


# ------------------------------------------------------------------------------------------------------------- real


def tiles(image, side, limit):
    """Cut an image into tiles that do not overlap."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    cut = image[: rows * side, : columns * side].reshape(rows, side, columns, side, -1).swapaxes(1, 2)
    cut = cut.reshape(rows * columns, side, side, -1)[:limit]
    return np.ascontiguousarray(np.broadcast_to(cut, (*cut.shape[:3], 3)))


def apart_from(peaks, distance):
    """Keep those that are so far from all kept before."""
    kept = []
    for peak in peaks:
        if all(np.abs(peak - other).max() >= distance for other in kept):
            kept.append(peak)
    return np.array(kept)


def fields(folder, rng, n):
    """Cut detected sources out of mosaics; cutouts that overlap are a set of their own."""
    paths = ["sdss-gri/*_g.*", "sdss-gri/*_i.*", "decam-tpv/*_g_ls9.N26*", "decam-tpv/*_z_*", "spitzer/*image.fits"]
    for path in (path for one in [*paths, "emmi-no-wcs/*.fits"] for path in sorted(folder.glob(one))):
        content = path.read_bytes()
        with fits.open(io.BytesIO(bz2.decompress(content) if path.suffix == ".bz2" else content)) as hdus:
            image = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2).astype(float)
        image = np.nan_to_num(image, nan=np.nanmedian(image))
        sky = np.median(image)
        noise = 1.48 * np.median(np.abs(image - sky)) or 1.0
        peaks = np.argwhere((image == maximum_filter(image, 15)) & (image > sky + 5 * noise))
        peaks = peaks[((peaks > 24) & (peaks < np.array(image.shape) - 24)).all(axis=1)]
        peaks = rng.permutation(peaks)[: 3 * n]
        for kind, chosen in (("", apart_from(peaks, 28)[:n]), (", overlapping", peaks[:n])):
            if len(chosen) < 100 or (kind and "spitzer" not in path.name):
                continue
            found = []
            for row, column in chosen:
                values = (image[row - 16 : row + 16, column - 16 : column + 16] - sky) / noise
                values = np.arcsinh(np.clip(values, -5, 999))
                found.append((values - values.min()) / (np.ptp(values) + 1e-9))
            yield f"sources of {path.name.split('.fits')[0]}{kind}", colour(found)


def skies(data, rng, n):
    """Yield all sets without an up: a name and ``(n, H, W, 3)`` uint8."""
    from skimage import data as examples

    yield from galaxies(zipfile.ZipFile(data / "galaxyzoo-odd.zip"), rng, n)
    yield from fields(data / "fits", rng, n)
    yield "Hubble deep field", tiles(examples.hubble_deep_field(), 48, n)
    yield "tissue under a microscope", tiles(examples.immunohistochemistry(), 40, n)
    yield "radio doubles", colour([*radio(rng, n)])
    yield "radio, bad columns", colour([*radio(rng, n, columns=True)])
    yield "radio, beam of 1 to 3", colour([*radio(rng, n, beam=3.0)])
    yield "radio, trails of charge", colour([*radio(rng, n, trail=True)])
    yield "radio, bent tails", colour([*bent_tails(rng, n)])
    yield "radio, diffuse", colour([*diffuse(rng, n)])
    yield "simulated discs and spirals", colour([*simulated(rng, n, ["disc", "spiral", "bulge_disc"])])
    yield "simulated rings, mergers, arcs", colour([*simulated(rng, n, ["ring", "merger", "arc", "tidal"])])
    yield "stars with 4 spikes", colour([*stars(rng, n, arms=4)])
    yield "stars with 6 spikes", colour([*stars(rng, n, arms=6)])
    yield "stars, bleeding both ways", colour([*stars(rng, n, bleeding=2)])
    yield "stars, bleeding downwards", colour([*stars(rng, n, bleeding=1)])
    yield "crowded field of stars", colour([*crowded(rng, n)])
    yield "clouds", colour([*random_fields(rng, n, -1.7, positive=True)])
    yield "background radiation", colour([*random_fields(rng, n, -1.0)])
    yield "X-ray photons", colour([*photons(rng, n)])
    yield "difference images", colour([*dipoles(rng, n)])
    yield "noise", rng.integers(0, 256, (n, 96, 96, 3)).astype(np.uint8)
