"""The command line: parse, call one function, show what came of it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly import __version__
from astroanomaly.config import FetchConfig, parse_assignments
from astroanomaly.errors import AstroAnomalyError, CacheError, ConfigError
from astroanomaly.flags import add_flags, describe_options, given_options
from astroanomaly.plugins import load_plugins
from astroanomaly.ranking import ORDERS, STRATEGIES
from astroanomaly.records import DEFAULT_RANKER

if TYPE_CHECKING:
    from astroanomaly.cache import Cache
    from astroanomaly.fetch import Tally

__all__ = ["build_parser", "main"]


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
        _prepare_process()
        arguments.run(arguments)
    except AstroAnomalyError as problem:
        from astroanomaly.terminal import error

        error(str(problem))
        if "arguments" in locals() and arguments.verbose:
            raise
        return 2
    except KeyboardInterrupt:
        from astroanomaly.terminal import error

        error("stopped; what was finished is kept, and the same command goes on from there")
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _prepare_process() -> None:
    """Let threads of torch sleep while they wait: two busy processes would otherwise slow each other down."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


# ------------------------------------------------------------------------------------------------------- the grammar


def build_parser(words: Sequence[str] = ("ingest",)) -> argparse.ArgumentParser:
    """Make the parser.

    Parameters
    ----------
    words
        The command line; the sources, which are plugins, are loaded only for ``ingest``.
    """
    parser = argparse.ArgumentParser(
        prog="astroanomaly", description="Find the rare objects in an imaging survey from a handful of examples."
    )
    parser.add_argument("--version", action="version", version=f"astroanomaly {__version__}")
    parser.add_argument("--verbose", action="store_true", help="show log messages, and the traceback of an error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    _command(commands, "demo", _demo, "run the whole job on a small simulated sky", _demo_flags)
    _command(commands, "sources", _sources, "list installed sources and rankers, and plugins that do not load")
    ingest = commands.add_parser("ingest", help="cut the objects of a survey into a cache")
    kinds = ingest.add_subparsers(title="sources", metavar="SOURCE", required=True)
    if "ingest" in words:
        for source in load_plugins().sources.values():
            _ingest_flags(kinds.add_parser(source.name, help=source.summary, description=source.summary), source)
    _command(commands, "info", _info, "say what a cache, a session or this installation is", _info_flags)
    _command(commands, "init", _init, "start a session: one search in one or more caches", _init_flags)
    labels = commands.add_parser("labels", help="import, export or check labels")
    verbs = labels.add_subparsers(title="verbs", metavar="VERB", required=True)
    _command(verbs, "import", _labels_import, "take labels from a table", _labels_import_flags)
    _command(verbs, "export", _labels_export, "write one row per labelled object", _labels_export_flags)
    _command(verbs, "suspects", _labels_suspects, "list the labels that look most wrong", _labels_suspects_flags)
    _command(commands, "train", _train, "train a ranker on the labels so far and score every object", _train_flags)
    _command(commands, "score", _score, "score objects that the latest ranker has not scored yet", _score_flags)
    _command(commands, "serve", _serve, "open the labelling app in a browser", _serve_flags)
    _command(commands, "candidates", _candidates, "list the objects to look at next", _candidates_flags)
    _command(
        commands, "remaining", _remaining, "say how many anomalies are left, and what the next N hold", _remaining_flags
    )
    _command(commands, "export", _export, "write a catalogue of anomalies", _export_flags)
    _command(commands, "benchmark", _benchmark, "measure rankers on a labelled image set", _benchmark_flags)
    return parser


def _command(commands: Any, name: str, run: Any, summary: str, flags: Any = None) -> None:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.set_defaults(run=run)
    if flags is not None:
        flags(parser)


def _workers_flag(parser: argparse.ArgumentParser) -> None:
    from astroanomaly.parallel import available_cores

    cores = available_cores()
    parser.add_argument("--workers", type=_count, default=cores, metavar="N", help="processes (default: all cores)")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a count of 1 or more")
    return number


# ------------------------------------------------------------------------------------------------- sources and ingest


def _sources(arguments: argparse.Namespace) -> None:
    from astroanomaly.terminal import say, show_table

    registry = load_plugins()
    for source in registry.sources.values():
        say(f"{source.name}: {source.summary}  [{registry.packages['source', source.name]}]")
        show_table("", ["option", "default", "meaning"], describe_options(source.Options))
        say()
    rankers = registry.rankers.values()
    show_table(
        "rankers",
        ["name", "what it does", "package"],
        [(r.name, r.summary, registry.packages["ranker", r.name]) for r in rankers],
    )
    if registry.broken:
        say()
        show_table(
            "plugins that were skipped",
            ["plugin", "package", "reason"],
            [(item.name, item.package, item.reason) for item in registry.broken],
        )


def _ingest_flags(parser: argparse.ArgumentParser, source: Any) -> None:
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="files, folders or addresses")
    parser.add_argument("--out", type=Path, required=True, metavar="CACHE", help="folder of the new cache")
    parser.add_argument("--prefix", default="", metavar="TEXT", help="put before every object id")
    parser.add_argument("--compression", choices=["gzip"], help="compress the pixels (then no memory map)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be cut and fetched, and stop")
    parser.add_argument(
        "--retry-failed", action="store_true", help="read objects again that failed, but for those without coverage"
    )
    _workers_flag(parser)
    add_flags(parser.add_argument_group(f"options of {source.name}"), source.Options)
    if getattr(source, "fetches", False):
        add_flags(parser.add_argument_group("network"), FetchConfig, prefix="fetch")
    parser.set_defaults(run=_ingest, source=source)


