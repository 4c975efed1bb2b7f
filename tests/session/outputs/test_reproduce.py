"""A ranking is computed again from a bundle, and a bundle that was changed, or is hostile, is told."""

import hashlib
import json
import os
import shutil
import tomllib

import h5py
import numpy as np
import pytest

from astroanomaly import Session, ingest
from astroanomaly.errors import AstroAnomalyError, CacheError, ConfigError, SessionError, StorageError, UnreadableError
from astroanomaly.files import CHECKSUMS
from astroanomaly.session.outputs.check import check_bundle


@pytest.fixture(scope="module")
def start(sky, tmp_path_factory, request):
    """A session with labels by two people, notes and an audit set, and a cache without features."""
    from conftest import TINY

    folder = tmp_path_factory.mktemp("again")
    cache = shutil.copytree(sky[1], folder / "cache", ignore=shutil.ignore_patterns("derived"))
    made = Session.create(folder / "search", cache, settings=TINY, classes=["ring"], audit=10)
    free = [i for i in made.cache.ids if i not in made.labels.audit]
    made.label(free[:5], "anomaly", annotator="Ann Other", note="seen at a desk")
    made.label(free[5:8], "ring", annotator="Ben Jamin")
    made.label(free[8:20], "nominal", annotator="Ben Jamin")
    made.label(free[0], "nominal", annotator="Ben Jamin")  # disputed
    made.label(sorted(made.labels.audit)[:4], "nominal", annotator="Ann Other")
    return made


@pytest.fixture(scope="module")
def probed(start, tmp_path_factory):
    """The session after a round of the probe, and its bundle with the caches."""
    start.train("probe")
    start.label(start.cache.ids[60], "anomaly", annotator="Ben Jamin")  # the round does not know it
    folder = tmp_path_factory.mktemp("sealed")
    start.write_bundle(folder / "b", top=3, include_caches=True)
    return start, folder / "b"


def seal(folder):
    """Write the checksums of a folder anew, as somebody who changes a bundle would."""
    names = sorted(item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file())
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names if n != CHECKSUMS]
    (folder / CHECKSUMS).write_text("".join(lines))


def changed(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "changed")


def rewrite(file, change):
    content = file.read_text()
    assert change[0] in content
    file.write_text(content.replace(*change))


def test_a_ranking_is_learnt_again_from_the_labels(probed):
    session, bundle = probed
    assert check_bundle(bundle).problems == ()
    found = Session.reproduce(bundle)
    assert found.ok
    assert (found.ranker, found.how, found.objects) == ("probe", "labels", len(session.cache))
    assert found.greatest <= 1e-4
    assert found.correlation == pytest.approx(1)
    assert found.then["numpy"] == found.now["numpy"] == np.__version__
    assert found.reasons == ()


def test_a_bundle_with_a_ranking_names_no_place_and_nobody(probed):
    session, bundle = probed
    for item in bundle.rglob("*"):
        if item.is_file():
            content = item.read_bytes()
            for secret in (str(session.path.parent.parent), "Ann Other", "Ben Jamin"):
                assert secret.encode() not in content, (item, secret)
    assert b"seen at" not in (bundle / "session" / "labels.sqlite").read_bytes()  # notes of all objects stay at home


def test_the_session_of_a_bundle_opens_and_goes_on(probed, tmp_path):
    session, bundle = probed
    copy = shutil.copytree(bundle, tmp_path / "b")
    again = Session.open(copy / "session")
    theirs, ours = again.labels.current(), session.labels.current()
    assert {i: one.label for i, one in theirs.items()} == {i: one.label for i, one in ours.items()}
    assert again.labels.audit == session.labels.audit
    assert again.labels.labelled(until=again.last_round.last_event) == session.labels.labelled(
        until=session.last_round.last_event
    )
    assert {vote for one in theirs.values() for vote in one.votes} == {"annotator-1", "annotator-2"}
    assert again.labels.verify()
    np.testing.assert_array_equal(again.scores()[1], session.scores()[1])
    again.label(again.cache.ids[70], "anomaly")
    again.train("probe")
    assert again.last_round.number == session.last_round.number + 1


