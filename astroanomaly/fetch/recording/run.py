"""A run that is recorded or replayed: its folder, what is said of it there, and what it keeps of what it fetches."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from astroanomaly._version import __version__
from astroanomaly.config import FetchConfig
from astroanomaly.errors import ConfigError, FetchError, StorageError, UnreadableError
from astroanomaly.fetch.context import cache_folder, using
from astroanomaly.fetch.recording.active import as_configured
from astroanomaly.fetch.recording.exchange import EXCHANGES
from astroanomaly.fetch.recording.replayer import UNANSWERED
from astroanomaly.fetch.recording.secrets import Secrets
from astroanomaly.files import read_json, remove_leftovers, temporary_folder, write_json

__all__ = ["ABOUT", "INPUTS", "RecordedRun", "read_record", "recorded", "size_of_record"]

ABOUT = "record.json"
INPUTS = "inputs"  # copies of the tables that the request names
_FORMAT = 1
_MAX_ABOUT_BYTES = 2**24
_MAX_UNANSWERED_BYTES = 2**20
_PACKAGES = (
    "astropy",
    "astroquery",
    "pyvo",
    "requests",
    "urllib3",
    "s3fs",
    "fsspec",
    "aiohttp",
    "aiobotocore",
    "numpy",
)
_SETTINGS = re.compile(
    r"ASTROANOMALY_\w+_SERVER|AWS_ENDPOINT_URL(_S3)?|AWS_(DEFAULT_)?REGION|https?_proxy|no_proxy", re.I
)


class RecordedRun:
    """A run, and what is noted of it in its record.

    Attributes
    ----------
    fetch
        The configuration to fetch with.
    """

    def __init__(self, fetch: FetchConfig) -> None:
        self.fetch = fetch
        self._about: dict[str, Any] = {}
        self._secrets = Secrets()

    def begin(self, request: Callable[[Path], Mapping[str, Any]]) -> None:
        """Write what was asked for, without secrets."""
        folder = Path(self.fetch.record)
        (folder / EXCHANGES).mkdir(parents=True, exist_ok=True)
        self._about = {
            "format": _FORMAT,
            "software": f"astroanomaly {__version__}",
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "packages": {name: version for name in _PACKAGES if (version := _version(name))},
            "environment": {
                name: self._secrets.url(value)
                for name, value in sorted(os.environ.items())
                if _SETTINGS.fullmatch(name)
            },
            "command": self._secrets.words(_command()),
            "request": self._plain(request(folder)),
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "finished": False,
            "error": "",
            "outcome": {},
        }
        write_json(folder / ABOUT, self._about)

    def note(self, **outcome: Any) -> None:
        """Note what came of the run."""
        if self.fetch.record:
            self._about["outcome"] |= self._plain(outcome)

    def end(self, error: BaseException | None) -> None:
        """Note that it is over."""
        self._about |= {"finished": True, "error": self._secrets.text(str(error)) if error is not None else ""}
        write_json(Path(self.fetch.record) / ABOUT, self._about)

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(self._plain(name)): self._plain(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(inner) for inner in value]
        return self._secrets.words([value])[0] if isinstance(value, str) else value


@contextlib.contextmanager
def recorded(fetch: FetchConfig, request: Callable[[Path], Mapping[str, Any]]) -> Iterator[RecordedRun]:
    """Record or replay a run while the block runs, as its configuration says; where it says neither, do nothing.

    What a run like this fetches is kept apart and removed at its end: nothing that was kept before keeps a request from
    being made, and nothing that a record answers is taken for an answer of the archive later.

    Parameters
    ----------
    request
        Returns what is asked for, as plain values; it is called with the folder of a new record, and may put copies
        of tables into its folder `INPUTS`.

    Raises
    ------
    ConfigError
        If it is to do both, or the folder does not fit.
    FetchError
        At the end of a replay, if something was asked that is not in the record.
    """
    if not fetch.record and not fetch.replay:
        yield RecordedRun(fetch)
        return
    if fetch.record and fetch.replay:
        raise ConfigError("--record and --replay exclude one another")
    if fetch.record:
        _refuse_used(Path(fetch.record))
    else:
        read_record(Path(fetch.replay))
    with using(replace(fetch, record="", replay="")):
        place = cache_folder("records")
    remove_leftovers(place)
    with temporary_folder(place / "run") as kept:
        if fetch.record:
            inner = replace(fetch, record=str(Path(fetch.record).absolute()), keep=str(kept))
        else:
            there = str(Path(fetch.replay).absolute())
            inner = replace(fetch, replay=there, keep=str(kept), pause_s=0.0, first_wait_s=0.0, longest_wait_s=0.0)
        run = RecordedRun(inner)
        if fetch.record:
            run.begin(request)
        error: BaseException | None = None
        try:
            with as_configured(inner):
                yield run
        except BaseException as problem:
            error = problem
            raise
        finally:
            if fetch.record:
                run.end(error)
            else:
                _refuse_unanswered(kept, fetch.replay, error)


def _refuse_used(folder: Path) -> None:
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"--record {folder}: this is there already and not empty: name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"--record {folder} cannot be written: {error.strerror or error}") from error


def _refuse_unanswered(kept: Path, record: str, error: BaseException | None) -> None:
    """Raise an error if something was asked that is not in the record."""
    if not (kept / UNANSWERED).is_file() or (error is not None and not isinstance(error, Exception)):
        return
    with (kept / UNANSWERED).open(encoding="utf-8") as file:
        lines = file.read(_MAX_UNANSWERED_BYTES).splitlines()
    raise FetchError(
        f"the replay of {record} is not the run that was recorded: {len(lines)} of its requests had no answer there; "
        f"the first: {lines[0]}. Give the same request as record.json says"
        + (f" (the replay ended so: {error})" if error is not None else "")
    ) from error


def read_record(folder: Path) -> dict[str, Any]:
    """Return what a record says of its run; its values are a stranger's.

    Raises
    ------
    UnreadableError
        If the folder is no record.
    """
    try:
        about = read_json(
            folder / ABOUT, error=UnreadableError, remedy="ask for the record anew", max_bytes=_MAX_ABOUT_BYTES
        )
    except UnreadableError as error:
        raise UnreadableError(f"{folder} is no record of an archive: {error}") from error
    if about.get("format") != _FORMAT:
        raise UnreadableError(f"{folder} has format {about.get('format')!r}, expected {_FORMAT}: update AstroAnomaly")
    if not isinstance(about.get("request"), dict) or not isinstance(about.get("outcome"), dict):
        raise UnreadableError(f"{folder / ABOUT} is damaged: it says no request")
    return about


def size_of_record(folder: Path) -> tuple[int, int]:
    """Return how many requests a record has, and its bytes."""
    found = list((folder / EXCHANGES).iterdir())
    copies = list((folder / INPUTS).iterdir()) if (folder / INPUTS).is_dir() else []
    nbytes = sum(path.stat().st_size for path in [*found, *copies, folder / ABOUT])
    return sum(path.suffix == ".json" for path in found), nbytes


def _command() -> list[str]:
    """Return the words of our own command line; nothing where another program calls."""
    program = Path(sys.argv[0])
    ours = program.name == "astroanomaly" or program.parts[-2:] == ("astroanomaly", "__main__.py")
    return sys.argv[1:] if ours else []


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
