"""The rankers that learn while people label: which ones, and whether they can."""

from __future__ import annotations

from astroanomaly.config import SessionConfig, build, to_plain
from astroanomaly.errors import ConfigError
from astroanomaly.hookspecs import InstantRanker
from astroanomaly.session.folder import SessionFolder

__all__ = ["cold_start_ranker", "cold_start_ranker_name", "instant_ranker", "instant_ranker_name"]

_MIN_OBJECTS = 10


def instant_ranker_name(session: SessionFolder) -> str:
    """Return the name of the ranker that is fitted again after every verdict."""
    return build(SessionConfig, session.section("session"), "session").instant_ranker


def instant_ranker(session: SessionFolder, name: str) -> InstantRanker:
    """Make the ranker that is fitted again after every verdict.

    Parameters
    ----------
    session
        The session.
    name
        What `instant_ranker_name` returned.

    Raises
    ------
    ConfigError
        If it is none on frozen features.
    """
    return _instant(session, "instant_ranker", name)


def cold_start_ranker_name(session: SessionFolder) -> str:
    """Return the name of the ranker that ranks before there are labels."""
    return build(SessionConfig, session.section("session"), "session").cold_start_ranker


def cold_start_ranker(session: SessionFolder, objects: int | None = None) -> InstantRanker:
    """Make the ranker that ranks before there are labels.

    Parameters
    ----------
    session
        The session.
    objects
        How many objects to compare, for rankers with an option ``sample``; None: as the session's settings say.

    Raises
    ------
    ConfigError
        If it is none on frozen features, or needs labels.
    """
    name = cold_start_ranker_name(session)
    ranker = _instant(session, "cold_start_ranker", name)
    if ranker.needs_labels:
        raise ConfigError(f"session.cold_start_ranker={name}: this ranker needs labels, expected one that does not")
    sample = to_plain(ranker.options).get("sample")
    if sample is None:
        return ranker
    compared = max(_MIN_OBJECTS, min(objects or sample, len(session.cache)))
    return _instant(session, "cold_start_ranker", name, sample=compared)


def _instant(session: SessionFolder, setting: str, name: str, **options: object) -> InstantRanker:
    ranker = session.ranker(name, **options)
    if not isinstance(ranker, InstantRanker):
        raise ConfigError(
            f"session.{setting}={name}: this ranker cannot learn while people label, expected one on frozen features, "
            "such as probe or cold"
        )
    return ranker
