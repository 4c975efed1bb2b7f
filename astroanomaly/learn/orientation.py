"""Whether images have an up: how well a network tells which way they were turned.

Where there is no up, images turned by a quarter are as likely as they were before, so nothing can tell better than by
chance how they were turned. A linear classifier is asked, on images that it has not learnt from. What belongs to the
instrument or the frame is taken out first: corners, and that objects may all lie half a pixel beside the centre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from astroanomaly.config import BackboneConfig
from astroanomaly.learn.engine.engine import Engine
from astroanomaly.learn.network.backbone import Backbone, build_backbone

__all__ = [
    "INNER",
    "OUTER",
    "SIDE",
    "Recognition",
    "Verdict",
    "even",
    "find_up",
    "grey",
    "judge",
    "prepare",
    "quadrants",
    "recognise_rotations",
]

SIDE = 96  # pixels, as the network is shown them
OUTER = 0.75  # radius of a circle, as a share of half the side: without corners
INNER = 0.5  # likewise, without what reaches further in
_SHIFT = 8  # pixels
_QUARTER, _HALF = 0.39, 0.58  # shares from which there is an up: sets in docs/benchmarks/features.md
_AXIS = 0.45  # share of quarters that only an axis brings, where upside down is not told
_ERRORS = 2.0  # standard errors from a limit to be sure
_INSIDE = 0.15, 0.45  # of what is told beyond chance, in the middle or without the background: surely no up, surely one
_MARKS = "not in the middle, so by marks around the object, which --center of ingest images cuts off"
_SLOPE = "hardly without what the background of all images has in common"
_COLOURS = "hardly without the colours, so that these are shifted against each other"
_STAGES = 5  # of the network's seven
_TURNS = 4
_FOLDS = 5
_CELLS = 6  # in a row: finer is no background
_FAINT = 0.2  # quantile over the images
_CLEAR = 0.5
_BATCH = 64
_PENALTY = 1.0  # on the weights, in units of the mean variance of the features


@dataclass(frozen=True)
class Recognition:
    """How often the turn of an image was recognised.

    Parameters
    ----------
    images
        Number of unlike images.
    quarter
        Share of images whose turn by 0, 90, 180 or 270 degrees was recognised; by chance .25.
    half
        Share of images that were told from themselves turned by 180 degrees; by chance .5. Where everything lies along
        one axis (a long beam, bad columns), ``quarter`` is up to .5, and this is not above chance.
    error
        Standard error of ``half``.
    """

    images: int
    quarter: float
    half: float
    error: float


@dataclass(frozen=True)
class Verdict:
    """Whether there is an up, why in words, and whether the figures are far enough from the limits to be sure."""

    has_up: bool
    reason: str
    sure: bool


def find_up(images: Tensor, features: Callable[[Tensor], Tensor], rng: np.random.Generator) -> Verdict:
    """Measure whether images have an up.

    Parameters
    ----------
    images
        ``(n, 3, S, S)`` in [0, 1], in random order.
    features
        What `quadrants` gives.
    rng
        Draws how images are shifted.
    """
    found = [recognise_rotations(prepare(images, OUTER, rng), features)]
    if judge(*found).has_up:
        found.append(recognise_rotations(prepare(images, INNER, rng), features))
    for changed in (even, grey):
        if judge(*found).has_up:
            found.append(recognise_rotations(prepare(changed(images), OUTER, rng), features))
    return judge(*found)


def judge(
    outer: Recognition,
    inner: Recognition | None = None,
    evened: Recognition | None = None,
    uncoloured: Recognition | None = None,
) -> Verdict:
    """Say whether there is an up by what was recognised.

    Parameters
    ----------
    outer, inner
        Within the outer circle and within the inner one.
    evened, uncoloured
        Within the outer circle, of what `even` and `grey` make.
    """
    told = (
        f"of {outer.images} images, {outer.quarter:.0%} show by how many quarters they were turned (chance: 25%), "
        f"{outer.half:.0%} whether they are upside down (chance: 50%)"
    )
    above = min(outer.quarter - _QUARTER, outer.half - _HALF)
    sure = abs(above) > _ERRORS * outer.error
    if above < 0:
        if outer.quarter >= _AXIS:
            axis = "a fixed axis, as spikes, a long beam and bad columns have, but some pictures as well"
            return Verdict(False, f"{told}: {axis}", sure=False)
        return Verdict(False, told, sure)
    for found, cause in ((inner, _MARKS), (evened, _SLOPE), (uncoloured, _COLOURS)):
        if found is None:
            continue
        left = (found.quarter - 1 / _TURNS) / (outer.quarter - 1 / _TURNS)  # of what is told beyond chance
        if left < sum(_INSIDE) / 2:
            return Verdict(False, f"{told}, but {cause} ({found.quarter:.0%})", sure and left < _INSIDE[0])
        sure = sure and min(left, (found.half - 0.5) / (outer.half - 0.5)) > _INSIDE[1]
    return Verdict(True, told, sure)


def prepare(images: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Take out what says nothing of an up.

    Images are shifted by up to 8 pixels either way, as all objects may lie half a pixel beside the centre; and what is
    outside a circle becomes the median colour. Nothing is subtracted: what all images lack then is a mark as well.

    Parameters
    ----------
    images
        ``(n, 3, S, S)``.
    share
        Radius of the circle, as a share of half the side.
    rng
        Draws the shifts.
    """
    colour = images.median(dim=0).values.flatten(1).median(dim=1).values[:, None, None]  # (3, 1, 1)
    moves = rng.integers(-_SHIFT, _SHIFT + 1, (len(images), 2)).tolist()
    moved = torch.stack([image.roll(move, (1, 2)) for image, move in zip(images, moves, strict=True)])
    side = images.shape[-1]
    offset = torch.arange(side, dtype=torch.float32) - (side - 1) / 2
    inside = offset[:, None] ** 2 + offset[None] ** 2 <= (share * side / 2) ** 2  # (S, S)
    return torch.where(inside, moved, colour)


