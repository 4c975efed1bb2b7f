"""Options under names that they had before: who types one is told the new one, what is stored under one is read."""

import argparse
import sys
from dataclasses import dataclass

import pytest

from astroanomaly import ConfigError, option
from astroanomaly.cli import main
from astroanomaly.cli.assignments import parse_assignments
from astroanomaly.cli.flags import add_flags
from astroanomaly.config import build, current_names

PLUGIN = """
from dataclasses import dataclass
from astroanomaly import hookimpl, option

@dataclass(frozen=True)
class Options:
    bands: tuple[str, ...] = option((), "bands", formerly=("band", "filters"))
    cut_edges: bool = option(True, "whether", formerly=("trim",))

class Renaming:
    name, summary, section, Options = "renaming", "has old names", "renaming", Options
    needs_labels = has_weights = False
    plan = read = fit = score = save = load = None

@hookimpl
def register_sources(register):
    register(Renaming)

@hookimpl
def register_rankers(register):
    register(Renaming)
"""


@dataclass(frozen=True)
class Renamed:
    bands: tuple[str, ...] = option((), "bands", formerly=("band", "filters"))


@pytest.fixture
def renaming(tmp_path, monkeypatch):
    """An installed source and ranker whose options were renamed."""
    (tmp_path / "renaming_plugin.py").write_text(PLUGIN)
    (tmp_path / "renaming-1.dist-info").mkdir()
    (tmp_path / "renaming-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: renaming\nVersion: 1\n")
    (tmp_path / "renaming-1.dist-info" / "entry_points.txt").write_text("[astroanomaly]\nrenaming = renaming_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("renaming_plugin", None)


def test_an_old_flag_is_an_error_that_names_the_new_one(capsys):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, Renamed)
    for typed in (["--band", "g"], ["--filters=g"], ["--band"]):
        with pytest.raises(SystemExit):
            parser.parse_args(typed)
        assert f"{typed[0].partition('=')[0]} is called --bands now" in capsys.readouterr().err
    assert "--filters" not in parser.format_help()


def test_an_old_setting_is_an_error_that_names_the_new_one_and_read_where_it_is_stored():
    with pytest.raises(ConfigError, match=r"the setting x\.band is called x\.bands now"):
        build(Renamed, {"band": ["g"]}, "x")
    with pytest.raises(ConfigError, match=r"the setting x\.band is called x\.bands now"):
        parse_assignments(["x.band=g"], {"x": Renamed})
    assert build(Renamed, current_names(Renamed, {"filters": ["g"]})) == Renamed(("g",))


@pytest.mark.parametrize("command", [["ingest", "renaming"], ["score", "session", "--source", "renaming", "a.fits"]])
@pytest.mark.parametrize(
    ("typed", "old", "new"),
    [
        (["--band", "g"], "--band", "--bands"),
        (["--band=g,r", "b.fits"], "--band", "--bands"),
        (["--filters"], "--filters", "--bands"),
        (["--bands", "g", "--filters", "r"], "--filters", "--bands"),
        (["--trim"], "--trim", "--cut-edges"),
        (["--no-trim"], "--no-trim", "--no-cut-edges"),
    ],
)
def test_the_commands_that_take_a_source_know_its_old_flags(renaming, capsys, command, typed, old, new):
    with pytest.raises(SystemExit) as left:
        main([*command, "--out", "x", *typed])
    assert left.value.code == 2
    assert f"error: {old} is called {new} now" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["init", "s", "--cache", "c"], ["pretrain", "c", "--out", "x.safetensors"]])
@pytest.mark.parametrize(
    "typed", [["--set", "renaming.trim=no"], ["--set=renaming.trim=no"], ["--set", " renaming.trim =no"]]
)
def test_the_commands_that_take_settings_know_old_ones(renaming, capsys, command, typed):
    assert main([*command, *typed]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the setting renaming.trim is called renaming.cut_edges now" in said


def test_a_flag_of_the_benchmark_was_renamed(capsys):
    with pytest.raises(SystemExit) as left:
        main(["benchmark", "cache", "--together", "--out", "x"])
    assert left.value.code == 2
    assert "error: --together is called --all-kinds now" in capsys.readouterr().err
