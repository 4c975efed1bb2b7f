"""Figures are pictures of what they were given: sizes, colours, pixels, and text taken as it is."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.figures import (
    contact_sheet,
    costs,
    learning_curves,
    light_curve_figure,
    performance_curves,
    spectrum_figure,
    training_curves,
)
from astroanomaly.figures.canvas import DPI, new_figure, shorten, text_width, wrap_to_width
from astroanomaly.figures.compass import draw_compass
from astroanomaly.figures.light_curves import brightness_range
from astroanomaly.figures.spectra import flux_range
from astroanomaly.imaging.class_marks import mark_style
from astroanomaly.imaging.compass import Compass

HOSTILE = ["$x_{", "$\\frac{1}{0}$", "_hidden", "<b>&amp;", "星系 🌌", "tab\there\x00\x07", "", "x" * 3000, "100%^#~{}"]
BLUE, ORANGE = (86, 180, 233), (230, 159, 0)  # frames of nominal and anomaly (Okabe & Ito 2008)


def pixels(path):
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def has(picture, colour):
    return (picture == np.array(colour)).all(-1)


@pytest.mark.parametrize(("north", "east"), [((0, 1), (-1, 0)), ((0, -1), (1, 0)), ((0.6, 0.8), (-0.8, 0.6))])
def test_a_compass_points_where_north_and_east_are(tmp_path, north, east):
    """The lines of its layout are white in the picture that has one, and nothing else of it is touched."""
    grey = np.full((2, 100, 100, 3), 100, np.uint8)
    compass = Compass(0.2, north, east)
    contact_sheet(grey, ["a", "b"], tmp_path / "a.png", cell=100, compasses=[compass, None])
    picture = pixels(tmp_path / "a.png")
    inside = picture[24:124, 28:128]  # the first picture: margins of 20 and 24, and its frame
    assert (picture[24:124, 144:244] == 100).all()
    assert (inside[:50] == 100).all()
    bright = (inside > 200).all(axis=-1)
    lines, _ = compass.marks(0, 0, 100, 100)
    assert lines[0][0][1] - lines[0][0][0] == pytest.approx(25)  # a bar of 5 arcsec
    for x, y in lines:
        for share in (0.2, 0.4, 0.6):  # near its end the outline of a letter may lie on it
            column, row = round(x[0] + share * (x[1] - x[0])), round(100 - y[0] - share * (y[1] - y[0]))
            assert bright[row - 1 : row + 2, column - 1 : column + 2].any(), (x, y, share)


def results(rankers=("cold", "probe"), seeds=3, rounds=3):
    rng = np.random.default_rng(0)
    return [
        {
            "ranker": ranker,
            "class": "ring",
            "seed": seed,
            "round": number,
            "labelled_anomaly": 5 * number,
            "labelled_nominal": 50 * number,
            "auroc": 0.8 + 0.03 * number + 0.01 * rng.random(),
            "auprc": 0.2 + 0.1 * number + 0.05 * rng.random(),
            "given": 20 * number,
            "found": 5 * number + seed,
        }
        for ranker in rankers
        for seed in range(seeds)
        for number in range(1, rounds + 1)
    ]


def curves(n=300):
    rng = np.random.default_rng(1)
    truth = np.arange(n) < 12
    return {name: (truth, gain * truth + rng.normal(size=n)) for name, gain in (("cold", 0.5), ("probe", 3.0))}


@pytest.fixture
def images():
    return np.random.default_rng(2).integers(0, 255, (7, 32, 32, 3), dtype=np.uint8)


def test_every_pixel_of_a_stamp_is_on_the_contact_sheet(tmp_path, images):
    path = tmp_path / "sheet.png"
    contact_sheet(images, [f"{n}\nid {n}" for n in range(7)], path, title="seven", columns=4, cell=128)
    sheet = pixels(path)
    enlarged = images.repeat(4, 1).repeat(4, 2)
    first = enlarged[0]
    corner = np.argwhere(
        np.lib.stride_tricks.sliding_window_view(sheet[:, :, 0], (1, 128))[:, :, 0].__eq__(first[0, :, 0]).all(-1)
    )
    y, x = corner[0]
    assert (sheet[y : y + 128, x : x + 128] == first).all()
    step = next(s for s in range(129, 200) if (sheet[y : y + 128, x + s : x + s + 128] == enlarged[1]).all())
    assert (sheet[y : y + 128, x + 3 * step : x + 3 * step + 128] == enlarged[3]).all()
    below = next(s for s in range(129, 300) if (sheet[y + s : y + s + 128, x : x + 128] == enlarged[4]).all())
    assert sheet.shape[1] >= x + 3 * step + 128
    assert sheet.shape[0] >= y + below + 128


def test_frames_have_the_colour_of_their_label(tmp_path, images):
    dark = np.zeros_like(images)
    path = tmp_path / "sheet.png"
    captions = [""] * 7
    contact_sheet(dark, captions, path)
    assert not has(pixels(path), BLUE).any()
    assert not has(pixels(path), ORANGE).any()
    contact_sheet(dark, captions, path, labels=["nominal", *[None] * 6])
    one = has(pixels(path), BLUE).sum()
    assert not has(pixels(path), ORANGE).any()
    contact_sheet(dark, captions, path, labels=["nominal", "nominal", "anomaly", "ring", None, None, None])
    framed = pixels(path)
    assert has(framed, BLUE).sum() > 1.8 * one
    assert has(framed, ORANGE).any()
    assert has(framed, tuple(bytes.fromhex(mark_style("ring", ["ring"]).colour[1:]))).any()


def test_own_classes_have_the_colours_of_the_session_whichever_of_them_occur(tmp_path, images):
    dark, path = np.zeros_like(images), tmp_path / "sheet.png"
    classes = ["nominal", "anomaly", "ring", "arc", "merger"]
    colours = {name: tuple(bytes.fromhex(mark_style(name, classes).colour[1:])) for name in classes}
    assert len(set(colours.values())) == len(classes)
    contact_sheet(dark, [""] * 7, path, labels=["merger", "arc", *[None] * 5], classes=classes)
    seen = {name for name, colour in colours.items() if has(pixels(path), colour).sum() > 500}
    assert seen == {"arc", "merger"}


def test_every_kind_of_mark_can_be_drawn_and_seen_on_white(tmp_path):
    own = [f"class {number}" for number in range(6)]
    words = ["nominal", "anomaly", "disputed", "skipped", "flagged", *own]
    dark, path = np.zeros((len(words), 16, 16, 3), np.uint8), tmp_path / "sheet.png"
    contact_sheet(dark, [""] * len(words), path, labels=words, classes=["nominal", "anomaly", *own])
    for word in words:
        style = mark_style(word, own)
        colour = bytes.fromhex((style.on_white or style.colour)[1:])
        assert has(pixels(path), tuple(colour)).sum() > 500
        assert min(colour) < 200


def test_large_pictures_are_reduced(tmp_path):
    path = tmp_path / "sheet.png"
    big = np.full((3, 600, 400, 3), 90, np.uint8)
    contact_sheet(big, ["a", "b", "c"], path, cell=120)
    sheet = pixels(path)
    assert has(sheet, (90, 90, 90)).sum() == 3 * 120 * 80


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_input_gives_the_same_bytes_in_every_format(tmp_path, images, suffix):
    written = []
    for name in ("one", "two"):
        sheet, performance = tmp_path / f"{name}{suffix}", tmp_path / f"{name}_curves{suffix}"
        contact_sheet(images, [str(n) for n in range(7)], sheet, labels=["anomaly"] * 7)
        performance_curves(curves(), performance)
        written.append((sheet.read_bytes(), performance.read_bytes()))
    assert written[0] == written[1]
    for content in written[0]:
        assert content.startswith({".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix])
        if suffix == ".svg":
            assert ElementTree.fromstring(content).tag.endswith("svg")
    assert {path.suffix for path in tmp_path.iterdir()} == {suffix}


def test_hostile_text_is_drawn_as_it_is(tmp_path):
    dark = np.zeros((len(HOSTILE), 24, 24, 3), np.uint8)
    path = tmp_path / "sheet.png"
    contact_sheet(dark, [f"1 0.5\n{text}" for text in HOSTILE], path, title="$\\alpha_{", labels=HOSTILE)
    assert pixels(path).shape[1] < 3000
    pair = curves()["probe"]
    performance_curves(dict.fromkeys(HOSTILE, pair), tmp_path / "curves.png", title=HOSTILE[7])
    learning_curves(results(rankers=HOSTILE, seeds=1), tmp_path / "learning.png", title=HOSTILE[0])
    training_curves([{"step": k, **dict.fromkeys(HOSTILE[:4], 0.5)} for k in range(3)], tmp_path / "training.png")
    dollar, letters = tmp_path / "dollar.svg", tmp_path / "letters.svg"
    for text, target in (("$ab$", dollar), ("ab", letters)):
        contact_sheet(dark[:1], [text], target)
    assert dollar.read_bytes() != letters.read_bytes()


def test_long_captions_stay_within_their_cell(tmp_path):
    light = np.full((2, 32, 32, 3), 255, np.uint8)
    path = tmp_path / "sheet.png"
    contact_sheet(light, ["W" * 500, ""], path, columns=2)
    inked = np.flatnonzero((pixels(path) < 128).all(-1).any(0))
    assert 100 < np.ptp(inked) < 135


def test_a_position_is_never_shortened(tmp_path):
    """Columns are as wide as it needs, whatever its picture: here each row of pixels has the same text at its left."""
    light, path = np.full((3, 20, 20, 3), 255, np.uint8), tmp_path / "sheet.svg"
    places = ["18:23:39.60 -12:58:34.4", "00:00:00.00 +00:00:00.0", "12 -89:59:59.9"]
    contact_sheet(light, ["W" * 90] * 3, path, cell=20, positions=places, columns=3)
    drawn = path.read_text()
    for place in places:
        assert f"<!-- {place.replace('--', '- -')} -->" in drawn  # text as it was given to be drawn
    with_places, without = tmp_path / "a.png", tmp_path / "b.png"
    contact_sheet(light, [""] * 3, with_places, cell=20, positions=places, columns=3)
    contact_sheet(light, [""] * 3, without, cell=20, columns=3)
    widest = max(text_width(place, 8) for place in places)
    assert pixels(with_places).shape[1] >= 2 * 24 + 3 * widest
    assert pixels(without).shape[1] < pixels(with_places).shape[1]


@given(
    st.lists(st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=30), max_size=8)
)
@settings(max_examples=25)
def test_titles_are_broken_between_words(words):
    lines = wrap_to_width(" ".join(words), 200, 13, bold=True)
    assert len(lines) <= 3
    assert all(text_width(line, 13, bold=True) <= 200 for line in lines)
    if not any("…" in line for line in lines):
        assert [word for line in lines for word in line.split()] == words


@pytest.mark.parametrize("shift", np.linspace(0, 0.9, 10))
def test_every_stroke_of_the_letters_of_a_compass_is_there(shift):
    """E has three bars and N two stems, wherever its picture begins."""
    figure, size = new_figure(1.0, 1.0), 80
    figure.set_facecolor("#555555")
    draw_compass(figure, (DPI, DPI), (5 + shift, 5 + shift / 2, size, size), Compass(1.0, (0, 1), (-1, 0)), 1.0)
    figure.canvas.draw()
    grey = np.asarray(figure.canvas.buffer_rgba())[..., 0].astype(int)
    _, words = Compass(1.0, (0, 1), (-1, 0)).marks(0, 0, size, size)
    x, y = next((x, y) for x, y, word in words if word == "E")
    column, row = round(5 + shift + x), round(5 + shift / 2 + size - y)
    letter = grey[row - 5 : row + 6, column - 4 : column + 5]
    rows = letter.max(axis=1) > 120
    bars = (letter[:, 4:6].mean(axis=1) > 75).astype(int)  # right of the stem
    assert rows.sum() >= 7
    assert (np.diff(np.r_[0, bars, 0]) == 1).sum() >= 3


@given(st.text(max_size=60), st.integers(1, 40))
def test_shortened_text_keeps_both_ends(text, longest):
    short = shorten(text, longest)
    assert len(short) <= max(longest, 1 if not text else 2)
    if len(text) <= longest:
        assert short == text
    elif longest >= 3:
        before, after = short.split("…")[0], short.rsplit("…", 1)[1]
        assert text.startswith(before)
        assert text.endswith(after)


def test_one_colour_per_ranker_and_room_for_every_line(tmp_path):
    path = tmp_path / "curves.png"
    performance_curves(curves(), path, title="two rankers")
    picture = pixels(path)
    thirds = np.array_split(picture, 3, axis=1)
    for third in thirds:  # blue and vermillion in each of the three panels, nothing green
        assert has(third, (0, 114, 178)).sum() > 100
        assert has(third, (213, 94, 0)).sum() > 100
    assert not has(picture, (0, 158, 115)).any()
    assert picture.shape[1] > 1.9 * picture.shape[0]


def test_a_curve_without_anomalies_does_not_stop_the_others(tmp_path):
    truth = np.zeros(50, bool)
    path = tmp_path / "curves.png"
    performance_curves({**curves(), "none": (truth, np.arange(50.0))}, path)
    assert has(pixels(path), (0, 114, 178)).any()
    performance_curves({"none": (truth, np.arange(50.0))}, path)


def test_too_few_anomalies_have_no_curve(tmp_path):
    """One anomaly is no curve, and the legend says so; the next ranking keeps its colour."""
    path = tmp_path / "curves.svg"
    one = np.arange(60) == 35
    performance_curves({"tuned": (one, -np.arange(60.0)), **curves()}, path)
    drawn = path.read_text()
    assert drawn.count("<!-- tuned: only 1 anomaly, no curve -->") == 3
    assert "average precision" in drawn
    assert "AUPRC" not in drawn


def test_learning_curves_show_mean_and_scatter(tmp_path):
    path = tmp_path / "learning.png"
    learning_curves(results(seeds=1), path)
    single = pixels(path)
    learning_curves(results(seeds=4), path, title="scatter")
    several = pixels(path)
    pale_blue = [214, 231, 242]
    near = [(np.abs(picture.astype(int) - pale_blue).max(-1) < 4).sum() for picture in (single, several)]
    assert near[1] > near[0] + 500
    learning_curves(results(seeds=1, rounds=1)[:1], path)


def test_learning_curves_go_on_where_a_figure_is_missing(tmp_path):
    path, rows = tmp_path / "learning.png", results(rankers=["probe"])
    learning_curves([{**row, "auroc": np.nan} if row["round"] == 3 else row for row in rows], path)
    learning_curves([{**row, "auprc": np.nan} for row in rows], path)
    without = pixels(path)
    learning_curves([{**row, "auprc": np.nan} for row in rows], path, chance=0.05)
    assert pixels(path).shape == without.shape
    assert (pixels(path) != without).any()


def test_costs_stand_where_time_and_figure_say(tmp_path):
    """Blue is ten times as slow as vermillion and better; its bar is as long as its scatter."""
    path = tmp_path / "cost.png"
    rows = [
        {"ranker": ranker, "round": 2, "seconds": seconds, "auprc": auprc}
        for ranker, seconds, values in (("slow", 600, [0.8, 0.6]), ("quick", 60, [0.3, 0.3]), ("none", 0, [np.nan]))
        for auprc in values
    ]
    costs([*rows, {"ranker": "slow", "round": 1, "seconds": 600, "auprc": 0.1}], path)
    axes = pixels(path)[: -3 * 22]  # above the words
    (slow, quick) = (np.argwhere(has(axes, colour)) for colour in ((0, 114, 178), (213, 94, 0)))
    assert np.ptp(quick[:, 0]) < 15 < 50 < np.ptp(slow[:, 0])
    assert slow[:, 1].mean() > quick[:, 1].mean() + 100
    assert slow[:, 0].mean() < quick[:, 0].mean() - 50
    with pytest.raises(ConfigError, match="no results to draw"):
        costs([], path)


@pytest.mark.parametrize(
    ("seconds", "heading", "named"),
    [
        ([0.25, 0.31], "seconds of a round", {"0.25", "0.3", "0.31"}),
        ([0.3], "seconds of a round", {"0.1", "1"}),
        ([0.3, 120, 600], "minutes of a round", {"0.01", "0.1", "1", "10"}),
    ],
)
def test_times_have_a_unit_and_ticks_that_can_be_read(tmp_path, monkeypatch, seconds, heading, named):
    drawn = []
    monkeypatch.setattr("astroanomaly.figures.curves.save", lambda figure, path: drawn.append(figure))
    rows = [{"ranker": str(n), "round": 1, "seconds": time, "auprc": 0.5} for n, time in enumerate(seconds)]
    costs(rows, tmp_path / "cost.png")
    drawn[0].draw_without_rendering()
    (axes,) = drawn[0].axes
    low, high = axes.get_xlim()
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    words = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
    assert axes.get_xlabel() == heading
    assert named <= set(words)
    assert len(words) == len(set(words)) <= 9


def test_training_curves_draw_one_panel_per_kind_of_figure(tmp_path):
    path = tmp_path / "training.png"
    losses = [{"step": k, "loss_supervised": 1 / (k + 1), "loss_unlabelled": 0.1} for k in range(40)]
    training_curves(losses, path)
    one = pixels(path).shape[1]
    shares = [{**record, "confident": 0.3, "pseudo_anomaly": 0.02} for record in losses]
    training_curves(shares, path)
    two = pixels(path).shape[1]
    training_curves([{**record, "learning_rate": 0.0075} for record in shares], path)
    assert one < two < pixels(path).shape[1]
    training_curves([{"step": 1, "loss": float("nan")}, {"step": 2, "loss": 0.4}], path)


def test_figures_leave_no_global_state(tmp_path, images):
    import matplotlib

    before = dict(matplotlib.rcParams)
    contact_sheet(images, [""] * 7, tmp_path / "a.svg")
    performance_curves(curves(), tmp_path / "b.png")
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_drawn_is_said(tmp_path, images):
    with pytest.raises(ConfigError, match=r"\.png, \.svg, \.pdf"):
        contact_sheet(images, [""] * 7, tmp_path / "sheet.jpeg")
    with pytest.raises(ConfigError, match="uint8"):
        contact_sheet(images.astype(float), [""] * 7, tmp_path / "sheet.png")
    with pytest.raises(ConfigError, match="6 captions"):
        contact_sheet(images, [""] * 6, tmp_path / "sheet.png")
    with pytest.raises(ConfigError, match="draw fewer"):
        contact_sheet(np.zeros((400, 8, 8, 3), np.uint8), [""] * 400, tmp_path / "sheet.png", columns=1)
    with pytest.raises(ConfigError, match="no curves"):
        performance_curves({}, tmp_path / "curves.png")
    with pytest.raises(ConfigError, match=r"'probe'.*must match"):
        performance_curves({"probe": (np.ones(3, bool), np.ones(4))}, tmp_path / "curves.png")
    with pytest.raises(ConfigError, match="1 scores of 'probe' are not finite"):
        performance_curves({"probe": (np.array([True, False]), np.array([np.nan, 1]))}, tmp_path / "curves.png")
    with pytest.raises(ConfigError, match="lacks auprc"):
        learning_curves([{key: value for key, value in results()[0].items() if key != "auprc"}], tmp_path / "a.png")
    with pytest.raises(ConfigError, match="step"):
        training_curves([{"loss": 1.0}], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        contact_sheet(images, [""] * 7, tmp_path / "file" / "sheet.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@settings(max_examples=8, deadline=None)
@given(n=st.integers(1, 12), columns=st.integers(1, 12), height=st.integers(1, 70), width=st.integers(1, 70))
def test_any_shape_of_pictures_fits(tmp_path_factory, n, columns, height, width):
    path = tmp_path_factory.mktemp("sheet") / "sheet.png"
    contact_sheet(np.full((n, height, width, 3), 77, np.uint8), ["id"] * n, path, columns=columns, cell=64)
    factor = max(1, round(64 / max(height, width)))
    assert has(pixels(path), (77, 77, 77)).sum() >= n * height * width * factor**2


def test_a_spectrum_is_drawn(tmp_path):
    wavelength = np.linspace(4000, 9000, 500)
    flux = 1 + 4 * np.exp(-0.5 * ((wavelength - 6000) / 30) ** 2)
    flux[:50] = np.nan
    spectrum_figure(wavelength, flux, np.full(500, 0.1), tmp_path / "s.png", "flux in $x$ <erg>")
    blue = has(pixels(tmp_path / "s.png"), (0, 114, 178))
    columns = np.flatnonzero(blue.any(axis=0))
    peak = columns[np.argmin(np.argmax(blue[:, columns], axis=0))]
    share = (peak - columns[0]) / (columns[-1] - columns[0])  # from 4501 Angstrom, where the spectrum begins
    assert abs(share - (6000 - 4501) / (9000 - 4501)) < 0.03
    assert len(np.flatnonzero(blue.any(axis=1))) > 0.4 * len(blue)


def test_a_spectrum_is_drawn_with_its_lines_and_without_single_pixels():
    flux = np.ones(500)
    flux[100:104], flux[300], flux[400] = 9.0, 1000.0, np.nan
    low, high = flux_range(flux)
    assert 0 < low < 1
    assert 9 < high < 11
    assert flux_range(np.full(500, np.nan)) == (0.0, 1.0)


@pytest.mark.parametrize("is_magnitude", [False, True])
def test_light_curves_are_drawn_by_band_whatever_is_in_them(tmp_path, is_magnitude):
    rng = np.random.default_rng(0)
    time, value, error = rng.uniform(59000, 60000, 90), rng.normal(18, 0.2, 90), np.full(90, 0.1)
    value[3], error[5], error[6] = 60.0, np.nan, np.inf
    band = ["$g$", "", "r"] * 30
    path = tmp_path / "curve.svg"
    light_curve_figure(time, value, error, band, path, is_magnitude=is_magnitude, title="<b> $x$")
    text = path.read_text()
    assert "$g$ squares, r triangles" in text
    low, high = brightness_range(value, error)
    assert 17 < low < value.min()
    assert np.sort(value)[-2] < high < 21  # one that is far out does not squeeze the others
    light_curve_figure(time[:0], value[:0], error[:0], [], tmp_path / "none.png", is_magnitude=is_magnitude)
