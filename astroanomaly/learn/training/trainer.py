"""The training loop of FixMatch: optimiser, exponential moving average, memory, and warnings of bad pseudo-labels."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.learn.engine.device import free_memory
from astroanomaly.learn.training.fixmatch import (
    Loss,
    MovingAverage,
    StepBatch,
    measure_norm,
    set_training,
    train_step,
)
from astroanomaly.learn.training.options import FixMatchOptions
from astroanomaly.records import Progress

__all__ = ["STAGE", "fit_micro_batch", "train"]

STAGE = "training"
_MAX_EARLY_CONFIDENT_SHARE = 0.95  # of the unlabelled batch
_EARLY_STEPS = 5
_PEAK_MEMORY_RATIO = 1.35  # peak memory of a step over what is kept for the gradient
_CPU_BYTES = 6e9  # that training may take on a processor where the settings do not say
_GPU_MEMORY_SHARE = 0.8  # and on a GPU, of what is free
_OTHER_BYTES = 1.8e9  # beside it: Python, torch, the weights, a batch of images, measuring the normalisation


def train(
    model: nn.Module,
    batches: Iterable[StepBatch],
    options: FixMatchOptions,
    *,
    micro_batch: int,
    as_scored: Callable[[], Iterable[Tensor]] | None = None,
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
        At least ``options.iterations`` of them.
    options
        The settings.
    micro_batch
        Images that pass together.
    as_scored
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
        The exponential moving average of the weights, for scoring. Its start is corrected for, as in Adam (Kingma & Ba
        2015, arXiv:1412.6980): of a round of 60 steps at a decay of .99, more than half would else be the untrained
        weights.

    Raises
    ------
    TrainingError
        If the loss is no longer finite.
    """
    average = MovingAverage(model)
    optimiser = _optimiser(model, options)
    watch = _Watch(options, fresh)
    set_training(model, options.norm)
    losses: list[float] = []
    started = time.perf_counter()
    prepared = _Prepared(batches, next(model.parameters()).device)
    batch = prepared.next()
    for step in range(options.iterations):
        if batch is None:
            break
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * _schedule(options, step)
        loss = train_step(
            model,
            optimiser,
            prepared.use(batch),
            micro_batch=micro_batch,
            norm=options.norm,
            learnt=learnt,
            threshold=options.threshold,
            temperature=options.temperature,
            weight=options.unlabelled_weight,
            max_grad_norm=options.max_grad_norm,
        )
        average.move(options.ema * (1 - options.ema**step) / (1 - options.ema ** (step + 1)))
        batch = prepared.next() if step + 1 < options.iterations else None  # while a GPU is busy with the step
        values = _figures(loss)
        if not math.isfinite(values["loss"]):
            raise TrainingError(
                f"the loss is {values['loss']} at step {step + 1} of {options.iterations}: the weights ran away; set a "
                f"smaller {section}.learning_rate than {options.learning_rate:g}"
            )
        now = time.perf_counter()
        values["seconds"], started = now - started, now
        yield Progress(STAGE, step + 1, options.iterations, values, watch.look(step, values))
        losses.append(values.get("supervised loss", values["loss"]))
        if enough is not None and enough(losses):
            break
    if options.norm == "batch" and as_scored is not None:
        measure_norm(average.model, as_scored())
    return average.model


