"""Explain a score by occlusion: which part of the image it rests on, and whether that is so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astroanomaly.errors import ConfigError
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.scoring import without_damaged
from astroanomaly.parallel.threads import prefetch
from astroanomaly.records import ShardScores

if TYPE_CHECKING:
    from astroanomaly.cache import Cache, Shard
    from astroanomaly.cache.model_input import ModelInput
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.engine.transfer import Sent

__all__ = ["Deletion", "ImageScore", "deletion", "feature_score", "occlusion"]

_MASKS_PER_BATCH = 64  # covered images that pass together


@dataclass(frozen=True)
class Deletion:
    """How much the score of an object falls when a share of its pixels is covered.

    Attributes
    ----------
    score
        With nothing covered.
    salient
        Fall when the most salient pixels are covered.
    moved
        Mean fall when the same shape lies somewhere else: the stricter comparison.
    scattered
        Mean fall when as many pixels are drawn at random.
    """

    score: float
    salient: float
    moved: float
    scattered: float


@dataclass(frozen=True, eq=False)
class ImageScore:
    """The scoring of images by a ranker: cutouts of a cache, or others with the same layout.

    Parameters
    ----------
    cache
        The cutouts.
    model_input
        What is seen of them.
    log_odds
        Maps images ``(n, 3, S, S)`` in [0, 1], or what ``embed`` makes of them, to log-odds ``(n, classes)`` float32,
        ``nominal`` first.
    engine
        What it runs on; the images have to be on its device.
    classes
        Number of label classes.
    beside
        Gives ``(n, K)`` numbers of the objects of a shard that ``log_odds`` takes as its second argument; without them
        it takes those of the mean of the survey. None: it takes none.
    embed
        Maps images to frozen features ``(n, D)``, from which ``log_odds`` comes; None where it comes from the images.

    Raises
    ------
    CheckpointError
        If the model cannot look at this cache.
    """

    cache: Cache
    model_input: ModelInput
    log_odds: Callable[..., np.ndarray]
    engine: Engine
    classes: int
    beside: Callable[[Shard], np.ndarray] | None = None
    embed: Callable[[Tensor], np.ndarray] | None = None

    def __post_init__(self) -> None:
        self._planes  # noqa: B018  a cache that does not fit is refused at once

    @cached_property
    def _planes(self) -> tuple[int, ...] | None:
        return self.model_input.check(self.cache)

    @cached_property
    def batch_size(self) -> int:
        """How many images should pass at once."""
        return self.engine.batch_size(lambda seen: torch.from_numpy(self._of_images(seen)), self.model_input.size)

    def score(self, images: Tensor) -> Tensor:
        """``(n,)`` scores of images ``(n, 3, S, S)``: the log-odds of not being nominal."""
        return torch.from_numpy(-self._of_images(images)[:, 0])

    def _of_images(self, images: Tensor) -> np.ndarray:
        """``(n, classes)`` log-odds of images, with the numbers beside them as in the mean of the survey."""
        return self.log_odds(images if self.embed is None else self.embed(images))

    def __call__(self, shard: Shard, features: Callable[[np.ndarray], None] | None = None) -> ShardScores:
        """Score the cutouts of a shard with the layout of the cache, which need not be part of it.

        Parameters
        ----------
        shard
            The cutouts.
        features
            Called with the features ``(k, D)`` of each batch, in the order of the rows, where there is ``embed``.
        """
        size = self.batch_size
        found = self._scored(shard, [slice(start, start + size) for start in range(0, len(shard), size)], features)
        return ShardScores(shard.uuid, shard.ids, without_damaged(found, shard), self.engine.label)

    def of_rows(self, shard: Shard, rows: np.ndarray) -> np.ndarray:
        """``(n, classes)`` log-odds of some rows of a shard, in the order given; NaN for damaged cutouts."""
        size = self.batch_size
        found = self._scored(shard, [rows[start : start + size] for start in range(0, len(rows), size)])
        found[np.isin(rows, list(shard.damaged_rows))] = np.nan
        return found

    def _scored(
        self,
        shard: Shard,
        batches: Sequence[slice | np.ndarray],
        features: Callable[[np.ndarray], None] | None = None,
    ) -> np.ndarray:
        """``(n, classes)`` log-odds of batches of a shard, whether damaged or not."""
        transfer = self.engine.transfer
        parts = [np.empty((0, self.classes), np.float32)]

        def send(rows: slice | np.ndarray) -> Sent:
            return transfer.send(shard.stored(rows, damaged_too=True))

        beside = None if self.beside is None else self.beside(shard)
        for rows, sent in prefetch(send, batches, transfer.ahead, transfer.readers):
            with torch.inference_mode():
                images = to_tensor(transfer.receive(sent), self.model_input, self.engine.device, self._planes)
                seen = images if self.embed is None else self.embed(images)
                if features is not None and isinstance(seen, np.ndarray):
                    features(seen)
                more = () if beside is None else (beside[rows],)
                parts.append(self.log_odds(seen, *more))
        return np.concatenate(parts)

    def image(self, object_id: str) -> Tensor:
        """``(3, S, S)``: what is seen of an object.

        Raises
        ------
        UnknownObjectError
            For an id that is not in the cache.
        """
        return to_tensor(self.cache.read([object_id]), self.model_input, self.engine.device, self._planes)[0]

    def saliency(self, object_id: str) -> np.ndarray:
        """``(height, width)`` float32 of the cutout: how much the score falls when that part is covered."""
        fall = occlusion(self.score, self.image(object_id))  # (S, S)
        height, width = self.cache.layout.height, self.cache.layout.width
        side = max(height, width)
        square = functional.interpolate(fall[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]
        top, left = (side - height) // 2, (side - width) // 2
        return square[top : top + height, left : left + width].numpy()

    def deletion(self, object_id: str, rng: np.random.Generator, *, share: float = 0.1) -> Deletion:
        """Check the saliency of an object, see `deletion`."""
        image = self.image(object_id)
        return deletion(self.score, image, occlusion(self.score, image), rng, share=share)


def feature_score(
    store: FeatureStore,
    log_odds: Callable[..., np.ndarray],
    classes: int,
    *,
    expected: int = 0,
    beside: Callable[[Shard], np.ndarray] | None = None,
) -> ImageScore:
    """Score images by their frozen features, averaged over the same views as those of the store.

    Parameters
    ----------
    store
        Features of the cache, and the network that computes them.
    log_odds
        Maps features ``(n, D)``, and numbers beside them if there are any, to log-odds ``(n, classes)``.
    classes
        Number of label classes.
    expected
        About how many images are to be scored.
    beside
        As in `ImageScore`.
    """
    store.engine.expect(expected)

    def embed(images: Tensor) -> np.ndarray:
        return store.embed(images).half().cpu().numpy()  # as precise as features are kept

    return ImageScore(store.cache, store.model_input, log_odds, store.engine, classes, beside, embed)


def occlusion(score: Callable[[Tensor], Tensor], image: Tensor, *, window: float = 0.25, steps: int = 12) -> Tensor:
    """Find how much the score falls when a part of the image is covered (Zeiler & Fergus 2014, ECCV, section 4.2).

    A square window slides over the image; what it covers takes the image's median colour, so that nothing new is
    brought in. It needs no gradients and no knowledge of the network, and means what it says: covering that part lowers
    the score by so much.

    Parameters
    ----------
    score
        Maps ``(n, 3, S, S)`` to ``(n,)``, higher is more anomalous.
    image
        ``(3, S, S)`` as the network sees it.
    window
        Side of the window as a share of the image's.
    steps
        Places of the window along each side.

    Returns
    -------
    torch.Tensor
        ``(S, S)`` float32: mean fall of the score over the windows that cover a pixel; negative where covering raises
        it.
    """
    size = image.shape[-1]
    side = max(1, round(window * size))
    starts = torch.linspace(0, size - side, max(2, steps)).round().int().tolist()
    corners = [(y, x) for y in starts for x in starts]
    masks = torch.zeros(len(corners), size, size, dtype=torch.bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    falls = _falls(score, image, masks)  # (n,)
    total = torch.einsum("n,nyx->yx", falls, masks.float())
    fall = total / masks.sum(0).clamp(min=1)
    soft = max(1, side // 4) * 2 + 1  # the steps of the window are no feature of the object
    return functional.avg_pool2d(fall[None, None], soft, 1, soft // 2, count_include_pad=False)[0, 0]


def deletion(
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    fall: Tensor,
    rng: np.random.Generator,
    *,
    share: float = 0.1,
    draws: int = 16,
) -> Deletion:
    """Check a saliency map: the score must fall more when its brightest pixels are covered than when others are.

    See Petsiuk, Das & Saenko 2018 (arXiv:1806.07421) for the measure. What is covered takes the median colour.

    Parameters
    ----------
    score
        Maps ``(n, 3, S, S)`` to ``(n,)``, higher is more anomalous.
    image
        ``(3, S, S)`` as the network sees it.
    fall
        ``(S, S)`` the map.
    rng
        Draws what is covered in comparison.
    share
        Share of the pixels that is covered, more than 0 and less than 1.
    draws
        Comparisons of each kind.

    Raises
    ------
    ConfigError
        For a share that is none.
    """
    if not 0 < share < 1:
        raise ConfigError(f"share={share}: expected a number between 0 and 1")
    size = fall.shape[-1]
    count = max(1, round(share * size * size))
    salient = torch.zeros(size * size, dtype=torch.bool)
    salient[fall.flatten().argsort(descending=True, stable=True)[:count]] = True
    shape = salient.view(size, size)
    moved = [shape.roll(tuple(rng.integers(size, size=2).tolist()), (0, 1)) for _ in range(draws)]
    scattered = [salient[torch.from_numpy(rng.permutation(size * size))].view(size, size) for _ in range(draws)]
    falls = _falls(score, image, torch.stack([shape, *moved, *scattered]))
    with torch.inference_mode():
        whole = float(score(image[None])[0])
    return Deletion(whole, float(falls[0]), float(falls[1 : draws + 1].mean()), float(falls[draws + 1 :].mean()))


def _falls(score: Callable[[Tensor], Tensor], image: Tensor, masks: Tensor) -> Tensor:
    """``(n,)`` float32: how much the score falls when the pixels of each mask ``(n, S, S)`` are covered."""
    fill = image.flatten(1).median(dim=1).values[:, None, None]  # (3, 1, 1)
    parts = []
    with torch.inference_mode():
        whole = float(score(image[None])[0])
        for some in masks.split(_MASKS_PER_BATCH):
            covered = torch.where(some[:, None].to(image.device), fill, image)  # (n, 3, S, S)
            parts.append(whole - score(covered.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(parts)
