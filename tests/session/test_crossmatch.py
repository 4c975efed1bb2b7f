"""Objects looked up in catalogues and services: what is kept, what every table says of it, and what goes wrong."""

import json
import math

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

from astroanomaly import Cache, Session, ingest
from astroanomaly.cli import main
from astroanomaly.errors import ConfigError, FetchError, PluginError, SessionError, UnreadableError
from astroanomaly.records import drain
from astroanomaly.session.known import read_known
from astroanomaly_plugins.crossmatches import services
from servers.crossmatch import CrossmatchServer
from session.test_session import TINY, make_cache

QUICK = {"attempts": 2, "first_wait_s": 0.01, "timeout_s": 5.0}


@pytest.fixture
def session(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY)
    made.label(["o000", "o010", "o020"], "anomaly", annotator="ann")
    made.label([f"o{i:03d}" for i in range(1, 9)], "nominal", annotator="ann")
    return made


@pytest.fixture
def fetched(tmp_path):
    return QUICK | {"keep": str(tmp_path / "kept")}


def place(session, object_id, east=0.0, north=0.0):
    """Position of an object, moved by arcseconds."""
    cutout = session.cache[object_id]
    moved = SkyCoord(cutout.ra, cutout.dec, unit="deg").spherical_offsets_by(east * u.arcsec, north * u.arcsec)
    return {"ra": float(moved.ra.deg), "dec": float(moved.dec.deg)}


def lenses(session, path, ids=("o000", "o010"), **more):
    rows = [
        {"name": f"lens {i}", **place(session, i, 0.5), "type": "lens", "bibcode": "2021ApJ...909...27H"} for i in ids
    ]
    Table(rows=rows).write(path, **more)
    return path


def everything(table, name):
    return {str(row["object_id"]): row[name] for row in table}


def test_a_local_catalogue_joins_every_table(session, tmp_path):
    path = lenses(session, tmp_path / "known_lenses.vot", format="votable")
    found = session.crossmatch(path, labelled="anomaly")
    assert sorted(found["object_id"]) == ["o000", "o010", "o020"]
    assert everything(found, "known") == {"o000": "lens o000", "o010": "lens o010", "o020": ""}
    assert everything(found, "known_matches") == {"o000": 1, "o010": 1, "o020": 0}
    assert found["known_separation"].unit == u.arcsec
    np.testing.assert_allclose(sorted(found["known_separation"].value)[:2], 0.5, atol=1e-4)
    assert np.isnan(everything(found, "known_separation")["o020"])
    session.train("probe")
    again = Session.open(session.path)
    for suffix in (".vot", ".fits", ".ecsv", ".csv"):
        table = again.export(tmp_path / f"out{suffix}", labelled="anomaly")
        read = QTable.read(tmp_path / f"out{suffix}", **({"format": "votable"} if suffix == ".vot" else {}))
        assert sorted(map(str, np.ma.filled(read["known"], ""))) == ["", "lens o000", "lens o010"]
    assert "within 2 arcsec" in table.meta["crossmatch_known_lenses.vot"]
    assert str(tmp_path) not in " ".join(table.meta.values())
    votable = (tmp_path / "out.vot").read_text()
    for text in ("src.class", "pos.angDistance", "meta.bib", "crossmatch_known_lenses", 'unit="arcsec"'):
        assert text in votable
    candidates = again.candidates(5)
    assert set(candidates["known"]) == {""}
    assert np.ma.getmaskarray(candidates["known_matches"]).all()  # nobody has looked these up
    report = tmp_path / "r.html"
    again.write_report(report, ids=["o000", "o020", "o033"])
    page = report.read_text()
    assert "known as <b>lens o000</b>, lens, in known_lenses.vot, 0.50″ away" in page
    assert "https://ui.adsabs.harvard.edu/abs/2021ApJ...909...27H/abstract" in page
    assert page.count("not known where it was looked up") == 1
    again.write_bundle(tmp_path / "b", labelled="anomaly")
    assert set(QTable.read(tmp_path / "b" / "table.vot", format="votable")["known_in"]) >= {"known_lenses.vot"}


