"""Run a benchmark: all its trials one after another, then the table, the figures and, on request, the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import figures
from astroanomaly.benchmark.pools import Case, draw_pool, list_cases
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.report import command_of, write_report
from astroanomaly.benchmark.statistics import DEPTHS, SHOWN, chance_rate, last_rounds, scatter
from astroanomaly.benchmark.store import (
    RESULTS,
    TrialFolder,
    check_setup,
    finished_trials,
    learnt_labels,
    trial_path,
    write_results,
)
from astroanomaly.benchmark.trial import Trial
from astroanomaly.cache import Cache
from astroanomaly.errors import ConfigError, LabelError, StorageError
from astroanomaly.files import write_json
from astroanomaly.labels.options import LabelOptions
from astroanomaly.labels.tables import read_truth
from astroanomaly.learn.advice import choose_views
from astroanomaly.learn.settings import build_settings
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Progress, drain

__all__ = ["BenchmarkResult", "benchmark", "benchmark_steps"]

_PUBLISHED_PROTOCOL = Protocol()


@dataclass(frozen=True)
class BenchmarkResult:
    """Result of a benchmark.

    Attributes
    ----------
    results
        One mapping per ranker, class, seed and round.
    columns, rows
        The table of means and scatters over the seeds, last round; of the anomalies found, also the least of all seeds.
    files
        What was written.
    """

    results: Sequence[Mapping[str, Any]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    files: Sequence[Path]


def benchmark(
    cache: str | Path, *, progress: Callable[[Progress], None] | None = None, **arguments: Any
) -> BenchmarkResult:
    """Run `benchmark_steps` to its end."""
    return drain(benchmark_steps(cache, **arguments), progress)


def benchmark_steps(
    cache: str | Path,
    *,
    truth: str | Path,
    column: str,
    anomalies: Sequence[str],
    out: str | Path,
    rankers: Sequence[str] = ("probe",),
    protocol: Protocol = _PUBLISHED_PROTOCOL,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    report: bool = False,
    truth_options: Mapping[str, Any] | None = None,
    labels_of: str | Path | None = None,
    keep_scores: bool = False,
    draw: bool = True,
) -> Generator[Progress, None, BenchmarkResult]:
    """Measure rankers; a generator of progress reports.

    Each round of a (ranker, class, seed) that ``out`` holds already, measured with the same settings, is not measured
    again.

    Parameters
    ----------
    cache
        The cutouts.
    truth, column
        A table with the true class of every object, matched as labels are: by id, by unique base name or by position;
        and its column.
    anomalies
        Values of the column that count as anomaly, one benchmark each unless the protocol takes all kinds at once.
    out
        Folder for ``results.csv``, ``summary.json``, figures, and the rounds that are finished.
    rankers
        Names of the rankers.
    protocol
        How labels are given.
    settings
        Settings by section, as in a session.
    report
        Whether to write ``report.md`` too.
    truth_options
        How the table is read, by the names of `Session.import_labels`: ``ra``, ``dec``, ``frame``, ``unit``, ``words``,
        ``skip_unmatched``, ``match_radius_arcsec``.
    labels_of
        Folder of a finished benchmark of the same rankers, classes and seeds: each trial begins with the labels that
        the last round of its like learnt from.
    keep_scores
        Whether truth and scores of every round are kept, for curves by round.
    draw
        Whether to draw the figures.

    Raises
    ------
    LabelError
        If the truth lacks a class, or has too few objects of one.
    ConfigError
        If the folder holds a benchmark with other settings, or what is asked for contradicts itself.
    """
    opened = Cache.open(cache)
    read_as = LabelOptions.of(truth_options)
    classes = read_truth(Path(truth), column, opened.ids, opened.positions, read_as)
    cases = list_cases(anomalies, protocol)
    named = list(dict.fromkeys([*anomalies, *protocol.unlabelled_kinds]))
    for name in named:
        if name not in set(classes.values()):
            raise LabelError(f"no object of {truth} has {column}={name!r}; it has {_some(set(classes.values()))}")
    if load_plugins("ranker").ranker(protocol.start_with).needs_labels:
        raise ConfigError(f"{protocol.start_with} needs labels itself: start with one that does not, as cold")
    chosen = build_settings(settings or {})
    chosen["input"], _ = choose_views(opened, chosen["stretch"], chosen["input"], chosen["session"].seed)
    chosen["backbone"] = chosen["backbone"].chosen(chosen["input"].views)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be made: {error.strerror or error}") from error
    setup: dict[str, Any] = {
        "cache": str(Path(cache).absolute()),
        "objects": len(opened),
        "column": column,
        "protocol": {k: v for k, v in asdict(protocol).items() if k != "seeds"},
        "settings": {section: asdict(options) for section, options in chosen.items()},
    }
    if protocol.pool is not None:  # which classes may be in a pool depends on all that are named
        setup["anomalies"] = named
    if labels_of is not None:
        setup["labels_of"] = Path(labels_of).name
    check_setup(out, setup)
    rows = finished_trials(out, protocol.cycles)
    trials = [(ranker, case, seed) for case in cases for ranker in rankers for seed in range(protocol.seeds)]
    sort_key = _table_order(cases, rankers)
    for done, (ranker, case, seed) in enumerate(trials):
        yield Progress("benchmark", done, len(trials))
        folder = TrialFolder(trial_path(out, ranker, case.name, seed))
        if len(folder.read()) == protocol.cycles:
            continue
        pool = draw_pool(classes, case, named, protocol, seed)
        given = {} if labels_of is None else learnt_labels(trial_path(Path(labels_of), ranker, case.name, seed))
        rows += yield from Trial(opened, chosen, protocol, ranker, case, seed, pool, folder, given, keep_scores).run()
        write_results(out, sorted(rows, key=sort_key))
    yield Progress("benchmark", len(trials), len(trials))
    results = sorted(rows, key=sort_key)
    write_results(out, results)
    names, seeds = _class_names(cases), range(protocol.seeds)  # the folder may hold more than what was asked for now
    mine = [row for row in results if row["ranker"] in rankers and row["class"] in names and row["seed"] in seeds]
    honest_expert = protocol.expert == "top"
    result = _finish(out, mine, rankers, cases, honest_expert, draw=draw)
    if not report:
        return result
    command = command_of(cache, truth, column, anomalies, protocol, rankers, settings or {}, out, read_as)
    path = write_report(out, mine, rankers, command, setup["settings"], result.files, honest_expert=honest_expert)
    return replace(result, files=[path, *result.files])


def _table_order(cases: Sequence[Case], rankers: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Return the sort key of rows of the table: as the command names things, then what was measured before."""
    names = _class_names(cases)

    def sort_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        kind, ranker = row["class"], row["ranker"]
        kinds = (names.index(kind) if kind in names else len(names), kind)
        others = (rankers.index(ranker) if ranker in rankers else len(rankers), ranker, row["seed"], row["round"])
        return (*others, *kinds) if cases[0].all_kinds else (*kinds, *others)

    return sort_key


