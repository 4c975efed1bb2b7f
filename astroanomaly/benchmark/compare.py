"""Compare benchmarks that lie in several folders, for instance with several settings of one ranker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from astroanomaly import figures
from astroanomaly.benchmark.report import sections, write_page
from astroanomaly.benchmark.statistics import chance_rate
from astroanomaly.benchmark.store import read_results
from astroanomaly.errors import ConfigError, StorageError

__all__ = ["compare"]


def compare(folders: Sequence[str | Path], out: str | Path) -> tuple[list[str], list[Path]]:
    """Set the results of several folders side by side, each under the name of its folder.

    Parameters
    ----------
    folders
        What benchmarks wrote; the first is the one that the others are compared with. A folder with several rankers
        gives one line for each.
    out
        Folder for ``compare.md``, ``learning.png`` and ``cost.png``.

    Returns
    -------
    tuple
        The lines of the page, and the files.

    Raises
    ------
    ConfigError
        If a folder holds no finished benchmark, or two have the same name.
    """
    results: list[dict[str, Any]] = []
    setups: dict[str, dict[str, Any]] = {}
    for folder in map(Path, folders):
        rows, setup = read_results(folder)
        name = folder.absolute().name
        if name in setups:
            raise ConfigError(f"two of the folders are called {name}: they could not be told apart")
        setups[name] = setup
        several = len({row["ranker"] for row in rows}) > 1
        results += [{**row, "ranker": f"{name}, {row['ranker']}" if several else name} for row in rows]
    rankers = list(dict.fromkeys(row["ranker"] for row in results))
    honest_expert = all(setup["protocol"]["expert"] == "top" for setup in setups.values())
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be made: {error.strerror or error}") from error
    lines = ["# Comparison", "", *_what_differs(setups), *sections(results, rankers, honest_expert=honest_expert)]
    figures.learning_curves(results, out / "learning.png", chance=chance_rate(results) if honest_expert else 0.0)
    figures.costs(results, out / "cost.png")
    pictures = ["![learning curves](learning.png)", "", "![AUPRC against time](cost.png)"]
    page = write_page(out / "compare.md", [*lines, *pictures])
    return lines, [page, out / "learning.png", out / "cost.png"]


def _what_differs(setups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Name what was set otherwise in some folders."""
    flat = {name: dict(_flat(setup)) for name, setup in setups.items()}
    for key in dict.fromkeys(key for values in flat.values() for key in values):
        found = {name: values.get(key) for name, values in flat.items()}
        if len(set(map(repr, found.values()))) > 1:
            yield f"* `{key}`: " + ", ".join(f"{value} in {name}" for name, value in found.items())
    yield ""


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
