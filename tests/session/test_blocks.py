"""Sessions with numbers beside the image: columns of the catalogue, tables and embeddings by object id."""

import csv
import shutil

import numpy as np
import pytest
from astropy.table import Table
from sklearn.metrics import average_precision_score

from astroanomaly import Session
from astroanomaly.cli import main
from astroanomaly.errors import CatalogError, ConfigError, SessionError, UnreadableError
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.learn.features.blocks import BlockPoints, block_points
from astroanomaly.learn.features.compare import Comparison
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.records import FeatureBlock, drain
from astroanomaly.session.blocks.given import read_blocks
from astroanomaly.session.fitted import fitted_steps

COLUMNS = {"blocks": {"columns": ["mag_g", "mag_r", "r50"]}}


def truth_of(sky):
    with sky[0].truth.open(newline="") as handle:
        return {row["object_id"]: row["class"] != "nominal" for row in csv.DictReader(handle)}


@pytest.fixture
def truth(sky):
    return truth_of(sky)


@pytest.fixture
def telling(sky, truth):
    """A table by object id that tells, with one object that nobody has and one that is missing."""
    ids = [*list(truth)[1:], "elsewhere"]
    rng = np.random.default_rng(4)
    shift = np.array([3.0 * truth.get(name, False) for name in ids])
    return Table({"object_id": ids, "alpha": shift + rng.normal(size=len(ids)), "note": ["n"] * len(ids)})


def labelled(session, truth, anomalies=6, nominal=12):
    for kind, count in ((True, anomalies), (False, nominal)):
        session.label([name for name in truth if truth[name] is kind][:count], "anomaly" if kind else "nominal")
    return session


def auprc(session, truth):
    ids, found = session.scores()
    known = set(session.labels.current())
    left = [k for k, name in enumerate(ids) if name not in known]
    return average_precision_score([truth[ids[k]] for k in left], -found[left, 0])


def settings(tiny, **more):
    return {"settings": tiny | more}


def test_columns_of_the_catalogue_take_part(new_session, truth, tiny):
    plain = labelled(new_session("plain", computed=True), truth)
    beside = labelled(new_session("beside", computed=True, **settings(tiny, **COLUMNS)), truth)
    assert beside.block_messages == ("block columns: 3 numbers beside the image (mag_g, mag_r, r50)",)
    for session in (plain, beside):
        session.train("probe")
    assert not np.array_equal(plain.scores()[1], beside.scores()[1])
    assert "shares" not in plain.last_round.recipe
    shares = beside.last_round.recipe["shares"]
    assert set(shares) == {"image", "columns"}
    assert f"scores rest on: image {100 * shares['image']:.0f} %" in beside.last_round.recipe["messages"][0]


def test_a_table_that_tells_finds_more_and_says_what_it_lacks(new_session, truth, telling, tmp_path):
    telling.write(tmp_path / "alpha.fits")
    plain = labelled(new_session("plain", computed=True), truth)
    beside = labelled(new_session("beside", computed=True, blocks={"radio": tmp_path / "alpha.fits"}), truth)
    messages = "\n".join(beside.block_messages)
    first = next(iter(truth))
    assert "block radio: 1 number beside the image (alpha)" in messages
    assert f"nothing is known of 1 of 130 objects: {first}" in messages
    assert "1 of 130 rows" in messages
    assert "left out: note" in messages
    for session in (plain, beside):
        session.train("active-search")
    assert auprc(beside, truth) > auprc(plain, truth) + 0.1
    parts = Session.open(beside.path).score_parts(list(truth))
    assert parts.colnames[:4] == ["object_id", "score", "image", "radio"]
    odd = np.array([truth[name] for name in parts["object_id"]])
    assert parts["radio"][odd].mean() > parts["radio"][~odd].mean() + 0.5


