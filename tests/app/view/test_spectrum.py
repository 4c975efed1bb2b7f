"""The spectrum in the inspector, objects compared by it, and the warning of a column that tells, without a browser."""

import numpy as np
import pytest
from astropy.table import Table
from bokeh.document import Document

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from spectrum_files import SDSS_LOG_WAVELENGTHS, simulated, write_sdss
from web_pages import wait_for


@pytest.fixture
def make_page(new_session):
    made = []

    def make(**more):
        session = new_session(computed=True, **more)
        shared = SharedState(session)
        learner = Learner(shared, background=False)
        made.append((learner, shared))
        page = Page(Document(), shared, learner, "ann")
        page.state.set_options(row_by_row=False)
        page.flush()
        return page

    yield make
    for learner, shared in made:
        learner.close()
        shared.close()


@pytest.fixture
def spectra(sky, tmp_path):
    """A folder with spectra of the first 40 objects, and their ids."""
    from astroanomaly.cache import Cache

    ids = list(Cache.open(sky[1]).ids)[:40]
    rng = np.random.default_rng(0)
    (tmp_path / "spectra").mkdir()
    for object_id in ids:
        flux, weight = simulated(10**SDSS_LOG_WAVELENGTHS, rng, redshift=0.1)
        write_sdss(tmp_path / "spectra" / f"{object_id}.fits", SDSS_LOG_WAVELENGTHS, flux, weight, redshift=0.1)
    return tmp_path / "spectra", ids


def look_at(page, object_id):
    page.state.show([object_id], "chosen")
    page.state.open(0)
    page.flush()


def test_the_inspector_shows_the_spectrum_and_where_lines_lie(make_page, spectra):
    page = make_page(spectra={"sdss": spectra[0]})
    plot = page.inspector.spectrum
    shown = page.shared.session.spectrum(spectra[1][3])
    look_at(page, spectra[1][3])
    data = plot.source.data
    np.testing.assert_allclose(data["wavelength"], shown["wavelength"].value)
    np.testing.assert_allclose(data["flux"], shown["flux"].value)
    np.testing.assert_allclose(data["high"] - data["flux"], shown["error"].value)
    assert "sdss, flux in 1e-17 erg / (Angstrom s cm2)" in plot.words.text
    assert plot.redshift.value == pytest.approx(0.1)
    assert plot.lines.data["x"] == []
    plot.mark.active = True
    lines = dict(zip(plot.lines.data["name"], plot.lines.data["x"], strict=True))
    assert lines["Hα"] == pytest.approx(6564.61 * 1.1)
    assert "C IV" not in lines
    plot.redshift.value = 2.0
    assert "C IV" in plot.lines.data["name"]
    without = next(name for name in page.shared.cache.ids if name not in spectra[1])
    look_at(page, without)
    assert len(plot.source.data["flux"]) == 0
    assert "no spectrum of this object" in plot.words.text


def test_without_spectra_there_is_no_plot(make_page):
    page = make_page()
    assert not page.inspector.spectrum
    assert page.document.get_model_by_name("spectrum") is None
    assert not page.document.get_model_by_name("similar_by").visible


def test_damaged_spectra_are_said_and_the_image_stays(make_page, spectra):
    page = make_page(spectra={"sdss": spectra[0]})
    path = page.shared.session.path / "blocks" / "sdss" / "spectra.npy"
    path.write_bytes(path.read_bytes()[:5000])
    look_at(page, spectra[1][3])
    assert "spectra.npy" in page.state.message.text
    assert len(page.inspector.pictures[0].data["image"]) == 1


def test_similar_objects_and_the_map_go_by_what_is_chosen(make_page, spectra):
    page = make_page(spectra={"sdss": spectra[0]})
    wait_for(lambda: page.learner._scaler is not None, lambda: page.learner.problem, 60)
    ways = page.document.get_model_by_name("similar_by")
    assert ways.options == ["image", "sdss", "together"]
    found = {by: page.learner.nearest(spectra[1][3], 12, by) for by in ways.options}
    for by, ids in found.items():
        assert ids == [spectra[1][3], *page.shared.session.similar(spectra[1][3], 11, by=by)["object_id"]]
    assert set(found["sdss"]) <= set(spectra[1])
    assert found["image"] != found["sdss"]
    page.learner.computed = len(page.shared.cache)
    page.learner.map_features("principal", "sdss")
    page.learner.map_job.wait(120)
    page.learner.tick(hurry=True)
    assert page.learner.map_job.error == ""
    assert (page.learner.map.by, sorted(page.learner.map.ids)) == ("sdss", sorted(spectra[1]))


def test_a_column_that_tells_is_warned_of_while_people_label(make_page):
    names = [f"SIM-{k:06d}" for k in range(1, 131)]
    page = make_page(blocks={"t": Table({"object_id": names, "x": np.arange(130.0) % 2})})
    ids = list(page.shared.cache.ids)
    odd, nominal = ([name for name in ids if int(name[-6:]) % 2 == rest] for rest in (0, 1))
    log = page.shared.labels
    log.verdict([*odd[:10], *nominal[:10]], ["anomaly"] * 10 + ["nominal"] * 10, annotator="ann")
    page.shared.refresh()
    wait_for(lambda: page.learner.tick(hurry=True) or page.learner.warning, lambda: page.learner.problem, 60)
    page.header.show_progress(page.learner)
    assert "the column x of the block t separates the labels perfectly" in page.header.progress.text
    page.state.open_view("learning")
    page.flush()
    assert "separates the labels" in page.document.get_model_by_name("probe_status").text
    log.verdict(nominal[10:14], "anomaly", annotator="ann")
    page.shared.refresh()
    wait_for(lambda: page.learner.tick(hurry=True) or not page.learner.warning, lambda: page.learner.warning, 60)
