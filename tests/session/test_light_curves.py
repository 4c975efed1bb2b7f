"""Sessions with light curves beside the image."""

import csv
import shutil

import numpy as np
import pytest
from astropy import units
from astropy.table import QTable, Table
from astropy.time import Time
from sklearn.metrics import average_precision_score

from astroanomaly import Session
from astroanomaly.cli import main
from astroanomaly.errors import CatalogError, ConfigError, DamagedError, SessionError, UnreadableError
from astroanomaly.learn.features.block_files import open_block


@pytest.fixture(scope="module")
def truth(sky):
    with sky[0].truth.open(newline="") as handle:
        return {row["object_id"]: row["class"] != "nominal" for row in csv.DictReader(handle)}


def measurements(truth, rng, *, points=30):
    """Magnitudes in two bands, shuffled, in which anomalies flare; the first object has none."""
    parts = []
    for object_id, odd in list(truth.items())[1:]:
        for band in ("g", "r"):
            time = rng.uniform(58000, 58400, points)
            flare = 0.8 * odd * np.exp(-0.5 * ((time - 58200) / 30) ** 2)
            magnitude = rng.uniform(18, 20) - flare + rng.normal(0, 0.05, points)
            parts.append(Table({"object_id": [object_id] * points, "band": [band] * points, "mjd": time,
                                "mag": magnitude, "mag_err": np.full(points, 0.05)}))  # fmt: skip
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0].colnames}
    return Table(columns)[rng.permutation(len(columns["mjd"]))]


@pytest.fixture(scope="module")
def table(truth):
    return measurements(truth, np.random.default_rng(3))


def auprc(session, truth):
    for kind, count in ((True, 3), (False, 12)):
        session.label([name for name in truth if truth[name] is kind][:count], "anomaly" if kind else "nominal")
    session.train("active-search")
    ids, found = session.scores()
    known = set(session.labels.current())
    left = [k for k, name in enumerate(ids) if name not in known]
    return average_precision_score([truth[ids[k]] for k in left], -found[left, 0])


def test_light_curves_take_part_are_kept_and_are_not_needed_afterwards(new_session, truth, table, tmp_path):
    file = tmp_path / "curves.parquet"
    table.write(file)
    plain = new_session("plain", computed=True)
    beside = new_session("beside", computed=True, light_curves={"ztf": file})
    file.unlink()
    messages = "\n".join(beside.block_messages)
    assert "block ztf: 129 light curves with 7740 measurements in g, r, as magnitudes" in messages
    assert f"nothing is known of 1 of 130 objects: {next(iter(truth))}" in messages
    assert auprc(beside, truth) > auprc(plain, truth) + 0.05
    assert set(beside.last_round.recipe["shares"]) == {"image", "ztf", "outliers"}
    again = Session.open(beside.path)
    object_id = list(truth)[5]
    found = again.light_curve(object_id)
    own = table[table["object_id"] == object_id]
    own.sort("mjd")
    np.testing.assert_array_equal(found["time"].value, own["mjd"])
    np.testing.assert_array_equal(found["band"], own["band"])
    np.testing.assert_allclose(found["magnitude"].value, own["mag"], rtol=1e-6)
    assert found["magnitude"].unit == units.mag
    assert found.meta == {"object_id": object_id, "block": "ztf", "time": "MJD"}
    with pytest.raises(SessionError, match="no light curve of"):
        again.light_curve(next(iter(truth)))
    with pytest.raises(SessionError, match="no light curves 'x' "):
        again.light_curve(object_id, "x")
    with pytest.raises(SessionError, match="has no light curves: make a session"):
        plain.light_curve(object_id)
    beside.write_report(tmp_path / "r.html", ids=[object_id, next(iter(truth))], pages=True)
    page = (tmp_path / "r.html").read_text()
    assert page.count("<article") == 2
    assert page.count("<h3>Light curve ztf") == page.count("magnitude against time") == 1
    assert "numbers of each object, made of its light curve (" in page
    assert beside.check().damaged == ()


