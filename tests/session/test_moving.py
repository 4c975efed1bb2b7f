"""Sessions move: with their caches, or told where these are; and what needs no pixels works without them."""

import dataclasses
import json
import shutil

import h5py
import numpy as np
import pytest
import safetensors.torch
import timm
from astropy.table import QTable

from astroanomaly import Cache, Session
from astroanomaly.cache.writer import ShardWriter
from astroanomaly.cli import main
from astroanomaly.errors import CacheError, ConfigError, UnknownObjectError, UnreadableError
from astroanomaly.files import read_toml
from astroanomaly.records import CutoutBlock, drain
from astroanomaly.session.caches import CacheRecord, read_records
from astroanomaly.session.fitted import fitted_steps
from folders import TESTS


@pytest.fixture(scope="module")
def scored(sky, tmp_path_factory):
    """A session beside its cache, labelled and scored by the probe; to be copied."""
    from conftest import TINY

    home = tmp_path_factory.mktemp("moving") / "home"
    home.mkdir()
    shutil.copytree(sky[1], home / "cache", ignore=shutil.ignore_patterns("derived"))
    session = Session.create(home / "search", home / "cache", settings=TINY)
    ids = list(session.cache.ids)
    session.label(ids[:5], "anomaly", annotator="ann", note="seen")
    session.label(ids[5:20], "nominal", annotator="bob")
    session.train("probe")
    session.export_labels(home / "labels.csv")
    session.candidates(10).write(home / "candidates.ecsv")
    return home


@pytest.fixture
def home(scored, tmp_path):
    return shutil.copytree(scored, tmp_path / "first" / "home")


@pytest.fixture
def old(tmp_path):
    """A session of version 0.1, whose whole paths lead nowhere."""
    return shutil.copytree(TESTS / "data" / "session-v1", tmp_path / "old")


def paths(session):
    return read_toml(session / "session.toml")["caches"]


# ----------------------------------------------------------------------------------------------- moved with its cache


def test_a_session_that_is_moved_with_its_cache_goes_on(home, scored, monkeypatch):
    assert paths(home / "search") == ["../cache"]
    assert str(scored) not in (home / "search" / "session.toml").read_text()
    moved = home.rename(home.parent / "elsewhere")
    monkeypatch.chdir(moved)
    for place in (moved / "search", "search"):
        session = Session.open(place)
        assert session.cache.folders == (moved / "cache",)
        assert session.objects is session.cache
        assert list(session.candidates(10)["object_id"]) == list(QTable.read(scored / "candidates.ecsv")["object_id"])
    session.train("probe")
    assert len(session.rounds) == 2


def test_a_cache_elsewhere_keeps_its_whole_path(sky, tmp_path, tiny):
    (tmp_path / "a").mkdir()
    made = Session.create(tmp_path / "a" / "search", sky[1], settings=tiny)
    assert paths(made.path) == [str(sky[1])]
    inside = shutil.copytree(sky[1], tmp_path / "a" / "deep" / "cache")
    (tmp_path / "a" / "link").symlink_to(sky[1])
    for cache, text in ((inside, "../deep/cache"), (tmp_path / "a" / "link", "../link")):
        session = Session.create(tmp_path / "a" / f"of-{cache.name}", cache, settings=tiny)
        assert paths(session.path) == [text]
        assert len(Session.open(session.path).cache) == len(made.cache)


def test_weights_beside_a_session_move_with_it(home, tiny, monkeypatch):
    network = timm.create_model("test_efficientnet", num_classes=0)
    safetensors.torch.save_file(network.state_dict(), home / "own.safetensors")
    monkeypatch.chdir(home)
    settings = {**tiny, "backbone": {"name": "test_efficientnet", "weights": "own.safetensors"}}
    session = Session.create("second", "cache", settings=settings)
    ids = session.cache.ids[:3]
    before = session.features(ids)
    moved = home.rename(home.parent / "elsewhere")
    monkeypatch.chdir(moved.parent)
    shutil.rmtree(moved / "cache" / "derived")
    again = Session.open("elsewhere/second")
    assert again.context.backbone.weights == str(moved / "own.safetensors")
    np.testing.assert_allclose(again.features(ids), before, atol=1e-6)