def fit_micro_batch(model: nn.Module, size: int, options: FixMatchOptions, section: str = "train") -> int:
    """Find how many images may pass together within ``options.memory_gb``: at most the whole step.

    The tensors that the network keeps for the gradient of two images are counted, so the answer depends on the network,
    the size of the images and the settings, and, unless ``memory_gb`` is given, on the free memory of a GPU.

    Parameters
    ----------
    model
        The network, on its device; unchanged afterwards.
    size
        Side of the images in pixels.
    options
        The settings; a ``micro_batch`` there is taken as it is.
    section
        Section of the settings, for messages.

    Raises
    ------
    ConfigError
        If the smallest parts, of one labelled image each, need more.
    """
    whole = options.labelled_batch + 2 * options.unlabelled_batch
    if options.micro_batch:
        return min(options.micro_batch, whole)
    device = next(model.parameters()).device
    allowed = options.memory_gb * 1e9 or _usual_memory(device)
    trial = copy.deepcopy(model)  # batch normalisation would change the model itself
    set_training(trial, options.norm)
    own = {parameter.untyped_storage().data_ptr() for parameter in trial.parameters()}
    kept: dict[int, int] = {}  # bytes by storage

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = torch.zeros(2, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        output = trial(images)
    del output  # until here nothing that was counted may be freed, or addresses would be used twice
    per_image = sum(kept.values()) / 2 * _PEAK_MEMORY_RATIO
    if options.norm == "frozen":  # weak views keep nothing
        per_image *= (options.labelled_batch + options.unlabelled_batch) / whole
    smallest = -(-whole // options.labelled_batch)
    room = allowed - _OTHER_BYTES
    if room < smallest * per_image:
        needed = math.ceil((smallest * per_image + _OTHER_BYTES) / 1e8) / 10
        raise ConfigError(
            f"training at {size} px needs about {needed:g} GB, but may have {allowed / 1e9:.3g} GB: raise "
            f"{section}.memory_gb, or set a smaller input.size"
        )
    return int(min(room / per_image, whole))


def _usual_memory(device: torch.device) -> float:
    """Bytes that training may take where the settings do not say: a GPU is there for it, a processor is not."""
    return _GPU_MEMORY_SHARE * free_memory(device) if device.type == "cuda" else _CPU_BYTES


class _Prepared:
    """Batches that are prepared while a GPU is busy: on a stream of their own, which waits for nothing but itself."""

    def __init__(self, batches: Iterable[StepBatch], device: torch.device) -> None:
        self._batches = iter(batches)
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def next(self) -> StepBatch | None:
        """Prepare a batch; None where there are no more."""
        with contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            return next(self._batches, None)

    def use(self, batch: StepBatch) -> StepBatch:
        """Let the device wait until a batch is there."""
        if self._stream is not None:
            current: Any = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for images in (batch.labelled, batch.targets, batch.weak, batch.strong):
                images.record_stream(current)  # its memory is not given to the next batch before this one is used
        return batch


def _optimiser(model: nn.Module, options: FixMatchOptions) -> torch.optim.Optimizer:
    """Stochastic gradient descent; weight decay on matrices and kernels only, as in the reference implementations."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    spared = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": options.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
    )


def _schedule(options: FixMatchOptions, step: int) -> float:
    """Learning rate of a step, in units of the first; the cosine is that of the paper, section 2.3."""
    return math.cos(7 * math.pi * step / (16 * options.iterations)) if options.schedule == "cosine" else 1.0


def _figures(loss: Loss) -> dict[str, float]:
    """Collect what is reported of a step."""
    anomalous = (loss.pseudo_labels > 0) & loss.confident
    parts = [loss.total, loss.supervised, loss.unlabelled, loss.confident.sum(), anomalous.sum()]
    found = torch.stack([part.float() for part in parts]).tolist()  # a GPU is waited for once
    values = {"loss": found[0]}
    if len(loss.confident):
        values |= {"supervised loss": found[1], "unlabelled loss": found[2], "confident": found[3] / len(anomalous)}
        if found[3]:
            values["anomalous"] = found[4] / found[3]
    return values


class _Watch:
    """Warns when pseudo-labels come too early or not at all."""

    def __init__(self, options: FixMatchOptions, fresh: bool) -> None:
        self._options = options
        self._fresh = fresh
        self._warned = False
        self._most = 0.0

    def look(self, step: int, values: dict[str, float]) -> str:
        """Return what a person should know after a step, mostly nothing."""
        confident = values.get("confident")
        if confident is None:
            return ""
        self._most = max(self._most, confident)
        if self._fresh and not self._warned and step < _EARLY_STEPS and confident >= _MAX_EARLY_CONFIDENT_SHARE:
            self._warned = True
            return (
                f"{confident:.0%} of the unlabelled images passed the confidence threshold at step {step + 1}: before "
                "anything is learnt these pseudo-labels are near random. Raise train.threshold "
                f"({self._options.threshold:g}) or train.temperature ({self._options.temperature:g})"
            )
        if step == self._options.iterations - 1 and not self._most:
            return (
                f"no unlabelled image passed the confidence threshold in {self._options.iterations} steps: this round "
                "learnt from the labels only. Raise train.iterations, or lower train.threshold "
                f"({self._options.threshold:g})"
            )
        return ""
