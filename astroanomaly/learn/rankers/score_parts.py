"""How much of a score is due to the image, and how much to each block of numbers beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from astroanomaly.learn.scoring import log_odds

__all__ = ["IMAGE", "OUTLIERS", "score_parts", "score_shares", "usual_logits"]

IMAGE = "image"  # what the part of the image is called
OUTLIERS = "outliers"  # that of the outlier score

Logits = Mapping[str, np.ndarray]
"""``(n, classes)`` by what they are due to; their sum gives the score."""


def usual_logits(logits: Logits) -> dict[str, np.ndarray]:
    """``(classes,)`` mean of each part over the objects of a sample, without those that have no features."""
    return {name: one[np.isfinite(one).all(axis=1)].mean(axis=0) for name, one in logits.items()}


def score_parts(logits: Logits, usual: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take scores apart: how much each falls when one part of its logits is as usual.

    With two label classes the parts of an object, and the score of an object that is as usual in all, add up to its
    score. With more classes they do so nearly.

    Parameters
    ----------
    logits
        Of ``n`` objects.
    usual
        What `usual_logits` gives for the survey.

    Returns
    -------
    dict
        ``(n,)`` float32 by name, log-odds; NaN for objects without features.
    """
    whole = sum(logits.values(), np.zeros(1))
    score = _score(whole)
    return {name: score - _score(whole - one + usual[name]) for name, one in logits.items()}


def score_shares(parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return how much scores rest on each part: its mean size over a sample, as a share of all; 0 where all are 0."""
    sizes = {name: float(np.nanmean(np.abs(one))) for name, one in parts.items()}
    total = sum(sizes.values())
    return {name: size / total if total > 0 else 0.0 for name, size in sizes.items()}


def _score(logits: np.ndarray) -> np.ndarray:
    return -log_odds(logits)[:, 0]
