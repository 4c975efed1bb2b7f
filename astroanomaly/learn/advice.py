"""What is measured of images before anything is learnt, and what is chosen from it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import InputConfig, StretchConfig
from astroanomaly.errors import SessionError
from astroanomaly.imaging.sampling import read_undamaged
from astroanomaly.labels.log import LabelLog
from astroanomaly.labels.options import LabelOptions
from astroanomaly.labels.tables import import_labels
from astroanomaly.learn.label_advice import FEWEST, compare_views
from astroanomaly.learn.settings import build_settings
from astroanomaly.records import ANOMALY, NOMINAL, Progress

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Advice", "advise", "choose_views", "look_at", "looked_at"]

IMAGES = 600  # that are looked at
_FEWEST_IMAGES = 100  # less say too little
_NAMES = {"sky": "none", "picture": "kept"}
_SIDE = 128  # pixels that the scale of objects is measured on
_ROOM = 1.5  # times the radius that holds 90 % of what differs
_WORTH_IT = 0.6  # of the side: wider middles gain little, docs/benchmarks/features.md
_WITH_GRID = 8  # cutouts that are asked for a WCS
_READ_AT_ONCE = 64
Views = Literal["sky", "picture"]


@dataclass(frozen=True)
class Advice:
    """One thing that was measured of the images, or that their files say, and what was chosen.

    Parameters
    ----------
    name
        What it is about: ``up`` or ``centre``.
    value
        What was found: ``none`` or ``kept`` of the up.
    reason
        Why, with the figures, in one sentence.
    choice
        The setting that was chosen or the option that is the way out, as in ``input.views=sky``; empty where there is
        nothing to choose.
    """

    name: str
    value: str
    reason: str
    choice: str = ""

    @property
    def text(self) -> str:
        """All of it in one line."""
        return f"{self.value}{f' ({self.choice})' if self.choice else ''}: {self.reason}"

    @classmethod
    def on_views(cls, views: str, reason: str) -> Advice:
        """Say whether there is an up: not with the views ``sky``."""
        return cls("up", _NAMES[views], reason, f"input.views={views}")

    def to_plain(self) -> dict[str, str]:
        """Return it as values that TOML holds."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Any) -> Advice:
        """Make it from what `to_plain` gave.

        Raises
        ------
        SessionError
            If it is something else.
        """
        names = list(cls.__dataclass_fields__)
        if not isinstance(plain, Mapping) or not all(isinstance(plain.get(name), str) for name in names):
            raise SessionError(f"what was measured of the images is recorded wrongly: {plain!r:.200}")
        return cls(**{name: plain[name] for name in names})


def advise(
    cache: str | Path | Cache,
    *,
    labels: str | Path | None = None,
    label_options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Advice, ...]:
    """Look at the images of a cache, and say what a session on it would choose, and why.

    Parameters
    ----------
    cache
        The cutouts.
    labels
        A table of labels, as `astroanomaly init` takes it: what could be chosen is compared on labels held back.
    label_options
        How they are read, as `Session.create` takes it.
    settings
        By section, as a session would be given them.
    progress
        Called with a `Progress` after each batch of images.

    Raises
    ------
    AstroAnomalyError
        If there is no cache, a setting does not fit, or the labels do not.
    """
    opened = cache if isinstance(cache, Cache) else Cache.open(cache)
    chosen = build_settings(settings or {})
    found = list(look_at(opened, chosen["stretch"], chosen["input"], chosen["session"].seed, progress)[1])
    if labels is not None:
        found.append(_by_labels(opened, Path(labels), LabelOptions.of(label_options), chosen, progress))
    return tuple(found)


def _by_labels(
    cache: Cache,
    path: Path,
    read_as: LabelOptions,
    settings: Mapping[str, Any],
    progress: Callable[[Progress], None] | None = None,
) -> Advice:
    """Say which views are better by labels; within the noise, what was measured stays."""
    with tempfile.TemporaryDirectory() as folder, LabelLog.create(Path(folder) / "labels", (NOMINAL, ANOMALY)) as log:
        import_labels(log, path, cache.ids, cache.positions, annotator="table", **read_as.keywords)
        known = log.labelled()
    labels = dict(zip(known.ids, known.classes, strict=True))
    found = compare_views(cache, labels, settings, progress)
    if found is None:
        reason = f"too few labels to compare by: at least {FEWEST} anomalies and {FEWEST} nominal objects are needed"
        return Advice("up by labels", "not known", reason)
    if not found.is_clear:
        return Advice("up by labels", "within the noise", f"{found.text}: the choice above stays")
    return Advice("up by labels", _NAMES[found.best], found.text, f"input.views={found.best}")


