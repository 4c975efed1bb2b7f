"""The caches of a session: where they lie, and by what they are known again after they were moved."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.index import load_index
from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.errors import AstroAnomalyError, CacheError, ConfigError, SessionError, UnreadableError
from astroanomaly.files import as_path, read_json, write_json
from astroanomaly.session.rounds import ROUNDS, SCORES

__all__ = [
    "INJECTIONS",
    "CacheRecord",
    "cache_folders",
    "missing_cache",
    "portable_path",
    "read_records",
    "refuse_injections",
    "scored_shards",
    "shards_of",
    "stored_place",
    "write_records",
]

INJECTIONS = "injections"  # the source of a cache of simulated light on real cutouts
_FILE = "caches.json"
_SAMPLE_OBJECTS, _SAMPLE_BYTES, _MIN_SAMPLE = 1000, 2**26, 8  # objects whose pixels are compared
_DIGEST_LETTERS = 16


# ------------------------------------------------------------------------------------------------------------- places


def portable_path(place: Path, session: Path) -> str:
    """Return how a session writes down where a cache, or a file of weights, is.

    Relative to the session's folder where it lies below the folder that the session lies in, so that both can be moved
    together; else the whole path.
    """
    whole = Path(os.path.abspath(place))
    whole = whole.parent.resolve() / whole.name  # a link to a cache elsewhere stays a link
    home = session.resolve()
    if whole.is_relative_to(home.parent):
        return Path(os.path.relpath(whole, home)).as_posix()
    return os.path.abspath(place)


def stored_place(text: str, session: Path) -> Path:
    """Return where something is from what a session has written down."""
    place = Path(text)
    return place if place.is_absolute() else Path(os.path.normpath(session.resolve() / place))


def cache_folders(given: object) -> list[Path]:
    """Return the folders of caches that were given as a path, a `Cache`, or a list of these.

    Raises
    ------
    ConfigError
        If it is anything else, or an empty list.
    """
    one = isinstance(given, str | bytes | os.PathLike | Cache | Mapping) or not isinstance(given, Iterable)
    one = one or getattr(given, "ndim", 1) != 1
    found: list[Path] = []
    for item in [given] if one else given:  # type: ignore[attr-defined]
        if not isinstance(item, str | os.PathLike | Cache) or item == "":
            raise ConfigError(
                f"the cache is {type(item).__name__}: expected its path, as text or pathlib.Path, a Cache as `ingest` "
                "returns it, or a list of these"
            )
        found += item.folders if isinstance(item, Cache) else [as_path(item, "the cache")]
    if not found:
        raise ConfigError("no cache was given: expected at least one, its path or a Cache")
    return found


def refuse_injections(folders: Iterable[Path]) -> None:
    """Keep injections out of a search, where they would be taken for objects of the survey.

    Raises
    ------
    SessionError
        If a cache holds injections.
    """
    for folder in folders:
        if Cache.open(folder).request.get("source") == INJECTIONS:
            raise SessionError(
                f"{folder} holds injections, simulated light on cutouts of a survey: they are no part of a search. "
                "Give the cache of the survey"
            )


# ------------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class CacheRecord:
    """What a cache held when it was recorded. It may have grown since: its shards never change.

    Attributes
    ----------
    objects
        Number of objects.
    shards
        Uuids of its shards, in order.
    sample
        Digests of some objects by id, over id, position and pixels; of all objects of a small cache.
    place
        Its whole path then: looked at, and named, when a session was moved without it.
    """

    objects: int
    shards: tuple[str, ...]
    sample: Mapping[str, str]
    place: str = ""

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Record a cache."""
        cache = Cache.open(folder)
        number = int(np.clip(_SAMPLE_BYTES // max(1, cache.layout.nbytes), _MIN_SAMPLE, _SAMPLE_OBJECTS))
        ids = sorted(cache.sample(number, np.random.default_rng(0)))
        return cls(len(cache), shards_of(folder), _digests(cache, ids), os.path.abspath(folder))

    def check(self, folder: Path) -> bool:
        """Check that a cache holds the recorded objects; return whether they lie in the same shards.

        Raises
        ------
        CacheError
            If it does not hold them.
        """
        cache = Cache.open(folder)
        if len(cache) < self.objects:
            raise CacheError(f"{folder} holds {len(cache)} objects, expected {self.objects}")
        ids = list(self.sample)
        missing = np.flatnonzero(cache.find(ids) < 0)
        if len(missing):
            raise CacheError(
                f"{folder} is another cache: it has no object {ids[missing[0]]!r}, and lacks {len(missing)} of "
                f"{len(ids)} that were compared"
            )
        found = _digests(cache, ids)
        changed = [object_id for object_id in ids if found[object_id] != self.sample[object_id]]
        if changed:
            raise CacheError(
                f"{folder} is another cache: pixels or position of {len(changed)} of {len(ids)} objects that were "
                f"compared differ, of {changed[0]!r} for instance"
            )
        return set(self.shards) <= set(shards_of(folder))


def read_records(session: Path) -> dict[str, CacheRecord]:
    """Return what a session has recorded of its caches, by what it has written down of their places.

    Sessions made before version 0.3 have recorded nothing.

    Raises
    ------
    SessionError
        If the file is damaged.
    """
    path = session / _FILE
    if not path.is_file():
        return {}
    content = read_json(path, error=SessionError, remedy="move it aside, and nothing is compared")
    try:
        return {
            str(text): CacheRecord(
                int(one["objects"]), tuple(map(str, one["shards"])), dict(one["sample"]), str(one.get("place", ""))
            )
            for text, one in content["caches"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SessionError(f"{path} is damaged: {error!r}; move it aside, and nothing is compared") from error


def write_records(session: Path, records: Mapping[str, CacheRecord]) -> None:
    """Write down what a session knows of its caches."""
    caches: dict[str, Any] = {
        text: {"objects": one.objects, "shards": list(one.shards), "sample": dict(one.sample), "place": one.place}
        for text, one in records.items()
    }
    write_json(session / _FILE, {"format": "astroanomaly-session-caches", "version": 1, "caches": caches})


def shards_of(folder: Path) -> tuple[str, ...]:
    """Uuids of the shards of a cache, in order."""
    return tuple(Path(name).stem for name in load_index(folder).shards)


def scored_shards(session: Path) -> list[str]:
    """Uuids of all shards that a round of a session has scored."""
    return sorted({path.stem for path in (session / ROUNDS).glob(f"[0-9]*/{SCORES}/*.h5") if path.name[0] != "."})


def _digests(cache: Cache, ids: Sequence[str]) -> dict[str, str]:
    ra, dec = cache.positions
    digests = {}
    for object_id, row in zip(ids, cache.rows(ids).tolist(), strict=True):
        place = [object_id, float(ra[row]).hex(), float(dec[row]).hex(), list(cache.bands)]
        one = hashlib.sha256(json.dumps(place).encode())
        one.update(np.ascontiguousarray(cache.read([object_id])).data)
        digests[object_id] = one.hexdigest()[:_DIGEST_LETTERS]
    return digests


# --------------------------------------------------------------------------------------------------- one that is gone


def missing_cache(session: Path, texts: Iterable[str]) -> UnreadableError | None:
    """Return the error that says which cache of a session is not there and what to do; None if all are there."""
    for text in texts:
        folder = stored_place(text, session)
        if not (folder / CACHE_FILE).is_file():
            return UnreadableError(
                f"the cache {folder} of the session {session} is not there. If it was moved: "
                f"{_suggestion(session, text, folder)}. What needs no pixels works without it: `labels export`, "
                "`export`, `info`"
            )
    return None


def _suggestion(session: Path, text: str, folder: Path) -> str:
    record = _record(session, text)
    former = [Path(record.place)] if record is not None and record.place else []
    for place in (session.parent / folder.name, session / folder.name, *former):
        if (place / CACHE_FILE).is_file() and _seems_same(session, text, place):
            return f"`{_command(session, shlex.quote(str(place)))}`, which holds the same objects"
    return f"`{_command(session, 'ITS_NEW_PLACE')}`"


def _record(session: Path, text: str) -> CacheRecord | None:
    try:
        return read_records(session).get(text)
    except SessionError:  # it is damaged; the cache is gone all the same
        return None


def _command(session: Path, place: str) -> str:
    return f"astroanomaly relocate {shlex.quote(str(session))} --cache {place}"


def _seems_same(session: Path, text: str, folder: Path) -> bool:
    """Whether a cache is known again, by the record or by the shards that were scored."""
    try:
        record = _record(session, text)
        if record is not None:
            record.check(folder)
            return True
        return bool(set(scored_shards(session)) & set(shards_of(folder)))
    except AstroAnomalyError:
        return False
