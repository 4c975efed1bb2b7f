"""What people and browsers type or send: filter expressions, regions, prefixes, origins, cookies."""

from __future__ import annotations

import builtins
import json
import urllib.parse
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
from bokeh.server.util import check_allowlist

from astroanomaly.app.review.filters import evaluate, within
from astroanomaly.app.view.browser import remembered_name
from astroanomaly.app.web.address import Prefix, allowed_origins
from edits import Edit, random_bytes
from kind import Found, Kind, fingerprint

__all__ = ["TEXT_KINDS"]

_ROWS = 200
_NAMES = ("mag", "n", "u", "t", "b", "s", "`weird name`", "`_quoted_1`", "o", "i1", "f2", "nan", "m", "cube", "c")
_TOKENS = (
    *_NAMES, "<", "<=", ">", ">=", "==", "!=", "and", "or", "not", "~", "+", "-", "*", "/", "%", "**", "&", "|", "(",
    ")", "abs(", "sqrt(", "log(", "exp(", "log10(", "isfinite(", "1", "0", "-1", "3.5", "1e308", "9223372036854775807",
    "9223372036854775808", '"GAL"', "'x'", '"', "`", ".", "[", "]", ",", ":", "=", "lambda", "if", "else", "for", "in",
    "is", "None", "True", "__import__", "@", "//", "<<", "^", "\n", "\t", " ", "{", "}", 'f"{mag}"', "1j", "...",
    "é", "\u2028", "\x00", "b'x'", ":=", "await", "yield", "*", "'''", "0x", "_", "\ud800", "ｍａｇ", "9" * 900,
)  # fmt: skip
_ATTACKS = (
    "__import__('builtins').__setattr__('PWNED', 1)", "().__class__.__bases__[0].__subclasses__()", "mag.__class__ > 1",
    "abs.__globals__", "(abs)(mag) > 1", "abs(mag, mag) > 0", "abs(x=mag) > 0", "abs(*mag) > 0", "mag[0] > 1",
    "t * 1000000000 == 'x'", "'a' * 10**10 == 'b'", "10**10**10**10 > mag", "n**n**n > 0", "1e999 > mag", "n % 0 > 1",
    "0x" + "f" * 900 + " > mag", "n << 1000 > 1", "(" * 300 + "mag > 1" + ")" * 300, "-" * 900 + "mag > 1",
    "not " * 240 + "mag > 1", "~" * 900 + "b", "mag > 1" + " and mag > 1" * 90, "abs(" * 180 + "mag" + ")" * 180,
    "mag" + "+mag" * 240 + " > 1", "mag > " + "1 < " * 240 + "1", "`" * 900, "'" * 500, '"""' * 300, "mag > 1;mag > 2",
    "f'{__import__(\"builtins\").PWNED}' == t", "[x for x in (1,)]", "mag := 3", "mag if mag else mag", "{mag: 1}",
)  # fmt: skip
_REGIONS = ("150.1 +2.2 0.5deg", "10:00:24 +02:12:00 2arcmin", "0 0 180", "359.9,-89 1d", "150.1 2.2 3")
_REGION_WORDS = (b"1e999", b"nan", b"inf", b"deg", b"arcsec", b"pc", b"**", b"h", b"m", b"s", b":", b",", b" ", b"-",
    b"9" * 300, b"\xc2\xb0", b"'", b'"', b"1/0", b"deg**99999999", b"10^10^10^10", b"(" * 400, b"Jy.m-2")  # fmt: skip
