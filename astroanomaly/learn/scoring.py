"""Score every object with a network, one shard after another, and keep the best in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.hookspecs import ShardScores

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from astroanomaly.cache import Cache
    from astroanomaly.learn.batches import ModelInput

__all__ = ["TopK", "log_odds", "score_images"]


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Turn logits into the log-odds of each class against all others together.

    Parameters
    ----------
    logits
        ``(n, classes)`` of at least two classes; their softmax is the probability of each class.

    Returns
    -------
    numpy.ndarray
        ``(n, classes)`` float32, ln(p / (1 - p)), exact also where p rounds to 0 or 1. Two classes: one is minus
        the other.
    """
    logits = np.asarray(logits, dtype=np.float64)
    result = np.empty(logits.shape, np.float32)
    for column in range(logits.shape[1]):
        others = np.delete(logits, column, axis=1)
        peak = others.max(axis=1, keepdims=True)
        rest = peak[:, 0] + np.log(np.exp(others - peak).sum(axis=1))
        result[:, column] = logits[:, column] - rest
    return result


def score_images(
    model: nn.Module,
    cache: Cache,
    model_input: ModelInput,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    judge: Callable[[Tensor, str, int], Tensor] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[ShardScores]:
    """Score every object of a cache with a network; memory is bounded by a batch and the scores of one shard.

    Parameters
    ----------
    model
        Maps ``(n, 3, S, S)`` in [0, 1] to logits ``(n, classes)``. It is moved to the device and run in evaluation
        mode; its mode is put back at the end.
    cache
        The cutouts.
    model_input
        What the network sees of them.
    batch_size
        Cutouts per pass.
    device
        Where to compute.
    judge
        Maps images ``(n, 3, S, S)``, the uuid of their shard (empty for none) and the place of the first one in it to
        logits. None: what the model says, averaged over the views of ``model_input``.
    only
        Uuids of the shards to score; None: all.

    Yields
    ------
    ShardScores
        Log-odds of one shard after another.

    Raises
    ------
    CheckpointError
        If the model cannot look at this cache.
    """
    import torch

    planes = model_input.check(cache)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = model.training
    try:
        for shard in cache.shards:
            if only is not None and shard.uuid not in only:
                continue
            parts = []
            for start in range(0, len(shard), batch_size):
                model.eval()  # between two shards the caller may have trained
                with torch.inference_mode():
                    seen = model_input.tensor(shard.read(start, start + batch_size), device, planes)  # (n, 3, S, S)
                    logits = judge(seen, shard.uuid, start) if judge else model_input.averaged(model, seen)
                    parts.append(log_odds(logits.float().cpu().numpy()))  # (n, classes)
            if parts:
                yield ShardScores(shard.uuid, shard.ids, np.concatenate(parts))
    finally:
        model.train(training)


class TopK:
    """Keep the ``k`` highest-scored ids of a stream in memory O(k + batch).

    Equal scores are ordered by id, so the result does not depend on the order of the stream.

    Parameters
    ----------
    k
        How many to keep.
    """

    def __init__(self, k: int) -> None:
        self.k = max(0, k)
        self._scores = np.empty(0, np.float64)
        self._ids = np.empty(0, object)

    def add(self, scores: np.ndarray, ids: Sequence[str]) -> None:
        """Take a batch: ``(n,)`` scores, NaN for objects without one, and their ids."""
        scores = np.asarray(scores, dtype=np.float64)
        wanted = ~np.isnan(scores)
        if len(self._scores) == self.k and self.k:
            wanted &= scores >= self._scores[-1]
        chosen = np.flatnonzero(wanted)
        if len(chosen) > self.k and self.k:  # all above the k-th of the batch, and those that tie with it
            kth = np.partition(scores[chosen], len(chosen) - self.k)[len(chosen) - self.k]
            chosen = chosen[scores[chosen] >= kth]
        if not len(chosen) or not self.k:
            return
        batch = np.empty(len(chosen), object)
        batch[:] = [ids[int(i)] for i in chosen]
        all_scores, all_ids = np.concatenate([self._scores, scores[chosen]]), np.concatenate([self._ids, batch])
        order = np.lexsort((all_ids, -all_scores))[: self.k]
        self._scores, self._ids = all_scores[order], all_ids[order]

    @property
    def least(self) -> float:
        """The lowest score that may still be kept: minus infinity until there are ``k``."""
        return float(self._scores[-1]) if len(self._scores) == self.k and self.k else -np.inf

    def result(self) -> list[tuple[float, str]]:
        """Return ``(score, id)``, highest first, equal scores by id."""
        return [(float(score), str(name)) for score, name in zip(self._scores, self._ids, strict=True)]
