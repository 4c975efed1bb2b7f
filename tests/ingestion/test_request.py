"""What a user asks of a source: found, checked, and said the same from anywhere."""

import dataclasses
from pathlib import Path

import pytest

from astroanomaly import FetchConfig, option
from astroanomaly.errors import ConfigError, PluginError
from astroanomaly.ingestion.request import SourceRequest


@dataclasses.dataclass(frozen=True)
class Options:
    catalog: Path | None = option(None, "table of positions")  # noqa: RUF009 - option() makes a dataclass field
    pixels: int = option(12, "side of a cutout")


class Blank:
    """A source that is asked for nothing here."""

    name = "blank"
    summary = "nothing"
    Options = Options


def test_a_request_is_the_same_however_it_is_spelt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = SourceRequest.of(Blank(), "sky", options={"catalog": "a.csv"})
    monkeypatch.chdir("/")
    two = SourceRequest.of(Blank(), [tmp_path / "sky"], options={"catalog": tmp_path / "a.csv", "pixels": 12}, fetch={})
    assert one.description == two.description
    assert one.description == {
        "source": "blank",
        "inputs": [str(tmp_path / "sky")],
        "options": {"catalog": str(tmp_path / "a.csv"), "pixels": 12},
        "prefix": "",
    }
    assert (one.fetch, one.options) == (two.fetch, two.options) == (FetchConfig(), Options(tmp_path / "a.csv"))


def test_addresses_are_left_alone():
    assert SourceRequest.of(Blank(), ["https://archive.org/sky", "/data"]).inputs == (
        "https://archive.org/sky",
        "/data",
    )


def test_how_archives_are_asked_decides_nothing_about_the_content():
    one = SourceRequest.of(Blank(), fetch={"attempts": 3}, retry_failed=True, compression="gzip")
    assert one.fetch.attempts == 3
    assert one.description == SourceRequest.of(Blank()).description


def test_what_is_unknown_is_refused_at_once():
    with pytest.raises(PluginError, match="did you mean 'fits'"):
        SourceRequest.of("fit")
    with pytest.raises(ConfigError, match="did you mean 'pixels'"):
        SourceRequest.of(Blank(), options={"pixel": 3})
    with pytest.raises(ConfigError, match="attempts"):
        SourceRequest.of(Blank(), fetch={"attempt": 3})
