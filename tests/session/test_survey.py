"""A whole survey scored: the scores of an ingested one, the best cutouts kept, nothing lost to a kill."""

import csv

import h5py
import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table
from astropy_healpix import HEALPix

from astroanomaly import Cache, CutoutBlock, Failure, Session, ingest
from astroanomaly.cache.scores import list_parts
from astroanomaly.cli import main
from astroanomaly.errors import AstroAnomalyError, CacheError, ConfigError, SessionError
from astroanomaly.ingestion import workers
from astroanomaly_plugins.fits import FitsSource
from programs import kill_once
from servers.surveys import LegacyServer, SurveySky

SURVEY = "survey/"  # put before the ids: the same objects as those of the session, under other names


@pytest.fixture
def trained(new_session, sky):
    """A session on the small sky whose probe has learnt."""
    with sky[0].truth.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    session = new_session(computed=True)
    for wanted in ("nominal", "anomaly"):
        ids = [row["object_id"] for row in rows if (row["class"] == "nominal") == (wanted == "nominal")]
        session.label([name for name in ids if name in session.cache][:8], wanted)
    session.train("probe")
    return session


def run(session, sky, out, source="fits", **more):
    given = {"catalog": sky[0].catalog, "size": "48", "prefix": SURVEY, "top": 20, **more}
    return session.score_source(source, sky[0].mosaics, out=out, **given)


def survey_scores(report):
    parts = list(list_parts(report.scores, ("nominal", "anomaly")))
    ids = [name for part in parts for name in part.ids]
    return ids, np.concatenate([part.log_odds for part in parts]), parts


@pytest.mark.parametrize("ranker", ["probe", "tuned", "fixmatch"])
def test_the_scores_are_those_of_an_ingested_survey(trained, sky, tmp_path, ranker):
    if ranker != "probe":
        trained.train(ranker)
    known, expected = trained.scores()
    ra, dec = trained.cache.positions
    report = run(trained, sky, tmp_path / "out")
    ids, log_odds, parts = survey_scores(report)
    assert report.scored == len(ids) == len(known)
    assert not report.failed
    place = {SURVEY + name: row for row, name in enumerate(known)}
    rows = [place[name] for name in ids]
    np.testing.assert_allclose(log_odds, expected[rows], atol=1e-4)
    np.testing.assert_array_equal(np.concatenate([part.ra for part in parts]), ra[rows])
    np.testing.assert_array_equal(np.concatenate([part.dec for part in parts]), dec[rows])


def test_a_survey_that_is_asked_for_is_recorded_and_replayed(trained, tmp_path):
    sky, record = SurveySky(trained.cache.bands, 0.262), str(tmp_path / "record")
    ra, dec = sky.places([60.0, 200.0, 320.0], [60.0, 150.0, 200.0])
    with LegacyServer(sky) as server:
        asked = {"catalog": Table({"object_id": [*"abc"], "ra": ra, "dec": dec}), "server": server.address}
        asked |= {"size": 48, "bands": trained.cache.bands, "workers": 1}
        first = trained.score_source("legacy", out=tmp_path / "first", fetch={"record": record}, **asked)
        assert first.scored == 3
    again = trained.score_source("legacy", out=tmp_path / "again", workers=1, fetch={"replay": record})
    (ids, scores, _), (same_ids, same_scores, _) = survey_scores(first), survey_scores(again)
    assert sorted(ids) == sorted(same_ids)  # they come as they are answered
    np.testing.assert_allclose(scores[np.argsort(ids)], same_scores[np.argsort(same_ids)], atol=1e-4)
    with pytest.raises(ConfigError, match="another --out"):
        trained.score_source("legacy", out=tmp_path / "first", workers=1, fetch={"replay": record})


def test_the_best_are_kept_as_they_would_be_ingested_and_join_the_session(trained, sky, tmp_path):
    report = run(trained, sky, tmp_path / "out")
    ids, log_odds, _ = survey_scores(report)
    best = [ids[row] for row in np.lexsort((ids, log_odds[:, 0]))[:20]]
    kept = Cache.open(report.best)
    assert report.kept == 20
    assert sorted(kept.ids) == sorted(best)
    whole = ingest("fits", sky[0].mosaics, out=tmp_path / "whole", catalog=sky[0].catalog, size="48", prefix=SURVEY)
    for name in best:
        one, other = kept[name], whole[name]
        np.testing.assert_array_equal(one.data, other.data)
        assert one.wcs.to_header() == other.wcs.to_header()
        assert dict(one.columns) == dict(other.columns)
    again = Session.open(trained.path)
    assert set(best) < set(again.cache.ids)
    assert best[0] in set(again.candidates(10, include_labelled=True, merge_radius_arcsec=0)["object_id"])
    assert not (tmp_path / "out" / "cutting").exists()


