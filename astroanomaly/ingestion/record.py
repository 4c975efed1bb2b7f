"""The record of a request to a source: what was asked of its archive and what came, to be replayed by others."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from astroanomaly.cache.schema import CACHE_FILE
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.fetch.recording.run import INPUTS, RecordedRun, recorded
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.tables.given import GivenTable

__all__ = ["begin_record"]

_MAX_INPUT_BYTES = 64 * 2**20


def begin_record(
    request: SourceRequest, scheduler: str | None = None, out: Path | None = None
) -> AbstractContextManager[RecordedRun]:
    """Record or replay what is done inside the block, where the request says so; else do nothing.

    Parameters
    ----------
    out
        Folder that the run writes; it must not hold a part of it already.

    Raises
    ------
    ConfigError
        If workers of a cluster would ask the archive, or a part of the run is done.
    """
    config = request.fetch
    if config.record or config.replay:
        flag = "--record" if config.record else "--replay"
        if scheduler is not None:
            raise ConfigError(f"{flag} and --scheduler exclude one another: give --workers N")
        if out is not None and (out / CACHE_FILE).is_file():
            raise ConfigError(
                f"{flag}: {out} holds a part of this run already, which would not be asked for again: choose another "
                "--out"
            )
    return recorded(config, lambda folder: _described(request, folder))


def _described(request: SourceRequest, folder: Path) -> dict[str, Any]:
    """Return a request as plain values; the tables that it names are copied into a record."""
    described = request.description
    for name, value in vars(request.options).items():
        if isinstance(value, Path):
            copied = _copy(value, name, folder / INPUTS)
        elif isinstance(value, GivenTable):
            copied = f"{name}.ecsv"
            (folder / INPUTS).mkdir(exist_ok=True)
            value.table.write(folder / INPUTS / copied, format="ascii.ecsv")
        else:
            continue
        if copied:
            described["options"][name] = f"{INPUTS}/{copied}"
    return described


def _copy(path: Path, name: str, folder: Path) -> str:
    """Copy the file of an option, whose path may end in ``[2]``; return its path in the folder, or nothing."""
    file, bracket, part = str(path).partition("[") if not path.exists() else (str(path), "", "")
    source = Path(file)
    try:
        if not source.is_file() or source.stat().st_size > _MAX_INPUT_BYTES:
            return ""
        folder.mkdir(exist_ok=True)
        target = f"{name}{''.join(source.suffixes[-2:])}"
        shutil.copyfile(source, folder / target)
    except OSError as error:
        raise StorageError(f"--record: {source} could not be copied: {error.strerror or error}") from error
    return f"{target}{bracket}{part}"
