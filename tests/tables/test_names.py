"""Which ids a name may mean."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import NameMatcher
from astroanomaly.tables.names import find_rows

STEMS = ["a", "b/a", "c/b/a", "1", "e\u0301", "\u00e9", "0a1b2c3d-a", "b\\a", "http://x/a", "1.0", "a.b", " a"]
NAMES = st.tuples(st.sampled_from(STEMS), st.sampled_from(["", ".png", ".fits.gz", ".0"])).map("".join)


@given(st.lists(NAMES), st.lists(NAMES), st.sampled_from([list, iter]))
@settings(deadline=None)
def test_a_matcher_of_few_names_finds_what_one_of_all_finds(ids, names, kind):
    every, few = NameMatcher(kind(ids)), NameMatcher(kind(ids), kind(names))
    for name in names:
        for strict in (False, True):
            assert few.find(name, strict=strict) == every.find(name, strict=strict)


def test_rows_of_ids_that_are_a_list():
    ids = [f"n{number}" for number in range(10)]
    np.testing.assert_array_equal(find_rows(["n3", "x", "n0", "n3"], ids), [3, -1, 0, 3])
    assert find_rows([], ids).dtype == find_rows(["x"], []).dtype == np.int64
