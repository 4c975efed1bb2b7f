"""Objects that look like others: among those of a session, or of a survey that was scored without its cutouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cache.scores import list_parts, read_part
from astroanomaly.errors import ConfigError, DamagedError, SessionError, UnknownObjectError
from astroanomaly.learn.features.compare import TOGETHER, Comparison
from astroanomaly.learn.features.quantised import ABSENT, PointQuantiser, products
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.score_parts import IMAGE
from astroanomaly.parallel.blas import one_blas_thread
from astroanomaly.parallel.cores import available_cores
from astroanomaly.parallel.threads import prefetch
from astroanomaly.records import Progress, drain
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.survey.points import (
    POINTS_FOLDER,
    QUANTISER,
    open_quantiser,
    read_points,
    refuse_without_points,
)
from astroanomaly.session.survey.score_table import refuse_unfinished, scored_with
from astroanomaly.tables.write import build_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["best_matches", "compare_parts", "open_features", "similar"]


def similar(
    session: SessionFolder,
    ids: Sequence[str],
    n: int,
    by: str,
    survey: Path | None,
    progress: Callable[[Progress], None] | None,
) -> QTable:
    """Find the objects most like some others, see `Session.similar`."""
    if not ids:
        raise SessionError("no object was given: name at least one whose like is looked for")
    if survey is None:
        found = _in_session(session, ids, n, by, progress)
    elif by != IMAGE:
        raise ConfigError(f"by={by!r}: of a survey that was scored from its source, only the image is known")
    else:
        found = _in_survey(session, ids, n, survey, progress)
    names, ra, dec, score, distance = found
    labels = {name: verdict.label for name, verdict in session.labels.current().items()}
    table = build_catalog(
        {
            "object_id": np.array(names, dtype=str),
            "ra": ra,
            "dec": dec,
            "score": score,
            "distance": distance,
            "label": np.array([labels.get(name, "") for name in names], dtype=str),
        },
        {"similar_to": ", ".join(ids), "by": by} | ({"survey": str(survey)} if survey is not None else {}),
    )
    table["distance"].info.description = f"distance to the nearest of the objects asked for, by {by}"
    return table


_Found = tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def open_features(
    session: SessionFolder, by: str, progress: Callable[[Progress], None] | None, ids: Sequence[str] | None = None
) -> FeatureStore:
    """Open the features; those that are missing are computed, of all objects or of some, where images are compared."""
    store = FeatureStore.of(session.cache, session.context)
    if by in (IMAGE, TOGETHER):
        drain(store.compute() if ids is None else store.compute(first=ids, only=()), progress)
    return store


def _in_session(
    session: SessionFolder, ids: Sequence[str], n: int, by: str, progress: Callable[[Progress], None] | None
) -> _Found:
    cache, audit = session.cache, frozenset(session.labels.audit)
    own = cache.rows(ids)  # raises an error unless all are there
    distance = Comparison(open_features(session, by, progress), session.context, by, audit).distances(ids)
    distance = np.nan_to_num(distance, nan=np.inf)
    distance[own] = distance[cache.rows(sorted(audit))] = np.inf
    best = np.argsort(distance, kind="stable")[:n]
    best = best[np.isfinite(distance[best])]
    scores = np.full(len(cache), np.nan)
    if session.is_scored:
        scores = -session.last_round.read_log_odds(cache)[:, 0]
    ra, dec = cache.positions
    return list(cache.ids_at(best)), ra[best], dec[best], scores[best], distance[best]


def _in_survey(
    session: SessionFolder,
    ids: Sequence[str],
    n: int,
    survey: Path,
    progress: Callable[[Progress], None] | None,
) -> _Found:
    _, scores = scored_with(session, survey, QUANTISER)
    folder = scores.parent / POINTS_FOLDER
    refuse_without_points(folder)
    refuse_unfinished(session, survey, scores)
    store = FeatureStore.of(session.cache, session.context)
    quantiser = open_quantiser(folder, store)
    axes = len(quantiser.step)
    paths = [path for path in sorted(folder.glob("[0-9]*.npy")) if (scores / f"{path.stem}.h5").is_file()]
    queries = _queries(session, ids, store, quantiser, scores, folder)
    here = set(ids) | session.labels.audit  # whose verdicts nobody may see
    with one_blas_thread():
        found = best_matches(compare_parts(paths, quantiser.step, queries, progress), n + len(here))
    chosen: list[tuple[float, str, float, float, float]] = []
    for number in sorted({part for _, part, _ in found}):
        first = int(paths[number].stem)
        part = read_part(scores, first, session.classes)
        if len(read_points(paths[number], axes)) != len(part.ids):
            raise DamagedError(f"{paths[number]} is of other objects than their scores: remove it, and score again")
        for alike, row in ((alike, row) for alike, other, row in found if other == number):
            if part.ids[row] not in here:
                position = float(part.ra[row]), float(part.dec[row])
                chosen.append((alike, part.ids[row], *position, -float(part.log_odds[row, 0])))
    chosen.sort(key=lambda one: (-one[0], one[1]))
    chosen = chosen[:n]
    numbers = np.array([(ra, dec, score, alike) for alike, _, ra, dec, score in chosen], np.float64).reshape(-1, 4)
    ra, dec, score, cosine = numbers.T
    return [name for _, name, *_ in chosen], ra, dec, score, np.sqrt(np.maximum(2 - 2 * cosine, 0))


def _queries(
    session: SessionFolder,
    ids: Sequence[str],
    store: FeatureStore,
    quantiser: PointQuantiser,
    scores: Path,
    folder: Path,
) -> np.ndarray:
    """``(q, K)`` float32 of objects of the session, or of the survey itself."""
    ours = [name for name in ids if name in session.cache]
    drain(store.compute(first=ours, only=()))
    points = [quantiser.quantise(store.get(ours))] if ours else []
    left = [name for name in ids if name not in session.cache]
    for part in list_parts(scores, session.classes) if left else ():
        rows = [row for row, name in enumerate(part.ids) if name in left]
        if rows:
            path = folder / f"{int(part.tasks.min()):010d}.npy"
            points.append(np.array(read_points(path, len(quantiser.step))[rows]))
            left = [name for name in left if name not in {part.ids[row] for row in rows}]
        if not left:
            break
    if left:
        raise UnknownObjectError(f"no object {left[0]!r} in the session {session.path} or the survey {scores}")
    found = np.concatenate(points)
    if (found[:, 0] == ABSENT).all():
        raise SessionError(f"{', '.join(ids)}: no features, since the cutouts are damaged")
    return quantiser.query(found[found[:, 0] != ABSENT])


def compare_parts(
    paths: Sequence[Path], step: np.ndarray, queries: np.ndarray, progress: Callable[[Progress], None] | None
) -> Iterator[np.ndarray]:
    """Compare the objects of each part with the queries."""
    cores, axes = available_cores(), len(step)
    compared = prefetch(lambda path: products(read_points(path, axes), queries, step), paths, 2 * cores, cores)
    for number, (_, alike) in enumerate(compared):
        yield alike
        if progress is not None:
            progress(Progress("comparing", number + 1, len(paths)))


def best_matches(parts: Iterable[np.ndarray], n: int) -> list[tuple[float, int, int]]:
    """Return similarity, index of the part, and row of the most similar objects."""
    alike, where = np.empty(0, np.float32), np.empty((0, 2), np.int64)
    for number, found in enumerate(parts):
        rows = np.flatnonzero(found > (alike.min() if len(alike) >= n else -np.inf))
        if len(rows) > n:
            rows = rows[np.argpartition(-found[rows], n - 1)[:n]]
        alike = np.concatenate([alike, found[rows]])
        where = np.concatenate([where, np.stack([np.full(len(rows), number), rows], axis=1)])
        best = np.argsort(-alike, kind="stable")[:n]
        alike, where = alike[best], where[best]
    return [(float(a), int(part), int(row)) for a, (part, row) in zip(alike, where, strict=True)]
