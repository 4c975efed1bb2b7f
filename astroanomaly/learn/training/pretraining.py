"""Self-supervised pretraining on the images of a survey; writes weights that a session may begin with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import build, to_plain
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.sampling import read_undamaged
from astroanomaly.learn.advice import choose_views
from astroanomaly.learn.engine.device import pick_device
from astroanomaly.learn.network.backbone import build_backbone
from astroanomaly.learn.network.checkpoint import save_checkpoint
from astroanomaly.learn.preprocessing import to_tensor
from astroanomaly.learn.settings import build_settings
from astroanomaly.learn.training.augment import strong_views
from astroanomaly.learn.training.fixmatch import Norm
from astroanomaly.learn.training.options import PretrainOptions
from astroanomaly.learn.training.sampling import Shuffler
from astroanomaly.learn.training.simsiam import pretrain_network
from astroanomaly.records import Progress

__all__ = ["pretrain", "pretrain_steps"]

_NORM_BATCHES, _NORM_BATCH_SIZE = 8, 64  # images that the statistics of batch normalisation are measured on


def pretrain(
    cache: str | Path,
    out: str | Path,
    *,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> None:
    """Go on training a network on the images of a cache, without any label.

    Parameters
    ----------
    cache
        Folder of the cache.
    out
        File to write, ``.safetensors``, to be ``backbone.weights`` of a session. One of that name is replaced.
    settings
        By section: ``input`` and ``stretch`` (the network's input), ``backbone`` (the network and the weights it
        begins with), ``session`` (seed and device).
    progress
        Called with a `Progress` per step.
    **options
        See `astroanomaly.learn.training.options.PretrainOptions`, as in ``iterations=500``.

    Raises
    ------
    TrainingError
        If the loss is no longer finite, or the network ends with calling all images the same.
    StorageError
        If the file cannot be written.
    """
    for step in pretrain_steps(Path(cache), Path(out), settings=settings or {}, options=options):
        if progress is not None:
            progress(step)


def pretrain_steps(
    cache: Path, out: Path, *, settings: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> Generator[Progress, None, None]:
    """As `pretrain`, as a generator of progress reports."""
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out}: the name of a file of weights ends in .safetensors")
    chosen, how = build_settings(settings), build(PretrainOptions, options)
    opened, seed = Cache.open(cache), chosen["session"].seed
    shown, _ = choose_views(opened, chosen["stretch"], chosen["input"], seed)
    seen = ModelInput.measure(opened, chosen["stretch"], shown, np.random.default_rng((seed, 0)))
    device = pick_device(chosen["session"].device)
    network = build_backbone(chosen["backbone"], size=seen.size, seed=seed, batch_norm_momentum=0.1)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    norm: Norm = "batch" if chosen["backbone"].weights == "random" else "frozen"
    if how.norm != "auto":
        norm = how.norm
    images = _images(opened, seen, device, how.iterations * how.batch, np.random.default_rng((seed, 13)))
    yield from pretrain_network(
        network,
        _views(images, seen, how.batch, torch.Generator().manual_seed(seed)),
        (images(_NORM_BATCH_SIZE) for _ in range(_NORM_BATCHES)),
        how,
        norm,
        seed,
    )
    meta = {"backbone": to_plain(chosen["backbone"]), "input": seen.to_plain(), "settings": to_plain(how), "seed": seed}
    save_checkpoint(out, network.network.state_dict(), meta)


def _images(
    cache: Cache, seen: ModelInput, device: torch.device, most: int, rng: np.random.Generator
) -> Callable[[int], Tensor]:
    """Give what draws so many images ``(n, 3, S, S)`` at random, out of at most so many and each as often as any."""
    planes = seen.check(cache)
    shuffler = Shuffler(cache.sample(most, rng), rng)

    def draw(count: int) -> Tensor:
        images, _ = read_undamaged(cache, [shuffler.draw() for _ in range(count)])
        return to_tensor(images, seen, device, planes)

    return draw


def _views(
    images: Callable[[int], Tensor], seen: ModelInput, batch: int, generator: torch.Generator
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """Two strongly changed views of the same images, endlessly."""
    while True:
        drawn = images(batch)
        one, other = (
            strong_views(drawn, generator, views=seen.views).contiguous(memory_format=torch.channels_last)
            for _ in range(2)
        )
        yield one, other