def even(images: Tensor) -> Tensor:
    """Take out what the background of all images has in common and is not the same in the four directions.

    A slope of the background, or light scattered into a corner of a detector, tells how an image was turned and is no
    up. It is subtracted where it is more than chance.

    Parameters
    ----------
    images
        ``(n, 3, S, S)``.
    """
    cells = functional.adaptive_avg_pool2d(images, _CELLS)  # (n, 3, c, c)
    halves = [half.quantile(_FAINT, dim=0) for half in (cells[::2], cells[1::2])]  # the background, not the objects
    first, second = (half - torch.stack([half.rot90(k, (1, 2)) for k in range(_TURNS)]).mean(dim=0) for half in halves)
    both = (first + second) / 2
    share = float((first * second).sum() / (both**2).sum().clamp(min=1e-12))  # of it that is more than chance
    common = both[None] * (share if share > _CLEAR else 0.0)
    smooth = functional.interpolate(common, size=images.shape[2:], mode="bicubic")
    return images - smooth


def grey(images: Tensor) -> Tensor:
    """Take out colours: those of a galaxy may lie beside each other by the atmosphere, which is no up."""
    return images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1).contiguous()


def recognise_rotations(images: Tensor, features: Callable[[Tensor], Tensor]) -> Recognition:
    """Measure how well the turn of an image is recognised, by cross-validation over images.

    Parameters
    ----------
    images
        ``(n, 3, S, S)`` in [0, 1], in random order. Of equal images the first counts: one would give another away.
    features
        Maps ``(m, 3, S, S)`` to ``(m, D)``.
    """
    _, first = np.unique(images.flatten(1).numpy(), axis=0, return_index=True)
    images = images[torch.from_numpy(np.sort(first))]
    n = len(images)
    if n < _FOLDS:
        return Recognition(n, 1 / _TURNS, 0.5, 0.5)
    with torch.inference_mode():
        parts = [
            features(batch.rot90(turn, (2, 3)).contiguous(memory_format=torch.channels_last)).cpu().numpy()
            for turn in range(_TURNS)
            for batch in images.split(_BATCH)
        ]
    points = np.concatenate(parts).reshape(_TURNS, n, -1).astype(np.float64)  # (4, n, D)
    points -= points.mean(axis=(0, 1))
    deviation = points.std(axis=(0, 1))
    points /= deviation + 1e-3 * deviation.max() + 1e-6
    scores = np.empty((_TURNS, n, _TURNS))  # of turn t and image i for each turn
    fold = np.arange(n) % _FOLDS
    for number in range(_FOLDS):
        known = points[:, fold != number]
        weights = _ridge(known.reshape(-1, known.shape[2]), np.repeat(np.arange(_TURNS), known.shape[1]))
        scores[:, fold == number] = points[:, fold == number] @ weights
    turns = np.arange(_TURNS)[:, None]
    quarter = scores.argmax(axis=2) == turns  # (4, n)
    own = np.take_along_axis(scores, turns[..., None], axis=2)[..., 0]
    opposite = np.take_along_axis(scores, ((turns + 2) % _TURNS)[..., None], axis=2)[..., 0]
    half = np.where(own == opposite, 0.5, own > opposite).mean(axis=0)  # (n,)
    return Recognition(n, float(quarter.mean()), float(half.mean()), float(half.std() / np.sqrt(n)))


def _ridge(points: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Least squares with a penalty, from points ``(m, D)`` to one column per turn: ``(D, 4)`` weights."""
    products = points.T @ points  # (D, D)
    penalty = _PENALTY * np.trace(products) / len(points) + 1e-9
    products[np.diag_indices_from(products)] += penalty
    return np.linalg.solve(products, points.T @ (np.eye(_TURNS)[turns] - 1 / _TURNS))


class _Quadrants(nn.Module):
    """The middle of a network, averaged over each quarter of the image: what is where."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(n, 3, S, S)`` to ``(n, 4 * channels)``."""
        network: Any = self.backbone.network
        seen = network.bn1(network.conv_stem((images - self.backbone.mean) / self.backbone.std))
        for stage in self.backbone.stages()[:_STAGES]:
            seen = stage(seen)
        return functional.adaptive_avg_pool2d(seen, 2).flatten(1)


def quadrants(images: int) -> Callable[[Tensor], Tensor]:
    """Return what an up is looked for with, on the processor: it maps ``(n, 3, S, S)`` to ``(n, D)``.

    Parameters
    ----------
    images
        How many it will be shown; for a few, it is not made ready to be quick.
    """
    engine = Engine("auto")
    engine.expect(images)
    network = _Quadrants(build_backbone(BackboneConfig(name="tf_efficientnet_lite0"), size=SIDE))
    return engine.run(engine.place(network))
