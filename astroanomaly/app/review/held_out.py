"""Scores of labelled objects by models that did not see their labels, to measure on labels that were learnt from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from astroanomaly.app.review.shared_state import COLD, LATEST, SharedState
from astroanomaly.hookspecs import rests_on_labels
from astroanomaly.learn.label_errors import held_out
from astroanomaly.records import ANOMALY, NOMINAL

__all__ = ["MIN_OF_A_KIND", "has_learnt", "held_out_scores"]

MIN_OF_A_KIND = 5  # anomalies, and nominal objects, without which no curve is drawn


def has_learnt(shared: SharedState, by: str) -> bool:
    """Tell whether some scores rest on labels, so that they say nothing of the objects with these labels."""
    if by == LATEST:
        last = shared.session.rounds[shared.rounds - 1]
        return rests_on_labels(shared.session.ranker(last.ranker, **last.recipe["options"]))
    return by != COLD and rests_on_labels(shared.session.ranker(shared.instant_ranker))


def held_out_scores(shared: SharedState, labels: Mapping[str, str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Score labelled objects by cross-validation, as *suspect labels* does: a regression like the probe's.

    The result is kept until there are other labels or features. An anomaly class of fewer than five is not told from
    the others.

    Parameters
    ----------
    shared
        What all pages share.
    labels
        Label by object id, none of them disputed.

    Returns
    -------
    tuple
        Ids of the objects that have features; ``(n,)`` boolean, True for anomalies; ``(n,)`` scores, higher is more
        anomalous. Empty with fewer than `MIN_OF_A_KIND` of either kind.
    """
    nothing: tuple[list[str], np.ndarray, np.ndarray] = ([], np.zeros(0, bool), np.zeros(0))
    known = shared.known(sorted(labels))
    if not _enough([labels[i] for i in known]):
        return nothing
    points = (shared.features or shared.session.points)(known)
    there = np.flatnonzero(points.any(axis=1))  # without features: zero
    ids = [known[k] for k in there]
    if not _enough([labels[i] for i in ids]):
        return nothing
    odd = [labels[i] for i in ids if labels[i] != NOMINAL]
    few = min(Counter(odd).values()) < MIN_OF_A_KIND
    names = [NOMINAL, *([ANOMALY] if few else sorted(set(odd)))]
    words = [labels[i] if labels[i] == NOMINAL or not few else ANOMALY for i in ids]
    class_indices = np.array([names.index(word) for word in words])
    settings = shared.session.settings.get("probe", {})
    c, balanced = float(settings.get("c", 5.0)), bool(settings.get("balanced", True))
    key = (tuple(ids), class_indices.tobytes())
    if shared.held_out is None or shared.held_out[0] != key:
        shared.held_out = key, -held_out(points[there], class_indices, c=c, balanced=balanced)[:, 0]
    return ids, class_indices > 0, shared.held_out[1]


def _enough(words: list[str]) -> bool:
    nominal = sum(word == NOMINAL for word in words)
    return min(nominal, len(words) - nominal) >= MIN_OF_A_KIND
