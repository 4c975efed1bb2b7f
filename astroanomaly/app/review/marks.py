"""How verdicts look: a colour and a shape for each word, told apart with every kind of colour vision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.records import ANOMALY, NOMINAL

__all__ = ["Look", "look_of"]


@dataclass(frozen=True)
class Look:
    """Colour, shape on a figure, and the same shape as a character."""

    colour: str
    marker: str
    letter: str


# Okabe & Ito (2008)
_FIXED = {
    NOMINAL: Look("#56B4E9", "circle", "●"),
    ANOMALY: Look("#E69F00", "star", "★"),
    DISPUTED: Look("#F5F5F5", "x", "✕"),
    "skipped": Look("#9AA4B2", "dash", "–"),
    "flagged": Look("#D55E00", "inverted_triangle", "▼"),
}
_OWN = (
    Look("#CC79A7", "diamond", "◆"),
    Look("#009E73", "triangle", "▲"),
    Look("#F0E442", "square", "■"),
    Look("#D55E00", "hex", "⬢"),
    Look("#8C9EFF", "square_pin", "✦"),
    Look("#BC8F6F", "cross", "✚"),
)


def look_of(word: str, classes: Sequence[str]) -> Look:
    """Return the look of a label class, ``disputed``, ``skipped`` or ``flagged``; own classes take theirs in turn."""
    if word in _FIXED:
        return _FIXED[word]
    own = [name for name in classes if name not in _FIXED]
    return _OWN[own.index(word) % len(_OWN) if word in own else 0]
