"""Objects like others are found in a survey as in the session, from features of 8 bits that outlive a kill."""

import csv

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly.cache.file_digest import verify_npy
from astroanomaly.cache.scores import list_parts
from astroanomaly.cli import main
from astroanomaly.errors import CheckpointError, ConfigError, DamagedError, SessionError, UnknownObjectError
from astroanomaly.learn.features.quantised import ABSENT, PointQuantiser, products
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import unit_length

SURVEY = "survey/"


@pytest.fixture
def trained(new_session, sky):
    with sky[0].truth.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    session = new_session(computed=True)
    for wanted in ("nominal", "anomaly"):
        ids = [row["object_id"] for row in rows if (row["class"] == "nominal") == (wanted == "nominal")]
        session.label([name for name in ids if name in session.cache][:8], wanted)
    session.train("probe")
    return session


def score(session, sky, out, **more):
    given = {"catalog": sky[0].catalog, "size": "48", "prefix": SURVEY, "top": 1, "workers": 1, **more}
    return session.score_source("fits", sky[0].mosaics, out=out, **given)


def points_of(report):
    parts = list_parts(report.scores, ("nominal", "anomaly"))
    folder = report.scores.parent / "points"
    found = {}
    for part in parts:
        rows = np.load(folder / f"{part.tasks.min():010d}.npy")
        found.update(zip(part.ids, rows, strict=True))
    return found


def test_products_of_few_bits_are_nearly_those_of_the_points():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(3000, 12)) @ rng.normal(size=(12, 40))).astype(np.float32)
    scaler = FeatureScaler.measure(features, (40,))
    quantiser = PointQuantiser.measure(scaler, features[:2000], "key")
    features[7] = np.nan
    stored, points = quantiser.quantise(features), scaler.transform(features)
    assert stored.dtype == np.int8
    assert stored[7, 0] == ABSENT
    assert (np.delete(stored, 7, axis=0) > ABSENT).all()
    found = products(stored, quantiser.query(stored[[3, 90]]), quantiser.step)
    np.testing.assert_allclose(found[[3, 90]], 1, atol=1e-6)
    assert found[7] == -np.inf
    expected = (points @ unit_length(points[[3, 90]]).T).max(axis=1)
    np.testing.assert_allclose(np.delete(found, 7), np.delete(expected, 7), atol=0.03)


@pytest.mark.parametrize("ranker", ["probe", "tuned"])
def test_a_survey_holds_the_like_of_an_object_as_the_session_does(trained, sky, tmp_path, ranker):
    """`probe` scores by frozen features, which are quantised as they come; `tuned` by a network of its own."""
    if ranker == "tuned":
        trained.train(ranker)
    plain = score(trained, sky, tmp_path / "plain")
    report = score(trained, sky, tmp_path / "out", keep_features=True)
    for one, other in zip(*(list_parts(r.scores, trained.classes) for r in (plain, report)), strict=True):
        np.testing.assert_allclose(one.log_odds, other.log_odds, atol=1e-5)
    wanted = trained.cache.ids[40]
    here, there = trained.similar([wanted], 20), trained.similar([wanted], 21, survey=tmp_path / "out")
    assert there["object_id"][0] == SURVEY + wanted
    assert there["distance"][0] == pytest.approx(0, abs=5e-3)  # the same features, in 32 bits
    assert wanted not in set(here["object_id"])
    names = {str(name).removeprefix(SURVEY) for name in there["object_id"][1:]}
    assert len(names & {str(name).removeprefix(SURVEY) for name in here["object_id"]}) >= 17
    assert (np.diff(there["distance"]) >= 0).all()
    known, scores = trained.scores()
    place = dict(zip(known, scores[:, 0], strict=True))
    expected = [-place[str(name).removeprefix(SURVEY)] for name in there["object_id"]]
    np.testing.assert_allclose(there["score"], expected, atol=1e-4)
    of_survey = trained.similar([SURVEY + wanted], 20, survey=tmp_path / "out")  # no cutout of it is there
    assert list(of_survey["object_id"]) == list(there["object_id"][1:])


@pytest.mark.slow
def test_the_workers_of_a_cluster_keep_features(trained, sky, tmp_path, monkeypatch):
    monkeypatch.setattr("astroanomaly.ingestion.workers._BATCH_BYTES", 40 * trained.cache.layout.nbytes)
    first = score(trained, sky, tmp_path / "out", keep_features=True)
    calm = points_of(first)
    for path in (*first.scores.glob("0*.h5"), *(first.scores.parent / "points").glob("0*.npy")):
        path.unlink()
    found = points_of(score(trained, sky, tmp_path / "out", keep_features=True, scheduler="local", workers=2))
    assert found.keys() == calm.keys()
    assert all(np.abs(found[key].astype(int) - calm[key]).max() <= 1 for key in calm)
    assert trained.similar(trained.cache.ids[:1], 21, survey=tmp_path / "out")["object_id"][0].startswith(SURVEY)


