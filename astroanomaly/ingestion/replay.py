"""The request of a record that is replayed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astroanomaly.config import FetchConfig
from astroanomaly.errors import ConfigError, UnreadableError
from astroanomaly.fetch.recording.run import INPUTS, read_record

__all__ = ["recorded_request"]


def recorded_request(
    source: str, inputs: Any, options: Mapping[str, Any], prefix: str, fetch: FetchConfig
) -> tuple[Any, dict[str, Any], str]:
    """Fill a request that is to be replayed with what its record says; what is given goes before.

    Returns
    -------
    inputs, options, prefix
        Of the request. Files that the record names lie in its folder.

    Raises
    ------
    ConfigError
        If the record is of another source.
    UnreadableError
        If it is no record of a request to a source, or names files outside.
    """
    folder = Path(fetch.replay)
    about = read_record(folder)["request"]
    asked, found, said = about.get("source"), about.get("inputs"), about.get("options")
    if not isinstance(asked, str) or not isinstance(found, list) or not isinstance(said, dict):
        raise UnreadableError(f"--replay {folder}: this is no record of a request to a source")
    if asked != source:
        raise ConfigError(f"--replay {folder}: this is a record of the source {asked!r}, not of {source!r}")
    merged = {name: _from_record(value, folder) for name, value in said.items() if name not in options}
    texts = [item for item in found if isinstance(item, str)]
    first = about.get("prefix")
    return inputs or texts, {**merged, **options}, prefix or (first if isinstance(first, str) else "")


def _from_record(value: Any, folder: Path) -> Any:
    """Return the value of an option; a file in the record has its path."""
    if isinstance(value, str) and value.startswith(f"{INPUTS}/"):
        name = value.removeprefix(f"{INPUTS}/")
        place = folder.absolute() / INPUTS / name
        if "/" in name or name.startswith(".") or Path(str(place).partition("[")[0]).is_symlink():
            raise UnreadableError(f"--replay {folder}: the record names a file outside of it: {value}")
        return str(place)
    return value
