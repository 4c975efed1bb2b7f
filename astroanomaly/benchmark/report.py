"""The report of a benchmark as a page of Markdown: what was run, tables with intervals, figures."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import os
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.statistics import (
    DEPTHS,
    SHOWN,
    Interval,
    Row,
    differences,
    found_after,
    last_rounds,
    of_round,
    per_seed,
    scatter,
)
from astroanomaly.files import atomic_path
from astroanomaly.labels.options import LabelOptions

__all__ = ["between", "circumstances", "command_of", "sections", "signed", "words_of", "write_page", "write_report"]

_REPORTED_METRICS = (*SHOWN, "top_100")
_COMPARED_METRICS = ("auroc", "auprc", "average_precision", "precision_20", "precision_100", "found")
_EARLY_METRICS = tuple(f"found_{depth}" for depth in DEPTHS)
_ROUNDS_LISTED = 40  # of more, about so many are listed
_MEAN_OF_CLASSES = "mean of classes"


def words_of(truth_options: LabelOptions) -> list[str]:
    """Return the flags that say how a table of the truth is read."""
    words: list[str] = []
    for name in ("ra", "dec", "frame", "unit"):
        value = getattr(truth_options, name)
        words += [f"--{name}", value] if value else []
    words += [f"--map={word}={label}" for word, label in truth_options.words.items()]
    words += ["--skip-unmatched"] if truth_options.skip_unmatched else []
    radius = truth_options.match_radius_arcsec
    return words + ([f"--match-radius={radius:g}arcsec"] if radius != LabelOptions.match_radius_arcsec else [])


def command_of(
    cache: str | Path,
    truth: str | Path,
    column: str,
    anomalies: Sequence[str],
    protocol: Protocol,
    rankers: Sequence[str],
    settings: Mapping[str, Mapping[str, Any]],
    out: Path,
    truth_options: LabelOptions,
) -> str:
    """Return the command that runs this benchmark; flags that say what holds anyway are left out."""
    words: list[Any] = ["astroanomaly", "benchmark", cache, "--truth", truth, "--column", column]
    words += words_of(truth_options)
    for name in anomalies:
        words += ["--anomaly", name]
    usual = Protocol()
    rounds = ("batch", "verdicts") if protocol.batch else ("cycles", "add", "expert")
    for name in ("initial", *rounds, "strategy", "start_with", "seeds"):
        value = getattr(protocol, name)
        if value != getattr(usual, name):
            words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    for name in ("part", "rate", "pool", "wrong"):
        value = getattr(protocol, name)
        if value:
            words += [f"--{name}", *(value if isinstance(value, tuple) else [value])]
    if protocol.all_kinds:
        words.append("--all-kinds")
    for kind in protocol.unlabelled_kinds:
        words += ["--unlabelled-kind", kind]
    for name in rankers:
        words += ["--ranker", name]
    for section, options in settings.items():
        for key, value in options.items():
            words += ["--set", f"{section}.{key}={value}"]
    return shlex.join(map(str, [*words, "--out", out, "--report"]))


def write_report(
    out: Path,
    results: Sequence[Row],
    rankers: Sequence[str],
    command: str,
    settings: Mapping[str, Mapping[str, Any]],
    files: Sequence[Path],
    *,
    honest_expert: bool,
) -> Path:
    """Write ``report.md``; see `sections`.

    Parameters
    ----------
    out
        Its folder.
    results
        One mapping per ranker, class, seed and round.
    rankers
        In the order to show; the first is the one that the others are compared with.
    command
        What was run.
    settings
        All that held, by section and name: defaults change.
    files
        What else was written: pictures are shown.
    honest_expert
        Whether verdicts were given in the order shown, so that finding by chance is a measure.
    """
    head = ["# Benchmark", "", "```", command, "```", "", circumstances(), ""]
    pictures = [path for path in files if path.suffix == ".png"]
    tables = sections(results, rankers, honest_expert=honest_expert)
    return write_page(out / "report.md", [*head, *tables, *_shown(pictures), *_settings(settings)])


def write_page(path: Path, lines: Sequence[str]) -> Path:
    """Write a page in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return path


def sections(results: Sequence[Row], rankers: Sequence[str], *, honest_expert: bool) -> Iterator[str]:
    """Write the tables: last round, differences to the first ranker, anomalies found, every round."""
    names = list(dict.fromkeys(row["class"] for row in results))
    ends = last_rounds(results)
    yield from (
        f"## Round {ends[0]['round']}" if len({row["round"] for row in ends}) == 1 else "## Last round",
        "",
        "Mean ± standard deviation over the seeds; a seed without an unlabelled anomaly left has no figure.",
        "",
    )
    yield from _table(("ranker", "class", "seeds", *map(_word, _REPORTED_METRICS)), _figures(ends, rankers, names))
    if len(rankers) > 1:
        yield from (f"## Difference to {rankers[0]}", "")
        yield (
            "Mean over the pairs of class and seed, last round, with the interval that holds the true mean in 95 of "
            "100 cases (Student's t)."
        )
        yield ""
        rows = []
        compared = (*_COMPARED_METRICS, *(_EARLY_METRICS if honest_expert else ()))
        for ranker in rankers[1:]:
            found = {key: differences(results, rankers[0], ranker, key) for key in compared}
            count = max(one.count for one in found.values())
            rows.append((ranker, str(count), *(signed(one) for one in found.values())))
        yield from _table(("ranker", "pairs", *map(_word, compared)), rows)
    if honest_expert:
        yield from _found(results, rankers, names)
    most = max(row["round"] for row in results)
    step = math.ceil(most / _ROUNDS_LISTED)
    yield from (
        "## Every round" if step == 1 else f"## Rounds in steps of {step}",
        "",
        "Means over classes and seeds; those without an unlabelled anomaly left have no AUROC and AUPRC.",
        "",
    )
    yield from _table(
        ("ranker", "round", "labels", "AUROC", "AUPRC", "given", "found"), _rounds(results, rankers, step)
    )


