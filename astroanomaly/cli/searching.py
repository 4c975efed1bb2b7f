"""Commands of a search under way: train, score, serve, candidates, remaining, export."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.cli.common import arcsec, cluster_flags, command, count, many, refuse_idle_workers
from astroanomaly.cli.surveys import named_source, source_flags, source_options
from astroanomaly.errors import CacheError, ConfigError
from astroanomaly.ranking import ORDERS
from astroanomaly.records import DEFAULT_RANKER

if TYPE_CHECKING:
    from astroanomaly.session import Session

__all__ = ["add"]


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the commands; ``score`` has the flags of the source that the words name."""
    command(commands, "train", _train, "train a ranker on the labels so far and score every object", _train_flags)
    summary = "score objects that the latest ranker has not scored yet"
    command(commands, "score", _score, summary, functools.partial(_score_flags, words=words))
    command(commands, "serve", _serve, "open the labelling app in a browser", _serve_flags)
    command(commands, "candidates", _candidates, "list the objects to look at next", _candidates_flags)
    summary = "say how many anomalies are left, and what the next N hold"
    command(commands, "remaining", _remaining, summary, _remaining_flags)
    command(commands, "export", _export, "write a catalogue of anomalies", _export_flags)


def _train_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--ranker",
        default=DEFAULT_RANKER,
        metavar="NAME",
        help=f"tuned, fixmatch, probe, cold or another of `astroanomaly sources` (default: {DEFAULT_RANKER})",
    )
    parser.add_argument(
        "--iterations", type=count, metavar="N", help="training steps of this round (tuned, fixmatch, supervised)"
    )
    cluster_flags(parser)


def _train(arguments: argparse.Namespace) -> None:
    from astroanomaly.learn.device import tune_allocator
    from astroanomaly.session import Session
    from astroanomaly.terminal import follow, say

    tune_allocator()
    session = Session.open(arguments.session)
    options = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    refuse_idle_workers(arguments)
    where = {"scheduler": arguments.scheduler, "workers": arguments.workers}
    report = follow(session.train_steps(arguments.ranker, **where, **options))
    learnt = ", ".join(f"{count} {label}" for label, count in report.labels.items())
    say(f"round {report.round.number}: {arguments.ranker}" + (f" learnt from {learnt}" if learnt else ""))
    for picture in sorted(report.round.path.glob("*.png")):
        say(f"see {picture}")
    say(f"next: astroanomaly candidates {arguments.session}")


def _score_flags(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--cache", type=Path, metavar="OTHER_CACHE", help="a further cache, which joins the session")
    which.add_argument(
        "--source",
        nargs="+",
        metavar=("NAME", "INPUT"),
        help="a whole survey, straight through: its source and what that reads, followed by the source's own options",
    )
    survey = parser.add_argument_group("a whole survey (--source)")
    survey.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for its scores and its best cutouts, which join the session"
    )
    survey.add_argument("--top", type=count, metavar="K", help="how many of the best cutouts are kept (default: 1000)")
    survey.add_argument("--prefix", metavar="TEXT", help="put before every object id")
    survey.add_argument(
        "--retry-failed", action="store_true", help="cut and score the pieces again in which objects have failed"
    )
    cluster_flags(parser, more=", or that cut a survey")
    source = named_source(words)
    parser.set_defaults(source_plugin=source)
    if source is not None:
        source_flags(parser, source)


def _score(arguments: argparse.Namespace) -> None:
    from astroanomaly.learn.device import tune_allocator
    from astroanomaly.parallel import available_cores
    from astroanomaly.session import Session
    from astroanomaly.terminal import follow, say

    if (arguments.source is None) != (arguments.out is None):
        raise ConfigError("--source and --out belong together: a survey, and a folder for its scores and best cutouts")
    if arguments.source is None:
        for name in ("top", "prefix", "retry_failed"):
            if getattr(arguments, name):
                raise ConfigError(f"--{name.replace('_', '-')} goes with --source")
        refuse_idle_workers(arguments)
    tune_allocator()
    session = Session.open(arguments.session)
    if arguments.source is None:
        steps = session.score_steps(arguments.cache, scheduler=arguments.scheduler, workers=arguments.workers)
        last = follow(steps)
        say(f"{len(session.cache)} objects scored by {last.ranker} of round {last.number}")
        return
    source = arguments.source_plugin
    options, fetch = source_options(arguments, source)
    survey = session.score_source_steps(
        source.name,
        arguments.source[1:],
        out=arguments.out,
        top=arguments.top or 1000,
        prefix=arguments.prefix or "",
        workers=arguments.workers or available_cores(),
        scheduler=arguments.scheduler,
        fetch=fetch,
        retry_failed=arguments.retry_failed,
        options=options,
    )
    report = follow(survey)
    unseen = f"{report.no_coverage} without coverage, " if report.no_coverage else ""
    say(f"{many(report.scored, 'object')} scored, {unseen}{report.failed.total()} failed; scores: {report.scores}")
    for reason, number in report.failed.most_common(5):
        say(f"  {number} x {reason}")
    if report.failed:
        say("to try those again: the same command with --retry-failed")
    if not report.scored:
        raise CacheError(
            f"nothing could be cut: {arguments.out} has no scores. Check the positions and whether the survey has seen "
            "them, and choose another --out"
        )
    if report.kept:
        say(f"{many(report.kept, 'cutout')} with the highest scores kept in {report.best}, now part of the session")
    say(f"next: astroanomaly candidates {arguments.session}")


