"""Score every object with a network, one shard after another, and keep the best in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.hookspecs import ShardScores
from astroanomaly.learn.pipeline import Shared, ahead, together

if TYPE_CHECKING:
    from torch import Tensor, nn

    from astroanomaly.cache import Cache, Shard
    from astroanomaly.learn.batches import ModelInput
    from astroanomaly.learn.engines import Engine
    from astroanomaly.learn.transfer import Sent

__all__ = ["Judge", "TopK", "log_odds", "score_images"]

Judge = Callable[["Tensor", str, int], "Tensor"]
"""Maps images ``(n, 3, S, S)``, the uuid of their shard (empty for none) and the place of the first one to logits."""


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
    batch_size: int = 0,
    engines: Sequence[Engine] = (),
    judge: Callable[[nn.Module, Engine], Judge] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[ShardScores]:
    """Score every object of a cache with a network; memory is bounded by a few batches and the scores of one shard.

    Pixels are read while the network works. Several engines take shards in turn, each with its own copy of the network.

    Parameters
    ----------
    model
        Maps ``(n, 3, S, S)`` in [0, 1] to logits ``(n, classes)``. It is moved to the first device and run in
        evaluation mode; its mode is put back at the end.
    cache
        The cutouts.
    model_input
        What the network sees of them.
    batch_size
        Cutouts per pass; 0: what suits the device.
    engines
        Where to compute, one for each device; none: torch on the processor.
    judge
        Gives the `Judge` of a network on an engine. None: what the network says, averaged over the views of
        ``model_input``.
    only
        Uuids of the shards to score; None: all.

    Yields
    ------
    ShardScores
        Log-odds of one shard after another; with several engines as they are done.

    Raises
    ------
    CheckpointError
        If the model cannot look at this cache.
    """
    from astroanomaly.learn.engines import Engine

    planes = model_input.check(cache)
    shards = [shard for shard in cache.shards if len(shard) and (only is None or shard.uuid in only)]
    engines = engines or [Engine()]
    todo = Shared(shards)
    training = model.training

    def plain(placed: nn.Module, engine: Engine) -> Judge:
        run = engine.run(placed)
        return lambda seen, shard, start: model_input.averaged(run, seen)

    def scored(engine: Engine, placed: nn.Module) -> Iterator[ShardScores]:
        judged = (judge or plain)(placed, engine)
        size = batch_size or engine.batch_size(lambda seen: judged(seen, "", 0), model_input.size)
        return _scored(engine, placed, judged, model_input, planes, todo, size)

    for engine in engines:
        engine.expect(-(-sum(map(len, shards)) // len(engines)))
    try:
        parts = [scored(engine, engine.place(model, own=number > 0)) for number, engine in enumerate(engines)]
        yield from parts[0] if len(parts) == 1 else together(parts)
    finally:
        model.train(training)


def _scored(
    engine: Engine,
    model: nn.Module,
    judge: Judge,
    model_input: ModelInput,
    planes: tuple[int, ...] | None,
    shards: Iterator[Shard],
    size: int,
) -> Iterator[ShardScores]:
    """Score shards on one engine, as long as there are any left."""
    import torch

    transfer = engine.transfer
    waiting: deque[tuple[Shard, int, Callable[[], np.ndarray]]] = deque()
    logits: list[np.ndarray] = []

    def read(step: tuple[Shard, int]) -> Sent:
        return transfer.send(step[0].stored(slice(step[1], step[1] + size)))

    def finish(most: int) -> Iterator[ShardScores]:
        """Wait for the oldest batches until at most so many are on their way."""
        while len(waiting) > most:
            shard, start, fetched = waiting.popleft()
            logits.append(fetched())  # (n, classes)
            if start + size >= len(shard):
                found = log_odds(np.concatenate(logits))
                logits.clear()
                shard.release()
                yield ShardScores(shard.uuid, shard.ids, found, engine.label)

    steps = ((shard, start) for shard in shards for start in range(0, len(shard), size))
    for (shard, start), sent in ahead(read, steps, transfer.ahead, transfer.readers):
        model.eval()  # between two shards the caller may have put it into another mode
        with torch.inference_mode():
            seen = model_input.tensor(transfer.receive(sent), engine.device, planes)  # (n, 3, S, S)
            waiting.append((shard, start, transfer.fetch(judge(seen, shard.uuid, start).float())))
        yield from finish(transfer.behind)
    yield from finish(0)


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
