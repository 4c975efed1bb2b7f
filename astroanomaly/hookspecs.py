"""The plugin contract and nothing else.

A plugin is a module, named in the entry-point group ``astroanomaly``, with one or more of the functions below, each
marked with `hookimpl`. The functions register objects: sources, which turn a request into cutouts, rankers, which
learn from labels and give every object a score, and crossmatch services, which say what is known near a position.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import pluggy

from astroanomaly.config import BackboneConfig
from astroanomaly.records import (
    Cutout,
    CutoutBlock,
    Fact,
    Failure,
    FeatureBlock,
    Labelled,
    Progress,
    Request,
    ShardScores,
    Task,
)

if TYPE_CHECKING:
    import numpy as np
    from astropy.table import Table

    from astroanomaly.cache import Cache, Shard
    from astroanomaly.cache.model_input import ModelInput

__all__ = [
    "GROUP",
    "CrossmatchService",
    "DescribingSource",
    "FrozenFeatures",
    "HookSpecs",
    "ImageRanker",
    "InstantRanker",
    "OutlierPriorRanker",
    "PartsRanker",
    "Ranker",
    "RankerContext",
    "Source",
    "hookimpl",
    "rests_on_labels",
]

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


@runtime_checkable
class DescribingSource(Source, Protocol):
    """A source that can say what its archives have; its command has the flag ``--describe``."""

    def describe(self, options: Any) -> Sequence[Fact]:
        """Ask the archives that the options name, and say what they have."""
        ...


@dataclass(frozen=True)
class RankerContext:
    """What every ranker is given beside its own options.

    Parameters
    ----------
    classes
        Label classes, ``nominal`` first, then the anomaly classes.
    input
        How a cutout becomes the network's input.
    backbone
        The neural network and its weights.
    seed
        Seed of everything random.
    device
        Torch device name, or ``auto``.
    features
        Folder for frozen features where the cache itself cannot be written to; None: memory only.
    engine
        What networks run on where many objects pass them (`astroanomaly.learn.engine.engine.Engine`).
    blocks
        Numbers of each object that rankers on frozen features look at beside them.
    """

    classes: tuple[str, ...]
    input: ModelInput
    backbone: BackboneConfig
    seed: int = 0
    device: str = "auto"
    features: Path | None = None
    engine: str = "auto"
    blocks: tuple[FeatureBlock, ...] = ()


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
        Whether `fit` needs at least two label classes. A ranker that learns from whatever labels there are, none or of
        one kind as well, has False here and a further attribute ``uses_labels``, True.
    has_weights
        Whether the fitted ranker is saved as a checkpoint; else it is refitted from its recipe.
    options
        The options it was made with.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    section: ClassVar[str]
    Options: ClassVar[Any]
    needs_labels: ClassVar[bool]
    has_weights: ClassVar[bool]
    options: Any

    def __init__(self, options: Any, context: RankerContext) -> None:
        """Take the settings; nothing is read or computed yet."""
        ...

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


class FrozenFeatures(Protocol):
    """Frozen features of a cache, computed once and kept (`astroanomaly.learn.features.store.FeatureStore`)."""

    cache: Cache

    @property
    def done(self) -> int:
        """Number of objects whose features exist."""
        ...

    def compute(self, first: Sequence[str] = (), only: Sequence[str] | None = None) -> Iterator[Progress]:
        """Compute what is missing, of objects in ``first`` to begin with; ``only`` of the shards with these uuids."""
        ...

    def computed(self, uuid: str) -> np.ndarray:
        """``(n,)`` boolean: which objects of a shard have features."""
        ...

    def shard(self, uuid: str) -> np.ndarray:
        """``(n, D)`` float16 features of a shard; NaN where there are none yet."""
        ...

    def get(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, D)`` float32 features of some objects, in the order given; NaN where there are none yet."""
        ...


