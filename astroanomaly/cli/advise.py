"""The command that says what was measured of the images, and what was chosen from it: advise."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.cli.common import set_flag
from astroanomaly.cli.label_flags import add_label_flags, label_options
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say
from astroanomaly.config import to_plain
from astroanomaly.errors import ConfigError, UnreadableError
from astroanomaly.learn.settings import settings_sections

if TYPE_CHECKING:
    from astroanomaly.learn.advice import Advice

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_advise)
    parser.add_argument("path", type=Path, metavar="PATH", help="a cache, or a session")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="table of labels, by which the choices are compared as well"
    )
    add_label_flags(parser)
    set_flag(parser, "input.size=224")


def _advise(arguments: argparse.Namespace) -> None:
    path: Path = arguments.path
    settings = parse_assignments(arguments.set, settings_sections())
    if (path / "session.toml").is_file():
        if settings:
            raise ConfigError(f"{path} is a session, whose settings are frozen: give its cache to try others")
        _say(_of_session(path, arguments.labels, label_options(arguments)))
        return
    if not (path / "cache.json").is_file():
        raise UnreadableError(f"{path} is neither a cache (no cache.json) nor a session (no session.toml)")
    from astroanomaly.learn.advice import advise

    with shown() as show:
        read_as = label_options(arguments)
        found = advise(path, settings=settings, labels=arguments.labels, label_options=read_as, progress=show)
    _say(found)
    say("`astroanomaly init` chooses the same; --set SECTION.KEY=VALUE there chooses otherwise")


def _of_session(path: Path, labels: Path | None, read_as: Mapping[str, Any]) -> tuple[Advice, ...]:
    """Say what was chosen when a session was made; compare it by labels where these are given."""
    from astroanomaly.learn.advice import advise
    from astroanomaly.session.session import Session

    session = Session.open(path)
    stored = session.advice
    if not stored:
        say("an earlier version made this session, and measured nothing: it keeps what it has")
    if labels is None:
        return stored
    settings = {section: session.settings[section] for section in ("session", "stretch", "input")}
    settings["input"] = settings["input"] | {"views": session.model_input.views}
    settings["backbone"] = to_plain(session.context.backbone) | {"layers": "auto"}
    with shown() as show:
        found = advise(session.cache, settings=settings, labels=labels, label_options=read_as, progress=show)
    return stored + found[-1:]


def _say(advice: Sequence[Advice]) -> None:
    """Print a paragraph for each: reasons are too long for a table."""
    for one in advice:
        say(f"{one.name}: {one.text}")
