"""The command that writes FITS cutouts: cutouts."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from astroanomaly.cli.common import choice_flags, chosen, in_words, many, read_ids, say_unfinished
from astroanomaly.cli.progress import shown
from astroanomaly.cli.terminal import say
from astroanomaly.errors import ConfigError

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_cutouts)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a session, or of a cache")
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="the folder to make, or the file (default: FOLDER-cutouts, here)"
    )
    choice_flags(parser)
    parser.add_argument("--one-file", action="store_true", help="write all into one FITS file instead of one file each")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file, or a folder that this command has made"
    )


def _cutouts(arguments: argparse.Namespace) -> None:
    from astroanomaly.cache import Cache
    from astroanomaly.session.session import Session

    name = f"{arguments.folder.absolute().name}-cutouts{'.fits' if arguments.one_file else ''}"
    out = arguments.out or Path(name)
    how = {"one_file": arguments.one_file, "overwrite": arguments.overwrite}
    if (arguments.folder / "session.toml").exists() or not (arguments.folder / "cache.json").exists():
        session = Session.open(arguments.folder)
        say_unfinished(session)
        with shown() as show:
            names = session.write_cutouts(out, **how, **chosen(arguments), progress=show)
    else:
        if (arguments.top, arguments.threshold, arguments.labelled, arguments.merge_radius) != (None,) * 4:
            raise ConfigError("a cache has no scores and labels to choose by: give --ids FILE, or a session")
        cache = Cache.open(arguments.folder)
        ids = cache.ids if arguments.ids is None else read_ids(arguments.ids)
        with shown() as show:
            names = cache.write_cutouts(ids, out, **how, progress=show)
    parts = [out] if arguments.one_file else [item for item in out.iterdir() if item.is_file()]
    say(f"{many(len(names), 'cutout')} in {out} ({in_words(sum(item.stat().st_size for item in parts))})")