def test_one_file_for_each_object_with_fluxes_and_another_count_of_days(new_session, truth, tmp_path):
    folder = tmp_path / "curves"
    folder.mkdir()
    rng = np.random.default_rng(0)
    made = {}
    for k, object_id in enumerate(list(truth)[:24]):
        time = np.sort(rng.uniform(0, 90, 200))
        flux = 100 + 20 * np.sin(2 * np.pi * time / 0.6137) * (k % 2) + rng.normal(0, 2, 200)
        made[object_id] = QTable({"time": time * units.day, "flux": flux * units.mJy, "flux_err": np.full(200, 2.0)})
        made[object_id].write(folder / f"{object_id}.ecsv")
    (folder / "broken.ecsv").write_text("# %ECSV 1.0\n# ---\n- x\n")
    session = new_session(light_curves={"k2": folder})
    text = "\n".join(session.block_messages)
    assert "block k2: 24 light curves with 4800 measurements, as fluxes" in text
    assert "1 of 25 files cannot be read" in text
    found = session.light_curve(list(truth)[3])
    assert found["flux"].unit == units.mJy
    assert found.meta["time"] == "as in its file"
    (block,) = session.context.blocks
    file = open_block(session.path / "blocks" / "k2", len(block.columns))
    numbers = file.values[file.rows(list(made)), block.columns.index("period")]
    np.testing.assert_allclose(10 ** numbers[1::2], 0.6137, rtol=2e-3)
    assert np.isfinite(numbers[::2]).sum() <= 1  # noise has no period


@pytest.mark.parametrize("count", ["jd", "iso", "astropy"])
def test_times_are_read_as_they_are_written(new_session, truth, tmp_path, count):
    ids = np.repeat(list(truth)[:3], 20)
    time = Time(59000.25 + np.arange(60.0), format="mjd")
    column = {"jd": time.jd, "iso": time.isot, "astropy": time}[count]
    one = QTable({"object_id": ids, "time": column, "mag": np.arange(60.0) / 10, "flux_unknown": np.ones(60)})
    one.write(tmp_path / "a.ecsv")
    session = new_session(light_curves={"c": tmp_path / "a.ecsv"})
    found = session.light_curve(ids[25])
    np.testing.assert_allclose(found["time"].value, time.mjd[20:40], atol=1e-6)
    assert found.meta["time"] == "MJD"
    assert np.isnan(found["error"].value).all()


def test_a_number_that_may_be_flux_or_magnitude_is_asked_for(new_session, truth, tmp_path):
    ids = np.repeat(list(truth)[:2], 10)
    one = Table({"id": ids, "t": np.arange(20.0), "value": np.full(20, 17.0)})
    one["value"][3] = 99.0
    one.write(tmp_path / "a.csv")
    with pytest.raises(UnreadableError, match=r"set blocks\.brightness=flux or magnitude"):
        new_session("unsaid", light_curves={"c": tmp_path / "a.csv"})
    given = {"light_curves": {"c": tmp_path / "a.csv"}}
    for kind, points in (("magnitude", 9), ("flux", 10)):  # a magnitude of 99 stands for none
        session = new_session(kind, settings={"blocks": {"brightness": kind}}, **given)
        assert len(session.light_curve(ids[0])[kind]) == points


def test_light_curves_of_several_files_are_joined_where_they_go_together(new_session, truth, tmp_path):
    object_id = list(truth)[2]
    for name, columns in {
        "g": {"band": ["g"] * 8, "flux": np.arange(8.0) * units.mJy},
        "r": {"band": ["r"] * 8, "flux": np.arange(8.0) * 1e3 * units.uJy},
        "m": {"band": ["r"] * 8, "mag": np.arange(8.0)},
        "pm": {"band": ["r"] * 8, "flux": np.arange(8.0) * units.m},
    }.items():
        QTable({"object_id": [object_id] * 8, "mjd": 59000 + np.arange(8.0), **columns}).write(
            tmp_path / f"{name}.ecsv"
        )
    session = new_session("both", light_curves={"c": [tmp_path / "g.ecsv", tmp_path / "r.ecsv"]})
    found = session.light_curve(object_id)
    assert list(found["band"][:4]) == ["g", "r", "g", "r"]
    np.testing.assert_allclose(found["flux"].to_value(units.mJy), np.repeat(np.arange(8.0), 2), rtol=1e-6)
    for other, says in (
        ("m", "has magnitudes, and the others have fluxes"),
        ("pm", "light curves in 'mJy' and in 'm'"),
    ):
        with pytest.raises(CatalogError, match=says):
            new_session("refused", light_curves={"c": [tmp_path / "g.ecsv", tmp_path / f"{other}.ecsv"]})
        shutil.rmtree(tmp_path / "cache-of-refused")
    assert not (tmp_path / "refused").exists()


