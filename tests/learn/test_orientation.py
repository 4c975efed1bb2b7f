"""An up is found where there is one, and not where only the instrument or the frame has a direction."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from astroanomaly.learn.orientation import (
    OUTER,
    Recognition,
    even,
    find_up,
    judge,
    prepare,
    quadrants,
    recognise_rotations,
)

COUNT = 160


def quarters(images):
    """Mean of each quarter: what an up is seen by where there is no network."""
    return functional.adaptive_avg_pool2d(images, 4).flatten(1)


def wedges(rng, *, turned):
    """Bright wedges that point upwards, or anywhere."""
    y, x = np.mgrid[:96, :96] - 47.5
    images = rng.normal(0.2, 0.05, (COUNT, 96, 96))
    for image in images:
        image[(y > -rng.uniform(10, 25)) & (y < 15) & (np.abs(x) < (y + 20) / 2)] += rng.uniform(0.3, 0.6)
        if turned:
            image[:] = np.rot90(image, rng.integers(4)).copy()
    return torch.from_numpy(np.repeat(images[:, None], 3, axis=1).astype(np.float32)).clamp(0, 1)


@pytest.fixture(scope="module")
def network():
    return quadrants(0)


@pytest.mark.slow
def test_a_network_finds_the_up_of_what_has_one(network):
    rng = np.random.default_rng(0)
    upright, turned = wedges(rng, turned=False), wedges(rng, turned=True)
    assert find_up(upright, network, rng).has_up
    found = find_up(turned, network, rng)
    assert not found.has_up
    assert f"of {COUNT} images" in found.reason


def test_turning_all_images_alike_changes_nothing():
    rng = np.random.default_rng(1)
    images = wedges(rng, turned=False)
    upright = recognise_rotations(images, quarters)
    turned = recognise_rotations(images.rot90(1, (2, 3)), quarters)
    assert upright.quarter == turned.quarter > 0.9


def test_chance_is_a_quarter_and_a_half():
    rng = np.random.default_rng(2)
    found = recognise_rotations(torch.from_numpy(rng.random((400, 3, 16, 16), np.float32)), quarters)
    assert abs(found.quarter - 0.25) < 0.06
    assert abs(found.half - 0.5) < 4 * found.error


def test_equal_images_give_nothing_away():
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.random((60, 3, 16, 16), np.float32)).repeat(5, 1, 1, 1)
    assert recognise_rotations(images, lambda batch: batch.flatten(1)).images == 60
    assert not judge(recognise_rotations(images, lambda batch: batch.flatten(1))).has_up


def test_what_belongs_to_the_frame_is_no_up():
    """Noise in a corner, and objects that all lie half a pixel above the centre."""
    rng = np.random.default_rng(4)
    framed = wedges(rng, turned=True).roll(-1, 2)
    framed[:, :, -12:, :12] = torch.from_numpy(rng.random((COUNT, 3, 12, 12), np.float32))
    assert recognise_rotations(framed, quarters).quarter > 0.8
    found = recognise_rotations(prepare(framed, OUTER, rng), quarters)
    assert not judge(found).has_up
    assert found.quarter < 0.36


def test_an_axis_is_no_up():
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.normal(0.3, 0.02, (COUNT, 3, 96, 96)).astype(np.float32))
    for image in images:
        image[:, :, int(rng.integers(20, 76))] += 0.5  # a bad column
    found = recognise_rotations(images, lambda batch: torch.cat([batch.std(dim=2), batch.std(dim=3)], 2).flatten(1))
    assert found.quarter > 0.42
    assert not judge(found).has_up


def test_marks_around_the_object_are_no_up():
    outer = Recognition(300, 0.8, 0.9, 0.01)
    assert not judge(outer, Recognition(300, 0.27, 0.5, 0.01)).has_up
    assert judge(outer, Recognition(300, 0.6, 0.7, 0.01)).has_up


@pytest.mark.slow
def test_a_background_that_all_images_share_is_no_up(network):
    rng = np.random.default_rng(6)
    sloped = wedges(rng, turned=True) * 0.8 + torch.linspace(0, 0.15, 96)[:, None]
    assert judge(recognise_rotations(prepare(sloped, OUTER, rng), network)).has_up
    found = find_up(sloped, network, rng)
    assert not found.has_up
    assert "background" in found.reason


def test_colours_beside_each_other_are_no_up():
    rng = np.random.default_rng(7)
    images = wedges(rng, turned=True)
    images[:, 0], images[:, 2] = images[:, 0].roll(-6, 1), images[:, 2].roll(6, 1)
    assert judge(recognise_rotations(prepare(images, OUTER, rng), quarters)).has_up
    found = find_up(images, quarters, rng)
    assert not found.has_up
    assert "colours" in found.reason


def test_evening_out_leaves_images_without_a_common_background_alone():
    rng = np.random.default_rng(8)
    images = torch.from_numpy(rng.random((COUNT, 3, 32, 32), np.float32))
    assert torch.equal(even(images), images)
    slope = torch.linspace(0, 0.5, 32)[:, None]
    left = (even(images + slope) - images).mean(dim=(0, 1, 3))
    assert float(left.max() - left.min()) < 0.15


def test_figures_near_the_limits_are_not_called_sure():
    assert judge(Recognition(600, 0.26, 0.51, 0.01)).sure
    assert judge(Recognition(600, 0.6, 0.8, 0.01)).sure
    assert not judge(Recognition(600, 0.38, 0.62, 0.01)).sure
    assert not judge(Recognition(600, 0.42, 0.59, 0.01)).sure
    assert not judge(Recognition(600, 0.55, 0.5, 0.01)).sure  # an axis: a beam, or spectra
    assert not judge(Recognition(600, 0.6, 0.8, 0.01), Recognition(600, 0.36, 0.56, 0.01)).sure


def test_a_handful_of_images_is_no_evidence():
    assert not judge(recognise_rotations(torch.rand(3, 3, 16, 16), quarters)).has_up
