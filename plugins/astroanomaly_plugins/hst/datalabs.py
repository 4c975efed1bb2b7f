"""Files of the ESA Hubble Science Archive in place, on ESA Datalabs, where its volumes are mounted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from astroanomaly import FetchError, UnreadableError, fetch
from astroanomaly_plugins.hst import ehst
from astroanomaly_plugins.hst.tables import rows_of

__all__ = ["ROOT_VARIABLE", "find_mounted", "opened"]

ROOT_VARIABLE = "ASTROANOMALY_HST_DATALABS"  # of the environment: the folder that stands for `_ROOT`
_ROOT = "/data/user"  # where volumes are mounted
_NAME = re.compile(r"[A-Za-z0-9_.+-]+")
_FILES_PER_REQUEST = 50
_GZIP = b"\x1f\x8b"


def find_mounted(names: Sequence[str], *, needed: bool = True) -> dict[str, str]:
    """Return the paths of those files that are mounted.

    Parameters
    ----------
    names
        The archive's names of files.
    needed
        Whether it is an error if none is there.

    Raises
    ------
    FetchError
        If the archive cannot say where they are.
    UnreadableError
        If none is there, and one is needed.
    """
    unique = sorted(set(names))
    parts = [unique[start : start + _FILES_PER_REQUEST] for start in range(0, len(unique), _FILES_PER_REQUEST)]
    found: dict[str, str] = {}
    tried = ""
    for _, paths in fetch.each(lambda number: _paths_of(parts[number]), range(len(parts))):
        if isinstance(paths, FetchError):
            raise paths
        for name, path in paths.items():
            tried = path
            there = next((one for one in (path, path.removesuffix(".gz")) if os.path.isfile(one)), None)
            if there is not None:
                found[name] = there
    if needed and unique and not found:
        raise UnreadableError(
            f"none of {len(unique)} files is there{f', as {tried}' if tried else ''}: --via datalabs reads files in "
            "place on ESA Datalabs, the volumes of Hubble mounted; elsewhere say --via esa"
        )
    return found


def _paths_of(names: Sequence[str]) -> dict[str, str]:
    """Ask where files are on ESA Datalabs; the answer is kept.

    This makes paths as `ESAHubbleClass.get_datalabs_path` does, which asks three times for each file.
    """
    what = f"places of {len(names)} files (ESA Datalabs)"
    wanted = {name if name.endswith(".gz") else f"{name}.gz": name for name in names if _NAME.fullmatch(name)}
    if not wanted:
        return {}
    listed = ", ".join(f"'{name}'" for name in wanted)
    query = f"select file_name, file_path from ehst.artifact where file_name in ({listed})"

    def ask(path: Path) -> None:
        table = ehst.asked(lambda archive: archive.query_tap(query=query), what)
        path.write_text(json.dumps(rows_of(table, ("file_name", "file_path"), (), what)), encoding="utf-8")

    request = {"service": "esa hubble datalabs", "product": sorted(wanted), "position": None, "size": None}
    path = fetch.cached(request, ask, host=ehst.host(), what=what, suffix=".txt")
    root, found = os.environ.get(ROOT_VARIABLE, _ROOT), {}
    for row in fetch.json_of(path, what, list):
        name, folder = str(row["file_name"]), str(row["file_path"]).partition("hstdata/")[2]  # /hstdata/hstdata_i/i/b4x
        if name in wanted and folder and ".." not in folder.split("/"):
            found[wanted[name]] = f"{root}/hub_{folder}/{name}"
    return found


def opened(place: str, name: str) -> Path:
    """Return a file that can be memory-mapped: the file itself, or what is unpacked of it, once.

    Parameters
    ----------
    place
        Its path.
    name
        Of the product, as messages have it.

    Raises
    ------
    FetchError
        If it is not there, or damaged.
    """
    path = Path(place)
    try:
        state = path.stat()
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
    except OSError as error:
        raise FetchError(f"{path} cannot be read: {error.strerror}", reason="a file is not mounted any more") from error
    if not packed:
        return path
    request = {"service": "esa hubble datalabs", "product": place, "bytes": state.st_size, "time": int(state.st_mtime)}
    return fetch.cached(
        request,
        lambda target: ehst.unpack(path, target),
        host="ESA Datalabs",
        what=f"{name} (ESA Datalabs)",
        check=lambda made: fetch.is_fits(made, name),
        suffix=".fits",
    )