def test_objects_that_the_session_has_are_scored_but_not_kept_again(trained, sky, tmp_path):
    few = Table.read(sky[0].catalog)
    new = [str(name) for name in few["object_id"]][:30]
    few["object_id"] = [f"new{name}" if name in new else name for name in few["object_id"]]
    few.write(tmp_path / "renamed.ecsv")
    report = run(trained, sky, tmp_path / "out", catalog=tmp_path / "renamed.ecsv", prefix="", top=1000)
    assert report.scored == 130
    assert set(Cache.open(report.best).ids) == {f"new{name}" for name in new}
    assert len(Session.open(trained.path).cache) == 130 + report.kept


def test_a_later_round_scores_again_and_keeps_what_is_new(trained, sky, tmp_path):
    first = run(trained, sky, tmp_path / "out")
    trained.train("cold")
    second = run(trained, sky, tmp_path / "out", top=25)
    assert first.scores != second.scores
    assert len(list(first.scores.glob("*.h5"))) == len(list(second.scores.glob("*.h5")))
    one, two = Cache.open(first.best), Cache.open(second.best)
    assert (len(one), len(two)) == (20, 25)
    assert not set(one.ids) & set(two.ids)
    assert len(Session.open(trained.path).cache) == 130 + 45
    assert run(trained, sky, tmp_path / "out", top=30).kept == 30
    assert len(Session.open(trained.path).cache) == 130 + 50


def test_a_round_is_fitted_again_on_what_it_was_fitted_on(trained, sky, tmp_path):
    """What joined since does not change its scale, or objects of one round could not be compared."""
    before = trained.scores()[1]
    run(trained, sky, tmp_path / "out")
    again = Session.open(trained.path)
    for path in again.last_round.scores.glob("*.h5"):
        path.unlink()
    again.score()
    np.testing.assert_allclose(again.scores()[1][:130], before, atol=1e-5)


@pytest.mark.parametrize("suffix", ["fits", "csv"])
def test_all_scores_come_out_as_one_table(trained, sky, tmp_path, suffix):
    report = run(trained, sky, tmp_path / "out")
    ids, log_odds, parts = survey_scores(report)
    assert trained.export_scores(tmp_path / f"all.{suffix}", survey=tmp_path / "out") == 130
    table = Table.read(tmp_path / f"all.{suffix}")
    assert [str(name) for name in table["object_id"]] == ids
    np.testing.assert_allclose(table["score"], -log_odds[:, 0], rtol=1e-6)
    np.testing.assert_allclose(table["ra"], np.concatenate([part.ra for part in parts]))
    trained.train("cold")  # a later round, which has not scored the survey
    assert trained.export_scores(tmp_path / f"more.{suffix}", survey=tmp_path / "out") == 130
    next(report.scores.glob("*.h5")).unlink()
    with pytest.raises(SessionError, match="which goes on where it stopped"):
        trained.export_scores(tmp_path / f"part.{suffix}", survey=tmp_path / "out")
    with pytest.raises(SessionError, match=r"no round of .* has scored"):
        trained.export_scores(tmp_path / f"none.{suffix}", survey=tmp_path / "nowhere")


def test_two_processes_give_the_same(trained, sky, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_BATCH_BYTES", 40 * 3 * 48 * 48 * 4)
    one = run(trained, sky, tmp_path / "one")
    other = Session.open(trained.path)
    two = run(other, sky, tmp_path / "two", workers=2, prefix="other/")
    first, second = survey_scores(one), survey_scores(two)
    assert [name.removeprefix(SURVEY) for name in first[0]] == [name.removeprefix("other/") for name in second[0]]
    np.testing.assert_allclose(first[1], second[1], atol=1e-4)


SLOW = """
import sys
import time
from astroanomaly import Session
from astroanomaly.ingestion import plan, workers
from astroanomaly.session.survey import score as survey
workers._BATCH_BYTES = 1
plan.SHARD_BYTES = 4 * 10 * 3 * 48 * 48 * 4  # ten objects in a task
before = survey.score_part


def slow(*arguments):
    time.sleep(0.05)
    return before(*arguments)


survey.score_part = slow
session = Session.open(sys.argv[1])
print("started", flush=True)
session.score_source(
    "fits", sys.argv[4:], out=sys.argv[2], catalog=sys.argv[3], size="48", prefix="survey/", top=20
)
print("finished", flush=True)
"""


@pytest.mark.faults
def test_a_killed_run_goes_on_and_loses_nothing(trained, sky, tmp_path, monkeypatch):
    """Kill -9 as soon as some score files are there: none is written twice, and the end is the same."""
    calm = survey_scores(run(Session.open(trained.path), sky, tmp_path / "calm", prefix="calm/"))
    trained = Session.open(trained.path)
    out = tmp_path / "out"
    words = trained.path, out, sky[0].catalog, *sky[0].mosaics
    kill_once(lambda: len(list(out.glob("*/scores/[0-9]*.h5"))) >= 4, SLOW, *words)
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("*/scores/[0-9]*.h5")}
    monkeypatch.setattr(workers, "_BATCH_BYTES", 1)
    report = run(trained, sky, out)
    ids, log_odds, parts = survey_scores(report)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*/scores/[0-9]*.h5")}.items() >= written.items()
    assert len(parts) > len(written) >= 4
    order, calm_order = np.argsort(ids), np.argsort(calm[0])
    assert [ids[k].removeprefix(SURVEY) for k in order] == [calm[0][k].removeprefix("calm/") for k in calm_order]
    np.testing.assert_allclose(log_odds[order], calm[1][calm_order], atol=1e-4)
    assert report.kept == 20