_ADDRESSES = (
    "/user/ann/proxy/5006", "user/ann%40host.org", "/", "", "/a b/ü", "host.org", "host.org:5006", "[::1]:80", "*",
    "*.org:80", "127.0.0.1:5006", "http://evil.org", "evil.org:99999", "%2e%2e/x", "..", "a//b", "%ff", "\x00", "a?b#c",
)  # fmt: skip
_ADDRESS_WORDS = (b"/", b"..", b"%2e", b"%2F", b"%", b"%ff", b":", b"@", b"?", b"#", b"*", b"[", b"]", b"\n", b"\r",
    b"\\", b";", b"<script>", b'"', b"'", b"\0", b"\xff", b" ", b"a" * 3000, b"%00", b"//", b":99999", b"http://",
    "ü".encode(), b"\xe2\x80\x8b", b"(", b"+", b"$", b".*")  # fmt: skip
_OWN = {f"{name}:5006" for name in ("127.0.0.1", "localhost", "[::1]")}


def _no_seeds(folder: Path) -> dict[str, bytes]:
    return {"true": b"mag < 1e9", "text": b'`weird name` >= 0 and t == "GAL"'}


def _columns() -> dict[str, Any]:
    number = np.arange(_ROWS)
    return {
        "mag": np.linspace(15, 25, _ROWS), "n": number, "u": number.astype("u8") + np.uint64(2**63),
        "b": number % 2 == 0,
        "t": np.array(["GAL", "STAR"] * (_ROWS // 2)), "s": np.array([b"a", b"b"] * (_ROWS // 2)),
        "weird name": number * 1.0, "o": np.array(["x", None] * (_ROWS // 2), object), "_quoted_1": np.ones(_ROWS),
        "i1": number.astype("i1"), "f2": np.linspace(0, 1, _ROWS).astype("f2"), "nan": np.full(_ROWS, np.nan),
        "m": np.ma.masked_array(number * 1.0, number % 3 == 0), "cube": np.ones((_ROWS, 3)), "c": number * 1j,
    }  # fmt: skip


_COLUMNS = _columns()


def _edit_expression(rng: Random, name: str, content: bytes) -> list[Edit]:
    kind = rng.random()
    if kind < 0.05:
        return [("whole", rng.choice(_ATTACKS))]
    if kind < 0.55:
        return [("whole", _sentence(rng, rng.randint(1, 6))[:1100])]
    words = [rng.choice(_TOKENS) + rng.choice(("", " ")) for _ in range(rng.randint(1, 60))]
    return [("whole", "".join(words))]


def _sentence(rng: Random, depth: int) -> str:
    """Draw an expression that Python can parse: mostly one that is true or false."""
    kind = rng.random()
    if kind < 0.06:
        return _value(rng, depth)
    if depth <= 0 or kind < 0.15:
        return rng.choice(("b", "mag < 20", "n >= 3", 't == "GAL"', "s != 'a'", "isfinite(nan)", "o == 'x'"))
    if kind < 0.65:
        return f"({_value(rng, depth - 1)} {rng.choice(('<', '<=', '>', '>=', '==', '!='))} {_value(rng, depth - 1)})"
    if kind < 0.9:
        return f"({_sentence(rng, depth - 1)} {rng.choice(('and', 'or', '&', '|'))} {_sentence(rng, depth - 1)})"
    return f"{rng.choice(('not ', '~'))}({_sentence(rng, depth - 1)})"


def _value(rng: Random, depth: int) -> str:
    """Draw an expression that Python can parse: mostly one that is a number."""
    kind = rng.random()
    if kind < 0.03:
        return _sentence(rng, depth)
    if depth <= 0 or kind < 0.4:
        numbers = ("mag", "n", "u", "i1", "f2", "nan", "m", "`weird name`", "1", "2.5", "-3", "1e308", "2**62", "0")
        return rng.choice(numbers if kind < 0.38 else _NAMES)
    if kind < 0.7:
        signs = ("+", "-", "*", "/", "%", "**", "&", "|")
        return f"({_value(rng, depth - 1)} {rng.choice(signs)} {_value(rng, depth - 1)})"
    if kind < 0.95:
        return f"{rng.choice(('abs', 'sqrt', 'log', 'exp', 'log10', 'isfinite'))}({_value(rng, depth - 1)})"
    return f"{rng.choice(('-', '+', '~'))}({_value(rng, depth - 1)})"


def _evaluate(folder: Path, name: str, content: bytes) -> Found:
    chosen = evaluate(content.decode("utf-8", "surrogatepass"), _COLUMNS)
    if chosen.shape != (_ROWS,) or chosen.dtype != bool:
        raise AssertionError(f"the result is {chosen.dtype} of {chosen.shape}")
    if hasattr(builtins, "PWNED"):
        raise AssertionError("the expression was run")
    return Found(fingerprint(np.asarray(chosen)))


def _region_seeds(folder: Path) -> dict[str, bytes]:
    return {text: text.encode() for text in _REGIONS}


def _edit_region(rng: Random, name: str, content: bytes) -> list[Edit]:
    return random_bytes(rng, content, words=_REGION_WORDS)


def _within(folder: Path, name: str, content: bytes) -> Found:
    angle = np.linspace(-80, 80, 50)
    chosen = within(content.decode("utf-8", "replace"), angle + 90, angle)
    if chosen.shape != (50,) or chosen.dtype != bool:
        raise AssertionError(f"the result is {chosen.dtype} of {chosen.shape}")
    return Found(fingerprint(chosen))


def _address_seeds(folder: Path) -> dict[str, bytes]:
    return {"/user/ann/proxy/5006": b"/user/ann/proxy/5006", "host.org:5006": b"host.org:5006", "ü": "/a b/ü".encode()}


def _edit_address(rng: Random, name: str, content: bytes) -> list[Edit]:
    if rng.random() < 0.2:
        return [("whole", rng.choice(_ADDRESSES) + rng.choice(_ADDRESSES))]
    return random_bytes(rng, content, words=_ADDRESS_WORDS)


def _addresses(folder: Path, name: str, content: bytes) -> Found:
    """Take a text as prefix, as path of a request, as origin that is allowed, as one that asks, and as a cookie."""
    from astroanomaly.errors import ConfigError

    text = content.decode("utf-8", "surrogateescape")
    values: list[Any] = [Prefix("/user/ann").split(text)]
    allowed = check_allowlist(text, [*_OWN, "host.org:80"]) if text.isascii() else False
    if allowed and text.lower() not in {*_OWN, "host.org", "host.org:80"}:
        raise AssertionError(f"the origin {text!r} is let in")
    kept = json.dumps(["ann", text])
    for cookie in (text, kept, urllib.parse.quote(kept), urllib.parse.quote(text, errors="replace")):
        request = SimpleNamespace(cookies={"astroanomaly-name": cookie})
        found = remembered_name(SimpleNamespace(session_context=SimpleNamespace(request=request)), "ann")
        if not isinstance(found, str):
            raise AssertionError(f"the name is {found!r}")
        values.append(found)
    refused = 0
    for take in (lambda: _prefix(text), lambda: allowed_origins("0.0.0.0", 5006, [text])):
        try:
            values.append(take())
        except ConfigError:
            refused += 1
    if refused == 2:
        raise ConfigError("neither a prefix nor an origin")
    return Found(fingerprint(values))


def _prefix(text: str) -> str:
    """Return the path of a prefix, which must lead to itself and have nothing but what a path may have."""
    prefix = Prefix(text)
    if prefix.path and (not prefix.path.startswith("/") or prefix.path.startswith("//")):
        raise AssertionError(f"the prefix {text!r} becomes the address {prefix.path!r}")
    if set(prefix.path) & set('?#\\"<>\r\n\0 ') or prefix.split(prefix.path + "/ws") != (prefix.path, "/ws"):
        raise AssertionError(f"the prefix {text!r} becomes {prefix.path!r}")
    return prefix.path


TEXT_KINDS = (
    Kind("filter expressions", 138, _no_seeds, _edit_expression, _evaluate),
    Kind("regions", 50, _region_seeds, _edit_region, _within),
    Kind("prefix and origins", 80, _address_seeds, _edit_address, _addresses),
)
