"""What we write for a paper, set by LaTeX itself: tables of AASTeX and MNRAS, and the method with its references.

Off unless asked for: ``pytest -n 0 -m desktop``. Debian: ``texlive-publishers texlive-plain-generic poppler-utils``.
"""

import re
import shutil
import subprocess

import numpy as np
import pytest

from astroanomaly import Session
from astroanomaly.session.outputs.references import SHORT, bibtex
from astroanomaly.tables.escape import ascii_text
from astroanomaly.tables.paper import write_paper_table
from astroanomaly.tables.write import build_catalog

missing = [name for name in ("pdflatex", "bibtex", "kpsewhich", "pdftotext") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.desktop,
    pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed: TeX Live with aastex and mnras"),
]

CLASSES = {  # class and its options, what a paper begins with, and its style of references
    "aas": (r"\documentclass[twocolumn]{aastex631}", r"\title{T}\author{A. Author}\begin{abstract}a\end{abstract}",
            "aasjournal"),
    "mnras": (r"\documentclass[usenatbib]{mnras}", r"\title[T]{T}\author[A]{A. Author}\maketitle", "mnras"),
}  # fmt: skip
JOURNALS = pytest.mark.parametrize("journal", list(CLASSES))
PRINTABLE = "".join(chr(code) for code in range(32, 127))
HOSTILE = [
    *(PRINTABLE[start : start + 16] + "x" for start in range(1, len(PRINTABLE), 16)), r"\input{/etc/passwd}",
    r"\write18{touch no}", "$x_1^2$ & 50%", "[a]*--b ---", "^^4d^^5c", "?` !` <<>> ,, ''", r"\\[3cm]", "*[2]",
    "{brace", "a}b", "# no comment", "trail\\", "tab\tnew\nline", "\\end{deluxetable*}", "\\end{table*}", "日本 é",
    "quote \" ' `", "~tie~", r"\catcode`\%=12", "%", "\\",
]  # fmt: skip


def compiled(folder, body, journal):
    """Set a paper as an author does; return the text of its pages, and what LaTeX said in the last run."""
    begin, front, style = CLASSES[journal]
    end = rf"\bibliographystyle{{{style}}}\bibliography{{refs}}" if r"\citep" in body else ""
    text = f"{begin}\n\\begin{{document}}\n{front}\n\\section{{Text}}\n{body}\n{end}\n\\end{{document}}\n"
    (folder / "paper.tex").write_text(text, encoding="utf-8")
    said = ""
    for words in (["pdflatex"], ["bibtex"], ["pdflatex"], ["pdflatex"]):
        if words == ["bibtex"] and not end:
            continue
        options = ["-halt-on-error", "-interaction=nonstopmode"] if words == ["pdflatex"] else []
        done = subprocess.run([*words, *options, "paper"], cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}"
        if words == ["bibtex"]:
            assert "Warning" not in done.stdout, done.stdout
        said = done.stdout
    assert "undefined" not in said
    shown = subprocess.run(
        ["pdftotext", "-raw", "paper.pdf", "-"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0
    return shown.stdout.replace("˜", "~").replace("ˆ", "^").replace("−", "-"), said


def squeezed(text):
    """Return a text without blanks, and without underscores, which are rules on a page."""
    return "".join(text.split()).replace("_", "")


@JOURNALS
def test_ids_that_are_hard_to_write_are_set_as_they_are(tmp_path, journal):
    count = len(HOSTILE)
    columns = {"object_id": np.array(HOSTILE, dtype=str), "score": np.linspace(3, -2, count).astype(np.float32)}
    catalog = build_catalog({**columns, "ra": np.linspace(1, 350, count), "dec": np.linspace(-89, 89, count)}, {})
    write_paper_table(catalog, tmp_path / "table.tex", acronym="A_1", journal=journal)
    shown, said = compiled(tmp_path, r"See Table \ref{tab:candidates}. \input{table.tex}", journal)
    assert "Overfull" not in said
    assert "See Table 1." in shown
    rows = [squeezed(line) for line in shown.splitlines()]
    for object_id in HOSTILE:
        assert any(squeezed(ascii_text(object_id)) in row for row in rows), object_id
    assert not (tmp_path / "no").exists()
    assert "root:" not in shown


@JOURNALS
@pytest.mark.parametrize("count", [1, 40, 41, 400])
def test_a_table_of_any_length_is_set_whole_within_the_pages(tmp_path, journal, count):
    rows = np.arange(count)
    names = np.array([f"field-{row:05d}" for row in rows])
    catalog = build_catalog(
        {
            "object_id": names, "ra": np.linspace(1, 359, count), "dec": np.linspace(-89.9, 89.9, count),
            "rank": rows + 1, "score": np.linspace(13, -12.5, count).astype(np.float32),
            "probability": np.where(rows % 3 == 0, np.nan, 0.5),
            "label": np.array(["anomaly", "nominal", ""])[rows % 3],
            "known": np.array(["NGC 1234", ""])[rows % 2],
        },
        {},
    )  # fmt: skip
    write_paper_table(catalog, tmp_path / "table.tex", acronym="AA", journal=journal)
    shown, said = compiled(tmp_path, r"\input{table.tex}", journal)
    assert not re.search(r"Overfull|Float too large", said), re.findall(r".*(?:Overfull|Float too large).*", said)[:3]
    assert re.findall(r"field-\d{5}", shown) == list(names)
    assert shown.count("Candidates by rank") == 1
    assert ("continued" in shown.lower()) == (count > 40)


@JOURNALS
def test_every_reference_is_set_with_its_number(tmp_path, journal):
    (tmp_path / "refs.bib").write_text(bibtex(SHORT), encoding="utf-8")
    shown, _ = compiled(tmp_path, rf"\citep{{{','.join(SHORT)}}}", journal)
    shown = squeezed(shown)
    for key in SHORT:
        stated = dict(re.findall(r"^  (\w+) = \{+(.*?)\}+,?$", bibtex([key]), re.MULTILINE))
        numbers = [squeezed(stated[name]) for name in ("doi", "eprint", "url") if name in stated]
        if "volume" in stated and "pages" in stated:  # which MNRAS makes the link of the DOI
            numbers.append(f"{stated['volume']},{stated['pages'].partition('--')[0]}")
        assert any(number in shown for number in numbers), (key, numbers)


@JOURNALS
def test_the_method_of_a_session_is_set(sky, tmp_path, journal):
    from conftest import TINY

    cache = shutil.copytree(sky[1], tmp_path / "cache_1%", ignore=shutil.ignore_patterns("derived"))
    hostile = r"50% {#$_^~\} <b>"
    session = Session.create(tmp_path / "s", cache, settings=TINY, classes=[hostile])
    session.label(session.cache.ids[:3], hostile, annotator="ann")
    session.label(session.cache.ids[3:9], "nominal", annotator="ben & co")
    session.train("probe")
    session.write_methods(tmp_path / "method.tex")
    (tmp_path / "method.bib").rename(tmp_path / "refs.bib")
    shown, _ = compiled(tmp_path, "\\input{method.tex}\n% \\citep", journal)
    assert squeezed(f"3 {hostile}") in squeezed(shown)
    assert "(TheAstroAnomalydevelopers2026)" in squeezed(shown.replace("-\n", ""))
