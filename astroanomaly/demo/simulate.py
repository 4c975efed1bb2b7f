"""A small synthetic sky for the demo and the tests: mosaics with WCS, a catalogue, and planted rarities.

Everything here is simulated, and every file says so. Rarities differ from nominal objects by their shape alone: flux,
half-light radius and colours of both are drawn from one distribution, and every rendered object is rescaled until its
*measured* flux and half-light radius are the drawn ones.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.files import atomic_path
from astroanomaly.records import NOMINAL, Progress
from astroanomaly.session.injection.galaxies import NOMINAL_SHAPES, RARITIES, draw_shape, turn, unit_sum
from astroanomaly.session.injection.render import moffat

if TYPE_CHECKING:
    from astropy.io.fits import Header

__all__ = ["RARITIES", "SimulatedSky", "simulate"]

_SPACING_PX = 64  # pixels; an object has the square of it on average
_CLOSEST_PX = 46.0  # pixels between an object and its nearest neighbour, at least
_MARGIN_PX = 48  # pixels between the outermost objects and the edge of the sky
_TRIES = 500  # places that are tried for an object before the closest distance gives way
_OVERLAP_PX = 96  # pixels that two neighbouring tiles share
_PIXEL_SCALE_ARCSEC = 0.1  # arcsec
_CENTRE_DEG = (150.1, 2.2)  # right ascension and declination of the middle of the sky, degrees
_APERTURE_PX = 30.0  # radius in pixels of the circle in which flux and half-light radius are measured
_GROWTH_STEP_PX = 0.5  # pixels between two points of the curve of growth
_GAIN = 4.0  # electrons per adu
_READ_NOISE = 5.0  # electrons
_FAINTEST, _BRIGHTEST, _SLOPE = 1.3e4, 2.0e5, 1.1  # r-band flux in adu, and the power law of the number counts
_COMMENT = "SIMULATED IMAGE, NO REAL SKY: made by astroanomaly.demo.simulate"


@dataclass(frozen=True)
class _Band:
    """How one band was 'observed'."""

    name: str
    zero_point: float  # AB magnitude of 1 adu
    sky: float  # adu per pixel, subtracted again as from a real mosaic
    fwhm: float  # pixels

    @property
    def noise(self) -> float:
        """Standard deviation of the empty sky in adu per pixel."""
        return float(np.sqrt(self.sky / _GAIN + (_READ_NOISE / _GAIN) ** 2))


_BANDS = (_Band("g", 30.0, 30.0, 2.8), _Band("r", 30.0, 50.0, 2.5), _Band("i", 29.8, 60.0, 2.4))
_REFERENCE_BAND = 1  # the band in which size and signal-to-noise are measured


@dataclass(frozen=True)
class SimulatedSky:
    """Files of a simulated sky.

    Parameters
    ----------
    folder
        Where they lie.
    mosaics
        FITS mosaics, one per tile and band; neighbouring tiles overlap.
    catalog
        ECSV table with ``object_id``, ``ra``, ``dec`` and, as measured on the mosaics, ``flux_*``, ``mag_*``, ``r50``
        and ``snr``.
    truth
        CSV with ``object_id`` and ``class``: ``nominal`` or one of `RARITIES`. Nothing but a simulated expert, a
        benchmark or a test may read it.
    bands
        Band names.
    n_objects
        Number of catalogue rows.
    counts
        Number of objects per class.
    """

    folder: Path
    mosaics: tuple[Path, ...]
    catalog: Path
    truth: Path
    bands: tuple[str, ...]
    n_objects: int
    counts: Mapping[str, int]


def simulate(
    folder: str | Path,
    *,
    n_objects: int = 2000,
    anomaly_rate: float = 0.01,
    seed: int = 0,
    tiles: int = 2,
    progress: Callable[[Progress], None] | None = None,
) -> SimulatedSky:
    """Write a small synthetic sky: three-band mosaics, a source catalogue and the truth about it.

    Parameters
    ----------
    folder
        Where to write; made if missing. Files of the same names are replaced, each in one step.
    n_objects
        Number of catalogued objects, at least 1. 2,000 make a sky of 2,096 x 4,080 pixels (0.1 arcsec each).
    anomaly_rate
        Share of planted rarities, 0 to 1; they are spread evenly over the kinds in `RARITIES`.
    seed
        Seed of everything random; the same seed gives the same bytes.
    tiles
        Number of tiles side by side, at least 1; neighbours overlap by 96 pixels and have independent noise.
    progress
        Called with a `Progress` now and then.

    Raises
    ------
    ConfigError
        For a number outside its range.
    StorageError
        If the folder cannot be written to.

    Notes
    -----
    Each object is an exponential disc, a Sersic spheroid (Sersic 1968), a sum of both, a logarithmic spiral, an
    edge-on disc with a dust lane, a clumpy irregular or a chance pair; unrelated stars, faint galaxies and, rarely, a
    satellite trail lie anywhere. The sky is convolved with one Moffat (1969) profile with faint diffraction spikes per
    band, and gets the photon noise of sky and objects (normal, of the Poisson variance) and read-out noise.
    """
    height, width = _check(n_objects, anomaly_rate, seed, tiles)
    report = progress or (lambda _: None)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}; choose another folder") from error
    streams = iter(np.random.SeedSequence(seed).spawn(n_objects + 3 + tiles))
    drawn = _draw(np.random.default_rng(next(streams)), n_objects, anomaly_rate, (height, width))
    sky = np.zeros((len(_BANDS), height, width), np.float32)
    for number in range(n_objects):
        _add_object(sky, drawn, number, np.random.default_rng(next(streams)))
        if number % 50 == 0:
            report(Progress("drawing objects", number, n_objects))
    _add_field(sky, np.random.default_rng(next(streams)), n_objects)
    report(Progress("drawing objects", n_objects, n_objects))
    trails = _trails(np.random.default_rng(next(streams)), sky.shape, n_objects)
    mosaics: list[Path] = []
    measured: dict[str, np.ndarray] = {}
    edges = np.linspace(0, width, tiles + 1).astype(int)
    done = 0
    for plane, band, trail in zip(sky, _BANDS, trails, strict=True):
        plane[:] = _convolve(plane, _psf(band)) + trail
    for tile in range(tiles):
        low, high = max(0, edges[tile] - _OVERLAP_PX // 2), min(width, edges[tile + 1] + _OVERLAP_PX // 2)
        rng = np.random.default_rng(next(streams))
        mine = (drawn["x"] >= edges[tile]) & (drawn["x"] < edges[tile + 1])
        noisy = np.stack([_observe(plane[:, low:high], band, rng) for plane, band in zip(sky, _BANDS, strict=True)])
        for name, values in _measure(noisy, drawn["x"][mine] - low, drawn["y"][mine]).items():
            measured.setdefault(name, np.full(n_objects, np.nan))[mine] = values
        for band, pixels in zip(_BANDS, noisy, strict=True):
            path = folder / f"sky_tile{tile + 1}_{band.name}.fits"
            _write_image(path, pixels, _header(band, low, sky.shape[1:], seed))
            mosaics.append(path)
            done += 1
            report(Progress("writing mosaics", done, tiles * len(_BANDS)))
    ids = np.array([f"SIM-{number:06d}" for number in range(1, n_objects + 1)])
    catalog, truth = folder / "catalogue.ecsv", folder / "truth.csv"
    _write_catalog(catalog, ids, drawn, measured, sky.shape[1:], seed)
    with atomic_path(truth) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows(
            [("object_id", "class"), *zip(ids, drawn["class"], strict=True)]
        )
    classes, numbers = np.unique(drawn["class"], return_counts=True)
    counts = {str(name): int(number) for name, number in zip(classes, numbers, strict=True)}
    return SimulatedSky(folder, tuple(mosaics), catalog, truth, tuple(b.name for b in _BANDS), n_objects, counts)


def _check(n_objects: int, anomaly_rate: float, seed: int, tiles: int) -> tuple[int, int]:
    """Return height and width of the sky in pixels."""
    if n_objects < 1:
        raise ConfigError(f"n_objects={n_objects}: a sky needs at least one object")
    if not 0 <= anomaly_rate <= 1:
        raise ConfigError(f"anomaly_rate={anomaly_rate}: expected a share between 0 and 1")
    if seed < 0:
        raise ConfigError(f"seed={seed}: expected a whole number of at least 0")
    rows = max(1, round(np.sqrt(n_objects / 2)))
    columns = int(np.ceil(n_objects / rows))
    if not 1 <= tiles <= columns:
        raise ConfigError(f"tiles={tiles}: expected 1 to {columns} for {n_objects} objects")
    return tuple(2 * _MARGIN_PX + (count - 1) * _SPACING_PX + 1 for count in (rows, columns))  # type: ignore[return-value]


# ------------------------------------------------------------------------------------------------- what is on the sky


def _draw(rng: np.random.Generator, n: int, anomaly_rate: float, sky_shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Draw class, shape, place, fluxes and half-light radius of every object.

    A rarity first draws an ordinary shape like everybody else, takes its flux, colours and size, and only then
    replaces the shape: so the four cannot tell it from the rest.
    """
    names = list(NOMINAL_SHAPES)
    weights = np.array([NOMINAL_SHAPES[name].share for name in names])
    shape = np.array(names, dtype=object)[rng.choice(len(names), n, p=weights / weights.sum())]
    red = rng.random(n) < np.array([NOMINAL_SHAPES[name].red for name in shape])
    g_r = np.where(red, rng.normal(0.78, 0.06, n), rng.normal(0.47, 0.11, n))
    r_i = 0.20 + 0.4 * (g_r - 0.47) + rng.normal(0, 0.04, n)
    u = rng.random(n)
    flux_r = _FAINTEST * (1 - u * (1 - (_BRIGHTEST / _FAINTEST) ** -_SLOPE)) ** (-1 / _SLOPE)
    r50 = np.clip(7.6 * (flux_r / 2e4) ** 0.12 * np.exp(rng.normal(0, 0.22, n)), 5.0, 12.5)
    zero = [band.zero_point for band in _BANDS]
    flux_g = flux_r * 10 ** (-0.4 * (g_r - zero[0] + zero[1]))
    flux_i = flux_r * 10 ** (0.4 * (r_i + zero[2] - zero[1]))
    rare = rng.permutation(n)[: round(anomaly_rate * n)]
    kind = np.array([NOMINAL] * n, dtype=object)
    kind[rare] = np.array(RARITIES, dtype=object)[np.arange(len(rare)) % len(RARITIES)]
    shape[rare] = kind[rare]
    x, y = _places(rng, n, sky_shape)
    return {
        "class": kind.astype(str),
        "shape": shape.astype(str),
        "x": x,
        "y": y,
        "flux": np.stack([flux_g, flux_r, flux_i], axis=1),
        "r50": r50,
    }


