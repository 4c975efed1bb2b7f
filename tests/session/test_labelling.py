"""Labels given in Python: by ids, coordinates, tables and cutouts; and labels as a table."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time

from astroanomaly import Session
from astroanomaly.errors import ConfigError, LabelError, UnknownObjectError


@pytest.fixture(scope="module")
def folder(sky, tmp_path_factory):
    from conftest import TINY

    return Session.create(tmp_path_factory.mktemp("labelling") / "search", sky[1], settings=TINY).path


@pytest.fixture
def session(folder):
    """One session for all tests, whose labels are taken back before each."""
    session = Session.open(folder)
    for who in ("ann", "bob"):
        session.labels.clear(list(session.cache.ids), annotator=who)
    return session


def label(session, *args, annotator="ann", **more):
    return session.label(*args, annotator=annotator, **more)


def given(session):
    return {name: one.label for name, one in session.labels.current().items() if one.label}


def test_ids_may_come_in_any_container(session):
    ids = session.cache.ids[:3]
    containers = [
        ids, tuple(ids), iter(ids), np.array(ids), np.array(ids, "S"), Column(ids), MaskedColumn(ids), np.str_(ids[0]),
        [session.cache[one] for one in ids], session.cache[ids[0]], QTable({"object_id": ids}),
        QTable({"object_id": ids})[0], {ids[1]}, QTable({"object_id": ids})["object_id"][:2],
    ]  # fmt: skip
    for container in containers:
        session.labels.clear(ids, annotator="ann")
        report = label(session, container, "anomaly")
        assert report.added == len(given(session)) > 0
        assert set(given(session)) <= set(ids)


def test_coordinates_label_the_nearest_object(session):
    ids = session.cache.ids[:3]
    ra, dec = (values[:3] for values in session.cache.positions)
    coords = SkyCoord(ra, dec + 0.3 / 3600, unit="deg")
    report = label(session, coords.galactic, ["anomaly", "nominal", "anomaly"], radius=1 * u.arcsec)
    assert (report.added, report.messages) == (3, ())
    assert given(session) == dict(zip(ids, ["anomaly", "nominal", "anomaly"], strict=True))
    for one in (coords[0], [coords[0], coords[2].fk5], ICRS(ra[0] * u.deg, dec[0] * u.deg)):
        session.labels.clear(ids, annotator="ann")
        label(session, one, "anomaly")
        assert ids[0] in given(session)
    with pytest.raises(LabelError, match=r"1 of 2 labelled positions have no object within 1 arcsec.*larger radius"):
        label(session, SkyCoord([ra[0], ra[0]], [dec[0], -80], unit="deg"), "nominal")
    label(session, coords, "nominal", radius="0.5arcsec")
    with pytest.raises(LabelError, match="no object within"):
        label(session, coords, "nominal", radius=0.1 * u.arcsec)


def test_several_objects_within_the_radius_are_reported_and_the_nearest_is_taken(session):
    first = session.cache[session.cache.ids[0]]
    report = label(session, first.coord, "anomaly", radius=10 * u.arcmin)
    assert list(given(session)) == [first.object_id]
    assert len(report.messages) == 1
    assert "the nearest" in report.messages[0]


def test_a_table_is_matched_as_a_table_of_labels(session):
    found = session.cache.near(session.cache[session.cache.ids[5]].coord, 1 * u.arcmin)
    assert label(session, found[:2], "anomaly").added == 2
    session.labels.clear(list(session.cache.ids), annotator="ann")
    other = Table({"ra": found["ra"][:2].value, "dec": found["dec"][:2].value, "class": ["a", "b"]})
    label(session, other, "nominal")
    label(session, QTable({"where": SkyCoord(found["ra"], found["dec"])})[:1], "anomaly")
    assert sorted(given(session)) == sorted(map(str, found["object_id"][:2]))
    with pytest.raises(LabelError, match="which it is"):
        label(session, Table({"mag": [1.0]}), "anomaly")
    with pytest.raises(LabelError, match="unknown"):
        label(session, Table({"object_id": ["nobody"]}), "anomaly")


@pytest.mark.parametrize(
    "what", [None, 5, 5.0, [5], {"a": 1}, b"x", object(), np.array([[1]]), [None], np.arange(3), 3 * u.deg, ["a", 1]]
)
def test_what_names_no_object_is_refused_in_words(session, what):
    with pytest.raises(LabelError, match="SkyCoord"):
        label(session, what, "anomaly")
    assert given(session) == {}


@pytest.mark.parametrize("value", [None, 1, True, b"anomaly", ["anomaly"], [1, 2], {}, "anomly"])
def test_what_is_no_label_is_refused_in_words(session, value):
    with pytest.raises(LabelError, match="label"):
        label(session, session.cache.ids[:2], value)
    assert given(session) == {}


def test_wrong_objects_and_radii_write_nothing(session):
    first = session.cache.ids[0]
    with pytest.raises(UnknownObjectError, match="nobody"):
        label(session, [first, "nobody"], "anomaly")
    with pytest.raises(ConfigError, match="radius"):
        label(session, session.cache[first].coord, "anomaly", radius=1)
    with pytest.raises(LabelError, match="unknown"):
        label(session, SkyCoord([np.nan], [2.0], unit="deg"), "anomaly")
    with pytest.raises(LabelError, match="both"):
        label(session, [first, first], ["anomaly", "nominal"])
    with pytest.raises(LabelError, match="no object was named"):
        label(session, [], "anomaly")
    assert given(session) == {}


def test_the_table_of_labels_has_units_and_times(session, tmp_path):
    ids = sorted(session.cache.ids[:3])
    label(session, ids[:2], "anomaly", note="a ring")
    label(session, ids[1:], "nominal", annotator="bob")
    table = session.labels_table()
    session.export_labels(tmp_path / "labels.csv")
    exported = Table.read(tmp_path / "labels.csv", format="ascii.csv")
    assert isinstance(table, QTable)
    assert table.colnames == exported.colnames
    for name in ("object_id", "label", "votes", "annotators"):
        assert list(map(str, table[name])) == list(map(str, exported[name]))
    assert list(table["label"]) == ["anomaly", "disputed", "nominal"]
    assert table["ra"].unit == table["dec"].unit == u.deg
    for name in ("labels.vot", "labels.fits", "labels.ecsv"):
        assert session.export_labels(tmp_path / name) == 3
        back = QTable.read(tmp_path / name)
        assert list(map(str, back["label"])) == list(table["label"])
        assert back["ra"].unit == u.deg
    assert session.export_labels(tmp_path / "labels.reg") == 3
    assert (tmp_path / "labels.reg").read_text().count("circle(") == 3
    session.export_labels(tmp_path / "labels.txt")
    assert (tmp_path / "labels.txt").read_bytes() == (tmp_path / "labels.csv").read_bytes()
    with pytest.raises(ConfigError, match="CSV only"):
        session.export_labels(tmp_path / "other.vot", escape_formulas=True)
    np.testing.assert_allclose(table["ra"].value, exported["ra"], atol=1e-9)
    assert abs((Time.now() - Time(table["time"])[0]).to_value("h")) < 1
    assert table["audit"].dtype == bool
    for name, kind in (("t.fits", "fits"), ("t.ecsv", "ascii.ecsv"), ("t.vot", "votable")):
        table.write(tmp_path / name, format=kind)
        assert list(map(str, QTable.read(tmp_path / name)["object_id"])) == ids


def test_without_labels_the_table_is_empty(session):
    assert len(session.labels_table()) == 0
    assert session.labels_table()["ra"].unit == u.deg
