"""The method in sentences says what was done, with citations; pages of objects show what is known."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from astroanomaly import Session
from astroanomaly.errors import ConfigError, SessionError, StorageError
from astroanomaly.session.outputs.references import SHORT, bibtex

CITATION = Path(__file__).parents[3] / "CITATION.cff"


@pytest.fixture(scope="module")
def session(sky, tmp_path_factory):
    """A session with labels by two people, an audit set, a hostile class and a round of the probe."""
    from conftest import TINY

    folder = tmp_path_factory.mktemp("method")
    cache = shutil.copytree(sky[1], folder / "cache", ignore=shutil.ignore_patterns("derived"))
    made = Session.create(folder / "search", cache, settings=TINY, classes=["@{astro} & <b>", "ring"], audit=30)
    free = [i for i in made.cache.ids if i not in made.labels.audit]
    made.label(free[:4], "anomaly", annotator="ann")
    made.label(free[4], "ring", annotator="ann", note="<script>")
    made.label(free[5], "@{astro} & <b>", annotator="ann")
    made.label(free[6:16], "nominal", annotator="ann")
    made.label(free[6], "anomaly", annotator="ben")
    made.labels.verdict(sorted(made.labels.audit)[:24], "nominal", annotator="ann", ordering="audit")
    made.train("cold")
    made.train("probe")
    made.crossmatch({"mine": made.cache.table()[:3]}, radius="1arcsec", ids=list(made.cache.ids[:5]))
    return made


def test_what_was_done_is_said(session):
    found = session.methods()
    text = found.text
    objects, size = len(session.cache), session.cache[session.cache.ids[0]].wcs.proj_plane_pixel_scales()[0]
    assert f"We searched {objects} objects" in text
    assert f"48 by 48 pixels of {size.to_value('arcsec'):.3g} arcsec" in text
    assert "at 32 by 32 pixels" in text
    assert "40 objects have a label (33 nominal, 4 anomaly, 1 @{astro} & <b>, 1 ring, 1 disputed) by 2 people" in text
    assert "(those that are kept: 1: cold, 2: probe)" in text
    assert "round 2 by the ranker probe (logistic regression on frozen features" in text
    assert "learnt from 9 nominal, 1 @{astro} & <b>, 4 anomaly, 1 ring objects" in text
    assert "audit set of 30 objects" in text
    assert "24 of them have a label, 0 as anomalies" in text
    assert "looked up in mine: 5 objects within 1 arcsec" in text
    assert "; 3 of them are there" in text
    assert f"torch {found.versions['torch']}" in text
    assert "Hu et al. 2021" in text
    assert "FixMatch" not in text
    assert str(session.path.parent) not in text


def test_grades_and_what_they_count_are_said(new_session):
    session = new_session(computed=True, grades={"A": "certain", "B": "probable", "C": "", "X": "no candidate"})
    ids = list(session.cache.ids)
    session.label(ids[:3], ["A", "B", "C"], annotator="ann")
    session.label(ids[:9], "X", annotator="ben")
    session.label(ids[1:3], "B", annotator="carl")
    session.train("probe", grade_weight=0.7)
    text = session.methods().text
    assert "Candidates were graded A (certain) > B (probable) > C > X (no candidate)." in text
    assert "The label of an object is the median of its grades" in text
    assert "one kind of anomaly, each after the best with 0.7 of the weight of the one before." in text


def test_everything_cited_is_in_the_bibliography_and_nothing_else(session):
    found = session.methods()
    cited = [key for group in re.findall(r"\\citep\{([^}]*)\}", found.latex) for key in group.split(",")]
    entries = re.findall(r"^@\w+\{(\w+),$", found.bibtex, re.MULTILINE)
    assert list(dict.fromkeys(cited)) == entries
    assert {"astroanomaly", "astropy", "timm", "sklearn"} <= set(entries)
    assert r"@\{astro\} \& \textless{}b\textgreater{}" in found.latex
    for key in SHORT:
        entry = bibtex([key])
        assert entry.count("{") == entry.count("}")
        assert re.search(r"year = \{\d{4}\}", entry)


def test_the_software_is_cited_as_its_citation_file_says():
    stated = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    own, method = bibtex(["astroanomaly"]), bibtex(["anomalymatch"])
    assert stated["title"] in own
    assert stated["repository-code"] in own
    assert stated["authors"][0]["name"] in own
    assert str(stated["date-released"])[:4] in own
    reference = stated["references"][0]
    assert reference["title"] in method
    assert reference["identifiers"][0]["value"].removeprefix("arXiv:") in method
    for author in reference["authors"]:
        assert author["family-names"].replace("ó", r"{\'o}") in method


def test_the_method_is_written_as_text_and_as_latex(session, tmp_path):
    session.write_methods(tmp_path / "m.txt")
    text = (tmp_path / "m.txt").read_text(encoding="utf-8")
    assert "to be edited" in text
    assert "@misc{astroanomaly" in text
    session.write_methods(tmp_path / "m.tex")
    assert r"\citep{astroanomaly}" in (tmp_path / "m.tex").read_text(encoding="utf-8")
    assert "@misc{astroanomaly" in (tmp_path / "m.bib").read_text(encoding="utf-8")
    with pytest.raises(StorageError, match="exists already"):
        session.write_methods(tmp_path / "m.tex")
    with pytest.raises(ConfigError, match=r"\.txt or \.tex"):
        session.write_methods(tmp_path / "m.pdf")
    bare = Session.create(tmp_path / "bare", session.cache.folders[0])
    with pytest.raises(SessionError, match="no trained ranker"):
        bare.methods()


def test_a_report_has_a_page_for_each_object_and_the_method(session, tmp_path):
    ids = [str(i) for i in session.cache.ids[:4]]
    session.write_report(tmp_path / "r.html", ids=ids, pages=True)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert text.count("<article") == 4
    assert re.findall(r'href="#(object-\d)"', text) == re.findall(r'<article id="(object-\d)"', text)
    pages = text.split("<article")[1:]
    bands = session.cache.bands
    for object_id, page in zip(ids, pages, strict=True):
        assert f"<h2>{object_id}</h2>" in page
        assert page.split("<h3>")[0].count("<img") == 1 + len(bands)
        assert re.findall(r"<figcaption>(\w+)</figcaption>", page) == ["colour", *bands]
        assert re.search(r"J\d{6}\.\d\d[+-]\d{6}\.\d", page)
        assert "log-odds that the object is not nominal" in page
    assert "<b>" in pages[0].split("Crossmatches")[1]
    assert "nothing within the radius" in pages[3].split("Crossmatches")[1]
    assert "<section class=method>" in text
    assert "<script" not in text
    session.write_report(tmp_path / "plain.html", ids=ids)
    assert "<article" not in (tmp_path / "plain.html").read_text(encoding="utf-8")
