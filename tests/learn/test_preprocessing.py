"""What the network sees: finite, in [0, 1], the right bands, resized as Pillow does, the same after a round trip."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from astroanomaly.cache import model_input
from astroanomaly.cache.model_input import ModelInput
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.config import InputConfig, StretchConfig, current_names
from astroanomaly.errors import BandError, CheckpointError, ConfigError
from astroanomaly.learn.preprocessing import average_views, resize, to_tensor
from astroanomaly.learn.settings import settings_sections
from astroanomaly.records import Layout


class Pixels:
    """Cutouts in memory with the part of a cache's interface that is needed here."""

    def __init__(self, images, bands, **layout):
        dtype, kind = ("uint8", "display") if images.dtype == np.uint8 else ("float32", "flux")
        self.layout = Layout(bands, *images.shape[-2:], dtype=dtype, pixel_kind=kind, **layout)
        self.bands = self.layout.bands
        self.images = images

    def sample(self, n, rng):
        return [str(i) for i in rng.permutation(len(self.images))[:n]]

    def read(self, ids):
        return self.images[[int(i) for i in ids]]


def flux(count=20, bands=("g", "r", "z"), size=40, seed=0):
    rng = np.random.default_rng(seed)
    return Pixels(rng.normal(10, 3, size=(count, len(bands), size, size)).astype(np.float32), bands)


def pictures(seed=0, **layout):
    rng = np.random.default_rng(seed)
    return Pixels(rng.integers(0, 256, (6, 3, 84, 84), dtype=np.uint8), ("red", "green", "blue"), **layout)


def measure(cache, stretch=None, **values):
    return ModelInput.measure(
        cache, stretch or StretchConfig(), InputConfig(**({"size": 32} | values)), np.random.default_rng(0)
    )


@given(
    hnp.arrays(np.float32, (3, 2, 9, 7), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)),
    st.sampled_from(["linear", "asinh", "log", "sqrt"]),
    st.sampled_from(["survey", "cutout"]),
)
@settings(max_examples=60, deadline=None)
def test_what_it_sees_is_finite_and_in_range(images, curve, scope):
    seen = ModelInput(
        bands=("g", "r"),
        pixel_kind="flux",
        channels=((0, 1), (0.5, 0.5), (1, 0)),
        size=32,
        views="sky",
        stretch=StretchConfig(curve=curve, scope=scope),
        limits=((0.0, 1.0), (-5.0, 100.0)) if scope == "survey" else None,
    )
    tensor = to_tensor(images, seen)
    assert tensor.shape == (3, 3, 32, 32)
    assert tensor.dtype == torch.float32
    assert tensor.isfinite().all()
    assert tensor.min() >= 0
    assert tensor.max() <= 1
    assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_pictures_are_resized_as_pillow_resizes():
    cache = pictures()
    for size in (128, 64, 84):
        found = to_tensor(cache.images, measure(cache, size=size)).numpy() * 255
        for image, seen in zip(cache.images, found, strict=True):
            for plane, channel in zip(image, seen, strict=True):  # floating point: Pillow's bytes are rounded half-way
                pillow = Image.fromarray(plane.astype(np.float32)).resize((size, size), Image.Resampling.BICUBIC)
                np.testing.assert_allclose(channel, np.clip(pillow, 0, 255), atol=1e-3)


def test_levels_are_measured_once_and_hold_for_every_cutout():
    cache = flux()
    seen = measure(cache, StretchConfig(curve="linear", low=0, high=100), size=40)
    low = min(seen.limits[1][0], cache.images[:, 1].min())
    assert seen.limits[1][0] == pytest.approx(low, rel=1e-6)
    one, both = to_tensor(cache.images[:1], seen), to_tensor(cache.images[:2], seen)
    assert torch.equal(one[0], both[0])
    black, white = seen.limits[1]
    np.testing.assert_allclose(one[0, 1], (cache.images[0, 1] - black) / (white - black), atol=1e-5)


def test_levels_of_large_cutouts_are_measured_on_some_of_their_pixels(monkeypatch):
    cache = flux(count=100)
    whole = measure(cache)
    monkeypatch.setattr(model_input, "_MEASURED_PIXELS", 20_000)
    np.testing.assert_allclose(measure(cache).limits, whole.limits, atol=0.6)  # of a noise of 3


