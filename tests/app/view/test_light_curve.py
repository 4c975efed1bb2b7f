"""The light curve in the inspector, without a browser."""

import numpy as np
import pytest
from astropy.table import Table
from bokeh.document import Document

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.page import Page
from astroanomaly.app.view.panels.light_curve import LightCurvePlot
from astroanomaly.cache import Cache


def test_the_inspector_shows_the_light_curve_and_folds_it(new_session, sky, tmp_path):
    ids = list(Cache.open(sky[1]).ids)
    rng = np.random.default_rng(0)
    time = np.sort(rng.uniform(59000, 59100, 80))
    magnitude = 18 + 0.3 * np.sin(2 * np.pi * time / 3.7) + rng.normal(0, 0.02, 80)
    parts = {"object_id": np.repeat(ids[:20], 80), "mjd": np.tile(time, 20), "mag": np.tile(magnitude, 20),
             "mag_err": np.full(1600, 0.02), "band": np.tile(["g", "<r>"], 800)}  # fmt: skip
    Table(parts).write(tmp_path / "c.ecsv")
    session = new_session(light_curves={"ztf": tmp_path / "c.ecsv"})
    shared = SharedState(session)
    learner = Learner(shared, background=False)
    try:
        page = Page(Document(), shared, learner, "ann")
        page.state.set_options(row_by_row=False)

        def look_at(object_id):
            page.state.show([object_id], "chosen")
            page.state.open(0)
            page.flush()

        look_at(ids[3])
        plot = page.inspector.light_curve
        np.testing.assert_allclose(plot.source.data["x"], time)
        np.testing.assert_allclose(plot.source.data["value"], magnitude, rtol=1e-6)
        np.testing.assert_allclose(np.subtract(plot.source.data["high"], plot.source.data["low"]), 0.04, rtol=1e-4)
        assert plot.figure.y_range.start > plot.figure.y_range.end  # brighter upwards
        assert "80 measurements" in plot.words.text
        assert "● _r_" in plot.words.text  # nothing in a band's name is HTML
        assert len(set(plot.source.data["colour"])) == 2
        assert plot.figure.xaxis.axis_label == "MJD (days)"
        assert plot.period.value == pytest.approx(3.7, rel=0.01)
        plot.fold.active = True
        phase = np.asarray(plot.source.data["x"])
        assert 0 <= phase.min() < phase.max() < 1
        near = np.argsort(phase)
        assert np.abs(np.diff(magnitude[near])).mean() < 0.1 < np.abs(np.diff(magnitude)).mean()
        look_at(ids[30])
        assert len(plot.source.data["x"]) == 0
        assert "no light curve of this object" in plot.words.text
        path = session.path / "blocks" / "ztf" / "curve_values.npy"
        path.write_bytes(path.read_bytes()[:500])
        plot._open.clear()
        look_at(ids[3])
        assert "curve_values.npy" in page.state.message.text
    finally:
        learner.close()
        shared.close()


def test_a_light_curve_of_very_many_and_very_small_measurements_is_drawn(new_session, sky, tmp_path):
    ids = list(Cache.open(sky[1]).ids)
    flux = np.random.default_rng(0).normal(3e-17, 1e-18, 50_000)
    parts = {"object_id": np.repeat(ids[3], 50_000), "mjd": 59000 + np.arange(50_000) / 1000, "flux": flux}
    Table(parts).write(tmp_path / "c.fits")
    shared = SharedState(new_session(light_curves={"tess": tmp_path / "c.fits"}))
    try:
        plot = LightCurvePlot(shared)
        assert plot.show(ids[3]) == ""
        data = plot.source.data
        assert {len(column) for column in data.values()} == {20_000}
        assert data["time"][0] == 59000
        assert data["time"][-1] == pytest.approx(59049.999)
        assert float(data["shown"][0]) == pytest.approx(flux[0], rel=1e-5)
        assert "50000 measurements, 20,000 of them drawn" in plot.words.text
    finally:
        shared.close()