def _serve_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--port", type=int, default=5006, metavar="N", help="port to listen on; 0: any (default: 5006)")
    parser.add_argument(
        "--annotator", metavar="NAME", help="name that verdicts are given under (default: your user name)"
    )
    parser.add_argument(
        "--address",
        default="127.0.0.1",
        metavar="IP",
        help="address to listen on; any but this computer's own needs a token, which is shown (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--allow-websocket-origin",
        action="append",
        default=[],
        metavar="HOST",
        help="address that browsers use when it is not this one, as HOST or HOST:PORT; may be repeated",
    )
    parser.add_argument("--prefix", default="", metavar="PATH", help="path below which a reverse proxy serves the app")
    parser.add_argument(
        "--no-background", action="store_true", help="compute no features until somebody asks for them on the page"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _serve(arguments: argparse.Namespace) -> None:
    import webbrowser

    from astroanomaly.app.server import AppServer
    from astroanomaly.session import user_name
    from astroanomaly.terminal import say

    server = AppServer(
        arguments.session,
        address=arguments.address,
        port=arguments.port,
        annotator=arguments.annotator or user_name(),
        prefix=arguments.prefix,
        origins=arguments.allow_websocket_origin,
        background=not arguments.no_background,
    )
    say(f"{arguments.session}: open {server.url}")
    if server.token:
        say(f"who has this address, with its token, can label; {server.token_kept}")
    say("Ctrl-C stops the server; every verdict is saved when its mark appears")
    if not arguments.no_browser and not arguments.prefix:
        webbrowser.open(server.url)
    server.run()


def _candidates_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("-n", type=count, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--order", choices=ORDERS, default="score", help="which first (default: score)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also draw them as a contact sheet")


def _candidates(arguments: argparse.Namespace) -> None:
    import numpy as np

    from astroanomaly.session import Session
    from astroanomaly.terminal import say, show_table

    session = Session.open(arguments.session)
    _say_unfinished(session)
    table = session.candidates(arguments.n, arguments.order)
    columns = {"object_id": [str(name) for name in table["object_id"]]}
    if np.isfinite(table["ra"]).any():  # pictures have no place on the sky
        columns["ra [deg]"] = [f"{value:.6f}" for value in table["ra"].value]
        columns["dec [deg]"] = [f"{value:+.6f}" for value in table["dec"].value]
    columns["score"] = [f"{value:+.3f}" for value in table["score"]]
    show_table("", list(columns), list(zip(*columns.values(), strict=True)))
    if arguments.sheet is not None:
        session.contact_sheet(table, arguments.sheet)
        say(f"see {arguments.sheet}")


def _remaining_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--depth", type=count, nargs="+", metavar="N", help="how many are looked at (default: 10 20 50 100 ...)"
    )


def _remaining(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import say, show_table

    session = Session.open(arguments.session)
    _say_unfinished(session)
    found = session.remaining(arguments.depth)
    say(
        f"audit set: {found.audit} labelled, {many(found.audit_anomalies, 'anomaly', 'anomalies')} among them; "
        f"{many(found.known, 'anomaly', 'anomalies')} known beside it"
    )
    named = [
        *((f"the next {depth}", item) for depth, item in zip(found.depths, found.within, strict=True)),
        (f"all {found.unlabelled} without a label", found.total),
    ]
    rows = [
        (name, f"{i.expected:.0f}", f"{i.low:.0f} to {i.high:.0f}", f"{i.low_95:.0f} to {i.high_95:.0f}")
        for name, i in named
    ]
    show_table("anomalies among the objects of the highest scores", ["objects", "expected", "90 %", "95 %"], rows)
    if not found.calibrated:
        say("not known is where in the ranking: the audit set needs anomalies and nominal objects; label more of it")


def _say_unfinished(session: Session) -> None:
    """Say that there is a later round than the one that is looked at."""
    from astroanomaly.terminal import say

    later = session.unfinished_round
    if later is not None:
        say(f"round {later.number} has not scored all objects yet (`astroanomaly score {session.path}` goes on)")


def _export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".vot .fits .ecsv .csv or .reg (DS9 regions); with --all .fits .parquet or .csv",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--top", type=count, metavar="N", help="the N highest scores (default: 100)")
    which.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="all whose probability is at least P; calibrated only with a labelled audit set",
    )
    which.add_argument("--labelled", metavar="LABEL", help="all that were given this label, as in anomaly")
    which.add_argument("--all", action="store_true", help="the scores of all objects, however many; none are merged")
    parser.add_argument(
        "--survey", type=Path, metavar="FOLDER", help="with --all: of a survey that was scored straight through instead"
    )
    parser.add_argument(
        "--merge-radius",
        metavar="ANGLE",
        help="merge duplicates within (default: 1arcsec; 0: keep all)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _export(arguments: argparse.Namespace) -> None:
    from astroanomaly.score_table import export_scores
    from astroanomaly.session import Session
    from astroanomaly.terminal import follow, say

    session = Session.open(arguments.session)
    _say_unfinished(session)
    if arguments.all:
        if arguments.merge_radius is not None:
            raise ConfigError("--all merges nothing: leave --merge-radius out")
        steps = export_scores(session, arguments.out, survey=arguments.survey, overwrite=arguments.overwrite)
        written = follow(steps)
        say(f"{written} objects written to {arguments.out}")
        return
    if arguments.survey is not None:
        raise ConfigError("--survey goes with --all: of its other objects only scores are kept")
    table = session.export(
        arguments.out,
        top=arguments.top,
        threshold=arguments.threshold,
        labelled=arguments.labelled,
        merge_radius_arcsec=arcsec(arguments.merge_radius or "1arcsec", "--merge-radius"),
        overwrite=arguments.overwrite,
    )
    say(f"{len(table)} objects written to {arguments.out}")
    if arguments.threshold is not None and "calibration" not in table.meta:
        say("the probability is NOT CALIBRATED: that takes an audit set, labelled blind, with anomalies in it")