def test_missing_pixels_become_zero():
    cache = flux()
    cache.images[:, :, :10] = np.nan
    seen = measure(cache, size=40)
    assert (to_tensor(cache.images, seen)[:, :, :10] == 0).all()


def test_the_longest_wavelength_is_red_unless_the_user_says_otherwise():
    cache = flux(bands=("g", "r", "z"))
    assert measure(cache).channels == ((0, 0, 1), (0, 1, 0), (1, 0, 0))
    assert measure(cache, channels="g,r+z,z").channels == ((1, 0, 0), (0, 0.5, 0.5), (0, 0, 1))
    assert measure(flux(bands=("H",))).channels == ((1,), (1,), (1,))
    with pytest.raises(BandError, match="no band 'q'"):
        measure(cache, channels="q,r,g")


def test_bands_in_another_order_are_put_right_by_name():
    cache = flux()
    seen = measure(cache)
    order = [2, 0, 1]
    other = Pixels(cache.images[:, order], tuple(cache.bands[i] for i in order))
    planes = seen.check(other)
    assert planes == (1, 2, 0)
    assert seen.check(cache) is None
    assert torch.equal(to_tensor(other.images, seen, planes=planes), to_tensor(cache.images, seen))
    more = Pixels(np.concatenate([cache.images, cache.images[:, :1]], axis=1), (*cache.bands, "y"))
    assert torch.equal(to_tensor(more.images, seen, planes=seen.check(more)), to_tensor(cache.images, seen))


def test_what_does_not_fit_is_refused():
    seen = measure(flux())
    with pytest.raises(CheckpointError, match="lacks 'z' and has g, r"):
        seen.check(flux(bands=("g", "r")))
    photos = pictures()
    with pytest.raises(CheckpointError, match=r"lacks 'g'.*red, green, blue"):
        seen.check(photos)
    with pytest.raises(CheckpointError, match="made for display pixels, the cache holds flux"):
        measure(photos).check(Pixels(photos.images.astype(np.float32), photos.bands))
    with pytest.raises(CheckpointError, match=r"stretched with 'nothing'.*stretched with 'asinh'"):
        measure(photos).check(pictures(stretch="asinh"))
    measure(pictures(stretch="asinh")).check(pictures(stretch="asinh", seed=1))
    with pytest.raises(CheckpointError, match=r"expected \(n, 3, H, W\)"):
        to_tensor(np.zeros((2, 2, 8, 8), np.float32), seen)
    with pytest.raises(ConfigError, match="for the eye only"):
        measure(flux(), StretchConfig(curve="histogram"))


def test_views_follow_the_pixels_unless_the_user_says_otherwise():
    assert measure(flux()).views == "sky"
    assert measure(pictures()).views == "picture"
    assert measure(pictures(stretch="asinh")).views == "sky"
    assert measure(pictures(), views="sky").views == "sky"