def test_what_a_kill_leaves_is_completed(trained, sky, tmp_path):
    first = score(trained, sky, tmp_path / "out")  # without features
    assert not (first.scores.parent / "points").exists()
    with pytest.raises(SessionError, match="--keep-features"):
        trained.similar(trained.cache.ids[:1], survey=tmp_path / "out")
    report = score(trained, sky, tmp_path / "out", keep_features=True)
    whole = points_of(report)
    assert len(whole) == report.scored == 130
    folder = report.scores.parent / "points"
    name = next(report.scores.glob("0*.h5")).stem
    assert verify_npy(folder / f"{name}.npy")
    for path in (report.scores / f"{name}.h5", folder / f"{name}.npy"):  # killed before either, or between both
        path.unlink()
        (folder / "9999999999.npy").write_bytes(b"of another division into parts")
        again = score(trained, sky, tmp_path / "out")  # what was begun with features goes on with them
        assert again.scored == 130
        assert not (folder / "9999999999.npy").exists()
        found = points_of(again)
        assert found.keys() == whole.keys()
        assert all(np.abs(found[key].astype(int) - whole[key]).max() <= 1 for key in whole)


def test_what_cannot_be_is_refused(trained, sky, tmp_path):
    with pytest.raises(ConfigError, match="keep_features"):
        score(trained, sky, tmp_path / "out", keep_features=True, recall=0.9)
    report = score(trained, sky, tmp_path / "out", keep_features=True)
    with pytest.raises(UnknownObjectError, match="nobody"):
        trained.similar(["nobody"], survey=tmp_path / "out")
    with pytest.raises(SessionError, match="no object was given"):
        trained.similar([])
    folder = report.scores.parent / "points"
    path = next(folder.glob("0*.npy"))
    np.save(path, np.load(path)[:, :-1])
    with pytest.raises(DamagedError, match="give the command that scored the survey again"):
        trained.similar(trained.cache.ids[:1], survey=tmp_path / "out")
    (folder / "quantiser.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match="is missing or damaged"):
        trained.similar(trained.cache.ids[:1], survey=tmp_path / "out")


def test_the_command_writes_a_table_that_can_be_ingested(trained, sky, tmp_path, capsys):
    out, table = tmp_path / "out", tmp_path / "near.fits"
    given = ["--catalog", str(sky[0].catalog), "--size", "48", "--prefix", SURVEY, "--workers", "1", "--top", "1"]
    mosaics = [str(path) for path in sky[0].mosaics]
    words = ["score", str(trained.path), "--source", "fits", *mosaics, *given, "--out", str(out), "--keep-features"]
    assert main(words) == 0
    wanted = trained.cache.ids[40]
    capsys.readouterr()
    assert main(["similar", str(trained.path), wanted, "--survey", str(out), "-n", "5", "--out", str(table)]) == 0
    assert SURVEY + wanted in capsys.readouterr().out
    found = Table.read(table)
    assert len(found) == 5
    assert np.isfinite(found["ra"]).all()
    words = ["ingest", "fits", *mosaics, "--catalog", str(table), "--size", "48", "--out", str(tmp_path / "near")]
    assert main(words) == 0


def test_objects_of_the_blind_audit_are_not_shown(trained, sky, tmp_path):
    report = score(trained, sky, tmp_path / "out", prefix="", keep_features=True)
    assert report.scored == 130
    wanted = trained.cache.ids[40]
    trained.add_audit(60)
    after = trained.similar([wanted], 130, survey=tmp_path / "out")
    assert not set(after["object_id"]) & set(trained.labels.audit)
    assert len(after) == 130 - len(set(trained.labels.audit) | {wanted})


def test_the_latest_scores_with_features_are_looked_at_and_only_if_all_are_there(trained, sky, tmp_path):
    report = score(trained, sky, tmp_path / "out", keep_features=True)
    wanted = trained.cache.ids[40]
    before = trained.similar([wanted], 5, survey=tmp_path / "out")
    trained.train("probe")
    score(trained, sky, tmp_path / "out")  # a later round, without features
    after = trained.similar([wanted], 5, survey=tmp_path / "out")
    assert list(after["object_id"]) == list(before["object_id"])
    next(report.scores.glob("0*.h5")).unlink()
    with pytest.raises(SessionError, match=r"is not finished, with scores of \d+ of \d+ tasks"):
        trained.similar([wanted], 5, survey=tmp_path / "out")
