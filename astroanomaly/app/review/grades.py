"""Grades on the page: which verdicts are offered, and what labels are called."""

from __future__ import annotations

from dataclasses import replace

from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.imaging.class_marks import MarkStyle, mark_style
from astroanomaly.labels.grades import OR_BETTER
from astroanomaly.records import ANOMALY

__all__ = ["grade_filters", "offered_classes", "shown_label", "shown_style"]


def offered_classes(shared: SharedState) -> list[str]:
    """Return the label classes that people choose among, in the order of their buttons.

    With grades these come first, and an anomaly without a grade is not offered.
    """
    if shared.grades is None:
        return list(shared.classes)
    return [*dict.fromkeys([*shared.grades.labels, *(name for name in shared.classes if name != ANOMALY)])]


def shown_label(shared: SharedState, label: str, *, meaning: bool = False) -> str:
    """Return what a label is called on the page: the name of its grade, with its meaning if asked for; else itself."""
    name = "" if shared.grades is None else shared.grades.name_of(label)
    if shared.grades is None or not name:
        return label
    told = shared.grades.meaning_of(label) if meaning else ""
    return f"{name}: {told}" if told else name


def shown_style(shared: SharedState, label: str) -> MarkStyle:
    """Return how a label is marked on the page: a grade by a square, in which its letter has room."""
    style = mark_style(label, shared.classes)
    graded = shared.grades is not None and label in shared.grades.names[:-1]
    return replace(style, marker="square", letter="■") if graded else style


def grade_filters(shared: SharedState) -> list[str]:
    """Return the choices of *show only* that grades add: each of them or better, but for the best and the last."""
    return [] if shared.grades is None else [f"{name}{OR_BETTER}" for name in shared.grades.names[1:-1]]
