"""Turn options dataclasses into command-line flags, and parsed flags back into options."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from typing import Any, Literal

from astroanomaly.cli.assignments import parse_value
from astroanomaly.config import former_names, option_types

__all__ = ["add_flags", "add_renamed", "describe_options", "given_options"]


def add_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, options: type, *, prefix: str = "option"
) -> None:
    """Add one flag per field: ``min_coverage`` becomes ``--min-coverage``.

    Several options dataclasses in one parser each have a prefix of their own.
    """
    kinds = option_types(options)
    for item in dataclasses.fields(options):
        kind, many = _plain_kind(kinds[item.name])
        default = item.default
        shown = "" if default in (dataclasses.MISSING, None, "", ()) else f" (default: {_as_text(default)})"
        extra: dict[str, Any] = {}
        choices = item.metadata.get("choices") or (typing.get_args(kind) if typing.get_origin(kind) is Literal else ())
        if kind is bool:
            extra["action"] = argparse.BooleanOptionalAction
        elif many:
            extra["action"] = "append"
        if choices:
            extra["choices"] = list(choices)
        elif kind is not bool:
            extra["metavar"] = item.metadata.get("metavar") or _metavar(kind)
        parser.add_argument(
            _flag(item),
            dest=f"{prefix}_{item.name}",
            default=None,
            help=(item.metadata.get("help", "") + shown).replace("%", "%%"),
            **extra,
        )
    present = {item.name: _flag(item) for item in dataclasses.fields(options)}
    for old, name in former_names(options).items():
        flag = "--" + old.replace("_", "-")
        if flag not in present.values():
            add_renamed(parser, flag, present[name])
            if kinds[name] is bool:
                add_renamed(parser, _negated(flag), _negated(present[name]))


def add_renamed(parser: argparse.ArgumentParser | argparse._ArgumentGroup, old: str, new: str) -> None:
    """Add a flag of an earlier version that is an error, with or without a value: it names the flag of today."""
    parser.add_argument(
        old,
        action=_Renamed,
        nargs="?",
        help=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        const=new,
    )


class _Renamed(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.error(f"{self.option_strings[0]} is called {self.const} now")


def _negated(flag: str) -> str:
    """Return the flag that says no, as `argparse.BooleanOptionalAction` spells it."""
    return f"--no-{flag.removeprefix('--')}"


def given_options(arguments: argparse.Namespace, options: type, *, prefix: str = "option") -> dict[str, Any]:
    """Collect the flags that were given, as values of the declared types."""
    given: dict[str, Any] = {}
    flags = {item.name: _flag(item) for item in dataclasses.fields(options)}
    for name, kind in option_types(options).items():
        value = getattr(arguments, f"{prefix}_{name}")
        if value is None:
            continue
        if isinstance(value, list):  # a repeated flag, each perhaps a list itself
            value = tuple(part for text in value for part in parse_value(kind, text, flags[name]))
        elif isinstance(value, str):
            value = parse_value(kind, value, flags[name])
        given[name] = value
    return given


def describe_options(options: type) -> list[tuple[str, str, str]]:
    """List ``(flag, default, help)`` of every option, for tables and documentation."""
    return [
        (
            _flag(item),
            "" if item.default in (dataclasses.MISSING, None, "", ()) else _as_text(item.default),
            item.metadata.get("help", ""),
        )
        for item in dataclasses.fields(options)
    ]


def _flag(item: dataclasses.Field[Any]) -> str:
    return "--" + (item.metadata.get("flag") or item.name.replace("_", "-"))


def _plain_kind(kind: Any) -> tuple[Any, bool]:
    """Return the type without ``| None``, and whether it is a list."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        kind = next(arg for arg in typing.get_args(kind) if arg is not type(None))
    if typing.get_origin(kind) is tuple:
        return typing.get_args(kind)[0], True
    return kind, False


def _metavar(kind: Any) -> str:
    return {int: "N", float: "X", str: "TEXT"}.get(kind, "PATH")


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
