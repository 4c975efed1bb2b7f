"""Which objects come next."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.errors import ConfigError
from astroanomaly.ranking import ORDERS, order

IDS = [f"o{i:03d}" for i in range(100)]
SCORES = np.random.default_rng(0).normal(1, 3, 100)


def brute(key, n):
    return [i for _, i in sorted(zip(key.tolist(), IDS, strict=True))][:n]


def test_each_order_is_what_it_says():
    assert order(IDS, SCORES, "score", n=7) == brute(-SCORES, 7)
    assert order(IDS, SCORES, "nominal", n=7) == brute(SCORES, 7)
    assert order(IDS, SCORES, "uncertain", n=7) == brute(np.abs(SCORES), 7)
    assert order(IDS, SCORES, "median", n=7) == brute(np.abs(SCORES - np.median(SCORES)), 7)
    assert order(IDS, SCORES, "mean", n=7) == brute(np.abs(SCORES - SCORES.mean()), 7)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 40), st.sampled_from(["score", "uncertain"])
)
def test_equal_scores_are_ordered_by_id(scores, n, how):
    ids = IDS[: len(scores)]
    shuffled = np.random.default_rng(1).permutation(len(ids))
    values = np.array(scores, float)
    expected = [i for _, i in sorted(zip((-values if how == "score" else values).tolist(), ids, strict=True))][:n]
    assert order([ids[k] for k in shuffled], values[shuffled], how, n=n) == expected


def test_objects_without_a_score_and_excluded_ones_are_not_chosen():
    scores = SCORES.copy()
    scores[::2] = np.nan
    chosen = order(IDS, scores, n=100, exclude={"o001", "o003"})
    assert len(chosen) == 48
    assert not {"o000", "o001", "o003"} & set(chosen)
    assert order(IDS, np.full(100, np.nan), n=3) == []


def test_random_is_uniform_and_repeatable():
    first = order(IDS, SCORES, "random", n=10, rng=np.random.default_rng(5))
    assert first == order(IDS, SCORES, "random", n=10, rng=np.random.default_rng(5))
    rng = np.random.default_rng(0)
    hits = sum("o007" in order(IDS, SCORES, "random", n=10, rng=rng) for _ in range(2000))
    assert abs(hits / 2000 - 0.1) < 0.03  # sigma .007


def test_diverse_takes_one_of_each_kind_before_a_second():
    kinds = np.eye(5)[np.arange(100) % 5] + np.random.default_rng(0).normal(0, 0.01, (100, 5))
    chosen = order(IDS, SCORES, "diverse", n=5, features=lambda ids: kinds[[int(i[1:]) for i in ids]])
    assert len({int(i[1:]) % 5 for i in chosen}) == 5
    assert chosen[0] == brute(-SCORES, 1)[0]


KINDS = np.eye(5)[np.arange(100) % 5] + np.random.default_rng(0).normal(0, 0.01, (100, 5))


def features(ids):
    return KINDS[[int(i[1:]) for i in ids]]


def test_novel_is_unlike_all_that_is_labelled():
    given = [i for i in IDS if int(i[1:]) % 5 in (0, 2, 3)]
    chosen = order(IDS, SCORES, "novel", n=10, rng=np.random.default_rng(0), features=features, labelled=given)
    assert {int(i[1:]) % 5 for i in chosen} == {1, 4}
    assert len(set(chosen)) == 10
    alone = order(IDS, SCORES, "novel", n=5, rng=np.random.default_rng(0), features=features)
    assert len(set(alone)) == 5


def test_mixed_takes_from_each_pile_in_turn_and_nothing_twice():
    more = {"n": 8, "features": features, "labelled": [i for i in IDS if int(i[1:]) % 5 != 4]}
    chosen = order(IDS, SCORES, "mixed", rng=np.random.default_rng(3), **more)
    best, near = brute(-SCORES, 100), brute(np.abs(SCORES), 100)
    assert len(set(chosen)) == 8
    assert [chosen[0], chosen[1]] == best[:2]
    assert chosen[2] == near[0]
    assert {int(chosen[3][1:]) % 5, int(chosen[7][1:]) % 5} == {4}
    assert chosen == order(IDS, SCORES, "mixed", rng=np.random.default_rng(3), **more)


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 9))
def test_mixed_gives_as_many_as_there_are(count, n, seed):
    rng = np.random.default_rng(seed)
    chosen = order(IDS[:count], SCORES[:count], "mixed", n=n, rng=rng, features=features, labelled=IDS[:2])
    assert len(chosen) == len(set(chosen)) == min(n, count)


def test_an_unknown_order_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'uncertain'"):
        order(IDS, SCORES, "uncertan", n=1)
    assert set(ORDERS) >= {"score", "uncertain", "diverse", "random"}


def test_a_million_objects_are_ordered_in_a_moment():
    ids = np.arange(1_000_000).astype(str).tolist()
    scores = np.random.default_rng(0).normal(size=1_000_000)
    started = time.perf_counter()
    for how in ("score", "uncertain", "nominal", "median"):
        order(ids, scores, how, n=50)
    chosen = order(ids, scores, "score", n=50, exclude={ids[int(np.argmax(scores))]})
    assert time.perf_counter() - started < 10  # measured: 0.9 s on two busy cores
    assert chosen == [ids[k] for k in np.argsort(-scores)[1:51]]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="n=-1"):
        order(IDS, SCORES, n=-1)
    with pytest.raises(ConfigError, match="expected one score for each"):
        order(IDS, SCORES[:5], n=3)
    with pytest.raises(ConfigError, match="needs a random generator"):
        order(IDS, SCORES, "random", n=3)
    with pytest.raises(ConfigError, match="mixed order needs a random generator"):
        order(IDS, SCORES, "mixed", n=3)
    for how in ("diverse", "novel", "mixed"):
        with pytest.raises(ConfigError, match="needs features"):
            order(IDS, SCORES, how, n=3, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="expected one row for each"):
        order(IDS, SCORES, "diverse", n=3, features=lambda ids: np.zeros((2, 4)))
    assert order(IDS, SCORES, n=0) == []
    assert order([], np.zeros(0), n=5) == []


def test_diverse_stays_near_the_top():
    ids = [f"o{i:04d}" for i in range(2000)]
    scores = np.random.default_rng(0).normal(size=2000)
    points = np.random.default_rng(1).normal(size=(2000, 16))
    chosen = order(ids, scores, "diverse", n=100, features=lambda wanted: points[[int(i[1:]) for i in wanted]])
    lowest = min(scores[int(i[1:])] for i in chosen)
    assert lowest >= np.sort(scores)[-400]
