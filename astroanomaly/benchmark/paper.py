"""Run the studies of the paper of Gómez & O'Ryan, and write one page that sets them beside the published figures."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from astroanomaly import figures
from astroanomaly.benchmark.pages import write_pages
from astroanomaly.benchmark.paper_tables import Measured, page_parts
from astroanomaly.benchmark.report import words_of
from astroanomaly.benchmark.run import BenchmarkResult, benchmark_steps
from astroanomaly.benchmark.store import TrialFolder, read_results, trial_path
from astroanomaly.benchmark.studies import PRESETS, Preset, Study, list_studies
from astroanomaly.errors import ConfigError
from astroanomaly.labels.options import LabelOptions
from astroanomaly.plugins import load_plugins
from astroanomaly.records import Progress

__all__ = ["paper_steps"]

_NETWORK = "tf_efficientnet_lite0"  # of the paper
_STEPS = "train"  # the section of the rankers that train for a number of steps
_PICTURES = {
    "roc": "ROC curves, round by round",
    "precision-recall": "precision against recall, round by round",
    "efficiency": "share of the anomalies found against the share of objects inspected, round by round",
}


def paper_steps(
    cache: str | Path,
    *,
    truth: str | Path,
    column: str,
    anomalies: Sequence[str],
    out: str | Path,
    rankers: Sequence[str] = ("fixmatch",),
    preset: str = "full",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    truth_options: Mapping[str, Any] | None = None,
    initial: tuple[int, int] | None = None,
    add: tuple[int, int] | None = None,
    seeds: int | None = None,
    **narrowed: Any,
) -> Generator[Progress, None, BenchmarkResult]:
    """Measure all studies and write ``paper.md``, ``paper.html`` and the figures; a generator of progress reports.

    Every study is a benchmark in a folder of its own below ``out``; what is finished is not measured again.

    Parameters
    ----------
    cache, truth, column, anomalies, out, rankers
        As in `astroanomaly.benchmark.run.benchmark_steps`; the first class is the one that steps, ways of labelling
        and numbers of labels are compared on.
    preset
        ``full``: as published; ``small``: a tenth of the labels, a twentieth of the steps, 48 px.
    settings
        Settings by section; network and size of the input are those of the paper, or of the preset, unless given.
    truth_options
        As in `astroanomaly.benchmark.run.benchmark_steps`.
    initial, add, seeds
        As in `Protocol`; None: those of the preset.
    **narrowed
        ``cycles``, ``part``, ``rate``, ``pool`` as in `Protocol`.

    Returns
    -------
    BenchmarkResult
        The table of the usual study, and all files of the page.

    Raises
    ------
    ConfigError
        If there is no such preset, or something that a study varies is set.
    LabelError
        If the truth lacks a class, or has too few objects of one.
    """
    chosen = _preset(preset, initial, add, seeds)
    given = {section: dict(values) for section, values in (settings or {}).items()}
    if "iterations" in given.get(_STEPS, {}):
        raise ConfigError(f"the paper's studies vary {_STEPS}.iterations: leave it out")
    common: dict[str, dict[str, Any]] = {"input": {"size": chosen.size}, "backbone": {"name": _NETWORK}}
    merged = {section: {**common.get(section, {}), **given.get(section, {})} for section in {**common, **given}}
    registry = load_plugins()
    has_steps = {name: registry.ranker(name).section == _STEPS for name in rankers}
    studies = list_studies(chosen, list(dict.fromkeys(anomalies)), has_steps, **narrowed)
    out = Path(out)
    folder = out / "studies"
    measured: list[Measured] = []
    tables: list[BenchmarkResult] = []
    for number, study in enumerate(studies):
        yield Progress("studies", number, len(studies))
        result = yield from benchmark_steps(
            cache,
            truth=truth,
            column=column,
            anomalies=study.anomalies,
            out=folder / study.name,
            rankers=study.rankers,
            protocol=study.protocol,
            settings={**merged, _STEPS: {**merged.get(_STEPS, {}), "iterations": study.iterations}},
            labels_of=folder / study.labels_of if study.labels_of else None,
            keep_scores=study.name == "usual",
            draw=False,
            truth_options=truth_options,
        )
        tables.append(result)
        measured.append(Measured(study, result.results))
    yield Progress("studies", len(studies), len(studies))
    pictures = _draw(out, folder / studies[0].name, studies[0])
    columns = [column, *words_of(LabelOptions.of(truth_options))]
    words = _command(cache, truth, columns, anomalies, out, rankers, preset, given, initial, add, seeds, narrowed)
    settings_of_all = read_results(folder / "usual")[1]["settings"]
    parts = page_parts(measured, words, preset, pictures, settings_of_all)
    pages = write_pages(out, "paper", "The paper's studies, measured again", parts)
    return replace(tables[0], files=[*pages, *pictures])


def _preset(name: str, initial: tuple[int, int] | None, add: tuple[int, int] | None, seeds: int | None) -> Preset:
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}: expected one of {', '.join(PRESETS)}")
    usual = PRESETS[name]
    return replace(
        usual,
        initial=usual.initial if initial is None else initial,
        add=usual.add if add is None else add,
        seeds=usual.seeds if seeds is None else seeds,
    )


def _draw(out: Path, folder: Path, study: Study) -> dict[Path, str]:
    """Draw the curves of the usual study: one panel for each ranker and class, one line for each round."""
    panels: dict[str, dict[str, list[Any]]] = {}
    ends: dict[str, dict[str, list[Any]]] = {}
    for ranker in study.rankers:
        for name in study.anomalies:
            for number in range(1, study.protocol.cycles + 1):
                kept = [
                    TrialFolder(trial_path(folder, ranker, name, seed)).read_scores(number)
                    for seed in range(study.protocol.seeds)
                ]
                there = [pair for pair in kept if pair is not None]
                panels.setdefault(f"{ranker}, {name}", {})[f"round {number}"] = there
                if number == study.protocol.cycles:
                    ends.setdefault(ranker, {})[name] = there
    written = {}
    for curve, caption in _PICTURES.items():
        path = out / f"{curve}.png"
        figures.round_curves(panels, path, curve=curve)
        written[path] = caption
    if len(study.anomalies) > 1:
        path = out / "classes.png"
        figures.round_curves(ends, path, curve="efficiency")
        written[path] = "efficiency of all classes in the last round"
    return written


def _command(
    cache: Any,
    truth: Any,
    columns: Sequence[str],
    anomalies: Sequence[str],
    out: Path,
    rankers: Sequence[str],
    preset: str,
    settings: Mapping[str, Mapping[str, Any]],
    initial: tuple[int, int] | None,
    add: tuple[int, int] | None,
    seeds: int | None,
    narrowed: Mapping[str, Any],
) -> str:
    """Return the command that runs this."""
    words: list[Any] = ["astroanomaly", "benchmark", "--paper", cache, "--truth", truth, "--column", *columns]
    words += [word for name in anomalies for word in ("--anomaly", name)]
    words += ["--preset", preset]
    for name, value in {"initial": initial, "add": add, "seeds": seeds, **narrowed}.items():
        if value:
            words += [f"--{name}", *(value if isinstance(value, tuple) else [value])]
    words += [word for name in rankers for word in ("--ranker", name)]
    words += [
        word
        for section, options in settings.items()
        for key, value in options.items()
        for word in ("--set", f"{section}.{key}={value}")
    ]
    return shlex.join(map(str, [*words, "--out", out]))
