"""Tell a session where its caches are: checked, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from astroanomaly.cache import Cache
from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.errors import CacheError, SessionError
from astroanomaly.session.caches import CacheRecord, read_records, scored_shards, shards_of, stored_place
from astroanomaly.session.folder import SessionFolder

__all__ = ["RelocateReport", "relocate"]

_EXAMPLES = 3


@dataclass(frozen=True)
class RelocateReport:
    """Result of a relocation.

    Attributes
    ----------
    caches
        The caches of the session, in its order.
    messages
        What a person should know: what could not be compared.
    """

    caches: tuple[Path, ...]
    messages: tuple[str, ...] = ()


def relocate(session: SessionFolder, caches: Sequence[Path]) -> RelocateReport:
    """Put caches that were moved in the place of those that a session knows; see `Session.relocate`."""
    if not caches:
        raise SessionError(f"no cache was named: expected the new place of one of {', '.join(session.cache_names)}")
    with session.changing() as texts:
        records = read_records(session.path)
        messages: list[str] = []
        new: dict[str, Path] = {}
        for folder in caches:
            session.model_input.check(Cache.open(folder))
            text = _counterpart(session.path, folder, [text for text in texts if text not in new], records, messages)
            new[text] = folder.absolute()
        places = [new.get(text, stored_place(text, session.path)) for text in texts]
        there = [place for place in places if (place / CACHE_FILE).is_file()]
        whole = Cache.open(*there)
        if any(text not in records for text in new):
            messages += _compare_unrecorded(session, whole, complete=len(there) == len(places))
        if len(there) < len(places):
            gone = [str(place) for place in places if place not in there]
            messages.append(f"still not there: {', '.join(gone)}")
        session.put_caches(texts, places)
    return RelocateReport(tuple(places), tuple(messages))


def _counterpart(
    session: Path, folder: Path, texts: Sequence[str], records: dict[str, CacheRecord], messages: list[str]
) -> str:
    """Return which cache of a session, as it has written it down, is the one in a folder."""
    refused: list[CacheError] = []
    for text in sorted(texts, key=lambda text: (stored_place(text, session) / CACHE_FILE).is_file()):  # missing first
        if text not in records:
            continue
        try:
            same = records[text].check(folder)
        except CacheError as error:
            refused.append(error)
            continue
        if not same:
            messages.append(
                f"{folder} holds the objects in other shards than before: their features and scores are computed anew "
                f"(`astroanomaly score {session}`)"
            )
        return text
    unknown = [text for text in texts if text not in records]
    named = [text for text in unknown if stored_place(text, session).name == folder.absolute().name]
    gone = [text for text in unknown if not (stored_place(text, session) / CACHE_FILE).is_file()]
    for choice in (named, gone, unknown):
        if len(choice) == 1:
            return choice[0]
    if refused:
        raise refused[0]
    raise SessionError(
        f"{folder} could be any of {', '.join(unknown) or 'none of the caches'} of {session}: give caches their former "
        "names, or relocate one at a time"
    )


def _compare_unrecorded(session: SessionFolder, cache: Cache, *, complete: bool) -> list[str]:
    """Compare caches with what a session without records knows of its objects; return what could not be compared.

    Raises
    ------
    CacheError
        If objects that were scored, labelled or drawn for the audit set are not there.
    """
    shards = scored_shards(session.path)
    here = {uuid for folder in cache.folders for uuid in shards_of(folder)}
    if shards and not set(shards) - here:
        return []  # shards are unique in the world, and never change
    known = dict.fromkeys([*session.labels.audit, *(i for i, one in session.labels.current().items() if one.label)])
    if not complete:
        return [f"not compared: {session.path} recorded nothing of its caches, and one of them is not there"]
    ids = list(known)
    lost = [object_id for object_id, row in zip(ids, cache.find(ids), strict=True) if row < 0]
    if lost:
        raise CacheError(
            f"{', '.join(map(str, cache.folders))}: {len(lost)} of {len(ids)} labelled objects are not there, such as "
            f"{', '.join(map(repr, lost[:_EXAMPLES]))}: it is another cache"
        )
    if shards and not set(shards) & here:
        raise CacheError(
            f"{', '.join(map(str, cache.folders))} has none of the {len(shards)} shards that {session.path} has "
            "scored: it is another cache"
        )
    if shards:
        raise CacheError(
            f"{', '.join(map(str, cache.folders))} lacks {len(set(shards) - here)} of the {len(shards)} shards that "
            f"{session.path} has scored: it is another cache, or an incomplete copy"
        )
    return [f"compared were the ids of {len(ids)} labelled objects only: {session.path} recorded nothing else"]
