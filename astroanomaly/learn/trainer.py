"""The training loop of FixMatch: settings, optimiser, moving average, memory, and an eye on the pseudo-labels."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence

import torch
from torch import Tensor, nn

from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.learn.fixmatch import (
    Loss,
    StepBatch,
    average_weights,
    make_average,
    measure_norm,
    set_training,
    train_step,
)
from astroanomaly.learn.train_config import TrainConfig
from astroanomaly.records import Progress

__all__ = ["STAGE", "fit_micro_batch", "train"]

STAGE = "training"
_FLOOD = 0.95  # share of the unlabelled batch
_EARLY = 5  # steps
_OVERHEAD = 1.35  # peak memory of a step over what is kept for the gradient
_PROGRAM = 1.8e9  # bytes beside it: Python, torch, the weights, a batch of images, measuring the normalisation


def train(
    model: nn.Module,
    batches: Iterable[StepBatch],
    config: TrainConfig,
    *,
    micro_batch: int,
    plain: Callable[[], Iterable[Tensor]] | None = None,
    learnt: Tensor | None = None,
    fresh: bool = True,
    section: str = "train",
    enough: Callable[[Sequence[float]], bool] | None = None,
) -> Generator[Progress, None, nn.Module]:
    """Train a model in place, one report per step.

    Parameters
    ----------
    model
        Maps images ``(n, 3, S, S)`` in [0, 1] to logits ``(n, classes)``; class 0 is ``nominal``.
    batches
        At least ``config.iterations`` of them.
    config
        The settings.
    micro_batch
        Images that pass together.
    plain
        Gives a few batches of images as they will be scored, ``(n, 3, S, S)``, on which ``norm="batch"`` measures the
        statistics of the average after training. None leaves those of training.
    learnt
        ``(classes,)`` bool: classes that have labels; None means all.
    fresh
        Whether the head has learnt nothing yet: many confident pseudo-labels are a bad sign then.
    section
        Section of the settings, for messages.
    enough
        Whether to stop, from the labelled losses of all steps so far. None goes on to the end.

    Yields
    ------
    Progress
        ``loss``; with unlabelled images ``supervised loss``, ``unlabelled loss``, ``confident`` (share that passed the
        threshold), ``anomalous`` (share of the confident pseudo-labels that are not nominal) and ``seconds``.

    Returns
    -------
    torch.nn.Module
        The moving average of the weights, for scoring. Its start is corrected for, as in Adam (Kingma & Ba 2015,
        arXiv:1412.6980): of a round of 60 steps at a decay of .99, more than half would else be the untrained weights.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    """
    average = make_average(model)
    optimiser = _optimiser(model, config)
    watch = _Watch(config, fresh)
    set_training(model, config.norm)
    losses: list[float] = []
    started = time.perf_counter()
    for step, batch in zip(range(config.iterations), batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _schedule(config, step)
        loss = train_step(
            model,
            optimiser,
            batch,
            micro_batch=micro_batch,
            norm=config.norm,
            learnt=learnt,
            threshold=config.threshold,
            temperature=config.temperature,
            weight=config.unlabelled_weight,
        )
        average_weights(average, model, config.ema * (1 - config.ema**step) / (1 - config.ema ** (step + 1)))
        values = _figures(loss)
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the loss is {values['loss']} at step {step + 1} of {config.iterations}: the weights ran away; set a "
                f"smaller {section}.learning_rate than {config.learning_rate:g}"
            )
        now = time.perf_counter()
        values["seconds"], started = now - started, now
        yield Progress(STAGE, step + 1, config.iterations, values, watch.look(step, values))
        losses.append(values.get("supervised loss", values["loss"]))
        if enough is not None and enough(losses):
            break
    if config.norm == "batch" and plain is not None:
        measure_norm(average, plain())
    return average


def fit_micro_batch(model: nn.Module, size: int, config: TrainConfig) -> int:
    """Find how many images may pass together within ``config.memory_gb``: at most the whole step.

    The tensors that the network keeps for the gradient of two images are counted, so the answer depends on the network,
    the size of the images and the settings, and not on the state of the machine.

    Parameters
    ----------
    model
        The network, on its device; unchanged afterwards.
    size
        Side of the images in pixels.
    config
        The settings; a ``micro_batch`` there is taken as it is.

    Raises
    ------
    ConfigError
        If the smallest parts, of one labelled image each, need more.
    """
    whole = config.labelled_batch + 2 * config.unlabelled_batch
    if config.micro_batch:
        return min(config.micro_batch, whole)
    trial = copy.deepcopy(model)  # batch normalisation would change the model itself
    set_training(trial, config.norm)
    own = {parameter.untyped_storage().data_ptr() for parameter in trial.parameters()}
    kept: dict[int, int] = {}  # bytes by storage

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    device = next(trial.parameters()).device
    images = torch.zeros(2, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        output = trial(images)
    del output  # until here nothing that was counted may be freed, or addresses would be used twice
    per_image = sum(kept.values()) / 2 * _OVERHEAD
    if config.norm == "frozen":  # weak views keep nothing
        per_image *= (config.labelled_batch + config.unlabelled_batch) / whole
    smallest = -(-whole // config.labelled_batch)
    room = config.memory_gb * 1e9 - _PROGRAM
    if room < smallest * per_image:
        needed = math.ceil((smallest * per_image + _PROGRAM) / 1e8) / 10
        raise ConfigError(
            f"training at {size} px needs about {needed:g} GB, train.memory_gb={config.memory_gb:g}: raise it, or set "
            "a smaller input.size"
        )
    return int(min(room / per_image, whole))


def _optimiser(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Stochastic gradient descent; weight decay on matrices and kernels only, as in the reference implementations."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    spared = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=config.learning_rate,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
    )


def _schedule(config: TrainConfig, step: int) -> float:
    """Learning rate of a step, in units of the first; the cosine is that of the paper, section 2.3."""
    return math.cos(7 * math.pi * step / (16 * config.iterations)) if config.schedule == "cosine" else 1.0


def _figures(loss: Loss) -> dict[str, float]:
    """Collect what is reported of a step."""
    values = {"loss": float(loss.total)}
    if len(loss.confident):
        values["supervised loss"] = float(loss.supervised)
        values["unlabelled loss"] = float(loss.unlabelled)
        values["confident"] = float(loss.confident.float().mean())
        if values["confident"]:
            values["anomalous"] = float((loss.pseudo_labels[loss.confident] > 0).float().mean())
    return values


class _Watch:
    """Tells when pseudo-labels come too early or not at all."""

    def __init__(self, config: TrainConfig, fresh: bool) -> None:
        self._config = config
        self._fresh = fresh
        self._warned = False
        self._most = 0.0

    def look(self, step: int, values: dict[str, float]) -> str:
        """Return what a person should know after a step, mostly nothing."""
        confident = values.get("confident")
        if confident is None:
            return ""
        self._most = max(self._most, confident)
        if self._fresh and not self._warned and step < _EARLY and confident >= _FLOOD:
            self._warned = True
            return (
                f"{confident:.0%} of the unlabelled images passed the confidence threshold at step {step + 1}: before "
                "anything is learnt these pseudo-labels are near random. Raise train.threshold "
                f"({self._config.threshold:g}) or train.temperature ({self._config.temperature:g})"
            )
        if step == self._config.iterations - 1 and not self._most:
            return (
                f"no unlabelled image passed the confidence threshold in {self._config.iterations} steps: this round "
                "learnt from the labels only. Raise train.iterations, or lower train.threshold "
                f"({self._config.threshold:g})"
            )
        return ""