def test_a_session_behind_a_link_finds_its_cache(home, tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "link").symlink_to(home / "search")
    assert len(Session.open(tmp_path / "far" / "link").cache) == 130


def test_an_older_program_is_told_that_a_newer_one_has_written_it(home):
    assert read_toml(home / "search" / "session.toml")["version"] == 2


# ------------------------------------------------------------------------------------------------------- relocated


def test_a_cache_that_was_moved_is_named_and_found_again(home, tmp_path, capsys):
    new = (tmp_path / "disk" / "survey").absolute()
    new.parent.mkdir()
    (home / "cache").rename(new)
    session = Session.open(home / "search")
    with pytest.raises(UnreadableError, match=r"search is not there.*astroanomaly relocate") as error:
        _ = session.cache
    assert str(home / "cache") in str(error.value)
    assert main(["relocate", str(home / "search"), "--cache", str(new)]) == 0
    assert str(new) in capsys.readouterr().out
    session = Session.open(home / "search")
    assert session.cache.folders == (new,)
    before = list(QTable.read(home / "candidates.ecsv")["object_id"])
    assert list(session.candidates(10)["object_id"]) == before
    report = session.relocate(shutil.copytree(new, home / "again"))
    assert report.messages == ()
    assert session.cache.folders == (home / "again",)
    assert paths(session.path) == ["../again"]
    assert drain(fitted_steps(session, session.last_round)).name == "probe"


def test_a_cache_beside_the_session_is_suggested_if_it_is_the_one(old):
    with pytest.raises(UnreadableError) as error:
        _ = Session.open(old / "session").cache
    assert f"`astroanomaly relocate {old / 'session'} --cache {old / 'cache'}`, which holds the same" in str(
        error.value
    )
    shutil.rmtree(old / "cache")
    shutil.copytree(old / "unfinished", old / "cache")
    with pytest.raises(UnreadableError) as error:
        _ = Session.open(old / "session").cache
    assert "ITS_NEW_PLACE" in str(error.value)


def test_a_cache_that_was_left_behind_is_named(home, scored, tmp_path):
    moved = shutil.move(home / "search", tmp_path / "my search")
    with pytest.raises(UnreadableError) as error:
        _ = Session.open(moved).cache
    assert f"relocate '{moved}' --cache {scored / 'cache'}`, which holds the same objects" in str(error.value)
    Session.open(moved).relocate(home / "cache")
    assert len(Session.open(moved).cache) == 130


def alter(change, cache):
    shard = next((cache / "shards").glob("*.h5"))
    with h5py.File(shard, "r+") as file:
        change(file)
        del file["checksum"]  # whoever writes another cache does not keep those of this one
    (cache / "index.h5").unlink(missing_ok=True)


@pytest.mark.parametrize("what", ["pixels", "position", "id"])
def test_another_cache_is_refused_and_nothing_changes(home, what):
    wrong = shutil.copytree(home / "cache", home / "wrong")

    def change(file):
        if what == "pixels":
            images = file["images"][...]
            images[3, 0, 5, 5] += 1
            file["images"][...] = images
        elif what == "position":
            file["ra"][7] += 1e-6
        else:
            ids = file["object_id"][...]
            ids[2] = b"x"
            file["object_id"][...] = ids

    alter(change, wrong)
    before = {path: path.read_bytes() for path in (home / "search").glob("*.*")}
    with pytest.raises(CacheError, match="another cache"):
        Session.open(home / "search").relocate(wrong)
    assert {path: path.read_bytes() for path in (home / "search").glob("*.*") if path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }
    assert main(["relocate", str(home / "search"), "--cache", str(home / "nowhere")]) == 2