def _ingest(arguments: argparse.Namespace) -> None:
    from astroanomaly.cache import Cache
    from astroanomaly.ingestion import ingest_steps
    from astroanomaly.terminal import follow, say

    source = arguments.source
    options = given_options(arguments, source.Options)
    fetch = given_options(arguments, FetchConfig, prefix="fetch") if getattr(source, "fetches", False) else {}
    if arguments.dry_run:
        _show_dry_run(arguments, options, fetch)
        return
    report = follow(
        ingest_steps(
            source.name,
            arguments.inputs,
            out=arguments.out,
            prefix=arguments.prefix,
            workers=arguments.workers,
            compression=arguments.compression,
            fetch=fetch,
            retry_failed=arguments.retry_failed,
            options=options,
        )
    )
    cache = Cache.open(arguments.out)
    unseen = f"{report.no_coverage} without coverage, " if report.no_coverage else ""
    say(
        f"{_many(report.cut, 'cutout')} written, {unseen}{_many(report.failed.total(), 'object')} failed, "
        f"{_many(report.resumed, 'task')} done before"
    )
    for reason, count in report.failed.most_common(5):
        say(f"  {count} x {reason}")
    if getattr(source, "fetches", False):
        say(f"{_asked(report.tally)}; {report.seconds:.1f} s")
    left = Counter(failure.kind for failure in cache.failures)
    say(
        f"{arguments.out}: {_many(len(cache), 'cutout')}, bands {', '.join(cache.bands)}; "
        f"{_many(left['no coverage'], 'object')} without coverage, {left['failed']} failed"
    )
    if not len(cache):
        raise _nothing_cut(cache, arguments.out)
    if left["failed"]:
        say("to try those again: the same command with --retry-failed")
    say(f"next: astroanomaly init SESSION --cache {arguments.out}")


def _nothing_cut(cache: Cache, out: Path) -> CacheError:
    """Make the error of a cache without cutouts: the most frequent reason, and what to do."""
    kinds = Counter(failure.kind for failure in cache.failures)
    reasons = Counter(failure.reason for failure in cache.failures)
    why = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
    if kinds["failed"]:
        way = "Run the same command again with --retry-failed, or with another request and another --out"
    else:
        way = "Check the positions and whether the survey has seen them, and choose another --out"
    return CacheError(
        f"nothing could be cut: {out} holds no cutout, {_many(kinds['no coverage'], 'object')} without coverage, "
        f"{kinds['failed']} failed{why}. {way}"
    )


def _show_dry_run(arguments: argparse.Namespace, options: dict[str, Any], fetch: dict[str, Any]) -> None:
    from astroanomaly.ingestion import dry_run
    from astroanomaly.terminal import say, show_table

    found = dry_run(arguments.source.name, arguments.inputs, fetch=fetch, options=options)
    say(
        f"{_many(found.objects, 'object') if found.objects else 'an unknown number of objects'} in "
        f"{_many(found.tasks, 'task')}"
    )
    if found.downloads:
        rows = [(item.product, str(item.requests), _bytes(item.nbytes)) for item in found.downloads]
        total = sum(item.requests for item in found.downloads), sum(item.nbytes for item in found.downloads)
        rows.append(("in all", str(total[0]), _bytes(total[1])))
        show_table("would be fetched, where it is not kept", ["product", "requests", "bytes, estimated"], rows)
    if found.tally.requests or found.tally.kept:
        say(f"planning itself asked: {_asked(found.tally)}; what it fetched is kept for the true run")
    say("nothing was written to the cache: this was a dry run")


