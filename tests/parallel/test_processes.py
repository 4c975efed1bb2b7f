"""One map over items of work, whoever does them."""

import concurrent.futures
import threading
import time

from astroanomaly.parallel.processes import run
from cluster_parts import double


class Threads:
    """Workers that nobody here knows of: threads."""

    def __init__(self, executor):
        self.executor = executor

    def map(self, function, items):
        for future in concurrent.futures.as_completed([self.executor.submit(function, item) for item in items]):
            yield future.result()


def test_whatever_has_a_map_does_the_work():
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        assert sorted(run(double, range(20), Threads(executor))) == list(range(0, 40, 2))


def test_one_process_works_in_order_and_several_do_every_item_once():
    assert list(run(double, range(5), 1)) == [0, 2, 4, 6, 8]
    assert sorted(run(double, range(20), 2)) == list(range(0, 40, 2))


def test_short_work_is_left_to_one_worker_and_long_work_is_shared():
    def who(seconds):
        time.sleep(seconds)
        return threading.get_ident()

    assert len(set(run(who, [0.001] * 40, 2, alone_s=60.0))) == 1
    assert len(set(run(who, [0.02] * 40, 2, alone_s=0.1))) == 2
    assert len(set(run(who, [0.5] * 2, 2, alone_s=0.05))) == 2  # while the first item still takes its time
    assert list(run(who, [], 2, alone_s=1.0)) == []
