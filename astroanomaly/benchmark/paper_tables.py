"""The tables of the page that sets the paper's studies beside the published figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astroanomaly.benchmark.pages import Part, command, heading, picture, table, text
from astroanomaly.benchmark.published import CLASS_NAMES, SOURCES, Published, published
from astroanomaly.benchmark.report import between, circumstances, signed
from astroanomaly.benchmark.statistics import Interval, Row, differences, last_rounds, of_round, per_seed
from astroanomaly.benchmark.studies import Study

__all__ = ["Measured", "page_parts"]

_COLUMNS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "efficiency_0.1pct": "found in the first 0.1 %",
    "precision_0.1pct": "precision there",
    "efficiency_1pct": "found in the first 1 %",
    "precision_1pct": "precision there",
}
_TABLES = {
    "classes": "Tables 1 and 2: each class",
    "iterations": "Table 3: steps of a round",
    "learning": "Table 4: with and without active learning",
    "labels": "Table 5: number of labels",
}
_FIRST_COLUMN = {"classes": "class", "iterations": "steps", "learning": "labels", "labels": "labels at first"}
_WAYS = ("with", "without", "at once, as gathered", "at once, drawn")
_EXPLAINED = {
    "classes": "Three rounds unless said otherwise; figures of the last one, on what has no label yet.",
    "iterations": "The same protocol with other numbers of training steps in each round, on the first class.",
    "learning": "With: labels chosen by the ranking are added after every round. Without: none are added. At once, as "
    "gathered: a network trained once, from the pretrained weights, on the labels that the last round of the first "
    "line learnt from, for as many steps as all its rounds together; both are measured on the same objects. At once, "
    "drawn: as many labels, drawn at random.",
    "labels": "A fifth and twice as many labels at first, half and twice as many added after every round.",
}
_OTHER_POOLS = (
    "Published figures have no scatter: one seed each. They come from other pools (miniImageNet with 65,000 pictures, "
    "GalaxyMNIST with 10,000 galaxies) and from the authors' own program, so that a difference says as much about the "
    "pool as about the program."
)
_NO_REPRODUCTION = (
    "This is the small preset: a tenth of the labels, a twentieth of the training steps, 48 px. It shows that every "
    "study runs. Its figures are no reproduction and must not be compared with the published ones."
)


@dataclass(frozen=True)
class Measured:
    """A study with its results.

    Attributes
    ----------
    study
        What was varied.
    results
        One mapping per ranker, class, seed and round.
    """

    study: Study
    results: Sequence[Row]


def page_parts(
    measured: Sequence[Measured],
    words: str,
    preset: str,
    pictures: Mapping[Path, str],
    settings: Mapping[str, Mapping[str, Any]],
) -> list[Part]:
    """Return all parts of the page.

    Parameters
    ----------
    measured
        All studies.
    words
        The command.
    preset
        Its name.
    pictures
        Captions of the figures by path.
    settings
        All that held, by section and name, but for the number of steps.
    """
    usual = measured[0].study
    seeds = usual.protocol.seeds
    parts = [
        text(
            "The studies of Gómez & O'Ryan (arXiv:2505.03509), run by this command. Means over "
            f"{seeds} seed{'s' * (seeds != 1)}"
            + (", with the interval that holds the true mean in 95 of 100 cases (Student's t)." if seeds > 1 else ".")
        ),
        command(words),
        text(circumstances()),
        *([text(_NO_REPRODUCTION)] if preset == "small" else []),
    ]
    for name, title in _TABLES.items():
        rows = list(_class_rows(measured[0])) if name == "classes" else list(_varied_rows(name, measured))
        if not rows:
            continue
        parts += [heading(title), text(_EXPLAINED[name])]
        titles = ["ranker", _FIRST_COLUMN[name], *_COLUMNS.values()]
        titles += [] if name == "classes" else ["AUPRC, difference to the first line"]
        if preset != "small":
            titles.append("AUPRC, published")
            rows = [(*row, _published_auprc(name, row[1])) for row in rows]
        parts += [table(titles, rows), _published_table(name)]
    parts.append(text(_OTHER_POOLS))
    parts.append(heading("Figures 4 to 8"))
    seen = "Lines are means over the seeds, bands one standard deviation."
    parts += [text(seen), *(picture(path, caption) for path, caption in pictures.items())]
    parts += [
        heading("Every round"),
        table(("study", "ranker", "round", "labels", "AUROC", "AUPRC"), _rounds(measured)),
    ]
    parts += [heading("Settings"), _settings_table(settings)]
    parts += [heading("Where the published figures come from"), table(("", "source"), list(SOURCES.items()))]
    return parts


def _class_rows(usual: Measured) -> Iterator[tuple[str, ...]]:
    for ranker in usual.study.rankers:
        mine = [row for row in last_rounds(usual.results) if row["ranker"] == ranker]
        for name in usual.study.anomalies:
            rows = [row for row in mine if row["class"] == name]
            yield (ranker, _class_name(name), *_cells(rows))
        if len(usual.study.anomalies) > 1:
            means = (Interval.of(per_seed(of_round(mine, key))) for key in _COLUMNS)
            yield (ranker, "mean of classes", *(between(one, 3, most=1) for one in means))


def _varied_rows(name: str, measured: Sequence[Measured]) -> Iterator[tuple[str, ...]]:
    """Write the rows of a study of the first class, each with its paired difference to the first row."""
    first = measured[0].study.anomalies[0]
    found = {row: one for one in measured for table_name, row in one.study.rows if table_name == name}
    order = _WAYS if name == "learning" else sorted(found, key=int)
    for ranker in measured[0].study.rankers:
        rows = {
            row: [
                {**one, "ranker": row} for one in found[row].results if (one["ranker"], one["class"]) == (ranker, first)
            ]
            for row in order
            if row in found and ranker in found[row].study.rankers
        }
        if len(rows) < 2:
            continue
        start = next(iter(rows))
        for row, results in rows.items():
            change = differences([*rows[start], *results], start, row, "auprc") if row != start else None
            yield (ranker, row, *_cells(last_rounds(results)), "" if change is None else signed(change))


def _cells(rows: Sequence[Row]) -> Iterator[str]:
    for key in _COLUMNS:
        yield between(Interval.of([float(row[key]) for row in rows]), 3, most=1)


def _published_table(name: str) -> Part:
    rows = [(one.row, *_published_cells(one), one.source) for one in published(name)]
    return table((f"published: {_FIRST_COLUMN[name]}", "AUROC", "AUPRC", "precision in the first 1 %", "source"), rows)


def _published_cells(one: Published) -> Iterator[str]:
    for key, digits in (("auroc", 2), ("auprc", 2), ("precision_1pct", 2)):
        value = one.figures.get(key)
        yield "" if value is None else f"{value:.{digits}f}"


def _published_auprc(name: str, row: str) -> str:
    """Return the published figure of a row, where there is one."""
    known = [one.figures["auprc"] for one in published(name) if row.partition(" (")[0] == one.row]
    return f"{known[0]:.2f}" if len(known) == 1 else ""


def _class_name(name: str) -> str:
    return f"{CLASS_NAMES[name]} ({name})" if name in CLASS_NAMES else name


def _rounds(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    rows = []
    for one in measured:
        for ranker in one.study.rankers:
            for number in sorted({row["round"] for row in one.results}):
                chosen = [row for row in one.results if (row["ranker"], row["round"]) == (ranker, number)]
                labels = Interval.of([row["labelled_anomaly"] + row["labelled_nominal"] for row in chosen])
                means = (
                    between(Interval.of([float(row[key]) for row in chosen]), 3, most=1) for key in ("auroc", "auprc")
                )
                rows.append((one.study.name, ranker, str(number), f"{labels.mean:.0f}", *means))
    return rows


def _settings_table(settings: Mapping[str, Mapping[str, Any]]) -> Part:
    return table(
        ("section", "settings"),
        [(name, ", ".join(f"{key}={value}" for key, value in each.items())) for name, each in settings.items()],
    )
