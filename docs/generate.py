"""Fill the tables of the documentation from the program itself: ``python docs/generate.py``.

A table stands between ``<!-- flags: astroanomaly train -->`` (or ``commands``, ``settings``, ``keys``) and
``<!-- end -->``.
A test fails where a table is not what this script would write.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import os
import re
from collections.abc import Iterator
from pathlib import Path

from astroanomaly.app.view.keys import KEYS
from astroanomaly.cli import COMMANDS, build_parser
from astroanomaly.cli.flags import add_flags
from astroanomaly.config import FetchConfig
from astroanomaly.learn.settings import settings_sections
from astroanomaly.plugins import ENVIRONMENT_VARIABLE, plugin_groups

__all__ = ["DOCS", "command_parsers", "only_own_plugins", "pages", "render"]

DOCS = Path(__file__).resolve().parent
_TABLE = re.compile(r"(<!-- (flags: [a-z -]+|commands|settings|keys) -->\n).*?(<!-- end -->)", re.DOTALL)
_INGEST = "astroanomaly ingest"
_FOLDERS = {"SESSION": "folder of the session", "CACHE": "folder of the cache"}  # arguments without a help text


@contextlib.contextmanager
def only_own_plugins() -> Iterator[None]:
    """Leave other people's plugins out: the pages describe what comes with the package."""
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    points = importlib.metadata.distribution("astroanomaly").entry_points
    os.environ[ENVIRONMENT_VARIABLE] = ",".join(point.name for point in points if point.group in plugin_groups())
    try:
        yield
    finally:
        if before is None:
            del os.environ[ENVIRONMENT_VARIABLE]
        else:
            os.environ[ENVIRONMENT_VARIABLE] = before


def command_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return every parser by its whole command, as in ``astroanomaly labels import``."""
    found: dict[str, argparse.ArgumentParser] = {}

    def visit(name: str, parser: argparse.ArgumentParser) -> None:
        found[name] = parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, below in action.choices.items():
                    visit(f"{name} {word}", below)

    visit("astroanomaly", build_parser(COMMANDS))
    return found


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what the help shows: without the flags that only name their successors."""
    return [action for action in parser._actions if action.help != argparse.SUPPRESS]


def pages() -> list[Path]:
    """Return the pages that have tables."""
    return sorted(path for path in DOCS.rglob("*.md") if _TABLE.search(path.read_text(encoding="utf-8")))


def render(text: str) -> str:
    """Return a page with its tables as they should be."""
    parsers = command_parsers()

    def fill(match: re.Match[str]) -> str:
        what = match[2]
        if what == "settings":
            table = _settings()
        elif what == "keys":
            table = _table(("key", "what it does"), [(f"`{shown}`", meaning) for _, shown, meaning in KEYS])
        elif what == "commands":
            table = _commands(parsers)
        elif what == f"flags: {_INGEST} archives":
            table = _archives()
        else:
            table = _flags(what.removeprefix("flags: "), parsers)
        return f"{match[1]}\n{table}\n{match[3]}"

    return _TABLE.sub(fill, text)


def _flags(command: str, parsers: dict[str, argparse.ArgumentParser]) -> str:
    """List the flags of one command. What all sources share stands with ``ingest`` alone."""
    if command not in parsers:
        raise LookupError(f"there is no command {command!r}; a source that does not load has none")
    parser = parsers[command]
    actions = _shown(parser)
    if command == _INGEST:
        first = next(name for name in parsers if name.startswith(f"{_INGEST} "))
        actions = [action for action in _shown(parsers[first]) if not action.dest.startswith(("option_", "fetch_"))]
    elif command.startswith(f"{_INGEST} "):
        actions = [action for action in actions if action.dest.startswith("option_")]
    rows = [
        (_spelling(action), _meaning(action))
        for action in actions
        if not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]
    return _table(("option", "meaning"), rows)


def _archives() -> str:
    """List the flags of sources that ask archives."""
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser, FetchConfig)
    return _table(("option", "meaning"), [(_spelling(action), _meaning(action)) for action in _shown(parser)])


def _spelling(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        shown = action.metavar if action.metavar is not None else action.dest.upper()
        value = " ".join(shown) if isinstance(shown, tuple) else shown
        if action.choices is not None and action.metavar is None:
            value = ""
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{flag} {value}`".replace(" `", "`") for flag in action.option_strings)


def _meaning(action: argparse.Action) -> str:
    text = action.help or _FOLDERS.get(str(action.metavar), "")
    text = text.replace("%%", "%").replace("%(default)s", str(action.default))
    if action.choices is not None:
        text = f"one of {', '.join(f'`{choice}`' for choice in action.choices)}: {text}"
    if action.required and action.option_strings:
        text += " (required)"
    return text


def _commands(parsers: dict[str, argparse.ArgumentParser]) -> str:
    rows = []
    for name, parser in parsers.items():
        word = name.split()[1:]
        if len(word) == 1 or (word and word[0] in ("labels", "campaign")):
            if any(isinstance(action, argparse._SubParsersAction) for action in parser._actions) and word != ["ingest"]:
                continue
            rows.append((f"[`{name}`]({word[0]}.md)", str(parser.description)))
    return _table(("command", "what it does"), rows)


def _settings() -> str:
    parts = []
    for section, options in settings_sections().items():
        first = (options.__doc__ or "").strip().splitlines()[0]
        rows = [
            (f"`{section}.{item.name}`", f"`{_plain(item.default)}`", item.metadata.get("help", "") + _choices(item))
            for item in dataclasses.fields(options)
        ]
        parts.append(f"## {section}\n\n{first}\n\n{_table(('setting', 'default', 'meaning'), rows)}")
    return "\n".join(parts)


def _choices(item: dataclasses.Field) -> str:
    words = re.fullmatch(r"Literal\[(.*)\]", str(item.type))
    return f" (one of {', '.join(words[1].split(', '))})".replace('"', "`").replace("'", "`") if words else ""


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> None:
    """Rewrite the tables of all pages."""
    with only_own_plugins():
        for path in pages():
            text = path.read_text(encoding="utf-8")
            path.write_text(render(text), encoding="utf-8")


if __name__ == "__main__":
    main()
