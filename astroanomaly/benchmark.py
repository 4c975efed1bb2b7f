"""Measure rankers by the reference protocol on any labelled image set.

The protocol is that of Gomez & O'Ryan 2025 (arXiv:2505.03509): a few labels to begin with, then rounds of training,
each followed by labels for the highest-scored objects. Figures are measured on what is still unlabelled.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from astroanomaly import metrics
from astroanomaly.cache import Cache
from astroanomaly.cache.schema import atomic_path, write_json
from astroanomaly.errors import ConfigError, LabelError, StorageError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.label_files import match_ids, read_truth_column
from astroanomaly.plugins import load_plugins
from astroanomaly.records import ANOMALY, NOMINAL, Labelled, Progress
from astroanomaly.settings import SessionConfig, build_settings

__all__ = ["BenchmarkResult", "Expert", "Protocol", "benchmark", "benchmark_steps"]

_SHOWN = (
    "auroc",
    "auprc",
    "average_precision",
    "precision_10",
    "precision_20",
    "precision_50",
    "precision_100",
    "precision_0.1pct",
    "precision_1pct",
    "efficiency_0.1pct",
    "efficiency_1pct",
    "seconds",
)


@dataclass(frozen=True)
class Protocol:
    """How labels are given.

    Parameters
    ----------
    initial
        Anomalies and nominal objects labelled at the start, drawn at random.
    cycles
        Rounds of training; the figures of a round are measured before the labelling that follows it.
    add
        Anomalies and nominal objects labelled between rounds.
    seeds
        Repeats with other initial labels.
    expert
        ``paper``: the highest-scored true anomalies and the highest-scored nominal objects get labels, which is
        idealised; ``top``: as many of the highest-scored objects as they come.
    """

    initial: tuple[int, int] = (5, 495)
    cycles: int = 3
    add: tuple[int, int] = (10, 10)
    seeds: int = 5
    expert: Literal["paper", "top"] = "paper"

    def __post_init__(self) -> None:
        if min(self.initial) < 0 or min(self.add) < 0:
            raise ConfigError(f"initial labels {self.initial} and added labels {self.add} must not be negative")


class Expert:
    """Knows the truth and tells it one object at a time: nobody else may look.

    Parameters
    ----------
    truth
        Whether each object is an anomaly.
    """

    def __init__(self, truth: Mapping[str, bool]) -> None:
        self._truth = truth
        self.shown: dict[str, str] = {}

    def draw(self, anomalies: int, nominal: int, rng: np.random.Generator) -> None:
        """Label random objects of both kinds, as examples that were known beforehand.

        Raises
        ------
        LabelError
            If there are not that many.
        """
        for wanted, label in ((anomalies, ANOMALY), (nominal, NOMINAL)):
            pool = sorted(i for i, odd in self._truth.items() if odd == (label == ANOMALY) and i not in self.shown)
            if len(pool) < wanted:
                raise LabelError(f"{wanted} objects were to be labelled {label}, but the truth has only {len(pool)}")
            self.shown.update({pool[k]: label for k in rng.choice(len(pool), wanted, replace=False)})

    def review(self, ranked: Sequence[str], anomalies: int, nominal: int, how: str) -> None:
        """Go down a ranking and label; see `Protocol`. Objects without a truth are passed over."""
        unseen = (i for i in ranked if i in self._truth and i not in self.shown)
        left = {ANOMALY: anomalies, NOMINAL: nominal}
        for count, object_id in enumerate(unseen):
            label = ANOMALY if self._truth[object_id] else NOMINAL
            if how == "top":
                if count == anomalies + nominal:
                    return
            elif not left[label]:
                continue
            left[label] -= 1
            self.shown[object_id] = label
            if how == "paper" and not any(left.values()):
                return

    @property
    def anomalies(self) -> int:
        """Number of anomalies in all."""
        return sum(self._truth.values())

    @property
    def labels(self) -> Labelled:
        """Labels given so far."""
        return Labelled(tuple(self.shown), tuple(self.shown.values()))

    def judge(self, ids: Sequence[str], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Truth and scores of the objects that have no label: for measuring only, after the ranker has finished."""
        rest = [k for k, i in enumerate(ids) if i in self._truth and i not in self.shown]
        return np.array([self._truth[ids[k]] for k in rest], bool), np.asarray(scores)[rest]


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark gave.

    Attributes
    ----------
    results
        One mapping per ranker, class, seed and round.
    columns, rows
        The table of means and scatters over the seeds, last round.
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
    steps = benchmark_steps(cache, **arguments)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if progress is not None:
            progress(step)


