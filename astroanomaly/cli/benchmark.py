"""The command that measures rankers: benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.benchmark.compare import compare
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.studies import PRESETS
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.cli.common import count, set_flag
from astroanomaly.cli.flags import add_renamed
from astroanomaly.cli.label_flags import add_label_flags, label_options
from astroanomaly.cli.progress import follow
from astroanomaly.cli.terminal import say, show_table
from astroanomaly.errors import ConfigError
from astroanomaly.learn.engine.device import tune_allocator
from astroanomaly.learn.settings import settings_sections
from astroanomaly.ranking import STRATEGIES

if TYPE_CHECKING:
    from astroanomaly.benchmark.run import BenchmarkResult

__all__ = ["add"]


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the flags, and what the command does."""
    parser.set_defaults(run=_benchmark)
    parser.add_argument("cache", type=Path, nargs="?", metavar="CACHE", help="folder of the cache")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="table with the true class of every object (needed)")
    parser.add_argument("--column", default="label", metavar="NAME", help="its column with the class (default: label)")
    add_label_flags(parser, column=False)
    parser.add_argument(
        "--anomaly", action="append", metavar="CLASS", help="class that counts as anomaly (needed); may be repeated"
    )
    parser.add_argument(
        "--initial",
        nargs=2,
        type=int,
        metavar=("A", "N"),
        help="anomalies and nominal objects labelled at first (default: 5 495)",
    )
    parser.add_argument("--cycles", type=count, metavar="N", help="rounds of training (default: 3)")
    parser.add_argument(
        "--add",
        nargs=2,
        type=int,
        metavar=("A", "N"),
        help="labels added after every round (default: 10 10)",
    )
    parser.add_argument(
        "--expert",
        choices=["paper", "top"],
        help="paper: labels the highest-scored true anomalies and nominal objects; top: the highest-scored objects as "
        "they come (default: paper)",
    )
    parser.add_argument(
        "--batch",
        type=count,
        metavar="N",
        help="instead of --cycles, --add and --expert: the N highest-scored objects get labels as they come, then all "
        "is ranked anew",
    )
    parser.add_argument(
        "--verdicts", type=count, metavar="N", help="with --batch: labels given after the start in all (default: 200)"
    )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="score",
        help="with --expert top or --batch: the order in which objects come, as of candidates (default: score)",
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
        "--all-kinds", action="store_true", help="the anomaly classes are label classes of their own in one benchmark"
    )
    add_renamed(parser, "--together", "--all-kinds")
    parser.add_argument(
        "--unlabelled-kind",
        action="append",
        default=[],
        metavar="CLASS",
        help="with --all-kinds: a further class of anomalies, none labelled at first; may be repeated",
    )
    parser.add_argument("--seeds", type=count, metavar="N", help="repeats with other initial labels (default: 5)")
    parser.add_argument("--ranker", action="append", metavar="NAME", help="may be repeated (default: probe)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for results.csv, summary.json and figures"
    )
    parser.add_argument("--report", action="store_true", help="also write report.md: settings, intervals, figures")
    parser.add_argument(
        "--compare", nargs="+", type=Path, metavar="DIR", help="measure nothing: compare what lies in these folders"
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="run the studies of the published paper, all of them, and set them beside its figures: paper.html",
    )
    parser.add_argument(
        "--preset",
        choices=list(PRESETS),
        help="with --paper: full, as published; small: a tenth of the labels, a twentieth of the steps, in minutes "
        "(default: full)",
    )
    set_flag(parser, "input.size=128")


def _benchmark(arguments: argparse.Namespace) -> None:
    if arguments.compare:
        lines, files = compare(arguments.compare, arguments.out)
        for line in lines:
            say(line)
        for path in files:
            say(f"see {path}")
        return
    if arguments.cache is None or arguments.truth is None or not arguments.anomaly:
        raise ConfigError("a benchmark needs CACHE, --truth and --anomaly; only --compare does without them")
    from astroanomaly.benchmark.paper import paper_steps
    from astroanomaly.benchmark.run import benchmark_steps

    tune_allocator()
    common: dict[str, Any] = {
        "truth": arguments.truth,
        "column": arguments.column,
        "anomalies": arguments.anomaly,
        "out": arguments.out,
        "settings": parse_assignments(arguments.set, settings_sections()),
        "truth_options": label_options(arguments),
    }
    if arguments.paper:
        rankers = arguments.ranker or ["fixmatch"]
        result = follow(paper_steps(arguments.cache, rankers=rankers, **_paper(arguments), **common))
        _show(result)
        return
    if arguments.preset:
        raise ConfigError("--preset goes with --paper: it says how much of the paper's studies is measured")
    protocol = Protocol(
        **_given(arguments, "initial", "seeds"),
        **_rounds(arguments),
        strategy=arguments.strategy,
        start_with=arguments.start_with,
        part=arguments.part,
        rate=arguments.rate,
        pool=None if arguments.pool is None else tuple(arguments.pool),
        wrong=arguments.wrong,
        all_kinds=arguments.all_kinds,
        unlabelled_kinds=tuple(arguments.unlabelled_kind),
    )
    result = follow(
        benchmark_steps(
            arguments.cache,
            rankers=arguments.ranker or ["probe"],
            protocol=protocol,
            report=arguments.report,
            **common,
        )
    )
    _show(result)


def _show(result: BenchmarkResult) -> None:
    show_table("mean and scatter over the seeds, last round", result.columns, result.rows)
    for path in result.files:
        say(f"see {path}")


def _given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return what was given of some flags; several numbers become a tuple."""
    said = {name: getattr(arguments, name) for name in names}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in said.items() if value}


def _paper(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the paper's studies take from the flags; the rest of the protocol is theirs."""
    refused = ("batch", "verdicts", "expert", "wrong", "all_kinds", "unlabelled_kind")
    for name in (*refused, *(["strategy"] if arguments.strategy != "score" else [])):
        if getattr(arguments, name):
            raise ConfigError(f"--paper has a protocol of its own: leave --{name.replace('_', '-')} out")
    return _given(arguments, "preset", "initial", "add", "seeds", "cycles", "part", "rate", "pool")


def _rounds(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was said of the rounds: how many and what is labelled after each, or verdicts between rankings."""
    said = {name: getattr(arguments, name) for name in ("cycles", "add", "expert", "batch", "verdicts")}
    said = {name: tuple(value) if name == "add" else value for name, value in said.items() if value is not None}
    if "batch" in said:
        for name in ("cycles", "add", "expert"):
            if name in said:
                raise ConfigError(f"--batch says after how many verdicts all is ranked anew: leave --{name} out")
    elif "verdicts" in said:
        raise ConfigError("--verdicts goes with --batch: say after how many verdicts all is ranked anew")
    return said
