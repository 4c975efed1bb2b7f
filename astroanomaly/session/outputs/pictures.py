"""Pictures of objects for a report: PNG, with a scale bar and a compass drawn over it as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from html import escape

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.painting import grey_map, rgb_of

__all__ = ["Palette", "marks", "png", "render"]

_AT_A_TIME = 64  # cutouts that are read together
Palette = Callable[[str], np.ndarray]


def render(
    cache: Cache, ids: Sequence[str], largest: int, display: Display | None = None, palette: Palette = grey_map
) -> np.ndarray:
    """Paint cutouts as the cache's pictures are painted.

    Parameters
    ----------
    ids
        Their ids.
    largest
        Cutouts with a longer side are binned, in pixels.
    display, palette
        As in `Painter.paint`; without a display as usual.

    Returns
    -------
    numpy.ndarray
        ``(n, H, W, 3)`` uint8, first row on top.
    """
    pictures, how = cache.pictures, display or cache.pictures.usual_display
    parts = [ids[start : start + _AT_A_TIME] for start in range(0, len(ids), _AT_A_TIME)]
    return rgb_of(np.concatenate([pictures.painter(some, largest).paint(how, palette) for some in parts]))


def png(picture: np.ndarray) -> bytes:
    """Return a picture of ``(H, W, 3)`` uint8 as a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def marks(compass: Compass, width: int, height: int) -> str:
    """Draw a scale bar and the directions of north and east over a picture, as SVG in units of its pixels.

    Parameters
    ----------
    compass
        Of the picture; steps are to the right, and up.
    width, height
        Of the picture in pixels.
    """
    length, text = compass.bar(width)
    size = min(width, height)
    edge, letter, arrow = 0.05 * size, 0.075 * size, 0.1 * size
    arms = [(name, right, -up) for name, (right, up) in (("N", compass.north), ("E", compass.east))]
    reach = arrow + 0.7 * letter
    x0 = width - edge - letter / 2 - max(0.0, *(dx * reach for _, dx, _ in arms))
    y0 = edge + letter / 2 - min(0.0, *(dy * reach for _, _, dy in arms))
    bottom = height - edge
    lines = [f"M{edge:.2f} {bottom:.2f}h{length:.2f}"]
    words = [_letter(edge, bottom - 0.03 * size, letter, text, "start", "auto")]
    for name, dx, dy in arms:
        lines.append(f"M{x0:.2f} {y0:.2f}l{dx * arrow:.2f} {dy * arrow:.2f}")
        words.append(_letter(x0 + dx * reach, y0 + dy * reach, letter, name, "middle", "central"))
    drawn = f'<path d="{"".join(lines)}"/>{"".join(words)}'
    return f'<svg viewBox="0 0 {width} {height}" aria-hidden="true">{drawn}</svg>'


def _letter(x: float, y: float, size: float, text: str, anchor: str, baseline: str) -> str:
    return (
        f'<text x="{x:.2f}" y="{y:.2f}" font-size="{size:.2f}" text-anchor="{anchor}" '
        f'dominant-baseline="{baseline}">{escape(text)}</text>'
    )
