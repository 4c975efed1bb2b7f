"""The command line: parse, call one function, show what came of it."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

from astroanomaly._version import __version__
from astroanomaly.cli.common import add_command
from astroanomaly.cli.terminal import announced, error
from astroanomaly.errors import AstroAnomalyError

__all__ = ["COMMANDS", "JOBS", "build_parser", "main"]

JOBS = {  # in the order of the work; each command is the file of its name beside this one
    "try it": {
        "demo": "run the whole job on a small simulated sky",
        "sources": "list installed sources and rankers, and plugins that do not load",
    },
    "get images": {
        "ingest": "cut the objects of a survey into a cache",
        "info": "say what a cache, a session or this installation is",
        "advise": "measure the images of a cache, and say what a session would choose and why",
    },
    "search": {
        "init": "start a session in one or more caches",
        "serve": "open the labelling app in a browser",
        "train": "train a ranker on the labels so far and score every object",
        "candidates": "list the objects to look at next",
        "similar": "list the objects most like others, of the session or of a survey that was scored",
        "labels": "import, export or check labels",
        "score": "score objects that the latest ranker has not scored yet",
        "campaign": "divide objects among several people, and say how far they are and how far they agree",
    },
    "see what is left": {
        "audit": "draw objects at random for a blind check, from what nobody has labelled",
        "remaining": "say how many anomalies are left, and what the next N hold",
        "inject": "add simulated light to real cutouts, and say what fraction of it the search would find",
    },
    "is it known": {
        "crossmatch": "look objects up in catalogues and services: SIMBAD, NED, Gaia, SkyBoT, or tables of your own",
        "summary": "count anomalies by class, by whether they are known, and by reference",
    },
    "take results home": {
        "export": "write a catalogue of anomalies",
        "footprint": "write which part of the sky was searched, as a MOC for Aladin and TOPCAT",
        "cutouts": "write objects as FITS cutouts with WCS, bands and units",
        "report": "write a report with pictures as one HTML file",
        "bundle": "write table, cutouts, pictures, report and labels for another machine, or check a bundle",
        "reproduce": "compute the ranking of a bundle again, and compare it with the scores that it holds",
    },
    "look after a session": {
        "rounds": "list the rounds of a session, or remove those that are not needed",
        "relocate": "tell a session where its caches are, after they were moved",
    },
    "compare and prepare networks": {
        "pretrain": "train a network on the images of a cache alone, as weights to begin with",
        "benchmark": "measure rankers on a labelled image set",
    },
}
COMMANDS = {name: summary for commands in JOBS.values() for name, summary in commands.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 when all went well, 2 for an error that the message explains, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    try:
        with announced(_beginning(words)):
            arguments = build_parser(words).parse_args(words)
            _prepare_logging(verbose=arguments.verbose)
            _prepare_process()
            arguments.run(arguments)
    except AstroAnomalyError as problem:
        error(str(problem))
        if "arguments" in locals() and arguments.verbose:
            raise
        return 2
    except KeyboardInterrupt:
        error("stopped; what was finished is kept, and the same command goes on from there")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _beginning(words: Sequence[str]) -> str:
    """Say what a command begins with: the first of its words that is a file or folder is opened."""
    name = next((word for word in words if word in COMMANDS), "astroanomaly")
    target = next((word for word in words if word != name and os.path.exists(word)), "")
    return f"{name}: opening {target} ..." if target else f"{name}: starting ..."


def _prepare_logging(*, verbose: bool) -> None:
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if not verbose:
        logging.getLogger("astroanomaly_plugins").setLevel(logging.WARNING)  # as when an archive is replaced
        os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # Dask sets its levels when it is imported


def _prepare_process() -> None:
    """Let threads of torch sleep while they wait, and let this process open as many files as it may.

    Two busy processes would otherwise slow each other down; a large cache has thousands of memory-mapped files.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def build_parser(words: Iterable[str]) -> argparse.ArgumentParser:
    """Make the parser.

    Parameters
    ----------
    words
        The command line. Only the commands that are named there get their flags, so that none waits for what others
        import; ``COMMANDS`` names them all.
    """
    words = list(words)
    parser = argparse.ArgumentParser(
        prog="astroanomaly",
        description="Find the rare objects in an imaging survey from a handful of examples.",
        epilog=_commands_by_job(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"astroanomaly {__version__}")
    parser.add_argument("--verbose", action="store_true", help="show log messages, and the traceback of an error")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, help="one of those below, each with its own --help"
    )
    for name, summary in COMMANDS.items():
        command = add_command(commands, name, summary, listed=False)
        if name in words:
            importlib.import_module(f"astroanomaly.cli.{name}").add(command, words)
    return parser


def _commands_by_job() -> str:
    """List the commands under what one wants to do, as wide as the terminal."""
    width = max(40, shutil.get_terminal_size().columns - 2)
    column = max(map(len, COMMANDS)) + 4
    lines = []
    for job, commands in JOBS.items():
        lines.append(f"{job}:")
        for name, summary in commands.items():
            first = f"  {name}".ljust(column)
            lines.append(textwrap.fill(summary, width, initial_indent=first, subsequent_indent=" " * column))
        lines.append("")
    return "\n".join([*lines, "Documentation: https://astroanomaly.readthedocs.io"])


def _complete() -> None:
    """Answer the shell that asks how a line goes on, and end, where the extra ``completion`` is installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(build_parser(os.environ.get("COMP_LINE", "").split()))
