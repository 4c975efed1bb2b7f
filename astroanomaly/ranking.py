"""Acquisition: which objects to show next, as pure functions of ids, scores and features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError

__all__ = ["COMPARING", "ORDERS", "STRATEGIES", "order"]

STRATEGIES = ("score", "uncertain", "diverse", "novel", "mixed", "random")  # to find anomalies and to learn
COMPARING = ("diverse", "novel", "mixed")  # those that need features
ORDERS = (*STRATEGIES, "nominal", "median", "mean")
_POOL_FACTOR = 4  # diverse picks among this many times the number wanted of the highest scores, so that all stay high
_MIXED_CYCLE = ("high", "high", "near", "novel")  # where mixed takes one object after another from
_MAX_COMPARED = 2000  # objects drawn at random among which the least like the labelled ones are found
_MAX_REFERENCES = 1000  # labelled objects they are compared with, drawn at random where there are more
_NEIGHBOURS = 5  # nearest labelled objects whose similarity counts


def order(
    ids: Sequence[str],
    scores: np.ndarray,
    how: str = "score",
    *,
    n: int,
    exclude: Collection[str] = frozenset(),
    among: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    features: Callable[[Sequence[str]], np.ndarray] | None = None,
    labelled: Sequence[str] = (),
) -> list[str]:
    """Choose the next objects.

    Parameters
    ----------
    ids
        The objects.
    scores
        ``(N,)`` float, higher is more anomalous; objects with NaN have no score yet and are never chosen, except at
        random.
    how
        ``score``: highest first. ``uncertain``: nearest to 0, even odds between nominal and anomaly. ``diverse``: of
        the highest scores, four times as many as are wanted, those that differ most from one another. ``novel``:
        those least like any labelled object, whatever their score, among 2,000 drawn at random: kinds that nobody has
        named yet. ``mixed``: of every four in turn, two highest, the nearest to 0, and a novel one. ``random``: each
        object as likely. ``nominal``: lowest first. ``median`` and ``mean``: nearest to the median or mean score.
    n
        How many, at most.
    exclude
        Objects never to be chosen.
    among
        ``(N,)`` boolean: the objects to choose from; None: all.
    rng
        Needed for ``random``, ``novel`` and ``mixed``.
    features
        Gives ``(k, D)`` feature vectors for k ids; needed for ``diverse``, ``novel`` and ``mixed``.
    labelled
        Objects that have labels, for ``novel`` and ``mixed``; without any, those are novel that are least alike.

    Returns
    -------
    list of str
        At most ``n`` ids. Equal scores are ordered by id, so that the result depends on nothing else.

    Raises
    ------
    ConfigError
        For an unknown order, a negative number, a number of scores or features that does not match the ids, or a
        missing random generator or features.
    """
    if how not in ORDERS:
        raise ConfigError(f"there is no order {how!r}{nearest(how, ORDERS)} (known: {', '.join(ORDERS)})")
    if n < 0:
        raise ConfigError(f"n={n} objects were asked for: expected 0 or more")
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(ids),):
        raise ConfigError(f"{len(ids)} objects, but scores of shape {scores.shape}: expected one score for each")
    if n == 0:
        return []
    free = np.ones(len(ids), bool) if among is None else np.asarray(among, bool)
    if free.shape != scores.shape:
        raise ConfigError(f"{len(ids)} objects, but a choice of shape {free.shape}: expected one value for each")
    if exclude:
        free = free & np.array([object_id not in exclude for object_id in ids], dtype=bool)
    if how in ("random", "novel", "mixed") and rng is None:
        raise ConfigError(f"a {how} order needs a random generator")
    if how == "random" and rng is not None:
        rows = np.flatnonzero(free)
        return [ids[k] for k in rng.permutation(rows)[:n]]
    rows = np.flatnonzero(free & np.isfinite(scores))
    if not len(rows):
        return []
    known = scores[rows]
    if how in COMPARING and features is None:
        raise ConfigError(f"a {how} order needs features of the objects")
    if how in ("novel", "mixed") and rng is not None and features is not None:
        novel = _novel(ids, rows, labelled, n, rng, features)
        return novel if how == "novel" else _mixed(ids, rows, known, novel, n)
    centre = float(np.median(known)) if how == "median" else float(np.mean(known)) if how == "mean" else 0.0
    keys = -known if how in ("score", "diverse") else known if how == "nominal" else np.abs(known - centre)
    if features is None or how != "diverse":
        return _lowest(ids, rows, keys, n)
    pool = _lowest(ids, rows, keys, n * _POOL_FACTOR)
    return [pool[k] for k in _spread(_directions(pool, features), n)]


def _directions(ids: Sequence[str], features: Callable[[Sequence[str]], np.ndarray]) -> np.ndarray:
    """``(k, D)`` features of length 1."""
    points = np.asarray(features(ids), np.float32)
    if points.ndim != 2 or len(points) != len(ids):
        raise ConfigError(f"{len(ids)} objects, but features of shape {points.shape}: expected one row for each")
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def _novel(
    ids: Sequence[str],
    rows: np.ndarray,
    labelled: Sequence[str],
    n: int,
    rng: np.random.Generator,
    features: Callable[[Sequence[str]], np.ndarray],
) -> list[str]:
    """Of the objects least like their nearest labelled ones, twice as many as are wanted, those that differ."""
    drawn = [ids[k] for k in np.sort(rng.permutation(rows)[:_MAX_COMPARED])]
    points = _directions(drawn, features)
    against = [labelled[k] for k in np.sort(rng.permutation(len(labelled))[:_MAX_REFERENCES])]
    references = _directions(against, features) if against else points
    similarity = points @ references.T  # (k, references); an object is like itself where there are no labels: all alike
    nearest_ones = np.partition(similarity, -min(_NEIGHBOURS, similarity.shape[1]), axis=1)
    keys = nearest_ones[:, -min(_NEIGHBOURS, similarity.shape[1]) :].mean(axis=1)
    pool = np.lexsort((np.arange(len(drawn)), keys))[: 2 * n]
    return [drawn[pool[k]] for k in _spread(points[pool], n)]


def _mixed(ids: Sequence[str], rows: np.ndarray, known: np.ndarray, novel: Sequence[str], n: int) -> list[str]:
    """Take from the highest, the nearest to 0 and the novel ones in turn, nothing twice."""
    queues = {
        "high": iter(_lowest(ids, rows, -known, n)),
        "near": iter(_lowest(ids, rows, np.abs(known), n)),
        "novel": iter(novel),
    }
    chosen: dict[str, None] = {}
    for kind in itertools.cycle(_MIXED_CYCLE):
        found = next((i for i in queues[kind] if i not in chosen), None)
        if found is None:  # of the highest there are always enough
            found = next((i for i in queues["high"] if i not in chosen), None)
        if found is not None:
            chosen[found] = None
        if found is None or len(chosen) == n:
            return list(chosen)
    return list(chosen)


def _lowest(ids: Sequence[str], rows: np.ndarray, keys: np.ndarray, n: int) -> list[str]:
    """Ids with the n lowest keys, in order; ties by id."""
    if n < len(keys):
        limit = np.partition(keys, n - 1)[n - 1]
        near = keys <= limit
        rows, keys = rows[near], keys[near]
    ranked = sorted(zip(keys.tolist(), (ids[k] for k in rows), strict=True))
    return [object_id for _, object_id in ranked[:n]]


def _spread(points: np.ndarray, n: int) -> list[int]:
    """Pick points of length 1 far from one another, beginning with the first: greedy k-centre (Gonzalez 1985)."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(n, len(points)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        distance[chosen] = -1
    return chosen
