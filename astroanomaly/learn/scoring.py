"""Score every object with a network, one shard after another, and keep the best in bounded memory."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.parallel.threads import SharedIterator, merged, prefetch
from astroanomaly.records import ShardScores

if TYPE_CHECKING:
    from torch import Tensor, nn

    from astroanomaly.cache import Cache, Shard
    from astroanomaly.cache.model_input import ModelInput
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.engine.transfer import Sent

__all__ = ["Logits", "all_classes", "log_odds", "score_images", "without_damaged"]

_log = logging.getLogger(__name__)

Logits = Callable[["Tensor", str, int], "Tensor"]
"""Maps images ``(n, 3, S, S)``, the uuid of their shard (empty for none) and the row of the first one to logits."""


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


def all_classes(known: np.ndarray, columns: Sequence[int], count: int) -> np.ndarray:
    """Bring log-odds ``(n, k)`` of some label classes to ``(n, count)`` float32; NaN for the others.

    Parameters
    ----------
    known
        Log-odds of the label classes that have labels.
    columns
        Places of these k classes among all of them.
    count
        How many label classes there are.
    """
    result = np.full((len(known), count), np.nan, np.float32)
    result[:, columns] = known
    return result


def without_damaged(scores: np.ndarray, shard: Shard) -> np.ndarray:
    """Take away the scores ``(n, classes)`` of cutouts of a shard that were found damaged: they are NaN."""
    if shard.damaged_rows:
        _log.warning("%d objects have no score, since they cannot be read: %s", len(shard.damaged_rows), shard.path)
        scores[sorted(shard.damaged_rows)] = np.nan
    return scores


def score_images(
    model: nn.Module,
    cache: Cache,
    model_input: ModelInput,
    batch_size: int = 0,
    engines: Sequence[Engine] = (),
    logits: Callable[[nn.Module, Engine], Logits] | None = None,
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
        How they become the network's input.
    batch_size
        Cutouts per pass; 0: what suits the device.
    engines
        Where to compute, one for each device; none: torch on the processor.
    logits
        Gives the `Logits` of a network on an engine. None: those of the network, averaged over the views of
        ``model_input`` (test-time augmentation).
    only
        Uuids of the shards to score; None: all.

    Yields
    ------
    ShardScores
        Log-odds of one shard after another; with several engines as they are done. NaN for objects that are damaged.

    Raises
    ------
    CheckpointError
        If the model cannot look at this cache.
    """
    from astroanomaly.learn.engine.engine import Engine
    from astroanomaly.learn.preprocessing import average_views

    planes = model_input.check(cache)
    shards = [shard for shard in cache.shards if len(shard) and (only is None or shard.uuid in only)]
    engines = engines or [Engine()]
    todo = SharedIterator(shards)
    training = model.training

    def averaged(placed: nn.Module, engine: Engine) -> Logits:
        run = engine.run(placed)
        return lambda seen, shard, start: average_views(run, seen, model_input)

    def scored(engine: Engine, placed: nn.Module) -> Iterator[ShardScores]:
        made = (logits or averaged)(placed, engine)
        size = batch_size or engine.batch_size(lambda seen: made(seen, "", 0), model_input.size)
        return _scored(engine, placed, made, model_input, planes, todo, size)

    for engine in engines:
        engine.expect(-(-sum(map(len, shards)) // len(engines)))
    try:
        parts = [scored(engine, engine.place(model, own=number > 0)) for number, engine in enumerate(engines)]
        yield from parts[0] if len(parts) == 1 else merged(parts)
    finally:
        model.train(training)


def _scored(
    engine: Engine,
    model: nn.Module,
    logits: Logits,
    model_input: ModelInput,
    planes: tuple[int, ...] | None,
    shards: Iterator[Shard],
    size: int,
) -> Iterator[ShardScores]:
    """Score shards on one engine, as long as there are any left."""
    import torch

    from astroanomaly.learn.preprocessing import to_tensor

    transfer = engine.transfer
    waiting: deque[tuple[Shard, int, Callable[[], np.ndarray]]] = deque()
    fetched: list[np.ndarray] = []

    def read(step: tuple[Shard, int]) -> Sent:
        return transfer.send(step[0].stored(slice(step[1], step[1] + size), damaged_too=True))

    def finish(most: int) -> Iterator[ShardScores]:
        """Wait for the oldest batches until at most so many are on their way."""
        while len(waiting) > most:
            shard, start, fetch = waiting.popleft()
            fetched.append(fetch())  # (n, classes)
            if start + size >= len(shard):
                found = without_damaged(log_odds(np.concatenate(fetched)), shard)
                fetched.clear()
                shard.release()
                yield ShardScores(shard.uuid, shard.ids, found, engine.label)

    steps = ((shard, start) for shard in shards for start in range(0, len(shard), size))
    for (shard, start), sent in prefetch(read, steps, transfer.ahead, transfer.readers):
        model.eval()  # between two shards the caller may have put it into another mode
        with torch.inference_mode():
            seen = to_tensor(transfer.receive(sent), model_input, engine.device, planes)  # (n, 3, S, S)
            waiting.append((shard, start, transfer.fetch(logits(seen, shard.uuid, start).float())))
        yield from finish(transfer.behind)
    yield from finish(0)
