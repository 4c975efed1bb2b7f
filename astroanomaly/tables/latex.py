"""A short table of candidates for a paper, in LaTeX: `deluxetable` of AASTeX, or a table of MNRAS."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError
from astroanomaly.tables.escape import ascii_text

if TYPE_CHECKING:
    from astropy.table import QTable, Table

__all__ = ["JOURNALS", "as_latex", "latex_text"]

JOURNALS = ("aas", "mnras")
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\texttt{\char34}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
_LETTERS = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")
_LONGEST = 60  # characters of a text
_NONE = r"\nodata"
_LABEL = "tab:candidates"
_PAGE_ROWS = 40  # of a table on a page of either journal


def latex_text(text: str) -> str:
    r"""Write text so that LaTeX sets it as it is: ASCII only, no character of which has a meaning of its own.

    Brackets, asterisks and hyphens are kept from being read as an argument of ``\\`` or as a ligature.
    """
    return _LETTERS.sub(lambda found: _SPECIAL[found[0]], ascii_text(text)).replace("--", "-{}-").replace("--", "-{}-")


def as_latex(table: QTable, journal: str = "aas") -> str:
    """Return a table of a catalogue's objects for a paper.

    Its columns are the designation, the id, position, rank, score, label, and, where there are such, the probability
    and what the object is known as. Text is escaped, and cut at 60 characters.

    Parameters
    ----------
    table
        A catalogue with the column ``designation``.
    journal
        ``aas``: ``deluxetable*`` of AASTeX, as a long table where it does not fit on a page. ``mnras``: ``table*`` with
        the rules of MNRAS, and continued on each further page.

    Raises
    ------
    ConfigError
        For another journal.
    """
    from astropy.io import ascii as text_tables
    from astropy.table import Table

    if journal not in JOURNALS:
        raise ConfigError(f"journal={journal!r}: expected one of {', '.join(JOURNALS)}{nearest(journal, JOURNALS)}")
    missing = _NONE if journal == "aas" else "--"
    columns = [(head, way, how) for name, head, way, how in _COLUMNS if name in table.colnames]
    names = [name for name, *_ in _COLUMNS if name in table.colnames]
    made = Table()
    for name, (head, _, how) in zip(names, columns, strict=True):
        made[head] = np.array([_cell(value, how, missing) for value in _values(table[name])], dtype=str)
    caption = f"Candidates by rank: {len(table)} objects. {_SCORE}"
    align = "".join(way for _, way, _ in columns)
    if journal == "mnras":
        return _mnras(made, caption, align)
    out = io.StringIO()
    given: dict[str, Any] = {
        "tabletype": "deluxetable*",
        "preamble": [rf"\tablecaption{{{caption} \label{{{_LABEL}}}}}"],
        "tablefoot": r"\tablecomments{Positions are ICRS. Names are truncated positions.}",
    }
    text_tables.write(made, out, format="aastex", latexdict=given, col_align=align, formats={})
    return (r"\startlongtable" + "\n" if len(made) > _PAGE_ROWS else "") + out.getvalue()


def _mnras(made: Table, caption: str, align: str) -> str:
    """Return tables of MNRAS, one for each page: none of them goes over the end of a page."""
    from astropy.io import ascii as text_tables

    given = {
        "tabletype": "table*", "preamble": r"\centering", "header_start": r"\hline", "header_end": r"\hline",
        "data_end": r"\hline",
    }  # fmt: skip
    out = io.StringIO()
    for start in range(0, max(len(made), 1), _PAGE_ROWS):
        part, first = io.StringIO(), start == 0
        words = rf"{caption} \label{{{_LABEL}}}" if first else "continued"
        rows = made[start : start + _PAGE_ROWS]
        text_tables.write(rows, part, format="latex", latexdict=given, col_align=align, caption=words)
        out.write(part.getvalue() if first else part.getvalue().replace(r"\caption{", r"\contcaption{", 1))
    return out.getvalue()


_SCORE = "The score is the log-odds of an object not being nominal, which orders objects and is not calibrated."
How = Callable[[Any], str]


def _signed(name: str) -> str:
    """Set the sign of the declination in a name as a sign."""
    return re.sub(r"([+-])(?=[\d.]+$)", r"$\1$", name)


def _number(form: str) -> How:
    return lambda value: f"${value:{form}}$" if math.isfinite(value) else ""


_COLUMNS: tuple[tuple[str, str, str, How], ...] = (  # column of the catalogue, heading, alignment, text of a cell
    ("designation", "Name", "l", lambda value: _signed(latex_text(str(value)))),
    ("object_id", "ID", "l", lambda value: latex_text(str(value)[:_LONGEST])),
    ("ra", "R.A. (deg)", "r", _number(".5f")),
    ("dec", "Decl. (deg)", "r", _number("+.5f")),
    ("rank", "Rank", "r", lambda value: str(value)),
    ("score", "Score", "r", _number("+.2f")),
    ("probability", "Probability", "r", _number(".2f")),
    ("label", "Label", "l", lambda value: latex_text(str(value)[:_LONGEST])),
    ("known", "Known as", "l", lambda value: latex_text(str(value)[:_LONGEST])),
)


def _values(column: Any) -> list[Any]:
    """Plain values of a column; None where there is none."""
    values = np.ma.asanyarray(getattr(column, "value", column))
    return values.tolist()


def _cell(value: Any, how: How, missing: str) -> str:
    return (how(value) if value is not None else "") or missing
