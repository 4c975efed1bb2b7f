"""The cache of fetched files, each under the request it answers: checked, limited in size, shared by all processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from astroanomaly.errors import BusyError, FetchError, StorageError, UnreadableError
from astroanomaly.fetch.context import cache_folder, current, run_began
from astroanomaly.fetch.retry import attempt
from astroanomaly.fetch.traffic import Traffic, add_traffic, count_bytes, current_attempt
from astroanomaly.files import locked, read_json, remove_leftovers, sync_file, temporary_folder

__all__ = ["cached"]

_log = logging.getLogger(__name__)
_IN_USE_S = 60.0  # what was handed out so recently may not have been opened yet: it stays
_QUIET_S = 86_400.0  # a folder of another machine in which nothing has changed for so long, and that nobody holds
_MAX_ABOUT_BYTES = 2**20  # of the file that describes a product
_UNMEASURED_SHARE = 0.02  # of the limit of the cache: its size is measured again once so much was written
_KEY = re.compile(r"(?<=-)[0-9a-f]{64}$")  # at the end of the name of a folder
_verified: dict[Path, tuple[int, int]] = {}  # size and time of change of files whose checksum was right
_written: dict[Path, int] = {}  # bytes since the folder was last measured; at first it is measured at once
_written_lock = threading.Lock()


def cached(
    request: Mapping[str, Any],
    make: Callable[[Path], None],
    *,
    host: str,
    what: str,
    check: Callable[[Path], None] | None = None,
    suffix: str = "",
) -> Path:
    """Return the file that answers a request: the cached one, or a new one.

    Of several threads or processes that ask for the same, one fetches and the others wait (where files cannot be
    locked, each may fetch it). A cached file whose checksum is wrong is fetched anew.

    Parameters
    ----------
    request
        What is asked for, as JSON values: service, product, position, size, and whatever else changes the answer. No
        passwords: it is stored beside the file.
    make
        Fetches the answer into the path it is given, which lies alone in a fresh folder. It runs under `attempt`: it is
        repeated, in another fresh folder, where that may help.
    host
        The service's host or address.
    what
        What is asked for, as messages will name it.
    check
        Looks at the file and raises `FetchError`, retryable or not, where it is not what was asked for; see `is_fits`.
    suffix
        End of the file's name, as in ``.fits``.

    Returns
    -------
    Path
        Open it soon: it is removed when the folder is full and others were used since.

    Raises
    ------
    FetchError
        If it could not be fetched.
    StorageError
        If it could not be stored.
    """
    text = json.dumps(request, sort_keys=True, separators=(",", ":"), allow_nan=False)
    key = hashlib.sha256(text.encode()).hexdigest()
    path = cache_folder(f"products/{key[:2]}") / f"{key}{suffix}"
    if _is_cached(path):
        return path
    with _one_at_a_time(cache_folder("locks") / key):
        if not _is_cached(path):
            attempt(lambda: _fetch(path, request, make, check), host=host, what=what)
            _remove_unused(path)
    return path


def _is_cached(path: Path) -> bool:
    """Whether a good file is there; that it was used is noted."""
    about = _about(path)
    try:
        content = read_json(about, max_bytes=_MAX_ABOUT_BYTES)
        now = path.stat()
        if current().refresh and content["fetched"] < run_began():
            return False
        state = (now.st_size, now.st_mtime_ns)
        if _verified.get(path) != state:
            if now.st_size != content["bytes"] or _checksum(path) != content["sha256"]:
                _log.warning("%s is damaged and is fetched anew", path)
                return False
            _verified[path] = state
        with contextlib.suppress(OSError):  # a folder that only others may write to
            os.utime(about)
    except (FileNotFoundError, UnreadableError):
        return False
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged and %s is fetched anew: %s", about, path, error)
        return False
    add_traffic(Traffic(cached=1))
    return True


def _fetch(
    path: Path, request: Mapping[str, Any], make: Callable[[Path], None], check: Callable[[Path], None] | None
) -> None:
    """Fetch into a fresh folder; move the file to its place once it is whole and checked."""
    with temporary_folder(cache_folder("new") / path.name.split(".")[0]) as fresh:
        target = fresh / f"product{path.suffix}"
        make(target)
        if not target.is_file():
            raise FetchError("nothing came", retryable=True)
        this_try = current_attempt()
        if this_try is not None and not this_try.nbytes:  # the service's own client does not count
            count_bytes(target.stat().st_size)
        if check is not None:
            check(target)
        about = {
            "request": dict(request),
            "sha256": _checksum(target),
            "bytes": target.stat().st_size,
            "fetched": time.time(),
        }
        note = fresh / "about.json"
        note.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        sync_file(target)
        sync_file(note)
        _about(path).unlink(missing_ok=True)
        target.replace(path)
        note.replace(_about(path))
        state = path.stat()
        _verified[path] = (state.st_size, state.st_mtime_ns)


def _remove_unused(newest: Path) -> None:
    """Remove the files that were not used for longest where the cache is too large; it is measured now and then."""
    limit = current().keep_gb * 1e9
    products = cache_folder("products")
    with _written_lock:
        written = _written.get(products)
        if written is not None and written + newest.stat().st_size < limit * _UNMEASURED_SHARE:
            _written[products] = written + newest.stat().st_size
            return
        _written[products] = 0
    found = sorted(_list_products(products), key=lambda item: item[0])
    total = sum(size for _, size, _ in found)
    for used, size, files in found:
        if total <= limit or used > time.time() - _IN_USE_S:
            break
        for path in files:
            path.unlink(missing_ok=True)
        total -= size
    _remove_abandoned(cache_folder("new"))


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed fetches have left.

    Processes of this machine are seen. Those of others are not, but a fetch holds the lock of its product, whose key
    ends the name of its folder: where nobody holds it, nobody fetches. Should a file system keep the locks of machines
    apart, against what is asked of it, then that nothing has changed for a day is the second guard.
    """
    remove_leftovers(folder)
    for leftover in folder.glob(".tmp-*"):
        key = _KEY.search(leftover.name)
        if key is None:
            continue
        lock = cache_folder("locks") / key[0]
        with contextlib.suppress(OSError, BusyError):
            if max(item.stat().st_mtime for item in (leftover, *leftover.iterdir())) > time.time() - _QUIET_S:
                continue
            with locked(lock, wait=False):
                shutil.rmtree(leftover, ignore_errors=True)
                lock.unlink(missing_ok=True)


def _list_products(products: Path) -> Iterator[tuple[float, int, list[Path]]]:
    """Yield when each product was last used, its bytes and its files, the one that describes it first."""
    for place in products.iterdir():
        files: dict[str, list[os.DirEntry[str]]] = {}
        for entry in os.scandir(place):
            files.setdefault(entry.name.split(".")[0], []).append(entry)
        for parts in files.values():
            with contextlib.suppress(FileNotFoundError):
                parts.sort(key=lambda entry: not entry.name.endswith(".about"))
                sizes = [entry.stat().st_size for entry in parts]
                yield parts[0].stat().st_mtime, sum(sizes), [Path(entry.path) for entry in parts]


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Let one thread of all processes in; its lock file is gone afterwards."""
    try:
        lock = locked(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be made: {error.strerror or error}; free some space, or choose another folder with --keep. "
            "What was finished is kept"
        ) from error
    with lock:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _about(path: Path) -> Path:
    return path.parent / f"{path.name.split('.')[0]}.about"


def _checksum(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
