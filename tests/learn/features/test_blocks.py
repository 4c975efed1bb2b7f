"""Numbers beside the image: their scale over the survey, whatever they are; and where they are kept."""

import numpy as np
import pytest
from astropy import units
from astropy.table import Column, MaskedColumn, QTable
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from astroanomaly.errors import CatalogError, DamagedError, SessionError, UnreadableError
from astroanomaly.learn.features.block_files import DESCRIPTION, open_block, write_block
from astroanomaly.learn.features.blocks import BlockScale, column_numbers

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
TABLES = arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=NUMBERS)
RNG = np.random.default_rng(3)


@given(TABLES, st.sampled_from([0.02, 1.0]))
def test_points_of_any_numbers_are_finite_and_their_products_scatter_as_asked_for_or_they_say_nothing(values, scatter):
    scale = BlockScale.measure(values, scatter)
    points = scale.transform(values)
    assert points.shape == (len(values), scale.width)
    assert np.isfinite(points).all()
    products = points.astype(float) @ points.astype(float).T
    np.fill_diagonal(products, 0)
    assert np.sqrt(np.square(products).mean()) == pytest.approx(scatter, rel=1e-3) or not points.any()


def test_a_column_given_twice_counts_as_once():
    values = RNG.normal(size=(300, 1))
    first, second = (BlockScale.measure(one, 0.02).transform(one) for one in (values, np.hstack([values, -values])))
    np.testing.assert_allclose(first @ first.T, second @ second.T, rtol=1e-4, atol=1e-7)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_unit_and_zero_point_of_a_column_do_not_matter(factor, offset):
    values = np.column_stack([RNG.normal(size=50), RNG.exponential(size=50)])
    moved = values * [factor, 1] + [offset, 0]
    first, second = (BlockScale.measure(one, 1.0).transform(one) for one in (values, moved))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_a_number_far_out_counts_as_one_that_is_five_deviations_out():
    values = RNG.normal(size=(1000, 1))
    scale = BlockScale.measure(values, 1.0)
    far = scale.transform(np.array([[5.5], [1e30], [np.median(values)]]))
    assert far[0] == pytest.approx(far[1])
    assert far[2, 0] == pytest.approx(0, abs=0.1 * float(far[0, 0]))


def test_what_is_missing_is_in_the_middle_and_one_number_says_so_for_columns_that_are_missing_together():
    values = RNG.normal(size=(400, 5))
    values[:100, 1:3] = np.nan
    values[:50, 4] = np.nan
    scale = BlockScale.measure(values, 1.0)
    assert scale.width == 5 + 2
    points = scale.transform(values)
    assert np.ptp(points[:100, 1:3], axis=0) == pytest.approx([0, 0])
    assert len(np.unique(points[:, 5])) == 2
    assert points[0, 5] > 0 > points[100, 5]
    assert points[:, 5:].mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    whole = BlockScale.measure(values[100:, :4], 1.0)
    assert whole.width == 4
    unknown = whole.transform(np.full((1, 4), np.nan))  # where nothing was missing when it was measured
    assert np.abs(unknown).max() < 0.2 * whole.transform(values[100:, :4]).std()


def test_a_column_of_one_value_says_nothing():
    values = np.column_stack([np.full(60, 59_000.1), RNG.normal(size=60)])
    points = BlockScale.measure(values, 1.0).transform(values)
    assert not points[:, 0].any()
    assert points[:, 1].any()


def test_a_column_that_is_mostly_one_value_is_scaled_by_its_deviation():
    flags = np.zeros((100, 1))
    flags[:10] = 1
    points = BlockScale.measure(flags, 1.0).transform(flags)
    assert len(np.unique(points)) == 2


def test_columns_are_numbers_in_one_unit_and_nan_where_masked():
    assert column_numbers(MaskedColumn([1, 2], mask=[False, True]), "", "x").tolist()[0] == 1
    assert np.isnan(column_numbers(MaskedColumn([1, 2], mask=[False, True]), "", "x")[1])
    assert column_numbers(Column([True, False]), "", "x").tolist() == [1, 0]
    assert column_numbers(Column([1.0, 2.0], unit="Jy"), "mJy", "x").tolist() == [1000, 2000]
    assert column_numbers(QTable({"f": [1.0, 2.0] * units.Jy})["f"], "", "x").tolist() == [1, 2]
    with pytest.raises(CatalogError, match=r"x is in Jy.*in deg.*cannot be converted"):
        column_numbers(Column([1.0], unit="Jy"), "deg", "x")
    with pytest.raises(CatalogError, match="x is text: expected one number"):
        column_numbers(Column(["E", "S"]), "", "x")
    with pytest.raises(CatalogError, match="2 axes"):
        column_numbers(Column([[1.0, 2.0]]), "", "x")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), unique=True,
                min_size=1, max_size=20))  # fmt: skip
def test_values_are_found_by_their_id(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("block") / "b"
    values = np.arange(2.0 * len(ids)).reshape(-1, 2)
    write_block(folder, ids, values, {"name": "b"})
    kept = open_block(folder, 2)
    rows = kept.rows([*ids, "no such object, ever"])
    np.testing.assert_array_equal(kept.values[rows[:-1]], values)
    assert rows[-1] == -1


def test_damage_to_kept_values_is_told(tmp_path):
    write_block(tmp_path / "b", ["a", "b"], np.ones((2, 3)), {})
    with pytest.raises(DamagedError, match="do not fit together"):
        open_block(tmp_path / "b", 4)
    path = tmp_path / "b" / "values.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-200])
    with pytest.raises(DamagedError, match=r"values\.npy"):
        open_block(tmp_path / "b", 3)
    path.write_bytes(content)
    about = tmp_path / "b" / DESCRIPTION
    text = about.read_text()
    about.write_text(text.replace("astroanomaly-block", "astroanomaly-blocks"))
    with pytest.raises(DamagedError, match="not as it was written"):
        open_block(tmp_path / "b", 3)
    about.write_text('{"format": "astroanomaly-block", "version": 9}')
    with pytest.raises(SessionError, match="version 9, newer than 1"):
        open_block(tmp_path / "b", 3)
    about.unlink()
    with pytest.raises(UnreadableError, match=DESCRIPTION):
        open_block(tmp_path / "b", 3)