def _places(rng: np.random.Generator, n: int, sky_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draw places ``(n,)`` each, x and y, anywhere but closer to one another than `_CLOSEST_PX` (random sequential).

    Where there is no room left, the distance gives way a little at a time.
    """
    height, width = sky_shape
    closest = _CLOSEST_PX
    taken: dict[
        tuple[int, int], list[tuple[float, float, int]]
    ] = {}  # by cell as wide as the distance: x and y of what lies there
    for number in range(n):
        for attempt in range(1, 100 * _TRIES):
            x, y = rng.uniform(_MARGIN_PX, width - 1 - _MARGIN_PX), rng.uniform(_MARGIN_PX, height - 1 - _MARGIN_PX)
            column, row = int(x // _CLOSEST_PX), int(y // _CLOSEST_PX)
            cells = ((column + dx, row + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1))
            near = (place for cell in cells for place in taken.get(cell, ()))
            if all(math.hypot(x - px, y - py) >= closest for px, py, _ in near):
                break
            if attempt % _TRIES == 0:
                closest *= 0.9
        taken.setdefault((column, row), []).append((x, y, number))
    places = np.array(sorted((number, x, y) for cell in taken.values() for x, y, number in cell))
    return places[:, 1], places[:, 2]


def _add_object(sky: np.ndarray, drawn: Mapping[str, np.ndarray], number: int, rng: np.random.Generator) -> None:
    """Render one object with its drawn fluxes and half-light radius into the sky ``(bands, H, W)``."""
    from scipy.ndimage import gaussian_filter

    x, y, r50 = (float(drawn[name][number]) for name in ("x", "y", "r50"))
    shape = draw_shape(str(drawn["shape"][number]), rng)
    axis = np.linspace(-4.5, 4.5, 46, dtype=np.float32)
    old, young = shape(axis[None, :], axis[:, None])
    total = old + young
    cx, cy = (float(total.sum(direction) @ axis / total.sum()) for direction in (0, 1))
    sigma = _BANDS[_REFERENCE_BAND].fwhm / 2.355
    unit = _half_light(total, np.hypot(axis[None, :] - cx, axis[:, None] - cy) / 0.1, 45.0) * 0.1
    scale = float(np.sqrt(max(r50**2 - 1.4 * sigma**2, 1.0))) / unit  # pixels per unit
    half = int(np.clip(np.ceil(5.5 * r50), 36, 64))
    left, bottom = round(x) - half, round(y) - half
    dx = (np.arange(2 * half + 1)[None, :] + left - x).astype(np.float32)
    dy = (np.arange(2 * half + 1)[:, None] + bottom - y).astype(np.float32)
    radius = np.hypot(dx, dy)
    taper = np.clip((half - radius) / (0.25 * half), 0, 1)
    for _ in range(4):
        old, young = (part * taper for part in shape(dx / scale + cx, dy / scale + cy))
        seen = gaussian_filter(old + young, sigma, truncate=3)
        got = _half_light(seen, radius, _APERTURE_PX)
        if abs(got / r50 - 1) < 0.02:
            break
        scale *= (r50 / got) ** 1.15
    inside = seen[radius < _APERTURE_PX].sum()
    share = young.sum() / (old.sum() + young.sum())
    for band, boost in enumerate((1.9, 1.0, 0.65)):  # odds of young light against old, relative to r
        young_share = boost * share / (1 + (boost - 1) * share)
        plane = (1 - young_share) * old / max(old.sum(), 1e-30) + young_share * young / max(young.sum(), 1e-30)
        plane *= drawn["flux"][number, band] * (old.sum() + young.sum()) / inside
        _paste(sky[band], plane, left, bottom)


def _paste(plane: np.ndarray, stamp: np.ndarray, left: int, bottom: int) -> None:
    """Add a stamp to a plane, as far as it lies on it."""
    y0, x0 = max(0, bottom), max(0, left)
    y1, x1 = min(plane.shape[0], bottom + stamp.shape[0]), min(plane.shape[1], left + stamp.shape[1])
    if y1 > y0 and x1 > x0:
        plane[y0:y1, x0:x1] += stamp[y0 - bottom : y1 - bottom, x0 - left : x1 - left]


def _half_light(image: np.ndarray, radius: np.ndarray, limit: float) -> float:
    """Return the radius of half of the light inside ``limit``, from the curve of growth, in the unit of ``radius``."""
    steps = int(limit / _GROWTH_STEP_PX)
    bins = np.minimum((radius / _GROWTH_STEP_PX).astype(np.intp), steps).ravel()
    growth = np.bincount(bins, image.ravel(), minlength=steps + 1)[:steps].cumsum()
    return float(_crossing(growth[None])[0])


def _crossing(growth: np.ndarray) -> np.ndarray:
    """Return where curves of growth ``(n, steps)`` first reach half of their last value, by linear interpolation."""
    half = growth[:, -1:] / 2
    first = np.argmax(growth >= half, axis=1)
    rows = np.arange(len(growth))
    above = growth[rows, first]
    below = np.where(first > 0, growth[rows, np.maximum(first - 1, 0)], 0.0)
    part = (half[:, 0] - below) / np.where(above > below, above - below, 1.0)
    return _GROWTH_STEP_PX * (first + part)


def _add_field(sky: np.ndarray, rng: np.random.Generator, n_objects: int) -> None:
    """Add unrelated stars and faint galaxies anywhere, in proportion to the catalogued objects."""
    height, width = sky.shape[1:]
    stars, galaxies = rng.poisson(0.45 * n_objects), rng.poisson(1.3 * n_objects)
    x, y = rng.uniform(0, width - 2, stars + galaxies), rng.uniform(0, height - 2, stars + galaxies)
    flux = 0.015 * _FAINTEST * rng.pareto(0.75, stars + galaxies) + 0.007 * _FAINTEST
    flux[:stars] = np.minimum(flux[:stars], 3 * _FAINTEST)
    flux[stars:] = np.minimum(flux[stars:], 0.1 * _FAINTEST)
    g_r = rng.uniform(0.2, 1.4, stars + galaxies)
    colour = np.stack([10 ** (-0.4 * g_r), np.ones_like(g_r), 10 ** (0.2 * g_r)])
    column, row = x.astype(int), y.astype(int)
    u, v = x - column, y - row
    for dy, dx, part in ((0, 0, (1 - u) * (1 - v)), (0, 1, u * (1 - v)), (1, 0, (1 - u) * v), (1, 1, u * v)):
        for band in range(len(_BANDS)):
            np.add.at(
                sky[band],
                (row[:stars] + dy, column[:stars] + dx),
                (part * flux * colour[band])[:stars].astype(sky.dtype),
            )
    axis = np.arange(-10, 11)
    size, ratio, angle = rng.uniform(0.8, 2.0, galaxies), rng.uniform(0.3, 1, galaxies), rng.uniform(0, np.pi, galaxies)
    for number in range(galaxies):
        place = stars + number
        major, minor = turn(axis[None, :] - u[place], axis[:, None] - v[place], angle[number], ratio[number])
        stamp = np.exp(-np.hypot(major, minor) / size[number])
        stamp *= flux[place] / stamp.sum()
        for band in range(len(_BANDS)):
            _paste(sky[band], stamp * colour[band, place], column[place] - 10, row[place] - 10)


def _trails(rng: np.random.Generator, shape: tuple[int, ...], n_objects: int) -> list[np.ndarray]:
    """Return satellite trails, each in one band only, per band: about one per 8,000 objects."""
    trails = [np.zeros(1, np.float32) for _ in range(shape[0])]
    y, x = np.ogrid[: float(shape[1]), : float(shape[2])]
    for _ in range(rng.poisson(n_objects / 8000)):
        angle, level, band = rng.uniform(0, np.pi), rng.uniform(20, 60), int(rng.integers(shape[0]))
        x0, y0 = rng.uniform(0, shape[2]), rng.uniform(0, shape[1])
        distance = (x - x0) * math.sin(angle) - (y - y0) * math.cos(angle)  # (H, W)
        trail = np.zeros(distance.shape, np.float32)
        near = np.abs(distance) < 8
        trail[near] = level * np.exp(-0.5 * (distance[near] / 1.5) ** 2)
        trails[band] = trails[band] + trail
    return trails


# ------------------------------------------------------------------------------------------- telescope, camera, files


def _psf(band: _Band) -> np.ndarray:
    """Return the ``(65, 65)`` point spread function of unit sum: a Moffat (1969) core with faint diffraction spikes."""
    axis = np.arange(-32, 33)
    x, y = axis[None, :], axis[:, None]
    core = moffat(x, y, band.fwhm)
    spikes = sum(
        np.exp(-np.abs(a) / 7 - 0.5 * (b / 0.7) ** 2) for a, b in (turn(x, y, 0.5), turn(x, y, 0.5 + np.pi / 2))
    )
    fade = np.clip((32 - np.hypot(x, y)) / 8, 0, 1)
    return unit_sum((0.98 * unit_sum(core) + 0.02 * unit_sum(np.asarray(spikes))) * fade)


def _convolve(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    from scipy.signal import oaconvolve

    return np.maximum(oaconvolve(plane, kernel.astype(np.float32), mode="same"), 0)


def _observe(plane: np.ndarray, band: _Band, rng: np.random.Generator) -> np.ndarray:
    """Return what the camera counts for a plane in adu, sky subtracted, float32.

    The photon noise is drawn from the normal distribution of the Poisson variance: with at least 120 electrons in
    every pixel the two differ by less than the noise of any measurement, and this one is ten times as fast.
    """
    variance = (plane + np.float32(band.sky)) / np.float32(_GAIN) + np.float32((_READ_NOISE / _GAIN) ** 2)
    return plane + np.sqrt(variance) * rng.standard_normal(plane.shape, dtype=np.float32)


def _measure(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Measure flux, half-light radius (pixels) and signal-to-noise of objects at ``x, y`` on ``(bands, H, W)``.

    The circle has a radius of 30 pixels; neighbours inside it are not removed.
    """
    half = int(_APERTURE_PX) + 1
    padded = np.pad(pixels, ((0, 0), (half, half), (half, half)))
    column, row = np.round(x).astype(int), np.round(y).astype(int)
    offset = np.arange(2 * half + 1)
    dx = offset[None, :] - half + (column - x)[:, None]  # (n, S)
    dy = offset[None, :] - half + (row - y)[:, None]
    steps = int(_APERTURE_PX / _GROWTH_STEP_PX)
    bins = np.minimum((np.hypot(dx[:, None, :], dy[:, :, None]) / _GROWTH_STEP_PX).astype(np.intp), steps)  # (n, S, S)
    bins += (steps + 1) * np.arange(len(x))[:, None, None]
    size = len(x) * (steps + 1)
    found: dict[str, np.ndarray] = {}
    for band, plane in zip(_BANDS, padded, strict=True):
        stamps = plane[row[:, None, None] + offset[None, :, None], column[:, None, None] + offset[None, None, :]]
        growth = np.bincount(bins.ravel(), stamps.ravel(), size).reshape(len(x), -1)[:, :steps].cumsum(1)
        flux = growth[:, -1]
        area = np.bincount(bins.ravel(), minlength=size).reshape(len(x), -1)[:, :steps].sum(1)
        found[f"flux_{band.name}"] = flux
        found[f"flux_{band.name}_error"] = np.sqrt(np.maximum(flux, 0) / _GAIN + area * band.noise**2)
        if band is _BANDS[_REFERENCE_BAND]:
            found["r50"] = _crossing(growth)
    return found


def _header(band: _Band, low: int, shape: tuple[int, ...], seed: int) -> Header:
    """Return the header of a tile that starts at column ``low`` of a sky of ``shape``."""
    from astropy.io.fits import Header

    header = Header()
    for key, value, comment in (
        ("SIMULATE", True, "this image is simulated"),
        ("OBJECT", "SIMULATED SKY", "no real sky"),
        ("INSTRUME", "astroanomaly.demo.simulate", "software, not a camera"),
        ("SEED", seed, "seed of the simulation"),
        ("FILTER", band.name, "simulated band"),
        ("BUNIT", "adu", "sky subtracted"),
        ("MAGZERO", band.zero_point, "[mag] AB magnitude of 1 adu"),
        ("GAIN", _GAIN, "[electron/adu]"),
        ("RDNOISE", _READ_NOISE, "[electron] read-out noise"),
        ("SKYLEVEL", band.sky, "[adu] sky that was subtracted"),
        ("SKYRMS", round(band.noise, 5), "[adu] noise of the empty sky"),
        ("PSFFWHM", band.fwhm, "[pixel] full width at half maximum of the PSF"),
    ):
        header[key] = (value, comment)
    header.update(_wcs(shape, low).to_header())
    header["COMMENT"] = _COMMENT
    return header


def _wcs(shape: tuple[int, ...], low: int = 0) -> Any:
    """Return the TAN WCS of the sky of ``shape``, for an image that starts at column ``low``."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = _CENTRE_DEG
    wcs.wcs.crpix = [(shape[1] + 1) / 2 - low, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-_PIXEL_SCALE_ARCSEC / 3600, _PIXEL_SCALE_ARCSEC / 3600]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.radesys = "ICRS"
    return wcs


def _write_image(path: Path, pixels: np.ndarray, header: Header) -> None:
    from astropy.io import fits

    with atomic_path(path) as temporary:
        fits.PrimaryHDU(pixels, header).writeto(temporary)


def _write_catalog(
    path: Path,
    ids: np.ndarray,
    drawn: Mapping[str, np.ndarray],
    measured: Mapping[str, np.ndarray],
    shape: tuple[int, ...],
    seed: int,
) -> None:
    """Write positions and what was measured on the mosaics; nothing that only the simulation knows."""
    from astropy.table import Column, Table

    ra, dec = _wcs(shape).all_pix2world(drawn["x"], drawn["y"], 0)
    table = Table(meta={"comments": [_COMMENT.replace("IMAGE", "CATALOGUE"), f"seed {seed}"]})
    table["object_id"] = Column(ids, description="identifier of a simulated object")
    table["ra"] = Column(np.round(ra, 8), unit="deg", description="right ascension, ICRS")
    table["dec"] = Column(np.round(dec, 8), unit="deg", description="declination, ICRS")
    for band in _BANDS:
        flux, error = measured[f"flux_{band.name}"], measured[f"flux_{band.name}_error"]
        table[f"flux_{band.name}"] = Column(
            np.round(flux, 2), unit="adu", description=f"{band.name}-band flux within 30 pixels"
        )
        table[f"flux_{band.name}_error"] = Column(np.round(error, 2), unit="adu", description="its standard error")
        magnitude = band.zero_point - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
        table[f"mag_{band.name}"] = Column(
            np.round(magnitude, 4), unit="mag", description=f"{band.name}-band AB magnitude within 30 pixels"
        )
    reference = _BANDS[_REFERENCE_BAND].name
    table["r50"] = Column(
        np.round(measured["r50"] * _PIXEL_SCALE_ARCSEC, 4),
        unit="arcsec",
        description=f"{reference}-band half-light radius",
    )
    snr = measured[f"flux_{reference}"] / measured[f"flux_{reference}_error"]
    table["snr"] = Column(np.round(snr, 3), description=f"{reference}-band signal-to-noise ratio within 30 pixels")
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv")
