"""The best of a survey without scoring all of it: what is found, what is told of what is missing, a kill, damage."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.stats import binom

import cluster_parts
from astroanomaly import Cache, Session, ingest
from astroanomaly.cache import Shard
from astroanomaly.cache.scores import Reason, list_parts
from astroanomaly.cli import main
from astroanomaly.errors import CheckpointError, ConfigError, SessionError, TrainingError
from astroanomaly.ingestion import plan, workers
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.learn.student import Student
from astroanomaly.records import drain
from astroanomaly.session.fitted import fitted_steps
from astroanomaly.session.survey import parts
from astroanomaly.session.survey.cascade import Cascade
from astroanomaly.session.survey.recall_bound import allowed_misses, missing, sample_share
from programs import kill_once
from small_sky import header

CELL, SIDE = 24, 20  # pixels of a cell of the mosaic, and cells in a row
SIZE = "20"
TOP, RECALL = 40, 0.7


def mosaic(folder, rows, seed):
    """Write discs, one in each cell, one in ten of them with a hole; return the image and the catalogue."""
    rng = np.random.default_rng(seed)
    shape = (rows * CELL, SIDE * CELL)
    pixels = rng.normal(0, 2, shape).astype(np.float32)
    y, x = np.mgrid[:CELL, :CELL] - (CELL - 1) / 2
    for row in range(rows):
        for column in range(SIDE):
            angle, flat, size = rng.uniform(0, np.pi), rng.uniform(0.4, 1), rng.uniform(3, 6)
            u, v = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / flat
            disc = np.exp(-((np.hypot(u, v) / size) ** 2))
            if rng.uniform() < 0.1:
                disc -= np.exp(-((np.hypot(u, v) / size * 2) ** 2))
            pixels[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] += 100 * disc
    folder.mkdir()
    head = header(shape=shape, FILTER="g", BUNIT="nJy")
    fits.PrimaryHDU(pixels, head).writeto(folder / "m_g.fits")
    grid = np.mgrid[:rows, :SIDE] * CELL + (CELL - 1) / 2
    sky = WCS(head).pixel_to_world(grid[1].ravel(), grid[0].ravel())
    names = [f"o{number:04d}" for number in range(rows * SIDE)]
    Table({"object_id": names, "ra": sky.ra.deg, "dec": sky.dec.deg}).write(folder / "objects.ecsv")
    return folder / "m_g.fits", folder / "objects.ecsv"


@pytest.fixture(scope="module")
def surveys(tmp_path_factory):
    """A part that was searched, and a survey of 600 objects."""
    folder = tmp_path_factory.mktemp("cascade")
    return mosaic(folder / "part", 15, 1), mosaic(folder / "whole", 30, 2)


@pytest.fixture
def trained(surveys, tmp_path, tiny):
    image, catalog = surveys[0]
    ingest("fits", [image], out=tmp_path / "cache", catalog=catalog, size=SIZE)
    session = Session.create(tmp_path / "search", tmp_path / "cache", settings=tiny)
    middle = {name: session.cache[name].data[0, 8:12, 8:12].mean() for name in session.cache.ids}
    ordered = sorted(middle, key=middle.get)  # those with a hole come first
    session.label(ordered[:10], "anomaly")
    session.label(ordered[-20:], "nominal")
    session.train("probe")
    return session


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(workers, "_BATCH_BYTES", 1)
    monkeypatch.setattr(plan, "SHARD_BYTES", 4 * 50 * 20 * 20 * 4)  # fifty objects in a task


def run(session, surveys, out, **more):
    image, catalog = surveys[1]
    given = {"catalog": catalog, "size": SIZE, "prefix": "survey/", "top": TOP, "recall": RECALL, **more}
    return session.score_source("fits", [image], out=out, **given)


def told(report):
    found = list(list_parts(report.scores, ("nominal", "anomaly")))
    ids = [name for part in found for name in part.ids]
    order = np.argsort(ids)
    names = ("log_odds", "guesses", "reasons")
    columns = [np.concatenate([getattr(part, name) for part in found])[order] for name in names]
    return [ids[row] for row in order], *columns


def whole(session, surveys, tmp_path):
    """Scores of all objects of the survey."""
    report = run(Session.open(session.path), surveys, tmp_path / "full", recall=None)
    found = list(list_parts(report.scores, ("nominal", "anomaly")))
    ids = [name for part in found for name in part.ids]
    return np.concatenate([-part.log_odds[:, 0] for part in found])[np.argsort(ids)]


# ------------------------------------------------------------------------------------------------ what is found


def test_the_best_are_found_and_the_scores_are_the_rankers_own(trained, surveys, tmp_path, small_batches):
    report = run(trained, surveys, tmp_path / "out")
    ids, log_odds, guesses, reasons = told(report)
    found, scores = report.cascade, whole(trained, surveys, tmp_path)
    scored = reasons > 0
    assert len(ids) == report.scored == found.objects == 600
    np.testing.assert_allclose(-log_odds[scored, 0], scores[scored], atol=1e-4)
    assert np.isnan(log_odds[~scored]).all()
    assert np.isfinite(guesses).all()
    assert np.corrcoef(guesses, scores)[0, 1] > 0.5
    assert found.scored == scored.sum() < 540
    assert found.drawn == (reasons & Reason.DRAWN > 0).sum()
    assert abs(found.drawn / 600 - sample_share(TOP, RECALL)) < 0.07
    best = np.argsort(-scores)[:TOP]
    true = scored[best].mean()
    assert RECALL <= found.lowest <= true <= found.highest
    kept = set(Cache.open(report.best).ids)
    assert report.kept == TOP == len(kept)
    assert len(kept & {ids[row] for row in best}) == scored[best].sum()
    assert not (tmp_path / "out" / "cutting").exists()


def test_more_is_scored_where_the_first_threshold_loses_too_much(trained, surveys, tmp_path, small_batches):
    first = run(trained, surveys, tmp_path / "out")
    place = first.scores.parent
    state = json.loads((place / "cascade.json").read_text())
    before = told(first)
    for path in first.scores.glob("*.h5"):
        path.unlink()
    (place / "cascade.json").write_text(json.dumps(state | {"threshold": 1e6}))
    again = run(Session.open(trained.path), surveys, tmp_path / "out", workers=2)
    ids, log_odds, guesses, reasons = told(again)
    lowered = json.loads((place / "cascade.json").read_text())["threshold"]
    assert lowered < 1e6
    assert again.cascade.lowest >= RECALL
    assert ((reasons > 0) | (guesses < lowered)).all()
    assert (reasons == Reason.GUESS).any()
    assert ids == before[0]
    both = (reasons > 0) & (before[3] > 0)
    np.testing.assert_allclose(log_odds[both], before[1][both], atol=1e-4)
    assert np.isfinite(log_odds[reasons > 0]).all()


def test_objects_unlike_those_of_the_session_are_scored(trained, surveys, tmp_path):
    """Two hundred of the survey's objects are replaced by stripes, which no disc resembles."""
    image, catalog = surveys[1]
    with fits.open(image) as file:
        pixels, head = file[0].data.copy(), file[0].header
    pixels[: 10 * CELL] = 100 * (np.indices((10 * CELL, SIDE * CELL)).sum(axis=0) // 3 % 2)
    fits.PrimaryHDU(pixels.astype(np.float32), head).writeto(tmp_path / "striped_g.fits")
    report = run(trained, ((), (tmp_path / "striped_g.fits", catalog)), tmp_path / "out")
    _, _, _, reasons = told(report)
    far = reasons & Reason.FAR > 0
    assert far[:180].all()
    assert far[220:].mean() < 0.1


def test_all_scores_come_out_as_one_table_in_which_the_others_have_none(trained, surveys, tmp_path):
    report = run(trained, surveys, tmp_path / "out")
    ids, log_odds, _, reasons = told(report)
    assert trained.export_scores(tmp_path / "all.fits", survey=tmp_path / "out") == 600
    table = Table.read(tmp_path / "all.fits")
    table.sort("object_id")
    assert [str(name) for name in table["object_id"]] == ids
    np.testing.assert_array_equal(np.isnan(np.ma.filled(table["score"], np.nan)), reasons == 0)
    np.testing.assert_allclose(np.ma.filled(table["score"], np.nan), -log_odds[:, 0], rtol=1e-6)
    state = report.scores.parent / "cascade.json"
    left = {name: value for name, value in json.loads(state.read_text()).items() if name != "report"}
    state.write_text(json.dumps(left))
    with pytest.raises(SessionError, match="which goes on where it stopped"):
        trained.export_scores(tmp_path / "part.fits", survey=tmp_path / "out")


SLOW = """
import sys
import time
from astroanomaly import Session
from astroanomaly.ingestion import plan, workers
from astroanomaly.learn.rankers.probe import Probe
from astroanomaly.session.survey import score as survey
workers._BATCH_BYTES = 1
plan.SHARD_BYTES = 4 * 50 * 20 * 20 * 4
before = survey.score_part


def slow(*arguments):
    time.sleep(0.05)
    return before(*arguments)


survey.score_part = slow
session = Session.open(sys.argv[1])
print("started", flush=True)
session.score_source(
    "fits", [sys.argv[3]], out=sys.argv[2], catalog=sys.argv[4], size="20", prefix="survey/", top=40, recall=0.7
)
"""


@pytest.mark.faults
def test_a_killed_run_goes_on_and_ends_as_a_calm_one(trained, surveys, tmp_path, small_batches):
    calm = run(Session.open(trained.path), surveys, tmp_path / "calm", prefix="survey/")
    out = tmp_path / "out"
    other = twin(trained, tmp_path)
    kill_once(lambda: len(list(out.glob("*/scores/[0-9]*.h5"))) >= 4, SLOW, other.path, out, *surveys[1])
    written = len(list(out.glob("*/scores/[0-9]*.h5")))
    report = run(other, surveys, out)
    assert 4 <= written < len(list(report.scores.glob("*.h5")))
    same(report, calm)


def same(report, calm):
    assert report.cascade == calm.cascade
    assert (report.scored, report.kept) == (calm.scored, calm.kept)
    one, two = told(report), told(calm)
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[3], two[3])
    np.testing.assert_allclose(one[1], two[1], atol=1e-4)
    assert sorted(Cache.open(report.best).ids) == sorted(Cache.open(calm.best).ids)
    assert not (report.scores.parent.parent / "cutting").exists()


