"""A spectrum as a picture: flux over wavelength, with a band of its error."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astroanomaly.figures.axes import dress_axes, line_style
from astroanomaly.figures.canvas import checked_path, new_figure, save

__all__ = ["spectrum_figure"]

_PERCENTILES = (0.5, 99.5)
_MARGIN = 0.12  # above and below, of what is between them


def spectrum_figure(
    wavelength: np.ndarray, flux: np.ndarray, error: np.ndarray, path: str | Path, *, unit: str = "", title: str = ""
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
    unit, title
        Unit of the flux, and what stands above; taken literally.

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
    known = np.isfinite(flux)
    if known.any():
        low, high = np.percentile(flux[known], _PERCENTILES)
        margin = _MARGIN * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlim(wavelength[known][0], wavelength[known][-1])
    dress_axes(axes, "wavelength as observed (Angstrom)", f"flux ({unit})" if unit else "flux", title)
    save(figure, path)
