"""Tables of light curves as surveys and people write them."""

import tracemalloc

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from astroanomaly.errors import UnreadableError
from astroanomaly.tables.light_curves import read_light_curves


def written(folder, text, name="a.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_errors_of_asas_sn_are_those_of_the_flux(tmp_path):
    """Its columns: the unit stands in the name of the flux only, and limits are text."""
    found = read_light_curves(
        written(
            tmp_path,
            "HJD,UT Date,Camera,FWHM,Limit,mag,mag_err,flux(mJy),flux_err,Filter\n"
            "2457000.5,2014-12-09.1,ba,1.4,17,>16.5,99.99,0.1,0.05,V\n"
            "2457001.5,2014-12-10.1,ba,1.4,17,15.5,0.01,1.1,0.06,V\n",
        )
    )
    assert not found.is_magnitude
    assert found.is_mjd
    assert found.unit == "mJy"
    np.testing.assert_allclose(found.time, [57000, 57001])
    np.testing.assert_allclose(found.error, [0.05, 0.06])


@pytest.mark.parametrize(
    ("name", "unit", "error", "expected", "factor"),
    [
        ("flux", "mJy", ("flux_err", "uJy"), ([2, 4], [0.1, 0.1]), "mJy"),
        ("flux", "mJy", ("error", "mag"), ([2, 4], [np.nan, np.nan]), "mJy"),  # of something else
        ("flux", "", ("flux_err", "mJy"), ([2, 4], [100, 100]), ""),
        ("mag", "mmag", ("mag_err", "mmag"), ([0.002, 0.004], [0.1, 0.1]), "mag"),
        ("mag", "mag(AB)", ("mag_err", "mmag"), ([2, 4], [0.1, 0.1]), "mag(AB)"),
        ("flux", "dex(mJy)", ("flux_err", "dex"), ([-5, -10], [250, 250]), "mag"),  # logarithms
        ("mag", "", ("sigmapsf", ""), ([2, 4], [100, 100]), ""),
        ("flux", "", ("sigmapsf", ""), ([2, 4], [np.nan, np.nan]), ""),  # of ZTF: error of a magnitude
    ],
)
def test_units_of_brightness_and_error_count(tmp_path, name, unit, error, expected, factor):
    table = Table({"mjd": [58000.0, 58001.0], name: [2.0, 4.0], error[0]: [100.0, 100.0]})
    table[name].unit, table[error[0]].unit = unit or None, error[1] or None
    table.write(tmp_path / "a.ecsv")
    found = read_light_curves(tmp_path / "a.ecsv")
    assert found.is_magnitude == (name == "mag" or unit.startswith("dex"))
    assert found.unit == factor
    np.testing.assert_allclose(found.value, expected[0])
    np.testing.assert_allclose(found.error, expected[1])


@pytest.mark.parametrize(
    ("name", "times", "expected", "is_mjd"),
    [
        ("mjd", [58000, -999, 0, 58001, 58002], [58000, 58001, 58002], True),  # what stands for none
        ("jd", [2458000.5, 0, 2458001.5], [58000, 58001], True),
        ("time", [58000, 58001, 1.7e308, -1.7e308], [58000, 58001], True),
        ("hjd", [10400.5, 10401.5], [10400.5, 10401.5], False),  # less 2,450,000, as of OGLE
        ("btjd", [1683.4, 1684.4], [1683.4, 1684.4], False),
        ("time", [-3.0, 0.0, 3.0], [-3, 0, 3], False),
    ],
)
def test_what_is_no_date_is_left_out_and_other_counts_stay(tmp_path, name, times, expected, is_mjd):
    Table({name: np.array(times, float), "mag": np.full(len(times), 17.0)}).write(tmp_path / "a.ecsv")
    found = read_light_curves(tmp_path / "a.ecsv")
    assert found.is_mjd is is_mjd
    np.testing.assert_allclose(found.time, expected)


@pytest.mark.parametrize("time", ["20180304", "1514764800"])
def test_times_that_are_no_days_are_refused(tmp_path, time):
    with pytest.raises(UnreadableError, match=f"times such as {time} in the column 'time', expected days"):
        read_light_curves(written(tmp_path, f"time,mag\n{time},17\n{time},18\n"))


def test_measurements_without_an_id_are_of_nobody(tmp_path):
    ids = MaskedColumn(["a", "x", " b ", "a"], mask=[False, True, False, False])
    table = Table({"object_id": ids, "mjd": 58000 + np.arange(4.0), "mag": np.arange(4.0), "ra": np.arange(4.0),
                   "dec": np.zeros(4)})  # fmt: skip
    table.write(tmp_path / "a.ecsv")
    found = read_light_curves(tmp_path / "a.ecsv")
    assert [found.names[k][0] for k in found.curve] == ["a", "b", "a"]
    np.testing.assert_array_equal(found.value, [0, 2, 3])
    # a column without any id is none: the file is one light curve
    found = read_light_curves(written(tmp_path, "id,mjd,mag\n,58000,1\n,58001,2\n", "m31.csv"))
    assert found.names == (("m31.csv", "m31"),)
    assert len(found.value) == 2


def test_one_long_id_does_not_make_all_ids_long(tmp_path):
    ids = [*(f"a{k % 3}" for k in range(2000)), "x" * 100_000]  # as an array of text, 800 MB
    file = written(tmp_path, "object_id,mjd,mag\n" + "".join(f"{one},{58000 + k},17\n" for k, one in enumerate(ids)))
    tracemalloc.start()
    found = read_light_curves(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(names[0]) for names in found.names] == [2, 2, 2, 100_000]
    assert peak < 100e6


def test_bands_of_a_column_with_gaps_are_those_of_one_without(tmp_path):
    found = read_light_curves(written(tmp_path, "mjd,mag,fid\n58000,17,1.0\n58001,17, 1\n58002,17,2\n58003,17,\n"))
    assert [found.bands[k] for k in found.band] == ["1", "1", "2", ""]
    found = read_light_curves(written(tmp_path, "mjd,mag,band\n58000,17,Hα\n58001,17,Hβ\n"))
    assert found.bands == ("Hα", "Hβ")
    with pytest.raises(UnreadableError, match="several bands of the column 'band' become 'g_'"):
        read_light_curves(written(tmp_path, "mjd,mag,band\n58000,17,g'\n58001,17,g*\n"))