@pytest.mark.parametrize("ranker", ["active-search", "cold", "tuned", "fixmatch"])
def test_every_kind_of_ranker_is_computed_again(start, tmp_path, ranker):
    home = shutil.copytree(start.path, tmp_path / "search", ignore=shutil.ignore_patterns("rounds", "features"))
    session = Session.open(home)
    session.relocate(start.cache)
    session.train(ranker)
    session.write_bundle(tmp_path / "b.zip", top=2, include_caches=True)
    found = Session.reproduce(tmp_path / "b.zip")
    assert found.ok
    assert found.how == ("checkpoint" if ranker in ("tuned", "fixmatch") else "labels")
    assert found.greatest <= 1e-4


def test_caches_are_given_where_the_bundle_does_not_include_them(probed, sky, tmp_path):
    session, _ = probed
    session.write_bundle(tmp_path / "b.zip", top=3, ranking=True)
    with pytest.raises(UnreadableError, match=r"does not include the cutouts of all objects: .* --cache: cache"):
        Session.reproduce(tmp_path / "b.zip")
    assert Session.reproduce(tmp_path / "b.zip", session.cache).ok
    made, _ = sky
    ingest("fits", made.mosaics, out=tmp_path / "other", catalog=made.catalog, size="32")
    with pytest.raises(CacheError, match="is another cache"):
        Session.reproduce(tmp_path / "b.zip", tmp_path / "other")
    assert not list(session.cache.folders[0].glob(".tmp-*"))


def test_a_difference_is_told_with_the_object(probed, tmp_path):
    folder = changed(probed[1], tmp_path)
    scores = min(folder.glob("session/rounds/*/scores/*.h5"))
    with h5py.File(scores, "r+") as file:
        name = file["object_id"][3].decode()
        file["log_odds"][3, 1] += 0.25
        del file.attrs["digest"]
    seal(folder)
    found = Session.reproduce(folder)
    assert not found.ok
    assert found.worst == name
    assert found.greatest == pytest.approx(0.25, abs=1e-3)
    assert any("do not belong together" in reason for reason in found.reasons)
    assert Session.reproduce(folder, tolerance=0.3).ok


def test_other_versions_are_told_where_scores_differ(probed, tmp_path):
    folder = changed(probed[1], tmp_path)
    about = json.loads((folder / "bundle.json").read_text())
    about["ranking"]["versions"]["torch"] = "1.0"
    (folder / "bundle.json").write_text(json.dumps(about))
    rewrite(folder / "session" / "session.toml", ("seed = 0", "seed = 1"))
    seal(folder)
    found = Session.reproduce(folder)
    assert not found.ok
    assert any("torch 1.0 then" in reason for reason in found.reasons)


def test_a_file_that_was_changed_is_not_used(probed, tmp_path):
    folder = changed(probed[1], tmp_path)
    rewrite(folder / "session" / "session.toml", ("seed = 0", "seed = 1"))
    with pytest.raises(CacheError, match=r"session/session\.toml has changed"):
        Session.reproduce(folder)
    seal(folder)
    (folder / "session" / "labels.sqlite").unlink()
    with pytest.raises(CacheError, match=r"session/labels\.sqlite is missing"):
        Session.reproduce(folder)
    (folder / "session" / "labels.sqlite").symlink_to("/etc/hostname")
    with pytest.raises(CacheError, match="it is a link"):
        Session.reproduce(folder)