def test_part_of_a_cache_is_refused(home):
    half = shutil.copytree(home / "cache", home / "half")
    for shard in list((half / "shards").glob("*.h5"))[:1]:
        shard.unlink()
    with pytest.raises(CacheError, match=r"holds|no object"):
        Session.open(home / "search").relocate(half)


def test_a_session_of_version_0_1_is_relocated_and_goes_on(old, tmp_path):
    expected = json.loads((old / "expected.json").read_text("utf-8"))
    session = Session.open(old / "session")
    with pytest.raises(CacheError, match=r"lacks|another cache|not there"):
        session.relocate(old / "unfinished")
    assert session.relocate(str(old / "cache")).messages == ()
    moved = old.rename(tmp_path / "moved")
    session = Session.open(moved / "session")
    assert session.cache.digest() == expected["digest"]
    assert [str(name) for name in session.candidates(10)["object_id"]] == [name for name, _ in expected["candidates"]]
    session.score()
    with pytest.raises(CacheError):
        session.relocate(moved / "unfinished")


def test_one_of_several_caches_is_known_again_by_its_content(home, sky, tmp_path, tiny):
    second = tmp_path / "second"
    shutil.copytree(home / "cache", second)

    for number, shard in enumerate((second / "shards").glob("*.h5")):
        with h5py.File(shard, "r+") as file:
            ids = file["object_id"][...]
            del file["object_id"]
            file["object_id"] = np.array([b"b/" + bytes(name) for name in ids])
            file.attrs["uuid"] = f"{number:032d}"
        shard.rename(shard.with_name(f"{number:032d}.h5"))
    (second / "index.h5").unlink(missing_ok=True)
    shutil.rmtree(second / "derived", ignore_errors=True)
    session = Session.open(home / "search")
    fitted_on_one = session.rounds[-1].recipe["caches"]
    session.score(second)
    assert len(paths(session.path)) == 2
    a, b = home / "moved-a", home / "moved-b"
    (home / "cache").rename(a)
    second.rename(b)
    again = Session.open(home / "search")
    assert again.relocate([b]).messages == (f"still not there: {home / 'cache'}",)
    again.relocate([a])
    assert again.cache.folders == (a, b)
    assert len(again.cache) == 260
    assert list(fitted_on_one.values()) == [130]
    reports = []
    drain(fitted_steps(again, again.last_round), reports.append)
    assert not any(report.message for report in reports)  # fitted on the first cache alone, as it was
    with pytest.raises(CacheError):
        again.relocate([a, a])
    with pytest.raises(ConfigError, match="no cache was given"):
        again.relocate([])


def test_a_cache_may_have_grown_since_it_was_recorded(home, tmp_path):
    part = shutil.copytree(home / "cache", tmp_path / "part")
    layout = Cache.open(part).layout
    record = CacheRecord.of(part)
    create = Cache.open(part)[Cache.open(part).ids[0]]
    with ShardWriter(part, layout) as writer:
        writer.begin(10**6, "later")
        writer.add(CutoutBlock.of(dataclasses.replace(create, object_id="a new one")))
        writer.commit()
    assert len(Cache.open(part)) == 131
    assert record.check(part)
    with pytest.raises(CacheError, match="holds 130 objects, expected 131"):
        CacheRecord.of(part).check(home / "cache")


def test_an_older_session_records_its_caches_when_it_is_trained(home):
    (home / "search" / "caches.json").unlink()
    session = Session.open(home / "search")
    session.train("probe")
    assert read_records(session.path)["../cache"].objects == 130


@pytest.mark.parametrize("verb", [Session.open, Cache.open, lambda what: Session.create(what, "x")])
def test_what_is_no_path_is_refused_in_words(verb):
    with pytest.raises(ConfigError, match=r"expected its path, as text or pathlib.Path"):
        verb(5)


