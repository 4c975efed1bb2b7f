"""What is passed to public functions, checked where it comes in: an error names the argument and what it takes."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from astroanomaly.errors import ConfigError

__all__ = ["as_flag", "as_ids", "as_list", "as_mapping", "as_number", "as_text", "as_texts", "as_whole"]


def as_whole(value: Any, name: str, lowest: int = 0) -> int:
    """Return a whole number that is at least ``lowest``.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < lowest:
        raise ConfigError(f"{name}={_shown(value)}: expected a whole number, {lowest} or more")
    return int(value)


def as_number(value: Any, name: str, lowest: float = float("-inf")) -> float:
    """Return a finite number that is at least ``lowest``.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    plain = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    if not plain or not np.isfinite(value) or value < lowest:
        least = f", {lowest:g} or more" if np.isfinite(lowest) else ""
        raise ConfigError(f"{name}={_shown(value)}: expected a number{least}")
    return float(value)


def as_text(value: Any, name: str) -> str:
    """Return a text.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name}={_shown(value)}: expected text")
    return str(value)


def as_flag(value: Any, name: str) -> bool:
    """Return True or False.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name}={_shown(value)}: expected True or False")
    return bool(value)


def as_list(value: Any, name: str, of: str) -> list[Any]:
    """Return what was given as a list, a tuple, a set, an array of one axis or the like.

    Parameters
    ----------
    of
        What it is a list of, for the message.

    Raises
    ------
    ConfigError
        If it is anything else: text, a mapping or a table is no list.
    """
    several = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    if not several or getattr(value, "ndim", 1) != 1 or hasattr(value, "colnames"):
        raise ConfigError(f"{name}={_shown(value)}: expected a list of {of}")
    return list(value)


def as_texts(value: Any, name: str) -> list[str]:
    """Return a list of texts.

    Raises
    ------
    ConfigError
        If it is anything else; one text alone is no list of them.
    """
    return [as_text(one, name) for one in as_list(value, name, "texts")]


def as_mapping(value: Any, name: str) -> Mapping[Any, Any]:
    """Return a mapping; None is an empty one.

    Raises
    ------
    ConfigError
        If it is anything else.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{name}={_shown(value)}: expected values by name, as in {{'name': value}}")
    return value or {}


def as_ids(value: Any, name: str = "ids") -> list[str]:
    """Return object ids that were given as a list, an array or a column of text.

    Raises
    ------
    ConfigError
        If it is anything else; one id alone is no list of them.
    """
    found = as_list(value, name, "object ids (text)")
    wrong = next((one for one in found if not isinstance(one, str)), None)
    if wrong is not None:
        raise ConfigError(f"{name}: {_shown(wrong)} is no object id, expected text")
    return [str(one) for one in found]


def _shown(value: Any) -> str:
    plain = value is None or isinstance(value, bool | str | bytes | numbers.Number)
    return repr(value)[:60] if plain else type(value).__name__
