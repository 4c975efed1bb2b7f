"""Objects that fail when a request is planned are reported with their reason, also those of earlier plans."""

import numpy as np
import pytest

from astroanomaly import Failure, Task
from astroanomaly_plugins.shared.failures import failure_tasks, read_failures


def same(found, expected):
    found = list(found)
    assert [(one.object_id, one.reason, one.kind) for one in found] == [expected_one[:3] for expected_one in expected]
    np.testing.assert_array_equal([(one.ra, one.dec) for one in found], [expected_one[3:] for expected_one in expected])


def test_what_is_planned_is_read():
    [task] = failure_tasks("lost", ["a", "b"], np.array([1.0, np.nan]), np.array([2.0, np.nan]), ["x", "y"], "failed")
    same(read_failures(task), [("a", "x", "failed", 1.0, 2.0), ("b", "y", "failed", np.nan, np.nan)])
    [task] = failure_tasks("lost", ["a", "b"], np.nan, 3.0, "why", ["failed", "no coverage"])
    same(read_failures(task), [("a", "why", "failed", np.nan, 3.0), ("b", "why", "no coverage", np.nan, 3.0)])
    first, second = task.split(1)
    same(read_failures(second), [("b", "why", "no coverage", np.nan, 3.0)])
    assert len(first) == 1
    assert failure_tasks("lost", [], np.nan, np.nan, "why", "failed") == []
    assert all(isinstance(one, Failure) for one in read_failures(task))


IDS, SKY = np.array(["a", "b"]), {"ra": np.array([1.0, np.nan]), "dec": np.array([2.0, np.nan])}
LOST = "no valid position in the catalogue"


@pytest.mark.parametrize(
    ("payload", "more", "reasons", "kinds"),
    [
        # fits
        (
            {"kind": "failures"},
            {"reason": np.array(["outside all images", LOST])},
            None,
            ("no coverage", "no position"),
        ),
        (
            {"kind": "failures"},
            {"reason": np.array(["a.fits is cut short", "outside all images"])},
            None,
            ("failed", "no coverage"),
        ),
        # euclid
        (
            {"kind": "outside"},
            {"reason": np.array(["outside all Euclid mosaics", "not in the MER catalogue"])},
            None,
            ("no coverage", "failed"),
        ),
        # hst
        (
            {"kind": "failures"},
            {"reason": np.array(["no image of these filters", LOST]), "failure": np.array(["no coverage", "failed"])},
            None,
            ("no coverage", "no position"),
        ),
        # hips and vo
        ({"kind": "failures", "reason": LOST, "failure": "failed"}, {}, (LOST, LOST), ("no position", "no position")),
        (
            {"kind": "failures", "reason": "the service has no image here", "failure": "no coverage"},
            {},
            ("the service has no image here",) * 2,
            ("no coverage", "no coverage"),
        ),
    ],
)
def test_plans_of_version_0_1_0_are_read(payload, more, reasons, kinds):
    task = Task("lost", payload, {"id": IDS, **SKY, **more})
    reasons = more["reason"].tolist() if reasons is None else reasons
    same(read_failures(task), [("a", reasons[0], kinds[0], 1.0, 2.0), ("b", reasons[1], kinds[1], np.nan, np.nan)])
