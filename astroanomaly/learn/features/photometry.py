"""Numbers measured on cutouts: brightness, size, shape of the light, colours."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

__all__ = ["photometry", "photometry_names"]

_INSIDE, _BORDER = 0.45, 0.48  # of the shorter side: radius of the aperture, and where the background begins
_LEAST_KNOWN = 0.5  # of the pixels of the aperture
_BRIGHTEST = 0.2  # of the flux, for M20
_SHAPE = ("magnitude", "half_light_radius", "concentration", "asymmetry", "gini", "m20")


def photometry_names(bands: Sequence[str]) -> tuple[str, ...]:
    """Return what each number is called: those of all bands together, and a colour for each two neighbours."""
    return (*_SHAPE, *(f"{first}-{second}" for first, second in itertools.pairwise(bands)))


def photometry(images: np.ndarray) -> np.ndarray:
    """Measure cutouts in an aperture of 0.45 of their shorter side around the middle.

    The background is the median outside of 0.48 of it. Of the mean of all bands: instrumental magnitude, radius of half
    the light in pixels, concentration 5 log10(r80 / r20) (Bershady, Jangren & Conselice 2000, AJ 119, 2645), asymmetry
    by half a turn about the middle (Conselice 2003, ApJS 147, 1; without the part of the noise), Gini coefficient and
    M20 (Lotz, Primack & Madau 2004, AJ 128, 163). Then colours in magnitudes.

    Parameters
    ----------
    images
        ``(n, bands, H, W)``; NaN where there is no data, which counts as background.

    Returns
    -------
    numpy.ndarray
        ``(n, 6 + bands - 1)`` float32 in the order of `photometry_names`, NaN where it cannot be measured: the light is
        not positive, or most of the aperture has no data. A band of which most has no data, or whose pixels all have
        one value, does not count: there are no colours with it, and no magnitude; the shape is of the other bands.
    """
    count, bands, height, width = images.shape
    side = min(height, width)
    y, x = np.mgrid[:height, :width].astype(float)
    radius = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    inside, border = radius < _INSIDE * side, radius > _BORDER * side
    order = np.argsort(radius[inside], kind="stable")
    radii, y, x = radius[inside][order], y[inside][order], x[inside][order]
    found = np.full((count, len(_SHAPE) + bands - 1), np.nan)
    with np.errstate(all="ignore"):
        for row, cutout in zip(found, images, strict=True):
            image = cutout.astype(np.float64)
            known = np.isfinite(image)
            there = (known[:, inside].mean(axis=1) >= _LEAST_KNOWN) & known[:, border].any(axis=1)
            there &= np.array([np.ptp(one[here]) > 0 if here.any() else False for one, here in zip(
                image, known, strict=True)])  # fmt: skip
            if not there.any():
                continue
            image -= np.array([np.median(one[here]) if here.any() else np.nan for one, here in zip(
                image[:, border], known[:, border], strict=True)])[:, None, None]  # fmt: skip
            image[~np.isfinite(image)] = 0
            light = image[there].mean(axis=0)
            turned = np.abs(light - light[::-1, ::-1])[inside].sum() / np.abs(light[inside]).sum()
            row[: len(_SHAPE)] = _shape(light[inside][order], radii, y, x, turned)
            row[0] = row[0] if there.all() else np.nan
            magnitudes = np.where(there, -2.5 * np.log10(image[:, inside].sum(axis=1)), np.nan)
            row[len(_SHAPE) :] = magnitudes[:-1] - magnitudes[1:]
        found = found.astype(np.float32)
    return np.where(np.isfinite(found), found, np.nan)


def _shape(flux: np.ndarray, radii: np.ndarray, y: np.ndarray, x: np.ndarray, asymmetry: float) -> list[float]:
    """Return the six numbers of all bands together, of pixels from the middle outwards."""
    total = float(flux.sum())
    if not total > 0:
        return [np.nan, np.nan, np.nan, asymmetry, _gini(flux), np.nan]
    share = np.cumsum(flux) / total
    r20, r50, r80 = (float(radii[np.argmax(share >= level)]) for level in (0.2, 0.5, 0.8))
    concentration = 5 * np.log10(max(r80, 0.5) / max(r20, 0.5))
    return [-2.5 * np.log10(total), r50, concentration, asymmetry, _gini(flux), _m20(flux.clip(0), y, x)]


def _gini(flux: np.ndarray) -> float:
    values = np.sort(np.abs(flux))
    n = len(values)
    return float(((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (values.mean() * n * (n - 1)))


def _m20(flux: np.ndarray, y: np.ndarray, x: np.ndarray) -> float:
    total = flux.sum()
    moments = flux * ((y - (y * flux).sum() / total) ** 2 + (x - (x * flux).sum() / total) ** 2)
    bright = np.argsort(flux)[::-1]
    brightest = bright[: np.searchsorted(np.cumsum(flux[bright]), _BRIGHTEST * total) + 1]
    return float(np.log10(moments[brightest].sum() / moments.sum()))