@runtime_checkable
class InstantRanker(Ranker, Protocol):
    """A ranker on frozen features that is quick enough to be fitted again after every verdict.

    The app makes a new one for every fit: what was fitted before goes on answering meanwhile.
    """

    def share(self, features: FrozenFeatures, *, complete: bool = True) -> None:
        """Use these features of a cache, which somebody else keeps open, instead of opening them.

        Parameters
        ----------
        features
            The features; of other caches nothing changes.
        complete
            False: others are still computing them. `fit` then computes those of the objects it learns from only, and
            `score` none: objects without features get NaN.
        """
        ...

    def prepare(self, cache: Cache, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Compute and keep what `fit` needs beside features and labels and takes long; none of it of ``exclude``."""
        ...


@runtime_checkable
class OutlierPriorRanker(InstantRanker, Protocol):
    """An instant ranker that begins with outlier scores, which the app has computed already."""

    def begin_with(self, cache: Cache, outlier_scores: np.ndarray) -> None:
        """Use these outlier scores ``(N,)`` of all objects, in units of their scatter; NaN where there is none."""
        ...


def rests_on_labels(ranker: Ranker | type[Ranker]) -> bool:
    """Tell whether the scores of a ranker rest on labels, so that they say nothing of the objects with these labels."""
    return ranker.needs_labels or bool(getattr(ranker, "uses_labels", False))


@runtime_checkable
class ImageRanker(Protocol):
    """A `Ranker` that scores images of any cache, and can explain a score by a saliency map."""

    def image_score(self, cache: Cache, *, expected: int = 0) -> Callable[[Shard], ShardScores]:
        """Return what scores shards that are in no cache, but have the layout of this one.

        Parameters
        ----------
        cache
            A cache, which may be empty.
        expected
            About how many images are to be scored; 0: a few.
        """
        ...

    def saliency(self, cache: Cache, object_id: str) -> np.ndarray:
        """``(height, width)`` float32 of a cutout: how much its score falls when that part is covered."""
        ...


@runtime_checkable
class PartsRanker(Ranker, Protocol):
    """A ranker that can say how much of a score is due to the image, and how much to each block of numbers."""

    def parts(self, cache: Cache, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Take a score apart, after `fit`.

        Returns
        -------
        dict
            ``(n,)`` float32 by name, ``image`` first, then the blocks: how much the score of each object falls when
            that part of it is as in the mean of the survey.
        """
        ...

    def shares(self) -> dict[str, float]:
        """Return how much the scores rest on each part over the survey: shares that add up to 1."""
        ...


@runtime_checkable
class CrossmatchService(Protocol):
    """Says what an online catalogue has near some positions.

    Attributes
    ----------
    name
        The word after ``--with``: lower-case letters, digits and dashes.
    summary
        One line for ``astroanomaly sources``.
    address
        Where it is asked, for the record.
    published
        Whether an entry says that an object is known, as in a collection of what was published. False for a survey,
        which has an entry for everything that is bright enough: then the results are in columns of their own only.
    batch
        Positions of one request.
    values
        Columns of numbers that are kept beside name, type and reference: by name the unit, UCD and description of each.
    """

    name: str
    summary: str
    address: str
    published: bool
    batch: int
    values: Mapping[str, tuple[str, str, str]]

    def near(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float) -> Table:
        """Return the entries near any of some positions, ``(n,)`` ICRS degrees, at most ``batch`` of them.

        Each entry is one row: ``ra`` and ``dec`` (ICRS degrees), ``name``, and where there are such, ``type``,
        ``reference`` and the columns of ``values``. Entries beyond the radius do no harm. Raises `FetchError` where the
        service does not answer, or does not answer whole.
        """
        ...


@runtime_checkable
class MovingObjectService(Protocol):
    """Says which moving objects, as those of the solar system, were near some positions when they were observed.

    Attributes
    ----------
    name, summary, address, published, batch, values
        As of `CrossmatchService`.
    needs_time
        True: objects whose image has no time are not looked up.
    """

    name: str
    summary: str
    address: str
    published: bool
    batch: int
    values: Mapping[str, tuple[str, str, str]]
    needs_time: bool

    def near(self, ra: np.ndarray, dec: np.ndarray, radius_arcsec: float, mjd: np.ndarray) -> Table:
        """Return the entries near any of some positions at its time, ``(n,)`` MJD in UTC; else as `CrossmatchService`.

        ``ra`` and ``dec`` of an entry are those of that time.
        """
        ...


class HookSpecs:
    """The hooks a plugin may implement."""

    @hookspec
    def register_sources(self, register: Callable[[Source], None]) -> None:
        """Call ``register(source)`` for every source this plugin brings."""

    @hookspec
    def register_rankers(self, register: Callable[[type[Ranker]], None]) -> None:
        """Call ``register(ranker_class)`` for every ranker this plugin brings."""

    @hookspec
    def register_crossmatches(self, register: Callable[[CrossmatchService | MovingObjectService], None]) -> None:
        """Call ``register(service)`` for every crossmatch service this plugin brings."""
