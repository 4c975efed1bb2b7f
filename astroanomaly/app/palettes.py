"""Colour maps of the page, from Bokeh's palettes."""

from __future__ import annotations

from functools import cache

import numpy as np
from bokeh import palettes

__all__ = ["palette"]

_NAMES = {
    "grey": "Greys256", "viridis": "Viridis256", "magma": "Magma256", "inferno": "Inferno256",
    "cividis": "Cividis256", "turbo": "Turbo256",
}  # fmt: skip


@cache
def palette(name: str) -> np.ndarray:
    """``(256, 3)`` uint8 of a colour map, dark first."""
    words = getattr(palettes, _NAMES[name])
    table = np.array([[int(word[k : k + 2], 16) for k in (1, 3, 5)] for word in words], np.uint8)
    table.flags.writeable = False
    return table
