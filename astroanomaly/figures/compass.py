"""Directions of north and east and a scale bar, drawn into a picture of a contact sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astroanomaly.figures.canvas import put_text
from astroanomaly.imaging.compass import Compass

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_compass"]


def draw_compass(
    figure: Figure, total: tuple[int, int], box: tuple[float, float, float, float], compass: Compass, zoom: float
) -> None:
    """Draw a scale bar in the lower left corner of a picture, and arrows to north and east in the lower right one.

    Parameters
    ----------
    total
        Width and height of the figure in pixels.
    box
        Left, top, width and height of the picture in pixels, counted from the upper left corner of the figure.
    compass
        Of the picture before it was enlarged.
    zoom
        Pixels of the figure for a pixel of the picture.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    left, top, width, height = box
    outline = [withStroke(linewidth=2.5, foreground="black")]
    lines, words = compass.marks(0, 0, width / zoom, height / zoom)

    def across(x: float) -> float:
        return (left + x * zoom) / total[0]

    def up(y: float) -> float:
        return 1 - (top + height - y * zoom) / total[1]

    for x, y in lines:
        line = Line2D([across(one) for one in x], [up(one) for one in y], transform=figure.transFigure)
        line.set(color="white", linewidth=1.5, zorder=6, path_effects=outline)
        figure.add_artist(line)
    for x_text, y_text, text in words:
        look = {"size": 7, "color": "white", "path_effects": outline, "zorder": 7, "ha": "center", "va": "center"}
        look["snap"] = False  # outlined letters would be snapped to whole pixels, and lose strokes between them
        put_text(figure.text, across(x_text), up(y_text), text, **look)
