"""Weak and strong views of image batches: computed on the device, with parameters drawn for every image by itself.

A weak view flips and shifts. A strong view does that too, then applies two operations of RandAugment (Cubuk et al.
2020, arXiv:1909.13719), drawn at random and with random magnitudes, and cuts out a square, as in FixMatch (Sohn et al.
2020, arXiv:2001.07685). All geometric parts of a view are one affine map, so that every pixel is interpolated once.

Two kinds of views exist. On the *sky* there is no up: all eight flips and rotations by 90 degrees are equally likely,
further rotations reach 45 degrees (together: any angle), and what the atmosphere, the detector and the calibration do
(noise, blur by the point spread function, scaling of the bands, a sky offset) stands where photographs have solarise,
posterise, equalise and saturation. Those four are left out on the sky: they fold or flatten the brightness scale, by
which a ring or an arc is told from the galaxy beneath it. *Pictures* keep their up, are only mirrored left to right,
and get the operations of FixMatch.

Pixels brought in from outside the image are 0, as are pixels without data, and they stay 0 under every operation.
Part of the images, of whatever view, lose an edge or a corner, so that the edge of a survey is no sign of anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["OPERATIONS", "strong_views", "weak_views"]

SHIFT = 1 / 16  # of the side; the eighth of FixMatch is for mirrored borders, ours are empty
CUTOUT = 0.5  # largest side of the square that is cut out, of the side of the image
EDGE = 0.3  # deepest missing edge, of the side
_OPERATIONS_PER_VIEW = 2  # operations per strong view
_MIN_EMPTY_WIDTH = 5  # an empty area at least this many pixels wide, or at the border, counts as without data

# Operation -> largest magnitude, in the unit of the operation: degrees, share of the side, relative change ...
OPERATIONS: dict[str, dict[str, float]] = {
    "sky": {
        "identity": 0.0,
        "rotation": 45.0,
        "shear_x": 0.3,
        "shear_y": 0.3,
        "translation_x": 0.2,
        "translation_y": 0.2,
        "brightness": 0.5,
        "contrast": 0.5,
        "sharpness": 0.9,
        "noise": 0.1,
        "blur": 1 / 64,
        "band_scaling": 0.3,
        "sky_offset": 0.1,
    },
    "picture": {
        "identity": 0.0,
        "rotation": 30.0,
        "shear_x": 0.3,
        "shear_y": 0.3,
        "translation_x": 0.3,
        "translation_y": 0.3,
        "brightness": 0.9,
        "contrast": 0.9,
        "saturation": 0.9,
        "sharpness": 0.9,
        "solarise": 1.0,
        "posterise": 4.0,
        "autocontrast": 1.0,
        "equalise": 1.0,
    },
}

Views = Literal["sky", "picture"]


def weak_views(
    images: Tensor, generator: torch.Generator, views: Views = "sky", *, shift: float = SHIFT, edge_share: float = 0.1
) -> Tensor:
    """Flip and shift every image by itself; no pixel is interpolated.

    Parameters
    ----------
    images
        ``(n, 3, S, S)`` float in [0, 1], on any device.
    generator
        Source of all randomness, on the CPU: one seed gives the same parameters on every device.
    views
        ``sky``: all eight flips and rotations by 90 degrees; ``picture``: left and right only.
    shift
        Largest shift in either direction, in units of the side.
    edge_share
        Share of the images, 0 to 1, that lose an edge or a corner.

    Returns
    -------
    torch.Tensor
        As ``images``.
    """
    n, _, side, _ = images.shape
    transpose, flip_y, flip_x = _symmetries(n, generator, views)
    shifts = _integer_shifts(n, side, shift, generator)
    if transpose.any():
        images = torch.where(transpose.to(images.device)[:, None, None, None], images.transpose(2, 3), images)
    moved = torch.zeros_like(images)
    for i, ((dy, dx), up, left) in enumerate(zip(shifts.tolist(), flip_y.tolist(), flip_x.tolist(), strict=True)):
        image = images[i].flip([axis for axis, wanted in ((1, up), (2, left)) if wanted])  # (3, S, S)
        rows, columns = slice(max(dy, 0), side + min(dy, 0)), slice(max(dx, 0), side + min(dx, 0))
        moved[i, :, rows, columns] = image[:, max(-dy, 0) : side - max(dy, 0), max(-dx, 0) : side - max(dx, 0)]
    return _lose_edges(moved, edge_share, generator)


def strong_views(
    images: Tensor,
    generator: torch.Generator,
    views: Views = "sky",
    *,
    shift: float = SHIFT,
    edge_share: float = 0.1,
    magnitude: float = 1.0,
    cutout: float = CUTOUT,
) -> Tensor:
    """Flip, shift, apply two random operations and cut out a square, for every image by itself.

    Parameters
    ----------
    images, generator, views, shift, edge_share
        As for `weak_views`.
    magnitude
        Scale of the operations' magnitudes (`OPERATIONS`), which are uniform between 0 and the largest; 0 turns them
        off.
    cutout
        Largest side of the square that is set to 0, in units of the side.

    Returns
    -------
    torch.Tensor
        As ``images``.
    """
    n, _, side, _ = images.shape
    limits = OPERATIONS[views]
    chosen = torch.randint(
        len(limits), (_OPERATIONS_PER_VIEW, n), generator=generator
    )  # which operation, by layer and image
    amounts = magnitude * _between(-1, 1, (_OPERATIONS_PER_VIEW, n), generator)

    def total(name: str) -> Tensor:  # (n,) sum over the layers of a geometric operation
        return (amounts * (chosen == list(limits).index(name))).sum(0) * limits[name]

    matrix = _affine(
        _symmetries(n, generator, views),
        _integer_shifts(n, side, shift, generator) / side
        + torch.stack([total("translation_y"), total("translation_x")], dim=1),
        torch.deg2rad(total("rotation")),
        total("shear_x"),
        total("shear_y"),
    ).to(images.device, images.dtype)  # (n, 2, 3)
    images = functional.grid_sample(images, _grid(matrix, side), padding_mode="zeros", align_corners=False)

    filled = _filled(images)
    for layer in range(_OPERATIONS_PER_VIEW):
        for number, (name, limit) in enumerate(limits.items()):
            if name not in _PHOTOMETRIC:
                continue
            mine = torch.nonzero(chosen[layer] == number).flatten()
            if len(mine):
                amount = (limit * amounts[layer, mine]).to(images.device)[:, None, None, None]  # (k, 1, 1, 1)
                mine = mine.to(images.device)
                images[mine] = _PHOTOMETRIC[name](images[mine], amount, generator).clamp_(0, 1)
    images = images * filled
    return _lose_edges(_cut_out(images, cutout, generator), edge_share, generator)


# ------------------------------------------------------------------------------------------------------ random numbers


def _between(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _integer_shifts(n: int, side: int, shift: float, generator: torch.Generator) -> Tensor:
    """``(n, 2)`` whole pixels down and to the right."""
    reach = int(side * shift)
    return torch.randint(-reach, reach + 1, (n, 2), generator=generator)


def _symmetries(n: int, generator: torch.Generator, views: Views) -> tuple[Tensor, Tensor, Tensor]:
    """Whether to transpose, flip up-down and flip left-right, each ``(n,)``: the symmetries of a square."""
    bits = torch.randint(2, (3, n), generator=generator).bool()
    if views == "picture":
        bits[:2] = False
    return bits[0], bits[1], bits[2]


# ------------------------------------------------------------------------------------------------------------ geometry


def _affine(
    symmetries: tuple[Tensor, Tensor, Tensor], shifts: Tensor, angle: Tensor, shear_x: Tensor, shear_y: Tensor
) -> Tensor:
    """``(n, 2, 3)`` maps from output to input coordinates in [-1, 1]; a shift of 1 is a whole side."""
    transpose, flip_y, flip_x = symmetries
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)

    def matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return torch.stack([torch.stack([a, b], -1), torch.stack([c, d], -1)], -2)  # (n, 2, 2)

    swap = transpose.to(angle.dtype)
    turn = matrices(1 - swap, swap, swap, 1 - swap)
    mirror = matrices(1 - 2 * flip_x.to(angle.dtype), zero, zero, 1 - 2 * flip_y.to(angle.dtype))
    rotation = matrices(angle.cos(), -angle.sin(), angle.sin(), angle.cos())
    shear = matrices(one, shear_x, zero, one) @ matrices(one, zero, shear_y, one)
    linear = turn @ mirror @ rotation @ shear
    offset = -2 * shifts.flip(1).to(angle.dtype)  # x before y; the output moves against the sampling point
    return torch.cat([linear, linear @ offset[:, :, None]], dim=2)


def _grid(matrix: Tensor, side: int) -> Tensor:
    """``(n, S, S, 2)`` sampling points x, y of affine maps; what `affine_grid` gives, in a third of its time."""
    pixels = (2 * torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 1) / side - 1
    ends = matrix[:, :, 1, None] * pixels + matrix[:, :, 2, None]  # (n, 2, S) of each row
    steps = matrix[:, :, 0, None] * pixels  # (n, 2, S) of each column
    return torch.stack([ends[:, k, :, None] + steps[:, k, None, :] for k in (0, 1)], dim=-1)


def _filled(images: Tensor) -> Tensor:
    """``(n, 1, S, S)``: False in empty areas, True elsewhere. A lone black pixel inside the image is no empty area."""
    empty = images.amax(1, keepdim=True) <= 0
    margin = _MIN_EMPTY_WIDTH // 2
    area = functional.pad(empty, [2 * margin] * 4, value=True)  # beyond the border there is nothing
    for combine in (
        torch.logical_and,
        torch.logical_or,
    ):  # erosion, then dilation, with a square of _MIN_EMPTY_WIDTH pixels
        for axis in (2, 3):
            length = area.shape[axis] - 2 * margin
            area = reduce(combine, [area.narrow(axis, k, length) for k in range(_MIN_EMPTY_WIDTH)])
    return ~(area & empty)


def _cut_out(images: Tensor, largest: float, generator: torch.Generator) -> Tensor:
    """Set a square of random size and position to 0 (Cutout, DeVries & Taylor 2017, arXiv:1708.04552)."""
    n, _, side, _ = images.shape
    half = _between(0, largest / 2, (n, 1), generator)
    centre = _between(0, 1, (n, 2), generator)
    pixels = ((torch.arange(side) + 0.5) / side)[None]
    rows = (pixels - centre[:, :1]).abs() < half  # (n, S)
    columns = (pixels - centre[:, 1:]).abs() < half
    return images.masked_fill((rows[:, None, :, None] & columns[:, None, None, :]).to(images.device), 0.0)


def _lose_edges(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Set an edge or a corner of a share of the images to 0, as at the edge of a survey or of a detector.

    Half of them lose what is beyond a straight line: parallel to a side, or at any angle as when images were rotated.
    The other half lose the corner that two perpendicular lines leave.
    """
    n, _, side, _ = images.shape
    drawn = _between(0, 1, (6, n), generator)
    mine = torch.nonzero(drawn[0] < share).flatten()
    if not len(mine):
        return images
    _, depth, second, angle, tilt, corner = drawn[:, mine, None, None]  # each (k, 1, 1)
    quarter = math.pi / 2 * (4 * angle).floor()
    angle = torch.where(tilt < 0.5, quarter, 2 * math.pi * angle)
    pixels = (torch.arange(side) + 0.5) / side - 0.5
    x, y = pixels[None, None, :], pixels[None, :, None]
    reach = 0.5 * (angle.cos().abs() + angle.sin().abs())  # from the centre to the farthest corner along the angle
    lost = x * angle.cos() + y * angle.sin() > reach - EDGE * depth  # (k, S, S)
    beside = y * angle.cos() - x * angle.sin() > reach - EDGE - 0.4 * second
    lost = lost & (beside | (corner < 0.5))
    images = images.clone()
    mine = mine.to(images.device)
    images[mine] = images[mine].masked_fill(lost[:, None].to(images.device), 0.0)
    return images


