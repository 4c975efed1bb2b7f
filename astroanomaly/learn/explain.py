"""Why a network finds an object anomalous: which part of the image its score rests on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["occlusion"]

_TOGETHER = 64  # covered images that pass together


def occlusion(score: Callable[[Tensor], Tensor], image: Tensor, *, window: float = 0.25, steps: int = 12) -> Tensor:
    """Find how much the score falls when a part of the image is covered (Zeiler & Fergus 2014, ECCV, section 4.2).

    A square window slides over the image; what it covers takes the image's median colour, so that nothing new is
    brought in. It needs no gradients and no knowledge of the network, and means what it says: covering that part lowers
    the score by so much.

    Parameters
    ----------
    score
        Maps ``(n, 3, S, S)`` to ``(n,)``, higher is more anomalous.
    image
        ``(3, S, S)`` as the network sees it.
    window
        Side of the window as a share of the image's.
    steps
        Places of the window along each side.

    Returns
    -------
    torch.Tensor
        ``(S, S)`` float32: mean fall of the score over the windows that cover a pixel; negative where covering raises
        it.
    """
    size = image.shape[-1]
    side = max(1, round(window * size))
    starts = torch.linspace(0, size - side, max(2, steps)).round().int().tolist()
    places = [(y, x) for y in starts for x in starts]
    fill = image.flatten(1).median(dim=1).values[:, None, None]  # (3, 1, 1)
    total, count = torch.zeros(size, size), torch.zeros(size, size)
    with torch.inference_mode():
        whole = float(score(image[None])[0])
        for start in range(0, len(places), _TOGETHER):
            part = places[start : start + _TOGETHER]
            covered = image.repeat(len(part), 1, 1, 1)  # (n, 3, S, S)
            for number, (y, x) in enumerate(part):
                covered[number, :, y : y + side, x : x + side] = fill
            for (y, x), value in zip(part, score(covered).float().cpu().tolist(), strict=True):
                total[y : y + side, x : x + side] += whole - value
                count[y : y + side, x : x + side] += 1
    fall = total / count.clamp(min=1)
    soft = max(1, side // 4) * 2 + 1  # the steps of the window are no feature of the object
    return functional.avg_pool2d(fall[None, None], soft, 1, soft // 2, count_include_pad=False)[0, 0]
