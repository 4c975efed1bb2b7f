"""What a score rests on: covering the salient tenth lowers it more than covering another tenth, on trained rankers."""

import csv

import numpy as np
import pytest
import torch

from astroanomaly import Session
from astroanomaly.errors import ConfigError, SessionError
from astroanomaly.learn.explain import deletion, occlusion
from astroanomaly.records import Progress, ShardScores, drain
from astroanomaly.session.fitted import fitted_steps

SETTINGS = {
    "input": {"size": 48},
    "backbone": {"name": "test_efficientnet", "weights": "random"},
    "train": {"iterations": 50, "labelled_batch": 16, "learning_rate": 0.03, "pool": 100},
}


@pytest.fixture(scope="module")
def truth(sky):
    with sky[0].truth.open(newline="", encoding="utf-8") as handle:
        return {row["object_id"]: row["class"] != "nominal" for row in csv.DictReader(handle)}


def trained(sky, truth, path, ranker, seed):
    """A session on the simulated sky that has learnt all rarities but the first four, and those four."""
    session = Session.create(path, sky[1], settings={**SETTINGS, "session": {"seed": seed}})
    odd = [i for i in session.cache.ids if truth[i]]
    session.label(odd[4:], "anomaly")
    session.label([i for i in session.cache.ids if not truth[i]][:50], "nominal")
    session.train(ranker)
    return session, odd[:4]


@pytest.mark.slow
@pytest.mark.parametrize(("ranker", "seeds"), [("supervised", (0, 1)), ("probe", (0, 1)), ("fixmatch", (0,))])
def test_covering_the_salient_tenth_lowers_the_score_more_than_covering_another(sky, truth, tmp_path, ranker, seeds):
    falls = []
    for seed in seeds:
        session, odd = trained(sky, truth, tmp_path / str(seed), ranker, seed)
        top = [str(i) for i in session.candidates(8, include_labelled=True)["object_id"]]
        score = drain(fitted_steps(session, session.last_round)).image_score(session.cache)
        rng = np.random.default_rng(seed)
        found = [score.deletion(object_id, rng) for object_id in [*odd, *top]]
        falls += [(one.salient, one.moved, one.scattered) for one in found]
        assert all(np.isfinite(one.score) for one in found)
    salient, moved, scattered = np.array(falls).T
    assert salient.mean() > 2 * max(moved.mean(), 0)
    assert salient.mean() > 2 * max(scattered.mean(), 0)
    assert (salient > moved).mean() > 0.8
    assert (salient > scattered).mean() > 0.8


def corner(images):
    """A score that sees nothing but the light of the upper left corner."""
    return images[:, :, :12, :12].mean(dim=(1, 2, 3))


def test_the_map_of_a_known_score_is_where_it_looks():
    image = torch.zeros(3, 48, 48)
    image[:, :20, :20] = 1.0
    fall = occlusion(corner, image)
    assert fall.shape == (48, 48)
    assert fall[:8, :8].min() > 5 * fall[24:, 24:].abs().max()
    found = deletion(corner, image, fall, np.random.default_rng(0), share=0.1)
    assert found.score == 1
    assert found.salient > 0.9
    assert 0 <= found.moved < 0.5
    assert found.scattered == pytest.approx(0.1, abs=0.05)
    with pytest.raises(ConfigError, match="share=1"):
        deletion(corner, image, fall, np.random.default_rng(0), share=1)


def test_a_map_that_is_wrong_fails_the_check():
    image = torch.zeros(3, 48, 48)
    image[:, :20, :20] = 1.0
    found = deletion(corner, image, -occlusion(corner, image), np.random.default_rng(0))
    assert found.salient < found.moved


class Mute:
    """A ranker that cannot say why."""

    def fit(self, cache, labels, exclude=frozenset()):
        yield Progress("mute", 1, 1)

    def score(self, cache, only=None):
        for shard in cache.shards:
            yield ShardScores(shard.uuid, shard.ids, np.zeros((len(shard), 2), np.float32))


def test_the_round_says_who_explains(new_session, sky):
    session = new_session()
    some = str(session.cache.ids[0])
    with pytest.raises(SessionError, match="no trained ranker yet"):
        session.saliency(some)
    session.train("isolation-forest", trees=20)
    assert session.saliency(some).shape == (48, 48)
    np.testing.assert_allclose(Session.open(session.path).saliency(some), session.saliency(some), atol=1e-5)
    session.fitted = (1, Mute())
    with pytest.raises(SessionError, match=r"'isolation-forest' of round 1 cannot say.*these can: .*probe"):
        session.saliency(some)
