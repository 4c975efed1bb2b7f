"""A whole session on a small cache: labels in, rounds, candidates, catalogue out; and what goes wrong on the way."""

import json
import shutil

import numpy as np
import pytest
from astropy.table import QTable

from astroanomaly import Cache, Session
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cli import main
from astroanomaly.errors import (
    BandError,
    CheckpointError,
    ConfigError,
    LabelError,
    PluginError,
    SessionError,
    TrainingError,
    UnknownObjectError,
    UnreadableError,
)
from astroanomaly.records import CutoutBlock, Failure, Layout, Task
from astroanomaly.session.export import describe
from astroanomaly.session.training import choose_ranker

SIZE = 32
TINY = {
    "input": {"size": SIZE},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "train": {"iterations": 3, "labelled_batch": 4, "pool": 40},
}


def make_cache(path, n=60, prefix="o", seed=0, bands=("g", "r", "i")):
    """Blobs, every tenth with a ring around it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    r = np.hypot(x, y)
    images = rng.normal(0, 0.1, (n, len(bands), SIZE, SIZE)).astype(np.float32)
    images += (3 * np.exp(-((r / rng.uniform(2, 3, (n, 1, 1, 1))) ** 2))).astype(np.float32)
    images[::10] += (2 * np.exp(-((r - 10) ** 2) / 2)).astype(np.float32)
    ids = [f"{prefix}{i:03d}" for i in range(n)]
    block = CutoutBlock(
        ids, images, bands, ra=rng.uniform(10, 11, n), dec=rng.uniform(-1, 1, n), columns={"mag": rng.normal(20, 1, n)}
    )
    layout = Layout(bands, SIZE, SIZE)
    create_cache(path, layout, [Task("t")], {"source": "test"})
    with ShardWriter(path, layout) as writer:
        writer.begin(0, "t")
        writer.add(block)
        writer.commit()
    return path


@pytest.fixture
def session(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY)
    made.label(["o000", "o010", "o020"], "anomaly", annotator="ann")
    made.label([f"o{i:03d}" for i in range(1, 9)], "nominal", annotator="ann")
    return made


@pytest.mark.parametrize("ranker", ["cold", "probe", "tuned", "fixmatch"])
def test_a_round_scores_every_object_and_survives_reopening(session, ranker):
    reports = []
    report = session.train(ranker, progress=reports.append)
    assert report.round.number == 1
    assert report.labels == ({} if ranker == "cold" else {"anomaly": 3, "nominal": 8})
    assert reports[-1].stage == "scoring"
    again = Session.open(session.path)
    ids, log_odds = again.scores()
    assert sorted(ids) == sorted(session.cache.ids)
    assert np.isfinite(log_odds[:, 0]).all()
    np.testing.assert_array_equal(log_odds, session.scores()[1])


def test_the_probe_finds_planted_rings(session):
    session.train("probe")
    found = list(session.candidates(6)["object_id"])
    assert {"o030", "o040", "o050"} <= set(found)
    assert not {"o000", "o010", "o020"} & set(found)
    everything = session.candidates(6, include_labelled=True)
    assert {"o000", "o010", "o020"} <= set(everything["object_id"])
    assert list(everything["rank"]) == [1, 2, 3, 4, 5, 6]


def test_equal_scores_share_a_rank_and_none_has_none(session, tmp_path):
    """A rank is 1 + how many have a higher score, so that it depends on no order of the table."""
    unranked = session.export(tmp_path / "known.fits", labelled="anomaly")
    assert unranked["rank"].mask.all()
    assert QTable.read(tmp_path / "known.fits")["rank"].mask.all()
    session.write_cutouts(tmp_path / "cutouts", labelled="anomaly")
    session.train("cold")
    scores = np.full(60, -5.0)
    scores[[7, 3, 5]] = 2, 2, 1
    scores[9] = np.nan
    table = describe(session, ["o009", "o005", "o003", "o007", "o008"], scores)
    assert table["rank"].tolist() == [None, 3, 1, 1, 4]


def test_candidates_are_an_astropy_table_with_positions_and_catalogue_columns(session):
    session.train("probe")
    table = session.candidates(5)
    assert isinstance(table, QTable)
    first = session.cache[str(table["object_id"][0])]
    assert table["ra"][0].to_value("deg") == first.ra
    assert table["mag"][0] == first.columns["mag"]
    for order in ("uncertain", "diverse", "novel", "mixed", "random", "nominal", "median", "mean"):
        assert len(session.candidates(5, order)) == 5


def test_rounds_follow_one_another_and_continue_the_weights(session):
    session.train("fixmatch", iterations=1)
    session.train("probe")
    session.train("fixmatch", iterations=2)
    assert [(item.number, item.ranker) for item in session.rounds] == [(1, "fixmatch"), (2, "probe"), (3, "fixmatch")]
    assert (session.last_round.path / "training.png").is_file()
    assert session.last_round.recipe["options"]["iterations"] == 2


def test_the_same_seed_gives_the_same_scores(tmp_path):
    found = []
    for name in ("a", "b"):
        made = Session.create(tmp_path / name, make_cache(tmp_path / f"c{name}"), settings=TINY)
        made.label(["o000", "o010"], "anomaly")
        made.label(["o001", "o002"], "nominal")
        made.train("fixmatch")
        found.append(made.scores()[1])
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)


def test_scoring_resumes_after_a_part_was_lost(session):
    session.train("probe")
    before = session.scores()[1]
    scores = session.last_round.scores
    shutil.rmtree(scores)
    again = Session.open(session.path)
    with pytest.raises(SessionError, match="has not scored all"):
        again.scores()
    again.score()
    np.testing.assert_allclose(again.scores()[1], before, atol=1e-4)


@pytest.mark.parametrize("ranker", ["probe", "fixmatch"])
def test_a_shard_of_failures_only_does_not_hold_a_round_up(session, ranker):
    with ShardWriter(session.cache.folders[0], session.cache.layout) as writer:
        writer.begin(99, "bad")
        writer.add(Failure("gone", "no pixels"))
        writer.commit()
    session = Session.open(session.path)
    assert [len(shard) for shard in session.cache.shards].count(0) == 1
    session.train(ranker)
    assert session.unfinished_round is None
    assert len(session.scores()[0]) == len(session.cache)


def test_a_probe_is_refitted_from_the_labels_it_knew(session):
    session.train("probe")
    before = session.scores()[1]
    session.label([f"o{i:03d}" for i in range(30, 40)], "anomaly")
    shutil.rmtree(session.last_round.scores)
    again = Session.open(session.path)
    again.score()
    np.testing.assert_allclose(again.scores()[1], before, atol=1e-4)


def test_another_cache_joins_the_session(session, tmp_path):
    session.train("fixmatch")
    other = make_cache(tmp_path / "more", n=20, prefix="more", seed=3)
    session.score(other)
    again = Session.open(session.path)
    assert len(again.cache) == 80
    assert len(again.scores()[0]) == 80
    with pytest.raises(BandError, match="no band 'i'"):
        session.score(make_cache(tmp_path / "less", prefix="less", bands=("g", "r")))
    assert len(Session.open(session.path).cache) == 80


def test_audit_objects_are_neither_trained_on_nor_shown(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY, audit=20)
    assert len(made.labels.audit) == 20
    inside = sorted(made.labels.audit)
    made.label(inside, "nominal")
    with pytest.raises(TrainingError, match=r"found: none.*labels import .*--ranker cold"):
        made.train("probe")
    made.train("cold")
    assert not set(inside) & set(made.candidates(60)["object_id"])


def test_own_label_classes_are_ranked_each(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY, classes=["ring", "arc"])
    made.label(["o000", "o010"], "ring")
    made.label(["o001", "o002", "o003"], "nominal")
    for ranker in ("probe", "tuned", "fixmatch"):
        made.train(ranker)
        table = made.candidates(5)
        assert np.isfinite(table["log_odds_ring"]).all()
        assert np.isnan(table["log_odds_arc"]).all()
        np.testing.assert_allclose(table["score"], -table["log_odds_nominal"])


def test_anomalies_are_all_classes_but_nominal(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY, classes=["ring"])
    made.label(["o000", "o010"], "ring")
    made.label(["o020"], "anomaly")
    made.label(["o001", "o002"], "nominal")
    assert sorted(made.export(tmp_path / "a.csv", labelled="anomalies")["object_id"]) == ["o000", "o010", "o020"]
    assert sorted(made.export(tmp_path / "b.csv", labelled="anomaly")["object_id"]) == ["o020"]
    own = Session.create(tmp_path / "t", tmp_path / "c", settings=TINY, classes=["anomalies"])
    own.label(["o000"], "anomalies")
    own.label(["o010"], "anomaly")
    assert list(own.export(tmp_path / "c.csv", labelled="anomalies")["object_id"]) == ["o000"]  # the session's own


def test_labels_newer_than_the_scores_are_counted(session, tmp_path, capsys):
    session.train("probe")
    export = ["export", str(session.path), "--overwrite", "--out", str(tmp_path / "a.csv")]
    main(export)
    assert "newer than" not in capsys.readouterr().out
    session.label(["o030", "o031"], "nominal", annotator="ann")
    session.label(["o000"], "nominal", annotator="ann")  # another label than the round has learnt from
    main(export)
    assert "3 labels newer than round 1, whose scores these are" in capsys.readouterr().out
    session.train("probe")
    main(export)
    assert "newer than" not in capsys.readouterr().out


@pytest.mark.parametrize("ranker", ["tuned", "fixmatch", "supervised"])
def test_a_session_starts_from_anothers_checkpoint(session, tmp_path, ranker):
    session.train(ranker)
    assert session.last_round.recipe["options"].get("unlabelled_weight", 0) == (ranker == "fixmatch")
    checkpoint = session.last_round.weights
    other = make_cache(tmp_path / "d", prefix="d", seed=5)
    started = Session.create(tmp_path / "t", other, settings=TINY, start_from=checkpoint)
    assert started.model_input == session.model_input
    assert started.context.backbone.layers == session.context.backbone.layers
    started.score()
    assert len(started.scores()[0]) == 60
    assert started.last_round.ranker == ranker
    with pytest.raises(CheckpointError):
        Session.create(tmp_path / "u", make_cache(tmp_path / "e", bands=("g",)), settings=TINY, start_from=checkpoint)
    assert not (tmp_path / "u").exists()


def test_exports_choose_by_rank_threshold_and_label(session, tmp_path):
    session.train("probe")
    assert len(session.export(tmp_path / "a.vot", top=7)) == 7
    labelled = session.export(tmp_path / "b.fits", labelled="anomaly")
    assert sorted(labelled["object_id"]) == ["o000", "o010", "o020"]
    above = session.export(tmp_path / "c.csv", threshold=0.5)
    assert (np.asarray(above["score"]) >= 0).all()
    top = session.export(tmp_path / "d.ecsv", top=60)
    assert not {f"o{i:03d}" for i in range(1, 9)} & set(top["object_id"])
    with pytest.raises(ConfigError, match="exclude one another"):
        session.export(tmp_path / "e.csv", top=3, labelled="anomaly")
    with pytest.raises(ConfigError, match="between 0 and 1"):
        session.export(tmp_path / "e.csv", threshold=7.0)
    with pytest.raises(LabelError, match="did you mean 'anomaly'"):
        session.export(tmp_path / "e.csv", labelled="anomly")


def test_a_contact_sheet_is_drawn(session, tmp_path):
    session.train("cold")
    session.contact_sheet(session.candidates(12), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("views", "anomalies", "nominal", "options", "ranker", "reason"),
    [
        ("sky", 0, 0, {}, "active-search", "0 anomalies and 0 nominal objects are labelled; from 40 of each on"),
        ("sky", 39, 60, {}, "active-search", "39 anomalies and 60 nominal objects are labelled; from 40 of each on"),
        ("sky", 40, 40, {}, "tuned", "40 anomalies and 40 nominal objects are labelled, and the sky has no up"),
        ("picture", 40, 40, {}, "active-search", "no more on pictures with an up"),
        ("picture", 1, 1, {"iterations": 3}, "tuned", "iterations is given, which it has"),
    ],
)
def test_the_ranker_is_chosen_by_labels_and_images(tmp_path, views, anomalies, nominal, options, ranker, reason):
    settings = TINY | {"input": {"size": SIZE, "views": views}}
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c", n=100), settings=settings)
    ids = list(made.cache.ids)
    if anomalies:
        made.label(ids[:anomalies], "anomaly")
        made.label(ids[-nominal:], "nominal")
    name, why = choose_ranker(made, options)
    assert (name, reason in why) == (ranker, True)


def test_a_round_without_labels_orders_outliers_and_says_so(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY)
    said = []
    report = made.train(progress=lambda step: said.append(step.message))
    assert (report.round.ranker, report.labels) == ("active-search", {})
    assert any(text.startswith("ranker active-search: ") for text in said)
    assert np.isfinite(made.last_round.read_log_odds(made.cache)).all()
    made.label("o001", "nominal")
    assert made.train().labels == {"nominal": 1}
    assert len(Session.open(made.path).candidates(5)) == 5


# --------------------------------------------------------------------------------------------------- what goes wrong


def test_training_without_labels_or_with_one_side_offers_cold(tmp_path):
    made = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY)
    with pytest.raises(TrainingError, match=r"found: none\..*labels import .*--ranker cold"):
        made.train("fixmatch")
    made.label("o000", "anomaly")
    with pytest.raises(TrainingError, match=r"found: 1 anomaly.*as nominal.*cold"):
        made.train("probe")
    assert made.rounds == []
    with pytest.raises(SessionError, match="no trained ranker yet"):
        made.candidates()


def test_unknown_words_name_the_nearest(session):
    with pytest.raises(UnknownObjectError, match=r"no object 'o0600'"):
        session.label(["o001", "o0600"], "nominal")
    with pytest.raises(LabelError, match="did you mean 'anomaly'"):
        session.label("o001", "anomalie")
    with pytest.raises(PluginError, match="did you mean 'fixmatch'"):
        session.train("fixmach")
    with pytest.raises(ConfigError, match="did you mean 'iterations'"):
        session.train("fixmatch", iteration=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"trian": {"iterations": 3}}, "did you mean 'train'"),
        ({"train": {"iteration": 3}}, "did you mean 'iterations'"),
        ({"train": {"iterations": "many"}}, "expected a whole number"),
        ({"stretch": {"curve": "asin"}}, "did you mean 'asinh'"),
        ({"backbone": {"name": "efficientnet_lite00"}}, None),
    ],
)
def test_wrong_settings_leave_no_session_behind(tmp_path, settings, message):
    cache = make_cache(tmp_path / "c")
    if message is None:  # found out when the network is made
        made = Session.create(tmp_path / "s", cache, settings=settings)
        with pytest.raises(ConfigError, match="efficientnet_lite0"):
            made.train("cold")
        return
    with pytest.raises(ConfigError, match=message):
        Session.create(tmp_path / "s", cache, settings=settings)
    assert not (tmp_path / "s").exists()


def test_wrong_labels_leave_no_session_behind(tmp_path):
    (tmp_path / "labels.csv").write_text("object_id,label\no000,anomaly\nnowhere,nominal\n")
    with pytest.raises(LabelError, match="nowhere"):
        Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY, labels=tmp_path / "labels.csv")
    assert not (tmp_path / "s").exists()


def test_a_session_is_not_made_over_another_and_not_opened_from_nothing(session, tmp_path):
    with pytest.raises(SessionError, match="exists already"):
        Session.create(session.path, tmp_path / "c")
    with pytest.raises(UnreadableError, match="is no session"):
        Session.open(tmp_path)
    text = (session.path / "session.toml").read_text()
    (session.path / "session.toml").write_text(text.replace("version = 2", "version = 99"))
    with pytest.raises(SessionError, match="version 99, newer"):
        Session.open(session.path)


def test_an_interrupted_training_leaves_the_round_before(session):
    session.train("fixmatch", iterations=1)
    steps = session.train_steps("fixmatch", iterations=50)
    for step in steps:
        if step.stage == "training" and step.done == 2:
            break
    steps.close()
    again = Session.open(session.path)
    assert len(again.rounds) == 1
    assert not list((session.path / "rounds").glob(".tmp-*"))
    assert len(again.scores()[0]) == 60


@pytest.mark.parametrize("ranker", ["probe", "tuned", "isolation-forest"])
def test_scoring_goes_on_where_it_stopped_and_the_round_before_counts_meanwhile(tmp_path, ranker):
    caches = [make_cache(tmp_path / name, prefix=name) for name in ("c", "d")]
    session = Session.create(tmp_path / "s", caches, settings=TINY)
    session.label(["c000", "d010"], "anomaly")
    session.label([f"c{i:03d}" for i in range(1, 9)], "nominal")
    session.train("cold")
    before = session.scores()[1]
    steps = session.train_steps(ranker)
    for step in steps:
        if step.stage == "scoring" and step.done:
            break
    steps.close()
    written = {path: path.stat().st_mtime_ns for path in session.rounds[-1].scores.iterdir()}
    assert len(written) == 1
    again = Session.open(session.path)
    assert again.last_round.number == 1
    assert again.unfinished_round is not None
    assert again.unfinished_round.number == 2
    np.testing.assert_array_equal(again.scores()[1], before)
    reports = []
    again.score(progress=reports.append)
    scoring = [step for step in reports if step.stage == "scoring"]
    assert scoring[0].done > 0
    assert scoring[-1].done == len(again.cache)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert (again.unfinished_round, again.last_round.number) == (None, 2)
    whole = Session.open(session.path)
    shutil.rmtree(whole.last_round.scores)
    whole.score()
    np.testing.assert_allclose(whole.scores()[1], again.scores()[1], atol=1e-4)


def test_labels_are_written_out_while_the_first_round_is_being_scored(session, tmp_path):
    steps = session.train_steps("probe")
    while next(steps).stage != "scoring":
        pass
    steps.close()
    assert session.rounds
    assert not session.is_scored
    table = session.export(tmp_path / "rings.csv", labelled="anomaly")
    assert sorted(table["object_id"]) == ["o000", "o010", "o020"]
    assert np.isnan(table["score"]).all()
    with pytest.raises(SessionError, match="goes on where it stopped"):
        session.export(tmp_path / "top.csv")


def test_a_damaged_checkpoint_is_named(session):
    session.train("fixmatch", iterations=1)
    weights = session.last_round.weights
    weights.write_bytes(weights.read_bytes()[:1000])
    shutil.rmtree(session.last_round.scores)
    with pytest.raises(CheckpointError, match=weights.name):
        Session.open(session.path).score()


def test_the_recipe_tells_how_a_round_was_made(session):
    session.train("fixmatch")
    recipe = json.loads((session.last_round.path / "ranker.json").read_text())
    assert recipe["labels"] == {"anomaly": 3, "nominal": 8}
    assert len(recipe["history"]) == 3
    assert {"loss", "confident"} <= set(recipe["history"][0])
    assert isinstance(Cache.open(*session.cache.folders), Cache)
