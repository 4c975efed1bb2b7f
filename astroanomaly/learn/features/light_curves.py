"""Numbers of light curves: how a source varies in each band, and its period.

Most are those of Richards et al. 2011, ApJ 733, 10, and of Kim et al. 2014, A&A 566, A43; all are of fluxes, so that a
positive skewness is of brightenings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["LEAST_POINTS", "curve_names", "curve_numbers", "find_period", "relative_flux"]

LEAST_POINTS = 5  # of a band that is described
_POINTS_OF_PERIOD = 10
_POINTS_OF_PERCENTILES = 10
_PER_MAGNITUDE = 0.4 * np.log(10)
_FALSE_ALARM = 0.01  # probability: periods are given that are less likely by chance
_SHORTEST_DAYS = 0.1
_CYCLES = 2  # in the time that is covered: what takes longer is a trend
_PER_PEAK = 5  # frequencies
_MOST_FREQUENCIES = 200_000
_FAST = {"algorithm": "fasper"}  # Press & Rybicki 1989: to 1e-7, and eight times as fast as the default of astropy
_NORMAL = 1.4826  # standard deviation of a normal distribution in units of its median absolute deviation
_FLOOR = 1e-4  # of what logarithms are taken of
_OF_BAND = (
    "mean", "points", "chi2", "scatter", "amplitude", "skewness", "von_neumann", "trend", "mid_20", "mid_50", "mid_80",
    "brightest", "faintest",
)  # fmt: skip
_OF_ALL = ("period", "period_power")
_PERCENTILES = (5, 10, 25, 40, 50, 60, 75, 90, 95)


def curve_names(bands: Sequence[str]) -> tuple[str, ...]:
    """Return what each number is called, with the band where it has a name."""
    return (*(f"{name}_{band}" if band else name for band in bands for name in _OF_BAND), *_OF_ALL)


def relative_flux(value: np.ndarray, error: np.ndarray, *, is_magnitude: bool) -> tuple[np.ndarray, np.ndarray]:
    """Turn magnitudes of a band, and their errors, into fluxes in units of that of their median; leave fluxes."""
    if not is_magnitude or not len(value):
        return value, error
    flux = 10 ** (-0.4 * (value - np.median(value)).clip(-50, 50))
    return flux, flux * _PER_MAGNITUDE * error


def curve_numbers(
    time: np.ndarray, value: np.ndarray, error: np.ndarray, band: np.ndarray, bands: int, *, is_magnitude: bool
) -> np.ndarray:
    """Describe a light curve by numbers.

    Of each band: weighted mean magnitude; logarithm (base 10, as all here) of 1 + number of points; of reduced chi
    squared against a constant; of standard deviation over mean; of amplitude (5th to 95th percentile of the flux) over
    mean; skewness; logarithm of the ratio of von Neumann 1941 (mean square of successive differences by variance);
    correlation with time; the middle 20, 50 and 80 % of the flux over the amplitude; and the farthest that the median
    of three successive points rises above, or falls below, that of all, in units of the noise, as inverse hyperbolic
    sine.
    Of all bands together: logarithm of the period in days, and the power of the Lomb-Scargle periodogram there.

    Parameters
    ----------
    time
        ``(n,)`` float64 days, rising.
    value, error
        ``(n,)`` float64 flux or magnitude, finite, and its standard deviation, NaN where unknown.
    band
        ``(n,)`` integers below ``bands``.
    bands
        How many there are.
    is_magnitude
        What values are.

    Returns
    -------
    numpy.ndarray
        ``(D,)`` float64 in the order of `curve_names`; NaN where unknown: of a band with fewer than 5 points all but
        mean and number, percentiles with fewer than 10, chi squared without errors, what is in units of the mean where
        that is not positive. A period that chance gives in more than 1 % of cases is none.
    """
    parts, flat, noise, when = [], [], [], []
    with np.errstate(all="ignore"):  # of numbers near the largest there are, and of variances that are 0
        for number in range(bands):
            here = band == number
            flux, sigma = relative_flux(value[here], error[here], is_magnitude=is_magnitude)
            zero = float(np.median(value[here])) if is_magnitude and here.any() else 0.0
            parts.append(_numbers_of_band(time[here], flux, sigma, zero))
            if here.sum() >= LEAST_POINTS:
                weight = _weights(flux, sigma)
                usual = float(np.sqrt(len(flux) / weight.sum()))
                flat.append((flux - np.average(flux, weights=weight)) / usual)
                noise.append(weight**-0.5 / usual)
                when.append(time[here])
        power, period = np.nan, np.nan
        if when:
            order = np.argsort(np.concatenate(when), kind="stable")
            joined = (np.concatenate(one)[order] for one in (when, flat, noise))
            period, power = find_period(*joined)
        found = np.concatenate([*parts, [np.log10(period), power]])
    return np.where(np.isfinite(found), found, np.nan)


def _weights(flux: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """``(n,)`` inverse variances, with the median error where one is unknown; of one height where all are."""
    there = sigma[np.isfinite(sigma) & (sigma > 0)]
    if not len(there):
        return np.ones(len(flux))
    usual = float(np.median(there))
    return np.where(np.isfinite(sigma) & (sigma > 0), np.maximum(sigma, 1e-3 * usual), usual) ** -2.0


def _numbers_of_band(time: np.ndarray, flux: np.ndarray, sigma: np.ndarray, zero: float) -> np.ndarray:
    """``(13,)`` numbers of the fluxes of a band, NaN where unknown; ``zero``: magnitude of a flux of 1."""
    found = dict.fromkeys(_OF_BAND, np.nan)
    count = len(flux)
    found["points"] = np.log10(1 + count)
    if not count:
        return np.array(list(found.values()))
    weight = _weights(flux, sigma)
    mean = float(np.average(flux, weights=weight))
    found["mean"] = zero - 2.5 * np.log10(mean) if mean > 0 else np.nan
    if count < LEAST_POINTS:
        return np.array(list(found.values()))
    away = flux - mean
    variance = float(np.average(away**2, weights=weight))
    if np.isfinite(sigma).any():
        found["chi2"] = np.log10(max(float((weight * away**2).sum()) / (count - 1), _FLOOR))
    if mean > 0:
        found["scatter"] = np.log10(max(variance**0.5 / mean, _FLOOR))
    plain = flux - flux.mean()
    square = float((plain**2).mean())
    if square > 0:
        found["skewness"] = float((plain**3).mean()) / square**1.5
        found["von_neumann"] = np.log10(max(float((np.diff(flux) ** 2).mean()) / square, _FLOOR))
        found["trend"] = _correlation(time, flux, weight)
    _of_percentiles(found, flux, mean)
    middle = float(np.median(flux))
    robust = _NORMAL * float(np.median(np.abs(flux - middle)))
    noise = float(np.median(weight**-0.5)) if np.isfinite(sigma).any() else robust
    if noise > 0:
        three = np.sort(np.stack([flux[:-2], flux[1:-1], flux[2:]]), axis=0)  # one that is far out is an artefact
        found["brightest"] = np.arcsinh((float(three[1].max()) - middle) / noise)
        found["faintest"] = np.arcsinh((float(three[1].min()) - middle) / noise)
    return np.array(list(found.values()))


def _of_percentiles(found: dict[str, float], flux: np.ndarray, mean: float) -> None:
    if len(flux) < _POINTS_OF_PERCENTILES:
        return
    at = dict(zip(_PERCENTILES, np.percentile(flux, _PERCENTILES).tolist(), strict=True))
    whole = at[95] - at[5]
    if mean > 0:
        found["amplitude"] = np.log10(max(whole / mean, _FLOOR))
    if whole > 0:
        for name, low, high in (("mid_20", 40, 60), ("mid_50", 25, 75), ("mid_80", 10, 90)):
            found[name] = (at[high] - at[low]) / whole


def _correlation(time: np.ndarray, flux: np.ndarray, weight: np.ndarray) -> float:
    """Weighted correlation of flux and time, between -1 and 1; NaN where all times are one."""
    x, y = time - np.average(time, weights=weight), flux - np.average(flux, weights=weight)
    scale = float(np.average(x**2, weights=weight) * np.average(y**2, weights=weight)) ** 0.5
    return float(np.clip(np.average(x * y, weights=weight) / scale, -1, 1)) if scale > 0 else np.nan


def find_period(time: np.ndarray, flux: np.ndarray, sigma: np.ndarray) -> tuple[float, float]:
    """Find the period of a light curve by its Lomb-Scargle periodogram (VanderPlas 2018, ApJS 236, 16).

    It is looked for between 0.1 days and half of the time that is covered, with 5 frequencies for each peak, at most
    200,000 from the lowest on.

    Parameters
    ----------
    time
        ``(n,)`` float64 days.
    flux, sigma
        ``(n,)`` flux, and its standard deviation: finite, and positive.

    Returns
    -------
    period, power
        Days, NaN where chance gives as high a peak in more than 1 % of cases (Baluev 2008, MNRAS 385, 1279); and the
        share of the variance that a sine of this period takes away. NaN where fewer than 10 points are at different
        times, or all fluxes are one.
    """
    from astropy.timeseries import LombScargle

    covered = float(time.max() - time.min()) if len(time) else 0.0
    usable = len(np.unique(time)) >= _POINTS_OF_PERIOD and np.isfinite(flux).all() and np.isfinite(sigma).all()
    if not usable or covered <= _CYCLES * _SHORTEST_DAYS or not flux.std() > 0:
        return np.nan, np.nan
    step = 1 / (_PER_PEAK * covered)
    count = min(_MOST_FREQUENCIES, int((1 / _SHORTEST_DAYS - _CYCLES / covered) / step) + 1)
    frequencies = _CYCLES / covered + step * np.arange(count)
    model = LombScargle(time - time.min(), flux, sigma, fit_mean=False)
    powers = model.power(frequencies, method="fast", assume_regular_frequency=True, method_kwds=_FAST)
    if not np.isfinite(powers).any():
        return np.nan, np.nan
    best = int(np.nanargmax(powers))
    power = float(np.clip(powers[best], 0, 1 - 1e-12))
    chance = float(model.false_alarm_probability(power, method="baluev", maximum_frequency=float(frequencies[-1])))
    return (1 / float(frequencies[best]) if chance < _FALSE_ALARM else np.nan), power
