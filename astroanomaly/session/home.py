"""The file of a session, and where its caches are."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import tomli_w

from astroanomaly.cache import Cache
from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.config import current_names
from astroanomaly.errors import ConfigError, SessionError, StorageError
from astroanomaly.files import atomic_path, locked, read_toml
from astroanomaly.labels.class_names import WORDS
from astroanomaly.labels.consensus import DISPUTED
from astroanomaly.labels.grades import Grades
from astroanomaly.learn.settings import FIXED_SECTIONS, settings_sections
from astroanomaly.records import ANOMALY, NOMINAL
from astroanomaly.session.blocks.given import is_stored_block
from astroanomaly.session.caches import (
    CacheRecord,
    missing_cache,
    portable_path,
    read_records,
    scored_shards,
    stored_place,
    write_records,
)
from astroanomaly.session.rounds import ROUNDS, Round, is_in_the_making, list_rounds
from astroanomaly.session.stored_objects import StoredObjects

__all__ = ["CONFIG_FILE", "SessionHome", "check_grades", "read_session", "version_of"]

SESSION_VERSION = 4  # the newest that is read: sessions with grades, which earlier programs would leave out
_WITH_BLOCKS = 3  # with blocks, without grades
_WITHOUT_BLOCKS = 2  # what is written of others; in 1, caches had whole paths only
CONFIG_FILE = "session.toml"
_LOCK = ".lock"
_SECTIONS = ("session", "backbone", "stretch", "input")  # settings that every session has
_MAX_NAME_BYTES = 255  # of a file, on every file system
_REMEDY = "put it right, or restore it from a copy"


def read_session(path: Path) -> dict[str, Any]:
    """Read the file of a session, checked.

    Raises
    ------
    UnreadableError
        If there is none, or it cannot be read.
    SessionError
        If it is of a newer version or damaged.
    """
    file = path / CONFIG_FILE
    content = read_toml(file, error=SessionError, remedy=_REMEDY)
    version = content.get("version")
    if content.get("format") != "astroanomaly-session" or type(version) is not int:
        raise SessionError(f"{file} is not the description of a session")
    if version > SESSION_VERSION:
        raise SessionError(
            f"{path} has version {version}, newer than {SESSION_VERSION}, the newest known here: update astroanomaly"
        )
    for key, kind in (("caches", list), ("classes", list), ("settings", dict), ("seen", dict)):
        if not isinstance(content.get(key), kind):
            wrong = "is no " + ("list" if kind is list else "table") if key in content else "is missing"
            raise SessionError(f"{file} is damaged: {key!r} {wrong}; {_REMEDY}")
    for key in ("caches", "classes"):
        if not content[key] or not all(isinstance(item, str) and item for item in content[key]):
            raise SessionError(f"{file} is damaged: {key!r} is no list of texts; {_REMEDY}")
    for name in content["caches"]:
        if "\0" in name or max(len(os.fsencode(part)) for part in PurePath(name).parts or ("",)) > _MAX_NAME_BYTES:
            raise SessionError(f"{file} is damaged: the cache {name[:60]!r} is no path; {_REMEDY}")
    if tuple(content["classes"][:2]) != (NOMINAL, ANOMALY) or len(set(content["classes"])) < len(content["classes"]):
        raise SessionError(f"{file} is damaged: 'classes' does not begin with {NOMINAL} and {ANOMALY}; {_REMEDY}")
    for section in _SECTIONS:
        if section not in content["settings"]:
            raise SessionError(f"{file} is damaged: it has no [settings.{section}]; {_REMEDY}")
    for section, values in content["settings"].items():
        if not isinstance(values, dict):
            raise SessionError(f"{file} is damaged: settings.{section} is no table; {_REMEDY}")
    blocks = content.get("blocks", [])
    if not isinstance(blocks, list) or not all(map(is_stored_block, blocks)):
        raise SessionError(f"{file} is damaged: 'blocks' does not describe numbers beside the image; {_REMEDY}")
    if "grades" in content:
        try:
            check_grades(Grades.from_plain(content["grades"]), content["classes"])
        except ConfigError as error:
            raise SessionError(f"{file} is damaged: {error}; {_REMEDY}") from error
    return content


def check_grades(grades: Grades, classes: Sequence[str]) -> None:
    """Check that grades fit the label classes of a session.

    Raises
    ------
    ConfigError
        If one of them but the last is no class, or the last one is, or means something else in a table of labels.
    """
    missing = [name for name in grades.names[:-1] if name not in classes]
    if missing:
        raise ConfigError(
            f"the grade {missing[0]!r} is no label class of the session (known: {', '.join(classes)}). Classes cannot "
            "be added later, since scores have a column for each: make a session with `astroanomaly init --grades` and "
            "take the labels of this one with --labels"
        )
    last = grades.names[-1].lower()
    if last == DISPUTED or WORDS.get(last, NOMINAL) != NOMINAL:
        raise ConfigError(
            f"the last grade, {grades.names[-1]!r}, says nominal, but the word means {WORDS.get(last, DISPUTED)} in a "
            "table of labels: choose another, as in X"
        )
    if last in (name.lower() for name in classes):
        raise ConfigError(f"the last grade, {grades.names[-1]!r}, says nominal: it cannot be another label class too")


def version_of(content: Mapping[str, Any]) -> int:
    """Return the version that the content of a session's file is written with."""
    return SESSION_VERSION if content.get("grades") else _WITH_BLOCKS if content.get("blocks") else _WITHOUT_BLOCKS


