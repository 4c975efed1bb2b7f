"""The command that cuts the objects of a survey into a cache: ingest."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.cli.common import count, many, scheduler_flag, workers_flag
from astroanomaly.cli.progress import follow
from astroanomaly.cli.source_flags import source_flags, source_options, tell_of_record
from astroanomaly.cli.terminal import say, say_facts, show_table
from astroanomaly.errors import CacheError, ConfigError
from astroanomaly.hookspecs import DescribingSource
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.plugins import load_plugins

if TYPE_CHECKING:
    from astroanomaly.cache import Cache
    from astroanomaly.fetch import Traffic

__all__ = ["add"]

_PREVIEW_FILE = "astroanomaly-preview.png"


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add one parser for each source, with its flags, and what the command does."""
    kinds = parser.add_subparsers(title="sources", metavar="SOURCE", required=True)
    for source in load_plugins("source").sources.values():
        _add_source(kinds.add_parser(source.name, help=source.summary, description=source.summary), source)


def _add_source(parser: argparse.ArgumentParser, source: Any) -> None:
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="files, folders or addresses")
    parser.add_argument(
        "--out", type=Path, metavar="CACHE", help="folder of the new cache; not needed with --dry-run or --preview"
    )
    parser.add_argument("--prefix", default="", metavar="TEXT", help="put before every object id")
    parser.add_argument(
        "--compression", choices=["gzip"], help="compress the pixels: 14 to 44 % smaller, slower to read"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be cut and fetched, and stop")
    parser.add_argument(
        "--preview", type=count, metavar="N", help="draw N cutouts with their compass as one picture, and stop"
    )
    parser.add_argument(
        "--preview-to",
        type=Path,
        metavar="FILE",
        help=f"the picture of --preview: .png, .svg or .pdf (default: {_PREVIEW_FILE})",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="try objects that failed once more, but not those without coverage"
    )
    workers_flag(parser)
    scheduler_flag(parser)
    own = source_flags(parser, source)
    if isinstance(source, DescribingSource):
        own.add_argument(
            "--describe", action="store_true", dest="option_describe", help="say what the archive has, and stop"
        )
    parser.set_defaults(run=_ingest, source=source, refuse=parser.error)


def _ingest(arguments: argparse.Namespace) -> None:
    source = arguments.source
    if arguments.preview_to is not None and arguments.preview is None:
        raise ConfigError("--preview-to names the picture of --preview N: say how many cutouts it shows")
    if arguments.preview is not None and arguments.dry_run:
        raise ConfigError("--preview and --dry-run exclude one another: a preview tells what a dry run does, and cuts")
    stops = arguments.preview is not None or arguments.dry_run or getattr(arguments, "option_describe", False)
    if arguments.out is None and not stops:
        arguments.refuse("--out CACHE is missing; only --preview, --dry-run and the like go without")
    options, fetch, limits = source_options(arguments, source)
    with tell_of_record(fetch):
        _run(arguments, options, fetch, limits)


def _run(arguments: argparse.Namespace, options: dict[str, Any], fetch: dict[str, Any], limits: dict[str, Any]) -> None:
    from astroanomaly.cache import Cache
    from astroanomaly.ingestion.ingest import describe, ingest_steps

    source = arguments.source
    request = SourceRequest.of(
        source.name,
        arguments.inputs,
        options=options,
        prefix=arguments.prefix,
        fetch=fetch,
        limits=limits,
        retry_failed=arguments.retry_failed,
        compression=arguments.compression,
    )
    if getattr(arguments, "option_describe", False):
        say_facts(describe(request))
        return
    if arguments.dry_run:
        _show_dry_run(request)
        return
    if arguments.preview is not None:
        _show_preview(request, arguments.preview, arguments.preview_to or Path(_PREVIEW_FILE))
        return
    report = follow(ingest_steps(request, arguments.out, workers=arguments.workers, scheduler=arguments.scheduler))
    cache = Cache.open(arguments.out)
    unseen = f"{report.no_coverage} without coverage, " if report.no_coverage else ""
    say(
        f"{many(report.cut, 'cutout')} written, {unseen}{many(report.failed.total(), 'object')} failed, "
        f"{many(report.resumed, 'task')} done before"
    )
    for reason, failed in report.failed.most_common(5):
        say(f"  {failed} x {reason}")
    if getattr(source, "fetches", False):
        say(f"{_asked(report.traffic)}; {report.seconds:.1f} s")
    left = Counter(failure.kind for failure in cache.failures)
    say(
        f"{arguments.out}: {many(len(cache), 'cutout')}, bands {', '.join(cache.bands)}; "
        f"{many(left['no coverage'], 'object')} without coverage, {left['failed'] + left['no position']} failed"
    )
    if "left out" in cache.facts:
        say(f"left out: {cache.facts['left out'].text}")
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
        f"nothing could be cut: {out} holds no cutout, {many(kinds['no coverage'], 'object')} without coverage, "
        f"{kinds['failed'] + kinds['no position']} failed{why}. {way}"
    )


def _show_dry_run(request: SourceRequest) -> None:
    from astroanomaly.ingestion.ingest import dry_run

    found = dry_run(request)
    say_facts(found.facts)
    say(
        f"{many(found.objects, 'object') if found.objects else 'an unknown number of objects'} in "
        f"{many(found.tasks, 'task')}"
    )
    if found.downloads:
        rows = [(item.product, str(item.requests), _bytes(item.nbytes)) for item in found.downloads]
        total = sum(item.requests for item in found.downloads), sum(item.nbytes for item in found.downloads)
        rows.append(("in all", str(total[0]), _bytes(total[1])))
        show_table("would be fetched, where it is not kept", ["product", "requests", "bytes, estimated"], rows)
    if found.traffic.requests or found.traffic.cached:
        say(f"planning itself asked: {_asked(found.traffic)}; what it fetched is kept for the true run")
    say("nothing was written to the cache: this was a dry run")


def _show_preview(request: SourceRequest, number: int, path: Path) -> None:
    from astroanomaly.ingestion.preview import preview_steps

    found = follow(preview_steps(request, number))
    for reason, failed in Counter(failure.reason for failure in found.failures).most_common(5):
        say(f"{many(failed, 'object')} failed: {reason}")
    found.save(path)
    say(f"{path}: {many(len(found.cutouts), 'cutout')}; no cache was written: this was a preview")


def _asked(traffic: Traffic) -> str:
    return (
        f"{many(traffic.requests, 'request')} ({traffic.retries} of them again), {_bytes(traffic.nbytes)}; "
        f"{traffic.cached} answers were kept from before"
    )


def _bytes(number: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number} bytes"