def test_objects_off_the_survey_are_counted(trained, sky, tmp_path):
    table = Table.read(sky[0].catalog)["object_id", "ra", "dec"]
    table.add_row(("nowhere", 0.0, -80.0))
    table.write(tmp_path / "more.ecsv")
    report = run(trained, sky, tmp_path / "out", catalog=tmp_path / "more.ecsv")
    assert (report.scored, report.no_coverage, report.failed.total()) == (130, 1, 0)
    resumed = run(trained, sky, tmp_path / "out", catalog=tmp_path / "more.ecsv")
    assert (resumed.scored, resumed.no_coverage, resumed.kept) == (130, 1, 20)


class OneFails(FitsSource):
    """The source of FITS images, but that the disk stutters at one object."""

    def __init__(self, name):
        self.lost = name

    def read(self, task):
        for item in super().read(task):
            if isinstance(item, CutoutBlock) and self.lost in item.ids:
                yield Failure(self.lost, "the disk stuttered")
                item = item.take(np.array([k for k, name in enumerate(item.ids) if name != self.lost]))
            yield item


def test_tasks_with_failures_are_done_again_on_request(trained, sky, tmp_path):
    table = Table.read(sky[0].catalog)["object_id", "ra", "dec"]
    table.write(tmp_path / "all.ecsv")
    broken = OneFails(str(table["object_id"][0]))
    report = run(trained, sky, tmp_path / "out", source=broken, catalog=tmp_path / "all.ecsv")
    assert (report.scored, report.failed) == (129, {"the disk stuttered": 1})
    assert run(trained, sky, tmp_path / "out", catalog=tmp_path / "all.ecsv").scored == 129
    again = run(trained, sky, tmp_path / "out", catalog=tmp_path / "all.ecsv", retry_failed=True)
    assert (again.scored, again.failed) == (130, {})


def test_caches_that_joined_meanwhile_stay(trained, sky, tmp_path):
    """Another process adds a cache while this one scores a survey."""
    other = ingest("fits", sky[0].mosaics, out=tmp_path / "b", catalog=sky[0].catalog, size="48", prefix="b/")
    here, elsewhere = Session.open(trained.path), Session.open(trained.path)
    assert here.cache  # opened before
    elsewhere.score(tmp_path / "b")
    report = run(here, sky, tmp_path / "out")
    folders = [str(folder) for folder in Session.open(trained.path).cache.folders]
    assert {str(other.folders[0]), str(report.best)} < set(folders)