def _asked(tally: Tally) -> str:
    return (
        f"{_many(tally.requests, 'request')} ({tally.retries} of them again), {_bytes(tally.nbytes)}; "
        f"{tally.kept} answers were kept from before"
    )


def _many(number: int, what: str, several: str = "") -> str:
    return f"{number} {what}" if number == 1 else f"{number} {several or what + 's'}"


def _bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"


# ----------------------------------------------------------------------------------------------------------- info


def _info_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="a cache or a session; left out: this installation"
    )
    parser.add_argument("--digest", action="store_true", help="also compute the digest of a cache (reads all pixels)")


def _info(arguments: argparse.Namespace) -> None:
    from astroanomaly import info
    from astroanomaly.terminal import show_table

    rows = info.describe(arguments.path, digest=arguments.digest)
    show_table("", ["", ""], rows)


# ------------------------------------------------------------------------------------------------------ a session


def _init_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the new session")
    parser.add_argument(
        "--cache", type=Path, action="append", required=True, help="a cache to search in; may be repeated"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="table of labels to begin with")
    parser.add_argument(
        "--audit", type=int, default=0, metavar="N", help="draw N objects for a blind check, never trained on"
    )
    parser.add_argument(
        "--from", dest="start_from", type=Path, metavar="CHECKPOINT", help="start from another session's checkpoint"
    )
    parser.add_argument(
        "--classes", default="", metavar="NAMES", help="anomaly classes of your own, separated by commas"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="change a setting, as in train.iterations=50",
    )


def _init(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.settings import settings_sections
    from astroanomaly.terminal import say

    session = Session.create(
        arguments.session,
        arguments.cache,
        classes=[name.strip() for name in arguments.classes.split(",") if name.strip()],
        settings=parse_assignments(arguments.set, settings_sections()),
        labels=arguments.labels,
        audit=arguments.audit,
        start_from=arguments.start_from,
    )
    counts = ", ".join(f"{count} {label}" for label, count in session.labels.counts().items()) or "no labels yet"
    say(f"{arguments.session}: {len(session.cache)} objects, {counts}")
    ranker = DEFAULT_RANKER if session.labels.counts() else "cold"
    say(f"next: astroanomaly serve {arguments.session} (label in a browser; nothing has to be trained before)")
    say(f"or:   astroanomaly train {arguments.session} --ranker {ranker}")


def _labels_import_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="CSV, ECSV, FITS or VOTable with object_id (or ra, dec) and label"
    )
    parser.add_argument(
        "--match-radius", default="1arcsec", metavar="ANGLE", help="for labels by position (default: 1arcsec)"
    )
    parser.add_argument(
        "--annotator", metavar="NAME", help="who said so (default: the file's column, else your user name)"
    )