def benchmark_steps(
    cache: str | Path,
    *,
    truth: str | Path,
    column: str,
    anomalies: Sequence[str],
    out: str | Path,
    rankers: Sequence[str] = ("probe",),
    protocol: Protocol = Protocol(),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Generator[Progress, None, BenchmarkResult]:
    """Measure rankers; a generator of progress reports.

    Each (ranker, class, seed) that ``out`` holds already, measured with the same settings, is not measured again.

    Parameters
    ----------
    cache
        The cutouts.
    truth, column
        A table with the true class of every object, matched by id or by unique base name, and its column.
    anomalies
        Values of the column that count as anomaly, one benchmark each.
    out
        Folder for ``results.csv``, ``summary.json`` and figures.
    rankers
        Names of the rankers.
    protocol
        How labels are given.
    settings
        Settings by section, as in a session.
    """
    opened = Cache.open(cache)
    classes = _true_classes(opened, Path(truth), column)
    for name in anomalies:
        if name not in set(classes.values()):
            raise LabelError(f"no object of {truth} has {column}={name!r}; it has {_some(set(classes.values()))}")
    chosen = build_settings(settings or {})
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be made: {error.strerror or error}") from error
    setup = {
        "cache": str(Path(cache).absolute()),
        "objects": len(opened),
        "column": column,
        "protocol": {k: v for k, v in asdict(protocol).items() if k != "seeds"},
        "settings": {section: asdict(options) for section, options in chosen.items()},
    }
    setup = json.loads(json.dumps(setup))
    results = _earlier_results(out, setup)
    write_json(out / "settings.json", setup)
    finished = {(r["ranker"], r["class"], r["seed"]) for r in results}
    units = [(r, a, s) for a in anomalies for r in rankers for s in range(protocol.seeds)]
    last_scores: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for done, (ranker, anomaly, seed) in enumerate(units):
        yield Progress("benchmark", done, len(units))
        if (ranker, anomaly, seed) in finished:
            continue
        expert = Expert({i: value == anomaly for i, value in classes.items()})
        unit = _Unit(opened, chosen, protocol, ranker, anomaly, seed, expert)
        for row in unit.run():
            if isinstance(row, Progress):
                yield row
            else:
                results.append(row)
        last_scores.setdefault(f"{ranker}, {anomaly}", unit.last)
        _write_results(out, results)
    yield Progress("benchmark", len(units), len(units))
    return _report(out, results, rankers, anomalies, last_scores)


@dataclass
class _Unit:
    """One ranker on one class with one seed."""

    cache: Cache
    settings: Mapping[str, Any]
    protocol: Protocol
    ranker: str
    anomaly: str
    seed: int
    expert: Expert
    last: tuple[np.ndarray, np.ndarray] = (np.zeros(0, bool), np.zeros(0))

    def run(self) -> Generator[Progress | dict[str, Any], None, None]:
        from astroanomaly.learn.batches import ModelInput

        made: Any = load_plugins().ranker(self.ranker)
        session: SessionConfig = replace(self.settings["session"], seed=self.seed)
        seen = ModelInput.measure(
            self.cache, self.settings["stretch"], self.settings["input"], np.random.default_rng((session.seed, 0))
        )
        context = RankerContext((NOMINAL, ANOMALY), seen, self.settings["backbone"], self.seed, session.device, None)
        fitted = made(self.settings[made.section], context)
        rng = np.random.default_rng((self.seed, 7))
        self.expert.draw(*self.protocol.initial, rng)
        for cycle in range(1, self.protocol.cycles + 1):
            started = time.perf_counter()
            yield from fitted.fit(self.cache, self.expert.labels)
            ids: list[str] = []
            parts = []
            for scores in fitted.score(self.cache):
                ids.extend(scores.ids)
                parts.append(-scores.log_odds[:, 0])
                yield Progress("scoring", len(ids), len(self.cache))
            values = np.concatenate(parts)
            seconds = time.perf_counter() - started
            self.last = self.expert.judge(ids, values)
            shown = list(self.expert.shown.values())
            yield {
                "ranker": self.ranker,
                "class": self.anomaly,
                "seed": self.seed,
                "round": cycle,
                "labelled_anomaly": shown.count(ANOMALY),
                "labelled_nominal": shown.count(NOMINAL),
                "unlabelled": len(self.last[0]),
                **metrics.evaluate(*self.last),
                "seconds": round(seconds, 2),
            }
            if cycle < self.protocol.cycles:
                ranked = [ids[k] for k in np.argsort(-values, kind="stable")]
                self.expert.review(ranked, *self.protocol.add, self.protocol.expert)


def _true_classes(cache: Cache, path: Path, column: str) -> dict[str, str]:
    """Read the class of every object, matched by id or unique base name."""
    given = read_truth_column(path, column)
    matched = match_ids(list(given), list(cache.ids))
    return {object_id: given[name] for name, object_id in matched.items()}


def _some(values: set[str]) -> str:
    shown = ", ".join(repr(value) for value in sorted(values)[:10])
    return shown + (f" and {len(values) - 10} more" if len(values) > 10 else "")


# ------------------------------------------------------------------------------------------------------ what is kept


def _earlier_results(out: Path, setup: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Results of an earlier run with the same settings; others in the same folder are an error, never mixed in."""
    settings, table = out / "settings.json", out / "results.csv"
    if not settings.is_file() or not table.is_file():
        return []
    if json.loads(settings.read_text(encoding="utf-8")) != setup:
        raise ConfigError(f"{out} holds a benchmark with other settings: choose another --out")
    with table.open(newline="", encoding="utf-8") as handle:
        return [{key: _parsed(key, text) for key, text in row.items()} for row in csv.DictReader(handle)]


def _parsed(key: str, text: str) -> Any:
    if key in ("ranker", "class"):
        return text
    return float(text) if key in _SHOWN else int(text)


def _write_results(out: Path, results: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(out / "results.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(results[0]))
        writer.writeheader()
        writer.writerows(results)


def _report(
    out: Path,
    results: Sequence[Mapping[str, Any]],
    rankers: Sequence[str],
    anomalies: Sequence[str],
    last_scores: Mapping[str, tuple[np.ndarray, np.ndarray]],
) -> BenchmarkResult:
    """Write the summary and the figures, and make the table."""
    from astroanomaly import figures

    last = max(row["round"] for row in results)
    summary, rows = [], []
    for anomaly in anomalies:
        for ranker in rankers:
            chosen = [r for r in results if (r["ranker"], r["class"], r["round"]) == (ranker, anomaly, last)]
            means = {key: float(np.mean([row[key] for row in chosen])) for key in _SHOWN}
            scatters = {key: float(np.std([row[key] for row in chosen], ddof=len(chosen) > 1)) for key in _SHOWN}
            summary.append(
                {
                    "ranker": ranker,
                    "class": anomaly,
                    "seeds": len(chosen),
                    "round": last,
                    "mean": means,
                    "scatter": scatters,
                }
            )
            rows.append((ranker, anomaly, str(len(chosen)), *(f"{means[k]:.3f} +- {scatters[k]:.3f}" for k in _SHOWN)))
    write_json(out / "summary.json", {"results": summary})
    files = [out / "results.csv", out / "summary.json"]
    if last_scores:
        files.append(out / "curves.png")
        figures.performance_curves(
            last_scores, files[-1], title="first seed measured now, last round, unlabelled objects"
        )
    files.append(out / "learning.png")
    figures.learning_curves(results, files[-1])
    return BenchmarkResult(results, ("ranker", "class", "seeds", *_SHOWN), rows, files)
