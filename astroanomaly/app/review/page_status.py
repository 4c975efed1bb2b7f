"""What a page says of itself: its number, which filters hold, how many objects pass them, and counts of labels."""

from __future__ import annotations

import numpy as np

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.paging import ASSIGNED, COLUMN_ORDERINGS
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.labels.consensus import DECISION, DISPUTED

__all__ = ["label_counts", "model_input", "page_name", "progress", "showing"]

_FIXED_PAGES = {"map": "selected on a map", "doubted": "suspect labels", "disagreement": "annotators disagree",
                "samp": "chosen in another program"}  # fmt: skip
_FIXED_PAGES[DECISION] = "annotators disagree: your key is the decision, and closes the case"


def page_name(state: ViewState) -> str:
    """Say which page this is, in the inspector which object of it."""
    page = state.page
    if state.inspecting and page.ids:
        return f"object {state.cursor + 1} of {len(page.ids)}"
    return f"page {state.number + 1}" if page.ids else "no page"


def showing(state: ViewState) -> str:
    """Say which objects are shown: the filters that hold and how many objects pass them.

    On a blind page the number is that of the moment it was made: which verdicts change it would tell blind repeats.
    """
    page, shared = state.page, state.shared
    if state.audit:
        left = sum(state.annotator not in shared.consensus_of(object_id).votes for object_id in shared.audit)
        return f"the audit set, blind; {left:,} of {len(shared.audit):,} objects left"
    if state.assigned and (not page.ids or page.last.ordering == ASSIGNED):
        own, who = shared.assignments, state.annotator
        return f"your list, blind; {len(own.left(who)):,} of {len(own.list_of(who)):,} objects left"
    if page.ids and not page.last.left:
        kind, _, what = page.last.ordering.partition(":")
        text = f"similar to {what}, most similar first" if kind == "like" else _FIXED_PAGES.get(kind, kind)
        return f"{text}; PageUp goes back"
    free = shared.matching(state.filters, state.by_name)
    passing = page.last.left if page.blind else int(free.sum())
    text = f"{', '.join(state.filters.words())}; {passing:,} of {len(shared.cache):,} objects"
    if state.ordering in COLUMN_ORDERINGS and not page.blind:
        without = int((free & np.isnan(shared.number_columns.values(state.column))).sum())
        text += f", {without:,} without {state.column}, which come last" if without else ""
    return text


def progress(state: ViewState) -> str:
    """Say how many objects of the page have a mark, and how many are selected."""
    ids = state.page.ids
    if not ids:
        return ""
    done = sum(bool(state.mark(object_id).label) for object_id in ids)
    text = f"{done} of {len(ids)} on this page labelled or skipped"
    if len(state.selection) > 1 and not state.inspecting:
        text += f"; {len(state.selection)} selected, keys apply to all of them"
    return text


def label_counts(state: ViewState) -> dict[str, int]:
    """Count the objects of each label class, and those disputed, skipped and flagged; what has none is left out.

    On a blind page only one's own marks on it are counted: counts of the session would tell what others said, and
    which objects are blind repeats.
    """
    if not state.page.blind:
        return state.shared.counts()
    found: dict[str, int] = {}
    for mark in map(state.mark, state.page.ids):
        for name in (mark.label, "flagged" if mark.flagged else ""):
            if name:
                found[name] = found.get(name, 0) + 1
    order = [*state.shared.classes, DISPUTED, "skipped", "flagged"]
    return {name: found[name] for name in order if name in found}


def model_input(shared: SharedState) -> str:
    """Say what the network gets, in a line."""
    size = shared.session.settings["input"]["size"]
    stretch = shared.session.settings["stretch"]
    if shared.cache.layout.pixel_kind == "display":
        what = "the pictures as they are"
    else:
        scope = "all cutouts" if stretch["scope"] == "survey" else "each cutout"
        what = f"{stretch['curve']}, {stretch['interval']}, one interval for {scope}"
    return f"the model sees: {what}, {size} px; the stretch bar changes the screen only"