def test_rounds_are_brought_back_as_they_were_and_the_file_is_not_needed(new_session, truth, telling, tmp_path):
    telling.write(tmp_path / "alpha.csv")
    session = labelled(new_session(computed=True, blocks={"radio": tmp_path / "alpha.csv"}), truth)
    session.train("probe")
    (tmp_path / "alpha.csv").unlink()
    moved = shutil.move(session.path, tmp_path / "moved")
    again = Session.open(moved)
    ranker = drain(fitted_steps(again, again.last_round))
    found = np.concatenate([part.log_odds for part in ranker.score(again.cache)])
    np.testing.assert_array_equal(found, again.scores()[1])


@pytest.mark.parametrize("suffix", ["npz", "fits", "csv", "ecsv", "vot"])
def test_the_same_numbers_come_from_every_kind_of_file(sky, truth, tmp_path, suffix):
    from astroanomaly.cache import Cache

    ids = list(truth)
    vectors = np.random.default_rng(1).normal(size=(len(ids), 4)).astype(np.float32)
    path = tmp_path / f"e.{suffix}"
    if suffix == "npz":
        np.savez(path, object_id=np.array(ids), embedding=vectors)
    elif suffix == "fits":
        Table({"object_id": ids, "embedding": vectors}).write(path)
    else:
        columns = {f"e{k}": vectors[:, k] for k in range(4)}
        kinds = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}
        Table({"object_id": ids, **columns}).write(path, format=kinds[suffix])
    cache = Cache.open(sky[1])
    (made,) = read_blocks({"mine": path}, cache, BlockOptions(), ("nominal", "anomaly"))
    order = [made.ids.index(name) for name in ids]
    np.testing.assert_allclose(made.values[order], vectors, rtol=1e-6)
    assert len(made.about["sha256"]) == 64


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"image": "x"}, ConfigError, "the block 'image'"),
        ({"a/b": "x"}, ConfigError, "the block 'a/b'"),
        ({"none": "/nowhere/at.csv"}, UnreadableError, "at.csv"),
        ({"t": 5}, ConfigError, "block t: int"),
        ({"t": Table({"object_id": ["nobody"], "x": [1.0]})}, CatalogError, "none of the 1 rows"),
        ({"t": Table({"object_id": ["nobody"], "x": ["text"]})}, CatalogError, "no column of numbers"),
        ({"t:y": Table({"object_id": ["nobody"], "x": [1.0]})}, CatalogError, "no column 'y'"),
        ({"t": Table({"object_id": ["nobody"], "label": [1]})}, ConfigError, "'label' looks like the class"),
    ],
)
def test_blocks_that_cannot_be_are_refused_and_no_session_is_left(new_session, tmp_path, given, error, says):
    with pytest.raises(error, match=says):
        new_session("refused", blocks=given)
    assert not (tmp_path / "refused").exists()


def test_two_rows_about_one_object_and_columns_without_numbers_are_refused(new_session, truth):
    ids = [*truth, next(iter(truth))]
    with pytest.raises(CatalogError, match="several rows about the object"):
        new_session("twice", blocks={"t": Table({"object_id": ids, "x": np.arange(float(len(ids)))})})
    with pytest.raises(CatalogError, match="'x' has no number for any object"):
        new_session("empty", blocks={"t": Table({"object_id": ids[1:], "x": np.full(len(ids) - 1, np.nan)})})


def test_a_column_that_looks_like_the_class_is_refused_unless_it_is_allowed(new_session, truth, tiny):
    table = Table({"object_id": list(truth), "class_star": [float(odd) for odd in truth.values()]})
    with pytest.raises(ConfigError, match=r"class_star.*blocks.allow_truth=true"):
        new_session("refused", blocks={"t": table})
    allowed = new_session("allowed", computed=True, blocks={"t": table}, **settings(tiny, blocks={"allow_truth": True}))
    report = labelled(allowed, truth).train("probe")
    assert any("class_star of the block t separates the labels perfectly" in text for text in report.messages)


