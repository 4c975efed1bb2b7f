"""Objects on a plane, those that are alike near one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.learn.features.compare import Comparison
from astroanomaly.learn.features.projection import plane
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import Progress
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.similar import open_features

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["feature_map", "on_a_plane"]

_FEWEST = 10  # objects of a map


def feature_map(
    session: SessionFolder, n: int, method: str, by: str, progress: Callable[[Progress], None] | None
) -> QTable:
    """Lay objects out on a plane; see `Session.feature_map`."""
    from astropy.table import QTable

    audit = frozenset(session.labels.audit)
    ids = session.cache.sample(n, np.random.default_rng(0), audit)
    store = open_features(session, by, progress, ids)
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
