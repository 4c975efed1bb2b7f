"""FixMatch: the loss and one step of it, as in the paper (Sohn et al. 2020, arXiv:2001.07685).

A network learns from a few labelled images and, at the same time, from many unlabelled ones: where it is confident on a
weak view of an unlabelled image, its prediction becomes the pseudo-label of a strong view of the same image.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = [
    "Columns",
    "Loss",
    "MovingAverage",
    "Norm",
    "StepBatch",
    "fixmatch_loss",
    "measure_norm",
    "set_training",
    "train_step",
]

Norm = Literal["batch", "frozen"]


@dataclass(frozen=True, eq=False)
class Loss:
    """The FixMatch loss of a batch and what it is made of.

    Attributes
    ----------
    total
        ``supervised + weight * unlabelled``, a scalar.
    supervised
        Mean cross-entropy of the labelled images.
    unlabelled
        Mean over all unlabelled images of the cross-entropy of strong views against confident pseudo-labels.
    confident
        ``(U,)`` bool: whose pseudo-label passed the threshold.
    pseudo_labels
        ``(U,)`` int64 class numbers.
    """

    total: Tensor
    supervised: Tensor
    unlabelled: Tensor
    confident: Tensor
    pseudo_labels: Tensor


def fixmatch_loss(
    labelled: Tensor,
    targets: Tensor,
    weak: Tensor,
    strong: Tensor,
    *,
    threshold: float = 0.95,
    temperature: float = 0.5,
    weight: float = 1.0,
) -> Loss:
    """Compute the loss from logits.

    Parameters
    ----------
    labelled
        ``(L, classes)`` logits of weak views of labelled images.
    targets
        ``(L,)`` int64 class numbers.
    weak, strong
        ``(U, classes)`` logits of a weak and a strong view of the same unlabelled images; U may be 0.
    threshold
        Probability from which on a pseudo-label counts.
    temperature
        Divides the weak logits before the softmax: below 1 sharpens it. With two classes, .95 at a temperature of .5 is
        .81 at a temperature of 1.
    weight
        Of the unlabelled loss.
    """
    supervised = functional.cross_entropy(labelled, targets)
    with torch.no_grad():
        confidence, pseudo_labels = torch.softmax(weak / temperature, dim=1).max(dim=1)  # (U,), (U,)
        confident = confidence >= threshold
    if not len(strong):
        return Loss(supervised, supervised, torch.zeros_like(supervised), confident, pseudo_labels)
    losses = functional.cross_entropy(strong, pseudo_labels, reduction="none")  # (U,)
    unlabelled = (losses * confident).mean()  # over the whole batch: few confident images weigh little
    return Loss(supervised + weight * unlabelled, supervised, unlabelled, confident, pseudo_labels)


@dataclass(frozen=True, eq=False)
class StepBatch:
    """The images of one step, all ``(n, 3, S, S)`` in [0, 1].

    Parameters
    ----------
    labelled
        Weak views of L labelled images.
    targets
        ``(L,)`` int64 class numbers.
    weak, strong
        A weak and a strong view of the same U unlabelled images; U is 0 when learning from labels only.
    """

    labelled: Tensor
    targets: Tensor
    weak: Tensor
    strong: Tensor

    def __len__(self) -> int:
        return len(self.labelled) + len(self.weak) + len(self.strong)

    def split(self, size: int) -> Iterator[StepBatch]:
        """Cut it into parts of about ``size`` images, each with labelled, weak and strong ones in the same proportion.

        There are at most as many parts as labelled images.
        """
        parts = min(-(-len(self) // size), len(self.labelled))
        pieces = [t.tensor_split(parts) for t in (self.labelled, self.targets, self.weak, self.strong)]
        for part in zip(*pieces, strict=True):
            yield StepBatch(*part)


def train_step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: StepBatch,
    *,
    micro_batch: int,
    norm: Norm = "batch",
    learnt: Tensor | None = None,
    threshold: float = 0.95,
    temperature: float = 0.5,
    weight: float = 1.0,
    max_grad_norm: float = 0.0,
) -> Loss:
    """Take one step: the gradient of the whole batch, computed in parts that fit into memory.

    Parameters
    ----------
    model
        Maps images to logits ``(n, classes)``, in the mode of `set_training`.
    optimiser
        Of the model's parameters.
    batch
        The images.
    micro_batch
        Images per part. With ``norm="batch"`` it changes the result, as every part is normalised by itself; with
        ``norm="frozen"`` it does not.
    norm
        ``batch``: all three kinds of images pass together and share the statistics of batch normalisation, as in the
        reference implementations. ``frozen``: the images do not see each other, so the weak views, through which no
        gradient flows, pass without keeping anything for it.
    learnt
        ``(classes,)`` bool: classes that have labels; the others are neither predicted nor trained. None means all.
    threshold, temperature, weight
        As for `fixmatch_loss`.
    max_grad_norm
        Euclidean norm of the gradient above which it is scaled down to it (Pascanu et al. 2013, arXiv:1211.5063); 0
        leaves it.

    Returns
    -------
    Loss
        Of the whole batch, without gradients.
    """
    optimiser.zero_grad(set_to_none=True)
    done: list[tuple[Loss, float, float]] = []
    for part in batch.split(micro_batch):
        labelled, weak, strong = _logits(model, part, norm, learnt)
        loss = fixmatch_loss(
            labelled, part.targets, weak, strong, threshold=threshold, temperature=temperature, weight=weight
        )
        # Means over parts of unequal length add up to the mean over the whole when each counts by its length.
        share = len(part.labelled) / len(batch.labelled)
        unlabelled_share = len(part.weak) / max(len(batch.weak), 1)
        (share * loss.supervised + weight * unlabelled_share * loss.unlabelled).backward()
        done.append((loss, share, unlabelled_share))
    if max_grad_norm:
        nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimiser.step()
    supervised = torch.stack([share * loss.supervised.detach() for loss, share, _ in done]).sum()
    unlabelled = torch.stack([share * loss.unlabelled.detach() for loss, _, share in done]).sum()
    return Loss(
        supervised + weight * unlabelled,
        supervised,
        unlabelled,
        torch.cat([loss.confident for loss, _, _ in done]),
        torch.cat([loss.pseudo_labels for loss, _, _ in done]),
    )


def _logits(model: nn.Module, part: StepBatch, norm: Norm, learnt: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of labelled images, of weak and of strong views."""
    counts = [len(part.labelled), len(part.weak), len(part.strong)]
    if norm == "frozen" and len(part.weak):
        with torch.no_grad():
            weak = model(_channels_last(part.weak))  # (U, classes)
        labelled, strong = model(_channels_last(part.labelled, part.strong)).split([counts[0], counts[2]])
    else:
        labelled, weak, strong = model(_channels_last(part.labelled, part.weak, part.strong)).split(counts)
    if learnt is not None:
        labelled, weak, strong = (logits.masked_fill(~learnt, -torch.inf) for logits in (labelled, weak, strong))
    return labelled, weak, strong