def test_a_path_may_be_spelt_otherwise_the_next_time(trained, sky, tmp_path):
    run(trained, sky, tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    report = run(Session.open(trained.path), sky, tmp_path / "link" / ".." / "out")
    assert report.kept == 20
    assert len(Session.open(trained.path).cache) == 150


# -------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("damage", ["classes", "task", "failures"])
def test_a_damaged_score_file_is_named(trained, sky, tmp_path, damage):
    report = run(trained, sky, tmp_path / "out")
    path = next(report.scores.glob("*.h5"))
    with h5py.File(path, "r+") as file:
        if damage == "classes":
            file.attrs["classes"] = '["nominal"]'
        elif damage == "task":
            file["task"][...] = 10**6
        else:
            del file["failures"]
    with pytest.raises(CacheError, match=path.name):
        run(trained, sky, tmp_path / "out")


def test_what_does_not_fit_is_refused_before_anything_is_cut(trained, sky, tmp_path):
    with pytest.raises(ConfigError, match="top=0: expected a whole number, 1 or more"):
        run(trained, sky, tmp_path / "a", top=0)
    one_band = [path for path in sky[0].mosaics if "_g" in path.name or "-g" in path.name]
    assert len(one_band) == 2
    with pytest.raises(AstroAnomalyError, match="band"):
        trained.score_source("fits", one_band, out=tmp_path / "b", catalog=sky[0].catalog, size="48")
    assert not list((tmp_path / "b").rglob("scores"))
    with pytest.raises(AstroAnomalyError, match="48"):
        run(trained, sky, tmp_path / "c", size="32")
    assert not list((tmp_path / "c").rglob("scores"))


class CachesOnly:
    """A ranker without what `ImageRanker` asks for."""

    name, needs_labels, has_weights = "probe", True, False


def test_a_ranker_that_knows_caches_only_says_so(trained, sky, tmp_path):
    trained.fitted = (trained.last_round.number, CachesOnly())
    with pytest.raises(SessionError, match="'probe' cannot score images that are in no cache: ingest the survey"):
        run(trained, sky, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(trained, sky, tmp_path, capsys):
    mosaics = [str(path) for path in sky[0].mosaics]
    path, out = str(trained.path), str(tmp_path / "out")
    more = ["--catalog", str(sky[0].catalog), "--size", "48", "--prefix", SURVEY, "--top", "7", "--workers", "1"]
    assert main(["score", path, "--source", "fits", *mosaics, "--out", out, *more]) == 0
    said = capsys.readouterr().out
    assert "130 objects scored, 0 failed" in said
    assert "7 cutouts with the highest scores kept in " in said
    assert len(Session.open(path).cache) == 137
    assert main(["info", out]) == 0
    assert " 2 of 2 tasks scored" in capsys.readouterr().out
    assert main(["score", path, "--source", "fits", *mosaics]) == 2
    assert "--source and --out belong together" in capsys.readouterr().err
    assert main(["score", path, "--source", "fist", "--out", out]) == 2
    assert "fits" in capsys.readouterr().err
    assert main(["score", path, "--top", "7"]) == 2
    assert "--top goes with --source" in capsys.readouterr().err
    assert main(["score", path, "--workers", "2"]) == 2
    assert "--workers goes with --scheduler" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["score", path, "--sour", "fits", *mosaics, "--out", out])


def test_the_catalogue_may_be_hats_of_which_only_what_touches_the_images_is_opened(trained, sky, tmp_path):
    """Partitions as lsdb writes them (tests/data/hats): one Parquet file for each HEALPix cell."""
    table = Table.read(sky[0].catalog)
    ra, dec = (np.asarray(table[name], float) for name in ("ra", "dec"))
    cells = HEALPix(nside=2**10, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    folder = tmp_path / "hats" / "dataset" / "Norder=10" / "Dir=0"
    folder.mkdir(parents=True)
    for cell in np.unique(cells).tolist():
        table[cells == cell].write(folder / f"Npix={cell}.parquet")
    (folder / "Npix=7.parquet").write_bytes(b"far away, and no Parquet")
    (tmp_path / "hats" / "hats.properties").write_text("#HATS catalog\nhats_col_ra=ra\nhats_col_dec=dec\n")
    report = run(trained, sky, tmp_path / "out", catalog=tmp_path / "hats")
    ids, log_odds, _ = survey_scores(report)
    expected, of_plain, _ = survey_scores(run(trained, sky, tmp_path / "plain"))
    assert sorted(ids) == sorted(expected)
    order, other = np.argsort(ids), np.argsort(expected)
    np.testing.assert_allclose(log_odds[order], of_plain[other], atol=1e-4)


def test_hats_is_scored_from_an_archive_partition_by_partition_on_dask(trained, tmp_path):
    sky = SurveySky(trained.cache.bands, 0.262)
    ra, dec = sky.places(np.linspace(40, 360, 12), np.linspace(40, 260, 12))
    table = Table({"object_id": [f"o{k}" for k in range(12)], "ra": ra, "dec": dec})
    cells = HEALPix(nside=2**14, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    folder = tmp_path / "hats" / "dataset" / "Norder=14" / "Dir=0"
    folder.mkdir(parents=True)
    for cell in np.unique(cells).tolist():
        table[cells == cell].write(folder / f"Npix={cell}.parquet")
    assert len(np.unique(cells)) > 3
    (tmp_path / "hats" / "hats.properties").write_text("hats_col_ra=ra\nhats_col_dec=dec\n")
    fetch = {"keep": str(tmp_path / "kept")}
    with LegacyServer(sky) as server:
        asked = {"server": server.address, "size": 48, "bands": trained.cache.bands, "fetch": fetch}
        one = trained.score_source("legacy", out=tmp_path / "one", catalog=table, workers=1, **asked)
        many = trained.score_source(
            "legacy", out=tmp_path / "many", catalog=tmp_path / "hats", scheduler="local", workers=2, **asked
        )
    (ids, scores, _), (same_ids, same_scores, _) = survey_scores(one), survey_scores(many)
    assert sorted(ids) == sorted(same_ids)
    assert len(ids) == 12
    np.testing.assert_allclose(scores[np.argsort(ids)], same_scores[np.argsort(same_ids)], atol=1e-4)
