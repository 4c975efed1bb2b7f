"""The fitted ranker of a round: from memory, from its checkpoint, or fitted again by its recipe."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from astroanomaly.cache import Cache
from astroanomaly.hookspecs import Ranker
from astroanomaly.records import Progress
from astroanomaly.session.folder import SessionFolder
from astroanomaly.session.rounds import Round

__all__ = ["fitted_steps"]


def fitted_steps(session: SessionFolder, last: Round) -> Generator[Progress, None, Ranker]:
    """Bring the ranker of a round back, as it was when it scored; the session remembers the latest one.

    Raises
    ------
    CheckpointError
        If its checkpoint is damaged or belongs to something else.
    """
    if session.fitted is None or session.fitted[0] != last.number:
        ranker = yield from _bring_back(session, last)
        session.fitted = (last.number, ranker)
    return session.fitted[1]


def _bring_back(session: SessionFolder, last: Round) -> Generator[Progress, None, Ranker]:
    recipe = last.recipe
    ranker = session.ranker(last.ranker, **recipe["options"])
    if ranker.has_weights:
        ranker.load(last.weights)
    else:
        labelled = session.labels.labelled(until=last.last_event, draws=last.audit_draws)
        cache = yield from _cache_of(session, recipe.get("caches", {}), last.number)
        yield from ranker.fit(cache, labelled, session.labels.audit_set(last.audit_draws).ids)
    return ranker


def _cache_of(session: SessionFolder, counts: Mapping[str, int], number: int) -> Generator[Progress, None, Cache]:
    """Open the caches that a round was fitted on, of which others may have joined since; say what has grown.

    Caches that were moved since have other names; but a session keeps them in the order in which they joined.
    """
    folders = [folder for folder in session.cache.folders if str(folder) in counts]
    if len(folders) < len(counts) or not folders:
        folders = list(session.cache.folders[: len(counts) or None])
    cache = session.cache if folders == list(session.cache.folders) else Cache.open(*folders)
    before = sum(counts.values())
    if before and len(cache) != before:
        yield Progress(
            "fitting",
            0,
            message=f"round {number} was fitted when its caches held {before} objects; now they hold "
            f"{len(cache)}, and it is fitted again on these: scores may differ a little from those it gave "
            "before. Train again to have one scale for all",
        )
    return cache
