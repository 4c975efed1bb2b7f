"""Panels without a browser: what their sources hold follows the state, and controls change it."""

import contextlib
import json
import sqlite3
from concurrent.futures import wait

import numpy as np
import pytest
from astropy.table import Table
from bokeh.document import Document
from bokeh.events import ButtonClick, MouseMove, RangesUpdate, SelectionGeometry

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review import scatter
from astroanomaly.app.review.filters import NOT_MINE, Filters
from astroanomaly.app.review.preferences import load_preferences
from astroanomaly.app.review.scatter import ScatterAxes
from astroanomaly.app.review.shared_state import COLD, LATEST, SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.view.panels import maps as maps_panel
from astroanomaly.app.view.panels.performance import count_ticks
from astroanomaly.config import StretchConfig
from astroanomaly.errors import UnreadableError
from astroanomaly.imaging.display import Display


@pytest.fixture
def page(new_session):
    session = new_session(classes=["ring", "arc"])
    shared = SharedState(session)
    shared.publish(COLD, np.arange(len(session.cache), dtype=np.float32), "test")
    learner = Learner(shared, background=False)
    made = Page(Document(), shared, learner, "ann")
    made.state.set_options(row_by_row=False)
    made.flush()
    yield made
    learner.close()
    shared.close()


def open_view(page, name):
    """Click the tab of a view."""
    page.bus.asked = [page.bus.asked[0] + 1, name]


def press(page, *keys):
    for key in keys:
        page.bus.update(key=key, n=page.bus.n + 1)


def image(page):
    return page.mosaic.image.data["image"][0]


def test_a_key_reaches_the_sources(page):
    press(page, "a", "n", "1", "2", "s", "f")
    cells = page.mosaic.cells.data
    assert cells["word"][:5] == ["anomaly", "nominal", "ring", "arc", "skipped"]
    assert len({(m, c) for m, c in zip(cells["marker"][:4], cells["colour"][:4], strict=True)}) == 4
    assert cells["flag"][5] > 0
    assert page.mosaic.cursor.data["left"] == [5 % page.state.columns]
    assert len({len(column) for column in cells.values()}) == 1


def test_marks_of_others_are_hollow(page):
    page.shared.labels.verdict(page.state.page.ids[0], "anomaly", annotator="ben")
    page.shared.refresh()  # a tick alone may come too soon after the last look at the log
    page._tick()
    page.flush()
    cells = page.mosaic.cells.data
    assert cells["word"][0] == "anomaly"
    assert cells["dash"][0] == "dashed"
    press(page, "a")
    assert page.mosaic.cells.data["dash"][0] == "solid"
    assert page.mosaic.cells.data["colour"][0] != cells["colour"][0]


@pytest.mark.parametrize("most", [1, 7, 25, 200, 201, 4_000, 10**6, 10**8])
def test_labels_of_an_axis_of_counts_have_room(most):
    ticks = count_ticks(most)
    assert ticks[0] == 1
    assert ticks[-1] >= most  # the axis may end a little higher
    shown = [tick for tick in ticks if tick <= most]
    gaps = np.diff(np.log(shown)) / np.log(max(most, 10) / 0.7)
    assert gaps.min(initial=1) * 130 > 11  # pixels of the axis in a small window, and of a letter


def test_one_image_for_a_whole_page(page):
    press(page, "PageDown")
    assert len(page.mosaic.image.data["image"]) == 1
    side = page.shared.cache.layout.width
    assert image(page).shape == (page.state.rows * side, page.state.columns * side)
    assert image(page).dtype == np.uint32
    assert len(page.mosaic.root.renderers) == 12  # glyphs, however many cutouts


def test_every_control_of_the_stretch_changes_the_picture(page):
    bar = page.stretch_bar
    changes = {
        "colours": "rgb", "curve": "log", "interval": "minmax", "scope": "cutout", "brightness": 0.3, "contrast": 2.0,
        "sharpen": 2.0, "radius": 4.0, "strength": 30.0, "channels": "g,r,i", "scale": "band",
    }  # fmt: skip
    lupton = {"colours": "lupton", "lupton_q": 20.0, "lupton_stretch": 0.05, "brightness": -0.2, "contrast": 1.5}
    for name, value in [*changes.items(), *lupton.items()]:
        before = image(page).copy()
        bar.widgets[name].value = value
        assert not np.array_equal(image(page), before), name
    for value in ("single", "rgb"):
        before = image(page).copy()
        bar.widgets["colours"].value = value
        assert not np.array_equal(image(page), before)
    for toggle in (bar.invert, bar.shared):
        before = image(page).copy()
        toggle.active = not toggle.active
        assert not np.array_equal(image(page), before)
    before = image(page).copy()
    bar.shown.active = [0, 2]
    assert not np.array_equal(image(page), before)


@pytest.mark.parametrize("interval", ["percentile", "sigma", "mad", "manual"])
def test_the_bounds_of_an_interval_are_those_of_the_stretch(page, interval):
    bar = page.stretch_bar
    bar.widgets["interval"].value = interval
    before = image(page).copy()
    bar.second.value = {"percentile": 90.0, "sigma": 3.0, "mad": 3.0, "manual": 7.0}[interval]
    assert not np.array_equal(image(page), before)
    assert bar.first.visible
    bar.widgets["interval"].value = "zscale"
    assert not bar.first.visible


