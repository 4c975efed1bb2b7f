"""The ranker ``pyod``: detectors of PyOD on frozen features, and what is said where PyOD is missing."""

import subprocess
import sys
import typing

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from astroanomaly.config import option_types
from astroanomaly.errors import ConfigError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.records import Labelled
from astroanomaly_plugins.pyod_rankers import _CLASSES, Pyod, PyodOptions

CONTEXT = RankerContext(("nominal", "anomaly"), None, None, seed=3)
DETECTORS = typing.get_args(option_types(PyodOptions)["detector"])


def points(seed=0, planted=12):
    """A cloud in 12 dimensions, and a few points outside."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(400, 12)).astype(np.float32)
    found[:planted] += 6 * rng.choice([-1, 1], (planted, 12))
    return found


def test_every_detector_has_its_class():
    assert set(DETECTORS) == set(_CLASSES)


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_finds_what_is_outside_and_gives_the_same_scores_again(detector):
    pytest.importorskip("pyod", reason="PyOD is not installed: pip install 'astroanomaly[pyod]'")
    found = []
    for _ in range(2):
        ranker = Pyod(PyodOptions(detector=detector), CONTEXT)
        own = ranker.fit_points(points())
        found.append(ranker.outlier_score(points(1)))
        assert roc_auc_score(np.arange(400) < 12, own) > 0.9
    assert roc_auc_score(np.arange(400) < 12, found[0]) > 0.9
    np.testing.assert_array_equal(*found)
    alone = np.concatenate([ranker.outlier_score(part) for part in np.array_split(points(1), 10)])
    np.testing.assert_allclose(alone, found[0], rtol=1e-6, atol=1e-9)  # whatever is scored with it


def test_a_round_of_a_session_and_what_its_scores_rest_on(new_session):
    pytest.importorskip("pyod", reason="PyOD is not installed: pip install 'astroanomaly[pyod]'")
    session = new_session()
    ranker = Pyod(PyodOptions(), session.context)
    list(ranker.fit(session.cache, Labelled((), ())))
    parts = list(ranker.score(session.cache))
    assert sum(len(part.ids) for part in parts) == len(session.cache)
    assert all(np.isfinite(part.log_odds).all() for part in parts)
    assert np.isfinite(ranker.saliency(session.cache, session.cache.ids[0])).all()


def test_where_pyod_is_missing_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyod", None)
    monkeypatch.setitem(sys.modules, "pyod.models", None)
    monkeypatch.setitem(sys.modules, "pyod.models.inne", None)
    with pytest.raises(ConfigError, match=r"needs PyOD.*pip install 'astroanomaly\[pyod\]'"):
        Pyod(PyodOptions(), CONTEXT).fit_points(points())


def test_it_is_listed_without_importing_pyod():
    script = (
        "import sys; from astroanomaly_plugins import pyod_rankers as plugin; found = []; "
        "plugin.register_rankers(found.append); print(found[0].name, *{'pyod', 'torch', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["pyod"]
