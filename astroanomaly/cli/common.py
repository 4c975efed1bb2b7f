"""What several commands share: how they are added, flags, kinds of values, words."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.cli.terminal import say
from astroanomaly.errors import ConfigError, UnreadableError
from astroanomaly.parallel.cores import available_cores
from astroanomaly.sky import read_angle

if TYPE_CHECKING:
    from astroanomaly.records import Labelled
    from astroanomaly.session.folder import SessionFolder

__all__ = [
    "add_command",
    "choice_flags",
    "chosen",
    "cluster_flags",
    "count",
    "escape_flag",
    "in_words",
    "many",
    "merge_flag",
    "merge_radius",
    "read_ids",
    "refuse_idle_workers",
    "say_missing_caches",
    "say_unfinished",
    "scheduler_flag",
    "set_flag",
    "workers_flag",
]


def add_command(commands: Any, name: str, summary: str, *, listed: bool = True) -> argparse.ArgumentParser:
    """Add a command, or a verb of one, and return its parser; its flags are spelt whole."""
    description = f"{summary[0].upper()}{summary[1:]}."
    shown = {"help": summary} if listed else {}
    return commands.add_parser(name, **shown, description=description, allow_abbrev=False)


def workers_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers", type=count, default=available_cores(), metavar="N", help="processes (default: all cores)"
    )


def scheduler_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--scheduler``."""
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="work on a Dask cluster: the address of its scheduler, such as tcp://host:8786; or local, a cluster of "
        "processes on this machine",
    )


def cluster_flags(parser: argparse.ArgumentParser, *, more: str = "") -> None:
    """Add ``--scheduler``, and ``--workers`` of a local one, or of ``more``."""
    scheduler_flag(parser)
    parser.add_argument(
        "--workers", type=count, metavar="N", help=f"processes of `--scheduler local`{more} (default: all cores)"
    )


def refuse_idle_workers(arguments: argparse.Namespace) -> None:
    """Refuse ``--workers`` that would do nothing.

    Raises
    ------
    ConfigError
        If there is no ``--scheduler``.
    """
    if arguments.workers is not None and arguments.scheduler is None:
        raise ConfigError("--workers goes with --scheduler local: without a cluster this process uses all cores")


def set_flag(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--set SECTION.KEY=VALUE``."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help=f"change a setting, as in {example}",
    )


def escape_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--escape-formulas``."""
    parser.add_argument(
        "--escape-formulas",
        action="store_true",
        help="in CSV for a spreadsheet: put an apostrophe before text that it would run as a formula",
    )


def merge_flag(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--merge-radius``; ``what`` says what is done with duplicates."""
    parser.add_argument("--merge-radius", metavar="ANGLE", help=f"{what} (default: 1arcsec; 0: keep all)")


def merge_radius(arguments: argparse.Namespace) -> float:
    """Return the radius in arcsec that ``--merge-radius`` says.

    Raises
    ------
    ConfigError
        If it is no angle.
    """
    return read_angle(arguments.merge_radius or "1arcsec", "arcsec", plain="arcsec", name="--merge-radius")


def choice_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which objects of a session are written; `chosen` reads them."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--top", type=count, metavar="N", help="the N highest scores (default: 100)")
    which.add_argument("--threshold", type=float, metavar="P", help="all whose probability is at least P")
    which.add_argument("--labelled", metavar="LABEL", help="all with this label; anomalies: with any but nominal")
    which.add_argument("--ids", type=Path, metavar="FILE", help="these objects: a text file with one id in each line")
    merge_flag(parser, "merge duplicates within")


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was chosen by `choice_flags`, as `Session.write_report` takes it.

    Raises
    ------
    UnreadableError
        If the file of ids cannot be read.
    """
    ids = None if arguments.ids is None else read_ids(arguments.ids)
    return {
        "top": arguments.top,
        "threshold": arguments.threshold,
        "labelled": arguments.labelled,
        "ids": ids,
        "merge_radius_arcsec": merge_radius(arguments),
    }


def read_ids(path: Path) -> list[str]:
    """Read object ids, one in each line; empty lines are left out.

    Raises
    ------
    UnreadableError
        If there is no such file, or it holds no text or no id.
    """
    try:
        ids = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(f"{path} cannot be read as text with an object id in each line: {error}") from error
    if not ids:
        raise UnreadableError(f"{path} holds no object id: give one in each line")
    return list(dict.fromkeys(ids))


def in_words(nbytes: int) -> str:
    """Say how large a file is: ``3.2 MB``."""
    size, unit = float(nbytes), "bytes"
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a count of 1 or more")
    return number


def many(number: int, what: str, several: str = "") -> str:
    """Count things in words: ``1 object``, ``2 objects``."""
    return f"{number} {what}" if number == 1 else f"{number} {several or what + 's'}"


def say_unfinished(session: SessionFolder) -> None:
    """Say that there is a later round than the one that is looked at, and if a cache is not there."""
    say_missing_caches(session)
    later = session.unfinished_round
    if later is not None:
        say(f"round {later.number} has not scored all objects yet (`astroanomaly score {session.path}` goes on)")
    if session.is_scored and session.labels.last_event > session.last_round.last_event:
        last = session.last_round
        learnt, given = (
            session.labels.labelled(until=last.last_event, draws=last.audit_draws),
            session.labels.labelled(),
        )
        newer = len(_said(given) - _said(learnt))
        if newer:
            say(f"{many(newer, 'label')} newer than round {last.number}, whose scores these are: `astroanomaly train "
                f"{session.path}` learns from them")  # fmt: skip


def _said(labelled: Labelled) -> set[tuple[str, str, int]]:
    """Return id, label class and rank of the grade of each object."""
    ranks = labelled.ranks or (0,) * len(labelled)
    return set(zip(labelled.ids, labelled.classes, ranks, strict=True))


def say_missing_caches(session: SessionFolder) -> None:
    """Say which caches of a session are not there, and what that means for what needs no pixels."""
    if not session.has_caches:
        gone = [str(folder) for folder in session.cache_folders if not (folder / "cache.json").is_file()]
        say(
            f"not there: {', '.join(gone)}; so catalogue columns are left out, and positions that were not kept with "
            f"the scores (`astroanomaly relocate {session.path} --cache ITS_NEW_PLACE`)"
        )
