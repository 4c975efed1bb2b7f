"""Plugins by kind: a command imports those that may bring what it needs."""

import sys

import pytest

from astroanomaly.plugins import load_plugins, plugin_groups

SOURCE = """
from dataclasses import dataclass
from astroanomaly import hookimpl

@dataclass(frozen=True)
class Options:
    pass

class Stacks:
    name, summary, Options = "stacks", "nothing", Options
    def plan(self, request, options):
        return []
    def read(self, task):
        return iter(())

@hookimpl
def register_sources(register):
    register(Stacks())
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a plugin with one source in a group of entry points."""

    def install(group):
        (tmp_path / "my_stacks.py").write_text(SOURCE)
        info = tmp_path / "my_stacks-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-stacks\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nstacks = my_stacks\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield install
    sys.modules.pop("my_stacks", None)


def test_a_source_is_not_imported_where_a_ranker_is_wanted(installed):
    installed("astroanomaly.sources")
    registry = load_plugins("ranker")
    assert "probe" in registry.rankers
    assert not registry.broken
    assert "my_stacks" not in sys.modules
    for kind in ("source", None):
        registry = load_plugins(kind)
        assert registry.packages["source", "stacks"] == "my-stacks"


def test_the_group_of_all_kinds_is_always_loaded(installed):
    installed("astroanomaly")
    for kind in ("source", "ranker", "crossmatch", None):
        assert "stacks" in load_plugins(kind).sources


def test_a_plugin_in_the_group_of_another_kind_is_skipped(installed):
    installed("astroanomaly.rankers")
    registry = load_plugins()
    (broken,) = registry.broken
    assert broken.reason.endswith("it registers a source, but its entry point is in the group astroanomaly.rankers")
    assert "stacks" not in registry.sources
    assert "fits" in registry.sources


def test_the_groups():
    assert plugin_groups("crossmatch") == ("astroanomaly", "astroanomaly.crossmatches")
    assert set(plugin_groups()) == {
        "astroanomaly", "astroanomaly.sources", "astroanomaly.rankers", "astroanomaly.crossmatches"
    }  # fmt: skip