def test_a_manual_interval_begins_at_the_range_of_the_data(page):
    bar, cache = page.stretch_bar, page.shared.cache
    bar.widgets["interval"].value = "manual"
    pixels = cache.read(list(cache.ids))
    low, high = np.nanpercentile(pixels, [1, 99])
    assert np.nanmin(pixels) <= bar.first.value < low
    assert high < bar.second.value <= np.nanmax(pixels)
    bar.second.value = 77.0
    bar.widgets["interval"].value = "minmax"
    bar.widgets["interval"].value = "manual"
    assert bar.second.value != 77.0
    page.state.set_display(interval="minmax")
    page.state.set_display(interval="manual", black=2.0, white=3.0)
    page.flush()
    assert (bar.first.value, bar.second.value) == (2.0, 3.0)


def test_the_bar_says_how_cutouts_are_coloured(page):
    bar = page.stretch_bar
    assert "Lupton on flux in uJy, R G B = i r g (gri), survey levels" in bar.words.text
    assert bar.channel_map.value == "i,r,g"
    bar.widgets["channels"].value = "g,r,i"
    assert bar.channel_map.value == "own"
    assert "R G B = g r i, survey" in bar.words.text
    before = image(page).copy()
    bar.channel_map.value = "i,r,g"
    assert not np.array_equal(image(page), before)
    assert bar.widgets["channels"].value == "i,r,g"
    bar.widgets["scale"].value = "band"
    assert "in units of their noise" in bar.words.text
    bar.reset._trigger_event(ButtonClick(bar.reset))
    assert page.state.display == page.shared.cache.pictures.usual_display


def test_values_under_the_pointer_have_units_and_one_band_a_colour_bar(page):
    press(page, "Enter")
    inspector, layout = page.inspector, page.shared.cache.layout
    cutout = page.shared.cache[page.state.current]
    inspector._hover(MouseMove(inspector.figures[0], x=20.0, y=11.0))
    for band in ("g", "r", "i"):
        assert f"{band} {cutout.band(band)[11, 20]:.4g} adu" in inspector.readout.text
    assert layout.units == ("adu",) * 3
    bar = inspector.colour_bar
    assert not bar.root.visible
    page.bus.area = [1000, 700]
    page.state.set_display(colours="single", band="r", colour_map="viridis")
    page.flush()
    assert bar.root.visible
    assert inspector.figures[0].height + bar.height < 700 - 72  # there is room for it
    axis = bar.root.xaxis[0]
    assert axis.axis_label.text == "r [adu]"
    assert list(axis.ticker.ticks) == sorted(axis.major_label_overrides)
    stretch = page.state.display.changed(curve="linear", strength=0).stretch
    black, white = page.shared.cache.pictures.survey_limits(stretch)[1]
    assert all(black <= float(text) <= white for text in axis.major_label_overrides.values())
    page.state.set_display(curve="histogram")
    page.flush()
    assert not bar.root.visible


def test_what_was_chosen_with_an_earlier_version_is_kept(page):
    path, usual = page.shared.session.path / "app.json", page.shared.cache.pictures.usual_display
    stretch = {"curve": "asinh", "interval": "percentile", "low": 1.0, "high": 99.7, "scope": "cutout"}
    earlier = Display.for_pixels("flux").to_plain() | {"stretch": stretch}
    del earlier["scale"]
    path.write_text(json.dumps({"ann": {"display": earlier, "page_size": 16}}))
    again = Page(Document(), page.shared, page.learner, "ann")
    assert (again.state.display, again.state.page_size) == (usual, 16)  # nobody chose that
    path.write_text(json.dumps({"ann": {"display": earlier | {"stretch": stretch | {"curve": "log"}}}}))
    again = Page(Document(), page.shared, page.learner, "ann")
    kept = again.state.display
    assert (kept.stretch.curve, kept.stretch.scope, kept.colours, kept.scale) == ("log", "cutout", "rgb", "band")
    chosen = Display.for_pixels("flux")
    again.state.display = chosen
    again._tick()
    assert Page(Document(), page.shared, page.learner, "ann").state.display == chosen


def test_the_bar_offers_every_curve_and_interval_of_the_library(page):
    import typing

    hints = typing.get_type_hints(StretchConfig)
    assert page.stretch_bar.widgets["curve"].options == list(typing.get_args(hints["curve"]))
    assert page.stretch_bar.widgets["interval"].options == list(typing.get_args(hints["interval"]))


def tap(page, cell, *, layout=None, double=False, shift=False, ctrl=False):
    taps = (page.bus.tap or [0] * 6)[-1] + 1
    layout = page.mosaic.layout if layout is None else layout
    page.bus.tap = [layout, page.state.page.ids[cell], double, shift, ctrl, taps]


def click(button):
    button._trigger_event(ButtonClick(button))


