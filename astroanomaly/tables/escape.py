"""Escape text for a file format: characters it cannot hold are written as in a Python string."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

__all__ = [
    "FORMULAS_ESCAPED",
    "ascii_text",
    "fits_name",
    "formula_text",
    "line_text",
    "plain_text",
    "unicode_text",
    "xml_name",
    "xml_text",
]

FORMULAS_ESCAPED = "formulas_escaped"  # column of a CSV whose texts went through formula_text

_MAX_FITS_NAME_CHARACTERS = 60  # of a column; a header card holds 68, and names that become one are numbered
_FORMULA = re.compile(
    r"((?:^|[,;|\t\r\n])[ \"]*)('*)"
    r"(?![+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)? *(?:\Z|[,;|\t\r\n]))"
    r"(?=[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]\s*\S)"
)


def xml_text(text: str) -> str:
    """Escape what XML cannot hold or does not keep: control characters, lone surrogates, blanks at the ends."""
    return _spelt(text, lambda c: c in "\t\n" or (c >= " " and not "\x7f" <= c <= "\x9f" and c not in "\ufffe\uffff"))


def ascii_text(text: str) -> str:
    """Escape what FITS cannot hold: all but printable ASCII."""
    return _spelt(text, lambda c: " " <= c <= "~")


def fits_name(text: str) -> str:
    """Return what the FITS standard recommends as a column name: ASCII letters, digits and underscores."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text)[:_MAX_FITS_NAME_CHARACTERS]


def line_text(text: str) -> str:
    """Escape what does not survive in a file of lines: control characters, line ends, surrogates, a first ``#``."""
    text = _spelt(text, lambda c: unicodedata.category(c) not in ("Cc", "Zl", "Zp"))
    return _escape("#") + text[1:] if text.startswith("#") else text


def unicode_text(text: str) -> str:
    """Escape what UTF-8 and the csv module cannot hold: lone surrogates and the null character."""
    return "".join(_escape(c) if c == "\0" or 0xD800 <= ord(c) <= 0xDFFF else c for c in text)


def xml_name(text: str) -> str:
    """Return what may name something in XML: letters, digits, hyphens and underscores."""
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in xml_text(text)) or "info"


def _spelt(text: str, allowed: Callable[[str], bool]) -> str:
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    return "".join(
        c if allowed(c) and not 0xD800 <= ord(c) <= 0xDFFF and first <= k < last else _escape(c)
        for k, c in enumerate(text)
    )


def _escape(letter: str) -> str:
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def formula_text(text: str) -> str:
    """Escape what a spreadsheet would run as a formula: an apostrophe goes before it.

    A formula begins with one of ``= + - @``, a tab or a line end, at the beginning or behind a sign at which a
    spreadsheet may split the text into cells. Numbers are none.
    """
    return _FORMULA.sub(r"\1'\2", text)


def plain_text(text: str) -> str:
    """Take off what `formula_text` has put on."""
    return _FORMULA.sub(lambda found: found[1] + found[2][1:], text)