def test_a_second_call_replaces_what_the_same_catalogue_said_of_the_same_objects(session, tmp_path):
    first = lenses(session, tmp_path / "a.csv")
    other = lenses(session, tmp_path / "b.csv", ["o020"])
    session.crossmatch([first, other], ids=["o000", "o010", "o020"])
    first.unlink()
    lenses(session, first, ["o010", "o020"])
    session.crossmatch(str(first), ids=["o000", "o020"], radius=1 * u.arcsec)
    a, b = read_known(session.path)
    assert {i: one.matches for i, one in a.objects.items()} == {"o000": 0, "o010": 1, "o020": 1}
    assert {i: one.matches for i, one in b.objects.items()} == {"o000": 0, "o010": 0, "o020": 1}
    assert [one.radius_arcsec for one in a.lookups] == [2.0, 1.0]
    assert a.lookups[a.objects["o010"].lookup].radius_arcsec == 2.0
    session.crossmatch(str(first), ids=["o010"], radius="1arcsec")
    assert [one.radius_arcsec for one in read_known(session.path)[0].lookups] == [1.0, 1.0]
    here = SkyCoord(*place(session, "o000").values(), unit="deg")
    table = session.crossmatch({"mine": here}, ids=["o000", "o020"])
    assert everything(table, "known_in") == {"o000": "mine", "o020": "a.csv, b.csv"}
    assert everything(table, "known") == {"o000": "row 1", "o020": "lens o020"}
    assert everything(table, "known_matches") == {"o000": 1, "o020": 2}


def test_a_catalogue_of_ones_own_goes_before_a_nearer_entry_of_a_service(session, tmp_path, fetched, asking):
    server = asking(simbad=[{"main_id": "NGC 1", **place(session, "o000", 0.1), "otype": "G"}])
    found = session.crossmatch([lenses(session, tmp_path / "a.csv"), "simbad"], ids=["o000"], fetch=fetched)
    assert (found["known"][0], found["known_in"][0]) == ("lens o000", "a.csv, simbad")
    assert server.count("sim-tap", "POST") == 1


@pytest.fixture
def asking():
    """Give a function that starts the services with some entries."""
    asked = (services.SIMBAD, services.NED, services.GAIA, services.SKYBOT)
    servers, before = [], {one: one.address for one in asked}

    def start(**entries):
        servers.append(CrossmatchServer(**entries).start())
        for one in before:
            one.address = servers[-1].addresses[one.name]
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
    for one, address in before.items():
        one.address = address


def test_errors_of_positions_decide_and_are_kept(session, tmp_path):
    rows = [{"name": name, **place(session, i, 0.0, 1.5)} for name, i in (("wide", "o000"), ("sharp", "o010"))]
    table = Table(rows=rows)
    table["pos_err"] = [1.0, 0.2] * u.arcsec
    table.write(tmp_path / "radio.fits")
    found = session.crossmatch(tmp_path / "radio.fits", radius="5arcsec", sigma=3, labelled="anomaly")
    assert everything(found, "known") == {"o000": "wide", "o010": "", "o020": ""}
    np.testing.assert_allclose(found["known_position_error"].to_value("arcsec"), [1.0, np.nan, np.nan])
    assert "errors pos_err, 0 arcsec" in found.meta["crossmatch_radio.fits"]
    assert "sigma 3" in found.meta["crossmatch_radio.fits"]
    out = session.export(tmp_path / "out.vot", labelled="anomaly")
    assert out["known_position_error"].unit == u.arcsec
    steps = session.crossmatch_steps(
        tmp_path / "radio.fits", radius="5arcsec", sigma=3, position_error="0.6arcsec", labelled="anomaly"
    )
    assert everything(drain(steps).table, "known") == {"o000": "wide", "o010": "sharp", "o020": ""}
    with pytest.raises(ConfigError, match="counts only with sigma"):
        session.crossmatch(tmp_path / "radio.fits", position_error="1arcsec", labelled="anomaly")
    where = ["crossmatch", str(session.path), "--with", str(tmp_path / "radio.fits"), "--labelled", "anomaly"]
    main([*where, "--radius", "5arcsec", "--sigma", "3", "--position-error", "0.1arcsec"])
    assert [one.about["sigma"] for one in read_known(session.path)[0].lookups] == ["3"]


def test_a_lookup_is_recorded_and_replayed(session, tmp_path, fetched, asking):
    server = asking(simbad=[{"main_id": "NGC 1", **place(session, "o000", 0.1), "otype": "G"}])
    asked = {"labelled": "anomaly", "fetch": fetched | {"record": str(tmp_path / "record")}}
    first = session.crossmatch(["simbad"], **asked)
    assert everything(first, "known")["o000"] == "NGC 1"
    server.stop()
    again = session.crossmatch(["simbad"], labelled="anomaly", fetch={"replay": str(tmp_path / "record")})
    assert everything(again, "known") == everything(first, "known")
    about = json.loads((tmp_path / "record" / "record.json").read_text())
    assert about["request"] == {"crossmatch": ["simbad"], "radius_arcsec": 2.0}
    assert about["outcome"] == {"matched": {"simbad": 1}, "failed": {"simbad": {}}}
    with pytest.raises(FetchError, match="is not the run that was recorded"):
        session.crossmatch(["simbad"], labelled="anomaly", radius="3arcsec", fetch={"replay": str(tmp_path / "record")})


