"""Columns of numbers of the catalogue: read one at a time, and the order of a page by them."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from astroanomaly import Session, ingest
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.page_status import showing
from astroanomaly.app.review.shared_state import COLD, SharedState
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.records import ANOMALY

N = 40


@pytest.fixture(scope="module")
def catalogue(sky):
    """A catalogue with numbers of several kinds, some of them absent, and with text."""
    made = Table.read(sky[0].catalog)[:N]
    own = made["object_id", "ra", "dec"]
    values = np.random.default_rng(4).permutation(N)
    own["mag r"] = MaskedColumn(values / 4, mask=values < 3)
    own["flux"] = np.where(values == 7, np.inf, np.where(values == 5, np.nan, 1.5**values)).astype(np.float32)
    own["count"] = values
    own["text"] = [f"t{k}" for k in values]
    return own


@pytest.fixture(scope="module")
def carried(sky, catalogue, tmp_path_factory):
    folder = tmp_path_factory.mktemp("columns")
    catalogue.write(folder / "c.ecsv")
    ingest("fits", sky[0].mosaics, out=folder / "cache", catalog=folder / "c.ecsv", size="32", carry=("*",))
    return folder / "cache"


@pytest.fixture
def shared(carried, tmp_path, tiny):
    made = SharedState(Session.create(tmp_path / "search", carried, settings=tiny))
    made.publish(COLD, np.arange(N, dtype=np.float32), "test")
    yield made
    made.close()


@pytest.fixture
def state(shared):
    made = ViewState(shared, "ann")
    made.set_options(page_size=100)
    return made


def expected(catalogue, name, *, descending=False):
    """Ids by a column as numpy sorts it, and those without a value."""
    values = np.ma.filled(np.ma.asarray(catalogue[name]).astype(float), np.nan)
    there = np.flatnonzero(np.isfinite(values))
    order = there[np.argsort(values[there])]
    ids = catalogue["object_id"]
    return list(ids[order[::-1] if descending else order]), set(ids[~np.isfinite(values)])


def test_columns_of_numbers_are_offered_and_one_alone_is_read(shared, catalogue, monkeypatch):
    columns = shared.number_columns
    assert {"mag r", "flux", "count"} <= set(columns.names)
    assert "text" not in columns.names
    asked = []
    for shard in shared.cache.shards:
        real = shard.columns
        monkeypatch.setattr(shard, "columns", lambda names=None, real=real: asked.append(names) or real(names))
    ids = dict(zip(catalogue["object_id"], catalogue["count"], strict=True))
    assert columns.values("count").tolist() == [ids[i] for i in shared.cache.ids]
    assert columns.values("count") is columns.values("count")
    assert asked == [["count"]] * len(shared.cache.shards)
    assert columns.values("flux").dtype == np.float32
    assert int(np.isnan(columns.values("flux")).sum()) == 2


@pytest.mark.parametrize("ordering", ["ascending", "descending"])
@pytest.mark.parametrize("name", ["mag r", "flux", "count"])
def test_a_column_orders_the_page_and_objects_without_a_value_come_last(state, catalogue, ordering, name):
    state.set_options(ordering=ordering, column=name)
    first, last = expected(catalogue, name, descending=ordering == "descending")
    shown = list(state.page.ids)
    assert shown[: len(first)] == first
    assert set(shown[len(first) :]) == last
    assert showing(state).endswith(f", {len(last)} without {name}, which come last" if last else f"of {N} objects")


def test_pages_go_on_in_that_order_and_the_verdict_says_it(state, catalogue, shared):
    state.set_options(ordering="descending", column="count", page_size=9)
    first, _ = expected(catalogue, "count", descending=True)
    state.verdict(ANOMALY)
    assert shared.labels.events()[-1].ordering == "descending:count"
    state.turn(1)
    assert list(state.page.ids) == first[9:18]
    state.set_filters(expression="count < 10")
    assert list(state.page.ids) == first[-10:-1]
    assert not state.is_outdated  # whatever the scores are


def test_verdicts_do_not_change_it_so_pages_come_whole(state, shared):
    shared.publish("probe", np.arange(N, dtype=np.float32), "live")
    state.set_options(ordering="ascending", column="count", page_size=25, row_by_row=True)
    assert len(state.page.ids) == 25


def test_it_begins_with_the_first_column_and_refuses_what_is_none(state, shared):
    state.set_options(ordering="ascending")
    assert state.column == shared.number_columns.names[0]
    before = state.page.ids
    for column, why in (("text", "one number for each object"), ("cuont", "did you mean 'count'")):
        state.set_options(column=column)
        assert why in state.message.text
        assert (state.column, state.page.ids) == (shared.number_columns.names[0], before)
    with pytest.raises(ConfigError):
        shared.number_columns.values("text")
    with pytest.raises(CatalogError):
        shared.number_columns.values("nothing")