# --------------------------------------------------------------------------------------------------------- photometry
# Each takes images (k, 3, S, S), a signed magnitude (k, 1, 1, 1) that changes nothing where it is 0, and the generator.


def _brightness(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    return images * (1 + amount)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype, device=images.device)  # ITU-R BT.601
    return (images * weights[:, None, None]).sum(1, keepdim=True)  # (k, 1, S, S)


def _contrast(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    level = _grey(images).mean((2, 3), keepdim=True)
    return level + (1 + amount) * (images - level)


def _saturation(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    grey = _grey(images)
    return grey + (1 + amount) * (images - grey)


def _sharpness(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    around = functional.avg_pool2d(functional.pad(images, [1] * 4, mode="replicate"), 3, stride=1)
    smooth = (9 * around + 4 * images) / 13  # the kernel of PIL: 5 in the middle, 1 around it
    return smooth + (1 + amount) * (images - smooth)


def _solarise(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    return torch.where(images > 1 - amount.abs(), 1 - images, images)


def _posterise(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    bits = amount.abs().ceil()
    levels = images * 255 + 1e-3  # 8-bit levels are not exact in float32
    return torch.where(bits > 0, (levels / 2**bits).floor() * 2**bits / 255, images)


def _autocontrast(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return images.lerp((images - low) / (high - low).clamp_min(1 / 255), amount.abs())


def _equalise(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    levels = (images.clamp(0, 1) * 255).long().flatten(2)  # (k, 3, S * S)
    counts = torch.zeros(*levels.shape[:2], 256, dtype=images.dtype, device=images.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels, dtype=images.dtype))
    rank = counts.cumsum(2) / levels.shape[2]
    return images.lerp(rank.gather(2, levels).view_as(images), amount.abs())


def _noise(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    on_device = torch.Generator(images.device)  # so many numbers are drawn where they are needed
    on_device.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
    noise = torch.randn(images.shape, generator=on_device, device=images.device, dtype=images.dtype)
    return images + amount.abs() * noise


def _blur(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    """Convolve with a Gaussian whose standard deviation is ``amount`` sides of the image."""
    side = images.shape[-1]
    reach = max(1, math.ceil(3 * side * float(amount.abs().max())))
    sigma = (amount.abs() * side).clamp_min(1e-3)  # (k, 1, 1, 1)
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)  # (k, 1, 1, 2 * reach + 1)
    weights = weights / weights.sum(-1, keepdim=True)
    for axis in (2, 3):
        padding = [reach, reach, 0, 0] if axis == 3 else [0, 0, reach, reach]
        padded = functional.pad(images, padding, mode="replicate")
        images = torch.zeros_like(images)
        for k in range(2 * reach + 1):
            images.addcmul_(padded.narrow(axis, k, side), weights[..., k : k + 1])
    return images


def _band_scaling(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    return images * (1 + amount * _between(-1, 1, (len(images), 3, 1, 1), generator).to(images.device))


def _sky_offset(images: Tensor, amount: Tensor, generator: torch.Generator) -> Tensor:
    return images + amount * _between(0.5, 1, (len(images), 3, 1, 1), generator).to(images.device)


_PHOTOMETRIC: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "solarise": _solarise,
    "posterise": _posterise,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "noise": _noise,
    "blur": _blur,
    "band_scaling": _band_scaling,
    "sky_offset": _sky_offset,
}