def test_services_say_what_is_known(session, fetched, asking):
    server = asking(
        simbad=[
            {"main_id": "M  31 <b>&", **place(session, "o000", 0.3), "otype": "AGN", "rvz_redshift": 0.7, "nbref": 12,
             "coo_bibcode": "2006AJ....131.1163S"},
            {"main_id": "far", **place(session, "o000", 1.5), "otype": "G"},
            {"main_id": "nothing of ours", "ra": 80.0, "dec": 40.0},
        ],
        ned=[{"prefname": "WISEA J1", **place(session, "o010", 1.0), "prefphytype": "G", "z": 0.25}],
        gaia=[
            {"designation": "Gaia DR3 1", **place(session, "o010", 0.2), "parallax": 10.0, "parallax_error": 0.1,
             "pmra": 3.0, "pmra_error": 0.1, "pmdec": -4.0, "pmdec_error": 0.1, "phot_g_mean_mag": 17.5},
            {"designation": "Gaia DR3 2", **place(session, "o020", 0.2)},
        ],
    )  # fmt: skip
    found = session.crossmatch(["simbad", "ned", "gaia"], labelled="anomaly", fetch=fetched)
    assert everything(found, "known") == {"o000": "M 31 <b>&", "o010": "WISEA J1", "o020": ""}
    assert everything(found, "known_in") == {"o000": "simbad", "o010": "ned", "o020": ""}
    assert everything(found, "known_matches") == {"o000": 2, "o010": 1, "o020": 0}
    assert everything(found, "known_reference")["o000"] == "2006AJ....131.1163S"
    assert everything(found, "simbad_redshift")["o000"] == 0.7
    assert everything(found, "ned_redshift")["o010"] == 0.25
    assert everything(found, "gaia") == {"o000": "", "o010": "Gaia DR3 1", "o020": "Gaia DR3 2"}
    assert everything(found, "gaia_type") == {"o000": "", "o010": "star", "o020": "source"}
    assert everything(found, "gaia_proper_motion")["o010"] == 5 * u.mas / u.yr
    assert found["gaia_parallax"].unit == u.mas
    assert server.uploads == [3, 3]
    asked = len(server.asked)
    session.crossmatch(["simbad", "ned", "gaia"], labelled="anomaly", fetch=fetched)
    assert len(server.asked) == asked  # answers are kept
    assert "sim-tap" in found.meta["crossmatch_simbad"]
    summary = session.summary()
    assert [tuple(row) for row in summary] == [
        ("anomaly", "known", "ned", "", 1), ("anomaly", "known", "simbad", "2006AJ....131.1163S", 1),
        ("anomaly", "not known", "", "", 1),
    ]  # fmt: skip


def test_bodies_of_the_solar_system_are_found_at_the_time_of_the_image(tmp_path, fetched, asking):
    """One body passes an object when it is observed, one 30 minutes later; one object's image has no time."""
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 4.5, "CRPIX2": 4.5, "CDELT1": -1e-4, "CDELT2": 1e-4}
    times = ({"DATE-BEG": "2024-03-01T12:00:00", "DATE-END": "2024-03-01T12:20:00"}, {"MJD-AVG": 60370.5}, {})
    for k, time in enumerate(times):
        image = fits.PrimaryHDU(np.random.default_rng(k).normal(size=(8, 8)).astype(np.float32), fits.Header(header))
        image.header.update({"CRVAL1": 150.0 + k, "CRVAL2": 2.0, "FILTER": "r", **time})
        image.writeto(tmp_path / f"stamp{k}.fits")
    cache = ingest("fits", [tmp_path / f"stamp{k}.fits" for k in range(3)], out=tmp_path / "c", bands=["r=*.fits"])
    session = Session.create(tmp_path / "s", cache, settings=TINY)
    ids = sorted(cache.ids)
    moving = {"class": "MB>Inner", "ra": 150.0, "dec": 2.0, "dracosdec": 36.0, "ddec": 0.0}
    noon = 60370.5
    server = asking(skybot=[
        {"name": "Passing", **moving, "magV": 19.5, "errpos": 0.1, "mjd": noon + 10 / 1440},
        {"name": "Later", **moving, "mjd": noon + 40 / 1440},
    ])  # fmt: skip
    report = drain(session.crossmatch_steps("skybot", ids=ids, radius="5arcsec", fetch=fetched))
    assert everything(report.table, "skybot") == dict(zip(ids, ("Passing", "", ""), strict=True))
    assert report.table["skybot_type"][0] == "MB>Inner"
    assert report.table["skybot_motion"][0] == 36 * u.arcsec / u.hour
    assert report.table["skybot_v_mag"][0] == 19.5 * u.mag
    assert report.table["skybot_separation"][0] < 0.01 * u.arcsec
    assert [(one.object_id, one.reason) for one in report.failures["skybot"]] == [
        (ids[2], "its image has no time of observation")
    ]
    assert len(server.asked) == 2
    assert "known" not in report.table.colnames  # a body that moves does not make an object known


