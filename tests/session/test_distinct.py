"""Cutouts of one thing from overlapping images: a catalogue of N has N things, and candidates show each once."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import Session
from astroanomaly.app.review.exports import catalogue, select
from astroanomaly.app.review.shared_state import LATEST, SharedState
from astroanomaly.cache.writer import ShardWriter, create_cache
from astroanomaly.cli import main
from astroanomaly.errors import ConfigError
from astroanomaly.records import CutoutBlock, Layout, Task
from astroanomaly.session.distinct import first_distinct
from astroanomaly.tables.matching import find_duplicates

SIZE = 32
SOURCES, TILES = 30, 3  # each source is cut from so many overlapping tiles


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    """90 cutouts of 30 sources, a third of an arcsec apart; every fifth source has a ring."""
    path = tmp_path_factory.mktemp("overlap") / "cache"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    r = np.hypot(x, y)
    source = np.arange(SOURCES * TILES) % SOURCES
    images = rng.normal(0, 0.1, (len(source), 2, SIZE, SIZE)).astype(np.float32)
    images += (3 * np.exp(-((r / rng.uniform(2, 3, SOURCES)[source][:, None, None, None]) ** 2))).astype(np.float32)
    images[source % 5 == 0] += (2 * np.exp(-((r - 10) ** 2) / 2)).astype(np.float32)
    ids = [f"t{k // SOURCES}-{k % SOURCES:02d}" for k in range(len(source))]
    ra = rng.uniform(10, 11, SOURCES)[source] + rng.uniform(-0.15, 0.15, len(source)) / 3600
    block = CutoutBlock(ids, images, ("g", "r"), ra=ra, dec=rng.uniform(-1, 1, SOURCES)[source])
    layout = Layout(("g", "r"), SIZE, SIZE)
    create_cache(path, layout, [Task("t")], {"source": "test"})
    with ShardWriter(path, layout) as writer:
        writer.begin(0, "t")
        writer.add(block)
        writer.commit()
    return path


@pytest.fixture(scope="module")
def session(overlapping, tmp_path_factory):
    made = Session.create(
        tmp_path_factory.mktemp("distinct") / "s",
        overlapping,
        settings={"input": {"size": SIZE}, "backbone": {"name": "test_efficientnet", "weights": "random"}},
    )
    made.train("cold")
    return made


def sources(table):
    return [str(object_id)[-2:] for object_id in table["object_id"]]


def test_the_highest_n_are_n_things(session, tmp_path):
    table = session.export(tmp_path / "a.csv", top=20)
    assert len(table) == len(set(sources(table))) == 20
    assert (table["n_merged"] == TILES).all()  # others are named wherever they stand in the ranking
    for row in table:
        others = row["merged_ids"].split()
        assert {name[-2:] for name in others} == {str(row["object_id"])[-2:]}
        assert len(others) == TILES - 1
    assert (np.diff(table["score"]) <= 0).all()
    assert len(session.export(tmp_path / "b.csv", top=1000)) == SOURCES
    apart = session.export(tmp_path / "c.csv", top=20, merge_radius_arcsec=0)
    assert len(apart) == 20
    assert "n_merged" not in apart.colnames


@pytest.mark.parametrize("order", ["score", "uncertain", "diverse", "novel", "mixed", "random", "nominal"])
def test_candidates_show_each_thing_once(session, order):
    table = session.candidates(15, order)
    assert len(table) == len(set(sources(table))) == 15
    assert (table["n_merged"] == TILES).all()
    if order in ("score", "nominal"):  # the best of each group: the first in this order
        every = session.candidates(SOURCES * TILES, order, merge_radius_arcsec=0)
        first = dict(reversed([(str(i)[-2:], str(i)) for i in every["object_id"]]))
        assert set(map(str, table["object_id"])) <= set(first.values())
        assert len(every) == SOURCES * TILES


def test_the_command_says_what_it_left_out(session):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["candidates", str(session.path), "-n", "4"]) == 0
    assert "8 duplicates within 1 arcsec of these left out" in out.getvalue()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        assert main(["candidates", str(session.path), "--merge-radius", "-1"]) == 2
    with pytest.raises(ConfigError, match="merge_radius_arcsec=-3: expected a number, 0 or more"):
        session.candidates(5, merge_radius_arcsec=-3)


def test_the_app_exports_as_many(session, tmp_path):
    shared = SharedState(session)
    try:
        free = np.ones(len(session.cache), bool)
        ids = select(shared, "top", (), free, LATEST, 20, merge_radius_arcsec=1.0)
        table = catalogue(shared, ids, LATEST, 1.0)
        wanted = session.export(tmp_path / "d.csv", top=20)
        assert list(table["object_id"]) == list(wanted["object_id"])
        assert list(table["merged_ids"]) == list(wanted["merged_ids"])
        free[:SOURCES] = False  # what does not pass the filters is nobody's duplicate
        ids = select(shared, "top", (), free, LATEST, 20, merge_radius_arcsec=1.0)
        assert free[session.cache.rows(ids)].all()
        assert catalogue(shared, ids, LATEST, 1.0)["n_merged"].tolist() == [TILES - 1] * 20
        assert len(select(shared, "top", (), free, LATEST, 20)) == 20
    finally:
        shared.close()


class Places:
    """Positions with ids, as far as the search needs a cache."""

    def __init__(self, ra, dec):
        self.positions = ra, dec

    def rows(self, ids):
        return np.array([int(i) for i in ids], int)

    def ids_at(self, rows):
        return [str(row) for row in rows]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 5)), min_size=1, max_size=40), st.integers(1, 12))
def test_what_is_asked_for_piece_by_piece_is_what_merging_everything_gives(objects, n):
    """Objects on a line .4 arcsec apart, so that chains of neighbours and equal scores occur."""
    step, score = np.array(objects, float).T
    ra, dec = step * 0.4 / 3600, np.zeros(len(objects))
    ra[::7] = np.nan
    order = np.lexsort((np.arange(len(ra)), -score))
    whole = find_duplicates(ra[order], dec[order], score[order], 1.0)
    kept = [k for k in range(len(order)) if whole[k] == k][:n]
    found = first_distinct(
        lambda count: [str(row) for row in order[:count]], n, Places(ra, dec), 1.0, np.ones(len(ra), bool), score
    )
    assert found.ids == tuple(str(order[k]) for k in kept)
    for k, others in zip(kept, found.duplicates, strict=True):
        assert set(others) == {str(order[j]) for j in range(len(order)) if whole[j] == k != j}
