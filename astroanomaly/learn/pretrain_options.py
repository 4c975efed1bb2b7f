"""Settings of learning from images without labels, apart from its code so that they can be read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from astroanomaly.config import option
from astroanomaly.errors import ConfigError

__all__ = ["PretrainOptions"]


@dataclass(frozen=True)
class PretrainOptions:
    """Settings of learning from images without labels."""

    iterations: int = option(200, "training steps")
    batch: int = option(32, "images of a step, of which two views each pass")
    learning_rate: float = option(0.001, "learning rate at first; it falls to 0 along half a cosine")
    weight_decay: float = option(1e-4, "pull of the weights towards 0; spares biases and normalisation")
    norm: Literal["auto", "batch", "frozen"] = option(
        "auto",
        "batch normalisation by the images of a step, measured anew at the end, or by the statistics that came with "
        "the weights; auto: the latter unless the weights are random",
    )
    width: int = option(512, "length of what is compared")

    def __post_init__(self) -> None:
        for name, least in (("iterations", 1), ("batch", 4), ("width", 8)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name}={getattr(self, name)}: expected {least} or more")
        if not self.learning_rate > 0:
            raise ConfigError(f"--learning-rate={self.learning_rate}: expected a number above 0")
        if self.weight_decay < 0:
            raise ConfigError(f"--weight-decay={self.weight_decay}: expected 0 or more")
