"""A preview shows the objects that an ingest would cut, spread over the tiles, and writes no cache."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from astroanomaly import (
    CacheError,
    ConfigError,
    Cutout,
    CutoutBlock,
    Failure,
    Layout,
    Plan,
    Task,
    ingest,
    option,
    preview,
)
from astroanomaly.ingestion.preview import _shares
from small_sky import header, make_sky


@pytest.fixture
def sky(tmp_path):
    return make_sky(tmp_path)


def test_cutouts_are_those_that_an_ingest_cuts(sky, tmp_path):
    files, coords, _, _ = sky
    found = preview("fits", files, catalog=coords, size=9, n=7, prefix="p/", to=tmp_path / "some" / "sheet.png")
    again = preview("fits", files, catalog=coords, size=9, n=7, prefix="p/")
    cache = ingest("fits", files, catalog=coords, size=9, out=tmp_path / "c", prefix="p/")
    assert len(found) == 7
    assert [c.object_id for c in found.cutouts] == [c.object_id for c in again.cutouts]
    for cutout in found.cutouts:
        stored = cache[cutout.object_id]
        np.testing.assert_array_equal(cutout.data, stored.data)
        assert (cutout.ra, cutout.dec, cutout.offset) == (stored.ra, stored.dec, stored.offset)
        assert cutout.wcs.pixel_to_world(0, 0).separation(stored.wcs.pixel_to_world(0, 0)).mas < 1e-3
    assert {name: fact.text for name, fact in found.facts.items()} == {
        name: fact.text for name, fact in cache.facts.items()
    }
    assert repr(found).startswith("<Preview of 7 cutouts of fits, 0 failures>\npositions: coord (SkyCoord); frame icrs")
    with Image.open(tmp_path / "some" / "sheet.png") as picture:
        assert min(picture.size) > 160
    assert found._repr_png_().startswith(b"\x89PNG")


def test_nothing_but_the_picture_is_written(sky, tmp_path, monkeypatch):
    files, coords, _, _ = sky
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    preview("fits", files, catalog=coords, size=9)
    assert not list((tmp_path / "work").iterdir())
    preview("fits", files, catalog=coords, size=9, to="a.png")
    assert [item.name for item in (tmp_path / "work").iterdir()] == ["a.png"]


def test_a_star_in_the_north_is_above_and_one_in_the_east_is_left(tmp_path):
    """As everywhere: the images are turned, and their compasses with them."""
    head = header(shape=(41, 41), rotate=2.0)
    for k, angle in enumerate((0, 90)):
        place = SkyCoord(150, 2, unit="deg").directional_offset_by(angle * u.deg, 2 * u.arcsec)
        x, y = (round(float(v)) for v in WCS(head).world_to_pixel(place))
        pixels = np.random.default_rng(0).normal(size=(41, 41)).astype(np.float32)
        pixels[y - 1 : y + 2, x - 1 : x + 2] = 1000
        fits.PrimaryHDU(pixels, head).writeto(tmp_path / f"{k}.fits")
    for k, (row, column) in enumerate(((10, 20), (20, 10))):
        found = preview("fits", tmp_path / f"{k}.fits", n=1)
        light = found.images[0].astype(float).sum(axis=2)
        light[light < 0.8 * light.max()] = 0
        rows, columns = np.mgrid[:41, :41]
        assert (light * rows).sum() / light.sum() == pytest.approx(row, abs=1)
        assert (light * columns).sum() / light.sum() == pytest.approx(column, abs=1)
        (compass,) = found.compasses
        assert (compass.north, compass.east) == (pytest.approx((0, 1), abs=0.1), pytest.approx((-1, 0), abs=0.1))
        assert compass.scale_arcsec == pytest.approx(0.2, rel=1e-3)


def test_pictures_keep_their_up_and_have_no_compass(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[3, 5] = 255
    (tmp_path / "p").mkdir()
    Image.fromarray(pixels).save(tmp_path / "p" / "a.png")
    found = preview("images", tmp_path / "p", n=5, to=tmp_path / "s.png")
    assert np.unravel_index(found.images[0].sum(axis=2).argmax(), (32, 32)) == (3, 5)
    assert found.cutouts[0].wcs is None
    assert found.compasses == (None,)
    assert found.facts["positions"].text == "none: pictures"


def test_objects_are_spread_over_the_tiles(tmp_path):
    sides = [header(ra=150 + k, FILTER="g") for k in range(3)]
    for k, head in enumerate(sides):
        pixels = np.random.default_rng(k).normal(size=(120, 140)).astype(np.float32)
        fits.PrimaryHDU(pixels, head).writeto(tmp_path / f"t{k}.fits")
    rng = np.random.default_rng(0)
    ra = np.concatenate([150 + rng.uniform(-1e-3, 1e-3, 50), 151 + rng.uniform(-1e-3, 1e-3, 5), [152.0, 99.0, np.nan]])
    table = Table({"ra": ra, "dec": np.full(len(ra), 2.0)})
    found = preview("fits", tmp_path, catalog=table, size=9, n=9)
    assert Counter(round(cutout.ra) for cutout in found.cutouts) == {150: 4, 151: 4, 152: 1}
    assert {failure.reason for failure in found.failures} <= {
        "outside all images",
        "no valid position in the catalogue",
    }
    assert len(preview("fits", tmp_path, catalog=table, size=9, n=500)) == 56  # all there are


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 60))
def test_shares_are_what_is_wanted_and_as_even_as_may_be(lengths, wanted):
    unread = {number: np.arange(length) for number, length in enumerate(lengths)}
    shares = _shares(unread, list(unread), wanted)
    assert sum(shares.values()) == min(wanted, sum(lengths))
    assert all(0 < share <= lengths[number] for number, share in shares.items())
    full = [share for number, share in shares.items() if share < lengths[number]]
    if wanted >= len(lengths):
        assert not full or max(shares.values()) - min(full) <= 1


@dataclass(frozen=True)
class Options:
    failing: bool = option(False, "every object fails")


class Unknown:
    """A source that finds its objects while it reads, and says nothing of itself."""

    name, summary, Options = "unknown", "no table, no layout, no facts", Options

    def plan(self, request, options):
        for number in range(3):
            yield Task(f"{number}", {"failing": options.failing})

    def read(self, task):
        for number in range(10):
            if task.payload["failing"]:
                yield Failure(f"{task.key}-{number}", "the shutter was closed")
            else:
                yield Cutout(f"{task.key}-{number}", np.full((1, 8, 8), number, np.float32), ("r",))


def test_a_source_that_says_nothing_is_shown_too():
    found = preview(Unknown(), n=6)
    assert Counter(cutout.object_id[0] for cutout in found.cutouts) == {"0": 2, "1": 2, "2": 2}
    assert {name: fact.text for name, fact in found.facts.items()} == {
        "bands": "r", "size": "8 x 8 pixels (width x height)",
    }  # fmt: skip
    assert found.images.shape == (6, 8, 8, 3)


def test_a_preview_of_nothing_says_why():
    with pytest.raises(CacheError, match=r"nothing could be cut of .* objects .* most often: the shutter was closed"):
        preview(Unknown(), n=6, failing=True)


class Broken:
    """Every second object fails; the fourth task breaks off."""

    name, summary, Options = "broken", "half of it", Options

    def plan(self, request, options):
        ids = [np.array([f"{task}-{row}" for row in range(10)]) for task in range(4)]
        return Plan([Task(f"{k}", {}, {"object_id": names}) for k, names in enumerate(ids)], Layout(("g", "r"), 8, 8))

    def read(self, task):
        for name in task.table["object_id"]:
            if task.key == "3":
                raise OSError("the file is torn")
            if int(name[-1]) % 2:
                yield Failure(name, "no pixel with data")
            else:
                yield CutoutBlock([name], np.ones((1, 1, 8, 8), np.float32), ("r",))


def test_objects_that_fail_are_replaced_by_others():
    found = preview(Broken(), n=12)
    assert len({cutout.object_id for cutout in found.cutouts}) == 12
    assert np.isnan(found.cutouts[0].band("g")).all()  # a band that is not there
    assert {failure.reason for failure in found.failures} == {
        "no pixel with data", "cannot be read: OSError: the file is torn",
    }  # fmt: skip


@pytest.mark.parametrize("n", [0, -1, 501, 2.5, True, "3"])
def test_how_many_is_checked(n):
    with pytest.raises(ConfigError, match="expected a whole number from 1 to 500"):
        preview(Unknown(), n=n)
