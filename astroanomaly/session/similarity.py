"""Objects that are like one another: the nearest to one, and all of them on a plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.learn.features.compare import Comparison, comparisons
from astroanomaly.learn.features.projection import plane
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.score_parts import IMAGE
from astroanomaly.records import Progress, drain
from astroanomaly.session.folder import SessionFolder

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["feature_map", "on_a_plane", "similar"]

_FEWEST = 10  # objects of a map


def similar(
    session: SessionFolder, object_id: str, n: int, by: str, progress: Callable[[Progress], None] | None
) -> QTable:
    """Return the objects that are most like one; see `Session.similar`."""
    from astropy.table import QTable

    cache, audit = session.cache, frozenset(session.labels.audit)
    cache.rows([object_id])  # raises an error unless it is there
    store = _store(session, by, progress)
    comparison = Comparison(store, session.context, by, audit)
    ids = comparison.nearest(object_id, n, audit - {object_id})
    distance = np.linalg.norm(comparison.get(ids) - comparison.get([object_id]), axis=1)
    table = QTable({"object_id": np.array(ids, dtype=str), "distance": distance})
    table["distance"].info.description = f"distance of the points that objects are compared by: {by}"
    table.meta = {"object_id": object_id, "by": by}
    return table


def feature_map(
    session: SessionFolder, n: int, method: str, by: str, progress: Callable[[Progress], None] | None
) -> QTable:
    """Lay objects out on a plane; see `Session.feature_map`."""
    from astropy.table import QTable

    audit = frozenset(session.labels.audit)
    ids = session.cache.sample(n, np.random.default_rng(0), audit)
    store = _store(session, by, progress, ids)
    found, points = on_a_plane(session, store, ids, method, by)
    table = QTable({"object_id": np.array(found, dtype=str), "x": points[:, 0], "y": points[:, 1]})
    table.meta = {"method": method, "by": by}
    return table


def on_a_plane(
    session: SessionFolder, store: FeatureStore, ids: Sequence[str], method: str, by: str
) -> tuple[list[str], np.ndarray]:
    """Return those of some objects that have points, and ``(n, 2)`` where they lie on a plane.

    Raises
    ------
    ConfigError
        If these are too few, or there is no such method.
    """
    features = store.get(ids)
    known = features[np.isfinite(features).all(axis=1)]
    scaler = FeatureScaler.measure(known, store.widths) if len(known) else None  # of those that are there
    points = Comparison(store, session.context, by, frozenset(session.labels.audit), scaler).get(ids)
    there = np.isfinite(points).all(axis=1)
    found = [object_id for object_id, yes in zip(ids, there, strict=True) if yes]
    if len(found) < _FEWEST:
        raise ConfigError(f"{len(found)} objects can be compared by {by}: a map needs {_FEWEST}")
    return found, plane(points[there], method)


def _store(
    session: SessionFolder, by: str, progress: Callable[[Progress], None] | None, ids: Sequence[str] | None = None
) -> FeatureStore:
    """Open the features; those that are missing are computed, of all objects or of some, where images are compared."""
    store = FeatureStore.of(session.cache, session.context)
    if by in comparisons(session.context.blocks) and (by == IMAGE or by not in _names(session)):
        drain(store.compute() if ids is None else store.compute(first=ids, only=()), progress)
    return store


def _names(session: SessionFolder) -> list[str]:
    return [block.name for block in session.context.blocks]