def test_clicks_select_and_a_double_click_opens_the_inspector(page):
    tap(page, 3)
    assert page.mosaic.cursor.data["left"] == [3 % page.state.columns]
    assert page.mosaic.chosen.data["left"] == []  # no tint on a single object
    tap(page, 5, shift=True)
    assert len(page.mosaic.chosen.data["left"]) == 3
    tap(page, 8, ctrl=True)
    assert page.state.selection == {3, 4, 5, 8}
    tap(page, 7)
    tap(page, 7, double=True)
    assert page.inspector.root.visible
    assert page.state.current == page.state.page.ids[7]
    tap(page, 2, double=True)  # the mosaic is out of sight
    assert page.state.cursor == 7
    assert page.shared.labels.events() == []


def test_a_click_on_what_is_gone_counts_for_nothing(page):
    before = page.mosaic.layout
    page.bus.room = [900, 300, 1]
    assert page.mosaic.layout > before
    tap(page, 9, layout=before)
    assert page.state.cursor == 0
    gone = page.state.page.ids[9]
    press(page, "PageDown")
    page.bus.tap = [page.mosaic.layout, gone, False, False, False, 99]
    assert (page.state.cursor, page.state.selection) == (0, frozenset())
    tap(page, 9)
    assert page.state.cursor == 9
    open_view(page, "learning")
    tap(page, 4)
    assert page.state.cursor == 9


def test_the_browser_is_told_when_the_layout_is_final(page):
    told = []
    page.bus.on_change("laid", lambda attr, old, new: told.append(new))
    page.bus.room = [900, 300, 1]
    assert told == [None, [1, page.mosaic.layout]]  # hidden, then complete
    grid = (page.state.columns, page.state.rows)
    x, y = page.mosaic.root.x_range, page.mosaic.root.y_range
    assert (x.end - x.start) / 900 == pytest.approx((y.end - y.start) / 300)  # pixels are square
    told.clear()
    page.bus.room = [900, 300, 2]  # back from another view, nothing moved: an answer all the same
    assert told[-1] == [2, page.mosaic.layout]
    assert (page.state.columns, page.state.rows) == grid
    told.clear()
    press(page, "PageDown")  # the same grid: no need to hide, but clicks on the page before are void
    assert told == [[2, page.mosaic.layout]]
    told.clear()
    page.state.show(page.state.page.ids[:2], "map")
    page.flush()
    assert told == [None, [2, page.mosaic.layout]]
    told.clear()
    press(page, "Enter", "PageDown", "Enter")  # turned in the inspector: the mosaic is painted before it is seen again
    assert told[0] is None
    assert told[-1] == [2, page.mosaic.layout]


def test_the_size_of_the_inspector_is_none_of_the_mosaic(page):
    page.bus.room = [1000, 600, 1]
    grid = (page.state.columns, page.state.rows)
    press(page, "Enter")
    page.bus.area = [1000, 80]
    press(page, "Enter")
    assert (page.state.columns, page.state.rows) == grid
    assert page.state.shape == (1000, 600)


def test_marking_by_click_is_a_mode_that_is_seen_and_off_at_first(page):
    bar, side = page.page_bar, page.sidebar
    assert not bar.banner.visible
    assert not side.marking.active
    side.marking.active = True
    assert bar.banner.visible
    assert "anomaly" in bar.banner.text
    assert page.bus.marking == "anomaly"
    tap(page, 2)
    assert page.mosaic.cells.data["word"][2] == "anomaly"
    tap(page, 2, double=True)  # the second of two quick clicks is one more click
    assert page.mosaic.cells.data["word"][2] == ""
    assert not page.inspector.root.visible
    side.click.value = "ring"
    tap(page, 4)
    assert page.mosaic.cells.data["word"][4] == "ring"
    press(page, "Escape")
    assert not side.marking.active
    assert not bar.banner.visible
    tap(page, 6)
    assert page.mosaic.cells.data["word"][6] == ""
    side.marking.active = True
    assert page.bus.marking == "ring"
    click(bar.stop)
    assert page.bus.marking == ""


def test_marking_by_click_is_off_whatever_an_earlier_visit_left(page):
    kept = {"ann": {"click_marks": "anomaly", "page_size": 16}}
    (page.shared.session.path / "app.json").write_text(json.dumps(kept))
    again = Page(Document(), page.shared, page.learner, "ann")
    assert (again.state.click_marks, again.state.page_size) == ("", 16)
    again.sidebar.marking.active = True
    again._tick()
    assert Page(Document(), page.shared, page.learner, "ann").state.click_marks == ""


def test_each_button_shows_its_key_and_does_what_it_does(page):
    bar = page.page_bar
    labels = [button.label for button in bar.classes]
    assert [label.split(maxsplit=1)[1] for label in labels] == ["n nominal", "a anomaly", "1 ring", "2 arc"]
    buttons = [child for child in bar.below.children if hasattr(child, "label")]
    assert all(button.height >= 40 for button in buttons)
    for button in bar.classes:
        click(button)
    assert page.mosaic.cells.data["word"][:4] == ["nominal", "anomaly", "ring", "arc"]
    by_label = {button.label: button for button in buttons}
    click(by_label["s skip"])
    click(by_label["u undo"])
    click(by_label["f flag"])
    assert page.mosaic.cells.data["word"][4] == ""
    assert page.mosaic.cells.data["flag"][4] > 0
    first = page.state.page.ids
    click(by_label["PageDown ▶"])
    assert page.state.page.ids != first
    assert "page 2" in bar.number.text
    click(by_label["◀ PageUp"])
    assert page.state.page.ids == first
    click(by_label["Enter inspect"])
    assert page.inspector.root.visible
    assert [bar.back.label, bar.on.label] == ["◀ ←", "→ ▶"]
    click(bar.on)
    assert page.state.cursor == 1
    assert "object 2 of 25" in bar.number.text
    click(bar.inspect)
    assert not page.inspector.root.visible


