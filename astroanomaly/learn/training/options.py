"""Settings of FixMatch, apart from its code so that they can be read without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from astroanomaly.config import option
from astroanomaly.errors import ConfigError

__all__ = ["FixMatchOptions", "PretrainOptions", "TuneOptions"]

_STEPS_AVERAGED = 20  # steps that the labelled loss is averaged over


@dataclass(frozen=True)
class FixMatchOptions:
    """Settings of FixMatch. The defaults are those of AnomalyMatch (Gomez & O'Ryan 2025, arXiv:2505.03509)."""

    iterations: int = option(100, "training steps of a round")
    labelled_batch: int = option(16, "labelled images of a step")
    unlabelled_ratio: int = option(5, "unlabelled images of a step for each labelled one")
    threshold: float = option(0.95, "probability from which on a pseudo-label counts")
    temperature: float = option(0.5, "sharpening of the pseudo-labels' probabilities: 1 leaves them, less sharpens")
    unlabelled_weight: float = option(1.0, "weight of the unlabelled loss; 0 learns from the labels only")
    ema: float = option(0.99, "share of the averaged weights that stays at every step; the average is what scores")
    learning_rate: float = option(0.0075, "learning rate of stochastic gradient descent")
    schedule: Literal["constant", "cosine"] = option(
        "constant", "learning rate over the round: constant, or falling to a fifth along FixMatch's cosine"
    )
    momentum: float = option(0.9, "Nesterov momentum")
    max_grad_norm: float = option(0.0, "norm above which a step's gradient is scaled down; 0 leaves it")
    weight_decay: float = option(7.5e-4, "pull of the weights towards 0; spares biases and normalisation")
    oversample: bool = option(True, "draw every label class equally often, however rare")
    pool: int = option(10_000, "unlabelled objects of a round, drawn at random")
    start: Literal["continue", "pretrained"] = option(
        "continue", "continue the weights of the round before, or start from the pretrained ones with all labels"
    )
    frozen_blocks: int = option(
        0,
        "blocks of the network, from the first on and with what comes before, that keep their weights: 7 of "
        "EfficientNet, 4 of ConvNeXt, the layers of a transformer; saves time and memory",
    )
    edge_share: float = option(0.1, "share of the images that lose an edge or a corner, as at the edge of a survey")
    norm: Literal["batch", "frozen"] = option(
        "batch", "batch normalisation by the images of a step, or by the statistics that came with the weights"
    )
    memory_gb: float = option(
        0.0,
        "peak memory of training in gigabytes; a step that needs more passes in several parts. 0: 6 on a processor, "
        "most of what is free on a GPU",
    )
    micro_batch: int = option(0, "images that pass together; 0 takes what memory_gb allows. Recorded with the weights")

    def __post_init__(self) -> None:
        for name in ("iterations", "labelled_batch", "unlabelled_ratio", "pool"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}={getattr(self, name)}: expected 1 or more")
        for name in ("threshold", "edge_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"train.{name}={getattr(self, name)}: expected 0 to 1")
        for name in ("ema", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"train.{name}={getattr(self, name)}: expected 0 or more, and less than 1")
        for name in ("temperature", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"train.{name}={getattr(self, name)}: expected a number above 0")
        for name in ("unlabelled_weight", "max_grad_norm", "weight_decay", "memory_gb", "micro_batch", "frozen_blocks"):
            if getattr(self, name) < 0:
                raise ConfigError(f"train.{name}={getattr(self, name)}: expected 0 or more")

    @property
    def unlabelled_batch(self) -> int:
        """Unlabelled images of a step; 0 when learning from labels only."""
        return self.labelled_batch * self.unlabelled_ratio if self.unlabelled_weight else 0


@dataclass(frozen=True)
class TuneOptions:
    """Settings of the network that is fine-tuned, starting from the probe."""

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
        return len(losses) >= _STEPS_AVERAGED and sum(losses[-_STEPS_AVERAGED:]) / _STEPS_AVERAGED < self.stop

    @property
    def training(self) -> FixMatchOptions:
        """The same in terms of the training loop: labels only, batch normalisation as it came."""
        return FixMatchOptions(
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
