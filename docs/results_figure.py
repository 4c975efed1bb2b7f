"""Draw the figure of the results page from its tables: ``python docs/results_figure.py``."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

__all__ = ["main", "read_table"]

DOCS = Path(__file__).resolve().parent
FOUND = "from nothing"  # first cells of the headers of the tables
LABELLED = "method"
CHANCE_FOUND = 5.0  # of 100 objects, where 60 of 1,195 are odd
OURS, OTHERS, CHANCE = "#1f6fb2", "#9aa5b1", "#d8dde3"


def read_table(text: str, header: str, column: int) -> dict[str, tuple[float, float]]:
    """Read a column of the Markdown table whose first header cell is given: mean and scatter by method.

    Several values of a cell become their mean, and half their range.
    """
    lines = iter(text.splitlines())
    next(line for line in lines if line.startswith(f"| {header} |"))
    next(lines)
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        cells = [cell.strip().replace("*", "").replace("`", "") for cell in line.strip("|").split("|")]
        mean, _, scatter = cells[column].partition("±")
        values = [float(word) for word in re.findall(r"\d*\.?\d+", mean)]
        if values:
            spread = float(scatter) if scatter else (max(values) - min(values)) / 2
            found[cells[0]] = sum(values) / len(values), spread
    return found


def _bars(axes: Axes, values: dict[str, tuple[float, float]], title: str) -> None:
    names = list(values)[::-1]
    colours = [OURS if "AstroAnomaly, " in name else CHANCE if name == "chance" else OTHERS for name in names]
    means, scatters = zip(*(values[name] for name in names), strict=True)
    axes.barh(names, means, xerr=scatters, color=colours, height=0.62, error_kw={"lw": 1, "ecolor": "#333333"})
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)


def main() -> None:
    """Write ``images/results.png``."""
    text = (DOCS / "results.md").read_text("utf-8")
    found = {**read_table(text, FOUND, 2), "chance": (CHANCE_FOUND, 0.0)}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 3.2), layout="constrained")
    _bars(left, found, "odd galaxies found in 100 verdicts")
    _bars(right, read_table(text, LABELLED, 1), "AUPRC after 30 + 50 labels")
    figure.savefig(DOCS / "images" / "results.png", dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
