"""The layout of a page: how large images can be, and in how many rows and columns."""

from __future__ import annotations

import math

__all__ = ["grid_shape", "inspector_sizes"]

_SIZES_TRIED = 40


def grid_shape(n: int, width: float, height: float) -> tuple[int, int]:
    """Columns and rows for which n square cells in a rectangle are largest."""
    best = (0.0, 1, max(1, n))
    for columns in range(1, max(1, n) + 1):
        rows = math.ceil(n / columns)
        best = max(best, (min(width / columns, height / rows), columns, rows), key=lambda item: item[0])
    return best[1], best[2]


def inspector_sizes(bands: int, aspect: float, width: float, height: float, gap: float = 4) -> tuple[int, int, int]:
    """Share a rectangle between one large image and one small image per band, which stand below it or at its right.

    Parameters
    ----------
    bands
        Number of small images; 0 leaves everything to the large one.
    aspect
        Height of an image over its width.
    width, height
        The rectangle, in pixels.
    gap
        Pixels between two images.

    Returns
    -------
    tuple
        Widths of the large image, of a small one, and of the area of the small ones, in which they wrap around.
    """
    largest = min(width, height / aspect)
    best = (-1.0, int(largest), 0, int(width))
    for step in range(_SIZES_TRIED if bands else 0):
        large = largest * (1 - step / _SIZES_TRIED)
        for area_width, area_height in ((width, height - large * aspect - gap), (width - large - gap, height)):
            for columns in range(1, bands + 1):
                rows = math.ceil(bands / columns)
                small = min((area_width + gap) / columns - gap, ((area_height + gap) / rows - gap) / aspect, large / 2)
                worth = large * math.sqrt(max(small, 0))  # neither can do without the other
                if small >= 1 and worth > best[0]:
                    best = (worth, int(large), int(small), int(area_width))
    return best[1:]