def _labels_import(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import say

    session = Session.open(arguments.session)
    radius = _arcsec(arguments.match_radius)
    report = session.import_labels(arguments.file, match_radius_arcsec=radius, annotator=arguments.annotator)
    say(f"{report.added} labels added from {arguments.file}")
    for line in report.messages:
        say(f"  {line}")


def _arcsec(text: str) -> float:
    from astropy.coordinates import Angle

    try:
        return float(Angle(text).arcsec) if not _is_number(text) else float(text)
    except ValueError:
        raise ConfigError(f"--match-radius {text!r}: expected an angle such as 1arcsec") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels_export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _labels_export(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import say

    count = Session.open(arguments.session).export_labels(arguments.file, overwrite=arguments.overwrite)
    say(f"{count} labelled objects written to {arguments.file}")


def _labels_suspects_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--top", type=_count, default=50, metavar="N", help="how many (default: 50)")


def _labels_suspects(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import show_table

    table = Session.open(arguments.session).suspects(arguments.top)
    rows = [(str(i), str(said), str(like), f"{sure:.3f}") for i, said, like, sure in table.iterrows()]
    show_table("", ["object_id", "label", "looks like", "confidence"], rows)


# ----------------------------------------------------------------------------------------------- learning and looking


def _train_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--ranker",
        default=DEFAULT_RANKER,
        metavar="NAME",
        help=f"tuned, fixmatch, probe, cold or another of `astroanomaly sources` (default: {DEFAULT_RANKER})",
    )
    parser.add_argument(
        "--iterations", type=_count, metavar="N", help="training steps of this round (tuned, fixmatch, supervised)"
    )


def _train(arguments: argparse.Namespace) -> None:
    from astroanomaly.learn.device import tune_allocator
    from astroanomaly.session import Session
    from astroanomaly.terminal import follow, say

    tune_allocator()
    session = Session.open(arguments.session)
    options = {} if arguments.iterations is None else {"iterations": arguments.iterations}
    report = follow(session.train_steps(arguments.ranker, **options))
    learnt = ", ".join(f"{count} {label}" for label, count in report.labels.items())
    say(f"round {report.round.number}: {arguments.ranker}" + (f" learnt from {learnt}" if learnt else ""))
    for picture in sorted(report.round.path.glob("*.png")):
        say(f"see {picture}")
    say(f"next: astroanomaly candidates {arguments.session}")


def _score_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument("--cache", type=Path, metavar="OTHER_CACHE", help="a further cache, which joins the session")


def _score(arguments: argparse.Namespace) -> None:
    from astroanomaly.learn.device import tune_allocator
    from astroanomaly.session import Session
    from astroanomaly.terminal import follow, say

    tune_allocator()
    session = Session.open(arguments.session)
    last = follow(session.score_steps(arguments.cache))
    say(f"{len(session.cache)} objects scored by {last.ranker} of round {last.number}")


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
    parser.add_argument("-n", type=_count, default=50, metavar="N", help="how many (default: 50)")
    parser.add_argument("--order", choices=ORDERS, default="score", help="which first (default: score)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also draw them as a contact sheet")


def _candidates(arguments: argparse.Namespace) -> None:
    import numpy as np

    from astroanomaly.session import Session
    from astroanomaly.terminal import say, show_table

    session = Session.open(arguments.session)
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
        "--depth", type=_count, nargs="+", metavar="N", help="how many are looked at (default: 10 20 50 100 ...)"
    )


def _remaining(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import say, show_table

    found = Session.open(arguments.session).remaining(arguments.depth)
    say(
        f"audit set: {found.audit} labelled, {_many(found.audit_anomalies, 'anomaly', 'anomalies')} among them; "
        f"{_many(found.known, 'anomaly', 'anomalies')} known beside it"
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


def _export_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("session", type=Path, metavar="SESSION", help="folder of the session")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=".vot .fits .ecsv .csv or .reg (DS9 regions)"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--top", type=_count, metavar="N", help="the N highest scores (default: 100)")
    which.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="all whose probability is at least P; calibrated only with a labelled audit set",
    )
    which.add_argument("--labelled", metavar="LABEL", help="all that were given this label, as in anomaly")
    parser.add_argument(
        "--merge-radius",
        default="1arcsec",
        metavar="ANGLE",
        help="merge duplicates within (default: 1arcsec; 0: keep all)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _export(arguments: argparse.Namespace) -> None:
    from astroanomaly.session import Session
    from astroanomaly.terminal import say

    table = Session.open(arguments.session).export(
        arguments.out,
        top=arguments.top,
        threshold=arguments.threshold,
        labelled=arguments.labelled,
        merge_radius_arcsec=_arcsec(arguments.merge_radius),
        overwrite=arguments.overwrite,
    )
    say(f"{len(table)} objects written to {arguments.out}")
    if arguments.threshold is not None and "calibration" not in table.meta:
        say("the probability is NOT CALIBRATED: that takes an audit set, labelled blind, with anomalies in it")


# --------------------------------------------------------------------------------------------------- benchmark, demo


def _benchmark_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cache", type=Path, nargs="?", metavar="CACHE", help="folder of the cache")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="table with the true class of every object (needed)")
    parser.add_argument("--column", default="label", metavar="NAME", help="its column with the class (default: label)")
    parser.add_argument(
        "--anomaly", action="append", metavar="CLASS", help="class that counts as anomaly (needed); may be repeated"
    )
    parser.add_argument(
        "--initial",
        nargs=2,
        type=int,
        default=[5, 495],
        metavar=("A", "N"),
        help="anomalies and nominal objects labelled at first (default: 5 495)",
    )
    parser.add_argument("--cycles", type=_count, default=3, metavar="N", help="rounds of training (default: 3)")
    parser.add_argument(
        "--add",
        nargs=2,
        type=int,
        default=[10, 10],
        metavar=("A", "N"),
        help="labels added after every round (default: 10 10)",
    )
    parser.add_argument(
        "--expert",
        choices=["paper", "top"],
        default="paper",
        help="paper: labels the highest-scored true anomalies and nominal objects; top: the highest-scored objects as "
        "they come (default: paper)",
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="score",
        help="with --expert top: the order in which objects come, as of candidates (default: score)",
    )
    parser.add_argument(
        "--start-with",
        default="cold",
        metavar="RANKER",
        help="what ranks while there are no labels on both sides (default: cold)",
    )
    parser.add_argument("--part", default="", metavar="1/2", help="only this half of the objects; 2/2: the other")
    parser.add_argument(
        "--rate", type=float, metavar="SHARE", help="draw as many of the anomalies as make up this share, as 0.05"
    )
    parser.add_argument(
        "--pool",
        nargs=3,
        type=int,
        metavar=("CLASSES", "PER_CLASS", "ANOMALIES"),
        help="draw a small pool: so many other classes, objects of each, and anomalies",
    )
    parser.add_argument(
        "--wrong", type=float, default=0.0, metavar="SHARE", help="flip this share of all labels (default: 0)"
    )
    parser.add_argument(
        "--together", action="store_true", help="the anomaly classes are label classes of their own in one benchmark"
    )
    parser.add_argument(
        "--unlabelled-kind",
        action="append",
        default=[],
        metavar="CLASS",
        help="with --together: a further class of anomalies, none labelled at first; may be repeated",
    )
    parser.add_argument(
        "--seeds", type=_count, default=5, metavar="N", help="repeats with other initial labels (default: 5)"
    )
    parser.add_argument("--ranker", action="append", metavar="NAME", help="may be repeated (default: probe)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for results.csv, summary.json and figures"
    )
    parser.add_argument("--report", action="store_true", help="also write report.md: settings, intervals, figures")
    parser.add_argument(
        "--compare", nargs="+", type=Path, metavar="DIR", help="measure nothing: compare what lies in these folders"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a setting, as in input.size=128"
    )


def _benchmark(arguments: argparse.Namespace) -> None:
    from astroanomaly.benchmark import Protocol, benchmark_steps, compare
    from astroanomaly.learn.device import tune_allocator
    from astroanomaly.settings import settings_sections
    from astroanomaly.terminal import follow, say, show_table

    if arguments.compare:
        lines, files = compare(arguments.compare, arguments.out)
        for line in lines:
            say(line)
        for path in files:
            say(f"see {path}")
        return
    if arguments.cache is None or arguments.truth is None or not arguments.anomaly:
        raise ConfigError("a benchmark needs CACHE, --truth and --anomaly; only --compare does without them")
    tune_allocator()
    protocol = Protocol(
        initial=tuple(arguments.initial),
        cycles=arguments.cycles,
        add=tuple(arguments.add),
        seeds=arguments.seeds,
        expert=arguments.expert,
        strategy=arguments.strategy,
        start_with=arguments.start_with,
        part=arguments.part,
        rate=arguments.rate,
        pool=None if arguments.pool is None else tuple(arguments.pool),
        wrong=arguments.wrong,
        together=arguments.together,
        unlabelled_kinds=tuple(arguments.unlabelled_kind),
    )
    result = follow(
        benchmark_steps(
            arguments.cache,
            truth=arguments.truth,
            column=arguments.column,
            anomalies=arguments.anomaly,
            rankers=arguments.ranker or ["probe"],
            protocol=protocol,
            out=arguments.out,
            settings=parse_assignments(arguments.set, settings_sections()),
            report=arguments.report,
        )
    )
    show_table("mean and scatter over the seeds, last round", result.columns, result.rows)
    for path in result.files:
        say(f"see {path}")


def _demo_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("astroanomaly-demo"),
        metavar="DIR",
        help="folder to work in (default: astroanomaly-demo)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the simulated sky and of all else (default: 0)"
    )
    parser.add_argument(
        "--objects", type=_count, default=2000, metavar="N", help="objects on the simulated sky (default: 2000)"
    )
    parser.add_argument(
        "--iterations", type=_count, default=100, metavar="N", help="training steps of the network (default: 100)"
    )


def _demo(arguments: argparse.Namespace) -> None:
    from astroanomaly.demo import demo_steps
    from astroanomaly.learn.device import tune_allocator
    from astroanomaly.terminal import follow, say, show_table

    tune_allocator()
    say("This demo searches a SIMULATED sky: nothing in it was observed.")
    result = follow(
        demo_steps(arguments.out, seed=arguments.seed, objects=arguments.objects, iterations=arguments.iterations)
    )
    show_table(
        f"ranking {result.objects} objects, {result.planted} of them planted, after {result.labels} labels",
        result.columns,
        result.rows,
    )
    for path in result.files:
        say(f"see {path}")
    say()
    for line in result.advice:
        say(line)
