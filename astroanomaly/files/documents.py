"""Read and write JSON and TOML files: of bounded size and depth, and a table, or an error that names the file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from astroanomaly.errors import AstroAnomalyError, CacheError, ConfigError, UnreadableError
from astroanomaly.files.paths import open_plain
from astroanomaly.files.writing import atomic_path

__all__ = ["parse_json", "read_json", "read_toml", "write_json"]

_MAX_JSON_BYTES = 64 * 2**20
_MAX_TOML_BYTES = 4 * 2**20  # Python's own reader takes seconds for more
_MAX_DEPTH = 64
_KINDS = {dict: "an object", list: "a list"}
T = TypeVar("T", dict[str, Any], list[Any])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(
    path: Path,
    *,
    error: type[AstroAnomalyError] = CacheError,
    remedy: str = "restore it from a copy",
    max_bytes: int = _MAX_JSON_BYTES,
) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Parameters
    ----------
    error
        What to raise for a damaged file.
    remedy
        What to do about it, for the message.
    max_bytes
        Largest size.

    Raises
    ------
    UnreadableError
        If the file is missing or cannot be read.
    AstroAnomalyError
        Of the kind ``error``, if it is too large, no JSON, nested too deeply, or not an object.
    """
    return _parsed(_read(path, error, remedy, max_bytes), json.loads, "JSON", str(path), dict, error, remedy)


def parse_json(text: str | bytes, where: str, *, kind: type[T], error: type[AstroAnomalyError], remedy: str) -> T:
    """Read JSON that is part of a file of another kind, or no file.

    Parameters
    ----------
    text
        The JSON, whose size the caller has bounded.
    where
        The file and the place in it, for the message.
    kind
        ``dict`` for an object, ``list`` for a list.
    error, remedy
        As in `read_json`.

    Raises
    ------
    AstroAnomalyError
        Of the kind ``error``, as `read_json`.
    """
    return _parsed(text, json.loads, "JSON", where, kind, error, remedy)


def read_toml(
    path: Path,
    *,
    error: type[AstroAnomalyError] = ConfigError,
    remedy: str = "put it right, or restore it from a copy",
    max_bytes: int = _MAX_TOML_BYTES,
) -> dict[str, Any]:
    """Read a TOML file; parameters and errors are those of `read_json`."""
    return _parsed(_read(path, error, remedy, max_bytes), tomllib.loads, "TOML", str(path), dict, error, remedy)


def _read(path: Path, error: type[AstroAnomalyError], remedy: str, max_bytes: int) -> bytes:
    """Read a plain file of bounded size."""
    try:
        with open_plain(path) as file:
            content = file.read(max_bytes + 1)
    except UnreadableError:
        raise
    except OSError as problem:
        raise UnreadableError(f"{path} cannot be read: {problem.strerror or problem}") from problem
    if len(content) > max_bytes:
        raise error(f"{path} has more than {max_bytes} bytes, so it was not written by astroanomaly: {remedy}")
    return content


def _parsed(
    content: str | bytes,
    parse: Callable[[str], Any],
    language: str,
    where: str,
    kind: type[T],
    error: type[AstroAnomalyError],
    remedy: str,
) -> T:
    too_deep = False
    found: Any = None
    try:
        found = parse(content if isinstance(content, str) else content.decode("utf-8"))
        too_deep = _is_deeper(found, _MAX_DEPTH)
    except RecursionError:
        too_deep = True
    except ValueError as problem:  # also a number of thousands of digits
        raise error(f"{where} is damaged, no {language}: {_first_line(problem)}; {remedy}") from problem
    if too_deep:
        raise error(f"{where} is damaged: it is nested more than {_MAX_DEPTH} deep; {remedy}")
    if not isinstance(found, kind):
        raise error(f"{where} is damaged: expected {_KINDS[kind]}, found {type(found).__name__}; {remedy}")
    return found


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:200]


def _is_deeper(content: Any, depth: int) -> bool:
    """Whether tables and lists are nested deeper than that."""
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(depth):
        inner = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in inner if isinstance(item, dict | list)]
    return bool(level)