def test_catalogue_columns_that_are_not_there_or_hold_text_are_refused(new_session, tiny):
    with pytest.raises(CatalogError, match=r"no column 'mag_q'.*did you mean"):
        new_session("missing", **settings(tiny, blocks={"columns": ["mag_q"]}))


def test_auto_takes_a_ranker_that_looks_at_the_blocks(new_session, truth, tiny):
    session = labelled(new_session(computed=True, **settings(tiny, **COLUMNS)), truth, 7, 30)
    assert session.train().round.ranker == "active-search"


def test_outlier_scores_have_no_parts(new_session, truth, tiny):
    session = labelled(new_session(computed=True, **settings(tiny, **COLUMNS)), truth)
    session.train("cold")
    with pytest.raises(SessionError, match="cannot say what its scores are due to"):
        session.score_parts(list(truth)[:2])


def test_a_session_without_blocks_is_what_it_was_and_one_with_blocks_needs_a_new_program(new_session, tiny):
    import tomllib

    plain, beside = new_session("plain"), new_session("beside", **settings(tiny, **COLUMNS))
    files = [tomllib.loads((one.path / "session.toml").read_text()) for one in (plain, beside)]
    assert [one["version"] for one in files] == [2, 3]
    assert "blocks" not in files[0]
    assert not (plain.path / "blocks").exists()
    assert plain.context.blocks == ()


def test_a_damaged_description_is_told(new_session, tiny):
    session = new_session(**settings(tiny, **COLUMNS))
    file = session.path / "session.toml"
    file.write_text(file.read_text().replace('name = "columns"', 'name = "../columns"'))
    with pytest.raises(SessionError, match="'blocks' does not describe"):
        Session.open(session.path)


def test_damage_to_kept_numbers_is_found_and_nothing_is_moved_aside(new_session, telling):
    from astroanomaly.session.integrity import repair_session_steps

    session = new_session(blocks={"radio": telling})
    assert not session.check().damaged
    file = session.path / "blocks" / "radio" / "values.npy"
    content = bytearray(file.read_bytes())
    content[200] ^= 1
    file.write_bytes(content)
    assert [damage.path for damage in session.check().damaged] == [file]
    drain(repair_session_steps(session.path))
    assert file.exists()