# ---------------------------------------------------------------------------------------------- without its caches


@pytest.fixture
def alone(home):
    """A session whose cache is gone."""
    shutil.rmtree(home / "cache")
    return home


def test_what_needs_no_pixels_works_without_the_cache(alone, scored, tmp_path, capsys):
    session = Session.open(alone / "search")
    assert not session.has_caches
    whole = Session.open(scored / "search")
    assert main(["labels", "export", str(alone / "search"), str(tmp_path / "labels.csv")]) == 0
    assert (tmp_path / "labels.csv").read_text() == (scored / "labels.csv").read_text()
    assert main(["info", str(alone / "search")]) == 0
    text = capsys.readouterr().out
    assert "not there" in text
    assert "130" in text
    assert main(["candidates", str(alone / "search"), "-n", "5"]) == 0
    assert "relocate" in capsys.readouterr().out
    table = session.candidates(10)
    before = QTable.read(scored / "candidates.ecsv")
    assert list(table["object_id"]) == list(before["object_id"])
    np.testing.assert_array_equal(table["ra"].value, before["ra"].value)
    assert len(session.export(tmp_path / "top.vot", top=5)) == 5
    assert len(session.export(tmp_path / "anomalies.fits", labelled="anomaly")) == 5
    assert session.export_scores(tmp_path / "scores.fits") == 130
    np.testing.assert_array_equal(session.scores()[1], whole.scores()[1])
    assert len(session.labels_table()) == 20
    assert session.labels.history(whole.cache.ids[0])
    assert session.rounds[0].recipe["ranker"] == "probe"


def test_labels_are_given_and_imported_without_the_cache(alone, scored, tmp_path):
    ids = list(Session.open(scored / "search").cache.ids)
    session = Session.open(alone / "search")
    session.label(ids[30], "anomaly")
    (tmp_path / "more.csv").write_text(f"object_id,label\n{ids[31]},anomaly\n")
    assert main(["labels", "import", str(alone / "search"), str(tmp_path / "more.csv")]) == 0
    assert session.labels.current()[ids[31]].label == "anomaly"
    with pytest.raises(UnknownObjectError, match="not there"):
        session.label("nobody", "anomaly")


@pytest.mark.parametrize(
    "verb",
    [
        lambda session: session.train("probe"),
        lambda session: session.suspects(),
        lambda session: session.saliency("x"),
        lambda session: session.points(session.objects.ids[:3]),
        lambda session: session.candidates(5, "diverse"),
        lambda session: session.contact_sheet(session.candidates(5), session.path / "s.png"),
        lambda session: session.cache,
    ],
)
def test_what_needs_pixels_says_so_and_names_the_way_out(alone, verb):
    session = Session.open(alone / "search")
    with pytest.raises(UnreadableError, match=r"is not there.*astroanomaly relocate"):
        verb(session)
    assert len(session.rounds) == 1


def test_without_cache_and_scores_labels_can_still_be_written_out(sky, tmp_path, tiny):
    cache = shutil.copytree(sky[1], tmp_path / "cache")
    session = Session.create(tmp_path / "search", cache, settings=tiny)
    first = session.cache.ids[0]
    session.label(first, "anomaly")
    shutil.rmtree(cache)
    alone = Session.open(tmp_path / "search")
    assert alone.export_labels(tmp_path / "labels.csv") == 1
    assert np.isnan(alone.labels_table()["ra"].value).all()
    assert main(["info", str(alone.path)]) == 0
    with pytest.raises(UnreadableError, match="relocate"):
        alone.label(first, "nominal")


def test_scores_of_version_0_1_have_no_positions(old, tmp_path):
    shutil.rmtree(old / "cache")
    session = Session.open(old / "session")
    table = session.candidates(5)
    assert len(table) == 5
    assert np.isnan(table["ra"].value).all()
    assert session.export_labels(tmp_path / "labels.csv") == len(session.labels_table())
