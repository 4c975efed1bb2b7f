"""From the audit set to probabilities: how many anomalies are left, and how many the next N objects hold.

The audit set is a simple random sample of the pool, so that it tells how many anomalies there are whatever the scores
are worth: that interval is exact. Few of its objects stand high in the ranking. What the next 100 hold needs a curve of
the probability against the rank, fitted to the audit set, and all the curves that fit it about as well.

The curve is piecewise linear in log-odds of probability and logarithm of depth, and rises. Its steps between knots
have a prior of heavy tails with much of its weight near none, so that plateaus and cliffs are both likely: one slope
for all of the ranking (Platt 1999) is too sure of itself wherever anomalies hide among nominal objects or artefacts
score high. Where the audit set has next to no object, far up, the curve may also fall. With the curve's values on a
grid this is a hidden Markov chain, whose posterior is drawn from exactly by backward messages and draws forward
(Rabiner 1989, Proc. IEEE 77, 257): nothing has to converge, not even with one anomaly, or with all in one place.

Objects were labelled because they looked anomalous, which leaves fewer anomalies at the same score than the audit set
has there. So the draws are made for all objects, labelled ones included at the rank they would have if nobody had
labelled them, and what is known to be among them is subtracted. Some draws have fewer anomalies than are known.
Counting these as none left is right where next to all are found, and too low elsewhere; dropping them is too high where
next to all are found. Intervals reach from the one to the other, and what is expected lies half-way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from astroanomaly.errors import LabelError

__all__ = ["DEPTHS", "MIN_AUDIT_LABELS", "Forecast", "Interval", "forecast", "interval_of_total"]

DEPTHS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
MIN_AUDIT_LABELS = 20  # labelled objects of the audit set without which it says nothing
_LOG_ODDS_GRID = np.arange(-11.0, 6.51, 0.35)  # log-odds of the probability
_KNOTS = np.array(
    [0, 0.15, 0.3, 0.45, 0.6, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8]
)  # -log10 of the share above
_STEP_SCALES = (0.1, 0.6, 2.0, 6.0)  # half-Cauchy scales of a step in log-odds per decade, each as likely
_LOWEST_PRIOR = (-5.0, 4.0)  # prior mean and scatter of the log-odds at the lower end of the ranking
_FALL_CHANCE, _SPARSE_COUNT = 0.3, 8  # chance that a step goes down, where the audit set has fewer objects above
_PARTS_PER_SEGMENT = 8  # bins within a segment that objects are gathered in
_DRAWS, _DRAWS_WITH_LABELS = 1000, 6000  # without and with other labels, which many draws contradict
_MIN_KEPT_DRAWS = 200  # draws that are kept at least: those that contradict least
_EDGES_PER_DECADE = 24
_POINTS_PER_INTERVAL = 12  # objects at which the curve is looked up within an interval of ranks
_MIN_INTERVAL_OBJECTS = 100


@dataclass(frozen=True)
class Interval:
    """An estimate: its expectation, and its intervals of 90 % and of 95 %."""

    expected: float
    low: float
    high: float
    low_95: float
    high_95: float


@dataclass(frozen=True, eq=False)
class Forecast:
    """What the audit set says of the objects that have no label.

    Attributes
    ----------
    audit, audit_anomalies
        Labelled objects of the audit set, and anomalies among them.
    unlabelled
        Objects without a label, outside the audit set.
    known
        Anomalies that are labelled already, outside the audit set.
    total
        Anomalies among the unlabelled objects; its intervals are exact, whatever the scores are worth.
    depths, within
        Anomalies among so many unlabelled objects of the highest scores. Empty where nothing can be said: the audit set
        holds no anomaly, or nothing else.
    sample_of
        What the audit set is a random sample of, in words; empty: of all objects.
    outside, known_outside
        Objects without a label that it is no sample of, and of which nothing is said: they joined the session later, or
        their labels were taken back since. And the anomalies among ``known`` that were labelled before it was drawn.
    limits, probabilities
        ``(m,)`` falling scores, and the probability of an unlabelled object with such a score; empty like ``depths``.
    """

    audit: int
    audit_anomalies: int
    unlabelled: int
    known: int
    total: Interval
    depths: tuple[int, ...] = ()
    within: tuple[Interval, ...] = ()
    limits: np.ndarray = field(default_factory=lambda: np.zeros(0))
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sample_of: str = ""
    outside: int = 0
    known_outside: int = 0

    @property
    def calibrated(self) -> bool:
        """Whether scores have probabilities."""
        return len(self.limits) > 0

    def probability(self, scores: np.ndarray) -> np.ndarray:
        """Probability that unlabelled objects with these scores are anomalies; never falls with the score.

        Raises
        ------
        LabelError
            If the audit set does not tell.
        """
        if not self.calibrated:
            raise LabelError(
                f"the audit set has {self.audit} labelled objects, {self.audit_anomalies} of them anomalies: "
                "probabilities need both anomalies and nominal objects in it; label more of it, blind"
            )
        scores = np.asarray(scores, np.float64)
        found = np.interp(scores, self.limits[::-1], self.probabilities[::-1])
        return np.where(np.isfinite(scores), found, np.nan)

    @property
    def provenance(self) -> dict[str, str]:
        """Where probabilities come from in words, for the header of a catalogue."""
        sample = f"; drawn from {self.sample_of}" if self.sample_of else ""
        outside = {"without_probability": f"{self.outside} objects that the audit set is no sample of"}
        return (outside if self.outside else {}) | {
            "calibration": f"audit set of {self.audit} labelled objects, {self.audit_anomalies} of them "
            f"anomalies{sample}",
            "anomalies_left": f"{self.total.expected:.0f} ({self.total.low:.0f} to {self.total.high:.0f}, 90 %) among "
            f"{self.unlabelled} unlabelled objects",
        }


def interval_of_total(anomalies: int, audit: int, pool: int, level: float = 0.9) -> tuple[int, int]:
    """Return the exact interval of the number of anomalies in a pool, from a sample drawn without replacement.

    All numbers that would give so few, or so many, with more than half of what the level leaves (Clopper & Pearson
    1934, for the hypergeometric distribution). It holds the truth at least as often as it says.

    Parameters
    ----------
    anomalies, audit
        Anomalies in the sample, and its size.
    pool
        Objects in all, the sample included.
    """
    from scipy.stats import hypergeom  # slow to load: as long as all the rest of a session

    tail = (1 - level) / 2
    lowest, highest = anomalies, pool - (audit - anomalies)
    low, high = lowest, highest
    if anomalies:  # the least number under which at least so many are not too rare
        low = _first(lowest, highest, lambda k: hypergeom.sf(anomalies - 1, pool, k, audit) > tail)
    if anomalies < audit:
        high = _first(lowest, highest + 1, lambda k: hypergeom.cdf(anomalies, pool, k, audit) <= tail) - 1
    return low, max(low, high)


def forecast(
    scores: np.ndarray,
    audit_scores: np.ndarray,
    audit_truth: np.ndarray,
    known_scores: np.ndarray,
    known_truth: np.ndarray,
    *,
    depths: Sequence[int] = DEPTHS,
    seed: int = 0,
) -> Forecast:
    """Say how many anomalies are left, and where.

    Parameters
    ----------
    scores
        ``(u,)`` of the unlabelled objects, higher is more anomalous.
    audit_scores, audit_truth
        ``(a,)`` of the labelled objects of the audit set; the truth is True for anomalies.
    known_scores, known_truth
        ``(l,)`` of the other labelled objects. Their scores must not know their labels, as those of the unlabelled
        objects and of the audit set do not: out-of-fold scores, or those of a ranking made before.
    depths
        Numbers of unlabelled objects, from the highest score down.
    seed
        Of the draws.

    Raises
    ------
    LabelError
        If fewer than 20 objects of the audit set are labelled.
    """
    from scipy.optimize import isotonic_regression  # slow to load, too

    audit_truth, known_truth = np.asarray(audit_truth, bool), np.asarray(known_truth, bool)
    if len(audit_truth) < MIN_AUDIT_LABELS:
        raise LabelError(
            f"{len(audit_truth)} objects of the audit set are labelled: at least {MIN_AUDIT_LABELS} are needed to say "
            "anything"
        )
    scores, audit_scores, known_scores = (np.asarray(s, np.float64) for s in (scores, audit_scores, known_scores))
    found, known = int(audit_truth.sum()), int(known_truth.sum())
    total = _total(found, len(audit_truth), len(scores), len(known_truth), known)
    plain = Forecast(len(audit_truth), found, len(scores), known, total)
    if found in (0, len(audit_truth)) or not len(scores):
        return plain
    rng = np.random.default_rng(seed)
    everyone = np.sort(np.concatenate([scores, audit_scores, known_scores]))
    knots = _knots(len(everyone))
    draws = _DRAWS_WITH_LABELS if known else _DRAWS
    curves = _draw_curves(_log_rank(audit_scores, everyone), audit_truth, knots, draws, rng)
    order = np.argsort(-scores, kind="stable")
    wanted = tuple(d for d in dict.fromkeys(depths) if 0 < d < len(scores))
    edges = _edges(len(scores), wanted)
    counts, possible = _counts(scores[order], edges, known_scores, known_truth, everyone, knots, curves, rng)
    mean = (counts.mean(axis=0) + counts[possible].mean(axis=0)) / 2
    within = []
    for k in np.searchsorted(edges, wanted):
        low, low_95 = np.quantile(counts[:, k], [0.05, 0.025], method="inverted_cdf")
        high, high_95 = np.quantile(counts[possible, k], [0.95, 0.975], method="inverted_cdf")
        within.append(Interval(*(float(value) for value in (mean[k], low, high, low_95, high_95))))
    steps = np.diff(mean, prepend=0.0)
    widths = np.diff(edges, prepend=0)
    falling = isotonic_regression(steps / widths, weights=widths, increasing=False).x
    middles = scores[order[(edges - (widths + 1) // 2).clip(0)]]
    return Forecast(
        len(audit_truth), found, len(scores), known, total, wanted, tuple(within), middles, np.clip(falling, 0, 1)
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------- the curve


def _knots(count: int) -> np.ndarray:
    last = np.log10(2 * count)
    return np.r_[_KNOTS[last - 0.2 > _KNOTS], last]


def _log_rank(scores: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    """Rank among all: -log10 of the share of objects with such a score or a higher one."""
    above = len(everyone) - np.searchsorted(everyone, scores, side="left")
    return -np.log10((above + 0.5).clip(0.5) / (len(everyone) + 1))


def _draw_curves(
    log_ranks: np.ndarray, truth: np.ndarray, knots: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """``(draws, knots)`` log-odds, from their posterior: backward messages, then draws forward."""
    fits = _likelihood(log_ranks, truth, knots)
    message = np.zeros(len(_LOG_ODDS_GRID))
    chances = []
    for number in reversed(range(len(knots) - 1)):
        few = int((log_ranks >= knots[number]).sum()) < _SPARSE_COUNT
        with np.errstate(divide="ignore"):
            joint = np.log(_step_prior(knots[number + 1] - knots[number], few)) + fits[number] + message
        top = joint.max(axis=1)
        weights = np.exp(joint - top[:, None])
        message = top + np.log(weights.sum(axis=1))
        chances.append(np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1))
    start = message - 0.5 * ((_LOG_ODDS_GRID - _LOWEST_PRIOR[0]) / _LOWEST_PRIOR[1]) ** 2
    start = np.exp(start - start.max())
    state = rng.choice(len(_LOG_ODDS_GRID), draws, p=start / start.sum())
    path = [state]
    for chance in reversed(chances):
        state = (rng.random(draws)[:, None] > chance[state]).sum(axis=1).clip(0, len(_LOG_ODDS_GRID) - 1)
        path.append(state)
    return _LOG_ODDS_GRID[np.stack(path, axis=1)]


def _likelihood(log_ranks: np.ndarray, truth: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """``(segments, G, G)`` log-likelihood of the objects of each segment by the values at its lower and upper knot."""
    found = np.zeros((len(knots) - 1, len(_LOG_ODDS_GRID), len(_LOG_ODDS_GRID)))
    segment = np.clip(np.searchsorted(knots, log_ranks, side="right") - 1, 0, len(knots) - 2)
    share = np.clip((log_ranks - knots[segment]) / np.diff(knots)[segment], 0, 1)
    part = np.minimum((share * _PARTS_PER_SEGMENT).astype(int), _PARTS_PER_SEGMENT - 1)
    for number, where, odd in sorted(set(zip(segment.tolist(), part.tolist(), truth.tolist(), strict=True))):
        those = (segment == number) & (part == where) & (truth == odd)
        middle = share[those].mean()
        value = _LOG_ODDS_GRID[:, None] * (1 - middle) + _LOG_ODDS_GRID[None, :] * middle
        found[number] -= those.sum() * np.logaddexp(0, -value if odd else value)
    return found


def _step_prior(width: float, few: bool) -> np.ndarray:
    """``(G, G)`` chances of the value at the next knot, given that at this one."""
    step = _LOG_ODDS_GRID[None, :] - _LOG_ODDS_GRID[:, None]
    up = _mixture(step, width)
    if not few:
        return up
    mixed = (1 - _FALL_CHANCE) * up + _FALL_CHANCE * _mixture(-step, width)
    return mixed / mixed.sum(axis=1, keepdims=True)


def _mixture(step: np.ndarray, width: float) -> np.ndarray:
    mixed = np.zeros_like(step)
    for scale in _STEP_SCALES:
        density = np.where(step >= -1e-9, 1 / (1 + (step / (scale * width)) ** 2), 0.0)
        mixed += density / density.sum(axis=1, keepdims=True)
    return mixed / len(_STEP_SCALES)


# ----------------------------------------------------------------------------------------------------------- counts


def _edges(count: int, wanted: Sequence[int]) -> np.ndarray:
    """Numbers of objects at which anomalies are counted."""
    spaced = np.geomspace(1, count, max(2, int(_EDGES_PER_DECADE * np.log10(max(count, 2)))))
    return np.unique(np.r_[spaced.astype(int), list(wanted), count]).astype(int)


def _counts(
    scores: np.ndarray,
    edges: np.ndarray,
    known_scores: np.ndarray,
    known_truth: np.ndarray,
    everyone: np.ndarray,
    knots: np.ndarray,
    curves: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """``(draws, edges)``: anomalies among the unlabelled objects above each edge.

    Those among all objects there are drawn, and what is known to be labelled is taken off. Also ``(draws,)`` boolean:
    draws that leave neither less than none nor more than there are objects.
    """
    from scipy.special import expit

    every = np.concatenate([scores, known_scores])
    free = np.r_[np.ones(len(scores), bool), np.zeros(len(known_scores), bool)]
    order = np.lexsort((~free, -every))  # unlabelled objects first where scores are equal
    log_ranks = _log_rank(every[order], everyone)
    seen = np.searchsorted(np.cumsum(free[order]), edges) + 1  # objects of both kinds above each edge
    seen[-1] = len(every)
    taken = np.r_[0, np.cumsum(np.r_[np.zeros(len(scores), bool), known_truth][order])]
    counts = np.zeros((len(curves), len(edges)))
    run = np.zeros(len(curves))
    start = 0
    for number, stop in enumerate(seen):
        for first in _rank_intervals(start, stop):
            last = min(stop, first[1])
            picked = np.linspace(first[0], last - 1, min(last - first[0], _POINTS_PER_INTERVAL)).astype(int)
            chance = expit(_at(log_ranks[picked], knots, curves)).mean(axis=1)
            run += rng.binomial(last - first[0], chance)
        start = stop
        counts[:, number] = run - taken[stop]
    beyond = (np.maximum(-counts, 0) + np.maximum(counts - edges, 0)).max(axis=1)
    enough = min(_MIN_KEPT_DRAWS, len(beyond)) - 1
    kept = beyond <= max(0.0, np.partition(beyond, enough)[enough])
    counts = np.clip(counts, 0, edges)
    return np.maximum.accumulate(counts, axis=1), kept


def _rank_intervals(start: int, stop: int) -> list[tuple[int, int]]:
    """Cut a part of the ranking where the curve may bend within it; deep down it is long and flat."""
    step = max(_MIN_INTERVAL_OBJECTS, (stop - start) // 8)
    return [(first, min(stop, first + step)) for first in range(start, stop, step)]


def _at(log_ranks: np.ndarray, knots: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """``(draws, n)`` log-odds at some ranks."""
    segment = np.clip(np.searchsorted(knots, log_ranks, side="right") - 1, 0, len(knots) - 2)
    share = np.clip((log_ranks - knots[segment]) / np.diff(knots)[segment], 0, 1)
    return curves[:, segment] * (1 - share) + curves[:, segment + 1] * share


def _total(found: int, audit: int, unlabelled: int, labelled: int, known: int) -> Interval:
    """Anomalies among the unlabelled: those of the pool, less those in the audit set and those known."""
    pool = audit + unlabelled + labelled
    ends = []
    for level in (0.9, 0.95):
        for end in interval_of_total(found, audit, pool, level):
            ends.append(float(np.clip(end - found - known, 0, unlabelled)))
    mean = (found + 0.5) / (audit + 1) * (pool - audit) - known  # Jeffreys' prior: also with none found
    return Interval(float(np.clip(mean, ends[0], ends[1])), *ends)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the first number for which something holds that stays true from there on; the last where it never does."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