def _figures(ends: Sequence[Row], rankers: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for ranker in rankers:
        mine = [row for row in ends if row["ranker"] == ranker]
        for name in names:
            rows = [row for row in mine if row["class"] == name]
            cells = (_spread(*scatter([float(row[key]) for row in rows]), key) for key in _REPORTED_METRICS)
            yield (ranker, name, str(len(rows)), *cells)
        if len(names) > 1:
            means = {key: per_seed(of_round(mine, key)) for key in _REPORTED_METRICS}
            count = max(map(len, means.values()))
            yield (
                ranker,
                _MEAN_OF_CLASSES,
                str(count),
                *(_spread(*scatter(means[key]), key) for key in _REPORTED_METRICS),
            )


def _found(results: Sequence[Row], rankers: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Compare the anomalies found within some verdicts with chance."""
    most = max(row["given"] for row in results)
    depths = [depth for depth in DEPTHS if depth <= most] or [most]
    yield from ("## Anomalies found", "")
    yield (
        "Among the verdicts given after the start, with the 95 % interval of the mean over the seeds (Student's t), "
        "the least of all seeds, and as a multiple of what verdicts on objects drawn at random would find."
    )
    yield ""
    rows = []
    for ranker in rankers:
        for depth in depths:
            found: dict[tuple[str, int], float] = {}
            times: dict[tuple[str, int], float] = {}
            for name, seed in sorted({(row["class"], row["seed"]) for row in results if row["ranker"] == ranker}):
                trial = [row for row in results if (row["ranker"], row["class"], row["seed"]) == (ranker, name, seed)]
                found[name, seed], chance = found_after(trial, depth)
                times[name, seed] = found[name, seed] / chance if chance > 0 else math.nan
            for name in [*names, *([_MEAN_OF_CLASSES] if len(names) > 1 else [])]:
                parts = [
                    per_seed(each)
                    if name == _MEAN_OF_CLASSES
                    else [value for (kind, _), value in each.items() if kind == name]
                    for each in (found, times)
                ]
                one, other = map(Interval.of, parts)
                least = f"{min(parts[0]):g}" if parts[0] else ""
                rows.append((ranker, name, str(one.count), str(depth), between(one, 1), least, between(other, 2)))
    yield from _table(("ranker", "class", "seeds", "verdicts", "found", "least", "times chance"), rows)


def _rounds(results: Sequence[Row], rankers: Sequence[str], step: int) -> Iterator[tuple[str, ...]]:
    for ranker in rankers:
        numbers = sorted({row["round"] for row in results if row["ranker"] == ranker})
        for number in sorted({*numbers[::step], numbers[-1]}):
            rows = [row for row in results if (row["ranker"], row["round"]) == (ranker, number)]
            labels = scatter([row["labelled_anomaly"] + row["labelled_nominal"] for row in rows])[0]
            means = {key: scatter([float(row[key]) for row in rows])[0] for key in ("auroc", "auprc", "given", "found")}
            cells = (_number(means["auroc"], 3), _number(means["auprc"], 3), _number(means["given"], 0))
            yield (ranker, str(number), _number(labels, 0), *cells, _number(means["found"], 1))


def circumstances() -> str:
    """Say with which versions, on what machine and when a page was made."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("astroanomaly", "torch", "timm"))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"{versions}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores, {today}."


def _shown(pictures: Sequence[Path]) -> Iterator[str]:
    if pictures:
        yield from ("## Figures", "")
    for path in sorted(pictures, key=lambda path: path.name != "learning.png"):
        yield from (f"![{path.stem}]({path.name})", "")


def _settings(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield from ("## Settings", "")
    yield from _table(
        ("section", "settings"),
        [(name, ", ".join(f"{key}={value}" for key, value in each.items())) for name, each in settings.items()],
    )


def _table(titles: Sequence[str], rows: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[str]:
    for line in (titles, ["---"] * len(titles), *rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
    yield ""


def _word(key: str) -> str:
    words = {"auroc": "AUROC", "auprc": "AUPRC", "average_precision": "average precision", "top_100": "in the top 100"}
    name, _, depth = key.partition("_")
    if key in words or not depth:
        return words.get(key, key)
    return f"{name} at {depth.replace('pct', ' %')}"


def _spread(mean: float, deviation: float, key: str) -> str:
    digits = {"seconds": 2, "top_100": 1}.get(key, 3)
    return f"{_number(mean, digits)} ± {_number(deviation, digits)}" if math.isfinite(mean) else ""


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else ""


def signed(found: Interval) -> str:
    """Write the mean of a difference with its interval: ``+0.119 (-0.186 to +0.424)``."""
    if not math.isfinite(found.half):
        return f"{found.mean:+.3f}" if math.isfinite(found.mean) else ""
    return f"{found.mean:+.3f} ({found.mean - found.half:+.3f} to {found.mean + found.half:+.3f})"


def between(found: Interval, digits: int, most: float = math.inf) -> str:
    """Write a mean with its interval, cut at 0 and the largest possible value: ``0.61 (0.58 to 0.64)``.

    One value is no interval: it is written alone.
    """
    if not math.isfinite(found.half):
        return _number(found.mean, digits)
    low, high = max(found.mean - found.half, 0), min(found.mean + found.half, most)
    return f"{found.mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
