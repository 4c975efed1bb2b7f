"""Directions of north and east and a scale bar, drawn into a picture of a contact sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from astroanomaly.figures.canvas import put_text
from astroanomaly.imaging.compass import Compass

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_compass"]

_ARROW_SHARE = 0.14  # length of an arrow, of the shorter side
_LETTER_SHARE = 0.21  # distance of its letter
_MARGIN_SHARE = 0.06


def draw_compass(
    figure: Figure, total: tuple[int, int], box: tuple[float, float, float, float], compass: Compass, zoom: float
) -> None:
    """Draw a compass in the lower left corner of a picture, and a scale bar in the lower right one.

    Parameters
    ----------
    total
        Width and height of the figure in pixels.
    box
        Left, top, width and height of the picture in pixels, counted from the upper left corner of the figure.
    compass
        Of the cutout, whose first row is at the bottom of the picture.
    zoom
        Pixels of the picture for a pixel of the cutout.
    """
    left, top, width, height = box
    side = min(width, height)
    reach = _ARROW_SHARE * side
    arrows = {"N": compass.north, "E": compass.east}
    # far enough from the corner for arrows that point into it
    lowest, leftmost = (min(0.0, *(arrow[axis] for arrow in arrows.values())) for axis in (1, 0))
    room = _LETTER_SHARE * side + _MARGIN_SHARE * side
    x = left + _MARGIN_SHARE * side - leftmost * room
    y = top + height - _MARGIN_SHARE * side + lowest * room
    for letter, (dx, dy) in arrows.items():
        _arrow(figure, total, (x, y), (x + dx * reach, y - dy * reach))
        place = x + dx * _LETTER_SHARE * side, y - dy * _LETTER_SHARE * side
        _letter(figure, total, place, letter, ha="center", va="center")
    length, text = compass.bar(width / zoom)
    right, bottom = left + width - _MARGIN_SHARE * side, top + height - _MARGIN_SHARE * side
    _line(figure, total, (right - length * zoom, bottom), (right, bottom))
    _letter(figure, total, (right - length * zoom / 2, bottom - 4), text, ha="center", va="bottom")


def _in_figure(total: tuple[int, int], place: tuple[float, float]) -> tuple[float, float]:
    return place[0] / total[0], 1 - place[1] / total[1]


def _outline() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="black")]


def _arrow(figure: Figure, total: tuple[int, int], start: tuple[float, float], end: tuple[float, float]) -> None:
    from matplotlib.patches import FancyArrowPatch

    patch = FancyArrowPatch(
        _in_figure(total, start),
        _in_figure(total, end),
        transform=figure.transFigure,
        arrowstyle="->",
        mutation_scale=6,
        linewidth=1.2,
        color="white",
        shrinkA=0,
        shrinkB=0,
        path_effects=_outline(),
        zorder=6,
    )
    figure.add_artist(patch)


def _line(figure: Figure, total: tuple[int, int], start: tuple[float, float], end: tuple[float, float]) -> None:
    from matplotlib.lines import Line2D

    x, y = zip(*(_in_figure(total, place) for place in (start, end)), strict=True)
    line = Line2D(x, y, transform=figure.transFigure, color="white", linewidth=1.5, zorder=6, path_effects=_outline())
    figure.add_artist(line)


def _letter(figure: Figure, total: tuple[int, int], place: tuple[float, float], text: str, **look: Any) -> None:
    put_text(
        figure.text, *_in_figure(total, place), text, size=7, color="white", path_effects=_outline(), zorder=7, **look
    )
