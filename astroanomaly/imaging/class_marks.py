"""Marks of label classes on pages and figures: a colour and a shape, distinct for every colour vision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MarkStyle", "mark_style"]


@dataclass(frozen=True)
class MarkStyle:
    """Colour, shape and letter of one label class.

    Attributes
    ----------
    colour
        As ``#RRGGBB``.
    marker
        Shape on a figure, as Bokeh names it.
    letter
        The same shape as a character.
    on_white
        Colour where the background is white; empty: the same.
    """

    colour: str
    marker: str
    letter: str
    on_white: str = ""


# Okabe & Ito (2008)
_BUILT_IN_STYLES = {
    "nominal": MarkStyle("#56B4E9", "circle", "●"),
    "anomaly": MarkStyle("#E69F00", "star", "★"),
    "disputed": MarkStyle("#F5F5F5", "x", "✕", on_white="#222222"),
    "skipped": MarkStyle("#9AA4B2", "dash", "–"),
    "flagged": MarkStyle("#D55E00", "inverted_triangle", "▼"),
}
_CUSTOM_CLASS_STYLES = (
    MarkStyle("#CC79A7", "diamond", "◆"),
    MarkStyle("#009E73", "triangle", "▲"),
    MarkStyle("#F0E442", "square", "■"),
    MarkStyle("#D55E00", "hex", "⬢"),
    MarkStyle("#8C9EFF", "square_pin", "✦"),
    MarkStyle("#BC8F6F", "cross", "✚"),
)


def mark_style(word: str, classes: Sequence[str]) -> MarkStyle:
    """Return how a label class, ``disputed``, ``skipped`` or ``flagged`` is marked.

    Parameters
    ----------
    word
        One of these.
    classes
        All label classes of the session, in their order: its own classes take their styles in turn.
    """
    if word in _BUILT_IN_STYLES:
        return _BUILT_IN_STYLES[word]
    own = [name for name in classes if name not in _BUILT_IN_STYLES]
    return _CUSTOM_CLASS_STYLES[own.index(word) % len(_CUSTOM_CLASS_STYLES) if word in own else 0]
