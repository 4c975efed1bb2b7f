"""The source ``vo`` against a real IVOA server, GAVO DaCHS with PostgreSQL; ``tests/dachs/run`` starts it."""

import os
from pathlib import Path

import numpy as np
import pytest
import pyvo
from astropy.table import Table, vstack

from astroanomaly import BandError, FootprintError, ingest
from astroanomaly.config import FetchConfig
from astroanomaly_plugins.fits import FitsSource
from astroanomaly_plugins.vo.source import VoSource

pytestmark = pytest.mark.dachs

SERVICES = {"sia2": "__system__/siap2/sitewide", "tap": "tap"}


@pytest.fixture(scope="module")
def url():
    found = os.environ.get("ASTROANOMALY_DACHS")
    if not found:
        pytest.skip("there is no DaCHS: tests/dachs/run starts one")
    return found


@pytest.fixture(scope="module")
def sky():
    return Path(os.environ["ASTROANOMALY_DACHS_SKY"])


@pytest.fixture(scope="module")
def truth(sky, tmp_path_factory):
    """The same objects cut from the files themselves."""
    folder = tmp_path_factory.mktemp("truth")
    files = sorted(sky.glob("*.fits"))
    return ingest(FitsSource(), files, out=folder / "cache", catalog=sky / "catalogue.ecsv", size="32")


def run(url, sky, tmp_path, **options):
    net = FetchConfig(keep=str(tmp_path / "kept"), attempts=2, timeout_s=30)
    options = {"catalog": sky / "catalogue.ecsv", "size": "32", "bands": ("g", "r", "i"), **options}
    return ingest(VoSource(), out=tmp_path / "cache", service=url, fetch=net, **options)


@pytest.mark.filterwarnings("ignore:Unknown", "ignore:.*Unknown element")  # capabilities that pyvo does not know
def test_it_is_the_real_thing(url):
    service = pyvo.dal.TAPService(f"{url}/tap")
    assert len(service.search("SELECT * FROM ivoa.obscore WHERE obs_collection = 'SIM'")) == 6
    assert len(pyvo.dal.SIA2Service(f"{url}/{SERVICES['sia2']}").search(pos=(150.1, 2.2, 0.01))) == 6


@pytest.mark.parametrize("kind", list(SERVICES))
@pytest.mark.parametrize("via", ["soda", "whole"])
def test_the_pixels_are_those_of_the_files(url, sky, truth, tmp_path, kind, via):
    cache = run(f"{url}/{SERVICES[kind]}", sky, tmp_path, via=via)
    assert set(cache.ids) == set(truth.ids)
    assert not cache.failures
    for object_id in truth.ids:
        one, two = cache[object_id], truth[object_id]
        assert np.array_equal(one.data, two.data, equal_nan=True)
        for x, y in ((0, 0), (31, 5)):
            assert np.allclose(one.wcs.all_pix2world(x, y, 0), two.wcs.all_pix2world(x, y, 0), rtol=0, atol=1e-9)


def test_provenance_is_kept(url, sky, tmp_path):
    cache = run(f"{url}/tap", sky, tmp_path)
    columns = cache[cache.ids[0]].columns
    assert columns["product_r"].startswith("ivo://x-astroanomaly/~?sim/data/sky_tile")
    assert columns["instrument_g"] == "SimCam-g"
    assert [columns[f"zero_point_{band}"] for band in "gri"] == [30.0, 30.0, 29.8]
    assert cache.layout.units == ("adu",) * 3


def test_selections_and_what_is_not_there(url, sky, tmp_path):
    table = Table.read(sky / "catalogue.ecsv")
    far = Table({"object_id": ["far"], "ra": [10.0], "dec": [0.0]})
    vstack([table, far]).write(tmp_path / "more.ecsv")
    asked = {"collection": ("SIM",), "instrument": ("SimCam-g", "SimCam-r"), "catalog": tmp_path / "more.ecsv"}
    cache = run(f"{url}/{SERVICES['sia2']}", sky, tmp_path, bands=("g", "r"), **asked)
    assert len(cache) == len(table)
    assert cache.bands == ("g", "r")
    assert [(failure.object_id, failure.kind) for failure in cache.failures] == [("far", "no coverage")]
    with pytest.raises(BandError, match="lists no image of any object in the band 'i'"):
        run(f"{url}/{SERVICES['sia2']}", sky, tmp_path / "i", bands=("g", "r", "i"), **asked)
    with pytest.raises(FootprintError, match="--collection NONE"):
        run(f"{url}/tap", sky, tmp_path / "none", collection=("NONE",))
