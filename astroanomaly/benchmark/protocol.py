"""The protocol of a benchmark: how many labels are given, when and by which expert; settings only."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from astroanomaly.config import nearest, option
from astroanomaly.errors import ConfigError
from astroanomaly.ranking import STRATEGIES

__all__ = ["Protocol"]


@dataclass(frozen=True)
class Protocol:
    """How labels are given.

    Parameters
    ----------
    initial
        Anomalies (of every kind that is labelled at first) and nominal objects labelled at the start, drawn at random.
    cycles
        Rounds of training; the figures of a round are measured before the labelling that follows it.
    add
        Anomalies and nominal objects labelled after every round.
    seeds
        Repeats with other initial labels, and with other objects where they are drawn.
    expert
        ``paper``: the highest-scored true anomalies and the highest-scored nominal objects get labels, which is
        idealised; ``top``: as many objects as they come.
    strategy
        In which order they come to ``top``, see `astroanomaly.ranking.order`.
    start_with
        Ranker in the place of one that needs labels on both sides, until there are such.
    part
        ``1/2`` or ``2/2``: only the objects whose id falls into this half; other divisors likewise.
    rate
        Share of anomalies in the pool, by drawing some of them; None: all of them.
    pool
        Classes drawn as nominal, objects of each, and anomalies of every kind: a small pool; None: all objects.
    wrong
        Share of the labels that are flipped, the initial ones too.
    all_kinds
        Whether the anomaly classes are label classes of their own in one benchmark, instead of a benchmark each.
    unlabelled_kinds
        Classes beside them, anomalies too, of which none is labelled at the start.
    batch
        Verdicts between two rankings: so many of the highest-scored objects get labels as they come, then all is ranked
        anew. ``expert``, ``cycles`` and ``add`` follow from it. 0: rounds as those three say.
    verdicts
        With ``batch``: verdicts in all; the last batch may be smaller.

    Raises
    ------
    ConfigError
        For numbers that are out of range or contradict each other.
    """

    initial: tuple[int, int] = (5, 495)
    cycles: int = 3
    add: tuple[int, int] = (10, 10)
    seeds: int = 5
    expert: Literal["paper", "top"] = "paper"
    strategy: str = "score"
    start_with: str = "cold"
    part: str = ""
    rate: float | None = None
    pool: tuple[int, int, int] | None = None
    wrong: float = 0.0
    all_kinds: bool = option(False, formerly=("together",))
    unlabelled_kinds: tuple[str, ...] = ()
    batch: int = 0
    verdicts: int = 200

    def __post_init__(self) -> None:
        if self.batch < 0 or self.verdicts < 1:
            raise ConfigError(
                f"batches of {self.batch} and {self.verdicts} verdicts in all: expected at least one of each"
            )
        if self.batch:
            follow = {"expert": "top", "cycles": math.ceil(self.verdicts / self.batch), "add": (self.batch, 0)}
            for name, value in follow.items():
                object.__setattr__(self, name, value)
        if min(self.initial) < 0 or min(self.add) < 0:
            raise ConfigError(f"initial labels {self.initial} and added labels {self.add} must not be negative")
        if self.cycles < 1 or self.seeds < 1:
            raise ConfigError(f"{self.cycles} rounds and {self.seeds} seeds: expected at least one of each")
        if self.expert not in ("paper", "top"):
            raise ConfigError(f"there is no expert {self.expert!r}: expected paper or top")
        if self.strategy not in STRATEGIES:
            raise ConfigError(
                f"there is no strategy {self.strategy!r}{nearest(self.strategy, STRATEGIES)} "
                f"(known: {', '.join(STRATEGIES)})"
            )
        if self.strategy != "score" and self.expert != "top":
            raise ConfigError(f"strategy {self.strategy!r} is for the expert who labels what comes: --expert top")
        if self.part:
            self.fraction  # noqa: B018 - says what is wrong with it
        if self.rate is not None and not 0 < self.rate < 1:
            raise ConfigError(f"a share of {self.rate} anomalies: expected more than 0 and less than 1")
        if self.pool is not None and min(self.pool) < 1:
            raise ConfigError(f"a pool of {' '.join(map(str, self.pool))}: expected three numbers of 1 or more")
        if self.pool is not None and self.rate is not None:
            raise ConfigError("--rate and --pool both say how many anomalies there are: give one of them")
        if not 0 <= self.wrong < 1:
            raise ConfigError(f"a share of {self.wrong} wrong labels: expected 0 or more, and less than 1")
        if self.unlabelled_kinds and not self.all_kinds:
            raise ConfigError("an unlabelled kind stands beside labelled ones: add --all-kinds")

    @property
    def fraction(self) -> tuple[int, int]:
        """Which part of how many; (1, 1) is everything."""
        if not self.part:
            return 1, 1
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", self.part)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"a part of {self.part!r}: expected 1/2 or 2/2")
        return int(found[1]), int(found[2])

    def labels_after(self, given: int) -> tuple[int, int]:
        """Labels that follow a round, see ``add``, where so many were given since the start."""
        return (min(self.batch, self.verdicts - given), 0) if self.batch else self.add

    @property
    def narrows(self) -> bool:
        """Whether some objects are left out."""
        return bool(self.part or self.rate is not None or self.pool is not None)