class SessionHome:
    """Where a session and its caches lie.

    Attributes
    ----------
    path
        Its folder.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self.path = path
        self._content = dict(content)

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings by section, as plain values."""
        known = settings_sections()
        return {
            section: current_names(known[section], values) if section in known else dict(values)
            for section, values in self._content["settings"].items()
        }

    def section(self, name: str) -> dict[str, Any]:
        """Return the settings of one section; for one that is not a ranker's, no plugins are loaded."""
        known = FIXED_SECTIONS if name in FIXED_SECTIONS else settings_sections()
        return current_names(known[name], self._content["settings"].get(name, {}))

    @property
    def grades(self) -> Grades | None:
        """Its ordered grades; None where it has none."""
        return Grades.from_plain(self._content["grades"]) if "grades" in self._content else None

    @property
    def rounds(self) -> list[Round]:
        """The rounds so far, oldest first."""
        return list_rounds(self.path / ROUNDS)

    @property
    def cache_names(self) -> tuple[str, ...]:
        """Its caches as `session.toml` names them: relative to the session's folder, or with the whole path."""
        return tuple(self._content["caches"])

    @property
    def cache_folders(self) -> tuple[Path, ...]:
        """The folders of its caches, which need not be there."""
        return tuple(stored_place(text, self.path) for text in self.cache_names)

    @cached_property
    def cache(self) -> Cache:
        """The cutouts of its caches.

        Raises
        ------
        UnreadableError
            If a cache is not where it was.
        """
        gone = missing_cache(self.path, self.cache_names)
        if gone is not None:
            raise gone
        return Cache.open(*self.cache_folders)

    @property
    def has_caches(self) -> bool:
        """Whether all its caches are there."""
        return "cache" in self.__dict__ or all((folder / CACHE_FILE).is_file() for folder in self.cache_folders)

    @property
    def objects(self) -> Cache | StoredObjects:
        """Its objects for what needs no pixels: the caches, or what the latest scores know while these are not there.

        Raises
        ------
        UnreadableError
            If a cache is not where it was, and nothing was scored yet.
        """
        if self.has_caches:
            return self.cache
        stored = self._stored
        return self.cache if stored is None else stored

    @cached_property
    def _stored(self) -> StoredObjects | None:
        records = read_records(self.path)
        shards = [uuid for text in self.cache_names if text in records for uuid in records[text].shards]
        shards = shards if all(text in records for text in self.cache_names) else scored_shards(self.path)
        made = (StoredObjects(item, shards, self.cache_folders) for item in reversed(self.rounds))
        return next((one for one in made if len(one.shards) == len(shards)), None)

    # ----------------------------------------------------------------------------------------------------- changing it

    def _save(self) -> None:
        with atomic_path(self.path / CONFIG_FILE) as temporary:
            temporary.write_text(tomli_w.dumps(self._content), encoding="utf-8")

    @contextlib.contextmanager
    def changing(self) -> Iterator[list[str]]:
        """Hold the session to change its caches; give them as they are written down now, maybe by another process.

        Raises
        ------
        StorageError
            If its folder cannot be written to.
        """
        try:
            lock = locked(self.path / _LOCK)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be changed: {error.strerror or error}") from error
        with lock:
            yield list(read_session(self.path)["caches"])

    def put_grades(self, grades: Grades) -> None:
        """Write down which of its label classes are grades.

        Raises
        ------
        ConfigError
            If they do not fit its label classes.
        SessionError
            If a round has learnt from labels, or is being made.
        """
        with self.changing():
            content = read_session(self.path)
            check_grades(grades, content["classes"])
            if is_in_the_making(self.path / ROUNDS):
                raise SessionError(
                    f"a round of {self.path} is being made, of labels that grades would change: wait until it is done, "
                    "or end it"
                )
            learnt = next((item for item in self.rounds if item.recipe.get("labels")), None)
            if learnt is not None:
                raise SessionError(
                    f"round {learnt.number} ({learnt.ranker}) of {self.path} has learnt from labels, and could not be "
                    "computed again if grades were declared or changed: make a session with `astroanomaly init "
                    "--grades`, and take the labels of this one with --labels"
                )
            content["grades"] = grades.to_plain()
            self._content = content | {"version": version_of(content)}
            self._save()

    def check_grades_stand(self) -> None:
        """Make sure that grades are as this object knows them, once a round is in the making: nobody changes them then.

        Raises
        ------
        SessionError
            If another process has declared others since the session was opened.
        """
        with self.changing():
            stored = read_session(self.path).get("grades")
        if stored != self._content.get("grades"):
            raise SessionError(
                f"grades of {self.path} were declared after it was opened here, and count in what its labels say: open "
                "it again"
            )

    def record_caches(self) -> None:
        """Write down what is in caches of which nothing is recorded yet, or that have grown since."""
        records = read_records(self.path)
        counts = dict(zip(self.cache_names, self.cache.counts, strict=False))
        new = [text for text, count in counts.items() if text not in records or records[text].objects != count]
        if new:
            fresh = {text: CacheRecord.of(stored_place(text, self.path)) for text in new}
            with self.changing():
                write_records(self.path, read_records(self.path) | fresh)

    def put_caches(self, texts: Sequence[str], places: Sequence[Path]) -> None:
        """Write down where the caches are, and what is in those that are there.

        Parameters
        ----------
        texts
            The caches as they were written down, in order; further ones may follow in ``places``.
        places
            Their folders.
        """
        before = read_records(self.path)
        records, new = {}, [portable_path(place, self.path) for place in places]
        for number, (text, place) in enumerate(zip(new, places, strict=True)):
            former = texts[number] if number < len(texts) else ""
            if (place / CACHE_FILE).is_file() and (former != text or text not in before):
                records[text] = CacheRecord.of(place)
            elif former in before:
                records[text] = before[former]
        write_records(self.path, before | records)  # until the next file is written, the former places hold
        self._content = read_session(self.path) | {"caches": new}  # another process may have declared grades
        self._content["version"] = version_of(self._content)
        self._save()
        write_records(self.path, records)
        self.__dict__.pop("cache", None)
        self.__dict__.pop("_stored", None)

    def _join(self, folder: Path) -> None:
        """Make a cache part of the session; others may have joined by another process meanwhile."""
        with self.changing() as texts:
            places = [stored_place(text, self.path) for text in texts]
            if folder.resolve() not in (place.resolve() for place in places):
                places.append(folder)
            self.put_caches(texts, places)