def _channels_last(*images: Tensor) -> Tensor:
    """Join images in the memory layout that convolutions are fastest with."""
    return torch.cat(images).contiguous(memory_format=torch.channels_last)


def set_training(model: nn.Module, norm: Norm) -> None:
    """Put a model into training mode; with ``norm="frozen"`` batch normalisation keeps its running statistics."""
    model.train()
    if norm == "frozen":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


class MovingAverage:
    """The exponential moving average of the weights of a model in training.

    Running statistics are averages already, and belong to what the newest weights make of the images: they are copied.

    Parameters
    ----------
    model
        The model.

    Attributes
    ----------
    model
        A copy that has the averaged weights, in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._weights: tuple[list[Any], list[Any]] = list(self.model.parameters()), list(model.parameters())
        self._buffers = list(self.model.buffers()), list(model.buffers())

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """Move towards the model: ``decay`` of the old weights stays."""
        get_ema_multi_avg_fn(decay)(*self._weights, 0)
        if self._buffers[0]:
            torch._foreach_copy_(*self._buffers)


@torch.no_grad()
def measure_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the running statistics of batch normalisation anew on images as they will be scored.

    The running statistics of a short training are mostly those that came with the pretrained weights (at a momentum of
    .01, sixty steps move them by less than half), and those of an averaged network are of no network at all. Galaxies
    of 64 px scored with them: AUROC .53 instead of .77. See Wu & Johnson 2021, arXiv:2105.07576, section 3.

    Parameters
    ----------
    model
        The network; left in evaluation mode.
    batches
        Images ``(n, 3, S, S)`` in [0, 1], several batches; every batch counts alike.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    try:
        for layer in layers:
            layer.train()
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over the batches
        for images in batches if layers else ():
            model(images)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()


class Columns(nn.Module):
    """A network whose logits are reduced to some label classes.

    Parameters
    ----------
    model
        Gives ``(n, classes)`` logits.
    columns
        Places of the classes to keep.
    """

    def __init__(self, model: nn.Module, columns: list[int]) -> None:
        super().__init__()
        self.model = model
        self.columns = columns

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(n, len(columns))`` logits."""
        return self.model(images)[:, self.columns]
