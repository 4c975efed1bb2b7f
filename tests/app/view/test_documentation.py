"""Pictures of the documentation: every plot that is drawn, and the app on a real field of the sky.

ASTROANOMALY_PICTURES names the folder to keep them in, as they are in ``docs/images``.
"""

import itertools
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clipped_stats
from astropy.table import Table, vstack
from astropy.wcs import WCS
from PIL import Image
from scipy import ndimage

from astroanomaly import Session, ingest
from astroanomaly.cli import main
from astroanomaly.demo.simulate import simulate
from serving import Server, stop_all

KEEP = os.environ.get("ASTROANOMALY_PICTURES")


@pytest.fixture
def keep(tmp_path):
    """Keep a picture as JPEG of at most 1280 pixels across; something has to be on it."""

    def kept(made, name):
        picture = Image.open(made).convert("RGB")
        assert np.asarray(picture.convert("L"), float).std() > 5, name
        picture.thumbnail((1280, 4000))
        picture.save(Path(KEEP or tmp_path) / f"{name}.jpg", quality=80, optimize=True)

    return kept


def test_every_plot_of_the_documentation(chromium, tmp_path, keep):
    made = simulate(tmp_path / "sky", n_objects=600 if KEEP else 120, anomaly_rate=0.1, seed=3)
    catalog = {"catalog": made.catalog, "size": "64"}
    words = ["ingest", "fits", *map(str, made.mosaics), "--catalog", str(made.catalog), "--size", "64"]
    assert main([*words, "--preview", "10", "--preview-to", str(tmp_path / "preview.png")]) == 0
    cache = ingest("fits", made.mosaics, out=tmp_path / "cache", **catalog)
    truth = Table.read(made.truth)
    truth["kind"] = np.where(truth["class"] == "nominal", "nominal", "anomaly")
    truth.write(tmp_path / "truth.csv")
    out = tmp_path / "results"
    words = ["benchmark", str(tmp_path / "cache"), "--truth", str(tmp_path / "truth.csv"), "--column", "kind"]
    words += ["--anomaly", "anomaly", "--initial", "3", "6", "--seeds", "2", "--cycles", "3", "--out", str(out)]
    words += ["--set", "input.size=64", "--ranker", "probe", "--ranker", "plain-probe"]
    assert main(words) == 0
    settings = {"input": {"size": 64}, "tune": {"iterations": 60 if KEEP else 2, "stop": 0.001}}
    session = Session.create(tmp_path / "search", cache, settings=settings)
    kinds = {row["object_id"]: row["kind"] for row in truth}
    odd, plain = ([i for i in cache.ids if kinds[i] == kind] for kind in ("anomaly", "nominal"))
    session.label(odd[: len(odd) // 2] + plain[:40], ["anomaly"] * (len(odd) // 2) + ["nominal"] * len(plain[:40]))
    session.train("tuned")
    session.contact_sheet(session.candidates(20), tmp_path / "sheet.png")
    injected = session.inject(
        "lens", tmp_path / "lenses", psf={"g": 2.8, "r": 2.5, "i": 2.4}, n=600 if KEEP else 20, magnitude=(18, 21),
        size=(6, 12), seed=1,
    )  # fmt: skip
    shutil.copy(injected.folder / "efficiency.png", tmp_path)
    session.write_report(tmp_path / "report.html", top=12)
    page = chromium.new_page(viewport={"width": 1000, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    page.screenshot(path=tmp_path / "report.png")
    page.close()
    drawn = {
        path.stem: path for path in (*out.rglob("*.png"), *session.path.rglob("training.png"), *tmp_path.glob("*.png"))
    }
    for name in ("preview", "sheet", "training", "report", "efficiency", *(path.stem for path in out.rglob("*.png"))):
        keep(drawn[name], f"gallery-{name}")
    assert {"learning", "cost"} <= set(drawn)


@pytest.mark.skipif("ASTROANOMALY_DATA" not in os.environ, reason="needs the folder of real images, ASTROANOMALY_DATA")
def test_the_documentation_of_a_real_field(chromium, tmp_path, keep):
    given = Path(os.environ["ASTROANOMALY_DATA"], "fits", "sdss-gri")
    files = [
        Path(shutil.copy(given / f"reprojected_sdss_{b}.fits.bz2", tmp_path / f"field_{b}.fits.bz2")) for b in "gri"
    ]
    light = sum(fits.getdata(path) for path in files)
    smooth = ndimage.gaussian_filter(light, 1.5)
    _, sky, noise = sigma_clipped_stats(smooth)
    spots, number = ndimage.label(smooth > sky + 5 * noise)
    every = np.arange(1, number + 1)
    area = ndimage.sum_labels(spots > 0, spots, every)
    y, x = np.transpose(ndimage.center_of_mass(smooth, spots, every))
    inside = (area >= 12) & (x > 20) & (x < light.shape[1] - 20) & (y > 20) & (y < light.shape[0] - 20)
    with np.errstate(all="ignore"):
        ra, dec = WCS(fits.getheader(files[1])).pixel_to_world_values(x[inside], y[inside])
    table = Table({"object_id": [f"F{n:03d}" for n in range(len(ra))], "ra": ra, "dec": dec})
    cache = ingest("fits", files, out=tmp_path / "cache", catalog=table, size="40")
    session = Session.create(tmp_path / "search", cache)
    session.train()
    galaxies = {tuple(p) for p in ((313.108, -5.771), (313.123, -5.744), (313.148, -5.711))}
    server = Server(session.path, tmp_path / "log", "--annotator", "ann", background=bool(KEEP))
    try:
        page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(server.url)
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('cells')?.data.object_id.length > 0")
        time.sleep(3 if KEEP else 0.5)
        first = page.evaluate("[...Bokeh.documents[0].get_model_by_name('cells').data.object_id].slice(0, 8)")
        at = {row["object_id"]: (round(row["ra"], 3), round(row["dec"], 3)) for row in table}
        assert sum(at[name] in galaxies for name in first) == 3  # they come first, without any label
        for name in first:
            page.keyboard.press("a" if at[name] in galaxies else "n")
            time.sleep(1 if KEEP else 0.3)
        time.sleep(2 if KEEP else 0.5)
        page.screenshot(path=tmp_path / "app.png")
        page.close()
    finally:
        stop_all([server])
    keep(tmp_path / "app.png", "field-app")


def test_the_page_with_grades(chromium, sky, tmp_path, new_session, keep):
    """One key is one grade: the letter stands in the mark, and what it means beside the counts."""
    made, grades = sky[0], {"A": "certain", "B": "probable", "C": "possible", "X": "not a candidate"}
    if KEEP:
        made = simulate(tmp_path / "sky", n_objects=200, anomaly_rate=0.15, seed=3)
        cache = ingest("fits", made.mosaics, out=tmp_path / "cache", catalog=made.catalog, size="64")
        session = Session.create(tmp_path / "search", cache, settings={"input": {"size": 64}}, grades=grades)
        session.train("cold")
    else:
        session = new_session(computed=True, grades=grades)
    truth = {row["object_id"]: row["class"] for row in Table.read(made.truth)}
    odd = sorted(i for i in session.cache.ids if truth[i] != "nominal")
    session.label(odd[:4], "A", annotator="ben")
    session.label(sorted(set(session.cache.ids) - set(odd))[:8], "X", annotator="ben")
    server = Server(session.path, tmp_path / "log", "--annotator", "ann", background=bool(KEEP))
    try:
        page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(server.url)
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('cells')?.data.object_id.length > 0")
        time.sleep(6 if KEEP else 0.5)
        cells = "Bokeh.documents[0].get_model_by_name('cells').data"
        letters = itertools.cycle("abc")
        for number in range(12):
            page.wait_for_function(f"{cells}.object_id[{number}]")  # the next row comes when one has its verdicts
            name = page.evaluate(f"{cells}.object_id[{number}]")
            page.keyboard.press(next(letters) if truth[name] != "nominal" else "x")
            page.wait_for_function(f"{cells}.grade[{number}] != ''")
        shown = page.evaluate(f"[...{cells}.grade].slice(0, 12)")
        assert set(shown) <= {"A", "B", "C", "X"}
        time.sleep(1.5)
        assert page.get_by_text("B: probable").first.is_visible()
        page.screenshot(path=tmp_path / "app.png")
        page.close()
    finally:
        stop_all([server])
    keep(tmp_path / "app.png", "app-grades")
    assert len(session.showings()) >= 12


def test_the_inspector_with_a_light_curve(chromium, sky, tmp_path, new_session, keep):
    """A variable source, in the browser: one click on *folded* and it lies over its phase."""
    made = sky[0]
    if KEEP:
        made = simulate(tmp_path / "sky", n_objects=200, anomaly_rate=0.15, seed=3)
    names = [str(row["object_id"]) for row in Table.read(made.truth)]
    rng, period = np.random.default_rng(4), 5.366
    parts = []
    for name in names:
        days, band = np.sort(rng.uniform(60_000, 60_420, 90)), rng.choice(["g", "r"], 90)
        phase = days / period % 1
        swing = 0.7 * (np.minimum(phase / 0.25, (1 - phase) / 0.75) - 0.5)  # a quick rise and a slow fall, as Cepheids
        magnitude = 18.2 - swing + 0.4 * (band == "g") + rng.normal(0, 0.03, 90)
        parts.append(
            Table({"object_id": [name] * 90, "mjd": days, "mag": magnitude, "magerr": [0.03] * 90, "band": band})
        )
    vstack(parts).write(tmp_path / "curves.parquet")
    curves = {"ztf": tmp_path / "curves.parquet"}
    if KEEP:
        cache = ingest("fits", made.mosaics, out=tmp_path / "cache", catalog=made.catalog, size="64")
        session = Session.create(tmp_path / "search", cache, settings={"input": {"size": 64}}, light_curves=curves)
        session.train("cold")
    else:
        session = new_session(computed=True, light_curves=curves)
    assert len(session.light_curve(names[0])) == 90
    server = Server(session.path, tmp_path / "log", "--annotator", "ann", background=False)
    try:
        page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.goto(server.url)
        page.wait_for_function("Bokeh.documents[0]?.get_model_by_name('cells')?.data.object_id.length > 0")
        page.keyboard.press("Enter")
        page.get_by_text("90 measurements").wait_for()
        page.get_by_role("button", name="folded").click()
        label = "Bokeh.documents[0].get_model_by_name('light_curve').below[0].axis_label"
        page.wait_for_function(f"{label}?.startsWith('phase, period 5.3')")
        view = "Bokeh.documents[0].views_manager.find_one(Bokeh.documents[0].get_model_by_name('light_curve'))"
        page.wait_for_function(
            f"{view}.frame.y_scale.compute(18) < {view}.frame.y_scale.compute(19)"
        )  # brighter upwards
        time.sleep(2 if KEEP else 0.5)
        page.screenshot(path=tmp_path / "app.png")
        page.close()
    finally:
        stop_all([server])
    keep(tmp_path / "app.png", "app-light-curve")
