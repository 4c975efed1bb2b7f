"""Ticks of a colour bar: flux values, where the curve puts them."""

from __future__ import annotations

import math

import numpy as np

from astroanomaly.imaging.display import Display
from astroanomaly.imaging.stretch import Stretch

__all__ = ["bar_ticks"]

_LEAST_DISTANCE = 0.11  # of the bar, between two ticks
_DECADES = 7  # below the largest value


def bar_ticks(display: Display, black: float, white: float) -> list[tuple[float, float]]:
    """Choose round flux values and say where they are on a bar that runs evenly through the colours of one band.

    Parameters
    ----------
    display
        Curve, brightness and contrast.
    black, white
        Levels of the band, in flux units.

    Returns
    -------
    list of tuple
        ``(place, flux)`` in rising order; place 0 is the first colour and 1 the last. Empty where colour is no function
        of flux: for histogram equalisation, and where black and white coincide.
    """
    if display.stretch.curve == "histogram" or not white > black:
        return []
    found: list[tuple[float, float]] = []
    for candidates in (_round_values(black, white), _even_values(black, white)):
        for flux in candidates:
            place = _place(display, (flux - black) / (white - black))
            if 0 <= place <= 1 and all(abs(place - other) >= _LEAST_DISTANCE for other, _ in found):
                found.append((place, flux))
        if len(found) >= 3:
            break
    return sorted(found)


def _place(display: Display, level: float) -> float:
    curved = float(Stretch(display.stretch).curve(np.float64(level)))
    return (curved - 0.5) * display.contrast + 0.5 + display.brightness


def _round_values(black: float, white: float) -> list[float]:
    """0, then 1, 2 and 5 times powers of ten within the levels, the roundest and largest first."""
    top = math.floor(math.log10(max(abs(black), abs(white))))
    powers = [10.0**power for power in range(top, top - _DECADES, -1)]
    values = [0.0, *(sign * digit * power for digit in (1, 5, 2) for power in powers for sign in (1, -1))]
    return [value for value in values if black <= value <= white]


def _even_values(black: float, white: float) -> list[float]:
    """Values in even steps, rounded to what tells them apart: for levels close together and far from 0."""
    step = (white - black) / 8
    digits = -math.floor(math.log10(step))
    return [round(black + step * k, digits + 1) for k in range(1, 8)]
