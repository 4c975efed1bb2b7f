"""What a session keeps of its injections: one file for each kind, with what was injected and what would be found."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from astroanomaly.cache.file_digest import read_signed_json, signed_json
from astroanomaly.errors import SessionError, StorageError
from astroanomaly.files import write_json
from astroanomaly.session.injection.efficiency import Efficiency

__all__ = ["COMPLETENESS", "Completeness", "completeness_files", "keep", "read_completeness", "read_completeness_file"]

COMPLETENESS = "completeness"  # folder of a session
_FORMAT, _VERSION = "astroanomaly-completeness", 1
_REMEDY = "move it aside, and run `astroanomaly inject` again"
_SLUG_LETTERS = 40


@dataclass(frozen=True, eq=False)
class Completeness:
    """The result of injections of one kind.

    Attributes
    ----------
    kind, summary
        What was injected.
    efficiency
        What would be found.
    top
        Up to which rank an injection counts as found.
    round, ranker
        What ranked them.
    objects
        Objects of the survey that they are ranked among.
    about
        How they were made, in words by name: hosts, brightness, size, PSF, noise, seed, label event, software, date.
    """

    kind: str
    summary: str
    efficiency: Efficiency
    top: int
    round: int
    ranker: str
    objects: int
    about: Mapping[str, str]


def completeness_files(session: Path) -> list[Path]:
    """Return the files, one for each kind."""
    return sorted((session / COMPLETENESS).glob("[!.]*.json"))


def read_completeness(session: Path) -> list[Completeness]:
    """Read what a session keeps, by the names of the kinds.

    Raises
    ------
    SessionError
        If a file is damaged.
    """
    return sorted(map(read_completeness_file, completeness_files(session)), key=lambda one: one.kind)


def read_completeness_file(path: Path) -> Completeness:
    """Read one file.

    Raises
    ------
    SessionError
        If it is damaged, or of a newer version.
    """
    what = "the result of injections"
    content = read_signed_json(path, _FORMAT, _VERSION, what, error=SessionError, remedy=_REMEDY)
    try:
        return Completeness(
            str(content["kind"]), str(content["summary"]), Efficiency.from_plain(content["efficiency"]),
            int(content["top"]), int(content["round"]), str(content["ranker"]), int(content["objects"]),
            {str(name): str(text) for name, text in content["about"].items()},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SessionError(f"{path} is damaged: {error!r}; {_REMEDY}") from error


def keep(session: Path, found: Completeness) -> Path:
    """Keep a result; an earlier one of the same kind is replaced. Return its file.

    Raises
    ------
    StorageError
        If it cannot be written; then what was there stays.
    """
    folder = session / COMPLETENESS
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror or error}") from error
    slug = re.sub(r"[^A-Za-z0-9]+", "-", found.kind).strip("-")[:_SLUG_LETTERS] or "stamp"
    digest = hashlib.sha256(found.kind.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    path = folder / f"{slug}-{digest}.json"
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "kind": found.kind,
        "summary": found.summary,
        "efficiency": found.efficiency.to_plain(),
        "top": found.top,
        "round": found.round,
        "ranker": found.ranker,
        "objects": found.objects,
        "about": dict(found.about),
    }
    write_json(path, signed_json(content))
    return path