def test_a_session_of_many_classes_shows_the_keys_that_exist(new_session):
    session = new_session(classes=[f"kind{k}" for k in range(11)])
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    made = Page(Document(), shared, learner, "ann")
    labels = [button.label for button in made.page_bar.classes]
    assert labels[2].endswith(" 1 kind0")
    assert labels[10].endswith(" 9 kind8")
    assert labels[11].split() == [labels[11].split()[0], "kind9"]  # no key for the tenth
    click(made.page_bar.classes[11])
    assert made.mosaic.cells.data["word"][0] == "kind9"
    learner.close()
    shared.close()


def test_a_rejected_filter_says_so_until_it_is_put_right(page):
    side, bar = page.sidebar, page.page_bar
    side.expression.value = "snr >"
    assert "cannot read" in side.wrong.text
    assert side.wrong.visible
    assert "aa-wrong" in side.expression.css_classes
    assert bar.clear.visible
    side.page_size.value = "16"  # other things change, the message of the moment goes, this stays
    press(page, "n")
    page._tick()
    assert not page.footer.error.visible
    assert side.expression.value == "snr >"
    assert side.wrong.visible
    assert "unlabelled;" in bar.words.text
    assert "snr" not in bar.words.text
    side.expression.value = "snr > -1"
    assert not side.wrong.visible
    assert "aa-wrong" not in side.expression.css_classes
    assert "snr &gt; -1" in bar.words.text
    side.region.value = "<b>"
    assert "&lt;b&gt;" in side.wrong.text
    click(bar.clear)
    assert (side.region.value, side.expression.value) == ("", "")
    assert not side.wrong.visible
    assert not bar.clear.visible


def test_counts_follow_verdicts_within_a_page(page):
    press(page, "a", "a", "n")
    page._tick()
    assert "3 of 25 on this page" in page.page_bar.words.text
    assert f"{len(page.shared.cache) - 3} of" in page.page_bar.words.text
    assert "<td class=number>2</td>" in page.sidebar.counts.text


def test_views_without_content_say_what_will_be_there_and_what_to_do(page):
    text = {}
    for name in ("learning", "annotators", "export"):
        open_view(page, name)
        text[name] = page.views[name]
    assert "train and score" in text["learning"].coming.text
    assert text["learning"].coming.visible
    assert "None yet" in text["learning"].rounds.text
    assert "Label some" in text["annotators"].people.text
    assert "two people" in text["annotators"].divided.text
    export = text["export"]
    assert "nothing to export yet" in export.preview.text
    for which, _ in export.which.options:
        export.which.value = which
        assert export.preview.text, which
    export.which.value = "anomalies"
    press(page, "Escape", "a")
    open_view(page, "export")
    assert "1 object in this selection" in export.preview.text
    assert page.state.page.ids[0] in export.preview.text


def test_what_somebody_chose_is_there_on_the_next_visit(page):
    page.stretch_bar.widgets["curve"].value = "sqrt"
    page.sidebar.page_size.value = "49"
    page._tick()
    assert load_preferences(page.shared.session.path, "ann")["page_size"] == 49
    again = Page(Document(), page.shared, page.learner, "ann")
    assert (again.state.display.stretch.curve, again.state.page_size) == ("sqrt", 49)
    other = Page(Document(), page.shared, page.learner, "ben")
    assert (other.state.display.stretch.curve, other.state.page_size) == ("asinh", 25)


def test_a_filter_that_was_renamed_is_read_by_its_former_name(page):
    kept = {"ann": {"filters": {"labels": "not judged by me", "lowest": 3.0}, "page_size": 16}}
    (page.shared.session.path / "app.json").write_text(json.dumps(kept))
    again = Page(Document(), page.shared, page.learner, "ann")
    assert (again.state.filters.labels, again.state.filters.lowest, again.state.page_size) == (NOT_MINE, 3.0, 16)
    assert again.sidebar.labels.value == NOT_MINE
    assert again.state.message.kind == "info"


@pytest.mark.parametrize("content", ["{", "[]", '{"ann": 3}', '{"ann": {"display": {"curve": 1}, "page_size": "x"}}'])
def test_damaged_preferences_are_left_out(page, content):
    (page.shared.session.path / "app.json").write_text(content)
    again = Page(Document(), page.shared, page.learner, "ann")
    assert again.state.display == page.shared.cache.pictures.usual_display
    again.state.set_display(invert=True)
    again._tick()
    assert load_preferences(page.shared.session.path, "ann")["display"]["invert"] is True


def test_the_sidebar_changes_what_is_shown(page):
    side = page.sidebar
    side.ordering.value = "nominal"
    assert page.state.page.ids == tuple(page.shared.cache.ids)[:25]
    side.page_size.value = "9"
    assert len(page.state.page.ids) == 9
    side.lowest.value = 50.0
    assert (page.shared.score_of(page.state.page.ids, COLD) >= 50).all()
    side.expression.value = "nonsense <"
    assert "cannot read" in page.footer.error.text
    assert page.footer.error.visible
    assert side.expression.value == "nonsense <"  # to be put right
    assert page.state.filters.expression == ""
    side.expression.value = "snr > -1"
    assert page.state.filters.expression == "snr > -1"
    assert not page.footer.error.visible
    assert not side.clear.disabled
    side.clear._trigger_event(ButtonClick(side.clear))
    assert page.state.filters == Filters()
    assert side.lowest.value is None


def test_an_empty_page_says_what_to_do(page):
    page.sidebar.region.value = "10 10 1arcsec"
    assert page.state.page.ids == ()
    assert "Nothing to show" in page.sidebar.summary.text
    assert "clear them" in page.mosaic.words.data["text"][0]
    assert page.mosaic.image.data["image"] == []
    press(page, "a", "n", "r", "Enter", "ArrowRight", "f", "s", "u", "End")
    assert page.shared.labels.events() == []
    page.sidebar.region.value = ""
    assert len(page.state.page.ids) == 25


def test_the_inspector_follows_the_cursor_and_paints_when_it_is_open(page):
    press(page, "Enter")
    first = page.inspector.pictures[0].data["image"][0].copy()
    assert page.inspector.root.visible
    assert not page.mosaic.root.visible
    assert len(page.inspector.pictures) == 1 + len(page.shared.cache.bands)
    press(page, "ArrowRight")
    assert not np.array_equal(page.inspector.pictures[0].data["image"][0], first)
    press(page, "a")
    mosaic = image(page).copy()
    press(page, "i")
    press(page, "Escape")
    assert page.mosaic.root.visible
    assert not np.array_equal(image(page), mosaic)
    assert page.mosaic.cells.data["word"][1] == "anomaly"


def test_the_inspector_has_the_size_of_its_place(page):
    page.bus.area = [1000, 700]
    press(page, "Enter")
    large = page.inspector.figures[0].width
    page.bus.area = [700, 400]  # while it is open: a window made smaller, another row of the bar
    assert page.inspector.figures[0].width < large
    page.bus.area = [1000, 700]
    assert page.inspector.figures[0].width == large


def test_what_is_written_on_images_moves_with_what_is_seen(page):
    press(page, "Enter")
    inspector = page.inspector
    inspector.x_range.update(start=20.0, end=24.0)  # in a browser both ends of one range come before those of the other
    inspector.y_range.update(start=30.0, end=34.0)
    for source in (inspector.words, inspector.corner):
        assert all(20 <= x <= 24 for x in source.data["x"])
        assert all(30 <= y <= 34 for y in source.data["y"])
    assert len(inspector.words.data["text"]) == 3


def test_what_was_said_is_shown_while_another_process_holds_the_label_file(page):
    press(page, "a", "ArrowLeft", "n", "ArrowLeft", "u")
    with contextlib.closing(sqlite3.connect(page.shared.labels.path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        press(page, "Enter")
    assert "anomaly" in page.inspector.history.text
    assert "line-through" in page.inspector.history.text
    assert page.state.message.kind == "info"


def test_cutouts_without_a_score_have_no_caption(page):
    assert np.isfinite(page.mosaic.cells.data["text_x"]).all()
    page.shared.withdraw(COLD)
    page.state.restart()
    page.flush()
    assert set(page.mosaic.cells.data["caption"]) == {""}
    assert np.isnan(page.mosaic.cells.data["text_x"]).all()  # else the box behind it is drawn


def test_every_view_can_be_shown(page):
    for number, name in enumerate(page.header.views.labels):
        open_view(page, name)
        page._tick()
        assert [shown for shown, panel in page.views.items() if panel.root.visible] == ([name] if number else [])
    assert page.state.message.kind == "info"


def test_the_browser_is_told_which_of_its_clicks_was_answered(page):
    told = []
    page.bus.on_change("opened", lambda attr, old, new: told.append(new))
    page._written = lambda: None  # labels are being written
    press(page, "Enter", "Escape")
    open_view(page, "learning")
    open_view(page, "maps")
    assert told == []
    page._go_on()
    assert told == [[1, "learning"], [2, "maps"]]
    open_view(page, "maps")
    open_view(page, "nowhere")
    assert told[2:] == [[3, "maps"], [4, "maps"]]
    press(page, "Escape")
    assert told[4:] == [[4, "candidates"]]


def test_who_waits_for_the_features_gets_their_map(page, monkeypatch):
    asked = []
    monkeypatch.setattr(page.learner, "map_features", lambda *which: asked.append(which))
    open_view(page, "maps")
    page.learner.computed = len(page.shared.cache) - 1
    page._tick()
    assert asked == []
    page.learner.computed = len(page.shared.cache)
    page._tick()
    assert asked == [("neighbours", "image")]


def test_a_lasso_on_a_map_shows_its_objects(page):
    open_view(page, "maps")
    maps = page.views["maps"]
    ids = maps.near.data["object_id"]
    assert set(ids) <= set(page.shared.cache.ids)
    assert len(maps.sky.data["x"]) == len(ids)
    maps.near.selected.indices = [3, 5, 8]
    assert not maps.chosen.disabled
    maps.chosen._trigger_event(ButtonClick(maps.chosen))
    assert page.state.page.ids == (ids[3], ids[5], ids[8])
    assert page.bus.opened[1] == "candidates"
    press(page, "a")
    assert page.shared.labels.events()[-1].ordering == "map"


def answers(page):
    wait([future for future, _ in page._asked], 120)
    page._answers()


def open_maps(page):
    open_view(page, "maps")
    answers(page)
    return page.views["maps"]


def selected_on(source):
    return {source.data["object_id"][k] for k in source.selected.indices}


def lasso(maps, x, y, mode="replace"):
    """Draw a lasso on the scatter plot: what a browser tells, in its order."""
    inside = [k for k, at in enumerate(maps.points.data["x"]) if min(x) < at < max(x)]
    held = maps.points.selected.indices if mode == "append" else []
    maps.points.selected.indices = sorted({*held, *inside})
    geometry = {"type": "poly", "x": list(x), "y": list(y)}
    maps.scatter.figure._trigger_event(SelectionGeometry(maps.scatter.figure, geometry, True))


def test_the_scatter_plot_has_any_two_columns_on_its_axes(page):
    maps, columns = open_maps(page), page.shared.number_columns
    plot = maps.scatter
    assert set(columns.names) < {value for value, _ in plot.x.options}
    plot.x.value, plot.y.value, plot.log_x.active = "snr", "*rank", True
    page.flush()
    page._tick()
    answers(page)
    rows = page.shared.cache.rows(maps.points.data["object_id"])
    positive = columns.values("snr") > 0
    assert len(rows) == positive.sum()
    np.testing.assert_allclose(maps.points.data["x"], np.log10(columns.values("snr")[rows]))
    np.testing.assert_array_equal(maps.points.data["y"], len(page.shared.cache) - rows)  # scores rise with the rows
    assert plot.figure.xaxis[0].axis_label == "log10 snr"
    page._tick()
    again = Page(Document(), page.shared, page.learner, "ann")
    assert again.state.scatter == page.state.scatter == ScatterAxes("snr", "*rank", True, False)


def test_all_maps_and_the_page_have_one_selection(page):
    page.state.click(2)
    page.state.click(4, toggle=True)
    of_page = {page.state.page.ids[2], page.state.page.ids[4]}
    maps = open_maps(page)
    assert selected_on(maps.near) == selected_on(maps.sky) == selected_on(maps.points) == of_page
    maps.near.selected.indices = [1, 7]
    wanted = {maps.near.data["object_id"][k] for k in (1, 7)}
    assert selected_on(maps.points) == selected_on(maps.sky) == wanted
    maps.points.selected.indices = [3]
    assert selected_on(maps.near) == {maps.points.data["object_id"][3]}
    press(page, "Escape")
    open_maps(page)
    assert selected_on(maps.near) == {maps.points.data["object_id"][3]}  # the page has nothing new to say


def test_a_lasso_on_the_scatter_plot_selects_what_is_not_drawn_too(page, monkeypatch):
    monkeypatch.setattr(scatter, "_MAX_SINGLE", 20)
    monkeypatch.setattr(maps_panel, "_MAX_POINTS", 20)
    page.state.set_scatter(x="*rank", y="*score")
    maps = open_maps(page)
    size = len(page.shared.cache)
    (counts,) = maps.scatter.density.data["image"]
    assert np.nansum(counts) == size
    assert len(maps.points.data["x"]) < size
    box = ([10.5, 30.5, 30.5, 10.5], [-1e3, -1e3, 1e3, 1e3])
    lasso(maps, *box)
    answers(page)
    ids = list(page.shared.cache.ids)
    assert maps.selected == ids[::-1][10:30]
    assert set(maps.selected[:10]) <= selected_on(maps.near)  # drawn now
    assert "(20)" in maps.chosen.label
    page._tick()
    answers(page)
    lasso(maps, [50.5, 52.5, 52.5, 50.5], box[1], mode="append")
    answers(page)
    assert maps.selected == [*ids[::-1][10:30], *ids[::-1][50:52]]
    maps.chosen._trigger_event(ButtonClick(maps.chosen))
    assert page.state.page.ids == tuple(ids[::-1][10:30] + ids[::-1][50:52])
    open_view(page, "maps")
    maps.scatter.figure._trigger_event(RangesUpdate(maps.scatter.figure, x0=0.5, x1=12.5, y0=-1e3, y1=1e3))
    page._tick()
    answers(page)
    assert maps.scatter.density.data["image"] == []  # so few are drawn one by one
    assert sorted(maps.points.data["x"]) == list(range(1, 13))


def test_what_a_browser_sends_to_the_scatter_plot_is_checked(page):
    maps = open_maps(page)
    figure = maps.scatter.figure
    for geometry in (
        {"type": "poly", "x": [], "y": []}, {"type": "poly", "x": [0, 1], "y": [0, 1, 2]},
        {"type": "poly", "x": [0, float("nan"), 3], "y": [0, 1, 2]},
    ):  # fmt: skip
        figure._trigger_event(SelectionGeometry(figure, geometry, True))
        answers(page)
        assert maps.selected == []
    many = {"type": "poly", "x": np.linspace(-1e9, 1e9, 50_000).tolist(), "y": [0.0, 1e9] * 25_000}
    figure._trigger_event(SelectionGeometry(figure, many, True))
    figure._trigger_event(RangesUpdate(figure, x0=float("nan"), x1=1, y0=0, y1=1))
    page._tick()
    answers(page)
    maps.scatter.x.value = "no such"
    assert "no axis 'no such'" in page.state.message.text
    assert page.state.scatter.x != "no such"


def test_performance_says_why_there_are_no_curves_and_draws_an_audit_set(page):
    ids = list(page.shared.cache.ids)
    page.shared.labels.verdict(ids[:6], ["anomaly", "nominal", "nominal"] * 2, annotator="ann")
    page.shared.refresh()
    page.state.open_view("performance")
    page.flush()
    answers(page)
    view = page.views["performance"]
    assert "2 anomalies and 4 nominal objects are labelled: curves are drawn from 5 of each on" in view.words.text
    assert view.curves.data["x"] == []
    assert not view.curve_row.visible  # no three empty axes
    bars = {name: np.array(view.bars.data[name]) for name in ("all", "nominal", "anomaly")}
    assert np.isfinite(bars["all"]).any()
    assert np.nansum(bars["anomaly"]) == 2
    for tops in bars.values():  # none is no bar
        assert (np.isnan(tops) | (tops >= 1)).all()
    assert view.draw.label == "draw an audit set"
    view.audit_size.value = 10_000
    view.draw._trigger_event(ButtonClick(view.draw))
    answers(page)
    assert "expected 1 to" in page.state.message.text
    view.audit_size.value = 25
    view.draw._trigger_event(ButtonClick(view.draw))
    answers(page)
    assert len(page.shared.audit) == 25
    assert not page.shared.audit & set(ids[:6])
    assert f"25 objects drawn at random from the {len(ids) - 6} without a label" in view.audit_words.text
    assert view.draw.label == "enlarge the audit set"
    page._tick()
    assert not set(page.state.page.ids) & page.shared.audit
    page.flush()
    assert page.sidebar.mode.visible


def test_a_handler_that_fails_says_so_and_the_page_lives_on(page, caplog):
    page.act(lambda: 1 / 0)()
    assert "ZeroDivisionError" in page.footer.error.text
    assert "a handler failed" in caplog.text
    press(page, "a")
    assert page.mosaic.cells.data["word"][0] == "anomaly"


def test_memory_does_not_grow_with_pages(page):
    for _ in range(4):
        press(page, "PageDown")
    assert page.mosaic.painter.images.shape[0] <= page.state.page_size
    assert len(page.state.pages) == 5


def test_no_verdict_on_cutouts_that_cannot_be_read(page, monkeypatch):
    """As when a shard vanishes: the reader is made to fail where a disk would, since open shards stay mapped."""
    before = page.shared.verdicts
    shards = page.shared.cache.folders[0] / "shards"
    read = type(page.shared.cache).read
    monkeypatch.setattr(type(page.shared.cache), "read", lambda cache, ids: lost(shards))
    press(page, "PageDown")
    assert page.mosaic.image.data["image"] == []
    assert "vanished" in page.mosaic.words.data["text"][0]
    press(page, "a", "r", "s", "f")
    assert page.shared.verdicts == before
    assert "cannot be shown" in page.footer.error.text
    monkeypatch.setattr(type(page.shared.cache), "read", read)
    press(page, "PageDown", "a")
    assert page.shared.verdicts == before + 1
    assert len(page.mosaic.image.data["image"]) == 1


def lost(folder):
    raise UnreadableError(f"{folder} has vanished")


def test_a_panel_that_fails_stops_no_other_and_is_drawn_later(page, monkeypatch, caplog):
    monkeypatch.setattr(page.stretch_bar, "update", lambda dirty: 1 / 0)
    press(page, "i")
    assert "could not be drawn" in page.footer.error.text
    assert page.state.display.invert
    assert page.mosaic.image.data["image"]
    monkeypatch.undo()
    press(page, "ArrowRight")
    assert page.stretch_bar.invert.active  # what it owed
    assert "ZeroDivisionError" in caplog.text


def test_scores_on_a_page_are_those_it_was_made_with(page):
    captions = list(page.mosaic.cells.data["caption"])
    first = page.state.page.ids
    assert page.sidebar.restart.label == "restart from the top"
    page.shared.publish(COLD, -np.arange(len(page.shared.cache), dtype=np.float32), "another")
    page._tick()
    page.flush()
    assert page.state.page.ids == first
    assert list(page.mosaic.cells.data["caption"]) == captions
    assert page.sidebar.restart.label == "use newer ranking"
    page.sidebar.restart._trigger_event(ButtonClick(page.sidebar.restart))
    assert page.state.page.ids != first
    assert page.sidebar.restart.label == "restart from the top"


def test_a_new_round_is_used_and_said(page):
    page.sidebar.by.value = COLD
    page.shared.publish(LATEST, np.arange(len(page.shared.cache), dtype=np.float32), "round 1, fixmatch")
    page._tick()
    page.flush()
    assert page.state.by_name == LATEST
    assert "round 1, fixmatch" in page.footer.message.text


def test_order_and_filters_are_there_again_on_the_next_visit(page):
    page.sidebar.ordering.value = "nominal"
    page.sidebar.expression.value = "snr > -1"
    page._tick()
    again = Page(Document(), page.shared, page.learner, "ann")
    assert again.state.ordering == "nominal"
    assert again.sidebar.expression.value == "snr > -1"
    assert Page(Document(), page.shared, page.learner, "ben").state.ordering == "score"


def test_the_column_that_orders_is_chosen_in_the_sidebar_and_kept(page):
    side = page.sidebar
    assert not side.column.visible
    side.ordering.value = "descending"
    assert side.column.visible
    side.column.value = "snr"
    values = page.shared.number_columns.values("snr")
    highest = np.argsort(-np.nan_to_num(values, nan=-np.inf))[:25]
    assert page.state.page.ids == tuple(page.shared.cache.ids_at(highest))
    assert "by snr, highest first" in side.summary.text
    page._tick()
    again = Page(Document(), page.shared, page.learner, "ann")
    assert (again.state.ordering, again.state.column) == ("descending", "snr")
    assert again.state.page.ids == page.state.page.ids
    kept = json.loads((page.shared.session.path / "app.json").read_text())
    kept["ann"] |= {"column": "gone", "page_size": 16}
    (page.shared.session.path / "app.json").write_text(json.dumps(kept))
    again = Page(Document(), page.shared, page.learner, "ann")
    assert (again.state.ordering, again.state.page_size) == ("score", 16)


def test_text_grows_with_the_screen(page):
    before = page.mosaic.cells.data["size"]
    press(page, "a")
    page.bus.zoom = 1.9
    assert max(page.mosaic.cells.data["size"]) == pytest.approx(20 * 1.9)
    assert max(before) == 0
    axis = next(f for f in page.root.references() if type(f).__name__ == "LinearAxis")
    assert axis.major_label_text_font_size == "20.9px"
    page.bus.zoom = 1.0
    assert axis.major_label_text_font_size == "11px"


def test_a_damaged_cutout_is_named_and_gets_no_verdict(new_session):
    session = new_session()
    shared = SharedState(session)
    shared.publish(COLD, np.arange(len(session.cache), dtype=np.float32), "test")
    learner = Learner(shared, background=False)
    page = Page(Document(), shared, learner, "ann")
    try:
        page.flush()
        lost, other = page.state.page.ids[:2]
        number = int(session.cache.locate([lost])[0][0])
        path = session.cache.shards[number].path
        content = bytearray(path.read_bytes())
        content[content.index(session.cache[lost].data.tobytes()) + 9] ^= 64
        path.write_bytes(content)
        page.mosaic.update({"page"})
        assert page.state.damaged == {lost}
        assert len(page.mosaic.image.data["image"]) == 1
        assert [text for text in page.mosaic.words.data["text"] if "damaged" in text]
        page.state.move_cursor_to(0)
        press(page, "a")
        assert not shared.labels.current()
        press(page, "ArrowRight", "a")
        assert set(shared.labels.current()) == {other}
    finally:
        learner.close()
        shared.close()


def test_the_inspector_says_what_is_known(page):
    ids, cache = page.state.page.ids, page.shared.cache
    entries = Table(
        {
            "name": ["<script>alert(1)</script>"], "type": ["lens & arc"], "bibcode": ["2021ApJ...909...27H"],
            "ra": [cache[ids[0]].ra], "dec": [cache[ids[0]].dec],
        }
    )  # fmt: skip
    other = entries.copy()
    other["bibcode"] = ["javascript:alert(2)"]
    assert not page.sidebar.known.visible
    page.state.inspect()
    page.flush()
    assert page.inspector.known.text == ""
    page.shared.session.crossmatch({"<b>mine</b>": entries, "other": other}, ids=ids[:2])
    page.shared.refresh()
    page._tick()
    page.flush()
    text = page.inspector.known.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, lens &amp; arc, 0.00″" in text
    assert "&lt;b&gt;mine&lt;/b&gt;" in text
    assert 'href="https://ui.adsabs.harvard.edu/abs/2021ApJ...909...27H/abstract"' in text
    assert "javascript:alert(2)" in text
    assert text.count("href=") == 1
    assert "<script" not in text
    press(page, "ArrowRight")
    assert "nothing within 2″" in page.inspector.known.text
    page.state.set_options(ordering="score")
    page.flush()
    assert page.sidebar.known.visible
    page.sidebar.known.value = "known"
    assert page.state.page.ids == ids[:1]
    assert page.state.filters.known == "known"


def test_what_is_known_is_hidden_blind(page):
    ids = page.state.page.ids
    place = page.shared.cache[ids[0]]
    page.shared.session.crossmatch({"mine": Table({"ra": [place.ra], "dec": [place.dec]})}, ids=ids)
    page.shared.refresh()
    page.state.set_filters(labels=NOT_MINE)
    page.state.inspect()
    page.flush()
    assert page.state.is_hidden(page.state.current)
    assert page.inspector.known.text == ""