def twin(session, folder):
    """The same session once more, which no survey has joined."""
    other = Session.create(folder / "other", folder / "cache", settings=dict(session.settings))
    table = session.labels_table()
    for name, label in zip(table["object_id"], table["label"], strict=True):
        other.label(str(name), str(label))
    other.train("probe")
    return other


def test_what_a_lost_worker_writes_late_undoes_nothing(trained, surveys, tmp_path, monkeypatch):
    late = []

    def recording(survey, score, name, cut, tasks):
        late.append((survey, score, name, shutil.copytree(cut, tmp_path / "late"), tasks))
        return parts.score_part(survey, score, name, cut, tasks)

    monkeypatch.setattr("astroanomaly.session.survey.score.score_part", recording)
    monkeypatch.setattr(Student, "threshold", lambda self, share: 1e6)
    report = run(trained, surveys, tmp_path / "out")
    before = told(report)
    assert (before[3] == Reason.GUESS).any()
    late[0][1].threshold = 1e6  # as it was
    parts.score_part(*late[0])
    np.testing.assert_array_equal(told(report)[3], before[3])


def test_objects_that_cannot_be_cut_once_more_are_told_and_tried_again(
    trained, surveys, tmp_path, small_batches, monkeypatch
):
    monkeypatch.setattr(Student, "threshold", lambda self, share: 1e6)  # so that more has to be scored
    calm = run(Session.open(trained.path), surveys, tmp_path / "calm")
    image, catalog = surveys[1]
    mine, lower = tmp_path / "mine_g.fits", Cascade.lower
    shutil.copy(image, mine)

    def cut_off(self, threshold):
        mine.write_bytes(mine.read_bytes()[: mine.stat().st_size // 2])
        lower(self, threshold)

    other = twin(trained, tmp_path)
    monkeypatch.setattr(Cascade, "lower", cut_off)
    report = run(other, ((), (mine, catalog)), tmp_path / "out")
    _, log_odds, _, reasons = told(report)
    without = (reasons == Reason.GUESS) & np.isnan(log_odds[:, 0])
    assert report.failed.total() == without.sum() > 0
    assert report.cascade.scored == np.isfinite(log_odds[:, 0]).sum()
    assert report.cascade.lowest <= max(0, calm.cascade.lowest - without.sum() / TOP) + 0.1
    monkeypatch.setattr(Cascade, "lower", lower)
    shutil.copy(image, mine)
    again = run(Session.open(other.path), ((), (mine, catalog)), tmp_path / "out", retry_failed=True)
    assert not again.failed
    _, log_odds, _, reasons = told(again)
    assert np.isfinite(log_odds[reasons > 0]).all()
    assert again.cascade.scored >= calm.cascade.scored
    assert again.cascade.lowest >= RECALL


@pytest.mark.slow
def test_a_cluster_of_this_machine_gives_the_same(trained, surveys, tmp_path, small_batches):
    calm = run(Session.open(trained.path), surveys, tmp_path / "calm")
    same(run(twin(trained, tmp_path), surveys, tmp_path / "out", scheduler="local", workers=2), calm)


@pytest.mark.faults
def test_lost_workers_and_a_break_change_nothing(trained, surveys, tmp_path, small_batches, monkeypatch):
    """A worker dies in the first pass; the run is broken off; another worker dies while more is scored."""
    from distributed import Client, LocalCluster

    monkeypatch.setattr(Student, "threshold", lambda self, share: 1e6)  # so that more has to be scored
    calm = run(Session.open(trained.path), surveys, tmp_path / "calm")
    other, out = twin(trained, tmp_path), tmp_path / "out"
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", memory_limit=0
    ) as cluster:
        address = cluster.scheduler_address
        image, catalog = surveys[1]
        request = SourceRequest.of("fits", [image], options={"catalog": catalog, "size": SIZE}, prefix="survey/")
        with Client(cluster, set_as_default=False) as client:
            (tmp_path / "first").mkdir()
            client.run(cluster_parts.die_after_scoring_a_survey, str(tmp_path / "first"), 1, "score_part")
            steps = other.score_source_steps(request, out=out, top=TOP, recall=RECALL, scheduler=address)
            while (step := next(steps)).stage != "scoring" or step.done < 100:
                pass
            steps.close()
            client.restart()
            (tmp_path / "more").mkdir()
            client.run(cluster_parts.die_after_scoring_a_survey, str(tmp_path / "more"), 1, "rescored")
        report = run(other, surveys, out, scheduler=address)
    assert (tmp_path / "first" / "death-0").exists()
    assert (tmp_path / "more" / "death-0").exists()
    assert (told(report)[3] == Reason.GUESS).any()
    same(report, calm)


def test_on_the_command_line(trained, surveys, tmp_path, capsys):
    image, catalog = map(str, surveys[1])
    path, out = str(trained.path), str(tmp_path / "out")
    more = ["--catalog", catalog, "--size", SIZE, "--prefix", "survey/", "--workers", "1"]
    command = ["score", path, "--source", "fits", image, "--out", out, *more]
    assert main([*command, "--top", "40", "--recall", "0.7"]) == 0
    said, told_meanwhile = capsys.readouterr()
    assert "600 objects cut, 0 failed" in said
    assert "of the 40 highest scores: " in " ".join(said.split())
    assert "% of the objects will be scored" in " ".join(told_meanwhile.split())
    assert main(["info", out]) == 0
    assert "top-40-recall-0.7" in capsys.readouterr().out
    assert main([*command, "--top", "40", "--recall", "0.95"]) == 2
    assert "of the survey would have to be scored at random" in " ".join(capsys.readouterr().err.split())
    assert main(["score", path, "--recall", "0.9"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--recall goes with --source: the objects of a cache join the session" in said


# ------------------------------------------------------------------------------------------------ what is wrong


def test_what_cannot_be_is_refused_before_anything_is_cut(trained, surveys, tmp_path):
    for recall in (1.0, 0.0, 1.5):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            run(trained, surveys, tmp_path / "a", recall=recall)
    with pytest.raises(ConfigError, match=r"about 120 or more"):
        run(trained, surveys, tmp_path / "b", recall=0.95)
    with pytest.raises(ConfigError, match="leave keep_features out"):
        run(trained, surveys, tmp_path / "c", keep_features=True)
    assert not any((tmp_path / name).exists() for name in "abc")


class WholeShardsOnly(Probe):
    """A ranker whose `image_score` is any function of a shard, as the contract of plugins allows."""

    def image_score(self, cache, *, expected=0):
        return super().image_score(cache, expected=expected).__call__


def test_a_ranker_that_scores_whole_shards_only_says_so(trained, surveys, tmp_path):
    fitted = drain(fitted_steps(trained, trained.last_round))
    fitted.__class__ = WholeShardsOnly
    with pytest.raises(SessionError, match="'probe' cannot score some of the cutouts of a shard"):
        run(trained, surveys, tmp_path / "out")
    assert run(trained, surveys, tmp_path / "out", recall=None).scored == 600


def test_a_session_of_few_objects_says_so(sky, new_session, tmp_path):
    session = new_session(computed=True)
    session.train("cold")
    with pytest.raises(TrainingError, match="at least 200 are needed: score the survey in full"):
        session.score_source(
            "fits", sky[0].mosaics, out=tmp_path / "out", catalog=sky[0].catalog, size="48", prefix="s/", top=40,
            recall=0.7,
        )  # fmt: skip


@pytest.mark.parametrize("damage", ["student.npz", "cascade.json"])
def test_damaged_files_are_named(trained, surveys, tmp_path, damage):
    report = run(trained, surveys, tmp_path / "out")
    (report.scores.parent / damage).write_bytes(b'{"threshold": "high"}')
    with pytest.raises((CheckpointError, SessionError), match=damage):
        run(Session.open(trained.path), surveys, tmp_path / "out")


# ------------------------------------------------------------------------------------------------ the parts


def test_some_rows_are_scored_as_in_a_whole_shard(trained):
    score = drain(fitted_steps(trained, trained.last_round)).image_score(trained.cache)
    shard = trained.cache.shards[0]
    rows = np.array([200, 3, 77])
    np.testing.assert_allclose(score.of_rows(shard, rows), score(shard).log_odds[rows], atol=1e-5)
    assert score.of_rows(shard, rows[:0]).shape == (0, 2)
    with shard.path.open("r+b") as file:
        content = file.read()
        place = content.find(shard.read(77, 78).tobytes())
        file.seek(place)
        file.write(b"\x01" * 40)
    damaged = Shard(shard.path, shard.layout)
    assert np.isnan(score.of_rows(damaged, rows)).tolist() == [[False] * 2, [False] * 2, [True] * 2]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("found", [0, 1, 5])
def test_the_bounds_are_those_of_the_binomial_distribution(share, found):
    most, least = missing(found, share, 0.95), missing(found, share, 0.05)
    assert binom.cdf(found, most + found, share) >= 0.05 > binom.cdf(found, most + found + 1, share)
    if found:
        assert binom.sf(found - 1, least + found, share) >= 0.05
        assert not least or binom.sf(found - 1, least + found - 1, share) < 0.05
    else:
        assert least == 0


def test_the_sample_is_as_large_as_the_recall_needs():
    for top, recall in ((1000, 0.95), (10_000, 0.95), (1000, 0.99), (40, 0.7)):
        share = sample_share(top, recall)
        assert allowed_misses(top, recall, share) == 1
        assert allowed_misses(top, recall, 0.98 * share) < 1
    assert 0.08 < sample_share(1000, 0.95) < 0.09
    with pytest.raises(ConfigError, match="Ask for more objects"):
        sample_share(100, 0.99)