def test_a_bundle_without_a_ranking_says_what_to_ask_for(start, probed, tmp_path):
    start.write_bundle(tmp_path / "b", top=2)
    assert not (tmp_path / "b" / "session").exists()
    with pytest.raises(UnreadableError, match=r"holds no ranking .*bundle SESSION --ranking"):
        Session.reproduce(tmp_path / "b")
    empty = Session.create(tmp_path / "empty", start.cache.folders[0])
    with pytest.raises(SessionError, match="no trained ranker"):
        empty.write_bundle(tmp_path / "none", ids=list(start.cache.ids[:2]), ranking=True)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (('"../caches/cache"', '"/etc"'), CacheError, "outside of it"),
        (('"../caches/cache"', '"../caches/../../cache"'), CacheError, "outside of it"),
        (('weights = "random"', 'weights = "pretrained"'), ConfigError, "let timm download"),
        (('weights = "random"', 'weights = "w.pth"'), ConfigError, "give them with --weights"),
        (('name = "test_efficientnet"', 'name = "hf_hub:somebody/else"'), ConfigError, "give them with --weights"),
    ],
)
def test_a_hostile_bundle_reaches_nothing_outside(probed, tmp_path, change, error, words):
    folder = changed(probed[1], tmp_path)
    rewrite(folder / "session" / "session.toml", change)
    seal(folder)
    with pytest.raises(error, match=words):
        Session.reproduce(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"options": None}, {"options": {"c": "x"}}, {"options": {"no such": 1}}, {"caches": 5}, {"caches": {"a": "b"}},
        {"audit_draws": "many"}, {"ranker": "nobody"}, {"ranker": 5}, {"last_event": None}, {"ranker": "fixmatch"},
    ],
)  # fmt: skip
def test_a_hostile_recipe_is_an_error_with_words(probed, tmp_path, change):
    folder = changed(probed[1], tmp_path)
    (file,) = folder.glob("session/rounds/*/ranker.json")
    recipe = {**json.loads(file.read_text()), **change}
    file.write_text(json.dumps({key: value for key, value in recipe.items() if value is not None}))
    seal(folder)
    with pytest.raises(AstroAnomalyError):
        Session.reproduce(folder)


@pytest.mark.parametrize("ranking", [5, [], {}, {"session": "../elsewhere"}, {"session": "session", "weights": 3}])
def test_a_hostile_description_is_an_error_or_is_not_used(probed, tmp_path, ranking):
    folder = changed(probed[1], tmp_path)
    about = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**about, "ranking": ranking}))
    if ranking == {"session": "session", "weights": 3}:
        assert Session.reproduce(folder).ok
    else:
        with pytest.raises(CacheError, match="not readable"):
            Session.reproduce(folder)


def test_a_bundle_larger_than_the_disk_is_refused(probed, tmp_path):
    folder = changed(probed[1], tmp_path)
    os.truncate(folder / "session" / "labels.sqlite", 2 * shutil.disk_usage(tmp_path).free)  # a hole: takes no space
    with pytest.raises(StorageError, match="set TMPDIR"):
        Session.reproduce(folder)


def test_weights_of_a_file_are_asked_for_and_compared(start, tmp_path):
    """The network began with a file of weights, which the bundle names and identifies but does not hold."""
    from astroanomaly.config import BackboneConfig
    from astroanomaly.learn.network.backbone import build_backbone
    from astroanomaly.learn.network.checkpoint import save_checkpoint

    for name, seed in (("mine", 1), ("other", 2)):
        network = build_backbone(BackboneConfig("test_efficientnet", "random"), seed=seed).network
        save_checkpoint(tmp_path / f"{name}.safetensors", network.state_dict(), {})
    settings = start.settings
    settings["backbone"]["weights"] = str(tmp_path / "mine.safetensors")
    session = Session.create(tmp_path / "s", start.cache.folders[0], settings=settings)
    session.train("cold")
    session.write_bundle(tmp_path / "b", top=2, include_caches=True)
    stated = tomllib.loads((tmp_path / "b" / "session" / "session.toml").read_text())["settings"]["backbone"]
    assert stated["weights"] == "mine.safetensors"
    with pytest.raises(ConfigError, match=r"mine\.safetensors, which are not part of this package"):
        Session.reproduce(tmp_path / "b")
    with pytest.raises(ConfigError, match="SHA-256 is another one"):
        Session.reproduce(tmp_path / "b", weights=tmp_path / "other.safetensors")
    assert Session.reproduce(tmp_path / "b", weights=tmp_path / "mine.safetensors").ok
