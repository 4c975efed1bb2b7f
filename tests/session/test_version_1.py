"""What version 0.1.0 has written opens, goes on, and gives what it gave then; see tests/data/session-v1/README.md."""

import json
import shutil

import h5py
import numpy as np
import pytest
from astropy.table import QTable

from astroanomaly import Cache, Session, ingest
from astroanomaly.cache.scores import list_parts
from folders import TESTS

OLD = "/home/astronomer"
REQUEST = {"size": "24", "bands": ("g=*_g.fits", "r=*_r.fits"), "id": "name", "min_coverage": 0.1}


@pytest.fixture
def home(tmp_path):
    """A copy of the fixture that believes to have been written where it lies."""
    home = shutil.copytree(TESTS / "data" / "session-v1", tmp_path / "home")
    for path in (*home.rglob("*.toml"), *home.glob("*/cache.json"), *home.rglob("ranker.json")):
        path.write_text(path.read_text("utf-8").replace(OLD, str(home)), "utf-8")
    for path in home.glob("*/plan.h5"):
        with h5py.File(path, "r+") as file:
            for task in file.values():
                text = task["payload"][...].tobytes().decode().replace(OLD, str(home))
                attributes = dict(task["payload"].attrs)
                del task["payload"]
                task.create_dataset("payload", data=np.frombuffer(text.encode(), np.uint8)).attrs.update(attributes)
    return home


@pytest.fixture
def expected():
    return json.loads((TESTS / "data" / "session-v1" / "expected.json").read_text("utf-8"))


def by_id(ids, log_odds):
    return {str(name): row.tolist() for name, row in zip(ids, log_odds, strict=True)}


def same(found, wanted, within=1e-4):
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose([found[name] for name in wanted], list(wanted.values()), atol=within)


def test_what_was_scored_and_labelled_is_there(home, expected):
    session = Session.open(home / "session")
    assert session.cache.digest() == expected["digest"]
    assert [[item.ranker, item.last_event] for item in session.rounds] == expected["rounds"]
    assert session.labels.counts() == expected["labels"]
    for item in session.rounds:
        same(by_id(*item.read_scores(session.cache)), expected[item.ranker])
    table = session.candidates(10)
    assert [str(name) for name in table["object_id"]] == [name for name, _ in expected["candidates"]]
    np.testing.assert_allclose(table["score"], [score for _, score in expected["candidates"]], atol=1e-4)


def test_a_catalogue_has_the_rows_it_had(home):
    session = Session.open(home / "session")
    for name in ("anomalies.fits", "anomalies.vot"):
        session.export(home / f"new-{name}", top=10)
        before, now = QTable.read(home / name), QTable.read(home / f"new-{name}")
        assert before.colnames == now.colnames
        for column in before.colnames:
            assert str(before[column].unit) == str(now[column].unit)
            if before[column].dtype.kind == "f":
                np.testing.assert_allclose(now[column], before[column], rtol=1e-6)
            else:
                assert list(map(str, now[column])) == list(map(str, before[column]))
    session.export_scores(home / "new-scores.csv")
    lines = [(home / name).read_text("utf-8").splitlines() for name in ("scores.csv", "new-scores.csv")]
    assert lines[0] == lines[1]


def test_rankers_without_weights_are_fitted_again(home, expected):
    """What the suspects rest on is no stored score: the probe is fitted anew on the stored features."""
    session = Session.open(home / "session")
    table = session.suspects(5)
    assert [str(name) for name in table["object_id"]] == [name for name, _ in expected["suspects"]]
    np.testing.assert_allclose(table["confidence"], [sure for _, sure in expected["suspects"]], atol=1e-4)


def test_the_network_of_a_checkpoint_gives_the_scores_it_gave(home, expected):
    session = Session.open(home / "session")
    shutil.rmtree(home / "session" / "rounds" / "0003" / "scores")
    session.score()
    same(by_id(*session.rounds[-1].read_scores(session.cache)), expected["tuned"])


def test_an_interrupted_ingest_goes_on(home, expected):
    assert Cache.open(home / "unfinished").digest() == expected["unfinished"]
    cache = ingest("fits", home / "sky", out=home / "unfinished", prefix="u/", catalog=home / "sources.csv", **REQUEST)
    assert cache.digest() == expected["finished"]


def test_an_interrupted_survey_goes_on(home, expected):
    session = Session.open(home / "session")
    # the name of the scores' folder has a hash of the round's recipe, which holds the places of the caches
    folder = session.rounds[-1].in_survey(home / "survey")
    next((home / "survey").glob("round-*")).rename(folder)
    report = session.score_source(
        "fits", home / "sky", out=home / "survey", top=5, prefix="s/", catalog=home / "sources.csv", **REQUEST
    )
    assert report.scored == 40
    found = {}
    for part in list_parts(report.scores, session.classes):
        found |= by_id(part.ids, part.log_odds)
    same(found, expected["survey"])
    assert sorted(Cache.open(report.best).ids) == expected["survey kept"]
