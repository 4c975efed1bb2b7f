"""Every way that a whole survey can be turned or mirrored: its pictures come out of every door, north up."""

import base64
import io
import re

import numpy as np
import pytest
from astropy.wcs import WCS
from PIL import Image

from astroanomaly.app.view.panels.inspector import _from_below
from astroanomaly.cache.showing import with_pictures
from astroanomaly.figures import contact_sheet
from astroanomaly.imaging.painting import arrange_in_grid, rgb_of
from astroanomaly.records import CutoutBlock, Layout
from astroanomaly.session.outputs.bundle import write_bundle
from astroanomaly.session.outputs.check import check_bundle
from astroanomaly.session.outputs.pictures import render
from astroanomaly.session.outputs.report import report
from astroanomaly.tables.write import build_catalog
from cache.test_orientations import grid_of, write
from turned_sky import header

WAYS = [(angle, mirrored) for mirrored in (False, True) for angle in (0, 90, 180, 270)]


def block(angle, mirrored, shape):
    """Pixels with a bright patch up and to the right, where north is up."""
    turned = np.zeros(shape, np.float32)
    height, width = shape
    wcs, stored = WCS(header(0, False, 10.0)), WCS(header(angle, mirrored, 10.0))
    for one in (wcs, stored):
        one.wcs.crpix = [width / 2 + 0.5, height / 2 + 0.5]
    y, x = np.mgrid[:height, :width]
    px, py = wcs.world_to_pixel(stored.pixel_to_world(x, y))
    right, up = px - (width - 1) / 2, py - (height - 1) / 2
    turned[(right > 1) & (right < 4.6) & (up > 1) & (up < 4.6)] = 900
    return turned, stored.to_header()


def survey(folder, way, shape, count):
    layout = Layout(("g",), *shape)
    pixels, head = block(*way, shape)
    grid = grid_of(head, shape)
    ids = [f"o{k}" for k in range(count)]
    images = np.broadcast_to(pixels, (count, 1, *shape)).copy()
    where = np.full(count, 10.0), np.full(count, 40.0)
    return write(folder, layout, [[CutoutBlock(ids, images, layout.bands, grid=grid, ra=where[0], dec=where[1])]]), ids


def is_upper_right(picture):
    height, width = picture.shape[:2]
    bright = picture[..., :3].min(-1) > 150
    assert bright.any()
    rows, columns = np.nonzero(bright)
    return rows.max() < height / 2 and columns.min() >= width / 2


def decoded(html):
    found = [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)]
    return [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in found]


@pytest.mark.parametrize(("shape", "count"), [((12, 12), 1), ((12, 18), 3)])
@pytest.mark.parametrize("way", WAYS)
def test_pictures_of_a_survey_that_is_turned_as_a_whole(tmp_path, way, shape, count):
    cache, ids = survey(tmp_path / "c", way, shape, count)
    pictures = cache.pictures
    painted = pictures.painter(ids).paint(pictures.usual_display)
    assert painted.flags.c_contiguous
    assert rgb_of(painted).shape == (count, *shape, 3)
    for rgb in (pictures.rgb(ids), render(cache, ids, 64), rgb_of(painted)):
        assert all(map(is_upper_right, rgb))
    shown = rgb_of(_from_below(painted[0]))[::-1]  # the inspector, whose first row is at the bottom
    assert is_upper_right(shown)
    page = arrange_in_grid(painted, count, 1)  # the bytes that go to the browser
    assert len(page.tobytes()) == 4 * count * shape[0] * shape[1]
    assert is_upper_right(rgb_of(page)[:, : shape[1]])
    assert is_upper_right(cache[ids[0]]._rgb())
    alone = cache[ids[0]].__class__(
        **{name: getattr(cache[ids[0]], name) for name in cache[ids[0]].__dataclass_fields__}
    )
    assert is_upper_right(alone._rgb())  # without the cache
    assert is_upper_right(np.asarray(Image.open(io.BytesIO(cache[ids[0]]._repr_png_())).convert("RGB")))
    table = build_catalog(
        {"object_id": np.array(ids), "ra": np.full(count, 10.0), "dec": np.full(count, 40.0), "score": np.ones(count)},
        {},
    )
    for html in (cache._repr_html_(), with_pictures(cache, table)._repr_html_(), cache[ids[0]]._repr_html_()):
        assert decoded(html)
        assert all(map(is_upper_right, decoded(html)))


@pytest.mark.parametrize("way", WAYS)
def test_files_of_a_survey_that_is_turned_as_a_whole(tmp_path, way):
    cache, ids = survey(tmp_path / "c", way, (12, 18), 2)
    contact_sheet(cache.pictures.rgb(ids), ids, tmp_path / "sheet.png", compasses=cache.pictures.compasses(ids))
    table = build_catalog(
        {
            "object_id": np.array(ids), "ra": np.full(2, 10.0), "dec": np.full(2, 40.0), "score": np.ones(2),
            "rank": [1, 2], "label": ["", ""], "votes": ["", ""], "note": ["", ""],
        },
        {},
    )  # fmt: skip
    assert all(map(is_upper_right, decoded(report(cache, table, "turned"))))
    write_bundle(cache, table, {}, tmp_path / "b.zip", "turned")
    assert check_bundle(tmp_path / "b.zip")


def test_any_order_in_memory_is_taken_apart():
    painted = np.arange(2 * 3 * 4, dtype=np.uint32).reshape(2, 3, 4) | np.uint32(0xFF000000)
    for one in (painted, painted[:, ::-1], painted[..., ::-1], np.rot90(painted, 1, (1, 2)), painted[:, 1:, ::2]):
        np.testing.assert_array_equal(rgb_of(one)[..., 0], one & 0xFF)
        assert not rgb_of(one)[..., 1:].any()
