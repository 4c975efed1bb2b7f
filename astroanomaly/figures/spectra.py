"""A spectrum as a picture: flux over wavelength, with a band of its error."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astroanomaly.figures.axes import dress_axes, line_style
from astroanomaly.figures.canvas import checked_path, new_figure, save

__all__ = ["flux_range", "spectrum_figure"]

_FEWEST_PIXELS = 16
_MARGIN = 0.08  # above and below


def spectrum_figure(
    wavelength: np.ndarray, flux: np.ndarray, error: np.ndarray, path: str | Path, title: str = ""
) -> None:
    """Draw a spectrum.

    Parameters
    ----------
    wavelength
        ``(n,)`` Angstrom.
    flux, error
        ``(n,)`` in one unit, NaN where unknown.
    path
        ``.png``, ``.svg`` or ``.pdf``.
    title
        What stands above, taken literally.

    Raises
    ------
    ConfigError
        For another suffix.
    StorageError
        If it cannot be written.
    """
    path = checked_path(path)
    figure = new_figure(8.0, 2.6, constrained=True)
    axes = figure.add_subplot()
    axes.fill_between(wavelength, flux - error, flux + error, color="#C8CDD4", linewidth=0, step="mid")
    axes.plot(wavelength, flux, drawstyle="steps-mid", **{**line_style(0), "linewidth": 0.8})
    axes.set_ylim(*flux_range(flux))
    known = wavelength[np.isfinite(flux)]
    if len(known) > 1:
        axes.set_xlim(known[0], known[-1])
    dress_axes(axes, "wavelength as observed (Angstrom)", "flux", title)
    save(figure, path)


def flux_range(flux: np.ndarray) -> tuple[float, float]:
    """Return between which fluxes a spectrum is drawn: all of it, but for single pixels that are far out.

    Parameters
    ----------
    flux
        ``(n,)``, NaN where unknown.
    """
    known = flux[np.isfinite(flux)]
    if len(known) < _FEWEST_PIXELS:
        return (0.0, 1.0)
    steady = np.median(np.stack([known[:-2], known[1:-1], known[2:]]), axis=0)  # of three neighbours: lines are wider
    low, high = float(steady.min()), float(steady.max())
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin
