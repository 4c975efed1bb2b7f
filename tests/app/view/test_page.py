"""The app as a person meets it: a real server process, a real Chromium, verdicts on a real disk."""

import contextlib
import io
import os
import re
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io.votable import parse_single_table
from PIL import Image

from astroanomaly import Session, ingest
from astroanomaly.app.review.preferences import save_preferences
from astroanomaly.app.view.keys import KEYS
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.demo.simulate import simulate
from astroanomaly.labels.log import LabelLog
from astroanomaly.records import CutoutBlock, Layout, Task
from astroanomaly.session.outputs.check import check_bundle
from serving import Server, stop_all
from turned_sky import WAYS, make_cache, upper_right, where
from web_pages import wait_for

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(session, *words, **more):
        started.append(Server(session, tmp_path / f"server-{len(started)}.log", *words, **more))
        return started[-1]

    yield start
    stop_all(started)


class Tab:
    """One page in the browser."""

    def __init__(self, chromium, url, size=(1280, 800)):
        self.context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=True, color_scheme="dark"
        )
        self.page = self.context.new_page()
        self.problems = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.goto(url)
        self.wait_for(lambda: len(self.column("cells", "object_id")) > 0)
        self.wait_for(lambda: self.fits() and self.is_laid_out())

    def _heard(self, message):
        if "Content Security Policy" in message.text:  # nothing that the page does is forbidden to it
            self.problems.append(message.text)

    def fits(self):
        """Whether the server knows how large the mosaic is: its cells are square, but for a pixel of the whole."""
        ends = [self.page.evaluate(
            "([r, e]) => Bokeh.documents[0].get_model_by_name('mosaic')[r][e]", [f"{axis}_range", end]
        ) for axis in "xy" for end in ("start", "end")]  # fmt: skip
        width, height = self.value("mosaic", "inner_width"), self.value("mosaic", "inner_height")
        return width and abs(width / (ends[1] - ends[0]) - height / (ends[3] - ends[2])) < 0.5 and ends

    def column(self, source, name):
        return self.page.evaluate(
            """([source, name]) => {
                if (!window.Bokeh || !Bokeh.documents.length) return []
                const model = Bokeh.documents[0].get_model_by_name(source)
                return model ? Array.from(model.get_column(name) || []) : []
            }""",
            [source, name],
        )

    def value(self, model, name):
        return self.page.evaluate("([model, name]) => Bokeh.documents[0].get_model_by_name(model)[name]", [model, name])

    def shows(self, model):
        """Whether a part of the page is there, and visible."""
        return self.page.evaluate("(name) => !!Bokeh.documents[0].get_model_by_name(name)?.visible", model)

    @property
    def cursor(self):
        left, top = self.column("cursor", "left"), self.column("cursor", "top")
        return (left[0], top[0]) if left else None

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def wait_for(self, what, seconds=300):
        wait_for(what, lambda: f"; the page says {self.text()!r}", seconds)

    def words(self):
        return self.column("cells", "word")

    def points_at(self, cell):
        """Whether the cursor is on a cell."""
        corner = self.column("cells", "left")[cell], self.column("cells", "top")[cell]
        return self.cursor and np.allclose(self.cursor, corner, atol=0.1)

    def is_laid_out(self):
        """Whether the mosaic can be seen, and clicked."""
        return self.page.evaluate(
            """() => {
                const figure = Bokeh.documents[0].get_model_by_name("mosaic")
                const {el} = Bokeh.documents[0].views_manager.find_one(figure)
                return el.dataset.laid === "" && el.offsetWidth > 0
            }"""
        )

    def click(self, cell, *held, twice=False):
        """Click a cell of the mosaic, while some keys are held."""
        self.wait_for(self.is_laid_out)
        box = self.page.locator(".bk-Figure canvas").first.bounding_box()
        ends = self.fits()
        x, y = ((self.column("cells", one)[cell] + self.column("cells", other)[cell]) / 2
                for one, other in (("left", "right"), ("bottom", "top")))  # fmt: skip
        at = (
            box["x"] + (x - ends[0]) / (ends[1] - ends[0]) * box["width"],
            box["y"] + (ends[3] - y) / (ends[3] - ends[2]) * box["height"],
        )
        for key in held:
            self.page.keyboard.down(key)
        (self.page.mouse.dblclick if twice else self.page.mouse.click)(*at)
        for key in held:
            self.page.keyboard.up(key)

    def text(self):
        """All that can be read on the page, through the shadow roots of its widgets."""
        return self.page.evaluate(
            """() => {
                const read = (e) => e.nodeType == 3 ? e.textContent
                    : e.nodeType != 1 && e.nodeType != 11 || ["STYLE", "SCRIPT"].includes(e.tagName) ? ""
                    : [...(e.shadowRoot ? e.shadowRoot.childNodes : []), ...e.childNodes].map(read).join(" ")
                return read(document.body)
            }"""
        )

    def shot(self):
        return self.page.screenshot()


@pytest.fixture
def open_tab(chromium):
    tabs = []

    def start(url, **more):
        tabs.append(Tab(chromium, url, **more))
        return tabs[-1]

    yield start
    for tab in tabs:
        problems = tab.problems
        tab.context.close()
        assert not problems


def votes(session):
    with LabelLog.open(session.labels.path) as log:
        return {i: dict(consensus.votes) for i, consensus in log.current().items() if consensus.votes}


def test_a_page_is_labelled_by_keyboard_and_undone(new_session, serve, open_tab):
    session = new_session(classes=["ring"])
    known = session.cache.ids[:2]
    session.label(known, ["nominal", "anomaly"], annotator="ben")  # there is something to learn from: rows wait

    def mine():
        return {name: said for name, said in votes(session).items() if name not in known}

    server = serve(session.path, "--annotator", "ann")
    tab = open_tab(server.url)
    ids = tab.column("cells", "object_id")
    assert 5 < len(ids) < 25  # the first row
    first = tab.cursor
    tab.press("a", "n", "1", "s", "f")
    tab.wait_for(lambda: tab.words()[:4] == ["anomaly", "nominal", "ring", "skipped"])
    assert mine() == {ids[0]: {"ann": "anomaly"}, ids[1]: {"ann": "nominal"}, ids[2]: {"ann": "ring"}}
    assert len({tuple(tab.column("cells", name)[k] for name in ("marker", "colour")) for k in range(3)}) == 3
    tab.wait_for(lambda: tab.column("cells", "flag")[4] > 0)
    where = tab.column("cells", "left"), tab.column("cells", "top")
    tab.press("r")
    tab.wait_for(lambda: len(tab.words()) > len(ids))  # another row, and nothing moves
    assert "" not in tab.words()[: len(ids)]
    assert tab.column("cells", "object_id")[: len(ids)] == ids
    assert (tab.column("cells", "left")[: len(ids)], tab.column("cells", "top")[: len(ids)]) == where
    assert len(mine()) == len(ids) - 1
    tab.press(*["u"] * 6)
    tab.wait_for(lambda: set(tab.words()) == {""} and tab.cursor == first)
    assert mine() == {}
    tab.press("PageDown")
    tab.wait_for(lambda: len(tab.words()) == 25)
    whole = tab.column("cells", "object_id")
    assert whole[: len(ids)] == ids
    tab.press("PageDown")
    tab.wait_for(lambda: tab.column("cells", "object_id")[0] not in whole)
    tab.press("PageUp")
    tab.wait_for(lambda: tab.column("cells", "object_id") == whole)


def test_clicks_select_and_open_and_label_only_when_told(new_session, serve, open_tab):
    session = new_session()
    save_preferences(session.path, "ann", {"row_by_row": False})
    tab = open_tab(serve(session.path, "--annotator", "ann").url)
    ids = tab.column("cells", "object_id")

    tab.click(3)
    tab.wait_for(lambda: tab.points_at(3))
    tab.click(6, "Shift")
    tab.wait_for(lambda: "4 selected" in tab.text())
    tab.press("n")
    tab.wait_for(lambda: tab.words()[3:7] == ["nominal"] * 4)
    tab.click(9)
    tab.click(12, "Control")
    tab.wait_for(lambda: "2 selected" in tab.text())
    tab.press("Escape")
    tab.click(15, twice=True)
    tab.wait_for(lambda: tab.shows("inspector"))
    tab.wait_for(lambda: "object 16 of 25" in tab.text())
    tab.press("Enter")
    tab.wait_for(lambda: not tab.shows("inspector") and tab.is_laid_out())
    assert votes(session) == {i: {"ann": "nominal"} for i in ids[3:7]}
    tab.page.locator(".bk-knob").first.click()  # mark by click
    tab.wait_for(lambda: "marking: a click labels as" in tab.text() and tab.is_laid_out())
    tab.click(0)
    tab.wait_for(lambda: tab.words()[0] == "anomaly")
    tab.click(0)
    tab.wait_for(lambda: tab.words()[0] == "")
    tab.page.get_by_role("button", name="Esc stop marking").click()
    tab.wait_for(lambda: not tab.shows("marking"))


def test_no_page_is_seen_before_its_layout_is_final(new_session, serve, open_tab):
    """Whatever was painted on the screen had square pixels, on the way back from a map, the inspector, a lasso."""
    session = new_session()
    tab = open_tab(serve(session.path).url)
    tab.page.evaluate(
        """() => {
            window.seen = []
            const figure = Bokeh.documents[0].get_model_by_name("mosaic")
            const el = Bokeh.documents[0].views_manager.find_one(figure).el
            const look = () => {  // after a frame was painted
                if (el.offsetWidth > 0 && getComputedStyle(el).visibility == "visible") {
                    const {x_range: x, y_range: y} = figure
                    seen.push([el.offsetWidth, el.offsetHeight, x.end - x.start, y.end - y.start])
                }
                requestAnimationFrame(() => setTimeout(look, 0))
            }
            look()
        }"""
    )

    def back():
        tab.press("Escape")
        tab.wait_for(tab.is_laid_out)

    for size in ((1280, 800), (1000, 640)):
        tab.page.get_by_role("button", name="maps", exact=True).click()
        tab.wait_for(lambda: tab.shows("maps"))
        tab.page.set_viewport_size({"width": size[0], "height": size[1]})
        back()
    tab.press("Enter")
    tab.wait_for(lambda: tab.shows("inspector"))
    tab.press("PageDown")
    tab.page.set_viewport_size({"width": 1280, "height": 800})
    tab.press("Enter")
    tab.wait_for(tab.is_laid_out)
    tab.page.get_by_role("button", name="maps", exact=True).click()
    tab.wait_for(lambda: tab.page.evaluate("() => Bokeh.documents[0].get_model_by_name('sky_near')?.data.x.length > 0"))
    tab.page.evaluate("() => { Bokeh.documents[0].get_model_by_name('sky_near').selected.indices = [0, 3, 5] }")
    tab.page.get_by_role("button", name="show the selected objects (3)").click()
    tab.wait_for(lambda: len(tab.column("cells", "object_id")) == 3 and tab.is_laid_out())
    tab.click(1)
    tab.wait_for(lambda: tab.points_at(1))
    seen = np.array(tab.page.evaluate("seen"), float)
    assert len(seen) > 3
    across, down = seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 3]
    assert np.abs(across / down - 1).max() < 0.02


def test_nothing_is_cut_off_on_a_small_screen_and_all_is_dark(new_session, serve, open_tab):
    session = new_session(name="a-search-with-a-name-that-is-rather-long-for-a-header", classes=["ring"], audit=30)
    tab = open_tab(serve(session.path).url)

    def outside():
        return tab.page.evaluate(
            """() => {
                const inside = (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]
                const all = (root) => [...root.querySelectorAll("*")].flatMap(inside)
                return all(document).filter((e) => ["BUTTON", "INPUT", "SELECT", "CANVAS"].includes(e.tagName))
                    .map((e) => [e.tagName, e.textContent || e.placeholder || "", e.getBoundingClientRect()])
                    .filter(([tag, text, r]) => r.width > 0 && (r.right > innerWidth + 1 || r.bottom > innerHeight + 1))
                    .map(([tag, text, r]) => [tag, text.slice(0, 40), r.right, r.bottom])
            }"""
        )

    def bright():
        return tab.page.evaluate(
            """() => {
                const inside = (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]
                const all = (root) => [...root.querySelectorAll("*")].flatMap(inside)
                return all(document).filter((e) => e.disabled && e.getBoundingClientRect().width > 0)
                    .map((e) => [e.textContent || e.placeholder, getComputedStyle(e).backgroundColor])
            }"""
        )

    assert outside() == []
    edge = tab.fits()  # a margin beside the cutouts, for the frame of the cursor
    assert edge[0] < 0
    assert edge[1] > max(tab.column("cells", "right"))
    height = """(name) => {
        const model = Bokeh.documents[0].get_model_by_name(name)
        return Bokeh.documents[0].views_manager.find_one(model).el.offsetHeight
    }"""
    assert tab.page.evaluate(height, "stretch_bar") < 90  # one row of controls, one line of words
    tab.press("?")
    tab.wait_for(lambda: tab.shows("keys"))
    assert outside() == []
    tab.press("?", "Enter")
    tab.wait_for(lambda: tab.shows("inspector"))
    tab.wait_for(lambda: outside() == [])
    tab.press("Enter")
    tab.page.get_by_label("show", exact=True).select_option(label="the audit set, blind")
    tab.wait_for(lambda: "the audit set, blind" in tab.value("showing", "text"))
    tab.wait_for(lambda: len(bright()) > 6)
    for what, colour in bright():
        assert max(int(part) for part in re.findall(r"\d+", colour)[:3]) < 90, what
    for view in ("learning", "annotators", "export"):
        tab.page.get_by_role("button", name=view, exact=True).click()
        tab.wait_for(lambda view=view: tab.shows({"annotators": "annotators_view"}.get(view, view)))
        assert outside() == []


def box_of(tab, name):
    """Left, top, right, bottom of a part of the page on the screen."""
    return tab.page.evaluate(
        """(name) => {
            const model = Bokeh.documents[0].get_model_by_name(name)
            const r = Bokeh.documents[0].views_manager.find_one(model).el.getBoundingClientRect()
            return [r.left, r.top, r.right, r.bottom]
        }""",
        name,
    )


def test_the_maps_are_to_scale_and_no_view_is_seen_under_the_tab_of_another(tmp_path, tiny, serve, open_tab):
    """A busy server answers late; meanwhile the page does not show pictures under the lit tab of the maps."""
    session = Session.create(tmp_path / "search", make_cache(tmp_path), settings=tiny)
    server = serve(session.path)
    tab = open_tab(server.url)
    pictures = tab.page.locator(".bk-Figure canvas").first
    assert pictures.is_visible()
    server.send(signal.SIGSTOP)
    tab.page.get_by_role("button", name="maps", exact=True).click()
    assert not pictures.is_visible()
    server.send(signal.SIGCONT)
    tab.wait_for(lambda: tab.shows("maps") and len(tab.column("sky_near", "x")) == len(WAYS))
    body = "() => Bokeh.documents[0].views_manager.find_one(Bokeh.documents[0].get_model_by_name('body')).el.dataset"
    tab.wait_for(lambda: "opening" not in tab.page.evaluate(body))
    assert "features of 6 objects; 0 have theirs so far" in tab.value("no_feature_space", "text")
    width, height, x, y = tab.page.evaluate(
        """() => {
            const {inner_width, inner_height, x_range, y_range} = Bokeh.documents[0].get_model_by_name("survey_area")
            return [inner_width, inner_height, Math.abs(x_range.end - x_range.start), y_range.end - y_range.start]
        }"""
    )
    assert width / x == pytest.approx(height / y * np.cos(np.radians(40)), rel=0.01)  # pixels a degree
    tab.press("Escape")
    tab.wait_for(lambda: pictures.is_visible() and tab.is_laid_out())
    tab.page.evaluate(
        "() => Bokeh.documents[0].get_model_by_name('error').setv({text: 'no object '.repeat(30), visible: true})"
    )
    left, top, right, bottom = box_of(tab, "error")
    for part in ("mosaic", "page_buttons", "stretch_bar"):
        other = box_of(tab, part)
        assert right <= other[0] or left >= other[2] or bottom <= other[1] or top >= other[3], part
    assert bottom <= 800
    tab.page.set_viewport_size({"width": 1000, "height": 620})
    tab.page.get_by_role("button", name="performance", exact=True).click()
    tab.wait_for(lambda: tab.shows("performance"))
    tab.page.evaluate("() => { Bokeh.documents[0].get_model_by_name('performance_curves').visible = true }")
    tab.wait_for(lambda: box_of(tab, "performance_curves")[3] - box_of(tab, "performance_curves")[1] >= 230)
    tab.wait_for(lambda: box_of(tab, "performance_curves")[3] <= box_of(tab, "performance_counts")[1])


def test_a_lasso_on_the_scatter_plot_is_seen_on_the_sky_and_as_a_page(new_session, serve, open_tab):
    session = new_session()
    shards = session.cache.shards
    snr = np.concatenate([np.asarray(shard.columns(["snr"])["snr"]) for shard in shards])
    tab = open_tab(serve(session.path).url)
    tab.page.get_by_role("button", name="maps", exact=True).click()
    tab.wait_for(lambda: tab.shows("maps"))
    tab.page.get_by_label("x", exact=True).select_option("snr")
    tab.page.get_by_label("y", exact=True).select_option("declination")

    def plotted(values):
        found = sorted(tab.column("scatter_points", "x"))
        return len(found) == len(values) and np.allclose(found, sorted(values))

    tab.wait_for(lambda: plotted(snr))
    tab.page.get_by_role("button", name="log", exact=True).first.click()
    tab.wait_for(lambda: plotted(np.log10(snr)))
    ranges = """() => {
        const {x_range, y_range, inner_width} = Bokeh.documents[0].get_model_by_name("scatter_plot")
        return [x_range.start, x_range.end, y_range.start, y_range.end, inner_width]
    }"""
    left, right, *_ = tab.page.evaluate(ranges)
    assert left < np.log10(snr.min()) < np.log10(snr.max()) < right
    x, y, width, height = tab.page.evaluate(
        """() => {
            const plot = Bokeh.documents[0].get_model_by_name("scatter_plot")
            const view = Bokeh.documents[0].views_manager.find_one(plot)
            const box = view.el.getBoundingClientRect(), {bbox} = view.frame
            return [box.x + bbox.x, box.y + bbox.y, bbox.width, bbox.height]
        }"""
    )
    corners = [(0.5, 0.02), (0.98, 0.02), (0.98, 0.98), (0.5, 0.98), (0.5, 0.02)]  # the right half
    places = zip(tab.column("scatter_points", "object_id"), tab.column("scatter_points", "x"), strict=True)
    wanted = {object_id for object_id, at in places if at > (left + right) / 2}
    tab.page.mouse.move(x + corners[0][0] * width, y + corners[0][1] * height)
    tab.page.mouse.down()
    for across, down in corners[1:]:
        tab.page.mouse.move(x + across * width, y + down * height, steps=4)
    tab.page.mouse.up()

    def on_the_sky():
        ids = tab.column("sky_near", "object_id")
        return {ids[k] for k in tab.page.evaluate(
            "() => Array.from(Bokeh.documents[0].get_model_by_name('sky_near').selected.indices)"
        )}  # fmt: skip

    tab.wait_for(lambda: wanted and on_the_sky() == wanted)
    tab.wait_for(lambda: f"({len(wanted)})" in tab.value("show_selection", "label"))
    tab.page.get_by_role("button", name="show the selected objects").click()
    tab.wait_for(lambda: set(tab.column("cells", "object_id")) <= wanted and "selected on a map" in tab.text())


def test_keys_do_nothing_while_somebody_types(new_session, serve, open_tab):
    session = new_session()
    tab = open_tab(serve(session.path).url)
    tab.page.get_by_placeholder("mag < 22").click()
    tab.page.keyboard.type("anasfu")
    tab.press("Escape")
    time.sleep(0.5)
    assert votes(session) == {}
    tab.press("a")
    tab.wait_for(lambda: tab.words()[0] == "anomaly")


def test_the_stretch_changes_pixels_on_the_screen_and_is_kept(new_session, serve, open_tab):
    session = new_session()
    digest = session.cache.digest()
    server = serve(session.path, "--annotator", "ann")
    tab = open_tab(server.url)
    time.sleep(0.5)
    before = tab.shot()
    tab.press("i")
    tab.wait_for(lambda: tab.shot() != before)
    inverted = tab.shot()
    tab.page.get_by_label("colours", exact=True).select_option(label="RGB")
    tab.wait_for(lambda: tab.shot() != inverted)
    mixed = tab.shot()
    tab.page.get_by_label("curve").select_option("linear")
    tab.wait_for(lambda: tab.shot() != mixed)
    tab.wait_for(lambda: '"linear"' in (session.path / "app.json").read_text())
    again = open_tab(server.url)
    assert again.page.get_by_label("curve").input_value() == "linear"
    assert session.cache.digest() == digest
    assert session.model_input == Session.open(session.path).model_input


def test_the_probe_learns_and_the_order_follows(new_session, sky, serve, open_tab):
    session = new_session()
    truth = {line.split(",")[0]: "nominal" not in line for line in sky[0].truth.read_text().splitlines()[1:]}
    tab = open_tab(serve(session.path, "--annotator", "ann", background=True).url)
    odd = [i for i in session.cache.ids if truth[i]]
    with LabelLog.open(session.labels.path) as log:
        log.verdict(odd[:6], "anomaly", annotator="ben")
        log.verdict([i for i in session.cache.ids if not truth[i]][:20], "nominal", annotator="ben")
    tab.wait_for(lambda: "active-search: 26 verdicts" in tab.text() and "features 1" not in tab.text())
    time.sleep(1.5)  # the last features come with a last fit
    before = tab.column("cells", "object_id")
    tab.page.get_by_text("use newer ranking").click()
    tab.wait_for(lambda: tab.column("cells", "object_id") != before)

    def in_order():
        scores = [float(text) for text in tab.column("cells", "caption")]
        return scores == sorted(scores, reverse=True)

    tab.wait_for(in_order)
    tab.press("n")
    tab.wait_for(lambda: "active-search: 27 verdicts" in tab.text())
    assert tab.column("cells", "object_id")[0] not in odd[:6]


def test_two_browsers_at_once_see_one_another_and_lose_nothing(new_session, serve, open_tab):
    session = new_session()
    server = serve(session.path)
    tabs = [open_tab(server.url), open_tab(server.url)]
    for tab, name in zip(tabs, ("ann", "ben"), strict=True):
        field = tab.page.get_by_placeholder("your name")
        field.fill(name)
        field.press("Enter")
        field.blur()
    time.sleep(0.5)
    for tab in tabs:
        tab.wait_for(lambda tab=tab: len(tab.words()) == 25)
    ids = [tab.column("cells", "object_id") for tab in tabs]
    for _ in range(10):
        tabs[0].press("a")
        tabs[1].press("n")
    said = {}
    for name, word, shown in (("ann", "anomaly", ids[0]), ("ben", "nominal", ids[1])):
        for object_id in shown[:10]:
            said.setdefault(object_id, {})[name] = word
    tabs[0].wait_for(lambda: votes(session) == said)
    divided = [i for i in ids[0] if len(said.get(i, {})) == 2]
    both = [k for k, i in enumerate(ids[0]) if i in ids[1][:10] and i not in ids[0][:10]]
    tabs[0].wait_for(lambda: all(tabs[0].words()[k] == "nominal" for k in both))
    assert set(divided) == {i for i in ids[0][:10] if i in ids[1][:10]}


def test_two_people_judge_their_lists_blind_and_one_of_them_decides(new_session, serve, open_tab):
    session = new_session()
    campaign = session.assign(["ann", "ben"], shared=3, random=3)
    server = serve(session.path, "--annotator", "eve")
    tabs = {}
    for name in campaign.lists:
        tab = tabs[name] = open_tab(server.url)
        assert len(tab.words()) > 3  # nobody has a list yet
        field = tab.page.get_by_placeholder("your name")
        field.fill(name)
        field.press("Enter")
        own = list(campaign.lists[name])
        tab.wait_for(lambda tab=tab, own=own: tab.column("cells", "object_id") == own and tab.words() == [""] * 3)
        for k, object_id in enumerate(own):
            tab.press("a" if name == "ann" or object_id != campaign.shared[0] else "n")
            tab.wait_for(lambda tab=tab, k=k: sum(map(bool, tab.words())) == k + 1)
        tab.wait_for(lambda tab=tab: "your list is done" in tab.text())
    tab = tabs["ben"]
    tab.page.get_by_text("annotators", exact=True).click()
    tab.wait_for(lambda: "ann: anomaly, ben: nominal" in tab.text())
    tab.page.get_by_role("button", name="decide these").click()
    tab.wait_for(lambda: tab.column("cells", "caption") == ["1 anomaly · 1 nominal"])
    tab.press("a")
    tab.wait_for(lambda: tab.words() == ["anomaly"])
    one = session.labels.current()[campaign.shared[0]]
    assert (one.label, one.decided_by, dict(one.votes)) == ("anomaly", "ben", {"ann": "anomaly", "ben": "nominal"})
    tab.press("u")
    tab.wait_for(lambda: session.labels.current()[campaign.shared[0]].label == "disputed")


def test_a_second_server_on_the_same_session_works(new_session, serve, open_tab):
    session = new_session()
    with LabelLog.open(session.labels.path) as log:
        log.verdict(["x-not-in-this-cache"], "anomaly", annotator="old")
    one, two = (open_tab(serve(session.path, "--annotator", name).url) for name in ("ann", "ben"))
    one.press("a")
    one.wait_for(lambda: one.words()[0] == "anomaly")
    two.press("n", "n")
    two.wait_for(lambda: two.words()[:2] == ["nominal", "nominal"])
    assert sum(len(said) for said in votes(session).values()) == 4


def test_a_catalogue_is_downloaded_and_read(new_session, serve, open_tab, tmp_path):
    session = new_session()
    tab = open_tab(serve(session.path).url)
    ids = tab.column("cells", "object_id")
    tab.press("a", "n", "a")
    tab.wait_for(lambda: tab.words()[2] == "anomaly")
    tab.page.get_by_role("button", name="export").click()
    with tab.page.expect_download() as waiting:
        tab.page.get_by_role("button", name="download").click()
    waiting.value.save_as(tmp_path / "out.vot")
    table = parse_single_table(tmp_path / "out.vot").to_table()
    assert sorted(table["object_id"]) == sorted([ids[0], ids[2]])
    assert table["ra"].unit == "deg"
    cutout = session.cache[ids[0]]
    row = table[list(table["object_id"]).index(ids[0])]
    assert (row["ra"], row["dec"], row["label"]) == (cutout.ra, cutout.dec, "anomaly")
    tab.page.get_by_label("format").select_option(label="bundle of table, report, cutouts (zip)")
    with tab.page.expect_download() as waiting:
        tab.page.get_by_role("button", name="download").click()
    assert waiting.value.suggested_filename == "search-anomalies-bundle.zip"
    waiting.value.save_as(tmp_path / "out.zip")
    found = check_bundle(tmp_path / "out.zip")
    assert (found.problems, found.objects) == ((), 2)


@pytest.fixture
def hostile_session(tmp_path, tiny):
    rng = np.random.default_rng(0)
    ids = [HOSTILE, "$$\\sqrt{x}$$", "a/../../b", *(f"o{k}" for k in range(9))]
    images = rng.normal(1, 0.2, (len(ids), 2, 32, 32)).astype(np.float32)
    bands = ("<b>g</b>", "<script>alert(2)</script>")
    columns = {
        "<i>mag</i>": rng.normal(20, 1, len(ids)),
        "remark": np.array([f"<u onclick=alert(3)>{k}</u>" for k in range(len(ids))]),
    }
    layout = Layout(bands, 32, 32)
    create_cache(tmp_path / "c", layout, [Task("t")], {"source": "test"})
    with ShardWriter(tmp_path / "c", layout) as writer:
        writer.begin(0, "t")
        writer.add(
            CutoutBlock(
                ids, images, bands, ra=rng.uniform(0, 1, len(ids)), dec=rng.uniform(0, 1, len(ids)), columns=columns
            )
        )
        writer.commit()
    return Session.create(tmp_path / "s", tmp_path / "c", settings=tiny, classes=["<b>ring</b>"])


def test_text_from_data_is_text(hostile_session, serve, open_tab):
    with LabelLog.open(hostile_session.labels.path) as log:
        log.note([HOSTILE], "<img src=y onerror=alert(4)>", annotator="<svg onload=alert(5)>")
        log.verdict([HOSTILE], "<b>ring</b>", annotator="<svg onload=alert(5)>")
    save_preferences(hostile_session.path, "ann", {"row_by_row": False})  # all are on the page, ranked or not
    tab = open_tab(serve(hostile_session.path, "--annotator", "ann").url)
    tab.page.get_by_label("show only").select_option("everything")
    tab.wait_for(lambda: HOSTILE in tab.column("cells", "object_id"))
    place = tab.column("cells", "object_id").index(HOSTILE)
    tab.press("Home", *["ArrowRight"] * place, "Enter")
    for word in (
        "<img src=y onerror=alert(4)>",
        "<svg onload=alert(5)>",
        "<i>mag</i>",
        "<u onclick=alert(3)>",
        "<b>ring</b>",
    ):
        tab.wait_for(lambda word=word: word in tab.text())
    for view in ("learning", "performance", "maps", "annotators", "export"):
        tab.page.get_by_role("button", name=view, exact=True).click()
        time.sleep(0.3)
    found = tab.page.evaluate(
        """() => {
            const inside = (e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]
            const all = (root) => [...root.querySelectorAll("*")].flatMap(inside)
            const bad = (e) => ["onerror", "onload", "onclick"].some((n) => e.hasAttribute(n))
            return all(document).filter((e) => bad(e) || e.tagName == "MJX-CONTAINER").length
        }"""
    )
    assert found == 0


def test_the_name_is_remembered_by_the_browser(new_session, serve, open_tab):
    session = new_session()
    server = serve(session.path, "--annotator", "owner")
    tab = open_tab(server.url)
    field = tab.page.locator("input[placeholder='your name']")
    field.fill("ben")
    field.press("Enter")
    tab.wait_for(lambda: "ben" in tab.page.evaluate("decodeURIComponent(document.cookie)"))
    tab.press("a")  # Enter has left the field: the key is a verdict
    tab.wait_for(lambda: tab.words()[0] == "anomaly")
    server.stop(signal.SIGKILL)
    again = serve(session.path, "--annotator", "owner", port=server.port)
    tab.wait_for(lambda: tab.page.locator("#aa-lost").count() == 0 and len(tab.column("cells", "object_id")) > 0)
    tab.press("n")
    tab.wait_for(lambda: len(votes(session)) == 2)
    assert {who for said in votes(session).values() for who in said} == {"ben"}
    other = open_tab(again.url)  # another browser knows nothing of ben
    other.press("n")
    tab.wait_for(lambda: {"owner": "nominal"} in votes(session).values())


def test_keys_after_a_list_or_held_down(new_session, serve, open_tab):
    session = new_session()
    tab = open_tab(serve(session.path).url)
    order = tab.page.locator("select", has_text="near the median score")
    order.focus()
    order.select_option(label="near the median score")
    tab.wait_for(lambda: len(votes(session)) == 0)
    tab.press("n")
    tab.wait_for(lambda: len(votes(session)) == 1)
    assert order.evaluate("e => e.selectedOptions[0].text") == "near the median score"
    for _ in range(8):
        held = "{key: 'n', repeat: true, bubbles: true, composed: true}"
        tab.page.evaluate(f"window.dispatchEvent(new KeyboardEvent('keydown', {held}))")
    time.sleep(0.7)
    assert len(votes(session)) == 1


def test_a_killed_server_has_lost_nothing_and_the_page_comes_back(new_session, serve, open_tab):
    session = new_session()
    server = serve(session.path, "--annotator", "ann")
    tab = open_tab(server.url)
    ids = tab.column("cells", "object_id")
    tab.press("a", "n")
    tab.wait_for(lambda: tab.words()[:2] == ["anomaly", "nominal"])
    server.stop(signal.SIGKILL)
    assert votes(session) == {ids[0]: {"ann": "anomaly"}, ids[1]: {"ann": "nominal"}}
    tab.wait_for(lambda: tab.page.locator("#aa-lost").count() == 1)
    serve(session.path, "--annotator", "ann", port=server.port)
    tab.wait_for(lambda: tab.page.locator("#aa-lost").count() == 0 and len(tab.column("cells", "object_id")) > 0)
    tab.press("a")
    tab.wait_for(lambda: len(votes(session)) == 3)


