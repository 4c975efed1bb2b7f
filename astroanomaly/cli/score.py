"""The command that goes on scoring, or scores a whole survey: score."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroanomaly.cli.common import cluster_flags, count, many, refuse_idle_workers
from astroanomaly.cli.progress import follow
from astroanomaly.cli.source_flags import named_source, source_flags, source_options, tell_of_record
from astroanomaly.cli.terminal import say
from astroanomaly.errors import CacheError, ConfigError
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.parallel.cores import available_cores

if TYPE_CHECKING:
    from astroanomaly.session.session import Session

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, those of the source that the words name too, and what the command does."""
    parser.set_defaults(run=_score)
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cache", type=Path, metavar="OTHER_CACHE", help="a further cache, which joins the session")
    which.add_argument(
        "--source",
        nargs="+",
        metavar=("NAME", "INPUT"),
        help="score a survey without keeping its cutouts: its source and what that reads, then the source's options",
    )
    survey = parser.add_argument_group("a whole survey (--source)")
    survey.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for its scores and its best cutouts, which join the session"
    )
    survey.add_argument("--top", type=count, metavar="K", help="how many of the best cutouts are kept (default: 1000)")
    survey.add_argument(
        "--recall",
        type=float,
        metavar="SHARE",
        help="score only as many objects as are needed to find this share of the K best, for instance .95 "
        "(default: score all)",
    )
    survey.add_argument(
        "--keep-features",
        action="store_true",
        help="keep features of all objects at 8 bits, to look for similar ones (256 bytes an object)",
    )
    survey.add_argument("--prefix", metavar="TEXT", help="put before every object id")
    survey.add_argument(
        "--retry-failed", action="store_true", help="cut and score the tasks again in which objects have failed"
    )
    cluster_flags(parser, more=", or that cut a survey")
    source = named_source(words)
    parser.set_defaults(source_plugin=source)
    if source is not None:
        source_flags(parser, source)


def _score(arguments: argparse.Namespace) -> None:
    from astroanomaly.session.session import Session

    if (arguments.source is None) != (arguments.out is None):
        raise ConfigError("--source and --out belong together: a survey, and a folder for its scores and best cutouts")
    if arguments.source is None:
        for name in ("top", "recall", "keep_features", "prefix", "retry_failed"):
            if getattr(arguments, name):
                why = ": the objects of a cache join the session, which needs all scores" if name == "recall" else ""
                raise ConfigError(f"--{name.replace('_', '-')} goes with --source{why}")
        refuse_idle_workers(arguments)
    tune_allocator()
    session = Session.open(arguments.session)
    if arguments.source is None:
        _score_caches(session, arguments)
    else:
        _score_survey(session, arguments)


def _score_caches(session: Session, arguments: argparse.Namespace) -> None:
    steps = session.score_steps(arguments.cache, scheduler=arguments.scheduler, workers=arguments.workers)
    last = follow(steps)
    say(f"{len(session.cache)} objects scored by {last.ranker} of round {last.number}")


def _score_survey(session: Session, arguments: argparse.Namespace) -> None:
    source = arguments.source_plugin
    options, fetch, limits = source_options(arguments, source)
    request = SourceRequest.of(
        source.name,
        arguments.source[1:],
        options=options,
        prefix=arguments.prefix or "",
        fetch=fetch,
        limits=limits,
        retry_failed=arguments.retry_failed,
    )
    survey = session.score_source_steps(
        request,
        out=arguments.out,
        top=arguments.top or 1000,
        recall=arguments.recall,
        keep_features=arguments.keep_features,
        workers=arguments.workers or available_cores(),
        scheduler=arguments.scheduler,
    )
    with tell_of_record(fetch):
        report = follow(survey)
    unseen = f"{report.no_coverage} without coverage, " if report.no_coverage else ""
    done = "cut" if report.cascade else "scored"
    say(f"{many(report.scored, 'object')} {done}, {unseen}{report.failed.total()} failed; scores: {report.scores}")
    if report.cascade:
        say(str(report.cascade))
    for reason, number in report.failed.most_common(5):
        say(f"  {number} x {reason}")
    if report.failed.total() > report.no_position:
        say("to try those again: the same command with --retry-failed")
    if not report.scored:
        raise CacheError(
            f"nothing could be cut: {arguments.out} has no scores. Check the positions and whether the survey has seen "
            "them, and choose another --out"
        )
    if report.kept:
        say(f"{many(report.kept, 'cutout')} with the highest scores kept in {report.best}, now part of the session")
    if arguments.keep_features:
        say(f"to look for similar objects: astroanomaly similar {arguments.session} OBJECT --survey {arguments.out}")
    say(f"next: astroanomaly candidates {arguments.session}")
