"""Settings of the tuned network, apart from its code so that they can be read without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroanomaly.config import option
from astroanomaly.errors import ConfigError
from astroanomaly.learn.train_config import TrainConfig

__all__ = ["TuneOptions"]

_NOW = 20  # steps that the labelled loss is averaged over


@dataclass(frozen=True)
class TuneOptions:
    """Settings of the network that goes on learning from where the probe stands."""

    iterations: int = option(150, "training steps of a round, at most")
    stop: float = option(
        0.1, "stop when the labels are learnt: when their loss is below this (cross-entropy, nats); 0 takes all steps"
    )
    batch: int = option(16, "labelled images of a step, of every label class alike")
    learning_rate: float = option(0.003, "learning rate of stochastic gradient descent")
    max_grad_norm: float = option(5.0, "norm above which a step's gradient is scaled down; 0 leaves it")
    ema: float = option(0.97, "share of the averaged weights that stays at every step")
    frozen_blocks: int = option(
        0,
        "blocks of the network, from the first on and with what comes before, that keep their weights: 7 of "
        "EfficientNet, 4 of ConvNeXt, the layers of a transformer; saves time and memory",
    )
    edge_share: float = option(0.1, "share of the images that lose an edge or a corner, as at the edge of a survey")
    memory_gb: float = option(
        0.0,
        "peak memory of training in gigabytes; a step that needs more passes in several parts. 0: 6 on a processor, "
        "most of what is free on a GPU",
    )

    def __post_init__(self) -> None:
        for name in ("iterations", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"tune.{name}={getattr(self, name)}: expected 1 or more")
        if not 0 <= self.edge_share <= 1:
            raise ConfigError(f"tune.edge_share={self.edge_share}: expected 0 to 1")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"tune.ema={self.ema}: expected 0 or more, and less than 1")
        if self.learning_rate <= 0:
            raise ConfigError(f"tune.learning_rate={self.learning_rate}: expected a number above 0")
        for name in ("stop", "max_grad_norm", "memory_gb", "frozen_blocks"):
            if getattr(self, name) < 0:
                raise ConfigError(f"tune.{name}={getattr(self, name)}: expected 0 or more")

    def enough(self, losses: Sequence[float]) -> bool:
        """Whether the labels are learnt, from the labelled losses of all steps so far."""
        return len(losses) >= _NOW and sum(losses[-_NOW:]) / _NOW < self.stop

    @property
    def training(self) -> TrainConfig:
        """The same in terms of the training loop: labels only, batch normalisation as it came."""
        return TrainConfig(
            iterations=self.iterations,
            labelled_batch=self.batch,
            unlabelled_weight=0.0,
            ema=self.ema,
            learning_rate=self.learning_rate,
            max_grad_norm=self.max_grad_norm,
            weight_decay=0.0,
            norm="frozen",
            memory_gb=self.memory_gb,
        )
