"""Measure the PSF of each band from stars in the cutouts: a stack of those that are bright, alone and not saturated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cutting.remarks import quiet
from astroanomaly.errors import ConfigError, DamagedError
from astroanomaly.imaging.sampling import read_undamaged
from astroanomaly.records import Cutout
from astroanomaly.session.injection.render import Psf, moffat
from astroanomaly.tables.catalog import read_catalog
from astroanomaly.tables.matching import pairs_within

__all__ = ["MeasuredPsf", "measure_psf"]

_MOST_CUTOUTS = 2000  # with a star, that are read
_READ_TOGETHER = 64
_BEST = 100  # stars, the brightest, that are stacked
_LEAST = 5  # stars
_CORE_PX = 8  # radius in which the width of a star is measured
_REACH = 4.0  # radius of the image in full widths at half maximum
_LARGEST_PX = 32  # the same, at most
_FITTED = 2.0  # radius in full widths at half maximum, in which a profile is fitted
_SKY_FROM, _LEAST_SKY = 3.0, 40  # where the sky begins, in full widths; pixels
_LEAST_FWHM_PX, _MOST_FWHM_PX = 0.6, 15.0
_APERTURE = 1.5  # radius in full widths at half maximum, of the flux of a star
_OFF_PX = 2.0  # how far the centre may be from the position of the catalogue
_MIN_SNR = 30.0
_SATURATED = 0.995  # of the brightest pixel: so bright are several where a star is saturated
_MOST_AT_PEAK = 3
_OTHER_WIDTH, _LEAST_OTHER = 4.0, 0.06  # deviations from the median width, and a share of it
_CLIP = 3.0  # deviations, of a pixel of the stack
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class MeasuredPsf:
    """The PSF of each band.

    Attributes
    ----------
    bands
        Names of the bands.
    psfs
        The image of each, of unit sum, with its full width at half maximum in pixels.
    stars
        How many stars were stacked in each band.
    stars_of
        Name of the file that the stars are from.
    """

    bands: tuple[str, ...]
    psfs: tuple[Psf, ...]
    stars: tuple[int, ...]
    stars_of: str

    def __str__(self) -> str:
        """Say in words what was measured."""
        each = zip(self.bands, self.psfs, self.stars, strict=True)
        widths = ", ".join(f"{band} {psf.fwhm:.3g} ({count} stars)" for band, psf, count in each)
        return f"measured on stars of {self.stars_of}: FWHM in pixels {widths}"

    def write(self, path: Path) -> None:
        """Write the images as FITS, one extension for each band, as `inject` reads them."""
        from astropy.io import fits

        hdus = [fits.PrimaryHDU()]
        for band, psf, count in zip(self.bands, self.psfs, self.stars, strict=True):
            hdu = fits.ImageHDU(np.asarray(psf.image, np.float32))
            hdu.header["BAND"] = (band, "band of the PSF")
            hdu.header["FWHM"] = (round(psf.fwhm, 4), "[pix] full width at half maximum")
            hdu.header["NSTARS"] = (count, "stars that were stacked")
            hdus.append(hdu)
        fits.HDUList(hdus).writeto(path, checksum=True)


@dataclass(frozen=True)
class _Profile:
    """A Moffat profile: x and y of its centre in the stamp, height, full width at half maximum, and power."""

    x: float
    y: float
    height: float
    fwhm: float
    beta: float


@dataclass(frozen=True, eq=False)
class _Star:
    """One star in one band, with its surroundings less the sky; pixels without data are NaN."""

    stamp: np.ndarray
    profile: _Profile
    snr: float


def measure_psf(cache: Cache, stars: Any) -> MeasuredPsf:
    """Measure the PSF of each band of the cutouts of a cache.

    In each band a star counts if its peak is where the catalogue says (within 2 pixels), all pixels near it have data,
    its flux has a signal to noise ratio of at least 30, it is not saturated, and is as wide as most (within four
    deviations of the median), which leaves out galaxies and blends. A Moffat profile is fitted to each. Of the 100
    brightest, what is left without the common profile is shifted onto one centre by cubic splines and averaged, each
    pixel without those beyond three deviations, and added to the profile. The image goes out to four full widths; its
    width is that of a Moffat profile fitted to it.

    Parameters
    ----------
    cache
        Cutouts of flux with a WCS. At most 2,000 with a star are read.
    stars
        Table of stars with positions on the sky, as a path or an astropy table: from Gaia, say.

    Raises
    ------
    ConfigError
        If fewer than five stars count in a band, or the cutouts have no WCS.
    CatalogError, UnreadableError
        If the table cannot be read, or has no positions.
    """
    catalog = read_catalog(stars)
    name = Path(stars).name if isinstance(stars, str | Path) else "the given table"
    if catalog.ra is None or catalog.dec is None:
        raise ConfigError(
            f"{name} has no positions on the sky: stars are looked for by right ascension and declination"
        )
    found: list[list[_Star]] = [[] for _ in cache.bands]
    why: list[Counter[str]] = [Counter() for _ in cache.bands]
    there = 0
    for cutout, places in _with_stars(cache, np.asarray(catalog.ra), np.asarray(catalog.dec)):
        there += len(places)
        for band, plane in enumerate(cutout.data):
            for place in places:
                star = _look_at(plane, place)
                if isinstance(star, _Star):
                    found[band].append(star)
                else:
                    why[band][star] += 1
    psfs, counts = [], []
    for name_of_band, own, reasons in zip(cache.bands, found, why, strict=True):
        alike = _alike(own)
        reasons["of another width than most"] += len(own) - len(alike)
        if len(alike) < _LEAST:
            listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common() if count)
            raise ConfigError(
                f"the PSF cannot be measured in {name_of_band}: of {there} stars of {name} in the cutouts {len(alike)} "
                f"can be used, expected at least {_LEAST}{f' ({listed})' if listed else ''}. Give a table of more "
                "stars that lie in the cutouts, such as those of Gaia, or the width or an image of the PSF"
            )
        best = sorted(alike, key=lambda star: -star.snr)[:_BEST]
        psfs.append(_stacked(best))
        counts.append(len(best))
    return MeasuredPsf(tuple(cache.bands), tuple(psfs), tuple(counts), name)


def _with_stars(cache: Cache, ra: np.ndarray, dec: np.ndarray) -> Iterator[tuple[Cutout, np.ndarray]]:
    """Yield cutouts with the positions of stars in them, ``(n, 2)`` x and y."""
    ids = cache.sample(1, np.random.default_rng(0))
    turned = cache.pictures.compasses(ids)[0]
    if turned is None:
        raise ConfigError(
            "the cutouts have no WCS: stars cannot be found in them. Give the width or an image of the PSF"
        )
    layout = cache.layout
    radius = turned.scale_arcsec * float(np.hypot(layout.height, layout.width)) / 2
    good = np.isfinite(ra) & np.isfinite(dec)
    ra, dec = ra[good], dec[good]
    star, row, _ = pairs_within(ra, dec, *cache.positions, radius)
    rows = np.unique(row)
    if len(rows) > _MOST_CUTOUTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_CUTOUTS, replace=False))
    order = np.argsort(row, kind="stable")
    first, last = np.searchsorted(row[order], rows, "left"), np.searchsorted(row[order], rows, "right")
    of_row = {int(r): star[order[a:b]] for r, a, b in zip(rows, first, last, strict=True)}
    seen: set[int] = set()  # a star lies in several cutouts: once is enough
    for start in range(0, len(rows), _READ_TOGETHER):
        some = rows[start : start + _READ_TOGETHER]
        names = list(cache.ids_at(some))
        try:
            _, places = read_undamaged(cache, names)
        except DamagedError:
            continue
        for place, cutout in zip(places.tolist(), cache.cutouts([names[p] for p in places.tolist()]), strict=True):
            near = [int(k) for k in of_row[int(some[place])] if int(k) not in seen]
            if not near or cutout.wcs is None:
                continue
            with quiet():
                x, y = cutout.wcs.all_world2pix(ra[near], dec[near], 0, quiet=True)
            height, width = cutout.data.shape[-2:]
            margin = _CORE_PX
            inside = (x > margin) & (x < width - 1 - margin) & (y > margin) & (y < height - 1 - margin)
            seen.update(np.asarray(near)[inside].tolist())
            if inside.any():
                yield cutout, np.stack([x[inside], y[inside]], axis=1)


def _look_at(plane: np.ndarray, place: np.ndarray) -> _Star | str:
    """Measure a star; or say why it does not count."""
    reach = _LARGEST_PX + 2
    column, row = round(float(place[0])), round(float(place[1]))
    stamp = np.full((2 * reach + 1, 2 * reach + 1), np.nan)
    y0, x0 = max(0, row - reach), max(0, column - reach)
    part = plane[y0 : row + reach + 1, x0 : column + reach + 1].astype(np.float64)
    top, left = y0 - row + reach, x0 - column + reach
    stamp[top : top + part.shape[0], left : left + part.shape[1]] = part
    axis = np.arange(2 * reach + 1) - reach
    radius = np.hypot(axis[None, :] - (place[0] - column), axis[:, None] - (place[1] - row))
    core = radius <= _CORE_PX
    if not np.isfinite(stamp[core]).all():
        return "without data near it"
    peak = np.unravel_index(np.argmax(np.where(core, stamp, -np.inf)), stamp.shape)
    if radius[peak] > _OFF_PX:
        return "with a brighter neighbour, or not where the table says"
    if np.sum(stamp[core] >= _SATURATED * stamp[peak]) > _MOST_AT_PEAK:
        return "saturated"
    profile = _Profile(float(peak[1]), float(peak[0]), 0.0, _CORE_PX / _SKY_FROM, 0.0)
    for _ in range(2):  # where there is sky depends on the width
        inner = max(float(_CORE_PX), _SKY_FROM * profile.fwhm)
        sky = stamp[(radius > inner) & (radius < inner + _CORE_PX) & np.isfinite(stamp)]
        if len(sky) < _LEAST_SKY:
            return "without sky around it"
        stamp = stamp - np.median(sky)
        fitted = _fitted(stamp, (float(peak[1]), float(peak[0])), _FITTED * profile.fwhm)
        if fitted is None:
            return "that no profile fits"
        profile = fitted
    noise = _MAD_TO_SIGMA * float(np.median(np.abs(sky - np.median(sky))))
    from_centre = np.hypot(axis[None, :] + reach - profile.x, axis[:, None] + reach - profile.y)
    near = from_centre < _APERTURE * profile.fwhm
    flux = float(np.nansum(stamp[near]))
    noise = noise or float(np.std(sky))  # where most of the sky is one number, as that of rounded counts
    error = noise * float(np.sqrt(near.sum()))
    if flux <= 0 or flux < _MIN_SNR * error:
        return "too faint"
    return _Star(stamp, profile, flux / max(error, 1e-30))


def _fitted(stamp: np.ndarray, start: tuple[float, float], radius: float) -> _Profile | None:
    """Fit a Moffat profile to a star within a radius, at least 8 pixels; None where none fits."""
    from scipy.optimize import least_squares

    rows, columns = (np.asarray(one) for one in np.indices(stamp.shape))
    near = (np.hypot(columns - start[0], rows - start[1]) <= max(radius, _CORE_PX)) & np.isfinite(stamp)
    x, y, light = columns[near], rows[near], stamp[near]
    height = float(light.max(initial=0))
    if height <= 0:
        return None

    def miss(values: np.ndarray) -> np.ndarray:
        return np.asarray(values[2] * moffat(x - values[0], y - values[1], values[3], values[4]) - light / height)

    bounds = ([start[0] - 2, start[1] - 2, 0.1, 0.5, 1.2], [start[0] + 2, start[1] + 2, 10, 2.0 * _CORE_PX, 20])
    fit = least_squares(miss, (*start, 1.0, 3.0, 3.0), bounds=bounds, loss="soft_l1", f_scale=0.05)
    found = _Profile(float(fit.x[0]), float(fit.x[1]), height * float(fit.x[2]), float(fit.x[3]), float(fit.x[4]))
    return found if fit.success and _LEAST_FWHM_PX < found.fwhm < _MOST_FWHM_PX else None


def _alike(stars: list[_Star]) -> list[_Star]:
    """Leave out stars that are not as wide as most."""
    if not stars:
        return []
    widths = np.array([star.profile.fwhm for star in stars])
    middle = float(np.median(widths))
    spread = max(_OTHER_WIDTH * _MAD_TO_SIGMA * float(np.median(np.abs(widths - middle))), _LEAST_OTHER * middle)
    return [star for star in stars if abs(star.profile.fwhm - middle) <= spread]


def _stacked(stars: list[_Star]) -> Psf:
    """Average stars on one centre.

    Splines blur what is only two pixels wide. So the profile that all have is taken away first, and what is left is
    shifted, and added to the profile in the middle.
    """
    from scipy.ndimage import map_coordinates

    fwhm, beta = (float(np.median([getattr(star.profile, name) for star in stars])) for name in ("fwhm", "beta"))
    radius = int(np.clip(np.ceil(_REACH * fwhm), _CORE_PX, _LARGEST_PX))
    axis = np.arange(-radius, radius + 1)
    distance = np.hypot(axis[None, :], axis[:, None])
    layers = np.empty((len(stars), len(axis), len(axis)))
    for layer, star in zip(layers, stars, strict=True):
        own = star.profile
        rows, columns = (np.asarray(one) for one in np.indices(star.stamp.shape))
        left = star.stamp / own.height - moffat(columns - own.x, rows - own.y, fwhm, beta)
        places = np.meshgrid(axis + own.y, axis + own.x, indexing="ij")
        missing = map_coordinates((~np.isfinite(left)).astype(float), places, order=1) > 0
        layer[:] = np.where(missing, np.nan, map_coordinates(np.nan_to_num(left), places, order=3))
    image = _clipped_mean(layers) + moffat(axis[None, :], axis[:, None], fwhm, beta)
    image = np.where(distance <= radius, np.clip(image, 0, None), 0)
    measured = _fitted(np.pad(image, 4), (radius + 4.0, radius + 4.0), _FITTED * fwhm)
    return Psf(fwhm if measured is None else measured.fwhm, image / image.sum())


def _clipped_mean(layers: np.ndarray) -> np.ndarray:
    """``(h, w)`` mean of ``(n, h, w)``, each pixel without those far from its median; 0 where none has data."""
    known = np.isfinite(layers)
    empty = ~known.any(axis=0)
    filled = np.where(empty, 0.0, layers)
    middle = np.nanmedian(filled, axis=0)
    spread = _MAD_TO_SIGMA * np.nanmedian(np.abs(filled - middle), axis=0)
    usual = known & (np.abs(layers - middle) <= _CLIP * spread + 1e-12)
    total = np.where(usual, layers, 0).sum(axis=0)
    return np.where(usual.any(axis=0), total / np.maximum(usual.sum(axis=0), 1), 0.0)
