"""The command that writes a bundle for another machine, and checks one: bundle."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import choice_flags, chosen, in_words, many, say_unfinished
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say
from astroanomaly.errors import CacheError, ConfigError

__all__ = ["add"]

_SHOWN = 10  # problems of a bundle that are listed


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_bundle)
    parser.add_argument("session", type=Path, nargs="?", metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="a folder to make, or an archive called .zip (default: SESSION-bundle.zip, here)",
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="heading (default: name of the session)")
    choice_flags(parser)
    parser.add_argument(
        "--ranking",
        action="store_true",
        help="add what `reproduce` needs: settings, all labels, the checkpoint and the scores of all objects",
    )
    parser.add_argument(
        "--with-caches", action="store_true", help="add that and the cutouts of all objects, so that it needs no more"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the archive, or a folder that this command has made"
    )
    parser.add_argument("--check", type=Path, metavar="PATH", help="check a bundle from elsewhere instead")


def _bundle(arguments: argparse.Namespace) -> None:
    if (arguments.session is None) == (arguments.check is None):
        raise ConfigError("give a session to make a bundle of, or a bundle to look at: --check PATH")
    if arguments.check is not None:
        _check(arguments.check)
        return
    from astroanomaly.session.session import Session

    session = Session.open(arguments.session)
    say_unfinished(session)
    out = arguments.out or Path(f"{session.path.absolute().name}-bundle.zip")
    with shown() as show:
        table = session.write_bundle(
            out,
            title=arguments.title,
            overwrite=arguments.overwrite,
            ranking=arguments.ranking,
            include_caches=arguments.with_caches,
            **chosen(arguments),
            progress=show,
        )
    parts = [out] if out.is_file() else [item for item in out.rglob("*") if item.is_file()]
    say(f"{many(len(table), 'object')} in {out} ({in_words(sum(item.stat().st_size for item in parts))})")


def _check(path: Path) -> None:
    from astroanomaly.session.outputs.check import check_bundle

    found = check_bundle(path)
    if found.problems:
        more = len(found.problems) - _SHOWN
        lines = [*found.problems[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])]
        raise CacheError(f"{path} is not what was written: ask for it again\n  " + "\n  ".join(lines))
    say(f"{path} is whole: {many(found.objects, 'object')}, {many(found.files, 'file')}")
    say(f"{found.title}, written {found.created} by {found.software}")
