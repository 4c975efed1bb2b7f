"""The crossmatch service of plugins/README.md against a local server, and the links that are made of references."""

import json
import re
import sys

import numpy as np
import pytest

from astroanomaly import Session
from astroanomaly.cli import main
from astroanomaly.plugins import load_plugins
from astroanomaly.records import drain
from astroanomaly.session.outputs.links import entry_link, reference_link
from folders import TESTS
from servers.base import Answer, Server
from session.test_session import TINY, make_cache

GUIDE = (TESTS.parent / "plugins" / "README.md").read_text(encoding="utf-8")


class LensServer(Server):
    """Lenses of a group: all of them, wherever one asks."""

    def __init__(self, lenses):
        super().__init__()
        self.lenses = lenses

    def answer(self, asked):
        assert len(json.loads(asked.get("positions"))[0]) == len(json.loads(asked.get("positions"))[1]) > 0
        return Answer(json.dumps(self.lenses).encode(), "application/json")


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "class Lenses" in one]
    (tmp_path / "my_lenses.py").write_text(block)
    info = tmp_path / "my_lenses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lenses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[astroanomaly]\nlenses = my_lenses\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_lenses", None)


def test_the_guides_service(plugin, tmp_path, capsys):
    session = Session.create(tmp_path / "s", make_cache(tmp_path / "c"), settings=TINY)
    places = {i: session.cache[i] for i in ("o000", "o010")}
    lenses = [
        {"name": f"L {i}", "ra": one.ra, "dec": one.dec, "reference": "10.1234/abc", "grade": 1}
        for i, one in places.items()
    ]
    lenses.append({"name": "far away", "ra": 200.0, "dec": 5.0, "reference": "", "grade": 3})
    registry = load_plugins()
    assert registry.packages["crossmatch", "group-lenses"] == "my-lenses"
    (tmp_path / "ids").write_text("o000\no010\no020\n")
    fetch = {"keep": str(tmp_path / "kept"), "attempts": 1}
    with LensServer(lenses) as server:
        sys.modules["my_lenses"].Lenses.address = f"{server.url}/near"
        table = session.crossmatch("group-lenses", ids=["o000", "o010", "o020"], fetch=fetch)
        found = dict(zip(table["object_id"], table["known"], strict=True))
        assert found == {"o000": "L o000", "o010": "L o010", "o020": ""}
        np.testing.assert_array_equal(table["group_lenses_grade"], [1, 1, np.nan])
        server.misbehave("html", times=9)
        report = drain(session.crossmatch_steps("group-lenses", ids=["o000", "o030"], fetch=fetch))
        assert len(report.failures["group-lenses"]) == 2
        words = ["crossmatch", str(session.path), "--with", "group-lenses", "--ids", str(tmp_path / "ids")]
        assert main([*words, "--keep", fetch["keep"]]) == 0  # the answer is kept
    assert "group-lenses: 2 of 3 objects known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "link"),
    [
        ("2021ApJ...909...27H", "https://ui.adsabs.harvard.edu/abs/2021ApJ...909...27H/abstract"),
        ("2006A&A...459..123B", "https://ui.adsabs.harvard.edu/abs/2006A%26A...459..123B/abstract"),
        ("10.1051/0004-6361/202554911", "https://doi.org/10.1051/0004-6361/202554911"),
        ("https://doi.org/10.1051/x", "https://doi.org/10.1051/x"),
        ("doi:10.1051/a?b#c", "https://doi.org/10.1051/a%3Fb%23c"),
        ("arXiv:2505.03509", "https://arxiv.org/abs/2505.03509"),
        ("https://elsewhere.example/paper", ""),
        ("javascript:alert(1)", ""),
        ('10.1051/"><script>', ""),
        ("Smith et al. 2020", ""),
        ("", ""),
    ],
)
def test_only_known_places_are_linked_to(reference, link):
    assert reference_link(reference) == link


def test_links_to_entries():
    assert (
        entry_link("simbad", "M  31 & <b>")
        == "https://simbad.cds.unistra.fr/simbad/sim-id?Ident=M%20%2031%20%26%20%3Cb%3E"
    )
    assert entry_link("ned", "NGC 1").endswith("objname=NGC%201")
    assert entry_link("gaia", "Gaia DR3 1") == entry_link("simbad", "") == ""
