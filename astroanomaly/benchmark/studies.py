"""The studies of the paper of Gómez & O'Ryan: what is varied, and with which protocol; settings only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from astroanomaly.benchmark.protocol import Protocol
from astroanomaly.errors import ConfigError

__all__ = ["PRESETS", "Preset", "Study", "list_studies"]


@dataclass(frozen=True)
class Preset:
    """How much is measured.

    Attributes
    ----------
    initial
        Anomalies and nominal objects labelled at first.
    add
        Anomalies and nominal objects labelled after every round.
    iterations
        Steps of a round that are compared.
    usual_iterations
        Steps of a round everywhere else.
    size
        Pixels of the network's input.
    seeds
        Repeats.
    """

    initial: tuple[int, int]
    add: tuple[int, int]
    iterations: tuple[int, ...]
    usual_iterations: int
    size: int
    seeds: int


PRESETS = {
    "full": Preset((5, 495), (10, 10), (50, 100, 250, 500), 100, 224, 5),
    "small": Preset((5, 45), (4, 4), (3, 5, 13, 25), 5, 48, 2),
}


@dataclass(frozen=True)
class Study:
    """One benchmark that one row or several of the tables come from.

    Attributes
    ----------
    name
        Its folder.
    rows
        Table and row that it belongs to; the first study belongs to all tables.
    protocol
        How labels are given.
    iterations
        Steps of a round.
    anomalies
        Classes that are searched for.
    rankers
        Rankers that are measured.
    labels_of
        Name of the study whose labels it begins with; empty: labels are drawn.
    """

    name: str
    rows: tuple[tuple[str, str], ...]
    protocol: Protocol
    iterations: int
    anomalies: tuple[str, ...]
    rankers: tuple[str, ...]
    labels_of: str = ""


def list_studies(preset: Preset, anomalies: Sequence[str], rankers: Mapping[str, bool], **narrowed: Any) -> list[Study]:
    """Return all studies, in the order in which they need one another.

    Parameters
    ----------
    preset
        How much is measured.
    anomalies
        Classes; the first one is that of the studies of iterations, learning and labels.
    rankers
        Rankers, and whether each trains for ``train.iterations`` steps: the others have no study of iterations.
    **narrowed
        ``cycles``, ``part``, ``rate`` and ``pool`` as in `Protocol`.

    Raises
    ------
    ConfigError
        If there are fewer than two rounds, or no class or ranker.
    """
    if not anomalies or not rankers:
        raise ConfigError("the paper's studies need a class that counts as anomaly, and a ranker")
    usual = Protocol(initial=preset.initial, add=preset.add, seeds=preset.seeds, **narrowed)
    if usual.cycles < 2:
        raise ConfigError("labels are gathered between rounds: the paper's studies need two rounds or more")
    first, names, steps = (anomalies[0],), tuple(rankers), preset.usual_iterations
    total = sum(preset.initial)
    whole = (("iterations", str(steps)), ("learning", "with"), ("labels", str(total)))
    studies = [Study("usual", (("classes", ""), *whole), usual, steps, tuple(anomalies), names)]
    trained = tuple(name for name, has_steps in rankers.items() if has_steps)
    studies += [
        Study(f"iterations-{count}", (("iterations", str(count)),), usual, count, first, trained)
        for count in preset.iterations
        if count != steps and trained
    ]
    gained = tuple(given * (usual.cycles - 1) for given in preset.add)
    gathered = (preset.initial[0] + gained[0], preset.initial[1] + gained[1])
    once = replace(usual, cycles=1, add=(0, 0))
    at_once = steps * usual.cycles  # as many steps as all rounds together
    for name, row, protocol, count, labels_of in (
        ("nothing-added", "without", replace(usual, add=(0, 0)), steps, ""),
        ("at-once-gathered", "at once, as gathered", replace(once, initial=(0, 0)), at_once, "usual"),
        ("at-once-drawn", "at once, drawn", replace(once, initial=gathered), at_once, ""),
    ):
        studies.append(Study(name, (("learning", row),), protocol, count, first, names, labels_of))
    for initial, add in (_fewer(preset), _twice(preset)):
        protocol = replace(usual, initial=initial, add=add)
        studies.append(Study(f"labels-{sum(initial)}", (("labels", str(sum(initial))),), protocol, steps, first, names))
    return studies


def _fewer(preset: Preset) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a fifth of the labels, with as many anomalies among them, and half as many added."""
    anomalies = preset.initial[0]
    nominal = max(sum(preset.initial) // 5 - anomalies, min(anomalies, preset.initial[1]))
    return (anomalies, nominal), (max(1, preset.add[0] // 2), max(1, preset.add[1] // 2))


def _twice(preset: Preset) -> tuple[tuple[int, int], tuple[int, int]]:
    return (2 * preset.initial[0], 2 * preset.initial[1]), (2 * preset.add[0], 2 * preset.add[1])
