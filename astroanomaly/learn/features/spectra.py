"""Numbers of spectra: the shape of the continuum, principal components of the lines, and the strongest lines left.

The components are found as in Bailey 2012, PASP 124, 1015: what is missing is filled in with what the components say,
again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.tables.spectra import Piece

__all__ = [
    "MOST_BINS",
    "SpectrumFeatures",
    "SpectrumGrid",
    "choose_grid",
    "noise_of",
    "rebin",
    "rest_frame",
    "shifted",
]

MOST_BINS = 2048  # of the grid: 140 km/s each over a factor 2.6 in wavelength
_FEWEST_BINS = 128
_WIDEST = 100.0  # longest by shortest wavelength of a grid
_NODES = 64  # of the continuum
_NODES_PER_NODE = 5  # whose median it is, so that it steps over lines
_BANDS = 16  # that continuum and lines are described in
_COMPONENTS = 16
_STEPS = 5  # of filling in
_SOFTENING = 0.1  # of the continuum: lines count in units of it where noise is less
_RIDGE = 0.01  # of a pixel's weight: components of a spectrum with few pixels stay small
_LINE_BINS = (1, 3, 9)  # widths that lines are looked for with
_CREDIBLE = (1.0, 1e7)  # Angstrom: up to 1 mm
_FARTHEST = 10.0  # continuum in units of its median
_LEAST_COVERAGE = 0.1  # of the grid that a spectrum needs to be described
_CHUNK = 256


@dataclass(frozen=True)
class SpectrumGrid:
    """Bins of wavelength, even in the logarithm.

    Parameters
    ----------
    shortest, longest
        Angstrom, the outer edges.
    bins
        How many.
    """

    shortest: float
    longest: float
    bins: int

    @property
    def step(self) -> float:
        """Width of a bin in the natural logarithm of the wavelength."""
        return float(np.log(self.longest / self.shortest)) / self.bins

    @cached_property
    def edges(self) -> np.ndarray:
        """``(bins + 1,)`` Angstrom."""
        return np.geomspace(self.shortest, self.longest, self.bins + 1)

    @property
    def wavelengths(self) -> np.ndarray:
        """``(bins,)`` Angstrom in the middle of each bin."""
        return np.sqrt(self.edges[:-1] * self.edges[1:])


def choose_grid(ranges: Sequence[tuple[float, float, int]]) -> SpectrumGrid:
    """Choose the grid of wavelengths for spectra, even in the logarithm.

    Parameters
    ----------
    ranges
        Shortest and longest wavelength in Angstrom of some spectra, and how many pixels each has between them.

    Raises
    ------
    ConfigError
        If they are too different to be compared, or cannot be.
    """
    shortest, longest = min(one[0] for one in ranges), max(one[1] for one in ranges)
    if longest < _CREDIBLE[0] or shortest > _CREDIBLE[1]:
        raise ConfigError(
            f"the spectra reach from {shortest:.4g} to {longest:.4g} Angstrom, expected wavelengths between 1 "
            "Angstrom and 1 mm: state the unit of the wavelengths, which are in Angstrom where none is stated"
        )
    if longest > _WIDEST * shortest:
        raise ConfigError(
            f"the spectra reach from {shortest:.4g} to {longest:.4g} Angstrom, a factor of more than {_WIDEST:g}: give "
            "spectra of one instrument in a block"
        )
    steps = [np.log(high / low) / max(count - 1, 1) for low, high, count in ranges]
    bins = int(np.clip(np.log(longest / shortest) / np.median(steps), _FEWEST_BINS, MOST_BINS)) // _NODES * _NODES
    return SpectrumGrid(float(shortest), float(longest * (1 + 1e-9)), bins)


def rebin(pieces: Sequence[Piece], edges: np.ndarray) -> np.ndarray:
    """Average a spectrum in the bins of a grid, each pixel by its weight and by the share of it that lies there.

    Parameters
    ----------
    pieces
        Its parts. What has no weight is left out.
    edges
        ``(n + 1,)`` Angstrom, of the bins, rising.

    Returns
    -------
    numpy.ndarray
        ``(2, n)`` float64: flux, NaN where there is none, and the sum of the weights.
    """
    count = len(edges) - 1
    total, weights = np.zeros(count), np.zeros(count)
    for piece in pieces:
        wavelength, flux, weight = piece.wavelength, piece.flux, piece.weight
        apart = np.diff(wavelength)
        half = np.minimum(np.concatenate([apart[:1], apart]), np.concatenate([apart, apart[-1:]])) / 2
        low, high = wavelength - half, wavelength + half
        used = (weight > 0) & (high > edges[0]) & (low < edges[-1])
        low, high, flux, weight = low[used], high[used], flux[used], weight[used]
        if not len(low):
            continue
        first = np.searchsorted(edges, low, side="right") - 1
        last = np.searchsorted(edges, high, side="left") - 1
        for step in range(int((last - first).max()) + 1):
            k = first + step
            here = (k <= last) & (k >= 0) & (k < count)
            k, a, b = k[here], low[here], high[here]
            share = (np.minimum(b, edges[k + 1]) - np.maximum(a, edges[k])) / (b - a)
            part = weight[here] * share.clip(0)
            total += np.bincount(k, part * flux[here], count)
            weights += np.bincount(k, part, count)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.stack([np.where(weights > 0, total / weights, np.nan), weights])


def noise_of(flux: np.ndarray) -> np.ndarray:
    """``(n,)`` noise of spectra ``(n, P)`` without errors, by DER_SNR (Stoehr et al. 2008, ASPC 394, 505)."""
    known = np.isfinite(flux)
    found = np.zeros(len(flux))
    for k, (row, there) in enumerate(zip(flux, known, strict=True)):
        one = row[there]
        if len(one) > 4:
            found[k] = 1.482602 / 6**0.5 * np.median(np.abs(2 * one[2:-2] - one[:-4] - one[4:]))
            found[k] = max(found[k], 1e-3 * np.median(np.abs(one)))
    return found


@dataclass(frozen=True, eq=False)
class SpectrumFeatures:
    """What is learnt of the spectra of a survey, without labels, to describe each by numbers.

    Each spectrum is brought to the grid, in the rest frame where redshifts are given (by whole bins). Its continuum is
    the median in 64 parts, smoothed by a median over five of them. Fluxes less the continuum are divided by the root
    of the sum of squares of the noise and a tenth of the continuum, and compressed by the inverse hyperbolic sine. Of
    the result come principal components, and what these leave is searched for lines with three widths. So a line that
    many spectra have counts in the components, and a rare one in what is left.

    Parameters
    ----------
    grid
        The grid of the features.
    mean
        ``(n,)`` of the compressed lines.
    components
        ``(K, n)`` with orthonormal rows.
    """

    grid: SpectrumGrid
    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def learn(cls, grid: SpectrumGrid, flux: np.ndarray, noise: np.ndarray, seed: int = 0) -> SpectrumFeatures:
        """Find the components of a sample of spectra.

        Parameters
        ----------
        grid
            Their grid.
        flux, noise
            ``(m, n)``, NaN where unknown.
        seed
            Of the randomised decomposition (Halko, Martinsson & Tropp 2011).
        """
        from sklearn.utils.extmath import randomized_svd

        lines, there = compressed_lines(flux, noise)[1:]
        counts = there.sum(axis=0)
        mean = np.where(there, lines, 0).sum(axis=0) / np.maximum(counts, 1)
        count = min(_COMPONENTS, max(0, len(lines) - 1))
        components = np.zeros((0, grid.bins))
        filled = np.where(there, lines - mean, 0)
        for _ in range(_STEPS if count and not there.all() else min(count, 1)):
            _, _, components = randomized_svd(filled, count, n_iter=2, random_state=seed)
            made = _coefficients(filled, there, components) @ components
            filled = np.where(there, lines - mean, made)
        return cls(grid, mean, components)

    @property
    def names(self) -> tuple[str, ...]:
        """What each number is called: of bands by the wavelength in their middle, in Angstrom."""
        middles = np.sqrt(self.grid.edges[:-1] * self.grid.edges[1:]).reshape(_BANDS, -1)
        bands = [round(float(np.sqrt(one[0] * one[-1]))) for one in middles]
        return (
            *(f"continuum_{one}" for one in bands),
            *(f"component_{k + 1}" for k in range(len(self.components))),
            *(f"line_{one}" for one in bands),
            "strongest_emission",
            "strongest_absorption",
        )

    def transform(self, flux: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Describe spectra by numbers.

        Parameters
        ----------
        flux, noise
            ``(m, n)``, NaN where unknown.

        Returns
        -------
        numpy.ndarray
            ``(m, D)`` float32, NaN where unknown: spectra that cover less than a tenth of the grid have none.
        """
        parts = [self._numbers(flux[k : k + _CHUNK], noise[k : k + _CHUNK]) for k in range(0, len(flux), _CHUNK)]
        return np.concatenate([np.zeros((0, len(self.names)), np.float32), *parts])

    def _numbers(self, flux: np.ndarray, noise: np.ndarray) -> np.ndarray:
        continuum, lines, there = compressed_lines(flux, noise)
        shape = _bands(continuum, there).clip(-_FARTHEST, _FARTHEST)
        away = np.where(there, lines - self.mean, 0)
        coefficients = _coefficients(away, there, self.components)
        left = np.where(there, away - coefficients @ self.components, 0)
        strongest, weakest = _lines(left, there)
        band = np.where(-weakest > strongest, weakest, strongest)
        most = [np.nanmax(strongest, axis=1, initial=0), np.nanmin(weakest, axis=1, initial=0)]
        found = np.hstack([shape, coefficients, band, np.stack(most, axis=1)])
        found[there.mean(axis=1) < _LEAST_COVERAGE] = np.nan
        return found.astype(np.float32)


