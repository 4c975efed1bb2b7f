"""Reports of a long computation, drained."""

import pytest

from astroanomaly.records import Progress, drain


def counting(stop, broken=None):
    for number in range(stop):
        if number == broken:
            raise OSError("the disk is gone")
        yield Progress("counting", number, stop)
    return 10 * stop


def test_draining_gives_every_report_in_turn_and_returns_the_result():
    seen = []
    assert drain(counting(3), seen.append) == 30
    assert [report.done for report in seen] == [0, 1, 2]
    assert drain(counting(3)) == 30
    assert drain(counting(0), seen.append) == 0
    assert len(seen) == 3


def test_an_error_of_the_work_comes_through():
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        drain(counting(3, broken=1), seen.append)
    assert len(seen) == 1