def children_of(pid):
    """Process ids whose parent is this one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are listed in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_work_in_the_background_ends_with_the_server(new_session, serve, how):
    server = serve(new_session().path, background=True)
    end = time.monotonic() + 300
    while not (working := children_of(server.process.pid)) and time.monotonic() < end:
        time.sleep(0.02)
    assert working
    server.stop(how)
    end = time.monotonic() + 20
    while (left := [pid for pid in working if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == []


def test_a_locked_label_file_keeps_one_page_waiting_and_no_other(new_session, serve, open_tab):
    session = new_session()
    server = serve(session.path, "--annotator", "ann")
    tab, other_tab = open_tab(server.url), open_tab(server.url)
    ids = tab.column("cells", "object_id")
    with contextlib.closing(sqlite3.connect(session.labels.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        tab.press("a", "n", "ArrowRight")
        tab.wait_for(lambda: "waiting for another process" in tab.text())
        for cell in (1, 2):
            other_tab.press("ArrowRight")
            other_tab.wait_for(lambda cell=cell: other_tab.points_at(cell))
        assert set(tab.words()) == {""}
        assert "waiting for another process" in tab.text()
        other.execute("ROLLBACK")
        tab.wait_for(lambda: tab.words()[:2] == ["anomaly", "nominal"])  # what was pressed meanwhile, in its order
        tab.wait_for(lambda: tab.points_at(3))
        assert votes(session) == {ids[0]: {"ann": "anomaly"}, ids[1]: {"ann": "nominal"}}
        other.execute("BEGIN IMMEDIATE")
        tab.press("a")
        tab.wait_for(lambda: "NOT saved" in tab.text())
        assert tab.words()[3] == ""
        other.execute("ROLLBACK")
    tab.press("a")
    tab.wait_for(lambda: tab.words()[3] == "anomaly")


def test_the_inspector_shows_where_the_object_is(new_session, serve, open_tab):
    session = new_session()
    tab = open_tab(serve(session.path).url)
    object_id = tab.column("cells", "object_id")[0]
    tab.press("Enter")
    cutout = session.cache[object_id]
    tab.wait_for(lambda: f"{cutout.ra:.6f} {cutout.dec:+.6f}" in tab.text())
    tab.wait_for(lambda: cutout.coord.to_string("hmsdms", sep=":", precision=2, pad=True).split()[0] in tab.text())
    tab.wait_for(lambda: "mag_g" in tab.text())
    links = {link.inner_text(): link.get_attribute("href") for link in tab.page.get_by_role("link").all()}
    assert set(links) >= {"Aladin Lite", "ESASky", "SIMBAD", "NED", "Legacy Surveys"}
    assert all(f"{cutout.ra:.6f}" in address for address in links.values())
    figure = tab.page.locator(".bk-Figure").filter(visible=True).first.bounding_box()
    tab.page.mouse.move(figure["x"] + figure["width"] / 4, figure["y"] + figure["height"] / 4)
    tab.wait_for(lambda: tab.value("readout", "tags").__len__() == 1)
    ra, dec = map(float, tab.value("readout", "tags")[0].split())
    side = cutout.data.shape[-1]
    expected = cutout.wcs.pixel_to_world(side / 4 - 0.5, 3 * side / 4 - 0.5).icrs  # a quarter from left and top
    assert expected.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.3
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.page.get_by_role("button", name="copy", exact=True).click()
    tab.wait_for(lambda: tab.page.evaluate("() => navigator.clipboard.readText()") == tab.value("readout", "tags")[0])
    field = tab.page.get_by_placeholder("write a note")
    field.fill("a ring?")
    field.press("Enter")
    tab.wait_for(lambda: "a ring?" in tab.text())
    with LabelLog.open(session.labels.path) as log:
        assert log.current()[object_id].notes == ("a ring?",)
    field.blur()
    tab.press("ArrowRight")
    tab.wait_for(lambda: tab.column("cells", "object_id")[1] in tab.text())


def test_north_is_up_on_the_screen(tmp_path, tiny, serve, open_tab):
    session = Session.create(tmp_path / "s", make_cache(tmp_path), settings=tiny)
    tab = open_tab(serve(session.path).url)
    names = tab.column("cells", "object_id")
    assert sorted(names) == sorted(WAYS)

    def cells():
        """Pictures of the mosaic as they are on the screen, without their edges, by object."""
        box, ends = tab.page.locator(".bk-Figure canvas").first.bounding_box(), tab.fits()
        screen = np.asarray(Image.open(io.BytesIO(tab.shot())).convert("RGB"))
        columns = [np.round(tab.column("cells", side)) for side in ("left", "right", "bottom", "top")]
        for name, left, right, bottom, top in zip(names, *columns, strict=True):
            x0, x1 = (box["x"] + (x - ends[0]) / (ends[1] - ends[0]) * box["width"] for x in (left, right))
            y0, y1 = (box["y"] + (ends[3] - y) / (ends[3] - ends[2]) * box["height"] for y in (top, bottom))
            yield name, edgeless(screen[round(y0) : round(y1), round(x0) : round(x1)])

    def edgeless(picture):  # the frame of the cursor is white
        picture, edge = picture.copy(), round(0.03 * len(picture))
        picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:] = 0, 0, 0, 0
        return picture

    tab.wait_for(lambda: all(upper_right(picture) for _, picture in cells()))
    tab.press("o")
    tab.wait_for(lambda: [name for name, picture in cells() if upper_right(picture)] == ["plain"])
    assert where(dict(cells())["half"]) == pytest.approx((0.35, 0.9), abs=0.011)
    tab.press("Home", *["ArrowRight"] * names.index("slanting"), "Enter")

    def figure():
        """Where the large image of the inspector is; the colour bar is a figure too."""
        boxes = [one.bounding_box() for one in tab.page.locator(".bk-Figure").filter(visible=True).all()]
        return max((box for box in boxes if box), key=lambda box: box["height"], default=None)

    def inspected():
        box = figure() or {"x": 0, "y": 0, "width": 1, "height": 1}  # while it is laid out
        corners = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
        picture = np.array(Image.open(io.BytesIO(tab.shot())).convert("RGB").crop([round(end) for end in corners]))
        picture[len(picture) * 3 // 4 :] = 0  # words of the scale bar and the compass
        return picture

    def is_square():  # the mosaic is not
        box = figure()
        return box and abs(box["width"] - box["height"]) < 2

    tab.wait_for(lambda: is_square() and inspected().max() > 200)
    assert not upper_right(inspected())
    tab.press("o")
    tab.wait_for(lambda: upper_right(inspected()))
    box = figure()
    tab.page.mouse.move(box["x"] + 0.65 * box["width"], box["y"] + 0.1 * box["height"])
    tab.wait_for(lambda: len(tab.value("readout", "tags")) == 1)
    ra, dec = map(float, tab.value("readout", "tags")[0].split())
    wcs = session.cache["slanting"].wcs
    column, row = (round(float(value)) for value in wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg")))
    assert session.cache["slanting"].data[0, row, column] == 1000
    tab.wait_for(lambda: f"x {column} y {row} " in tab.text())


def test_the_inspector_follows_the_size_of_the_window(new_session, serve, open_tab):
    tab = open_tab(serve(new_session().path).url)
    tab.press("Enter")
    tab.wait_for(lambda: tab.page.locator(".bk-Figure").filter(visible=True).count() > 1)
    time.sleep(0.5)
    large = tab.value("colours", "width")
    tab.page.set_viewport_size({"width": 1000, "height": 560})
    tab.wait_for(lambda: tab.value("colours", "width") < large)
    small = tab.value("colours", "width")
    tab.page.get_by_role("button", name="more", exact=True).click()
    tab.wait_for(lambda: tab.value("colours", "width") < small)

    def ends_in_the_window():  # the page is laid out some time after the figure has got its width
        box = tab.page.locator(".bk-Figure").filter(visible=True).first.bounding_box()
        return box["y"] + box["height"] <= 560

    tab.wait_for(ends_in_the_window)
    tab.press("Enter")
    tab.page.set_viewport_size({"width": 1280, "height": 800})
    tab.wait_for(tab.fits)


def test_the_keys_are_shown_as_they_are(new_session, serve, open_tab):
    tab = open_tab(serve(new_session().path).url)
    tab.press("?")
    tab.wait_for(lambda: "undo, without limit" in tab.text())
    text = tab.text()
    assert all(meaning in text for _, _, meaning in KEYS)


def test_a_tab_that_is_clicked_while_the_server_answers_is_opened(new_session, serve, open_tab):
    tab = open_tab(serve(new_session(computed=True).path).url)
    tab.press("Enter", "Escape")
    lit = tab.page.evaluate(
        """() => {
            const document = Bokeh.documents[0], bus = document.get_model_by_name("bus")
            const views = document.get_model_by_name("views")
            views.active = 1
            views.active = 3  // clicked before this answer came
            bus.setv({opened: [bus.asked[0] - 1, "learning"]}, {sync: false})
            return views.labels[views.active]
        }"""
    )
    assert lit == "maps"
    tab.page.get_by_role("button", name="draw the feature map").wait_for()
    assert tab.page.evaluate("Bokeh.documents[0].get_model_by_name('views').active") == 3
    tab.press("Escape")
    tab.wait_for(lambda: tab.page.evaluate("Bokeh.documents[0].get_model_by_name('views').active") == 0)
    tab.wait_for(tab.is_laid_out)


def test_what_the_documentation_shows(sky, tmp_path, new_session, serve, open_tab):
    """Take the pictures of docs/app.md; ASTROANOMALY_PICTURES names the folder to keep them in, with real weights."""
    keep = os.environ.get("ASTROANOMALY_PICTURES")
    folder = Path(keep) if keep else tmp_path
    made = sky[0]
    if keep:
        made = simulate(tmp_path / "sky", n_objects=900, anomaly_rate=0.04, seed=3)
        cache = tmp_path / "cache"
        ingest("fits", made.mosaics, out=cache, catalog=made.catalog, size="64")
        settings = {"input": {"size": 64}, "train": {"iterations": 60}}
        session = Session.create(tmp_path / "search", cache, settings=settings, classes=["ring"])
    else:
        session = new_session(computed=True, classes=["ring"])

    def settle(seconds):
        time.sleep(seconds if keep else min(seconds, 0.5))

    truth = {line.split(",")[0]: line.split(",")[1] for line in made.truth.read_text().splitlines()[1:]}
    odd, plain = ([i for i in session.cache.ids if (truth[i] != "nominal") == yes] for yes in (True, False))
    with LabelLog.open(session.labels.path) as log:
        log.verdict(odd[: len(odd) // 2], "anomaly", annotator="ben")
        known = np.random.default_rng(0).permutation(plain)[:60]
        log.verdict([str(i) for i in known], "nominal", annotator="ben")
    tab = open_tab(serve(session.path, "--annotator", "ann", background=True).url)
    words = f"active-search: {len(odd) // 2 + 60} verdicts"
    patience = 600 if keep else 300
    tab.wait_for(lambda: words in tab.text() and "features" not in tab.text().split(words)[0][-60:], patience)
    settle(3)
    if (newer := tab.page.get_by_text("use newer ranking")).is_visible():
        newer.click()
    settle(0.5)
    for object_id in tab.column("cells", "object_id")[:9]:
        tab.press("a" if truth[object_id] != "nominal" else "n")
        if keep:
            settle(0.8)  # as somebody who looks
    tab.press("f", "s", "PageDown")  # the rest of the page, without verdicts
    settle(2)

    def take(name):
        picture = folder / f"app-{name}.jpg"
        tab.page.screenshot(path=picture, type="jpeg", quality=82)
        pixels = np.asarray(Image.open(picture).convert("L"), float)
        assert pixels.shape == (800, 1280)
        assert pixels.std() > 10  # something is on it

    take("candidates")
    tab.press("ArrowRight", "Enter")
    settle(1.5)
    take("inspector")
    tab.press("Escape")
    tab.page.get_by_role("button", name="learning").click()
    if keep:
        tab.page.get_by_label("ranker", exact=True).select_option("tuned")  # which has curves
        tab.page.get_by_role("button", name="train and score").click()
        tab.wait_for(lambda: "training tuned: done" in tab.text(), patience)
    settle(0.5)
    take("learning")
    tab.page.get_by_role("button", name="maps").click()
    tab.page.get_by_role("button", name="draw the feature map").click()
    tab.wait_for(lambda: "on the feature map" in tab.text(), patience)
    settle(1.5)
    take("maps")
    tab.page.get_by_role("button", name="performance").click()
    tab.wait_for(lambda: "suspect labels" in tab.text() and "comparing" not in tab.text(), patience)
    settle(1)
    take("performance")
