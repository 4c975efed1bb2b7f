"""One sky in every view: FITS as in DS9 and north up, pictures as in a picture viewer, whatever draws them."""

import base64
import io
import math
import re

import numpy as np
import pytest
from astropy.wcs import WCS
from bokeh.document import Document
from bokeh.events import MouseMove
from PIL import Image

from astroanomaly import Session, ingest
from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.exports import catalogue, file_content
from astroanomaly.app.review.preferences import load_preferences
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.view.theme import palette
from astroanomaly.figures.canvas import text_width
from astroanomaly.imaging.compass import sexagesimal
from astroanomaly.imaging.display import Display
from turned_sky import BLOCK, SIDE, WAYS, header, make_cache, upper_right, where


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One image for each way, each with a grid of its own."""
    return make_cache(tmp_path_factory.mktemp("ways"))


@pytest.fixture(scope="module")
def picture_cache(tmp_path_factory):
    """The block in a PNG and in a 16-bit TIFF whose numbers are kept as flux: upper right in a picture viewer."""
    folder = tmp_path_factory.mktemp("pictures")
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[::-1][BLOCK] = 255
    (folder / "png").mkdir()
    Image.fromarray(image).save(folder / "png" / "a.png")
    (folder / "tiff").mkdir()
    Image.fromarray(image.astype(np.float32)).save(folder / "tiff" / "a.tif")
    ingest("images", folder / "png", out=folder / "display", size=SIDE)
    ingest("images", folder / "tiff", out=folder / "flux", size=SIDE, kind="flux")
    return folder


def start(session):
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    page = Page(Document(), shared, learner, "ann")
    page.state.set_options(ordering="nominal")
    page.flush()
    return page


def close(page):
    page.learner.close()
    page.shared.close()


def press(page, *keys):
    for key in keys:
        page.bus.update(key=key, n=page.bus.n + 1)


def bokeh(image):
    """What Bokeh draws of an image: its first row at the bottom."""
    return image[::-1].view(np.uint8).reshape(*image.shape, 4)


@pytest.fixture
def session(cache, tmp_path, tiny):
    return Session.create(tmp_path / "s", cache, settings=tiny)


@pytest.fixture
def page(session):
    made = start(session)
    yield made
    close(made)


def drawn(page):
    """Pictures of the mosaic by object."""
    whole = bokeh(page.mosaic.image.data["image"][0])
    cells = {}
    for number, object_id in enumerate(page.state.page.ids):
        row, column = divmod(number, page.state.columns)
        cells[object_id] = whole[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
    return cells


def inspected(page):
    return [bokeh(source.data["image"][0]) for source in page.inspector.pictures]


def test_the_block_is_at_the_upper_right_in_every_view(page, session, tmp_path):
    cache = session.cache
    assert sorted(page.state.page.ids) == sorted(WAYS)
    for name, picture in drawn(page).items():
        assert upper_right(picture), name
    press(page, "Enter")
    for _ in WAYS:
        assert all(upper_right(picture) for picture in inspected(page)), page.state.current
        press(page, "ArrowRight")
    assert all(map(upper_right, cache.pictures.rgb(list(WAYS))))
    table = catalogue(page.shared, list(WAYS), "", 0.0)
    html = file_content(page.shared, table, ".html", Display.for_pixels("flux"), palette).decode()
    thumbnails = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([\w+/=]+)", html)]
    assert len(thumbnails) == len(WAYS)
    assert all(map(upper_right, thumbnails))
    session.contact_sheet(table, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    dark = np.argwhere((sheet == 0).all(-1))  # pictures: black sky, or no data
    top, left = dark.min(0)
    places = [sexagesimal(ra, dec) for ra, dec in zip(table["ra"].value, table["dec"].value, strict=True)]
    step = (
        max(SIDE, *(math.ceil(text_width(place, 8)) + 4 for place in places)) + 16
    )  # columns as wide as the positions
    for number in range(len(WAYS)):
        picture = sheet[top : top + SIDE, left + number * step :][:, :SIDE].copy()
        picture[SIDE // 2 :] = 0  # where scale bar and compass are
        assert upper_right(picture), list(WAYS)[number]
    session.contact_sheet(table, tmp_path / "stored.png", orientation="stored")
    assert (tmp_path / "stored.png").read_bytes() != (tmp_path / "sheet.png").read_bytes()


def test_a_key_shows_the_stored_pixels_and_north_up_again(page):
    def expected(name):
        image = page.shared.cache[name].data[0]
        return where(np.where(image > 500, 255, 0)[::-1, :, None].repeat(3, -1))

    press(page, "o")
    assert page.state.display.orientation == "stored"
    assert page.stretch_bar.widgets["orientation"].value == "stored"
    for name, picture in drawn(page).items():
        assert where(picture) == pytest.approx(expected(name), abs=0.005)
    assert upper_right(drawn(page)["plain"])
    assert not any(upper_right(drawn(page)[name]) for name in WAYS if name != "plain")
    press(page, "o")
    assert all(map(upper_right, drawn(page).values()))
    page.stretch_bar.widgets["orientation"].value = "north-quarter"
    assert all(upper_right(picture) for name, picture in drawn(page).items() if "slanting" not in name)
    x, y = where(drawn(page)["slanting"])  # 33 degrees from it, lossless
    assert np.degrees(np.arctan2(x - 0.5, 0.5 - y)) == pytest.approx(np.degrees(np.arctan2(0.155, 0.4)) - 33, abs=1.5)
    press(page, "o", "o")
    assert page.state.display.orientation == "north-quarter"


def test_the_choice_is_kept_and_former_preferences_open(page):
    press(page, "o")
    page._tick()
    kept = load_preferences(page.shared.session.path, "ann")
    assert kept["display"]["orientation"] == "stored"
    again = Page(Document(), page.shared, page.learner, "ann")
    assert again.state.display.orientation == "stored"
    former = kept["display"] | {"invert": True}
    del former["orientation"]
    assert Display.from_plain(former).orientation == "north"
    assert Display.from_plain(former).invert


@pytest.mark.parametrize("orientation", ["north", "north-quarter", "stored"])
def test_pointer_compass_and_saliency_follow(page, orientation):
    page.state.set_display(orientation=orientation)
    press(page, "Enter")
    inspector = page.inspector
    for name in page.state.page.ids:
        cutout = page.shared.cache[name]
        heat = np.zeros((SIDE, SIDE), np.float32)
        heat[0, 0] = 0.1
        heat[cutout.data[0] > 0] = 1.0
        inspector.saliency.active = True
        inspector._heat(name, heat, "")
        shown, heated = inspected(page)[0], inspector.heat.data["image"][0][::-1]
        assert where(np.where(heated > 0.5, 255, 0)[..., None].repeat(3, -1)) == pytest.approx(where(shown), abs=0.006)
        x, y = where(shown)
        at = {"x": x * SIDE - 0.5, "y": (1 - y) * SIDE - 0.5}
        inspector._hover(MouseMove(inspector.figures[0], **at))
        found = re.search(r"x (\d+) y (\d+)", inspector.readout.text)
        column, row = int(found[1]), int(found[2])
        assert cutout.data[0, row, column] == 1000
        assert "1000" in inspector.readout.text
        ra, dec = map(float, inspector.readout.tags[0].split())
        plain = WCS(header(0, False, float(cutout.wcs.wcs.crval[0]))).pixel_to_world(64.5, 89.5)
        assert plain.separation(cutout.wcs.pixel_to_world(column, row)).arcsec < 1.6
        assert plain.separation(type(plain)(ra, dec, unit="deg")).arcsec < 0.7
        (x0, x1), (y0, y1) = (inspector.lines.data[axis][1] for axis in ("xs", "ys"))
        arrow = np.array([x1 - x0, y1 - y0]) / np.hypot(x1 - x0, y1 - y0)
        if orientation == "north":
            np.testing.assert_allclose(arrow, (0, 1), atol=1e-3)
        middle = cutout.wcs.pixel_to_world(50, 50)
        north = cutout.wcs.world_to_pixel(middle.directional_offset_by(0, 10 / 3600 * plain.ra.unit))
        seen = inspector._seen.orientation
        steps = np.subtract(seen.to_shown(*north, (SIDE, SIDE)), seen.to_shown(50, 50, (SIDE, SIDE)))
        np.testing.assert_allclose(arrow, steps / np.hypot(*steps), atol=0.01)
        press(page, "ArrowRight")


def test_what_is_in_the_middle_of_the_view_stays_there(page):
    press(page, "Home", *["ArrowRight"] * list(page.state.page.ids).index("half"), "Enter")
    inspector = page.inspector
    inspector.x_range.update(start=60.0, end=70.0)
    inspector.y_range.update(start=84.5, end=94.5)
    inspector._hover(MouseMove(inspector.figures[0], x=65, y=89.5))
    before = inspector.readout.text
    press(page, "o")
    assert (inspector.x_range.start, inspector.x_range.end) == pytest.approx((29.0, 39.0))
    assert (inspector.y_range.start, inspector.y_range.end) == pytest.approx((4.5, 14.5))
    inspector._hover(MouseMove(inspector.figures[0], x=34, y=9.5))
    assert inspector.readout.text == before


def test_the_inspector_shows_what_was_changed_while_it_was_closed(page):
    press(page, *["ArrowRight"] * list(page.state.page.ids).index("half"), "Enter")
    north = inspected(page)[0]
    press(page, "Escape", "o", "Enter")
    assert not np.array_equal(inspected(page)[0], north)
    press(page, "o")
    np.testing.assert_array_equal(inspected(page)[0], north)


@pytest.mark.parametrize("kind", ["display", "flux"])
def test_pictures_are_as_in_a_picture_viewer(picture_cache, kind, tmp_path, tiny):
    session = Session.create(tmp_path / "s", picture_cache / kind, settings=tiny)
    page = start(session)
    assert upper_right(session.cache.pictures.rgb(list(session.cache.ids))[0])
    assert session.cache.pictures.compasses(list(session.cache.ids)) == [None]
    for _ in range(2):
        assert all(map(upper_right, drawn(page).values()))
        press(page, "Enter")
        assert all(map(upper_right, inspected(page)))
        page.inspector._hover(MouseMove(page.inspector.figures[0], x=65, y=90))
        assert "x 65 y 9 " in page.inspector.readout.text  # the row of the array
        press(page, "Escape", "o")
    close(page)


def test_the_model_sees_the_stored_pixels(session, cache):
    digest, model_input = session.cache.digest(), session.model_input
    session.cache.pictures.rgb(list(session.cache.ids))
    assert session.cache.digest() == digest
    assert session.model_input == model_input
