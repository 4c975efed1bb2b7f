"""Estimate how many anomalies are left, from scores and audit set; see `astroanomaly.session.calibration`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.hookspecs import rests_on_labels
from astroanomaly.labels.consensus import DISPUTED, Consensus, audit_labels
from astroanomaly.labels.log import LabelLog
from astroanomaly.learn.label_errors import held_out, odds
from astroanomaly.records import NOMINAL
from astroanomaly.session.audit import describe_sample, population
from astroanomaly.session.calibration import DEPTHS, MIN_AUDIT_LABELS, Forecast, forecast
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.stored_objects import StoredObjects

__all__ = ["forecast_scores", "remaining"]

_REGRESSION: dict[str, object] = {"c": 5.0, "balanced": True}  # as the probe, see `astroanomaly.learn.label_errors`
_COMPARED_AT_RANDOM, _COMPARED_AT_TOP = 1000, 500  # unlabelled objects that two rankings are compared on


def remaining(session: SessionFolder, depths: Sequence[int] = DEPTHS) -> Forecast:
    """Say how many anomalies are left by the latest round's scores; see `Session.remaining`."""
    last = session.last_round
    ranker = session.ranker(last.ranker, **last.recipe["options"])
    labelled = session.labels.labelled(until=last.last_event, draws=last.audit_draws)
    return forecast_scores(
        session.objects,
        -last.read_log_odds(session.objects)[:, 0],
        session.labels.consensus(),
        session.labels,
        learnt=labelled.ids if rests_on_labels(ranker) else (),
        points=session.points,
        regression=session.settings.get("probe", {}),
        depths=depths,
        seed=session.section("session")["seed"],
    )


def forecast_scores(
    cache: Cache | StoredObjects,
    scores: np.ndarray,
    consensus: Consensus,
    log: LabelLog,
    *,
    learnt: Collection[str],
    points: Callable[[Sequence[str]], np.ndarray],
    regression: Mapping[str, object],
    depths: Sequence[int] = DEPTHS,
    seed: int = 0,
) -> Forecast:
    """Say how many anomalies are left by some scores.

    Parameters
    ----------
    cache
        The objects.
    scores
        ``(N,)`` in the order of the cache, higher is more anomalous; objects with NaN are left out.
    consensus
        The consensus of annotators.
    log
        The label log, which says what the audit set is, and what it is a random sample of.
    learnt
        Objects whose labels the scores know. What rank these would have otherwise is estimated by the instant ranker,
        which leaves them out in turn.
    points
        ``(n, D)`` features of some objects on the scale of the survey; asked for only if labels were learnt from.
    regression
        Settings of the regression, ``c`` and ``balanced``, where they are not those of the probe's defaults.
    depths, seed
        As for `astroanomaly.session.calibration.forecast`.

    Raises
    ------
    SessionError
        If too little of the audit set is labelled.
    ConfigError
        For a depth below 1.
    """
    if any(depth < 1 for depth in depths):
        raise ConfigError(f"a depth of {min(depths)} objects: expected 1 or more")
    audit = log.audit_set()
    drawn = [i for i, row in zip(sorted(audit.ids), cache.find(sorted(audit.ids)), strict=True) if row >= 0]
    checked = {i: label for i, label in audit_labels(consensus, drawn).items() if label != DISPUTED}
    if len(checked) < MIN_AUDIT_LABELS:
        raise SessionError(_too_few(len(drawn), len(checked)))
    labels = {i: o.label for i, o in consensus.current().items() if o.label not in ("", DISPUTED)}
    labels = {i: label for i, label in labels.items() if i not in audit.ids}
    there = cache.find(list(labels))
    known = [i for i, row in zip(labels, there, strict=True) if row >= 0]
    audit_rows, known_rows = cache.rows(list(checked)), cache.rows(known)
    within = population(log, cache, audit)
    scores = np.asarray(scores, np.float64)
    free = np.isfinite(scores)
    free[cache.rows(drawn)] = False
    free[known_rows] = False
    outside, free = int((free & ~within).sum()), free & within
    known_scores = scores[known_rows].copy()
    taught = np.array([i in set(learnt) for i in known], bool) if len(learnt) else np.zeros(len(known), bool)
    if (taught & within[known_rows]).any():
        rows = _compared(scores, free, audit_rows, seed)
        known_scores[taught] = _unseen(
            points, [i for i in known if i in set(learnt)], labels, cache.ids_at(rows[0]), scores[rows[0]], rows[1],
            regression, known_scores[taught], seed,
        )  # fmt: skip
    has = np.isfinite(known_scores) & within[known_rows]  # what was labelled before the draw is none of its population
    odd = np.array([labels[i] != NOMINAL for i in known], bool)
    seen = np.isfinite(scores[audit_rows])
    found = forecast(
        scores[free],
        scores[audit_rows][seen],
        np.array([label != NOMINAL for label in checked.values()], bool)[seen],
        known_scores[has],
        odd[has],
        depths=depths,
        seed=seed,
    )
    before = int(odd[~within[known_rows]].sum())
    return replace(
        found, known=found.known + before, known_outside=before, outside=outside, sample_of=describe_sample(audit)
    )