def compressed_lines(flux: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take spectra ``(m, n)`` apart.

    Returns
    -------
    continuum, lines, there
        ``(m, n)`` continuum in units of its median size, departures from it as `SpectrumFeatures` says, 0 where
        unknown, and where they are known.
    """
    there = np.isfinite(flux) & np.isfinite(noise) & (noise > 0)
    known = np.where(there, flux, np.nan)
    continuum = _continuum(known)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        usual = np.fmax(_median(np.abs(continuum)), _median(np.where(there, noise, np.nan)))[:, None]
        there &= np.isfinite(continuum) & (usual > 0)
        softened = np.hypot(noise, _SOFTENING * usual)
        lines = np.where(there, np.arcsinh((known - continuum) / softened), 0)
        return np.where(there, continuum / usual, np.nan), np.nan_to_num(lines), there


def _median(values: np.ndarray) -> np.ndarray:
    """Medians along the last axis without what is NaN; NaN where nothing is left."""
    ordered = np.sort(values, axis=-1)  # NaN last
    known = np.isfinite(ordered).sum(axis=-1)[..., None]
    low = np.take_along_axis(ordered, np.maximum((known - 1) // 2, 0), axis=-1)
    high = np.take_along_axis(ordered, np.minimum(known // 2, ordered.shape[-1] - 1), axis=-1)
    return np.where(known > 0, (low + high) / 2, np.nan)[..., 0]


def _continuum(flux: np.ndarray) -> np.ndarray:
    """``(m, n)`` of spectra with NaN where unknown; NaN for one that is known nowhere."""
    count, bins = flux.shape
    width, half = bins // _NODES, _NODES_PER_NODE // 2
    padded = np.pad(_median(flux.reshape(count, _NODES, width)), ((0, 0), (half, half)), constant_values=np.nan)
    nodes = _median(np.lib.stride_tricks.sliding_window_view(padded, _NODES_PER_NODE, axis=1))
    places, x = (np.arange(_NODES) + 0.5) * width - 0.5, np.arange(bins)
    found = np.full(flux.shape, np.nan)
    for row, node in zip(found, nodes, strict=True):
        there = np.isfinite(node)
        if there.any():
            row[:] = np.interp(x, places[there], node[there])
    return found


def _coefficients(lines: np.ndarray, there: np.ndarray, components: np.ndarray) -> np.ndarray:
    """``(m, K)`` coefficients of components in lines ``(m, n)``, 0 where unknown, by what is known of each."""
    count = len(components)
    if not count:
        return np.zeros((len(lines), 0))
    products = (components[:, None] * components[None]).reshape(count * count, -1)
    matrices = (there.astype(float) @ products.T).reshape(-1, count, count) + _RIDGE * np.eye(count)
    return np.linalg.solve(matrices, (lines @ components.T)[..., None])[..., 0]


def _bands(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """``(m, bands)`` means of what is known in each band; NaN where nothing is."""
    shape = (len(values), _BANDS, -1)
    counts = there.reshape(shape).sum(axis=2)
    total = np.where(there, values, 0).reshape(shape).sum(axis=2)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _lines(left: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(m, bands)`` strongest line upwards and downwards in each band, as signal over noise; NaN where unknown."""
    shape = (len(left), _BANDS, -1)
    best, worst = np.full(left.shape, -np.inf), np.full(left.shape, np.inf)
    for width in _LINE_BINS:
        sums, counts = _running(left, width), _running(there.astype(float), width)
        found = np.where(there, sums / np.sqrt(np.maximum(counts, 1)), np.nan)
        best, worst = np.fmax(best, found), np.fmin(worst, found)
    known = there.reshape(shape).any(axis=2)
    return (
        np.where(known, np.where(there, best, -np.inf).reshape(shape).max(axis=2), np.nan),
        np.where(known, np.where(there, worst, np.inf).reshape(shape).min(axis=2), np.nan),
    )


def _running(values: np.ndarray, width: int) -> np.ndarray:
    """Add up ``width`` neighbours in rows."""
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(values, width, axis=1, mode="constant") * width


def rest_frame(grid: SpectrumGrid, redshifts: np.ndarray) -> SpectrumGrid:
    """Return the grid of rest-frame wavelengths, with the same step, that at least a tenth of the spectra reach.

    Parameters
    ----------
    grid
        The grid as observed.
    redshifts
        ``(m,)`` of spectra, one of them finite at least.
    """
    low, high = np.quantile(redshifts[np.isfinite(redshifts)], [0.1, 0.9])
    shortest, longest = grid.shortest / (1 + high), grid.longest / (1 + low)
    bins = round(float(np.log(longest / shortest)) / grid.step) // _NODES * _NODES
    return SpectrumGrid(shortest, shortest * float(np.exp(grid.step * bins)), bins)


def shifted(values: np.ndarray, redshifts: np.ndarray, grid: SpectrumGrid, rest: SpectrumGrid) -> np.ndarray:
    """``(m, n)`` spectra in the rest frame, by whole bins; NaN where they do not reach or the redshift is unknown.

    Parameters
    ----------
    values
        ``(m, N)`` on the grid as observed.
    redshifts
        ``(m,)``.
    grid, rest
        The grid as observed, and that of the rest frame, of the same step.
    """
    found = np.full((len(values), rest.bins), np.nan)
    for row, old, z in zip(found, values, redshifts, strict=True):
        if not np.isfinite(z):
            continue
        offset = round(float(np.log(grid.shortest / (1 + z) / rest.shortest) / grid.step))
        low, high = max(0, offset), min(rest.bins, offset + grid.bins)
        if high > low:
            row[low:high] = old[low - offset : high - offset]
    return found
