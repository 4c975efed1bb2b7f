"""What a source says of a request: checked, completed from the plan, kept with the cache."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly import Cache, CutoutBlock, Fact, Layout, Plan, PluginError, Task, ingest
from astroanomaly.cache.plan import read_facts
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.request import SourceRequest
from folders import TESTS


@dataclass(frozen=True)
class NoOptions:
    pass


class Talking:
    """A source of two objects that says what it is told to."""

    name, summary, Options = "talking", "two objects", NoOptions

    def __init__(self, facts=(), plain=False):
        self.facts, self.plain = facts, plain

    def plan(self, request, options):
        tasks = [Task("t", {}, {"object_id": np.array(["a", "b"])})]
        return tasks if self.plain else Plan(tasks, Layout(("g", "r"), 8, 6, units=("Jy", "")), facts=self.facts)

    def read(self, task):
        yield CutoutBlock(task.table["object_id"].tolist(), np.ones((2, 2, 8, 6), np.float32), ("g", "r"))


def test_facts_come_back_from_the_cache_and_what_was_not_said_is_added(tmp_path):
    said = [Fact("epoch", "positions at 2016.0", {"year": 2016.0, "list": [None, True, "ü"]}), Fact("size", "small")]
    reports = []
    cache = ingest(Talking(said), out=tmp_path / "c", progress=reports.append)
    assert list(cache.facts) == ["epoch", "size", "objects", "bands"]
    assert cache.facts["epoch"] == said[0]
    assert cache.facts["size"].value is None
    assert cache.facts["bands"] == Fact("bands", "g [Jy], r", {"g": {"unit": "Jy"}, "r": {"unit": ""}})
    told = [report.facts for report in reports if report.facts]
    assert [fact.name for fact in told[0]] == list(cache.facts)
    first_cut = next(k for k, report in enumerate(reports) if report.stage == "cutting")
    assert any(report.facts for report in reports[:first_cut])


def test_a_source_of_the_contract_without_facts_works(tmp_path):
    cache = ingest(Talking(plain=True), out=tmp_path / "c")
    assert {name: fact.text for name, fact in cache.facts.items()} == {
        "objects": "2 in 1 task", "bands": "g, r", "size": "6 x 8 pixels (width x height)",
    }  # fmt: skip
    assert [fact.name for fact in dry_run(SourceRequest.of(Talking(plain=True))).facts] == ["objects"]


def test_facts_stay_when_an_ingest_is_resumed_though_the_source_says_others(tmp_path):
    ingest(Talking([Fact("epoch", "one")]), out=tmp_path / "c")
    assert ingest(Talking([Fact("epoch", "two")]), out=tmp_path / "c").facts["epoch"].text == "one"


def test_a_cache_of_version_1_has_none(tmp_path):
    assert Cache.open(shutil.copytree(TESTS / "data" / "cache-v1", tmp_path / "cache")).facts == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "text"), "name of 0 characters"),
        (("name", " \n "), "text of 0 characters"),
        (("name", "x" * 2001), "text of 2001 characters"),
        (("name", "text", {1, 2}), "no JSON"),
        (("name", "text", float("nan")), "no JSON"),
        (("name", "text", ["x" * 1000] * 100), "bytes, more than 65536"),
    ],
)
def test_what_is_no_fact_is_refused(arguments, message):
    with pytest.raises(PluginError, match=message):
        Fact(*arguments)


def test_two_facts_of_one_name_are_refused(tmp_path):
    with pytest.raises(PluginError, match="2 facts, 1 of them of different names"):
        ingest(Talking([Fact("a", "b"), Fact("a", "c")]), out=tmp_path / "c")
    assert not (tmp_path / "c").exists()


@given(st.text(min_size=1, max_size=50))
def test_text_of_strangers_cannot_steer_a_terminal(text):
    fact = Fact("name", f"a{text}")
    assert fact.text.isprintable()
    assert read_facts({"facts": [{"name": "name", "text": fact.text, "value": None}]}) == (fact,)