def look_at(
    cache: Cache,
    stretch: StretchConfig,
    chosen: InputConfig,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[ModelInput, tuple[Advice, ...]]:
    """Decide what a network will see of a cache, and measure all that is measured before anything is learnt.

    ``progress`` is called with a report after each batch of images.

    Returns
    -------
    ModelInput
        As a session on the cache would have it.
    tuple of Advice
        Why; and what another ingest may do better.
    """
    shown, up = choose_views(cache, stretch, chosen, seed, progress)
    seen = ModelInput.measure(cache, stretch, shown, np.random.default_rng((seed, 0)))
    centre = _centre(cache, seen, seed) if seen.views == "sky" else None
    return seen, (up,) if centre is None else (up, centre)


def _centre(cache: Cache, seen: ModelInput, seed: int) -> Advice | None:
    """Say so if the objects are so small in their frames that the middle may do."""
    from astroanomaly.learn.reach import measure_reach

    ids = cache.sample(IMAGES, np.random.default_rng((seed, 23)))
    if len(ids) < _FEWEST_IMAGES:
        return None
    reach = measure_reach(looked_at(cache, ids, replace(seen, size=_SIDE)))
    if reach is None or _ROOM * reach > _WORTH_IT:
        return None
    pixels = math.ceil(_ROOM * reach * min(cache.layout.height, cache.layout.width))
    reason = (
        f"in {len(ids)} images, 90% of what differs lies within {reach:.0%} of half the frame. Of the middle {pixels} "
        "pixels alone more may be found, but not what is faint and far from the middle. Nothing was cut off: to try "
        f"it, ingest again with --center {pixels} (images) or a smaller --size (FITS files, archives)"
    )
    return Advice("centre", "objects are small in their frames", reason)


def choose_views(
    cache: Cache,
    stretch: StretchConfig,
    chosen: InputConfig,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[InputConfig, Advice]:
    """Decide whether there is an up, unless the setting ``input.views`` says so; measure it where no file tells.

    ``progress`` is called with a report after each batch of images.

    Returns
    -------
    InputConfig
        With ``views`` that are ``sky`` or ``picture``.
    Advice
        Why.
    """
    views, reason = _views(cache, stretch, chosen, seed, progress)
    return replace(chosen, views=views), Advice.on_views(views, reason)


def _views(
    cache: Cache,
    stretch: StretchConfig,
    chosen: InputConfig,
    seed: int,
    progress: Callable[[Progress], None] | None,
) -> tuple[Views, str]:
    if chosen.views != "auto":
        return chosen.views, "the setting input.views says so"
    layout = cache.layout
    if layout.stretch:
        return "sky", "the pixels were made of flux when they were ingested"
    rng = np.random.default_rng((seed, 17))
    ids = cache.sample(IMAGES, rng)
    whole = read_undamaged(cache, ids[:_READ_AT_ONCE])[1][:_WITH_GRID] if ids else ()
    if any(cutout.grid is not None for cutout in cache.cutouts([ids[place] for place in whole])):
        return "sky", "the cutouts have a WCS"
    if len(ids) < _FEWEST_IMAGES:
        few = f"{len(ids)} images are too few to measure it, {_FEWEST_IMAGES} would do"
        return ("sky", f"usual for flux; {few}") if layout.pixel_kind == "flux" else ("picture", f"usual; {few}")
    from astroanomaly.learn.orientation import SIDE, find_up, quadrants

    seen = ModelInput.measure(cache, stretch, replace(chosen, size=SIDE, views="picture"), rng)
    network = _reported(quadrants(4 * len(ids)), 4 * len(ids), progress)
    found = find_up(looked_at(cache, ids, seen), network, rng)
    views: Views = "picture" if found.has_up else "sky"
    if found.sure:
        return views, found.reason
    other = "sky" if found.has_up else "picture"
    return views, f"not sure, {found.reason}. If you know better: --set input.views={other}"


def _reported(
    network: Callable[[Tensor], Tensor], images: int, progress: Callable[[Progress], None] | None
) -> Callable[[Tensor], Tensor]:
    """Report how many of the images of a pass a network has seen; there may be several passes."""
    done = 0

    def run(batch: Tensor) -> Tensor:
        nonlocal done
        found = network(batch)
        done = done + len(batch) if done < images else len(batch)
        if progress is not None:
            progress(Progress("orientation", done, images))
        return found

    return run


def looked_at(cache: Cache, ids: Sequence[str], seen: ModelInput) -> Tensor:
    """Read the largest square in the middle of some cutouts as the network sees it: ``(n, 3, S, S)`` in [0, 1]."""
    import torch

    from astroanomaly.learn.preprocessing import to_tensor

    planes, parts = seen.check(cache), []
    for start in range(0, len(ids), _READ_AT_ONCE):
        block, _ = read_undamaged(cache, ids[start : start + _READ_AT_ONCE])  # (n, B, H, W)
        height, width = block.shape[2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        parts.append(to_tensor(block[:, :, top : top + side, left : left + side], seen, planes=planes))
    return torch.cat(parts)