def test_empty_files_and_bands_of_other_objects_do_no_harm(new_session, truth, tmp_path):
    """A file without rows; and a survey of 20 bands, of which the objects of the cache have one."""
    Table({"object_id": np.array([], "U5"), "mjd": np.array([]), "mag": np.array([])}).write(tmp_path / "a.ecsv")
    object_id = next(iter(truth))
    ours = {"object_id": np.repeat(object_id, 20), "band": np.repeat("r", 20), "mjd": 59000 + np.arange(20.0),
            "mag": np.arange(20.0)}  # fmt: skip
    for k in range(2):
        others = [f"b{k}{band}" for band in range(10)]
        there = {"object_id": np.repeat("x", 10), "band": others, "mjd": np.arange(10.0), "mag": np.arange(10.0)}
        Table({key: np.concatenate([ours[key][k::2], there[key]]) for key in ours}).write(tmp_path / f"b{k}.ecsv")
    session = new_session(light_curves={"c": [tmp_path / f"{name}.ecsv" for name in ("a", "b0", "b1")]})
    assert "1 light curves with 20 measurements in r, as magnitudes" in "\n".join(session.block_messages)
    np.testing.assert_array_equal(session.light_curve(object_id)["magnitude"].value, np.arange(20))


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({"object_id": ["nobody"] * 6, "mjd": range(6), "mag": range(6)}, CatalogError, "takes a catalogue column"),
        ({"mjd": [np.nan] * 6, "mag": [1.0] * 6}, CatalogError, "none of the 0 light curves"),
        ({"object_id": ["x"] * 6, "mag": range(6)}, UnreadableError, "no light curve: expected a table"),
        ({"mjd": ["yesterday"] * 6, "mag": range(6)}, UnreadableError, "times such as 'yesterday'"),
        ({"mjd": range(6), "mag": ["faint"] * 6}, UnreadableError, "does not hold one number in each row"),
        ({"mjd": range(40), "mag": range(40), "band": range(40)}, UnreadableError, "40 bands, expected at most 16"),
    ],
)
def test_what_cannot_be_is_refused_and_no_session_is_left(new_session, tmp_path, columns, error, says):
    Table({name: list(values) for name, values in columns.items()}).write(tmp_path / "a.ecsv")
    with pytest.raises(error, match=says):
        new_session("refused", light_curves={"c": tmp_path / "a.ecsv"})
    assert not (tmp_path / "refused").exists()


def test_too_few_measurements_are_said(new_session, truth, tmp_path):
    few = Table({"object_id": [next(iter(truth))] * 4, "mjd": [1.0, 1, 1, 1], "mag": [1.0, 2, 3, 4]})
    few.write(tmp_path / "a.ecsv")
    with pytest.raises(CatalogError, match="no light curve has 5 measurements in a band"):
        new_session("few", light_curves={"c": tmp_path / "a.ecsv"})
    with pytest.raises(ConfigError, match="two blocks 'c'"):
        new_session(
            "twice",
            light_curves={"c": tmp_path / "a.ecsv"},
            spectra={},
            blocks={"c": Table({"object_id": list(truth), "x": range(130)})},
        )


def test_the_command_takes_them_and_damage_is_said(sky, table, truth, tmp_path, capsys):
    table.write(tmp_path / "c.fits")
    words = ["init", str(tmp_path / "s"), "--cache", str(sky[1]), "--light-curves", f"ztf={tmp_path / 'c.fits'}"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "block ztf: 129 light curves" in printed.out
    assert "light curves: 129" in printed.err.splitlines()  # it may take long
    path = tmp_path / "s" / "blocks" / "ztf" / "curve_values.npy"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    (damage,) = Session.open(tmp_path / "s").check().damaged
    assert damage.path == path
    path.write_bytes(content[:9000])
    with pytest.raises(DamagedError, match=r"curve_values\.npy"):
        Session.open(tmp_path / "s").light_curve(list(truth)[5])
