"""A host that is down: left alone for a while and said once, the rest goes on, and it is come back to."""

import logging
import math
import time

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly import FetchConfig, FetchError, fetch, ingest
from astroanomaly.cutting import tan_grid
from astroanomaly.fetch import down_hosts, get, using
from astroanomaly.records import CutoutBlock, Failure, Layout, Task
from servers.base import Answer, Server

SIDE = 4


class Numbers(Server):
    """Answers every path with a text."""

    def answer(self, asked):
        return Answer(asked.path.encode(), "text/plain")


def net(folder, **more):
    return FetchConfig(
        **{"attempts": 2, "first_wait_s": 0.02, "longest_wait_s": 0.1, "requests": 1, "keep": str(folder), **more}
    )


def outcome(server, number):
    try:
        return get(f"{server.url}/{number}", what=f"number {number}")
    except FetchError as error:
        return error


def host_of(server):
    return f"127.0.0.1:{server.port}"


def test_while_others_answer_a_host_that_is_down_is_left_alone(tmp_path, caplog):
    with Numbers() as one, Numbers() as other, using(net(tmp_path, first_wait_s=0.5, longest_wait_s=5, attempts=1)):
        one.misbehave("503", times=math.inf)
        for number in range(12):
            found = outcome(one, number)
            assert isinstance(found, FetchError)
            assert found.retryable
            assert "HTTP 503" in found.reason  # why, also where it was not asked any more
            assert outcome(other, number) == f"/{number}".encode()
        assert one.count() == 4  # after which it was not asked
        assert other.count() == 12
        (mark,) = down_hosts()
        assert (mark.host, mark.up, mark.given_up) == (host_of(one), False, False)
        assert caplog.text.count("is down") == 1
        one.behave()
        time.sleep(max(0.0, mark.until - time.time()))
        assert outcome(one, 13) == b"/13"
        assert down_hosts()[0].up
        assert "answers again" in caplog.text


def test_where_there_is_nothing_else_to_do_requests_wait_for_it(tmp_path):
    with Numbers() as server, using(net(tmp_path)):
        server.misbehave("refused", times=9)  # 8 in a row, and the first return
        found = [outcome(server, number) for number in range(8)]
        failed = [one for one in found if isinstance(one, FetchError)]
        assert len(failed) == 4  # those before it was known; of the others, none
        assert server.count() == 9 + 4
        assert down_hosts()[0].returns == 2


def test_a_host_that_stays_down_is_given_up_until_the_next_run(tmp_path):
    with Numbers() as server:
        server.misbehave("503", times=math.inf)
        with using(net(tmp_path)):
            for number in range(20):
                assert isinstance(outcome(server, number), FetchError)
            assert server.count() == 8 + 3  # 4 tries of a request in a row, and three returns
            assert down_hosts()[0].given_up
        server.behave()
        with using(net(tmp_path)):
            assert outcome(server, 1) == b"/1"
            assert down_hosts() == []


@pytest.mark.parametrize("kind", ["500", "429", "html"])
def test_a_host_that_answers_is_not_down(kind, tmp_path):
    """Whatever it says, but that it is out of service."""
    with Numbers() as server, using(net(tmp_path, longest_wait_s=0.01)):
        server.misbehave(kind, times=math.inf)
        for number in range(12):
            outcome(server, number)
        assert server.count() == (12 if kind == "html" else 24)
        assert down_hosts() == []


def test_one_answer_between_them_and_failures_are_not_in_a_row(tmp_path):
    with Numbers() as server, using(net(tmp_path, longest_wait_s=0.01)):
        for _ in range(4):
            server.misbehave("503", times=6)
            assert [isinstance(outcome(server, number), FetchError) for number in range(4)] == [True] * 3 + [False]
        assert down_hosts() == []


class TwoHosts:
    """A source whose objects are half on one host, half on another."""

    name, summary, fetches = "two-hosts", "two hosts", True

    class Options:
        pass

    def __init__(self, urls):
        from dataclasses import make_dataclass

        self.urls, self.Options = urls, make_dataclass("Options", [], frozen=True)

    def plan(self, request, options):
        from astroanomaly import Plan

        ids = np.array([f"o{k:02d}" for k in range(40)])
        tasks = [Task(f"t{k}", {}, {"id": ids[k::4], "host": np.array([k % 2] * 10)}) for k in range(4)]
        return Plan(tasks, Layout(bands=("g",), height=SIDE, width=SIDE))

    def read(self, task):
        for row, found in fetch.each(lambda row: self.ask(task, row), range(len(task))):
            name = str(task.table["id"][row])
            if isinstance(found, FetchError):
                yield Failure(name, found.reason, 1.0, 2.0)
            else:
                grid = tan_grid((1.0, 2.0), 0.1, (SIDE, SIDE))
                yield CutoutBlock([name], np.ones((1, 1, SIDE, SIDE), np.float32), ("g",), [1.0], [2.0], grid)

    def ask(self, task, row):
        return get(f"{self.urls[int(task.table['host'][row])]}/{task.table['id'][row]}", what="a number")


def test_an_ingest_goes_on_with_the_rest_and_comes_back(tmp_path, caplog):
    """One of two hosts is down for a while: everything is there in the end, in one run."""
    caplog.set_level(logging.WARNING)
    with Numbers() as one, Numbers() as two:
        one.misbehave("503", times=8)
        source = TwoHosts([one.url, two.url])
        steps = []
        cache = ingest(source, out=tmp_path / "cache", fetch=net(tmp_path / "kept"), progress=steps.append)
        assert sorted(cache.ids) == [f"o{k:02d}" for k in range(40)]
        assert not cache.failures
        assert two.count() == 20
        assert caplog.text.count("is down") == 1
        assert "retrying" in {step.stage for step in steps}


def test_an_ingest_ends_where_a_host_stays_down_and_the_next_run_finishes_it(tmp_path):
    with Numbers() as one, Numbers() as two:
        one.misbehave("refused", times=math.inf)
        source, config = TwoHosts([one.url, two.url]), net(tmp_path / "kept")
        cache = ingest(source, out=tmp_path / "cache", fetch=config)
        assert len(cache) == 20
        assert len(cache.failures) == 20  # none is lost
        assert {failure.reason for failure in cache.failures} == {f"the connection broke ({host_of(one)})"}
        assert one.count() < 20
        one.behave()
        again = ingest(source, out=tmp_path / "cache", fetch=config, retry_failed=True)
        assert len(again) == 40
        assert not again.failures


def test_objects_without_a_position_are_not_tried_again(tmp_path):
    from astroanomaly_plugins.surveys.legacy import LegacySource
    from servers.surveys import LegacyServer, SurveySky

    sky = SurveySky(("g",), 0.262)
    ra, dec = sky.places(100, 100)
    table = Table({"id": ["here", "nowhere"], "ra": [float(ra), np.nan], "dec": [float(dec), np.nan]})
    with LegacyServer(sky) as server:
        asked = {"catalog": table, "size": "8", "bands": ("g",), "server": server.address, "fetch": net(tmp_path)}
        cache = ingest(LegacySource(), out=tmp_path / "cache", **asked)
        (failure,) = cache.failures
        assert failure.kind == "no position"
        steps = []
        again = ingest(LegacySource(), out=tmp_path / "cache", retry_failed=True, progress=steps.append, **asked)
        assert "retrying" not in {step.stage for step in steps}
        assert [one.kind for one in again.failures] == ["no position"]