def test_init_takes_blocks_and_says_what_they_are(sky, truth, telling, tmp_path, tiny, capsys):
    telling.write(tmp_path / "alpha.csv")
    words = ["init", str(tmp_path / "s"), "--cache", str(sky[1]), "--set", "input.size=32", "--set", "input.views=sky"]
    words += ["--set", "backbone.name=test_efficientnet", "--set", "backbone.weights=random"]
    words += ["--set", "blocks.columns=mag_g,r50", "--block", f"radio:alpha={tmp_path / 'alpha.csv'}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "block columns: 2 numbers beside the image (mag_g, r50)" in said
    assert "block radio: 1 number beside the image (alpha)" in said
    assert [block.name for block in Session.open(tmp_path / "s").context.blocks] == ["columns", "radio"]
    assert main([*words[:1], str(tmp_path / "t"), *words[2:], "--block", "radio"]) != 0
    assert "expected NAME=FILE" in capsys.readouterr().err


def test_a_session_with_blocks_of_an_earlier_program_opens_and_trains(new_session, truth, telling):
    session = labelled(new_session(computed=True, blocks={"radio": telling}), truth)
    session.train("probe")
    file = session.path / "session.toml"
    text = file.read_text()
    assert "version = 3" in text
    older = "\n".join(line for line in text.splitlines() if not line.startswith("redshift"))
    assert older.count("\n") < text.count("\n")
    file.write_text(older)
    again = Session.open(session.path)
    assert again.settings["blocks"]["redshift"] == ""
    np.testing.assert_array_equal(again.score_parts(list(truth))["radio"], session.score_parts(list(truth))["radio"])
    again.train("active-search")
    with pytest.raises(SessionError, match="has no spectra"):
        again.spectrum(next(iter(truth)))


def test_a_block_that_few_objects_have_is_measured_on_these(new_session, truth, telling):
    few = telling[::6]
    few["alpha"] = 1000 + 5 * few["alpha"]
    session = new_session(computed=True, blocks={"radio": few})
    known = [name for name in few["object_id"] if name in truth]
    (block,) = session.context.blocks
    barred = frozenset(known[:2])
    store = FeatureStore.of(session.cache, session.context)
    points = block_points(store, session.context, barred)
    assert sorted(points.samples["radio"]) == sorted(set(known) - barred)
    found = points.get(session.cache, points.samples["radio"])
    products = found @ found.T
    np.fill_diagonal(products, 0)
    assert np.sqrt(np.square(products).mean()) == pytest.approx(0.02, rel=1e-3)
    others = [name for name in truth if name not in known]
    assert not points.get(session.cache, others).any()
    for by in ("radio", "together"):
        compared = Comparison(store, session.context, by, barred).get(points.samples["radio"])
        assert compared[:, -points.width :].var(axis=0).sum() == pytest.approx(1, rel=1e-3)
    alone = BlockPoints(session.cache, (block,), known[:1] + others, exclude=barred)  # a sample that holds one of them
    np.testing.assert_array_equal(alone.get(session.cache, known), points.get(session.cache, known))


def test_a_block_of_very_few_objects_is_warned_of_and_one_that_most_have_is_measured_on_the_sample(
    new_session, truth, telling
):
    tiny = new_session("tiny", blocks={"radio": telling[:12]})
    assert any("numbers of 12 objects, fewer than 20" in text for text in tiny.block_messages)
    most = new_session("most", blocks={"radio": telling[:100]})
    assert not any("fewer than" in text for text in most.block_messages)
    points = BlockPoints(most.cache, most.context.blocks, list(truth))
    assert points.samples["radio"] == list(truth)


def test_columns_that_few_objects_have_are_measured_on_these(new_session, truth, tiny, sky, tmp_path):
    from astroanomaly.cache import Cache
    from astroanomaly.ingestion.ingest import ingest

    catalog = Table(Table.read(sky[0].catalog), masked=True)
    rng = np.random.default_rng(5)
    catalog["alpha"] = np.ma.masked_array(1000 + 5 * rng.normal(size=len(catalog)), np.arange(len(catalog)) % 6 > 0)
    catalog.write(tmp_path / "few.fits")
    ingest("fits", sky[0].mosaics, out=tmp_path / "few", catalog=tmp_path / "few.fits", size="48", carry=["alpha"])
    cache = Cache.open(tmp_path / "few")
    block = FeatureBlock("columns", ("alpha",), ("",))
    points = BlockPoints(cache, [block], list(cache.ids))
    known = {str(name) for name in catalog["object_id"][::6]}
    assert set(points.samples["columns"]) == known & set(cache.ids)
    found = points.get(cache, cache.ids)
    there = np.array([name in known for name in cache.ids])
    assert not found[~there].any()  # an object without the number is in the middle
    assert np.abs(found[there]).max() > 0
    assert points.get(cache, points.samples["columns"]).mean() == pytest.approx(0, abs=1e-3)


def test_cutouts_are_measured_where_it_is_asked_for(new_session, truth, tiny, sky, tmp_path, capsys):
    session = labelled(new_session(computed=True, photometry=True), truth)
    (block,) = session.context.blocks
    assert block.name == "photometry"
    assert block.columns[:3] == ("magnitude", "half_light_radius", "concentration")
    assert f"block photometry: {len(block.columns)} numbers beside the image" in session.block_messages[0]
    session.train("probe")
    assert set(session.last_round.recipe["shares"]) == {"image", "photometry"}
    assert main(["init", str(tmp_path / "s"), "--cache", str(sky[1]), "--photometry"]) == 0
    assert "block photometry" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="two blocks 'photometry'"):
        new_session("twice", photometry=True, blocks={"photometry": Table({"object_id": list(truth), "x": range(130)})})
