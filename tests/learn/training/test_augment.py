"""Weak and strong views: they keep to the range and the symmetries they promise, and differ from image to image."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from astroanomaly.learn.training import augment
from astroanomaly.learn.training.augment import OPERATIONS, strong_views, weak_views

PLAIN = {"shift": 0.0, "edge_share": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(n=8, side=32, seed=0):
    return torch.rand(n, 3, side, side, generator=seeded(seed)) * 0.9 + 0.05


def symmetries(image):
    """The eight flips and rotations by 90 degrees of an image (3, S, S)."""
    rotated = [image.rot90(k, (1, 2)) for k in range(4)]
    return rotated + [r.flip(2) for r in rotated]


def which(view, candidates, tolerance=1e-5):
    return [k for k, other in enumerate(candidates) if torch.allclose(view, other, atol=tolerance)]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 5),
    side=st.sampled_from([32, 33, 48]),
    views=st.sampled_from(["sky", "picture"]),
    view=st.sampled_from([weak_views, strong_views]),
)
def test_views_keep_shape_and_range_and_follow_from_the_seed(seed, n, side, views, view):
    images = torch.rand(n, 3, side, side, generator=seeded(seed))
    images[:, :, :4] = 0
    before = images.clone()
    made = view(images, seeded(seed), views, edge_share=0.5)
    assert made.shape == images.shape
    assert made.dtype == images.dtype
    assert bool(torch.isfinite(made).all())
    assert 0 <= made.min() <= made.max() <= 1
    assert torch.equal(made, view(images, seeded(seed), views, edge_share=0.5))
    assert torch.equal(images, before)


@pytest.mark.parametrize("view", [weak_views, strong_views])
@pytest.mark.parametrize(("views", "allowed"), [("sky", set(range(8))), ("picture", {0, 4})])
def test_without_shift_and_magnitude_a_view_is_one_of_the_allowed_symmetries(view, views, allowed):
    image = noise(1)[0]
    off = {} if view is weak_views else {"magnitude": 0.0, "cutout": 0.0}
    made = view(image.expand(120, -1, -1, -1), seeded(), views, **PLAIN, **off)
    found = [which(one, symmetries(image)) for one in made]
    assert all(len(one) == 1 for one in found)
    counts = np.bincount([one[0] for one in found], minlength=8)
    assert set(np.flatnonzero(counts)) == allowed
    assert counts[list(allowed)].min() > 120 / len(allowed) / 3


def test_an_image_with_all_symmetries_is_its_own_unshifted_weak_view():
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    image = torch.exp(-(x**2 + y**2) / 50).expand(20, 3, 32, 32).contiguous()
    assert torch.allclose(weak_views(image, seeded(), "sky", **PLAIN), image, atol=1e-6)


def test_views_of_one_image_differ():
    image = noise(1).expand(12, -1, -1, -1)
    for view in (weak_views, strong_views):
        made = view(image, seeded(), "sky", edge_share=0)
        assert len({one.numpy().tobytes() for one in made}) > 9


def test_a_shift_moves_whole_pixels_within_its_reach_and_brings_in_zeros():
    image = torch.zeros(200, 3, 32, 32)
    image[:, :, 10, 20] = 1.0
    made = weak_views(image, seeded(), "picture", shift=0.125, edge_share=0)
    assert torch.equal(made.sum((1, 2, 3)), torch.full((200,), 3.0))
    rows, columns = made[:, 0].flatten(1).argmax(1) // 32, made[:, 0].flatten(1).argmax(1) % 32
    assert (rows.min(), rows.max()) == (6, 14)
    assert set(columns.tolist()) <= set(range(16, 25)) | set(range(7, 16))
    bright = weak_views(torch.ones(200, 3, 32, 32), seeded(), "sky", shift=0.125, edge_share=0)
    lost = (bright[:, 0] == 0).float().mean((1, 2))
    assert 0 < lost.mean() < 0.25


def test_the_one_affine_map_of_a_strong_view_agrees_with_flips_and_shifts_of_pixels():
    images = noise(40)
    weak = weak_views(images, seeded(3), "sky", edge_share=0)
    again = seeded(3)
    bits = augment._symmetries(40, again, "sky")
    shifts = augment._integer_shifts(40, 32, augment.SHIFT, again) / 32
    zero = torch.zeros(40)
    grid = augment._grid(augment._affine(bits, shifts, zero, zero, zero), 32)
    sampled = torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
    assert torch.allclose(sampled, weak, atol=1e-4)


def test_the_sampling_grid_is_that_of_torch():
    matrix = torch.randn(5, 2, 3, generator=seeded())
    expected = torch.nn.functional.affine_grid(matrix, [5, 3, 20, 20], align_corners=False)
    assert torch.allclose(augment._grid(matrix, 20), expected, atol=1e-5)


def test_a_quarter_turn_by_rotation_is_a_quarter_turn():
    images = noise(1)
    no = torch.zeros(1, dtype=torch.bool)
    zero = torch.zeros(1)
    matrix = augment._affine((no, no, no), torch.zeros(1, 2), torch.tensor([torch.pi / 2]), zero, zero)
    rotated = torch.nn.functional.grid_sample(images, augment._grid(matrix, 32), align_corners=False)
    assert which(rotated[0], symmetries(images[0]), 1e-4)[0] in (1, 3)


# ------------------------------------------------------------------------------------------- no data stays no data


@pytest.mark.parametrize("views", ["sky", "picture"])
def test_nothing_stays_nothing_under_every_operation(views):
    assert not strong_views(torch.zeros(150, 3, 32, 32), seeded(), views).any()


def test_pixels_from_outside_are_zero_whatever_the_operations_do():
    made = strong_views(torch.full((200, 3, 32, 32), 0.5), seeded(1), "sky", shift=0.125, edge_share=0, cutout=0)
    border = torch.ones(32, 32, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    outside = (made == 0).all(1)
    assert (outside & border).any((1, 2)).float().mean() > 0.8
    assert not (outside & ~border).all((1, 2)).any()
    # a rotated or shifted image ends in a line: few pixels are neither outside nor of the image's own brightness
    half_dark = ((made > 0) & (made < 0.1)).float().mean()
    assert half_dark < 0.01


@pytest.mark.parametrize("width", [1, 2, 5, 9])
def test_empty_strips_and_areas_are_known_from_black_pixels(width):
    images = noise(2)
    images[0, :, :, :width] = 0
    images[1, :, 12:19, 12:19] = 0
    images[:, :, 25, 25] = 0
    filled = augment._filled(images)[:, 0]
    expected = torch.ones(2, 32, 32, dtype=torch.bool)
    expected[0, :, :width] = False
    expected[1, 12:19, 12:19] = False
    assert torch.equal(filled, expected)


def test_lost_edges_come_as_often_as_asked_and_spare_the_middle():
    bright = torch.ones(1000, 3, 32, 32)
    for share in (0.0, 0.3, 1.0):
        made = weak_views(bright, seeded(), "sky", shift=0.0, edge_share=share)
        dark = made[:, 0] == 0
        touched = dark.any(2).any(1).float().mean()
        assert 0.8 * share - 0.02 <= touched <= share + 0.05  # some lose less than a pixel
        assert not dark[:, 14:18, 14:18].any()
        assert dark.float().mean((1, 2)).max() < 0.5
        border = torch.ones(32, 32, dtype=torch.bool)
        border[1:-1, 1:-1] = False
        assert not (dark.any(2).any(1) & ~(dark & border).any(2).any(1)).any()


def test_the_square_that_is_cut_out_varies_and_is_at_most_half_a_side():
    made = augment._cut_out(torch.ones(300, 3, 32, 32), 0.5, seeded())
    rows = (made[:, 0] == 0).any(2).sum(1)
    assert rows.max() <= 16
    assert len(rows.unique()) > 10


# -------------------------------------------------------------------------------------------- photometric operations


def limits():
    merged = {name: limit for table in OPERATIONS.values() for name, limit in table.items()}
    return [(name, merged[name]) for name in augment._PHOTOMETRIC]


@pytest.mark.parametrize(("name", "limit"), limits())
def test_an_operation_changes_nothing_at_zero_and_much_at_its_limit(name, limit):
    images, operation = noise(3), augment._PHOTOMETRIC[name]
    images[:, :, :16] *= 0.5
    amount = torch.tensor([0.0, limit, -limit])[:, None, None, None]
    made = operation(images, amount, seeded())
    assert torch.allclose(made[0], images[0], atol=1e-5)
    assert (made[1:] - images[1:]).abs().mean((1, 2, 3)).min() > 0.01


def test_every_operation_is_made_by_somebody():
    geometric = {"identity", "rotation", "shear_x", "shear_y", "translation_x", "translation_y"}
    for table in OPERATIONS.values():
        assert set(table) <= geometric | set(augment._PHOTOMETRIC)
    assert not {"solarise", "posterise", "equalise"} & set(OPERATIONS["sky"])
    assert not {"noise", "blur", "sky_offset"} & set(OPERATIONS["picture"])


def test_blur_is_the_gaussian_of_scipy():
    images = noise(2)
    made = augment._blur(images, torch.tensor([0.5, 1.0])[:, None, None, None] / 32, seeded())
    for k, sigma in enumerate((0.5, 1.0)):
        expected = gaussian_filter(images[k].numpy(), (0, sigma, sigma), mode="nearest", radius=(0, 3, 3))
        np.testing.assert_allclose(made[k].numpy(), expected, atol=1e-5)


def eight_bit(seed=0):
    levels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return levels, torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255


def test_posterise_and_solarise_are_those_of_pillow():
    levels, images = eight_bit()
    made = augment._posterise(images, torch.full((1, 1, 1, 1), 3.0), seeded())
    expected = np.asarray(ImageOps.posterize(Image.fromarray(levels), 5))
    np.testing.assert_allclose(made[0].permute(1, 2, 0).numpy() * 255, expected, atol=1e-3)
    made = augment._solarise(images, torch.full((1, 1, 1, 1), 1 - 99.5 / 255), seeded())
    expected = np.asarray(ImageOps.solarize(Image.fromarray(levels), 100))
    np.testing.assert_allclose(made[0].permute(1, 2, 0).numpy() * 255, expected, atol=1e-3)


def test_equalise_makes_every_level_equally_common():
    images = noise(1, 64) ** 2
    made = augment._equalise(images, torch.ones(1, 1, 1, 1), seeded())
    counts = torch.histc(made, 10, 0, 1) / made.numel()
    assert counts.min() > 0.08
    assert counts.max() < 0.12


def test_noise_is_gaussian_of_the_asked_width_and_differs_between_images():
    images = torch.full((2, 3, 64, 64), 0.5)
    made = augment._noise(images, torch.tensor([0.05, 0.1])[:, None, None, None], seeded()) - 0.5
    assert made[0].std() == pytest.approx(0.05, rel=0.05)
    assert made[1].std() == pytest.approx(0.1, rel=0.05)
    assert abs(np.corrcoef(made[0].flatten(), made[1].flatten())[0, 1]) < 0.05
