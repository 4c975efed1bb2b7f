"""A session with damage: it is found in every file, the rest is trained, ranked and shown."""

import shutil

import numpy as np
import pytest

from astroanomaly import Cache, Session
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cli import main
from astroanomaly.errors import CheckpointError, DamagedError
from astroanomaly.records import CutoutBlock, Layout, Task
from folders import TESTS

SIDE, BANDS = 32, ("g", "r", "i")
TINY = {
    "input": {"size": SIDE},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "train": {"iterations": 2, "labelled_batch": 4, "pool": 30},
}


def make_cache(path):
    """Three shards of twelve objects."""
    layout = Layout(BANDS, SIDE, SIDE)
    create_cache(path, layout, [Task(f"t{k}") for k in range(3)], {"source": "test"})
    for k in range(3):
        images = np.random.default_rng(k).normal(0, 1, (12, len(BANDS), SIDE, SIDE)).astype(np.float32)
        images[::4, :, 8:24, 8:24] += 3
        with ShardWriter(path, layout) as writer:
            writer.begin(k, f"t{k}")
            writer.add(CutoutBlock([f"o{k}{n:02d}" for n in range(12)], images, BANDS))
            writer.commit()
    return Cache.open(path)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def session(tmp_path):
    make_cache(tmp_path / "c")
    made = Session.create(tmp_path / "s", tmp_path / "c", settings=TINY)
    made.label(["o000", "o104", "o208"], "anomaly", annotator="ann")
    made.label(["o001", "o102", "o203"], "nominal", annotator="ann")
    return made


def damage_pixel(cache, object_id):
    """Flip a bit of a pixel of one object."""
    shard = cache.shards[int(cache.locate([object_id])[0][0])].path
    flip(shard, shard.read_bytes().index(cache[object_id].data.tobytes()) + 5)
    return shard


@pytest.mark.parametrize("ranker", ["probe", "fixmatch", "cold"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_is_damaged_has_no_score_and_the_rest_is_ranked(session, ranker, whole):
    cache = session.cache
    if whole:  # a shard that cannot be opened
        shard = cache.shards[0].path
        shard.write_bytes(shard.read_bytes()[:1000])
        lost = [f"o0{n:02d}" for n in range(12)]
    else:
        shard, lost = damage_pixel(cache, "o000"), ["o000"]
    again = Session.open(session.path)
    again.train(ranker)
    ids, scores = again.scores()
    assert list(ids) == list(cache.ids)
    assert [one for one, score in zip(ids, scores, strict=True) if not np.isfinite(score).any()] == lost
    assert set(again.candidates(n=40)["object_id"]).isdisjoint(lost)
    assert again.cache.damaged == (shard,)
    with pytest.raises(DamagedError, match=r"astroanomaly info .* --(repair|check)"):
        again.cache["o000"]


def test_every_kind_of_file_of_a_session_is_checked(session, capsys):
    session.train("fixmatch")
    session.train("probe")
    found = session.check()
    assert not found.damaged
    assert not found.without_digest
    rounds = session.path / "rounds"
    files = [
        rounds / "0001" / "model.safetensors",
        next((rounds / "0001" / "scores").glob("*.h5")),
        next(session.cache.folders[0].glob("derived/*/*.npy")),
        session.cache.shards[1].path,
    ]
    for path in files:
        content = path.read_bytes()
        for place in (len(content) // 3, len(content) - 70):
            flip(path, place)
            assert [damage.path for damage in session.check().damaged] == [path]
            path.write_bytes(content)
    labels = session.path / "labels.sqlite"
    flip(labels, labels.read_bytes().index(b"o104") + 3)  # another object, for all that SQLite knows
    assert main(["info", str(session.path), "--check"]) == 2
    told = capsys.readouterr().out
    assert f"damaged: {labels}" in told
    assert "way out" in told


def test_scores_that_were_damaged_are_made_anew(session, capsys):
    session.train("probe")
    before = session.scores()
    path = next((session.path / "rounds" / "0001" / "scores").glob("*.h5"))
    flip(path, path.read_bytes().index(b"o") + 1)
    with pytest.raises(DamagedError, match="digest"):
        Session.open(session.path).scores()
    assert main(["info", str(path), "--repair"]) == 0
    assert "moved aside" in capsys.readouterr().out
    assert (session.path / "set-aside" / "rounds" / "0001" / "scores" / path.name).is_file()
    again = Session.open(session.path)
    again.score()
    assert again.scores()[0] == before[0]
    np.testing.assert_allclose(again.scores()[1], before[1], atol=1e-4)


def test_a_session_of_an_earlier_version_has_no_damage(tmp_path, capsys):
    shutil.copytree(TESTS / "data" / "session-v1", tmp_path / "old")
    found = Session.open(tmp_path / "old" / "session").check()
    assert found.without_digest
    assert not found.damaged
    assert main(["info", str(tmp_path / "old" / "session"), "--check"]) == 0


def test_a_damaged_checkpoint_is_never_used(session, tmp_path):
    from astroanomaly.learn.network.checkpoint import Checkpoint

    session.train("fixmatch")
    path = session.rounds[0].weights
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(content[:8], "little")
    for place in [*rng.integers(0, header, 60).tolist(), *rng.integers(header, len(content), 20).tolist()]:
        flip(path, place)
        with pytest.raises(CheckpointError):
            Checkpoint.load(path)
        path.write_bytes(content)
