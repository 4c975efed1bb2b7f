"""Columns that may tell the class are found by their names and by what they hold, whatever the catalogue."""

import numpy as np
import pytest

from astroanomaly.labels.truth_columns import truth_columns

NUMBERS = np.arange(4)


@pytest.mark.parametrize(
    "name",
    [
        "label", "Label", "LABELS", "true_label", "trueLabel", "label_id", "labelid", "y_label", "class", "CLASS",
        "class_name", "classid", "subclass", "classification", "CLASS_STAR", "truth", "ground_truth", "groundTruth",
        "target", "Target", "y", "Y", "y_true", "anomaly", "is_anomaly", "isAnomaly", "ANOMALOUS", "anomaly_flag",
        "anomaly2", "outlier", "is outlier", "category", "morphology", "type", "objtype", "main_type", "verdict",
    ],
)  # fmt: skip
def test_names_that_tell(name):
    assert truth_columns({"mag": NUMBERS, name: NUMBERS}, ["nominal", "anomaly"]) == {name}


@pytest.mark.parametrize(
    "name",
    [
        "mag", "mag_y", "flux_Y", "ra", "dec", "x", "snr", "object_id", "target_id", "TARGETNAME", "target_ra",
        "redshift", "z_true", "ellipticity", "data_type", "file_type", "tile", "archive", "theta", "year", "r50",
    ],
)  # fmt: skip
def test_names_that_do_not(name):
    assert truth_columns({name: NUMBERS}, ["nominal", "anomaly"]) == frozenset()


def test_y_beside_x_is_a_position():
    assert truth_columns({"x": NUMBERS, "y": NUMBERS}, []) == frozenset()


@pytest.mark.parametrize(
    "values",
    [
        np.array(["spiral", "ring", "spiral"]),
        np.array(["spiral", " Ring ", "spiral"], dtype=object),
        np.array([b"spiral", b"ring", b"spiral"]),
        np.array(["a/nominal/1.jpg", "a/ring/2.jpg", "b.jpg"]),
        np.array(["train\\ring\\2.jpg"]),
        np.array(["normal", "", "x"]),
    ],
)
def test_a_column_that_holds_names_of_classes_tells(values):
    assert truth_columns({"note": values, "mag": NUMBERS[: len(values)]}, ["nominal", "anomaly", "ring"]) == {"note"}


def test_text_of_other_things_does_not():
    values = np.array(["strings", "G23", "10:00:24", "survey/tile 7", ""])
    assert truth_columns({"field": values}, ["nominal", "anomaly", "ring"]) == frozenset()
