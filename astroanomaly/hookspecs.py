"""The plugin contract and nothing else.

A plugin is a module, named in the entry-point group ``astroanomaly``, with one or both of the functions below, each
marked with `hookimpl`. The functions register objects: sources, which turn a request into cutouts, and rankers, which
learn from labels and give every object a score.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pluggy

from astroanomaly.records import Cutout, CutoutBlock, Failure, Labelled, Progress, Request, ShardScores, Task

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["GROUP", "HookSpecs", "Ranker", "RankerContext", "Source", "hookimpl"]

GROUP = "astroanomaly"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@runtime_checkable
class Source(Protocol):
    """Turns a request into cutouts.

    Attributes
    ----------
    name
        The word after ``astroanomaly ingest``: lower-case letters, digits and dashes.
    summary
        One line for ``astroanomaly sources``.
    Options
        A frozen dataclass whose fields become flags and keyword arguments (see `astroanomaly.config.option`).

    A source that asks the network also has an attribute ``fetches = True``: its command then has the flags of
    `FetchConfig`.
    """

    name: str
    summary: str
    Options: type

    def plan(self, request: Request, options: Any) -> Iterable[Task]:
        """List the tasks of a request; cheap, reads no pixels.

        Return a `Plan` instead of a plain iterable where the layout of the cutouts is known beforehand.
        """
        ...

    def read(self, task: Task) -> Iterator[CutoutBlock | Cutout | Failure]:
        """Cut the objects of one task. Runs in any process, with nothing but the task."""
        ...


@dataclass(frozen=True)
class RankerContext:
    """What every ranker is given beside its own options.

    Parameters
    ----------
    classes
        Label classes, ``nominal`` first, then the anomaly classes.
    input
        What the model sees of a cutout (`astroanomaly.learn.model_input.ModelInput`).
    backbone
        The network (`astroanomaly.config.BackboneConfig`).
    seed
        Seed of everything random.
    device
        Torch device name, or ``auto``.
    features
        Folder for frozen features where the cache itself cannot be written to; None: memory only.
    engine
        What networks run on where many objects pass them (`astroanomaly.learn.engine.engine.Engine`).
    """

    classes: tuple[str, ...]
    input: Any
    backbone: Any
    seed: int = 0
    device: str = "auto"
    features: Path | None = None
    engine: str = "auto"


@runtime_checkable
class Ranker(Protocol):
    """Learns from labels and gives every object a score. Made as ``ranker(options, context)``.

    Attributes
    ----------
    name
        The word after ``--ranker``.
    summary
        One line for ``astroanomaly sources``.
    section
        Section of the session's settings that holds its options.
    Options
        A frozen dataclass of its settings.
    needs_labels
        Whether `fit` needs at least two label classes.
    has_weights
        Whether the fitted ranker is saved as a checkpoint; else it is refitted from its recipe.
    """

    name: str
    summary: str
    section: str
    Options: type
    needs_labels: bool
    has_weights: bool

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Learn; drain the generator to run it. Objects in ``exclude`` (the audit set) are never learned from."""
        ...

    def score(self, cache: Cache, only: Collection[str] | None = None) -> Iterator[ShardScores]:
        """Score every object, one shard after another, in bounded memory; ``only`` the shards with these uuids."""
        ...

    def save(self, path: Path, metrics: dict[str, float] | None = None) -> None:
        """Write a checkpoint (rankers with weights only)."""
        ...

    def load(self, path: Path) -> None:
        """Take the weights of a checkpoint (rankers with weights only)."""
        ...


class HookSpecs:
    """The hooks a plugin may implement."""

    @hookspec
    def register_sources(self, register: Callable[[Source], None]) -> None:
        """Call ``register(source)`` for every source this plugin brings."""

    @hookspec
    def register_rankers(self, register: Callable[[type], None]) -> None:
        """Call ``register(ranker_class)`` for every ranker this plugin brings."""
