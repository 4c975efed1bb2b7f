"""The command line: parse, call one function, show what came of it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from astroanomaly._version import __version__
from astroanomaly.cli import (
    benchmark,
    candidates,
    demo,
    export,
    info,
    ingest,
    init,
    labels,
    pretrain,
    remaining,
    score,
    serve,
    sources,
    train,
)
from astroanomaly.errors import AstroAnomalyError

__all__ = ["build_parser", "main"]

_COMMANDS = (  # in the order of a search
    demo, sources, ingest, info, init, labels, train, score, serve, candidates, remaining, export, pretrain, benchmark,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0 when all went well, 2 for an error that the message explains, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser(words).parse_args(words)
        logging.basicConfig(
            level=logging.DEBUG if arguments.verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s"
        )
        if not arguments.verbose:
            logging.getLogger("astroanomaly_plugins").setLevel(logging.WARNING)  # as when an archive is replaced
            os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")  # Dask sets its levels when it is imported
        _prepare_process()
        arguments.run(arguments)
    except AstroAnomalyError as problem:
        from astroanomaly.cli.terminal import error

        error(str(problem))
        if "arguments" in locals() and arguments.verbose:
            raise
        return 2
    except KeyboardInterrupt:
        from astroanomaly.cli.terminal import error

        error("stopped; what was finished is kept, and the same command goes on from there")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


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


def build_parser(words: Sequence[str] = ("ingest",)) -> argparse.ArgumentParser:
    """Make the parser.

    Parameters
    ----------
    words
        The command line; the sources, which are plugins, are loaded only for ``ingest`` and ``score --source``.
    """
    parser = argparse.ArgumentParser(
        prog="astroanomaly", description="Find the rare objects in an imaging survey from a handful of examples."
    )
    parser.add_argument("--version", action="version", version=f"astroanomaly {__version__}")
    parser.add_argument("--verbose", action="store_true", help="show log messages, and the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add(commands, words)
    return parser
