"""The source hst on the real archives: ``pytest -m remote tests/plugins/hst/test_remote.py``, with a network."""

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly import FetchConfig, ingest
from astroanomaly_plugins.hst.source import HstSource

pytestmark = pytest.mark.remote


@pytest.mark.parametrize("via", ["mast", "s3", "esa"])
def test_a_galaxy_of_cosmos(via, tmp_path):
    Table(
        rows=[("147246", 150.416558, 1.998697), ("nowhere", 10.0, -89.0)],
        names=["id", "ra", "dec"],
    ).write(tmp_path / "two.csv")
    cache = ingest(
        HstSource(),
        out=tmp_path / "cache",
        catalog=tmp_path / "two.csv",
        size="5arcsec",
        bands=["F814W"],
        via=via,
        exposures="deepest",
        fetch=FetchConfig(keep=str(tmp_path / "kept")),
    )
    cutout = cache["147246"]
    assert cutout.data.shape == (1, 125, 125)
    assert np.isfinite(cutout.data).mean() > 0.9
    assert 25.5 < cutout.columns["zeropoint_F814W"] < 26.3
    assert cutout.columns["product_F814W"]
    assert [(failure.object_id, failure.kind) for failure in cache.failures] == [("nowhere", "no coverage")]
