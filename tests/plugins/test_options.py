"""One word for one thing over all sources, and old words are understood where they are stored."""

import dataclasses

import pytest

from astroanomaly import ConfigError
from astroanomaly.cli import main
from astroanomaly.config import build, current_names, option_types, to_plain
from astroanomaly_plugins.euclid.source import EuclidOptions
from astroanomaly_plugins.fits import FitsOptions
from astroanomaly_plugins.hips.source import HipsOptions
from astroanomaly_plugins.hst.source import HstOptions
from astroanomaly_plugins.shared.options import PositionOptions
from astroanomaly_plugins.vo.source import VoOptions

SOURCES = {"fits": FitsOptions, "euclid": EuclidOptions, "hst": HstOptions, "hips": HipsOptions, "vo": VoOptions}
GIVEN = {  # what has to be given
    "fits": {},
    "euclid": {},
    "hst": {"size": "64", "bands": ["F814W"]},
    "hips": {"survey": ["CDS/P/DSS2/red"], "size": "10arcsec"},
    "vo": {"service": "http://localhost/sia2", "size": "64"},
}
STORED = {  # as version 0.1.0 stored them, and what was said then, in today's words
    "fits": (
        {"size": "9", "band": ["g=*"], "ext": [], "ra": "", "dec": "", "frame": "", "x": "", "y": "", "id": "name",
         "carry": ["*"], "min_coverage": 0.1, "dtype": "float32"},
        {"size": "9", "bands": ["g=*"], "id": "name", "min_coverage": 0.1},
    ),
    "euclid": (
        {"size": "9", "bands": ["VIS", "Y", "J", "H"], "via": "auto", "id": ["12", "-5"], "cone": "", "radius": "",
         "flux_column": "flux_detection_total", "columns": ["usual"], "ra": "", "dec": "", "frame": "", "id_column": "",
         "carry": ["*"], "min_coverage": 0.0, "login": False, "environment": "PDR", "dtype": "float16"},
        {"size": "9", "mer_id": ["12", "-5"], "dtype": "float16"},
    ),
    "hst": (
        {"catalog": "a.csv", "size": "64", "filters": ["F814W"], "via": "mast", "instruments": [], "proposal": [],
         "date_from": "", "date_to": "", "collections": ["HAP"], "exposures": "all", "pixel_scale": 0.04, "ra": "",
         "dec": "", "frame": "", "id": "", "carry": ["*"], "min_coverage": 0.0, "dtype": "float32"},
        {"catalog": "a.csv", "size": "64", "bands": ["F814W"]},
    ),
    "hips": (
        {"survey": ["a"], "size": "10arcsec", "pixels": 64, "bands": [], "ra": "", "dec": "", "frame": "", "id": "",
         "carry": ["*"], "kind": "auto", "form": "fits", "min_coverage": 0.0, "mirror": []},
        {"survey": ["a"], "size": "10arcsec"},
    ),
    "vo": (
        {"service": "http://a/", "size": "64", "bands": [], "collection": [], "instrument": [], "kind": "auto",
         "via": "auto", "hosts": [], "max_mb": 4000.0, "ra": "", "dec": "", "frame": "", "id": "", "carry": ["*"],
         "ext": [], "check_band": True, "min_coverage": 0.0},
        {"service": "http://a/", "size": "64"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_of_positions_has_the_same_options_for_them(source):
    options = SOURCES[source]
    assert issubclass(options, PositionOptions)
    common = option_types(PositionOptions)
    assert common.items() <= option_types(options).items()
    assert option_types(options)["bands"] == tuple[str, ...]
    made = build(options, GIVEN[source])
    for item in dataclasses.fields(PositionOptions):
        assert getattr(made, item.name) == item.default
    with pytest.raises(ConfigError, match=r"min_coverage=1\.5: expected 0 to 1"):
        build(options, {**GIVEN[source], "min_coverage": 1.5})


@pytest.mark.parametrize("source", STORED)
def test_a_request_that_an_earlier_version_stored_is_that_of_today(source):
    stored, said = STORED[source]
    options = SOURCES[source]
    now = to_plain(build(options, said))
    assert current_names(options, stored) == now
    assert current_names(options, now) == now


def test_a_column_of_ids_that_was_stored_under_its_old_name():
    stored = {**STORED["euclid"][0], "id": [], "id_column": "name", "catalog": "a.csv"}
    found = build(EuclidOptions, current_names(EuclidOptions, stored))
    assert (found.id, found.mer_id) == ("name", ())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fits", "sky", "--band", "g=a.fits"], "--band is called --bands now"),
        (["hst", "--catalog", "a.csv", "--size", "9", "--filters", "F814W"], "--filters is called --bands now"),
        (["euclid", "--size", "9", "--id", "2694019285662354321"], "--mer-id"),
        (["euclid", "--size", "9", "--id=-57004,2694"], "--mer-id"),
        (["euclid", "--size", "9", "--catalog", "a.csv", "--id-column", "name"], "--id-column is called --id now"),
    ],
)
def test_who_types_an_old_flag_is_told_the_new_one(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["ingest", *words, "--out", "cache"])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_who_gives_an_old_keyword_is_told_the_new_one():
    with pytest.raises(ConfigError, match="the setting id is called mer_id now"):
        build(EuclidOptions, {"id": ("2694019285662354321",)})
    with pytest.raises(ConfigError, match="the setting filters is called bands now"):
        build(HstOptions, {"size": "9", "filters": ("F814W",)})
    assert build(EuclidOptions, {"id": "name"}).id == "name"
