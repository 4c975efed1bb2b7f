"""SimSiam: learning without labels that two views of an image belong together (Chen & He 2021, arXiv:2011.10566).

A network looks at two changed views of an image. From what it makes of one, a small second network predicts what it
makes of the other; no gradient flows through what is predicted, which keeps the network from calling everything the
same. Neither labels, nor pairs of different images, nor a second copy of the network are needed.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from astroanomaly.errors import TrainingError
from astroanomaly.learn.network.backbone import Backbone
from astroanomaly.learn.training.fixmatch import Norm, measure_norm, set_training
from astroanomaly.learn.training.options import PretrainOptions
from astroanomaly.records import Progress

__all__ = ["SimSiam", "pretrain_network"]

_MIN_SPREAD = 0.1  # of the spread that directions drawn at random would have


class SimSiam(nn.Module):
    """The network with what SimSiam needs beside it: a projector and a predictor, both thrown away afterwards.

    Parameters
    ----------
    network
        Its pooled features ``(n, dim)`` are what learns.
    width
        Length of what is compared; the predictor has a bottleneck of a quarter of it.
    """

    def __init__(self, network: Backbone, width: int = 512) -> None:
        super().__init__()
        self.network = network
        narrow = max(width // 4, 2)
        self.projector = nn.Sequential(
            *(nn.Linear(network.dim, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()),
            *(nn.Linear(width, width, bias=False), nn.BatchNorm1d(width, affine=False)),
        )
        self.predictor = nn.Sequential(
            *(nn.Linear(width, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU()),
            nn.Linear(narrow, width),
        )

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, float]:
        """Compare two views ``(n, 3, S, S)`` of the same images.

        Returns
        -------
        tuple
            The loss, minus the mean cosine between prediction and target, a scalar from -1 (the same) to 1; and the
            spread of the targets, near 1 when they point everywhere and 0 when all are the same.
        """
        projected = self.projector(self.network.features(torch.cat([one, other])))  # (2n, width)
        predicted = self.predictor(projected)
        first, second = projected.detach().chunk(2)
        from_first, from_second = predicted.chunk(2)
        loss = (
            -(
                functional.cosine_similarity(from_first, second).mean()
                + functional.cosine_similarity(from_second, first).mean()
            )
            / 2
        )
        spread = functional.normalize(projected.detach(), dim=1).std(dim=0).mean() * math.sqrt(projected.shape[1])
        return loss, float(spread)


def pretrain_network(
    network: Backbone,
    views: Iterable[tuple[Tensor, Tensor]],
    plain: Iterable[Tensor],
    options: PretrainOptions,
    norm: Norm = "batch",
    seed: int = 0,
) -> Generator[Progress, None, None]:
    """Train a network in place, one report per step.

    Parameters
    ----------
    network
        The network, on its device.
    views
        Pairs of views ``(n, 3, S, S)`` of the same images, at least ``options.iterations`` of them.
    plain
        A few batches of images as they will be looked at, on which ``norm="batch"`` measures the statistics of the
        network's batch normalisation at the end.
    options
        The settings, but for ``norm``.
    norm
        ``frozen``: the network's batch normalisation keeps the statistics it has.
    seed
        Of the projector and the predictor.

    Yields
    ------
    Progress
        ``loss`` (-1 to 1) and ``spread`` (near 1; 0 when the network calls everything the same).

    Raises
    ------
    TrainingError
        If the loss is no longer finite, or at the end the network calls everything the same.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SimSiam(network, options.width).to(network.mean.device)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    spared = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decayed, "weight_decay": options.weight_decay}, {"params": spared, "weight_decay": 0.0}],
        lr=options.learning_rate,
        momentum=0.9,
    )
    model.train()
    set_training(network, norm)
    spread = 1.0
    for step, (one, other) in zip(range(options.iterations), views, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * (1 + math.cos(math.pi * step / options.iterations)) / 2
        optimiser.zero_grad(set_to_none=True)
        loss, spread = model(one, other)
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(f"the loss is {float(loss.detach())} at step {step + 1}: set a smaller --learning-rate")
        loss.backward()
        optimiser.step()
        yield Progress("training", step + 1, options.iterations, {"loss": float(loss.detach()), "spread": spread})
    if spread < _MIN_SPREAD:
        raise TrainingError(
            f"after {options.iterations} steps the network calls all images the same (spread {spread:.2f}): set a "
            "smaller --learning-rate, or a larger --batch"
        )
    if norm == "batch":
        measure_norm(network, plain)
