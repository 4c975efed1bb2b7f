"""What the model of a new session sees: measured on its images, or taken from a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from astroanomaly.cache import Cache
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.config import BackboneConfig
from astroanomaly.errors import CheckpointError
from astroanomaly.learn.advice import Advice, look_at
from astroanomaly.records import ANOMALY, NOMINAL, Progress

__all__ = ["what_the_model_sees"]


def what_the_model_sees(
    cache: Cache,
    chosen: Mapping[str, Any],
    classes: Sequence[str],
    start_from: str | Path | None,
    progress: Callable[[Progress], None] | None,
) -> tuple[ModelInput, tuple[str, ...], str, tuple[Advice, ...], BackboneConfig]:
    """Measure stretch and views on the cache, or take them, classes, layers and ranker from a checkpoint."""
    backbone: BackboneConfig = chosen["backbone"]
    own = (NOMINAL, ANOMALY, *(name for name in classes if name not in (NOMINAL, ANOMALY)))
    if start_from is None:
        seen, advice = look_at(cache, chosen["stretch"], chosen["input"], chosen["session"].seed, progress)
        return seen, own, "", advice, backbone.chosen(seen.views)
    from astroanomaly.learn.network.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(Path(start_from))
    checkpoint.model_input.check(cache)
    if classes and tuple(checkpoint.classes) != own:
        raise CheckpointError(
            f"{start_from} knows the classes {', '.join(checkpoint.classes)}, not {', '.join(own)}: "
            "leave --classes out, or start without --from"
        )
    seen = checkpoint.model_input
    if backbone.layers == "auto":
        layers: Any = checkpoint.backbone.layers_of(seen.views)
        backbone = dataclasses.replace(backbone, layers=layers)
    views = Advice.on_views(seen.views, f"as in the checkpoint {start_from}")
    return seen, tuple(checkpoint.classes), checkpoint.ranker, (views,), backbone
