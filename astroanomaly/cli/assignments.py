"""Settings as they are typed: the text of a flag, and ``section.key=value``."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from astroanomaly.config import check_value, nearest, option_types, unknown_setting
from astroanomaly.errors import ConfigError

__all__ = ["parse_assignments", "parse_value"]


def parse_value(kind: Any, text: str, name: str) -> Any:
    """Turn text into a value of the declared type.

    Raises
    ------
    ConfigError
        If it is no such value.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return parse_value(next(arg for arg in args if arg is not type(None)), text, name)
    if origin is tuple:
        return tuple(parse_value(args[0], part.strip(), name) for part in text.split(",") if part.strip())
    if kind is bool:
        words = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)
        if text.lower() not in words:
            raise ConfigError(f"{name}={text!r}: expected true or false")
        return words[text.lower()]
    if kind in (int, float):
        try:
            value: Any = kind(text)
        except ValueError:
            value = text  # the check says what was expected
        return check_value(kind, value, name)
    return check_value(kind, text, name)


def parse_assignments(assignments: Iterable[str], sections: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """Read ``section.key=value`` words into ``{section: {key: value}}``.

    Raises
    ------
    ConfigError
        For a word of another shape, an unknown section or key, or a value of the wrong kind.
    """
    settings: dict[str, dict[str, Any]] = {}
    for word in assignments:
        name, equals, text = word.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise ConfigError(
                f"cannot read the setting {word!r}: expected section.key=value, as in train.iterations=50"
            )
        if section not in sections:
            raise ConfigError(
                f"unknown section {section!r} in {word!r}{nearest(section, sections)} (known: {', '.join(sections)})"
            )
        known = option_types(sections[section])
        if key not in known:
            raise unknown_setting(sections[section], key, f"{section}.")
        settings.setdefault(section, {})[key] = parse_value(known[key], text.strip(), f"{section}.{key}")
    return settings