def _compared(scores: np.ndarray, free: np.ndarray, audit_rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose objects to compare two rankings on: rows, and for how many objects each stands."""
    pool = np.union1d(np.flatnonzero(free), audit_rows[np.isfinite(scores[audit_rows])])
    order = pool[np.argsort(-scores[pool], kind="stable")]
    top, rest = order[:_COMPARED_AT_TOP], order[_COMPARED_AT_TOP:]
    drawn = np.random.default_rng(seed).permutation(rest)[:_COMPARED_AT_RANDOM]
    weights = np.r_[np.ones(len(top)), np.full(len(drawn), len(rest) / max(len(drawn), 1))]
    return np.r_[top, drawn], weights


def _unseen(
    points: Callable[[Sequence[str]], np.ndarray],
    learnt: Sequence[str],
    labels: Mapping[str, str],
    sample: Sequence[str],
    sample_scores: np.ndarray,
    weights: np.ndarray,
    regression: Mapping[str, object],
    own: np.ndarray,
    seed: int,
) -> np.ndarray:
    """``(n,)`` scores that objects would have if their labels were not known.

    Log-odds out of fold, of a regression like the probe's, give the rank: an object would stand as high in the ranking
    as it does in that of the regression.
    """
    options = {name: regression.get(name, usual) for name, usual in _REGRESSION.items()}
    names = [NOMINAL, *sorted({labels[i] for i in learnt} - {NOMINAL})]
    class_indices = np.array([names.index(labels[i]) for i in learnt])
    if not (class_indices == 0).any() or not (class_indices > 0).any():  # taken back since
        return own
    known = points(learnt)
    held = -held_out(known, class_indices, seed=seed, **options)[:, 0]  # type: ignore[arg-type]
    finite = np.isfinite(held)
    sampled = -odds(known, class_indices, points(sample), **options)[:, 0]  # type: ignore[arg-type]
    order = np.argsort(-sampled, kind="stable")
    above = np.cumsum(weights[order])[np.searchsorted(-sampled[order], -held[finite], side="right").clip(1) - 1]
    order = np.argsort(-sample_scores, kind="stable")
    held[finite] = np.interp(above, np.cumsum(weights[order]), sample_scores[order])
    return np.where(finite, held, own)


def _too_few(drawn: int, checked: int) -> str:
    if not drawn:
        return (
            "this session has no audit set, so nothing can be said of what is left, and no score is a probability: "
            "draw one with `astroanomaly audit SESSION N` (of a new session: `astroanomaly init --audit N`), and label "
            "it blind, in the app"
        )
    return (
        f"{checked} of the {drawn} objects of the audit set are labelled, {MIN_AUDIT_LABELS} are needed: in the app, "
        "choose 'show: the audit set, blind', or import labels of the whole set"
    )
