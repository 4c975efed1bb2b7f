"""Files of a benchmark: every finished round of every trial, and the table of all finished trials."""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from astroanomaly import metrics
from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.benchmark.statistics import DEPTHS
from astroanomaly.config import current_names
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.files import atomic_path, read_json, write_json
from astroanomaly.learn.settings import settings_sections

__all__ = [
    "RESULTS",
    "FinishedRound",
    "TrialFolder",
    "check_setup",
    "finished_trials",
    "learnt_labels",
    "read_results",
    "trial_path",
    "write_results",
]

RESULTS = "results.csv"
_TRIALS, _SETTINGS = "units", "settings.json"
_WEIGHTS, _SCORES = ".safetensors", "judged.npy"
_TEXTS = ("ranker", "class")
_COUNTS = {"seed", "round", "labelled_anomaly", "labelled_nominal", "unlabelled"}
_COUNTS |= {"unlabelled_anomaly", "given", "found"}
_COLUMNS = (
    *("ranker", "class", "seed", "round", "labelled_anomaly", "labelled_nominal", "unlabelled"),
    *metrics.FIGURES,
    *("seconds", "unlabelled_anomaly", "top_100", "given", "found"),
    *(f"found_{depth}" for depth in DEPTHS),
)
_NAME_LENGTH = 120  # characters of a folder's name


@dataclass(frozen=True)
class FinishedRound:
    """One finished round of a trial.

    Attributes
    ----------
    number
        1 for the first.
    labels
        All labels given until after it, in the order given.
    rows
        Its rows of the results.
    """

    number: int
    labels: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]


class TrialFolder:
    """Rounds of one ranker on one case with one seed; a round is there whole, or not at all.

    Parameters
    ----------
    path
        The folder, see `trial_path`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[FinishedRound]:
        """Return the rounds that are finished."""
        found = []
        for path in sorted(self.path.glob("round-*.json")):
            content = read_json(path)
            rows = [
                {key: math.nan if value is None else value for key, value in row.items()} for row in content["rows"]
            ]
            found.append(FinishedRound(int(content["round"]), dict(content["labels"]), rows))
        return found

    def weights(self, number: int) -> Path:
        """Checkpoint after a round; there only for rankers with weights, and only for the last round of several."""
        return self.path / f"round-{number:03d}{_WEIGHTS}"

    def write(self, finished: FinishedRound, save: Callable[[Path], None] | None) -> None:
        """Write a finished round: first its checkpoint, then what says that it is finished; older checkpoints go.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        self.begin()
        if save is not None:
            save(self.weights(finished.number))
        rows = [
            {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
            for row in finished.rows
        ]
        content = {"round": finished.number, "labels": list(finished.labels.items()), "rows": rows}
        write_json(self.path / f"round-{finished.number:03d}.json", content)
        for path in self.path.glob(f"round-*{_WEIGHTS}"):
            if save is None or path != self.weights(finished.number):
                path.unlink(missing_ok=True)

    def begin(self) -> None:
        """Make the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be made: {error.strerror or error}") from error

    def write_scores(self, truth: np.ndarray, scores: np.ndarray, number: int | None = None) -> None:
        """Write truth and scores of a round, for the curves; without a number those of the last one."""
        self.begin()
        with atomic_path(self._scores(number)) as temporary, temporary.open("wb") as handle:
            np.save(handle, np.stack([truth, scores]).astype(np.float32))

    def read_scores(self, number: int | None = None) -> tuple[np.ndarray, np.ndarray] | None:
        """Return truth and scores of a round, or of the last one; None where they were not written."""
        path = self._scores(number)
        if not path.is_file():
            return None
        truth, scores = np.load(path, allow_pickle=False)
        return truth > 0, scores

    def _scores(self, number: int | None) -> Path:
        return self.path / (_SCORES if number is None else f"round-{number:03d}.npy")


def trial_path(out: Path, ranker: str, case: str, seed: int) -> Path:
    """Return the folder of a trial below that of the benchmark."""
    name = quote(case, safe=" +")
    if len(name) > _NAME_LENGTH:
        name = f"{name[:_NAME_LENGTH]}-{zlib.crc32(case.encode()):08x}"
    return out / _TRIALS / quote(ranker, safe="") / name / f"seed-{seed}"


def finished_trials(out: Path, rounds: int) -> list[dict[str, Any]]:
    """Return the rows of all trials below a folder that have all their rounds."""
    rows: list[dict[str, Any]] = []
    for path in sorted((out / _TRIALS).glob(f"*/*/seed-*/round-{rounds:03d}.json")):
        rows += [dict(row) for finished in TrialFolder(path.parent).read() for row in finished.rows]
    return rows


def learnt_labels(path: Path) -> dict[str, str]:
    """Return the labels that the last round of a trial learnt from, not those that followed it.

    Raises
    ------
    ConfigError
        If it has fewer than two rounds: of the first one the labels are drawn, not gathered.
    """
    rounds = TrialFolder(path).read()
    if len(rounds) < 2:
        raise ConfigError(f"{path} has {len(rounds)} finished rounds: gathered labels are those of the second or later")
    return dict(rounds[-2].labels)


def check_setup(out: Path, setup: Mapping[str, Any]) -> None:
    """Write what is measured; a folder that holds something else is an error, never mixed in.

    Raises
    ------
    ConfigError
        If the folder holds a benchmark with other settings.
    """
    path = out / _SETTINGS
    plain = json.loads(json.dumps(setup))
    if path.is_file() and _read_setup(path) != plain:
        raise ConfigError(f"{out} holds a benchmark with other settings: choose another --out")
    write_json(path, plain)


def write_results(out: Path, results: Sequence[Mapping[str, Any]]) -> Path:
    """Write one line per ranker, class, seed and round; a figure that could not be measured is empty."""
    path = out / RESULTS
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, _COLUMNS)
        writer.writeheader()
        for row in results:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})
    return path


def read_results(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the table of a finished benchmark, and what was measured.

    Raises
    ------
    ConfigError
        If the folder holds none.
    """
    if not (out / RESULTS).is_file() or not (out / _SETTINGS).is_file():
        raise ConfigError(f"{out} holds no finished benchmark: expected {RESULTS} and {_SETTINGS} there")
    with (out / RESULTS).open(newline="", encoding="utf-8") as handle:
        rows = [{key: _parsed(key, text) for key, text in row.items()} for row in csv.DictReader(handle)]
    return rows, _read_setup(out / _SETTINGS)


def _read_setup(path: Path) -> dict[str, Any]:
    """Read what was measured; what an earlier version wrote is as it would be written now."""
    stored = read_json(path)
    sections = settings_sections()
    settings = {
        name: current_names(sections[name], values) if name in sections else values
        for name, values in stored["settings"].items()
    }
    settings |= {name: current_names(kind, {}) for name, kind in sections.items() if name not in settings}
    protocol = current_names(Protocol, stored["protocol"])
    protocol.pop("seeds", None)  # a folder takes further ones
    return {**stored, "protocol": protocol, "settings": settings}


def _parsed(key: str, text: str) -> Any:
    if key in _TEXTS:
        return text
    return int(text) if key in _COUNTS else float(text or "nan")
