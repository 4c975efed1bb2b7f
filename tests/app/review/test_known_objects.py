"""What catalogues know of the objects of a page: filters by it, and results that change under the page."""

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly.app.review.filters import EVERYTHING, Filters
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.errors import ConfigError


@pytest.fixture
def shared(new_session):
    made = SharedState(new_session())
    yield made
    made.close()


def entries(cache, ids, kind="lens"):
    cutouts = [cache[i] for i in ids]
    return Table(
        {"name": [f"known {i}" for i in ids], "ra": [c.ra for c in cutouts], "dec": [c.dec for c in cutouts],
         "type": [kind] * len(ids)}
    )  # fmt: skip


def ids_of(shared, **filters):
    free = shared.matching(Filters(labels=EVERYTHING, **filters), "")
    return [shared.cache.ids[row] for row in np.flatnonzero(free)]


def test_filters_by_what_is_known(shared):
    ids = list(shared.cache.ids)
    assert ids_of(shared, known="not looked up") == ids
    assert ids_of(shared, known="known") == ids_of(shared, known="not known") == []
    before = shared.revision
    shared.session.crossmatch({"mine": entries(shared.cache, ids[2:4])}, ids=ids[:6])
    shared.refresh()
    assert shared.revision > before
    assert ids_of(shared, known="known") == ids[2:4]
    assert ids_of(shared, known="not known") == [*ids[:2], *ids[4:6]]
    assert ids_of(shared, known="not looked up") == ids[6:]
    assert ids_of(shared, expression="known_type == 'lens' and known_separation < 1") == ids[2:4]
    assert ids_of(shared, expression="known_matches == 0") == [*ids[:2], *ids[4:6]]
    assert Filters(known="not known").words()[-1] == "not known"
    shared.session.crossmatch({"mine": entries(shared.cache, ids[:1], "star")}, ids=ids[:6])
    shared.refresh()
    assert ids_of(shared, known="known") == ids_of(shared, expression="known_type == 'star'") == ids[:1]
    with pytest.raises(ConfigError, match=r"known='knwon'.*did you mean 'known'"):
        ids_of(shared, known="knwon")


def test_a_damaged_file_is_told_and_not_believed(shared):
    ids = list(shared.cache.ids)
    shared.session.crossmatch({"mine": entries(shared.cache, ids[:1])}, ids=ids[:2])
    (file,) = (shared.session.path / "crossmatches").glob("*.json")
    file.write_text(file.read_text().replace("known ", "KNOWN "))
    shared.refresh()
    assert "damaged" in shared.known_objects.problem
    assert ids_of(shared, known="known") == []