def test_where_no_service_has_anything(session, fetched, asking):
    asking()
    found = session.crossmatch(["simbad", "ned", "gaia"], ids=["o000", "o001"], fetch=fetched)
    assert set(found["known"]) == set(found["gaia"]) == {""}
    assert found["known_matches"].tolist() == [0, 0]
    assert np.isnan(found["gaia_parallax"]).all()


def test_an_answer_with_more_rows_than_a_service_gives_is_asked_for_in_halves(session, fetched, asking):
    ids = list(session.cache.ids)[:8]
    server = asking(simbad=[{"main_id": i, **place(session, i)} for i in ids])
    server.most_rows = 3
    found = session.crossmatch("simbad", ids=ids, fetch=fetched)
    assert everything(found, "known") == {i: i for i in ids}
    assert sorted(server.uploads) == [2, 2, 2, 2, 4, 4, 8]
    server.most_rows = 0
    found = session.crossmatch("simbad", ids=["o020"], radius="1arcsec", fetch=fetched)
    assert found["known"][0] == ""  # nothing there


MORE = [pytest.param(kind, marks=pytest.mark.faults) for kind in ("dropped", "refused", "empty", "votable error")]


@pytest.mark.parametrize("fault", ["503", "html", "truncated", "slow", *MORE])
def test_what_is_not_answered_is_a_failure_and_the_rest_is_kept(session, fetched, asking, monkeypatch, fault):
    monkeypatch.setattr(services.NED, "batch", 1, raising=False)
    ids = ["o000", "o010", "o020"]
    server = asking(ned=[{"prefname": i, **place(session, i)} for i in ids])
    server.slow_s = 2.0
    fetched = fetched | {"timeout_s": 0.5, "requests": 1}
    where = f"{session.cache['o010'].ra:.9f}"
    server.misbehave(fault, times=math.inf, where=where)
    report = drain(session.crossmatch_steps("ned", ids=ids, fetch=fetched))
    assert [one.object_id for one in report.failures["ned"]] == ["o010"]
    assert report.failures["ned"][0].reason
    assert everything(report.table, "known") == {"o000": "o000", "o010": "", "o020": "o020"}
    assert everything(report.table, "not_asked")["o010"].startswith("ned: ")
    assert everything(report.table, "not_asked")["o020"] == ""
    assert np.ma.is_masked(everything(report.table, "known_matches")["o010"])
    assert set(session.summary()["known"]) == {"known", "not looked up"}
    server.behave()
    asked = len(server.asked)
    assert everything(session.crossmatch("ned", ids=ids, fetch=fetched), "known") == {i: i for i in ids}
    assert len(server.asked) == asked + 1


def test_a_plugin_that_breaks_loses_nothing_of_what_was_answered(session, fetched, monkeypatch):
    class Broken:
        name, summary, address, published, batch, values = "broken", "x", "http://x", True, 1, {}

        def near(self, ra, dec, radius_arcsec):
            if abs(ra[0] - session.cache["o010"].ra) < 1e-9:
                return Table({"ra": [1.0]})
            return Table({"ra": ra, "dec": dec, "name": ["found"]})

    from astroanomaly.session import crossmatch

    steps = crossmatch.crossmatch_steps(
        session, {"broken": Broken()}, session.crossmatch(SkyCoord([0], [0], unit="deg"), ids=["o000", "o010"]), 1.0,
        fetched | {"requests": 1},
    )  # fmt: skip
    with pytest.raises(PluginError, match="'broken' gave a table without the column 'dec'"):
        drain(steps)
    assert {i: one.name for i, one in read_known(session.path)[-1].objects.items()} == {"o000": "found"}