def _class_names(cases: Sequence[Case]) -> list[str]:
    return [name for case in cases for name in (case.kinds.values() if case.all_kinds else [case.name])]


def _some(values: set[str]) -> str:
    shown = ", ".join(repr(value) for value in sorted(values)[:10])
    return shown + (f" and {len(values) - 10} more" if len(values) > 10 else "")


def _finish(
    out: Path,
    results: Sequence[Mapping[str, Any]],
    rankers: Sequence[str],
    cases: Sequence[Case],
    honest_expert: bool,
    *,
    draw: bool,
) -> BenchmarkResult:
    """Write the summary and the figures, and make the table."""
    files = [out / RESULTS, out / "summary.json"]
    summary, rows = [], []
    ends = last_rounds(results)
    early = [f"found_{depth}" for depth in DEPTHS]
    known = [key for key in early if any(math.isfinite(row.get(key, math.nan)) for row in ends)]
    shown = [*(["found"] if honest_expert else []), *SHOWN, *known]
    for name in _class_names(cases):
        for ranker in rankers:
            chosen = [row for row in ends if (row["ranker"], row["class"]) == (ranker, name)]
            values = {key: [row.get(key, math.nan) for row in chosen] for key in (*SHOWN, "found", *early)}
            both = {key: scatter(each) for key, each in values.items()}
            least = {
                key: min((one for one in each if math.isfinite(one)), default=math.nan) for key, each in values.items()
            }
            summary.append(
                {
                    "ranker": ranker,
                    "class": name,
                    "seeds": len(chosen),
                    "round": ends[0]["round"],
                    "mean": {key: _plain(mean) for key, (mean, _) in both.items()},
                    "scatter": {key: _plain(spread) for key, (_, spread) in both.items()},
                    "least": {key: _plain(each) for key, each in least.items()},
                }
            )
            cells = (
                f"{both[k][0]:.3f} +- {both[k][1]:.3f}" + (f", least {least[k]:g}" if k.startswith("found") else "")
                for k in shown
            )
            rows.append((ranker, name, str(len(chosen)), *cells))
    write_json(out / "summary.json", {"results": summary})
    if draw:
        files += _draw(out, results, rankers, cases, honest_expert)
    return BenchmarkResult(results, ("ranker", "class", "seeds", *shown), rows, files)


def _draw(
    out: Path, results: Sequence[Mapping[str, Any]], rankers: Sequence[str], cases: Sequence[Case], honest_expert: bool
) -> list[Path]:
    files = []
    rankings: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # truth and scores of unlabelled objects
    for case in cases:
        for ranker in rankers:
            pair = TrialFolder(trial_path(out, ranker, case.name, 0)).read_scores()
            if pair is not None and np.isfinite(pair[1]).all() and len(pair[0]):
                rankings[f"{ranker}, {case.name}"] = pair
    if any(there.any() and not there.all() for there, _ in rankings.values()):
        files.append(out / "curves.png")
        figures.performance_curves(rankings, files[-1], title="first seed, last round, unlabelled objects")
    files.append(out / "learning.png")
    figures.learning_curves(results, files[-1], chance=chance_rate(results) if honest_expert else 0.0)
    if len({row["ranker"] for row in results}) > 1:
        files.append(out / "cost.png")
        figures.costs(results, files[-1])
    return files


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
