"""The display that a survey begins with, found on a sample of its pixels, and any display in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from astroanomaly.config import StretchConfig
from astroanomaly.imaging.channel_maps import known_maps, usual_map
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.flux_scale import FluxScale
from astroanomaly.imaging.intervals import measure_levels
from astroanomaly.imaging.lupton import softening

__all__ = ["describe_display", "usual_display"]

_LINEAR_SIGMA = 15.0  # noise deviations of the linear part: one is a sixteenth of full brightness, hardly seen
_LEAST_WHITE_SIGMA, _MOST_WHITE_SIGMA = 5.0, 1e4  # deviations above the sky
_BRIGHT_SHARE = 99.9  # percentage of the pixels below white: the cores of the brighter objects are above
_NOISE = StretchConfig(interval="mad", sigma_low=0.0, sigma_high=1.0)  # from the sky to one deviation above
_BETWEEN_PERCENTILES = {"interval": "percentile", "low": 50.0, "high": _BRIGHT_SHARE}  # where there is no noise
_SHARE_WITHOUT_NOISE = 0.05


def usual_display(bands: Sequence[str], sample: np.ndarray, scale: FluxScale | None) -> Display:
    """Choose how flux is rendered unless somebody chooses, from pixels of the whole survey.

    Two bands or more become Lupton colours from the sky level of each band on: in flux where the bands share a scale,
    else in units of their noise. One noise deviation is nearly black and the brightest pixels are white; the levels
    hold for the whole survey. One band is shown alone, by the curve asinh between the same levels.

    Parameters
    ----------
    bands
        Their names.
    sample
        ``(1, B, 1, P)`` float32 pixels, NaN where there is no data.
    scale
        The flux scale of the bands; None: nothing says how they compare.
    """
    usual = usual_map(bands)
    begun = Display(
        StretchConfig(curve="asinh", interval="mad", sigma_low=0.0, scope="survey"),
        colours="lupton" if len(bands) > 1 else "single",
        scale="flux" if scale is not None and len(bands) > 1 else "band",
        channels=usual.channels if usual else "",
    )
    rows = sample[0, :, 0]  # (B, P)
    there = np.isfinite(rows).any(axis=1) if rows.size else np.zeros(len(bands), bool)
    if not there.any():
        return Display.for_pixels("flux").changed(channels=begun.channels)
    weights = begun.rows(bands, there)  # (3, B)
    drawn = np.flatnonzero(weights.any(axis=0))
    sky, above = measure_levels(rows[drawn], _NOISE)
    noise = (above - sky).astype(np.float64)
    if not (noise > 0).all():
        return _without_noise(begun)
    factors = np.array(scale.factors, np.float64)[drawn] if scale is not None and len(bands) > 1 else 1 / noise
    channels = weights[:, drawn] * factors
    common = math.sqrt(((channels @ noise) ** 2).mean())
    intensity = (channels.mean(axis=0) / common) @ (rows[drawn] - sky[:, None])  # (P,)
    intensity = intensity[np.isfinite(intensity)]
    bright = float(np.percentile(intensity, _BRIGHT_SHARE)) if len(intensity) else 0.0
    white = float(f"{min(max(bright, _LEAST_WHITE_SIGMA), _MOST_WHITE_SIGMA):.3g}")
    linear = max(round(min(_LINEAR_SIGMA, white) / white, 4), 0.001)
    below = 1.0 if len(bands) == 1 else 0.0  # deviations: grey may begin below the sky, colours of noise would be seen
    return begun.changed(
        sigma_low=below,
        sigma_high=white,
        strength=_asinh_strength(linear),
        lupton_stretch=linear,
        lupton_q=round(softening(linear, 1.0), 2),
    )


def _without_noise(begun: Display) -> Display:
    """Choose levels where most pixels have the same value, as in simulations or masked images."""
    linear = _SHARE_WITHOUT_NOISE
    q = round(softening(linear, 1.0), 2)
    return begun.changed(
        **_BETWEEN_PERCENTILES, strength=_asinh_strength(linear), lupton_stretch=linear, lupton_q=q, sigma_low=1.0
    )


def _asinh_strength(linear: float) -> float:
    """Return the parameter a of asinh(x / a) / asinh(1 / a) whose slope at 0 is 1 / linear, within 1e-4 and 10."""
    low, high = 1e-4, 10.0
    for _ in range(50):  # the slope falls with a
        a = math.sqrt(low * high)
        low, high = (a, high) if 1 / (a * math.asinh(1 / a)) > 1 / linear else (low, a)
    return float(f"{math.sqrt(low * high):.3g}")


def describe_display(display: Display, bands: Sequence[str], unit: str) -> str:
    """Say in a line how cutouts are coloured: by what, which bands, and where the levels come from.

    Parameters
    ----------
    display
        The display.
    bands
        The bands of the cutouts.
    unit
        Unit of their flux scale, empty where they have none.
    """
    stretch = display.stretch
    if stretch.curve == "histogram" and display.colours != "lupton":
        levels = "levels of each cutout"
    elif stretch.interval == "manual":
        levels = f"levels {stretch.black:g} to {stretch.white:g}"
    else:
        levels = "survey levels" if stretch.scope == "survey" else "levels of each cutout"
    if display.colours == "single":
        shown = [band for band in bands if band not in display.hidden] or list(bands)
        return f"{display.band if display.band in shown else shown[0]}, {stretch.curve}, {levels}"
    how = "Lupton" if display.colours == "lupton" else stretch.curve
    if display.scale == "flux":
        on = f"flux in {unit}" if unit else "flux as stored"
    elif stretch.shared or stretch.interval == "manual":
        on = "all bands alike"
    elif stretch.interval == "mad":
        on = "bands in units of their noise"
    else:
        on = "each band by itself"
    mixed = [
        "+".join(band for band, weight in zip(bands, row, strict=True) if weight) or "none"
        for row in display.rows(bands)
    ]
    name = next((one.name for one in known_maps(bands) if one.channels == display.channels), "")
    return f"{how} on {on}, R G B = {' '.join(mixed)}{f' ({name})' if name else ''}, {levels}"