@pytest.mark.parametrize("tta_views", [1, 2, 4])
def test_what_is_averaged_over_rotated_views_does_not_know_where_up_is(tta_views):
    seen = measure(flux(), tta_views=tta_views)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(3 * 8 * 8, 5, generator=torch.Generator().manual_seed(1))

    def network(batch):
        return batch.flatten(1) @ weights

    rotated = images.rot90(4 // tta_views, (2, 3))
    torch.testing.assert_close(average_views(network, images, seen), average_views(network, rotated, seen))
    if tta_views == 1:
        torch.testing.assert_close(average_views(network, images, seen), network(images))
    else:
        assert not torch.allclose(average_views(network, images, seen), network(images))


def test_averaged_views_are_one_two_or_four():
    with pytest.raises(ConfigError, match=r"input\.tta_views=3: expected 1, 2 or 4"):
        InputConfig(tta_views=3)


@pytest.mark.parametrize("cache", [flux(), pictures(), pictures(stretch="asinh")])
def test_it_survives_json(cache):
    seen = measure(cache)
    back = ModelInput.from_plain(json.loads(json.dumps(seen.to_plain())))
    assert back == seen
    assert back.key == seen.key
    assert seen.to_plain()["turns"] == seen.tta_views  # as version 0.1.0 stored it
    assert torch.equal(to_tensor(cache.images, back), to_tensor(cache.images, seen))


def test_the_key_follows_the_pixels_and_nothing_else():
    cache = pictures()
    key = measure(cache).key
    assert measure(cache, tta_views=4).key == key  # a picture keeps its up: only its mirror image is looked at too
    assert measure(cache, views="sky").key != key  # half a turn is
    assert measure(cache, views="sky", tta_views=1).key == measure(cache, tta_views=1).key != key
    assert measure(cache, size=33).key != key
    assert measure(cache, channels="blue,green,red").key != key


def test_a_picture_is_averaged_with_its_mirror_image_and_the_sky_with_a_turned_view():
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def first(seen):
        return seen[:, :, 0, 0]

    picture = average_views(first, images, measure(pictures()))
    torch.testing.assert_close(picture, (images[:, :, 0, 0] + images[:, :, 0, -1]) / 2)
    sky = average_views(first, images, measure(pictures(), views="sky"))
    torch.testing.assert_close(sky, (images[:, :, 0, 0] + images[:, :, -1, -1]) / 2)


@pytest.mark.parametrize(
    "change",
    [
        {"bands": None},
        {"channels": [[1, 2]]},
        {"size": "large"},
        {"views": "sideways"},
        {"pixel_kind": "radio"},
        {"limits": [[1]]},
        {"stretch": {"curv": "asinh"}},
        {"size": -1},
    ],
)
def test_damaged_records_are_refused(change):
    with pytest.raises(CheckpointError):
        ModelInput.from_plain(measure(flux()).to_plain() | change)
    with pytest.raises(CheckpointError):
        ModelInput.from_plain({})


def test_read_only_images_are_welcome_and_left_alone():
    cache = flux()
    before = cache.images.copy()
    cache.images.flags.writeable = False
    assert to_tensor(cache.images[:, ::1], measure(cache)).isfinite().all()
    np.testing.assert_array_equal(cache.images, before)


def test_the_aspect_is_kept():
    wide = torch.ones(1, 3, 20, 40)
    square = resize(wide, 40)
    assert (square[:, :, 10:30] == 1).all()
    assert (square[:, :, :10] == 0).all()
    assert (square[:, :, 30:] == 0).all()


@pytest.mark.parametrize(
    "channels", [((1, 0, 0), (0, 1, 0), (0, 0, 1)), ((0, 0, 1), (0, 1, 0), (1, 0, 0)), ((0, 1, 0),) * 3]
)
def test_single_bands_are_taken_as_they_are(channels):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    seen = ModelInput(("r", "g", "b"), "display", channels, 32, "picture")
    tensor = to_tensor(images, seen)
    expected = torch.einsum("nbhw,cb->nchw", torch.from_numpy(images) / 255, torch.tensor(channels).float())
    assert torch.equal(tensor, expected)
    assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [40, 32])
def test_weights_that_add_up_to_more_than_one_stay_in_range(size):
    """As a checkpoint may have them, whether the image is resized or taken as it is."""
    images = np.full((2, 3, 40, 40), 200, np.uint8)
    seen = ModelInput(("r", "g", "b"), "display", ((1, 1, 1), (0, 1, 0), (1, 0, 0)), size, "picture")
    shown = to_tensor(images, seen)
    assert float(shown[:, 0].min()) == float(shown.max()) == 1
    assert float(shown[:, 1:].max()) < 0.8


def test_bytes_become_fractions_of_255_in_channels_last_order():
    images = np.arange(1024, dtype=np.uint16).astype(np.uint8).reshape(1, 1, 32, 32).repeat(3, axis=1)
    shown = to_tensor(images, ModelInput(("r", "g", "b"), "display", ((1, 0, 0), (0, 1, 0), (0, 0, 1)), 32, "picture"))
    np.testing.assert_array_equal(shown.numpy(), images.astype(np.float32) / np.float32(255))
    assert shown.is_contiguous(memory_format=torch.channels_last)


def test_the_averaged_views_had_another_name():
    with pytest.raises(ConfigError, match=r"the setting input\.turns is called input\.tta_views now"):
        parse_assignments(["input.turns=2"], settings_sections())
    assert current_names(InputConfig, {"turns": 4})["tta_views"] == 4
