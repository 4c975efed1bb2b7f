"""Columns that are the labels under another name are told, and those that separate few labels by chance are not."""

import numpy as np
import pytest

import planted
from astroanomaly.learn.features.block_files import write_block
from astroanomaly.learn.label_leaks import telling_columns
from astroanomaly.records import FeatureBlock, Labelled

ODD = np.array(list(planted.TRUTH.values()))
RNG = np.random.default_rng(2)
NUMBERS = {
    "truth": ODD.astype(float),
    "below": -5.0 * ODD + RNG.uniform(size=len(ODD)),
    "good": 2.0 * ODD + RNG.normal(size=len(ODD)),
    "known of some": np.where(np.arange(len(ODD)) < 7, ODD, np.nan),
    "constant": np.zeros(len(ODD)),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaks")
    cache = planted.plant(folder / "cache")
    write_block(folder / "b", list(planted.TRUTH), np.column_stack(list(NUMBERS.values())), {})
    block = FeatureBlock("b", tuple(NUMBERS), folder=str(folder / "b"))

    def ask(labelled):
        return [name for _, name in telling_columns(cache, [block], labelled)]

    return ask


def test_columns_that_separate_many_labels_are_told(told):
    assert told(planted.labels(planted.TRUTH)) == ["truth", "below"]


def test_few_labels_are_separated_by_chance(told):
    assert told(planted.labels(planted.TRUTH, 2, 3)) == []


def test_labels_of_one_kind_and_of_other_caches_tell_nothing(told):
    few = planted.labels(planted.TRUTH, 0, 30)
    assert told(few) == []
    assert told(Labelled(("elsewhere",), ("anomaly",))) == []
    assert told(Labelled((), ())) == []
