"""How many of the objects that are looked for were missed, told from a random sample of all objects."""

from __future__ import annotations

import math

from astroanomaly.errors import ConfigError

__all__ = ["CONFIDENCE", "allowed_misses", "missing", "sample_share"]

CONFIDENCE = 0.95  # of each end of the interval
_LARGEST_SHARE = 0.5  # of the objects that may be drawn at random: with more, all can be scored as well


def missing(found: int, share: float, confidence: float) -> int:
    """Bound how many objects were missed, when a random sample of them was found.

    Each of an unknown number of objects was drawn with the same probability, independently. The bound is exact: it is
    that of the negative binomial distribution.

    Parameters
    ----------
    found
        How many of them were drawn.
    share
        The probability, more than 0 and at most 1.
    confidence
        Above .5 for an upper bound, below for a lower one.

    Returns
    -------
    int
        How many were not drawn, at most or at least.
    """
    from scipy.stats import nbinom

    trials = found + 1 if confidence > 0.5 else found
    return int(nbinom.ppf(confidence, trials, share)) if trials and share < 1 else 0


def allowed_misses(top: int, recall: float, share: float) -> int:
    """Return how many missed objects a sample may have for the recall to be certain; -1: not even none."""
    most = (1 - recall) * top
    count = -1
    while count < top and missing(count + 1, share, CONFIDENCE) <= most:
        count += 1
    return count


def sample_share(top: int, recall: float) -> float:
    """Return the share of a survey that has to be drawn at random, so that one missed object may be in the sample.

    Raises
    ------
    ConfigError
        If that is more than half of the survey.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if missing(1, middle, CONFIDENCE) <= (1 - recall) * top else (middle, high)
    if high > _LARGEST_SHARE:
        least = math.ceil(missing(1, _LARGEST_SHARE, CONFIDENCE) / (1 - recall))
        raise ConfigError(
            f"recall={recall:g} of the {top} highest scores: to make sure of it, {high:.0%} of the survey would have "
            f"to be scored at random. Ask for more objects (about {least} or more) or a lower recall, or score all of "
            "it, without recall"
        )
    return high