def test_what_is_damaged_is_named_and_can_be_moved_aside(session, tmp_path, capsys):
    session.crossmatch(lenses(session, tmp_path / "a.csv"), labelled="anomaly")
    (file,) = (session.path / "crossmatches").glob("*.json")
    assert main(["info", str(session.path), "--check"]) == 0
    content = json.loads(file.read_text())
    content["objects"]["o000"][2] = "another name"
    file.write_text(json.dumps(content))
    with pytest.raises(SessionError, match=r"a-csv.*damaged.*run the crossmatch again"):
        session.export(tmp_path / "out.vot", labelled="anomaly")
    capsys.readouterr()
    assert main(["info", str(session.path), "--check"]) == 2
    assert str(file) in capsys.readouterr().out
    assert main(["info", str(session.path), "--check", "--repair"]) == 0
    assert "known" not in session.export(tmp_path / "out.vot", labelled="anomaly").colnames


def test_what_cannot_be(session, tmp_path):
    path = lenses(session, tmp_path / "a.csv")
    for radius, why in (("0arcsec", "radius"), ("1deg", "radius"), (2, "radius"), ("x", "radius")):
        with pytest.raises(ConfigError, match=why):
            session.crossmatch(path, radius=radius, labelled="anomaly")
    with pytest.raises(
        UnreadableError, match=r"simbda is neither a file nor a crossmatch service; did you mean 'simbad'"
    ):
        session.crossmatch("simbda", labelled="anomaly")
    with pytest.raises(ConfigError, match=r"two catalogues are called 'a\.csv'"):
        session.crossmatch([path, path], labelled="anomaly")
    with pytest.raises(ConfigError, match="no catalogue"):
        session.crossmatch([], labelled="anomaly")
    assert not (session.path / "crossmatches").exists()


def test_pictures_without_a_position_are_named(tmp_path):
    from PIL import Image

    from astroanomaly import ingest

    (tmp_path / "p").mkdir()
    for k in range(3):
        Image.fromarray(np.full((32, 32), 80 * k, np.uint8)).save(tmp_path / "p" / f"{k}.png")
    ingest("images", tmp_path / "p", out=tmp_path / "c", workers=1)
    made = Session.create(tmp_path / "s", tmp_path / "c", settings=TINY)
    report = drain(made.crossmatch_steps(SkyCoord([1], [1], unit="deg"), ids=list(Cache.open(tmp_path / "c").ids)))
    assert {one.reason for one in report.failures["table"]} == {"no position on the sky"}
    assert len(report.failures["table"]) == 3


def test_the_commands(session, tmp_path, capsys, asking):
    asking(simbad=[{"main_id": "NGC 7", **place(session, "o020"), "coo_bibcode": "2001A&A...379..384P"}])
    session.train("probe")
    path, where = lenses(session, tmp_path / "known_lenses.csv"), str(session.path)
    kept = ["--keep", str(tmp_path / "kept"), "--attempts", "1"]
    words = [
        "crossmatch",
        where,
        "--with",
        str(path),
        "--with",
        "simbad",
        "--radius",
        "2arcsec",
        "--labelled",
        "anomaly",
    ]
    assert main([*words, "--out", str(tmp_path / "m.vot"), *kept]) == 0
    said = capsys.readouterr().out
    assert "known_lenses.csv: 2 of 3 objects known" in said
    assert "simbad: 1 of 3 objects known" in said
    assert "NGC 7" in said
    assert len(QTable.read(tmp_path / "m.vot", format="votable")) == 3
    assert main([*words, "--out", str(tmp_path / "m.vot"), *kept]) == 2  # it is there
    assert main(["summary", where, "--out", str(tmp_path / "n.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "anomaly 3 0 0" in said
    assert "known_lenses.csv 2021ApJ...909...27H 2" in said
    assert sum(Table.read(tmp_path / "n.csv")["n"]) == 3
    assert main(["crossmatch", where, "--with", str(path), "--top", "4"]) == 0
    assert main(["candidates", where, "-n", "3"]) == 0
    assert main(["export", where, "--top", "4", "--out", str(tmp_path / "e.vot")]) == 0
    assert "known" in QTable.read(tmp_path / "e.vot", format="votable").colnames
    assert main(["sources"]) == 0
    assert "SIMBAD (CDS)" in capsys.readouterr().out
