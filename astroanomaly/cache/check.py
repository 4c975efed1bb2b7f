"""Read every file of a cache and compare it with its digest: what is damaged is named, the rest is not touched."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from astroanomaly.cache import schema
from astroanomaly.cache.file_digest import look_at_npy, verify_json, verify_npy
from astroanomaly.cache.index_shards import look_at_shard
from astroanomaly.cache.layout import layout_from_plain
from astroanomaly.cache.plan import read_description
from astroanomaly.cache.shard import Shard
from astroanomaly.errors import AstroAnomalyError, BusyError, UnreadableError
from astroanomaly.records import Progress

__all__ = [
    "CheckedFile",
    "Damage",
    "Integrity",
    "cache_files",
    "check_files",
    "feature_files",
    "only_one",
    "only_opened",
    "score_files",
]

_DERIVED = "derived"


@dataclass(frozen=True)
class Damage:
    """A damaged file.

    Attributes
    ----------
    path
        The file.
    what
        What is wrong with it.
    way_out
        What to do.
    """

    path: Path
    what: str
    way_out: str


@dataclass(frozen=True)
class Integrity:
    """What a look at every file has found.

    Attributes
    ----------
    files
        How many were read.
    nbytes
        Their size in bytes.
    without_digest
        Files written by a version that gave them no digest. They can be read; no more is known.
    damaged
        Those that are damaged.
    """

    files: int = 0
    nbytes: int = 0
    without_digest: int = 0
    damaged: tuple[Damage, ...] = ()

    def __add__(self, other: Integrity) -> Integrity:
        return Integrity(
            self.files + other.files,
            self.nbytes + other.nbytes,
            self.without_digest + other.without_digest,
            self.damaged + other.damaged,
        )


@dataclass(frozen=True)
class CheckedFile:
    """A file, how it is checked, and what to do where it is damaged.

    Attributes
    ----------
    path
        The file.
    verify
        Raises an `AstroAnomalyError` or `OSError` if the file is damaged; returns whether it has a digest, None where
        none is expected.
    way_out
        What to do.
    look
        As ``verify``, but opens the file only, and finds what cannot be opened. None where nothing makes the file anew.
    """

    path: Path
    verify: Callable[[Path], bool | None]
    way_out: str
    look: Callable[[Path], object] | None = None


def only_opened(files: Iterable[CheckedFile]) -> Iterator[CheckedFile]:
    """List those files that can be made anew, to be opened instead of read to their end."""
    for file in files:
        if file.look is not None:
            yield replace(file, verify=functools.partial(_look, file.look))


def _look(look: Callable[[Path], object], path: Path) -> None:
    look(path)


def only_one(files: Iterable[CheckedFile], path: Path) -> CheckedFile:
    """Return the one of these files that is at a path.

    Raises
    ------
    UnreadableError
        If there is none.
    """
    for file in files:
        if file.path.absolute() == path.absolute():
            return file
    raise UnreadableError(f"{path} is no file that is checked: name one that `astroanomaly info --check` has named")


def check_files(files: Iterable[CheckedFile]) -> Generator[Progress, None, Integrity]:
    """Check files one after another.

    Yields
    ------
    Progress
        One report per file.

    Returns
    -------
    Integrity
        What was found.
    """
    listed = list(files)
    found = Integrity()
    damaged: tuple[Damage, ...]
    yield Progress("checking", 0, len(listed))
    for done, file in enumerate(listed, 1):
        try:
            nbytes = file.path.stat().st_size
            has_digest, damaged = file.verify(file.path), ()
        except BusyError:  # another process writes to it: it may be as good as any
            raise
        except (AstroAnomalyError, OSError) as error:
            if not file.path.exists():  # a file that is replaced meanwhile, or moved by a repair
                continue
            has_digest, damaged = None, (Damage(file.path, str(error), file.way_out),)
        found += Integrity(1, nbytes, int(has_digest is False), damaged)
        yield Progress("checking", done, len(listed))
    return found


def cache_files(folder: Path) -> Iterator[CheckedFile]:
    """List the files of a cache, or of a survey whose cutouts are not kept, that have digests."""
    again = "`astroanomaly ingest` with another --out makes the cache anew, with the same digest of its content"
    yield CheckedFile(folder / schema.CACHE_FILE, _verify_description, f"take a copy of it, or {again}")
    yield CheckedFile(
        folder / schema.PLAN_FILE,
        schema.verify_hdf5,
        f"what is cut stays readable, but an ingest cannot resume: take a copy of it, or {again}",
    )
    index = folder / schema.INDEX_FILE
    if index.is_file():
        way_out = f"{_mend(index)}; it is made anew when it is needed"
        yield CheckedFile(index, schema.verify_hdf5, way_out, _look_at_hdf5)
    for path in sorted((folder / schema.SHARD_FOLDER).glob("[!.]*.h5")):
        way_out = f"{_mend(path)}; the same `astroanomaly ingest` as before then cuts its objects anew"
        yield CheckedFile(path, _verify_shard, way_out, _look_at_shard)
    yield from feature_files(folder / _DERIVED)
    for scores in sorted(folder.glob("round-*")):  # a survey scored from its source
        yield from score_files(scores / "scores", "the same `score --source` as before scores its tasks anew")
        if (scores / "best" / schema.CACHE_FILE).is_file():
            yield from cache_files(scores / "best")


def score_files(folder: Path, then: str) -> Iterator[CheckedFile]:
    """List the score files in a folder; ``then`` says what makes one anew."""
    for path in sorted(folder.glob("[!.]*.h5")):
        yield CheckedFile(path, schema.verify_hdf5, f"{_mend(path)}; {then}", _look_at_hdf5)


def feature_files(folder: Path) -> Iterator[CheckedFile]:
    """List the finished files of frozen features below a folder."""
    for path in sorted(folder.glob("*/*.npy")):
        way_out = f"{_mend(path)}; features are computed anew when they are needed"
        yield CheckedFile(path, verify_npy, way_out, look_at_npy)


def _mend(path: Path) -> str:
    return f"`astroanomaly info {path} --repair` moves it aside"


def _verify_description(path: Path) -> bool:
    content = read_description(path.parent)
    layout_from_plain(content.get("layout"), path)
    return verify_json(content, path)


def _look_at_hdf5(path: Path) -> None:
    with schema.open_hdf5(path):
        pass


def _look_at_shard(path: Path) -> None:
    look_at_shard(path.parent.parent, path.name)


def _verify_shard(path: Path) -> bool:
    """Compare a shard with its digest, and the pixels of each cutout with their checksums."""
    has_digest = schema.verify_hdf5(path)
    shard = Shard.whole(path)
    shard.task_keys(), shard.failures(), shard.grids(), shard.columns()  # they are there, and fit one another
    rows = shard.find_damaged()
    if len(rows):
        raise shard.damage_of(rows)
    return has_digest
