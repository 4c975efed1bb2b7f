"""How axes, lines, legends and headings of curves look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from astroanomaly.figures.canvas import DPI, FONT, GRID, INK, PALE, clean, put_text, wrap_to_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MARKERS", "dress_axes", "legend_below", "line_style", "put_heading"]

# Okabe & Ito (2008), distinguishable with every kind of colour vision; yellow is too light for a line on white
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def line_style(number: int, dash: int = -1) -> dict[str, Any]:
    """Return colour and dash of the ``number``-th line; beyond the colours, the dashes change."""
    dashes = number // len(_COLOURS) if dash < 0 else dash
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[dashes % len(_DASHES)],
        "linewidth": 1.9,
        "solid_capstyle": "round",
    }


def dress_axes(axes: Axes, x: str, y: str, title: str) -> None:
    """Give axes their grid, the names of both directions, and a title."""
    axes.set_axisbelow(True)
    axes.grid(color=GRID, linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(PALE)
    axes.tick_params(which="both", colors=PALE, labelcolor=INK, labelsize=9)
    for setter, text, size in ((axes.set_xlabel, x, 10), (axes.set_ylabel, y, 10)):
        setter(clean(text), size=size, color=INK, family=FONT, parse_math=False, usetex=False)
    put_text(axes.set_title, clean(title), size=11, weight="bold", color=INK, loc="left")


def legend_below(axes: Axes, words: Sequence[str]) -> None:
    """Explain the lines of axes below them, in the order drawn, with words taken as they are."""
    lines = [line for line in axes.get_lines() if line.get_label() != "_"][: len(words)]
    words = words[: len(lines)]
    legend = axes.legend(
        lines,
        [str(number) for number in range(len(words))],  # matplotlib would drop words that begin with an underscore
        loc="upper left",
        bbox_to_anchor=(0, -0.15),
        borderaxespad=0,
        frameon=False,
        handlelength=3,
        fontsize=9,
    )
    for text, word in zip(legend.get_texts(), words, strict=True):
        text.set(parse_math=False, usetex=False, text=word, color=INK, family=FONT)


def put_heading(figure: Figure, title: str) -> None:
    """Put a title above all axes of a figure; none for an empty text."""
    if title:
        lines = wrap_to_width(clean(title), 0.97 * DPI * figure.get_figwidth(), 13, bold=True)
        put_text(figure.suptitle, "\n".join(lines), x=0.009, ha="left", size=13, weight="bold", color=INK)
