"""Quantised features of the objects of a survey, kept beside their scores: one file for each file of scores."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache, Shard
from astroanomaly.cache.file_digest import NPY_ERRORS, append_digest
from astroanomaly.errors import CheckpointError, DamagedError, SessionError
from astroanomaly.files import atomic_path
from astroanomaly.learn.features.quantised import ABSENT, PointQuantiser
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import Progress, ShardScores
from astroanomaly.session.folder import SessionFolder

__all__ = [
    "POINTS_FOLDER",
    "QUANTISER",
    "PointScores",
    "kept_points",
    "open_quantiser",
    "read_points",
    "refuse_without_points",
    "start_points",
    "write_points",
]

POINTS_FOLDER = "points"
_QUANTISER_FILE = "quantiser.npz"
QUANTISER = f"{POINTS_FOLDER}/{_QUANTISER_FILE}"  # beside the scores
_REMEDY = "remove it, and give the command that scored the survey again, which computes what is missing"
_Score = Callable[[Shard], ShardScores]


@dataclass(frozen=True)
class PointScores(ShardScores):
    """Scores of the objects of a shard, and their quantised features ``(n, K)`` int8."""

    points: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.int8))


def start_points(session: SessionFolder, target: Path, keep: bool) -> Generator[Progress, None, Path | None]:
    """Measure how features are quantised, or take up what was measured before.

    Parameters
    ----------
    session
        The session: scale and axes are those of a random sample of its objects.
    target
        Folder of a survey for a round.
    keep
        Whether features are to be kept. Once they are, they are until the survey is finished.

    Returns
    -------
    pathlib.Path or None
        The folder for the features; None: they are not kept.

    Raises
    ------
    CheckpointError
        If what was measured before is damaged, or of other features than those of the session.
    """
    folder = target / POINTS_FOLDER
    if not keep and not (folder / _QUANTISER_FILE).is_file():
        return None
    store = FeatureStore.of(session.cache, session.context)
    if not (folder / _QUANTISER_FILE).is_file():
        seed, audit = session.context.seed, frozenset(session.labels.audit)
        sample = FeatureScaler.sample(store, seed, audit)
        yield from store.compute(first=sample, only=())
        quantiser = PointQuantiser.measure(FeatureScaler.of(store, seed, audit), store.get(sample), store.key)
        folder.mkdir(parents=True, exist_ok=True)
        quantiser.save(folder / _QUANTISER_FILE)
    open_quantiser(folder, store)
    return folder


def open_quantiser(folder: Path, store: FeatureStore) -> PointQuantiser:
    """Read how features were quantised.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or of other features than those of the store.
    """
    quantiser = PointQuantiser.load(folder / _QUANTISER_FILE)
    if quantiser.key != store.key:
        raise CheckpointError(
            f"the features in {folder} are of another network, input or precision than those of the session: score the "
            "survey again in another folder"
        )
    return quantiser


def kept_points(session: SessionFolder, score: _Score, folder: Path, survey: Cache, expected: int) -> _Score:
    """Return what scores a shard and quantises its features.

    Features that the scores rest on are taken from there. Where scores rest on a trained network, the pretrained one
    looks at the images as well.

    Parameters
    ----------
    session
        The session.
    score
        What scores a shard.
    folder
        What `start_points` gave.
    survey
        A cache with the layout of the survey.
    expected
        About how many objects are scored.
    """
    from astroanomaly.learn.explain import ImageScore, feature_score

    store = FeatureStore.of(survey, session.context)
    quantiser = open_quantiser(folder, store)

    def from_scores(shard: Shard) -> PointScores:
        batches: list[np.ndarray] = []
        found = images(shard, lambda features: batches.append(quantiser.quantise(features)))
        points = np.concatenate([np.empty((0, len(quantiser.step)), np.int8), *batches])
        points[sorted(shard.damaged_rows), 0] = ABSENT
        return PointScores(found.shard, found.ids, found.log_odds, found.engine, points)

    def beside(shard: Shard) -> PointScores:
        found, points = score(shard), extractor(shard).log_odds
        absent = ~np.isfinite(points).all(axis=1)
        points = np.nan_to_num(points).astype(np.int8)
        points[absent, 0] = ABSENT
        return PointScores(found.shard, found.ids, found.log_odds, found.engine, points)

    if isinstance(score, ImageScore) and score.embed is not None:
        images = score
        return from_scores
    extractor = feature_score(store, quantiser.quantise, len(quantiser.step), expected=expected)
    return beside


# ------------------------------------------------------------------------------------------------------ as files


def write_points(folder: Path, first: int, points: Sequence[np.ndarray]) -> None:
    """Write quantised features, arrays ``(n, K)`` int8, of the part whose first task has this index, in one step."""
    axes = len(PointQuantiser.load(folder / _QUANTISER_FILE).step) if not points else points[0].shape[1]
    with atomic_path(folder / f"{first:010d}.npy") as temporary:
        with temporary.open("wb") as file:
            np.save(file, np.concatenate([np.empty((0, axes), np.int8), *points]), allow_pickle=False)
        append_digest(temporary)


def read_points(path: Path, axes: int) -> np.ndarray:
    """Map the quantised features of a part: ``(n, axes)`` int8, read-only. The digest is not looked at.

    Raises
    ------
    DamagedError
        If they are not of so many axes.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, *NPY_ERRORS) as error:
        raise DamagedError(f"{path} is damaged ({error}): {_REMEDY}") from error
    if found.dtype != np.int8 or found.ndim != 2 or found.shape[1] != axes:
        raise DamagedError(f"{path} is damaged, {found.dtype} of shape {found.shape}: {_REMEDY}")
    return found


def refuse_without_points(folder: Path) -> None:
    """Say how features are kept where a survey has none.

    Raises
    ------
    SessionError
        If there are none.
    """
    if not (folder / _QUANTISER_FILE).is_file():
        raise SessionError(
            f"{folder.parent} has no features to compare objects by: give the command that scored the survey again, "
            "with --keep-features"
        )
